//! Bidirectional Forwarding Detection without sockets, clocks or randomness of its own.
//!
//! One [`Session`] is what RFC 5880 §6.8.1 keeps for a neighbour: the state, the diagnostics, what the neighbour last
//! said, the timers of both directions and the Poll Sequence. A [`Table`] owns the sessions of a process: it allots
//! discriminators, finds the session of a packet, and knows which session is due first. Single hop (RFC 5881) and
//! multihop (RFC 5883) differ in the UDP port, in what of the path identifies a session, and in the TTL a packet must
//! still have.
//!
//! ```text
//!               Enable, Disable, PathDown, Forget ──┐
//! driver ──► octets ──► Table::receive (decode,     ├──► Session::handle ──► Transmit, StateChanged ──► driver
//!                       demultiplex, TTL) ──────────┤
//!               Table::tick at Table::deadline() ───┘
//! ```
//!
//! # The driver's round
//! Whatever wakes the driver, it does the same: read the clock **once**, hand in everything that the sockets hold with
//! [`Table::receive`], and only then call [`Table::tick`], all with that one time. Silence is judged in the tick alone,
//! so the neighbour is never declared down for packets that came in time and waited in a socket while this process did
//! not run. A tick that skips the reading breaks that promise. A round that came late is counted
//! ([`Counters::late_wakes`]), and a session that went down in it says how late it was
//! ([`Cause::DetectionExpired`]): that tells a stall of our own from a neighbour that fell silent.
//!
//! Packets leave with [`TTL`] from a port of [`SOURCE_PORTS`] that the session keeps, to [`Hops::port`].
//!
//! # What a client does with it
//! [`StateChange::is_failure`] is the one question of a routing protocol. A session that is taken down administratively,
//! here or there, is no failure of the path (RFC 5882 §3.2, §4.2).
//!
//! Deliberately absent: authentication (packets with it are refused by name), the Echo function (Required Min Echo RX
//! Interval is 0, so that no neighbour sends any), Demand mode asked for by this side (what a neighbour asks for is
//! honoured), point-to-multipoint sessions, and sessions made by whoever sends a packet. The C bit is never set: the
//! sessions share this process's fate.

#![forbid(unsafe_code)]

mod error;
mod machine;
mod metrics;
mod table;
mod timer;
mod wire;

#[cfg(test)]
mod tests;

pub use error::{InsertError, ReconfigureError, Refusal};
pub use machine::{
    Cause, Hops, INTERVALS, Input, Kind, Output, Remote, Role, Session, SessionConfig, SessionConfigError,
    StateChange,
};
pub use metrics::{Counters, Tally};
pub use table::{Arrival, Emitted, MAX_SESSIONS, SessionKey, Table};
pub use timer::LATE_WAKE;
pub use wire::{Diagnostic, Discriminator, PACKET_LENGTH, Packet, SOURCE_PORTS, State, TTL};
