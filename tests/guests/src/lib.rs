//! The modules that the host's tests run, and the tool that rebuilds and checks them and the SDK's bindings.
//!
//! The modules are committed, so that the host's tests need no WebAssembly toolchain. `fixtures/manifest.json` says of
//! each what it is, its sha256, and which compiler built it.
//!
//! ```text
//! modules/examples/*.rs ─┐
//! plugins/*              ├─ build ─► fixtures/*.wasm, manifest.json ─ check ─► same bytes, or same imports,
//! handmade               ┘                                                    exports and metadata
//! plugin-sdk/wit ── bindings ─► plugin-sdk/src/bindings.rs, bindings/*.component-type
//! ```

#![forbid(unsafe_code)]

pub mod bindings;
pub mod fixtures;
pub mod handmade;
pub mod manifest;
