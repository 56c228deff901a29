//! The modules that the host's tests run, and the tool that rebuilds and checks them and the SDK's bindings.

#![forbid(unsafe_code)]

pub mod bindings;
