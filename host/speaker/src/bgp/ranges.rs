//! Peers of which only the range of addresses is known: a session begins when a neighbour of it connects.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::peer::Neighbour;
use bellhop_core::{ObjectName, RouteAttributes};
use ipnet::IpNet;

use super::session::Session;
use super::{PeerConfig, RouteChange, SessionName};

/// How long a session of a range is shown after its last connection, and keeps its machine: a neighbour that lost its session
/// and comes again finds what was known of it.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// A range and what is wanted of whoever comes from it.
pub(super) struct Range {
    pub(super) config: PeerConfig,
    pub(super) wanted: BTreeMap<IpNet, Arc<RouteAttributes>>,
}

impl Range {
    pub(super) fn note(&mut self, change: &RouteChange) {
        match &change.attributes {
            Some(attributes) => self.wanted.insert(change.prefix, attributes.clone()),
            None => self.wanted.remove(&change.prefix),
        };
    }

    /// The prefix, and how many sessions there may be.
    fn bounds(&self) -> Option<(IpNet, usize)> {
        match self.config.neighbour {
            Neighbour::Range { prefix, most } => Some((prefix, most.into())),
            Neighbour::Address(_) | Neighbour::Interface(_) => None,
        }
    }
}

/// Whether a neighbour's connection begins a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// It is of this range; a session without a connection makes room for it where there must be some.
    Admitted { peer: ObjectName, instead_of: Option<SessionName> },
    /// It is of this one, which has as many as it may.
    Full(ObjectName, usize),
    /// It is of none.
    Unknown,
}

/// The session of a range with a neighbour.
pub(super) fn session_name(peer: &ObjectName, neighbour: IpAddr) -> SessionName {
    format!("{peer}/{neighbour}").into()
}

/// Whose neighbour it is: that of the range with the longest prefix, then the first by name.
pub(super) fn range_of(ranges: &BTreeMap<ObjectName, Range>, neighbour: IpAddr) -> Option<&ObjectName> {
    let covering = ranges
        .iter()
        .filter_map(|(name, range)| Some((name, range.bounds()?.0)))
        .filter(|(_, prefix)| prefix.contains(&neighbour));
    // Of equals `max_by_key` takes the last.
    covering.rev().max_by_key(|(_, prefix)| prefix.prefix_len()).map(|(name, _)| name)
}

/// Whether this neighbour, which has no session, may have one. Those without a connection keep nobody out, and are never more
/// than the range may have either.
pub(super) fn admit(
    ranges: &BTreeMap<ObjectName, Range>,
    sessions: &BTreeMap<SessionName, Session>,
    neighbour: IpAddr,
) -> Admission {
    let Some(name) = range_of(ranges, neighbour) else { return Admission::Unknown };
    let Some((_, most)) = ranges.get(name).and_then(Range::bounds) else { return Admission::Unknown };
    let of_range = || sessions.values().filter(|session| session.peer() == name);
    let idle = of_range().filter(|session| session.links.is_empty());
    let instead_of = idle.min_by_key(|session| session.forgotten_at).map(|session| session.name.clone());
    match instead_of {
        _ if of_range().count() < most => Admission::Admitted { peer: name.clone(), instead_of: None },
        None => Admission::Full(name.clone(), most),
        instead_of => Admission::Admitted { peer: name.clone(), instead_of },
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::Authentication;
    use super::*;

    fn range(name: &str, prefix: &str) -> (ObjectName, Range) {
        let config = PeerConfig {
            name: name.into(),
            neighbour: Neighbour::Range { prefix: prefix.parse().unwrap(), most: 2 },
            peer_port: 179,
            peer_asn: 64_513.into(),
            local_asn: 64_512,
            source_address: None,
            source_interface: None,
            next_hop_v4: None,
            next_hop_v6: None,
            passive: false,
            redirect_port: None,
            hold_time: Duration::from_secs(90),
            keepalive_time: None,
            connect_retry: Duration::from_secs(10),
            ebgp_multihop: None,
            ttl_security: None,
            authentication: Authentication::Nothing,
            problem: None,
            families: Vec::new(),
            extended_next_hop: false,
            role: None,
            bfd: None,
            prefix_limit: None,
            graceful_restart: None,
            shutdown_text: None,
            log_messages: false,
        };
        (name.into(), Range { config, wanted: BTreeMap::new() })
    }

    #[test]
    fn of_ranges_that_overlap_the_longest_prefix_has_the_neighbour_then_the_first_name() {
        let ranges = [
            range("all", "192.0.0.0/16"),
            range("racks", "192.0.2.0/24"),
            range("racks-too", "192.0.2.0/24"),
            range("v6", "2001:db8::/64"),
        ]
        .into();
        let of = |octets: [u8; 4]| range_of(&ranges, Ipv4Addr::from(octets).into()).map(|name| &**name);
        assert_eq!(of([192, 0, 2, 7]), Some("racks"));
        assert_eq!(of([192, 0, 3, 7]), Some("all"));
        assert_eq!(of([198, 51, 100, 7]), None);
        assert_eq!(range_of(&ranges, "2001:db8::7".parse().unwrap()).map(|name| &**name), Some("v6"));
        let admitted = admit(&ranges, &BTreeMap::new(), "192.0.2.7".parse().unwrap());
        assert_eq!(admitted, Admission::Admitted { peer: "racks".into(), instead_of: None });
        assert_eq!(&*session_name(&"racks".into(), "192.0.2.7".parse().unwrap()), "racks/192.0.2.7");
    }
}
