//! Native code of our own compiler process, made runnable. The one place with `unsafe` in this crate.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Native code as our own compiler process wrote it: made by [`crate::command`] alone, from what it read off the pipe
/// of the child that it started, so that no other bytes can come here.
pub(crate) struct NativeCode {
    bytes: Vec<u8>,
}

impl NativeCode {
    /// Marks bytes as our compiler's. For [`crate::command`] only.
    pub(crate) fn from_compiler(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

/// Maps native code into this process.
///
/// # Errors
/// Where the code was made by another version of wasmtime or for another configuration or processor.
#[allow(unsafe_code, reason = "wasmtime cannot check native code; where it comes from is what makes it safe")]
pub(crate) fn deserialize(engine: &Engine, code: &NativeCode) -> wasmtime::Result<Component> {
    // SAFETY: `Component::deserialize` runs what it is given, so the bytes must be the unmodified output of
    // `precompile_component`. `NativeCode` is only ever made from the reply of a child process that we started from
    // the operator's own `bellhop-compiler`, over a pipe that nobody else holds; a module that is precompiled already
    // is refused by that child, and no ConfigMap, file or socket reaches this function.
    unsafe { Component::deserialize(engine, &code.bytes) }
}
