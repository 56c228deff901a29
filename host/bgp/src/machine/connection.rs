//! One TCP connection of a peer.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::negotiation::Negotiated;
use super::{ConnectionId, Direction, State};
use crate::wire::attributes::NextHop;

/// How far a connection got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Dialled and not answered yet; or accepted and not reported open yet.
    Opening,
    /// Our OPEN is sent, the neighbour's awaited.
    OpenSent,
    /// The neighbour's OPEN is good, but a connection that wins over this one is under way: no KEEPALIVE yet.
    Held {
        /// The neighbour's KEEPALIVE came already.
        confirmed: bool,
        /// The winner is given up.
        until: Instant,
    },
    /// Our KEEPALIVE is sent, the neighbour's awaited.
    OpenConfirm,
    /// The session is up.
    Established,
}

impl Phase {
    pub(super) fn state(self) -> State {
        match self {
            Self::Opening => State::Connect,
            Self::OpenSent => State::OpenSent,
            Self::Held { .. } | Self::OpenConfirm => State::OpenConfirm,
            Self::Established => State::Established,
        }
    }
}

/// The answer to a route refresh of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum RefreshState {
    #[default]
    None,
    /// Asked for.
    Requested,
    /// Being sent.
    Sending,
}

/// The addresses of this side, as [`Input::Opened`](super::Input::Opened) tells them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Addresses {
    pub(super) local: IpAddr,
    pub(super) other_family: Option<IpAddr>,
}

impl Addresses {
    /// The default next hop of IPv4 routes.
    pub(super) fn v4(&self) -> Option<NextHop> {
        [Some(self.local), self.other_family].into_iter().flatten().find_map(|address| match address {
            IpAddr::V4(address) if !address.is_unspecified() => Some(NextHop::V4(address)),
            _ => None,
        })
    }

    /// The default next hop of IPv6 routes; link-local only where the session itself is. Beside a global one no link-local one
    /// is sent, whatever RFC 2545 §3 says: FRR ties it to the session, and loses the routes of a graceful restart by it.
    pub(super) fn v6(&self) -> Option<NextHop> {
        let own = [Some(self.local), self.other_family].into_iter().flatten();
        let global = own.filter_map(|address| match address {
            IpAddr::V6(address) if !address.is_unspecified() => Some(address),
            _ => None,
        });
        // The session's own comes first.
        let global: Vec<_> = global.collect();
        let found = global.iter().find(|address| !address.is_unicast_link_local()).or(global.first());
        found.map(|address| NextHop::V6(*address))
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) direction: Direction,
    pub(super) phase: Phase,
    /// Known once it is open.
    pub(super) addresses: Option<Addresses>,
    /// Received and not yet a whole message; never more than one message plus what one read brought.
    pub(super) incoming: BytesMut,
    /// Messages that go before UPDATEs: OPEN, KEEPALIVE. Bounded: a KEEPALIVE is queued only where none waits.
    pub(super) control: VecDeque<Bytes>,
    pub(super) negotiated: Option<Negotiated>,
    /// When the hold timer, or the timeout of a dial, expires.
    pub(super) hold: Option<Instant>,
    pub(super) hold_interval: Option<Duration>,
    pub(super) keepalive: Option<Instant>,
    pub(super) keepalive_interval: Option<Duration>,
    /// Since when there is something to send that nobody fetched.
    pub(super) blocked_since: Option<Instant>,
    pub(super) established_at: Option<Instant>,
    /// End-of-RIB due, by family.
    pub(super) end_of_rib: [bool; 2],
    pub(super) refresh: [RefreshState; 2],
}

impl Connection {
    fn new(id: ConnectionId, direction: Direction) -> Self {
        Self {
            id,
            direction,
            phase: Phase::Opening,
            addresses: None,
            incoming: BytesMut::new(),
            control: VecDeque::new(),
            negotiated: None,
            hold: None,
            hold_interval: None,
            keepalive: None,
            keepalive_interval: None,
            blocked_since: None,
            established_at: None,
            end_of_rib: [false; 2],
            refresh: [RefreshState::None; 2],
        }
    }

    pub(super) fn dialling(id: ConnectionId, timeout: Instant) -> Self {
        Self { hold: Some(timeout), ..Self::new(id, Direction::Dialled) }
    }

    pub(super) fn accepted(id: ConnectionId) -> Self {
        Self::new(id, Direction::Accepted)
    }

    /// When the first of its timers expires.
    pub(super) fn deadline(&self, send_hold: Duration) -> Option<Instant> {
        let held = match self.phase {
            Phase::Held { until, .. } => Some(until),
            _ => None,
        };
        let blocked = self.blocked_since.map(|since| since + send_hold);
        [self.hold, self.keepalive, held, blocked].into_iter().flatten().min()
    }

    /// A NOTIFICATION must be a Hard Reset to end the session for good (RFC 8538 §3).
    pub(super) fn hard_reset(&self) -> bool {
        self.phase == Phase::Established && self.negotiated.as_ref().is_some_and(|n| n.notification_restart)
    }

    /// The neighbour saw octets of ours, so that a NOTIFICATION can follow.
    pub(super) fn spoke(&self) -> bool {
        self.phase != Phase::Opening
    }
}
