//! Policy modules on wasmtime's runtime: the [`Guest`] trait of the policy engine, made real.
//!
//! A module becomes a [`SandboxGuest`] by [`load`]: it is verified, checked and compiled by a child process
//! (`bellhop-compiler`, the only program with Cranelift), configured and self-tested. Each step that refuses it says
//! which [`Stage`] it was and why ([`LoadError`]). After that every call runs on a fresh instance under the limits of
//! [`limits`]: fuel decides, a backstop on CPU time guards the machine, and what went wrong is typed from the runtime's
//! own trap codes, never read from a text.
//!
//! The crate deliberately does not cache compiled code, choose which policy is asked, remember answers or retry a
//! failing plugin; that is the policy engine's business. Nothing of wasmtime runs before the first module is loaded.
//!
//! ```text
//!  module.wasm(.zst) ──► CompilerCommand ──► bellhop-compiler (child, limited) ──► native code
//!                                                                                    │ deserialize
//!  Question ──► SandboxGuest: fresh instance, configure, decide ◄── InstancePre ◄────┘
//!     Called<Answer> ◄── validate ◄──┘
//! ```
//!
//! `unsafe` stands in one function, `native::deserialize`.
//!
//! [`Guest`]: bellhop_policy_engine::guest::Guest

#![deny(unsafe_code)]

mod abi;
mod allowance;
mod backstop;
mod command;
pub mod engine;
mod guest;
pub mod limits;
mod load;
mod native;
mod outcome;
pub mod protocol;
mod selftest;
mod store;
mod workers;

pub use command::CompilerCommand;
pub use engine::runtime_started;
#[doc(hidden)]
pub use guest::Configured;
pub use guest::SandboxGuest;
pub use limits::Limits;
pub use load::{LoadError, Loaded, load};
pub use protocol::{Checks, Refusal, Stage};
pub use workers::{THREADS_MAX, Workers};
