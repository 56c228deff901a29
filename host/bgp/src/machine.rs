//! The session machine of one neighbour: RFC 4271 §8 with collision handling, RFC 4724 and RFC 8538 graceful restart.
//!
//! # Collisions
//! Both sides may dial at once. The connection dialled by the side with the higher BGP Identifier wins (RFC 4271 §6.8;
//! the higher AS number where the identifiers are equal, RFC 6286 §2.3). As soon as one OPEN was received the winner is
//! known, and the loser is *held*: its OPEN is not confirmed by a KEEPALIVE while the winner is still under way. So a
//! connection is confirmed only when no better one exists, and an established session is never lost to a collision.
//!
//! # Graceful restart
//! While a session is established and the neighbour announced graceful restart, a new connection of the neighbour
//! means that it restarted: on its OPEN the old one is dropped without a word and everything is announced again
//! (RFC 4724 §5). Within the first seconds it is the tail of a collision instead and is refused.

mod config;
mod connection;
mod negotiation;
mod session;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::{Family, RouteAttributes};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

pub use config::{BfdUse, GracefulRestart, NextHops, PeerConfig, PeerConfigError};
use connection::{Connection, Phase};
pub use negotiation::Negotiated;
use negotiation::Offer;

use crate::error::{DownReason, Refusal, RefusedRoutes};
use crate::metrics::Counters;
use crate::rib::AdjRibOut;
use crate::timer::{self, Jitter};
use crate::wire::{self, Notification, cease};

/// Identity of one TCP connection of one peer; never used twice, so that a late event of a connection that is gone
/// cannot touch its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// This side.
    Dialled,
    /// The neighbour.
    Accepted,
}

/// What the driver tells the machine.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Administratively enabled: connect as soon as [`Input::Ready`] or [`Input::ConnectEarly`] allows it.
    Start,
    /// Administratively disabled: every connection is closed as the reason says.
    Stop(StopReason),
    /// What is wanted is complete: the neighbour may be connected, and End-of-RIB may follow the announcements.
    Ready,
    /// The neighbour may be connected although what is wanted is not complete: nothing is announced and no End-of-RIB
    /// is sent before [`Input::Ready`]. For a restart whose restart time is running out (RFC 4724 §4.1).
    ConnectEarly,
    /// A connection is up: the dial of [`Output::Dial`] with its identity, or an accepted one with an identity from
    /// [`Peer::accept`].
    Opened {
        /// The connection.
        id: ConnectionId,
        /// Its address on this side: the default next hop of its family.
        local: IpAddr,
        /// An address of the other family that is reachable for the neighbour in the same way, if there is one: the
        /// default next hop of that family.
        other_family: Option<IpAddr>,
    },
    /// A dial failed, or a connection ended with an error.
    Failed {
        /// The connection.
        id: ConnectionId,
        /// The operating system's text.
        error: &'a str,
    },
    /// The neighbour closed the connection in order.
    Closed {
        /// The connection.
        id: ConnectionId,
    },
    /// Octets arrived.
    Received {
        /// The connection.
        id: ConnectionId,
        /// Any part of the stream.
        data: &'a [u8],
    },
    /// What BFD says of the path to the neighbour; without a word it is unknown.
    Bfd(Path),
    /// The time of [`Peer::deadline`] has come.
    Tick,
    /// A prefix is wanted with these attributes, or (`None`) no longer.
    Set {
        /// The prefix; host bits are cleared.
        prefix: IpNet,
        /// Its attributes.
        attributes: Option<Arc<RouteAttributes>>,
    },
}

/// What BFD says of the path to a neighbour (RFC 5880 §6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Path {
    /// No BFD session has said anything, or there is none any more.
    #[default]
    Unknown,
    /// Both sides hear each other.
    Up,
    /// The neighbour is not heard any more, or does not hear this side: the session ends.
    Down,
    /// The neighbour switched its BFD off, which says nothing of the path (RFC 5882 §4.2).
    AdminDown,
}

