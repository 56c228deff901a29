//! The speaker of one node: what turns plans into announcements, and the standalone form that also allocates.
//!
//! Decisions are made in pure crates (`bellhop-core`, `bellhop-ipam`, `bellhop-policy-engine`); this crate owns the
//! loops and drivers around them: the planning thread, the BGP task, the binder, the packet filter, the claim writer,
//! the policy loader and the socket for tools. Each owns its own state and is reached by a bounded channel.
//!
//! ```text
//! standalone ─► planning ─► bgp (one task, a reader and a writer per connection)
//!                  │  ▲ ──► binder, filter (netlink)  each driver's doc says what it owns,
//!                  │  └──── loader, claim_writer      how deep its channel is, and why
//!                  └──► answers ─► socket             cancelling it is safe
//! ```

#![forbid(unsafe_code)]

pub mod bfd;
pub mod bgp;
pub mod binder;
pub mod claim_writer;
pub mod claims;
pub mod cluster;
pub mod comes_back;
pub mod filter;
pub mod generation;
pub mod health_checks;
pub mod planning;
mod probe;
pub mod proxy_health;
pub mod readiness;
pub mod socket;
pub mod standalone;
pub mod start_gate;
pub mod state;
