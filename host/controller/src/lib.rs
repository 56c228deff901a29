//! The controller: allocates addresses by creating AddressClaims, writes status, moves policies' versions.
//!
//! Decisions are made in pure crates (`bellhop-ipam`, `bellhop-policy-engine`) and in [`planning::Planner`], which knows no
//! socket: batches of observed objects and answers to writes go in, conditional writes come out. [`run`] drives it
//! against the API server.
//!
//! ```text
//! watches ─► source ─Batch─┐                        ┌─► Write ─► Store (conditional, fenced by the Lease) ─► API server
//! election ─► Leading ─────┼─► Input ─► Planner ────┤              │
//! loader ─► Loaded ────────┘   (one thread)         └─► Event      │
//!                 ▲────────────── Answer or WriteError ◄───────────┘
//! ```
//!
//! The World is as this process means it to be: a claim that is on its way counts as made, so that planning goes on while
//! writes are under way. Whatever the API server says otherwise comes back as an answer or by the watch, and the World
//! follows it. What a Service's status says comes from claims that the API server has confirmed.
//!
//! What it deliberately does not do: announce anything, keep state of its own, or hold an object by a finalizer.

#![forbid(unsafe_code)]

mod announcements;
mod book;
mod claims;
mod conditions;
mod membership;
mod peer_troubles;
pub mod planning;
pub mod run;
mod sessions;
mod silent;
pub mod store;
mod versions;
mod waiting;
pub mod write;
