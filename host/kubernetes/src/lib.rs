//! The API server as a source of deltas and as a store: watches, leases, conditional writes, Events.

#![forbid(unsafe_code)]

pub mod source;
