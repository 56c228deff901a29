//! A BGP speaker that only announces, without sockets, clocks or randomness of its own.
//!
//! One [`Peer`] is the whole of what RFC 4271 keeps for a neighbour: up to two connections with collision handling, the
//! timers, the negotiated capabilities, and the Adj-RIB-Out with what is wanted and what was sent. A driver owns the
//! sockets and the clock. It feeds [`Input`]s and carries out [`Output`]s, sleeps until [`Peer::deadline`], and pulls
//! bytes with [`Peer::transmit`] whenever a socket has room. What a slow neighbour has not taken yet stays *state*, not
//! a queue: a thousand flaps of a route while it is blocked become at most one UPDATE.
//!
//! ```text
//!              Set, Ready, Start, Stop ──┐
//! driver ──► Opened, Failed, Received ───┼──► Peer::handle ──► Dial, Close, Event ──► driver
//!              Tick at deadline() ───────┘      │
//!                                               └─ Peer::transmit(budget) ──► bytes for the socket
//! ```
//!
//! Deliberately absent: a Loc-RIB and any import (UPDATEs received are validated by RFC 7606, counted and dropped),
//! ADD-PATH, Extended Messages (RFC 8654; a neighbour echoing a full table would otherwise send 64 kB messages), and
//! families other than IPv4 and IPv6 unicast.

#![forbid(unsafe_code)]

mod error;
mod machine;
mod metrics;
mod rib;
mod timer;
mod wire;

#[cfg(test)]
mod tests;

pub use error::{DownReason, Refusal, RefusalReason, RefusedRoutes};
pub use machine::{
    BfdUse, ConnectionId, Direction, Event, GracefulRestart, Input, Negotiated, NextHops, Output, Path, Peer,
    PeerConfig, PeerConfigError, State, StopReason,
};
pub use metrics::Counters;
pub use wire::describe::{describe, messages};
pub use wire::{MAX_MESSAGE, Notification};
