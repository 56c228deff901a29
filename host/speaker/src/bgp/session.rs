//! One session: its machine, its connections, and what is shown of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_bgp::{BfdUse, ConnectionId, DownReason, Negotiated, NextHops, Peer, State};
use bellhop_core::ObjectName;
use bellhop_core::peer::Neighbour;
use bellhop_net::interfaces;
use bellhop_net::tcp::DialOptions;

use super::connection::{Link, Presence};
use super::paths;
use super::snapshot::{FamilyRefusal, PeerSnapshot};
use super::transport::ttl;
use super::{Authentication, BgpConfig, PeerConfig, SessionName};
use crate::bfd::PathStatus;

/// Connections of one peer, those that still say farewell included. A collision takes two and a neighbour that dials anew a
/// few more; whoever opens more than that within a second does not read farewells, and is reset.
const CONNECTIONS_MAX: usize = 16;
/// The machine gives a dial up by itself; the socket's own limit only has to be longer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// One session: its machine and its connections.
pub(super) struct Session {
    pub(super) name: SessionName,
    /// Never used twice.
    pub(super) life: u64,
    pub(super) config: PeerConfig,
    pub(super) machine: Peer,
    /// The neighbour's address; `None` while it was not heard of.
    pub(super) remote: Option<IpAddr>,
    pub(super) links: HashMap<ConnectionId, Link>,
    /// Held by each connection too.
    pub(super) presence: Presence,
    pub(super) established_since: Option<u64>,
    /// The count of UPDATEs when the session began.
    pub(super) updates_before: u64,
    /// Half of the restart time is over: connect although what is wanted is not complete.
    pub(super) connect_early_at: Option<Instant>,
    /// What else is to be said of a dial that has no answer.
    pub(super) hint: Option<String>,
    /// What BFD said last of the path.
    pub(super) path: Option<PathStatus>,
    /// When a session of a range that has no connection is forgotten.
    pub(super) forgotten_at: Option<Instant>,
}

impl Session {
    /// The name of its BGPPeer.
    pub(super) fn peer(&self) -> &ObjectName {
        &self.config.name
    }

    /// Nothing may be dialled or taken: the password, or the neighbour's address, is not known.
    pub(super) fn is_held(&self) -> bool {
        self.config.authentication == Authentication::Awaited || self.remote.is_none()
    }

    /// As many connections are open as may be.
    pub(super) fn is_crowded(&self) -> bool {
        Arc::strong_count(&self.presence) > CONNECTIONS_MAX
    }

    /// The interface that its connections go by, where it must be a certain one.
    pub(super) fn interface(&self) -> Option<&Arc<str>> {
        match &self.config.neighbour {
            Neighbour::Interface(interface) => Some(interface),
            Neighbour::Address(_) | Neighbour::Range { .. } => self.config.source_interface.as_ref(),
        }
    }

    /// Whether a connection from there is its neighbour's. A link-local address is one on its interface alone (RFC 4007).
    pub(super) fn is_from(&self, from: SocketAddr) -> bool {
        let on_link = |scope: u32| {
            self.interface().is_none_or(|name| interfaces::index_of(name).is_ok_and(|index| index == scope))
        };
        self.remote == Some(from.ip())
            && match from {
                SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => on_link(v6.scope_id()),
                _ => true,
            }
    }

    /// Where to dial, and how; `None` while the neighbour was not heard of.
    pub(super) fn dial(&self) -> Option<(SocketAddr, DialOptions)> {
        let options = DialOptions {
            source: self.config.source_address,
            interface: self.interface().cloned(),
            ttl: ttl(&self.config),
            password: self.config.authentication.password().cloned(),
            timeout: DIAL_TIMEOUT,
        };
        Some((SocketAddr::new(self.remote?, self.config.peer_port), options))
    }