/// How a peer is stopped. Where both sides negotiated NOTIFICATION support of graceful restart (RFC 8538), all but
/// [`StopReason::Silent`] and [`StopReason::ConfigurationChange`] are sent as a Hard Reset, so that the routes go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// Close the connection without a NOTIFICATION: with graceful restart the neighbour keeps the routes.
    Silent,
    /// Cease, Administrative Shutdown with a shutdown communication (RFC 9003; at most 255 octets are sent).
    Shutdown(String),
    /// Cease, Peer De-configured.
    Deconfigured,
    /// Cease, Administrative Reset with a shutdown communication.
    Reset(String),
    /// Cease, Other Configuration Change: the session comes back with other parameters.
    ConfigurationChange,
}

impl StopReason {
    fn notification(&self, hard: bool) -> Option<Notification> {
        let notification = match self {
            Self::Silent => return None,
            Self::ConfigurationChange => {
                return Some(Notification::new(wire::CEASE, cease::CONFIGURATION_CHANGE));
            }
            Self::Shutdown(text) => Notification::cease_with_text(cease::SHUTDOWN, text),
            Self::Deconfigured => Notification::new(wire::CEASE, cease::DECONFIGURED),
            Self::Reset(text) => Notification::cease_with_text(cease::RESET, text),
        };
        Some(if hard { notification.hard() } else { notification })
    }
}

/// What the machine tells the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Open a connection to the neighbour.
    Dial {
        /// Its identity.
        id: ConnectionId,
    },
    /// Close a connection (or give up its dial). The machine has forgotten it already.
    Close {
        /// The connection.
        id: ConnectionId,
        /// A NOTIFICATION to write after what was handed over, as far as that goes without waiting long; often empty.
        farewell: Bytes,
        /// Reset the connection rather than finish it: the neighbour does not read.
        reset: bool,
    },
    /// Something happened that is worth a log line, a count or a condition.
    Event(Event),
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session is up.
    Established(Negotiated),
    /// The established session is over.
    Down(DownReason),
    /// A connection ended that was no session yet. Losers of a collision are not reported.
    AttemptFailed(DownReason),
    /// The next attempts leave optional capabilities out, as the neighbour refused them (RFC 5492 §3).
    CapabilitiesReduced,
    /// The neighbour asked for the routes of a family again (RFC 2918).
    RefreshRequested(Family),
    /// The neighbour has sent all its routes of a family (RFC 4724 §2).
    EndOfRibReceived(Family),
    /// A message was received, or the start of something that is none. Told where [`PeerConfig::trace`] is set; what is sent the
    /// driver sees anyway.
    MessageReceived(Bytes),
    /// Routes that this session cannot carry; told once per session, family and attribute set.
    Refused(Refusal),
}

/// The state of a peer, that of its furthest connection (RFC 4271 §8.2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub enum State {
    /// Stopped, or not ready.
    Idle,
    /// Waiting: for the next dial, or for the neighbour.
    Active,
    /// Dialling.
    Connect,
    /// OPEN sent.
    OpenSent,
    /// OPEN received and accepted.
    OpenConfirm,
    /// The session is up.
    Established,
}

impl State {
    /// The state's name in RFC 4271.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Active => "Active",
            Self::Connect => "Connect",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One neighbour. See the [crate] for how it is driven.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    jitter: Jitter,
    started: bool,
    may_connect: bool,
    complete: bool,
    next_connection: u64,
    /// One per direction, and for moments one more that is about to replace another.
    connections: Vec<Connection>,
    dial_at: Option<Instant>,
    dial_failures: u32,
    session_failures: u32,
    offer: Offer,
    /// The R bit is due: the process restarted, and no session has yet seen an End-of-RIB of every family.
    restarting: bool,
    /// The F bit: the data path is as the neighbour knows it.
    forwarding_preserved: bool,
    rib: AdjRibOut,
    path: Path,
    counters: Counters,
    last_error: Option<DownReason>,
}

