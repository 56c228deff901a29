//! What a router's bgpd holds: its table and its neighbours, as typed values.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::frr::Frr;
use crate::plan::Node;

/// The community GRACEFUL_SHUTDOWN (RFC 8326), as FRR prints it.
pub const GRACEFUL_SHUTDOWN: &str = "gracefulShutdown";

/// An address family, as FRR's commands name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    const fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// A path of the BGP table after the inbound policy: what one node announces for one prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Address of the neighbour that announced it.
    pub peer: IpAddr,
    /// Its next hop, the global one.
    pub next_hop: IpAddr,
    /// COMMUNITIES in the order and form in which FRR prints them: `64500:100`, `noExport`, [`GRACEFUL_SHUTDOWN`].
    pub communities: Vec<String>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<String>,
    /// AS_PATH, flattened.
    pub as_path: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF as received or as the inbound policy set it; `None` for an external path it did not touch.
    pub local_preference: Option<u32>,
    /// True when its next hop is reachable.
    pub valid: bool,
    /// True when it is used for forwarding: the best path, or equal to it.
    pub used: bool,
    /// True when it is kept from a session that is down (RFC 4724).
    pub stale: bool,
}

impl Path {
    /// The node that announced it.
    pub fn node(&self) -> Option<Node> {
        Node::of_address(self.peer)
    }

    /// True when it carries [`GRACEFUL_SHUTDOWN`].
    pub fn is_shutting_down(&self) -> bool {
        self.communities.iter().any(|community| community == GRACEFUL_SHUTDOWN)
    }
}

/// Paths by prefix, each list in the order of the neighbours' addresses.
pub type Table = BTreeMap<String, Vec<Path>>;

/// The host route of an address, as tables name it.
pub fn host_route(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// What a router holds of one family.
///
/// # Errors
/// When bgpd does not answer, or in an unknown form.
pub fn table(frr: &Frr, family: Family) -> Result<Table> {
    let raw: RawTable = frr.bgpd_json(&format!("show bgp {} unicast json detail", family.word()))?;
    raw.into_table()
}

/// What a router holds for one address; empty where it has no route to it.
///
/// # Errors
/// As [`table`].
pub fn paths(frr: &Frr, address: IpAddr) -> Result<Vec<Path>> {
    let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    Ok(table(frr, family)?.remove(&host_route(address)).unwrap_or_default())
}

#[derive(Deserialize)]
struct RawTable {
    #[serde(default)]
    routes: BTreeMap<String, Vec<RawPath>>,
}

/// An entry of a prefix's list: first one that only repeats prefix and version, then the paths.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPath {
    peer: Option<RawPeer>,
    #[serde(default)]
    nexthops: Vec<RawNextHop>,
    #[serde(default)]
    community: RawList,
    #[serde(default)]
    large_community: RawList,
    #[serde(default)]
    aspath: RawAsPath,
    metric: Option<u32>,
    #[serde(rename = "locPrf")]
    local_preference: Option<u32>,
    #[serde(default)]
    valid: bool,
    #[serde(default)]
    multipath: bool,
    #[serde(default)]
    bestpath: RawBest,
    #[serde(default)]
    stale: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPeer {
    peer_id: IpAddr,
}

#[derive(Deserialize)]
struct RawNextHop {
    ip: IpAddr,
    #[serde(default)]
    scope: String,
}

#[derive(Default, Deserialize)]
struct RawList {
    #[serde(default)]
    list: Vec<String>,
}

#[derive(Default, Deserialize)]
struct RawAsPath {
    #[serde(default)]
    segments: Vec<RawSegment>,
}

#[derive(Deserialize)]
struct RawSegment {
    list: Vec<u32>,
}

#[derive(Default, Deserialize)]
struct RawBest {
    #[serde(default)]
    overall: bool,
}

impl RawTable {
    fn into_table(self) -> Result<Table> {
        let mut table = Table::new();
        for (prefix, entries) in self.routes {
            let mut paths = entries
                .into_iter()
                .filter_map(RawPath::into_path)
                .collect::<Result<Vec<_>>>()
                .with_context(|| format!("in the paths of {prefix}"))?;
            paths.sort_by_key(|path| path.peer);
            table.insert(prefix, paths);
        }
        Ok(table)
    }
}

impl RawPath {
    fn into_path(self) -> Option<Result<Path>> {
        let peer = self.peer?.peer_id;
        let global = self.nexthops.iter().find(|hop| hop.scope != "link-local").map(|hop| hop.ip);
        let path =
            global.with_context(|| format!("the path of {peer} has no global next hop")).map(|next_hop| {
                Path {
                    peer,
                    next_hop,
                    communities: self.community.list,
                    large_communities: self.large_community.list,
                    as_path: self.aspath.segments.into_iter().flat_map(|segment| segment.list).collect(),
                    med: self.metric,
                    local_preference: self.local_preference,
                    valid: self.valid,
                    used: self.multipath || self.bestpath.overall,
                    stale: self.stale,
                }
            });
        Some(path)
    }
}

/// A session as the router sees it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbor {
    /// State of the finite state machine: `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established`.
    #[serde(rename = "bgpState")]
    pub state: String,
    /// When the session was established, in seconds since 1970: changes with every new session.
    #[serde(rename = "bgpTimerUpEstablishedEpoch", default)]
    pub established_epoch: u64,
    /// How often a session was established.
    #[serde(default)]
    pub connections_established: u64,
    /// Messages since bgpd started.
    #[serde(default)]
    pub message_stats: Messages,
    /// What the neighbour said of graceful restart when the session was opened.
    #[serde(default)]
    pub graceful_restart_info: GracefulRestart,
    /// Why the last session ended; empty where none did.
    #[serde(default)]
    pub last_reset_due_to: String,
}

