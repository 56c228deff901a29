//! What a peer is configured with.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::Family;
use bellhop_core::peer::{OwnRole, PeerAsn};

/// Configuration of one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// The AS number of this side, not 0.
    pub local_asn: u32,
    /// Which AS number the neighbour must have.
    pub peer_asn: PeerAsn,
    /// The BGP Identifier of this side, not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// Families to announce; at least one, each once.
    pub families: Vec<Family>,
    /// Proposed hold time: 0 (no keepalives) or 3 to 65535 s; parts of a second are dropped.
    pub hold_time: Duration,
    /// Keepalive interval; a third of the negotiated hold time at most and by default.
    pub keepalive_time: Option<Duration>,
    /// The longest delay between two dials; the first ones come faster.
    pub connect_retry: Duration,
    /// Never dial, wait for the neighbour.
    pub passive: bool,
    /// Announce graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// The process restarted on a node that did not: the R bit in the OPENs until a session got its End-of-RIBs.
    pub restarting: bool,
    /// Next hops in place of the session's own addresses.
    pub next_hops: NextHops,
    /// Announce IPv4 routes with an IPv6 next hop where the neighbour understands it (RFC 8950) and no IPv4 one is
    /// configured.
    pub extended_next_hop: bool,
    /// The role of this side towards an external neighbour (RFC 9234).
    pub role: Option<OwnRole>,
    /// Most prefixes of a family that are announced; what is wanted above it is refused, and told. What was announced
    /// when it is lowered stays.
    pub prefix_limit: Option<u32>,
    /// A BFD session watches the path to the neighbour (RFC 5882): its loss ends this one.
    pub bfd: Option<BfdUse>,
    /// Tell every message received ([`Event::MessageReceived`](crate::Event::MessageReceived)).
    pub trace: bool,
}

/// How BFD concerns the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BfdUse {
    /// Do not connect, nor take a connection, before BFD says that the path is up.
    pub strict: bool,
}

/// The Graceful Restart capability of this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GracefulRestart {
    /// For how long the neighbour should keep routes: up to 4095 s.
    pub restart_time: Duration,
    /// The N bit (RFC 8538): the neighbour keeps the routes also after a NOTIFICATION and after its hold timer expired.
    pub notification: bool,
    /// The F bit until a session has got its End-of-RIBs: the data path is as the process before left it, in the same
    /// boot. Afterwards the bit is always set, as the data path goes on between sessions.
    pub forwarding_preserved: bool,
}

/// Next hops by family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NextHops {
    /// For IPv4 routes.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 routes.
    pub v6: Option<Ipv6Addr>,
}

/// Why a configuration cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerConfigError {
    /// AS 0 (RFC 7607).
    #[error("{field}: 0 is no AS number; use 1 to 4294967295")]
    Asn {
        /// Name of the field.
        field: &'static str,
    },
    /// Router ID 0.0.0.0 (RFC 6286 §2.1).
    #[error("router_id: 0.0.0.0 is no BGP Identifier; use an IPv4 address of the node, unique in its AS")]
    RouterId,
    /// A hold time that RFC 4271 §4.2 forbids.
    #[error("hold_time: {0:?} is not allowed; use 0 or 3 s to 65535 s")]
    HoldTime(Duration),
    /// A keepalive of nothing would be sent all the time.
    #[error("keepalive_time: {0:?} is too short; use at least 1 s")]
    KeepaliveTime(Duration),
    /// More than twelve bits.
    #[error("graceful_restart.restart_time: {0:?} is too long; use at most 4095 s")]
    RestartTime(Duration),
    /// No family, or one twice.
    #[error("families: {0} entries; name IPv4, IPv6 or both, each once")]
    Families(usize),
    /// Roles are between AS numbers.
    #[error("role: an internal peer has none (RFC 9234); leave it out, or set another AS number")]
    InternalRole,
}

impl PeerConfig {
    /// Whether the values are in their bounds.
    pub fn check(&self) -> Result<(), PeerConfigError> {
        for (field, asn) in [("local_asn", Some(self.local_asn)), ("peer_asn", self.exact_peer_asn())] {
            if asn == Some(0) {
                return Err(PeerConfigError::Asn { field });
            }
        }
        if self.role.is_some() && self.is_internal() {
            return Err(PeerConfigError::InternalRole);
        }
        if self.router_id.is_unspecified() {
            return Err(PeerConfigError::RouterId);
        }
        if matches!(self.hold_time.as_secs(), 1 | 2 | 65536..) {
            return Err(PeerConfigError::HoldTime(self.hold_time));
        }
        if let Some(time) = self.keepalive_time.filter(|time| *time < Duration::from_secs(1)) {
            return Err(PeerConfigError::KeepaliveTime(time));
        }
        if let Some(gr) = self.graceful_restart.filter(|gr| gr.restart_time.as_secs() > 4095) {
            return Err(PeerConfigError::RestartTime(gr.restart_time));
        }
        let distinct = Family::ALL.iter().filter(|family| self.families.contains(family)).count();
        if distinct == 0 || distinct != self.families.len() {
            return Err(PeerConfigError::Families(self.families.len()));
        }
        Ok(())
    }

    /// Both sides are of one AS (iBGP).
    pub fn is_internal(&self) -> bool {
        self.peer_asn.is_internal(self.local_asn)
    }

    fn exact_peer_asn(&self) -> Option<u32> {
        match self.peer_asn {
            PeerAsn::Exactly(asn) => Some(asn),
            PeerAsn::Internal | PeerAsn::External => None,
        }
    }

    /// A session under this configuration cannot go on under `next`. Next hops, timers of this side alone, passivity,
    /// the prefix limit, BFD, and the bits of graceful restart take effect in place or with the next OPEN.
    /// `neighbour` is the AS number that the neighbour of the session, where there is one, told.
    pub fn needs_renegotiation(&self, next: &Self, neighbour: Option<u32>) -> bool {
        let capability = |config: &Self| config.graceful_restart.map(|gr| (gr.restart_time, gr.notification));
        self.local_asn != next.local_asn
            || self.is_internal() != next.is_internal()
            || (self.peer_asn != next.peer_asn
                && !neighbour.is_some_and(|asn| next.peer_asn.admits(asn, next.local_asn)))
            || self.router_id != next.router_id
            || self.families != next.families
            || self.hold_time != next.hold_time
            || self.extended_next_hop != next.extended_next_hop
            || self.role != next.role
            || capability(self) != capability(next)
    }
}
