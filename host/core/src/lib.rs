//! The vocabulary of Bellhop and its pure decisions.
//!
//! This crate holds the typed projections of what Kubernetes objects say ([`objects`]), the [`World`] that is made of
//! them, the three decisions that a policy may take over ([`decision`]) with their built-in answers, and the planning
//! of announcements ([`announce`]). It opens no socket, reads no clock, knows no Kubernetes client and no WebAssembly:
//! time and identity come in as arguments, and what happened comes back as values.
//!
//! ```text
//! Delta ──► World::apply ──► Touched ──► announce::plan ──► want per peer, addresses to bind, exceptions
//!                                            │  ▲
//!                                            ▼  │
//!                                        Decisions (built-in, or a chain of plugins)
//! ```

#![forbid(unsafe_code)]

pub mod announce;
pub mod announcers;
pub mod decision;
pub mod flat;
mod hex;
pub mod labels;
pub mod names;
pub mod objects;
pub mod password;
pub mod peer;
pub mod problem;
pub mod report;
pub mod route;
pub mod settings;
pub mod world;

pub use decision::{BuiltIn, Decisions};
pub use names::{ObjectName, ObjectRef, ServiceKey};
pub use password::Password;
pub use problem::Problem;
pub use route::{Family, RouteAttributes};
pub use world::{Delta, Touched, World};