impl Peer {
    /// A stopped peer. `seed` feeds the jitter of every timer: peers need different ones.
    pub fn new(config: PeerConfig, seed: u64) -> Result<Self, PeerConfigError> {
        config.check()?;
        let mut rib = AdjRibOut::default();
        // Nothing is wanted yet that could be over it.
        let _ = rib.limit(config.prefix_limit);
        Ok(Self {
            restarting: config.restarting,
            forwarding_preserved: config.graceful_restart.is_some_and(|restart| restart.forwarding_preserved),
            config,
            jitter: Jitter::new(seed),
            started: false,
            may_connect: false,
            complete: false,
            next_connection: 1,
            connections: Vec::new(),
            dial_at: None,
            dial_failures: 0,
            session_failures: 0,
            offer: Offer::Full,
            rib,
            path: Path::Unknown,
            counters: Counters::default(),
            last_error: None,
        })
    }

    /// Takes one input and appends what follows from it. `now` never goes back.
    pub fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Start => self.start(now),
            Input::Stop(reason) => self.stop(now, &reason, out),
            Input::Ready => {
                self.complete = true;
                self.allow_connecting(now);
            }
            Input::ConnectEarly => self.allow_connecting(now),
            Input::Opened { id, local, other_family } => {
                self.opened(now, id, connection::Addresses { local, other_family }, out);
            }
            Input::Bfd(path) => self.path_is(now, path, out),
            Input::Failed { id, error } => self.lost(now, id, DownReason::Transport(error.to_owned()), out),
            Input::Closed { id } => self.lost(now, id, DownReason::Closed, out),
            Input::Received { id, data } => self.received(now, id, data, out),
            Input::Tick => self.tick(now, out),
            Input::Set { prefix, attributes } => {
                let refusal = self.rib.set(prefix, attributes);
                out.extend(refusal.map(|refusal| Output::Event(Event::Refused(refusal))));
            }
        }
        self.dial_if_due(now, out);
        self.watch_backlog(now);
    }

    /// An identity for a connection that the neighbour opened, to be followed by [`Input::Opened`]. `None` where no
    /// connection is wanted before the peer is ready: reset it, as a NOTIFICATION would end a graceful restart.
    pub fn accept(&mut self) -> Option<ConnectionId> {
        if self.started && !self.admits() {
            return None;
        }
        let id = self.new_id();
        self.connections.push(Connection::accepted(id));
        Some(id)
    }

    /// When [`Input::Tick`] is due at the latest; `None` where nothing waits.
    pub fn deadline(&self) -> Option<Instant> {
        let dial = self.dial_at.filter(|_| self.may_dial());
        let send_hold = self.send_hold();
        self.connections.iter().filter_map(|connection| connection.deadline(send_hold)).chain(dial).min()
    }

    /// Appends octets for a connection to `buf`, whole messages, until more than `budget` octets were appended or there
    /// is nothing to send; returns how many. Call it while the socket can take data.
    pub fn transmit(&mut self, now: Instant, id: ConnectionId, buf: &mut BytesMut, budget: usize) -> usize {
        let Some(index) = self.index(id) else { return 0 };
        let before = buf.len();
        while buf.len() - before < budget && self.transmit_one(index, buf) {
            self.counters.messages_sent += 1;
        }
        let written = buf.len() - before;
        self.counters.octets_sent += written as u64;
        if written > 0 {
            let keepalive = self.connections[index].keepalive_interval;
            let next = keepalive.map(|interval| now + self.jitter.keepalive(interval));
            let connection = &mut self.connections[index];
            connection.keepalive = next;
            connection.blocked_since = None;
        }
        self.watch_backlog(now);
        written
    }

    /// Takes another configuration. `Ok(true)` where the running connections had to be closed for it, because what was
    /// negotiated no longer holds; everything else takes effect in place.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        config: PeerConfig,
        out: &mut Vec<Output>,
    ) -> Result<bool, PeerConfigError> {
        config.check()?;
        let neighbour = self.negotiated().map(|negotiated| negotiated.peer_asn);
        let renegotiate = self.config.needs_renegotiation(&config, neighbour);
        // A NOTIFICATION would withdraw what the next session announces again, from every node at once: without one the
        // neighbour keeps the routes as of a restart, where the next session is between the same two.
        let keeps_routes = self.negotiated().is_some_and(|negotiated| {
            negotiated.graceful_restart
                && !negotiated.notification_restart
                && config.graceful_restart.is_some()
                && config.local_asn == self.config.local_asn
                && config.peer_asn.admits(negotiated.peer_asn, config.local_asn)
        });
        self.config = config;
        let refusals = self.rib.limit(self.config.prefix_limit);
        out.extend(refusals.into_iter().map(|refusal| Output::Event(Event::Refused(refusal))));
        if renegotiate {
            self.offer = Offer::Full;
            let was_started = self.started;
            let reason = if keeps_routes { StopReason::Silent } else { StopReason::ConfigurationChange };
            self.stop(now, &reason, out);
            if was_started {
                self.start(now);
            }
        } else {
            self.keep_alive_anew(now);
        }
        if let Some(index) = self.established()
            && let Some(encoder) = self.encoder(index)
        {
            let refusals = self.rib.encode_anew(encoder);
            out.extend(refusals.into_iter().map(|refusal| Output::Event(Event::Refused(refusal))));
        }
        self.dial_if_due(now, out);
        self.watch_backlog(now);
        Ok(renegotiate)
    }

    /// Gives running connections the keepalive interval of the configuration; a keepalive that is due before stays so.
    fn keep_alive_anew(&mut self, now: Instant) {
        for connection in &mut self.connections {
            let Some(negotiated) = &mut connection.negotiated else { continue };
            let interval = negotiation::keepalive_time(&self.config, negotiated.hold_time);
            if std::mem::replace(&mut negotiated.keepalive_time, interval) == interval {
                continue;
            }
            connection.keepalive_interval = (!interval.is_zero()).then_some(interval);
            let next = connection.keepalive_interval.map(|interval| now + self.jitter.keepalive(interval));
            connection.keepalive = connection.keepalive.min(next);
        }
    }

    /// The state of the furthest connection.
    pub fn state(&self) -> State {
        let furthest = self.connections.iter().map(|connection| connection.phase.state()).max();
        match furthest {
            Some(state) => state,
            None if self.started && self.admits() => State::Active,
            None => State::Idle,
        }
    }

    /// What the established session negotiated.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.connections[self.established()?].negotiated.as_ref()
    }

    /// The configuration in force.
    pub fn config(&self) -> &PeerConfig {
        &self.config
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the last connection ended, unless a session came up since.
    pub fn last_error(&self) -> Option<&DownReason> {
        self.last_error.as_ref()
    }

    /// Prefixes wanted and prefixes the neighbour has.
    pub fn prefixes(&self) -> (usize, usize) {
        (self.rib.wanted(), self.rib.sent())
    }

    /// What is wanted, without the attributes.
    pub fn wanted_prefixes(&self) -> Vec<IpNet> {
        self.rib.wanted_prefixes()
    }

    /// What was handed to the transport of the established session and not withdrawn: the Adj-RIB-Out.
    pub fn routes_sent(&self) -> Vec<(IpNet, Arc<RouteAttributes>)> {
        self.rib.routes_sent().collect()
    }

    /// What the session cannot carry, and why.
    pub fn refused(&self) -> Vec<RefusedRoutes> {
        self.rib.refused()
    }

    /// Established connections: at most one, ever.
    #[cfg(test)]
    pub(crate) fn established_connections(&self) -> Vec<ConnectionId> {
        let established = self.connections.iter().filter(|connection| connection.phase == Phase::Established);
        established.map(|connection| connection.id).collect()
    }

    /// Connections of any kind.
    #[cfg(test)]
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Octets kept for connections: buffers of what was received in part, and messages that wait to be sent.
    pub fn octets_kept(&self) -> usize {
        let kept = |connection: &Connection| {
            connection.incoming.capacity() + connection.control.iter().map(Bytes::len).sum::<usize>()
        };
        self.connections.iter().map(kept).sum()
    }

    /// Attribute sets kept for routes wanted or sent.
    #[cfg(test)]
    pub(crate) fn attribute_sets(&self) -> usize {
        self.rib.attribute_sets()
    }

    /// What is wanted, with the attributes. Copies every route.
    pub fn routes_wanted(&self) -> Vec<(IpNet, Arc<RouteAttributes>)> {
        self.rib.routes_wanted().collect()
    }

    /// Nothing is left to send on the established session: the neighbour has, or will read, all that is wanted.
    pub fn is_settled(&self) -> bool {
        self.established().is_some_and(|index| !self.has_pending(index))
    }

    fn start(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.dial_failures = 0;
            self.session_failures = 0;
            self.dial_at = Some(now);
        }
    }

    fn allow_connecting(&mut self, now: Instant) {
        if !self.may_connect {
            self.may_connect = true;
            self.dial_at = Some(now);
        }
    }

    fn stop(&mut self, now: Instant, reason: &StopReason, out: &mut Vec<Output>) {
        self.started = false;
        self.dial_at = None;
        while let Some(connection) = self.connections.first() {
            let notification = reason.notification(connection.hard_reset());
            self.close(now, 0, notification, DownReason::Stopped, out);
        }
    }

    fn new_id(&mut self) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        id
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        self.connections.iter().position(|connection| connection.id == id)
    }

    fn established(&self) -> Option<usize> {
        self.connections.iter().position(|connection| connection.phase == Phase::Established)
    }

    /// A dial makes sense: none is under way and no connection got past waiting for the neighbour's OPEN.
    fn may_dial(&self) -> bool {
        self.started
            && self.admits()
            && !self.config.passive
            && self.connections.iter().all(|connection| {
                connection.direction == Direction::Accepted && connection.phase.state() <= State::OpenSent
            })
    }

    /// The neighbour may be connected: what is wanted is there, and BFD does not speak against it.
    fn admits(&self) -> bool {
        let strict = self.config.bfd.is_some_and(|bfd| bfd.strict);
        self.may_connect && (!strict || matches!(self.path, Path::Up | Path::AdminDown))
    }

    /// BFD says something new. Only a path that was up can be lost: a neighbour without BFD never was (RFC 5882 §10.1).
    fn path_is(&mut self, now: Instant, path: Path, out: &mut Vec<Output>) {
        let before = std::mem::replace(&mut self.path, path);
        if self.config.bfd.is_none() {
            return;
        }
        if before == Path::Up && path == Path::Down {
            self.counters.bfd_downs += 1;
            while let Some(connection) = self.connections.first() {
                let notification = Notification::new(wire::CEASE, cease::BFD_DOWN);
                // The neighbour would keep the routes otherwise, of which this side knows that nothing reaches them.
                let notification = if connection.hard_reset() { notification.hard() } else { notification };
                let reason = DownReason::BfdDown(notification.clone());
                self.close(now, 0, Some(notification), reason, out);
            }
        } else if path == Path::Up && before != Path::Up && self.started {
            // Nothing to wait for any more.
            self.dial_at = Some(now);
        }
    }

    fn dial_if_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.may_dial() || self.dial_at.is_none_or(|at| at > now) {
            return;
        }
        self.dial_at = None;
        self.counters.dials += 1;
        let id = self.new_id();
        self.connections.push(Connection::dialling(id, now + timer::CONNECT_TIMEOUT));
        out.push(Output::Dial { id });
    }

    fn send_hold(&self) -> Duration {
        timer::SEND_HOLD.max(self.config.hold_time * 2)
    }
}