    /// What is shown of it.
    pub(super) fn show(&self) -> PeerSnapshot {
        let machine = &self.machine;
        let negotiated = machine.negotiated();
        let (prefixes_wanted, prefixes_sent) = machine.prefixes();
        let counters = machine.counters();
        let refused = machine.refused().into_iter().map(|routes| FamilyRefusal {
            family: routes.refusal.family,
            prefixes: routes.prefixes,
            first: routes.first,
            reason: routes.refusal.reason.to_string(),
        });
        PeerSnapshot {
            peer: self.peer().clone(),
            address: self.remote,
            router_id: negotiated.map(|n| n.router_id),
            peer_asn: negotiated
                .map(|n| n.peer_asn)
                .or(self.config.peer_asn.known(self.config.local_asn))
                .unwrap_or_default(),
            local_asn: self.config.local_asn,
            state: machine.state(),
            established_since: self.established_since,
            hold_time: negotiated.map_or(self.config.hold_time, |n| n.hold_time).as_secs(),
            families: negotiated.map_or_else(|| self.config.families.clone(), |n| n.families.clone()),
            graceful_restart: negotiated.is_some_and(|n| n.graceful_restart),
            capabilities: negotiated.map(capabilities).unwrap_or_default(),
            prefixes_wanted,
            prefixes_sent,
            updates_sent: counters.updates_sent.saturating_sub(self.updates_before),
            counters,
            last_error: self.last_error(),
            problem: self.config.problem.clone(),
            refused: refused.collect(),
            bfd: self.path.clone(),
        }
    }

    /// What ended the last session or attempt; of a session that waits for something, what that is.
    fn last_error(&self) -> Option<String> {
        if self.config.authentication == Authentication::Awaited {
            let problem = self.config.problem.as_ref();
            return Some(
                problem.map_or("waits for its password".into(), |problem| problem.message.to_string()),
            );
        }
        if let (None, Neighbour::Interface(interface)) = (self.remote, &self.config.neighbour) {
            return Some(match interfaces::index_of(interface) {
                Ok(_) => format!("no router advertisement was heard on {interface} yet"),
                Err(error) => error.to_string(),
            });
        }
        if let Some(wait) = paths::strict_wait(self.config.bfd.as_ref(), self.path.as_ref()) {
            return Some(wait);
        }
        let reason = self.machine.last_error()?;
        let signed = self.config.authentication.password().is_some();
        Some(match (reason, &self.hint) {
            (DownReason::Timeout(_), Some(hint)) if signed => format!("{reason}; {hint}"),
            _ => reason.to_string(),
        })
    }

    pub(super) fn is_established(&self) -> bool {
        self.machine.state() == State::Established
    }
}

/// What both sides can beyond the families and graceful restart, in the words of the field.
fn capabilities(negotiated: &Negotiated) -> Vec<&'static str> {
    let all = [
        (negotiated.four_octet, "4-octet AS"),
        (negotiated.route_refresh && !negotiated.enhanced_refresh, "route refresh"),
        (negotiated.enhanced_refresh, "enhanced route refresh"),
        (negotiated.graceful_restart, "graceful restart"),
        (negotiated.notification_restart, "graceful restart after NOTIFICATION"),
        (negotiated.extended_next_hop, "extended next hop"),
        (negotiated.peer_role.is_some(), "role"),
    ];
    all.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}

pub(super) fn machine_config(config: &BgpConfig, peer: &PeerConfig) -> bellhop_bgp::PeerConfig {
    let unnumbered = matches!(peer.neighbour, Neighbour::Interface(_));
    bellhop_bgp::PeerConfig {
        local_asn: peer.local_asn,
        peer_asn: peer.peer_asn,
        router_id: config.router_id,
        families: peer.families.clone(),
        hold_time: peer.hold_time,
        keepalive_time: peer.keepalive_time,
        connect_retry: peer.connect_retry,
        passive: peer.passive || matches!(peer.neighbour, Neighbour::Range { .. }),
        graceful_restart: peer.graceful_restart,
        restarting: config.restarting,
        next_hops: NextHops { v4: peer.next_hop_v4, v6: peer.next_hop_v6 },
        // Between link-local addresses there is no other way for IPv4.
        extended_next_hop: peer.extended_next_hop || unnumbered,
        role: peer.role,
        prefix_limit: peer.prefix_limit,
        bfd: peer.bfd.as_ref().map(|bfd| BfdUse { strict: bfd.strict }),
        trace: peer.log_messages,
    }
}