/// The graceful restart capability as it was received (RFC 4724 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GracefulRestart {
    /// The R bit: the neighbour has restarted.
    pub r_bit: bool,
    /// Of IPv4 unicast.
    pub ipv4_unicast: ForwardingState,
    /// Of IPv6 unicast.
    pub ipv6_unicast: ForwardingState,
}

/// What the capability says of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardingState {
    /// The F bit: the neighbour has gone on to forward.
    pub f_bit: bool,
}

impl GracefulRestart {
    /// True for a neighbour that says that it has restarted and gone on to forward both families.
    pub fn has_restarted_forwarding(&self) -> bool {
        self.r_bit && self.ipv4_unicast.f_bit && self.ipv6_unicast.f_bit
    }
}

/// Counts of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// UPDATE messages received, End-of-RIB markers included.
    #[serde(default)]
    pub updates_recv: u64,
    /// NOTIFICATION messages received.
    #[serde(default)]
    pub notifications_recv: u64,
    /// NOTIFICATION messages sent.
    #[serde(default)]
    pub notifications_sent: u64,
}

impl Neighbor {
    /// True when the session that is up is the one of an earlier look. bgpd tells the time of establishment from the
    /// session's age in whole seconds, so that two looks at one session may differ by one.
    pub fn is_same_session(&self, earlier: &Self) -> bool {
        self.is_established()
            && self.connections_established == earlier.connections_established
            && self.established_epoch.abs_diff(earlier.established_epoch) <= 1
    }

    /// True when the session is up.
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

/// The sessions of a router with the lab's nodes.
///
/// # Errors
/// When bgpd does not answer, or in an unknown form.
pub fn neighbors(frr: &Frr) -> Result<BTreeMap<Node, Neighbor>> {
    let all: BTreeMap<IpAddr, Neighbor> = frr.bgpd_json("show bgp neighbors json")?;
    Ok(all
        .into_iter()
        .filter_map(|(address, neighbor)| Some((Node::of_address(address)?, neighbor)))
        .collect())
}

/// The nodes whose route to `address` the router uses for forwarding, in order.
///
/// # Errors
/// As [`table`].
pub fn nodes_in_use(frr: &Frr, address: IpAddr) -> Result<Vec<Node>> {
    Ok(paths(frr, address)?.iter().filter(|path| path.used).filter_map(Path::node).collect())
}

/// A watch on the UPDATE messages that a router receives, by its own log.
#[derive(Debug)]
pub struct UpdateLog {
    frr: Frr,
    start: usize,
}

impl UpdateLog {
    /// Makes bgpd log every prefix of every UPDATE from now on.
    ///
    /// # Errors
    /// When bgpd does not answer.
    pub fn start(frr: Frr) -> Result<Self> {
        frr.bgpd("debug bgp updates in")?;
        let start = frr.bgpd_log()?.len();
        Ok(Self { frr, start })
    }

    /// The lines since then about prefixes that an UPDATE withdrew.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn withdrawals(&self) -> Result<Vec<String>> {
        Ok(self.lines()?.into_iter().filter(|line| line.contains("withdrawn")).collect())
    }

    /// The lines since then about prefixes that an UPDATE announced.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn announcements(&self) -> Result<Vec<String>> {
        let announces =
            |line: &String| line.contains("rcvd") && !line.contains("withdrawn") && line.contains('/');
        Ok(self.lines()?.into_iter().filter(announces).collect())
    }

    fn lines(&self) -> Result<Vec<String>> {
        let log = self.frr.bgpd_log()?;
        Ok(log.get(self.start..).unwrap_or_default().lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"routes":{"2001:db8:53::10/128":[{"prefix":"2001:db8:53::10/128","version":2},
        {"aspath":{"string":"64500 64500","segments":[{"type":"as-sequence","list":[64500,64500]}],"length":2},"metric":50,
         "valid":true,"multipath":true,"community":{"string":"","list":["64500:1","gracefulShutdown"]},
         "largeCommunity":{"string":"","list":["64500:2:3"]},
         "nexthops":[{"ip":"2001:db8:0:1::13","scope":"global"},{"ip":"fe80::1","scope":"link-local"}],"peer":{"peerId":"192.0.2.13"}},
        {"aspath":{"string":"Local","segments":[],"length":0},"locPrf":100,"valid":true,"bestpath":{"overall":true},"stale":true,
         "nexthops":[{"ip":"2001:db8:0:1::11","scope":"global"}],"peer":{"peerId":"192.0.2.11"}}]}}"#;

    #[test]
    fn the_table_of_frr_is_read_with_every_attribute() {
        let table = serde_json::from_str::<RawTable>(TABLE).unwrap().into_table().unwrap();
        let [first, second] = table["2001:db8:53::10/128"].as_slice() else { panic!("{table:?}") };
        assert_eq!((first.node(), first.stale, first.used), (Some(Node::ALL[0]), true, true));
        assert_eq!((first.local_preference, first.med, first.as_path.len()), (Some(100), None, 0));
        assert_eq!(second.next_hop.to_string(), "2001:db8:0:1::13");
        assert_eq!((second.med, second.as_path.as_slice()), (Some(50), [64500, 64500].as_slice()));
        assert_eq!(second.large_communities, ["64500:2:3"]);
        assert!(second.is_shutting_down() && !first.is_shutting_down());
    }
}
