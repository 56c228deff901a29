//! The API server as a source of deltas and as a store: watches, leases, conditional writes, Events.
//!
//! ```text
//!                  ┌─ watch (one task per kind) ─┐
//! API server ─────►│  lists, events, bookmarks   ├─► source (one task: Watched, cache) ─Batch─► the World's owner
//!     ▲            └─ bodies of ConfigMaps ──────┘
//!     ├── Writer: conditional writes, retried within bounds, fenced by the Lease where asked
//!     ├── Election, SpeakerLease: Leases, each a state machine and a task that drives it
//!     └── Recorder: Events, from a bounded queue
//! ```
//!
//! Nothing here decides about addresses or routes. What an object means is `bellhop-index`'s matter ([`bellhop_index::Watched`]);
//! this crate brings objects there, and writes there what others decided. An outage of the API server is no error of any
//! of its parts: they go on from where they were, and say so once.

#![forbid(unsafe_code)]

mod backoff;
pub mod client;
pub mod events;
pub mod lease;
mod request;
pub mod resource;
pub mod source;
pub mod write;

pub use client::{ConnectError, connect};
pub use events::{Event, EventKind, Recorder};
pub use kube::Client;
pub use lease::{Election, Leadership, SpeakerLease};
pub use resource::Resource;
pub use source::{
    Batch, CacheOptions, Counters, Observed, Role, Source, SourceOptions, Status, Version, start,
};
pub use write::{Condition, Stored, Verb, WriteCounts, WriteError, Writer};
