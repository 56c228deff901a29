//! A network of namespaces with real routers, in which Bellhop is shown and tested.
//!
//! [`Lab`] sets up and removes the namespaces of [`plan`]: two routers running FRR, three nodes, one client. [`load`] makes the
//! client's requests, [`observe`] reads what the routers and kernels hold, [`wait`] waits for conditions, [`Transcript`]
//! writes the record. [`demo`] is the main job in eight steps, used by `lab demo` and by the tests alike.
//!
//! Nothing here knows how Bellhop works inside: it starts the `bellhop` program, edits the manifests it reads, and looks
//! from outside. The lab touches nothing of the machine's own network: every link is created inside a namespace, and
//! there is no way out of the lab. Labs of different prefixes stand side by side.

#![forbid(unsafe_code)]

pub mod bellhop;
pub mod cli;
pub mod command;
pub mod demo;
pub mod frr;
pub mod http;
pub mod lab;
pub mod load;
pub mod manifests;
pub mod netns;
pub mod observe;
pub mod plan;
pub mod report;
pub mod trace;
pub mod transcript;
pub mod tutorial;
pub mod wait;

pub use lab::{Guard, Lab};
pub use plan::{Node, Router};
pub use transcript::Transcript;
