//! The SDK for Bellhop's decision policies.
//!
//! A policy is a crate with one function per hook, from settings and a question to an answer. The crate compiles to
//! one small WebAssembly module; natively it is a plain library whose functions tests call.
//!
//! ```text
//! settings! { struct Settings { … } }          what spec.config may hold: struct, reader, JSON schema
//! fn route(&Settings, &RouteRequest) -> …      the decision
//! plugin! { name, settings, hooks, inputs, … } exports, component types, metadata
//! ```
//!
//! The SDK depends on nothing and has no procedural macros, so that a policy builds in seconds and without a registry.
//! In the module it brings an allocator that never gives back ([`plugin!`] modules live for one decision), a panic
//! hook that tells the operator file, line and message, and [`log!`]. There is no clock, no randomness, no I/O.

// Unsafe code: the generated bindings, what they need at run time, the allocator.
#[allow(
    missing_docs,
    unsafe_op_in_unsafe_fn,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    rustdoc::all,
    reason = "generated"
)]
#[doc(hidden)]
#[rustfmt::skip]
pub mod bindings;
#[doc(hidden)]
pub mod rt;

mod address;
#[doc(hidden)]
pub mod constant;
mod decision;
mod facts;
#[cfg(target_arch = "wasm32")]
mod heap;
mod host;
mod json;
mod nodes;
mod plugin;
mod route;
mod settings;

pub use address::{Address, AddressRequest, AddressResponse, Alternative, Candidate, Choice, Pool};
pub use decision::{Decision, TEXT_MAX};
pub use facts::{
    Family, Identity, Node, Pair, Peer, Readiness, Service, SessionType, Taint, TrafficPolicy, pairs,
    value_of,
};
pub use host::{Level, log as log_line};
pub use json::{Json, JsonError};
pub use nodes::{NodeRequest, NodesRequest, NodesResponse, Summary, TopologyCount, Verdict};
pub use route::{Attributes, Community, CommunityError, LargeCommunity, Route, RouteRequest, RouteResponse};
pub use settings::{NoSettings, Path, Setting, SettingError, Within, settings_from_json};

#[doc(hidden)]
pub use nodes::decide_each as __decide_each;
#[doc(hidden)]
pub use plugin::begin as __begin;
#[doc(hidden)]
pub use settings::{field as __field, members as __members};

/// Version of this SDK, written into every module.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static HEAP: heap::Bump = heap::Bump::new();
