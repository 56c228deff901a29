//! Typed projections of the objects Bellhop reads: what decisions need of them, checked, and nothing else.
//!
//! A source (`bellhop-index`) makes them from manifests or watch events and refuses what is malformed; whoever holds
//! one of these may rely on what its docs say.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::labels::{Labels, Selector};
use crate::names::{NamespacedName, ObjectName, ServiceKey, Uid};
use crate::password::Password;
use crate::peer::{Neighbour, OwnRole, PeerAsn};
use crate::route::{Family, RouteAttributes};

/// A Service of type LoadBalancer (core/v1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `metadata.uid`; a claim names it, so that a Service made anew under an old name holds nothing.
    pub uid: Uid,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.annotations`.
    pub annotations: Labels,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 where the source has none.
    pub created: i64,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `spec.type` is LoadBalancer and `spec.loadBalancerClass` is ours (or absent, where the source accepts that).
    pub wants_address: bool,
    /// Families wanted, the primary one first; one or two, never the same twice.
    pub families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub family_policy: FamilyPolicy,
    /// Addresses asked for by `bellhop.dev/addresses`, `spec.loadBalancerIP` or a peer's annotation; at most 8.
    pub requested_addresses: Vec<IpAddr>,
    /// Pool asked for by `bellhop.dev/pool` or a peer's annotation.
    pub requested_pool: Option<ObjectName>,
    /// `bellhop.dev/sharing-key`: Services with one key may share an address where their ports are disjoint.
    pub sharing_key: Option<Arc<str>>,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`: where kube-proxy of each node answers whether it has a local endpoint; with
    /// `externalTrafficPolicy: Local` alone.
    pub health_check_node_port: Option<u16>,
    /// `spec.ports[]`.
    pub ports: Vec<Port>,
    /// `status.loadBalancer.ingress[].ip` without those of `ipMode: Proxy`: what kube-proxy serves. Says nothing about who
    /// holds an address. Empty where the source has no status, and for who writes it.
    pub published: Vec<IpAddr>,
}

/// `spec.ipFamilyPolicy` of a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum FamilyPolicy {
    /// One family.
    #[default]
    SingleStack,
    /// Both where both can be had, else one.
    PreferDualStack,
    /// Both or none.
    RequireDualStack,
}

/// `spec.externalTrafficPolicy` of a Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Any node may take the traffic.
    #[default]
    Cluster,
    /// Only nodes with a ready endpoint may.
    Local,
}

/// `spec.ports[]`: protocol and port of a Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Transport protocol.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}

/// `spec.ports[].protocol`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

/// A Namespace (core/v1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: Labels,
}

/// A Node (core/v1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.annotations`.
    pub annotations: Labels,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `spec.taints[]`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.conditions[type=Ready]`; a Node without the condition (a plain host's manifest) is ready.
    pub ready: Readiness,
    /// `status.conditions[type=NetworkUnavailable].status` is True.
    pub network_unavailable: bool,
    /// `status.addresses[]` of types InternalIP and ExternalIP.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    /// The label that takes a node out of all load balancing (KEP-1143).
    pub const EXCLUDE_LABEL: &'static str = "node.kubernetes.io/exclude-from-external-load-balancers";
}

/// A taint of a Node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Taint {
    /// `key`.
    pub key: Arc<str>,
    /// `value`, empty where absent.
    pub value: Arc<str>,
    /// `effect`: NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: Arc<str>,
}

/// Status of a Node's Ready condition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Readiness {
    /// True.
    Ready,
    /// False.
    NotReady,
    /// Unknown: the kubelet has not reported in time.
    Unknown,
}

/// An EndpointSlice (discovery/v1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub key: NamespacedName,
    /// The Service that it belongs to, by the label `kubernetes.io/service-name`.
    pub service: ServiceKey,
    /// `addressType`: the family that these endpoints serve. Slices of type FQDN are not projected.
    pub family: Family,
    /// `endpoints[]`.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a slice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// `nodeName`.
    pub node: Option<ObjectName>,
    /// `conditions.ready`; absent means true.
    pub ready: bool,
    /// `conditions.serving`; absent means as `ready`.
    pub serving: bool,
    /// `conditions.terminating`; absent means false.
    pub terminating: bool,
}

/// A run of addresses of one family, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "(IpAddr, IpAddr)", try_from = "(IpAddr, IpAddr)")]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// A range, or `None` where the families differ or `first` is above `last`.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Family of both ends.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// True when `address` is of this family and within the ends.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.first <= address && address <= self.last
    }

    /// True when some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }
}

impl From<AddressRange> for (IpAddr, IpAddr) {
    fn from(range: AddressRange) -> Self {
        (range.first, range.last)
    }
}

impl TryFrom<(IpAddr, IpAddr)> for AddressRange {
    type Error = &'static str;

    fn try_from((first, last): (IpAddr, IpAddr)) -> Result<Self, Self::Error> {
        Self::new(first, last).ok_or("the ends of a range must be of one family and in order")
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// An AddressPool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddressPool {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.addresses[]`, in the order written, disjoint within the pool.
    pub ranges: Vec<AddressRange>,
    /// `spec.exclude[]`.
    pub exclude: Vec<AddressRange>,
    /// `spec.autoAssign`: may be chosen for Services that name neither pool nor address.
    pub auto_assign: bool,
    /// `spec.priority`: higher is tried first; equal ones by name.
    pub priority: i32,
    /// `spec.namespaceSelector`; `None` admits all.
    pub namespace_selector: Option<Selector>,
    /// `spec.serviceSelector`; `None` admits all.
    pub service_selector: Option<Selector>,
}

impl AddressPool {
    /// True when `address` is in a range of the pool and not excluded.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
            && !self.exclude.iter().any(|range| range.contains(address))
    }

    /// True when every address of `net` is in a range of the pool; one that is excluded is none of another's either.
    pub fn covers(&self, net: IpNet) -> bool {
        let mut next = net.network();
        while let Some(range) = self.ranges.iter().find(|range| range.contains(next)) {
            if range.last() >= net.broadcast() {
                return true;
            }
            next = match range.last() {
                IpAddr::V4(last) => Ipv4Addr::from_bits(last.to_bits().saturating_add(1)).into(),
                IpAddr::V6(last) => Ipv6Addr::from_bits(last.to_bits().saturating_add(1)).into(),
            };
        }
        false
    }
}

/// An AddressClaim: one address in use or reserved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddressClaim {
    /// `spec.address`.
    pub address: IpAddr,
    /// `spec.pool`: the pool that it was taken from.
    pub pool: Option<ObjectName>,
    /// `spec.holders[]`: none for a reservation.
    pub holders: Vec<Holder>,
    /// `spec.decidedBy`: the policy that chose the address. Behind a pointer, as few claims have one.
    pub decided_by: Option<Arc<DecidedBy>>,
}

/// One holder of a claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The Service.
    pub service: ServiceKey,
    /// Its UID when it was given the address.
    pub uid: Uid,
    /// Its ports then.
    pub ports: Vec<Port>,
    /// Its sharing key then.
    pub sharing_key: Option<Arc<str>>,
}

/// Which policy chose an address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DecidedBy {
    /// `metadata.name` of the DecisionPolicy.
    pub policy: ObjectName,
    /// sha256 of its module, hex.
    pub digest: Arc<str>,
    /// What it said about it.
    pub note: Option<Arc<str>>,
}

/// A BGPPeer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BgpPeer {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `metadata.labels`, an input of the `route` decision.
    pub labels: Labels,
    /// `spec.peerAddress`, `spec.peerRange` or `spec.peerInterface`.
    pub neighbour: Neighbour,
    /// `spec.peerPort`, 179 by default.
    pub port: u16,
    /// `spec.peerASN`, 1 to 4294967295, or `spec.dynamicASN`.
    pub asn: PeerAsn,
    /// `spec.localASN`, in place of the SpeakerConfig's.
    pub local_asn: Option<u32>,
    /// `spec.sourceAddress`: of the family of the neighbour's address.
    pub source_address: Option<IpAddr>,
    /// `spec.sourceInterface`: connections go out by it.
    #[serde(default)]
    pub source_interface: Option<Arc<str>>,
    /// `spec.nodeSelector`: which nodes have this peer.
    pub node_selector: Selector,
    /// `spec.holdTime`: zero or at least 3 s (RFC 4271 §4.2).
    pub hold_time: Duration,
    /// `spec.keepaliveTime`: a third of the hold time by default.
    pub keepalive_time: Option<Duration>,
    /// `spec.connectRetryTime`.
    pub connect_retry_time: Duration,
    /// `spec.ebgpMultiHop`: TTL of packets to an external peer that is not on the link.
    pub ebgp_multihop: Option<u8>,
    /// `spec.ttlSecurity` (RFC 5082): packets of the peer that came over more hops than this are dropped, 1 to 254.
    pub ttl_security: Option<u8>,
    /// `spec.passwordSecret`: a Secret of Bellhop's own namespace.
    pub password_secret: Option<ObjectName>,
    /// What that Secret holds. Without it, where one is named, no session is opened.
    pub password: Option<Password>,
    /// `spec.passive`: wait for the peer to connect.
    pub passive: bool,
    /// `spec.redirectPort`: connections of the peer to this port are handed to the speaker's own.
    #[serde(default)]
    pub redirect_port: Option<u16>,
    /// `spec.families`: both by default.
    pub families: Vec<Family>,
    /// `spec.nextHop.ipv4`, in place of the session's own address.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// `spec.nextHop.ipv6`.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// `spec.extendedNextHop`: IPv4 routes over IPv6 next hops (RFC 8950).
    #[serde(default)]
    pub extended_next_hop: bool,
    /// `spec.role` (RFC 9234).
    #[serde(default)]
    pub role: Option<OwnRole>,
    /// `spec.bfd`: how the path is watched.
    #[serde(default)]
    pub bfd: Option<PeerBfd>,
    /// `spec.prefixLimit`: most prefixes of a family that are announced.
    #[serde(default)]
    pub prefix_limit: Option<u32>,
    /// `spec.gracefulRestart.restartTime` where it is enabled (RFC 4724), at most 4095 s.
    pub graceful_restart: Option<Duration>,
    /// `spec.gracefulRestart.notifications` (RFC 8538).
    #[serde(default)]
    pub restart_after_notifications: bool,
    /// `spec.shutdownText`: the shutdown communication (RFC 9003), at most 255 octets.
    pub shutdown_text: Option<Arc<str>>,
    /// `spec.logMessages`: every message goes to the log.
    #[serde(default)]
    pub log_messages: bool,
}

impl BgpPeer {
    /// The field that names the Secret of the password: what is wrong with that Secret is a problem of this field.
    pub const PASSWORD_FIELD: &'static str = "spec.passwordSecret";

    /// Whether a password is asked for and none is known: then no session may be opened.
    pub fn awaits_password(&self) -> bool {
        self.password_secret.is_some() && self.password.is_none()
    }
}

/// `spec.bfd` of a BGPPeer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerBfd {
    /// `profile`: a BFDProfile.
    pub profile: ObjectName,
    /// `strict`: no session before BFD says that the path is up.
    pub strict: bool,
}

/// A BFDProfile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BfdProfile {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `spec.transmitInterval`, 10 ms to 60 s.
    pub transmit_interval: Duration,
    /// `spec.receiveInterval`, 10 ms to 60 s.
    pub receive_interval: Duration,
    /// `spec.detectMultiplier`, 1 to 255.
    pub detect_multiplier: u8,
    /// `spec.passive`.
    pub passive: bool,
    /// `spec.minimumTTL` of sessions over several hops, 1 to 254.
    pub minimum_ttl: u8,
}

/// An Advertisement: which addresses, from which nodes, to which peers, with which attributes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Advertisement {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `spec.pools[]`: names; empty together with no selector means every pool.
    pub pools: Vec<ObjectName>,
    /// `spec.poolSelector`.
    pub pool_selector: Option<Selector>,
    /// `spec.serviceSelector`; `None` takes all.
    pub service_selector: Option<Selector>,
    /// `spec.namespaceSelector`; `None` takes all.
    pub namespace_selector: Option<Selector>,
    /// `spec.nodeSelector`; `None` takes all.
    pub node_selector: Option<Selector>,
    /// `spec.peers[]`: names; empty together with no selector means every peer.
    pub peers: Vec<ObjectName>,
    /// `spec.peerSelector`.
    pub peer_selector: Option<Selector>,
    /// `spec.priority`: of several that cover one (address, node, peer) the highest decides, equal ones by name.
    pub priority: i32,
    /// `spec.maxNodes`: how many nodes announce a Service at most.
    #[serde(default)]
    pub max_nodes: Option<u32>,
    /// `spec.attributes`: the built-in answer of the `route` decision.
    pub attributes: Arc<RouteAttributes>,
    /// `spec.aggregation`; without lengths every address has its host route.
    #[serde(default)]
    pub aggregation: Aggregation,
}

/// `spec.aggregation` of an Advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Aggregation {
    /// `ipv4Length`: length of the prefixes that IPv4 addresses are announced by, 1 to 32.
    pub ipv4: Option<u8>,
    /// `ipv6Length`: 1 to 128.
    pub ipv6: Option<u8>,
    /// `exactRoutes`: host routes beside the aggregates, also where nothing needs them.
    pub exact_routes: bool,
}

impl Aggregation {
    /// The length for a family.
    pub fn length(self, family: Family) -> Option<u8> {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

/// A SpeakerConfig. Several may select a node: the higher priority wins, field by field, equal ones by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpeakerConfig {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `spec.nodeSelector`; `None` takes all.
    pub node_selector: Option<Selector>,
    /// `spec.priority`.
    pub priority: i32,
    /// `spec.asn`.
    pub asn: Option<u32>,
    /// `spec.routerID`.
    pub router_id: Option<Ipv4Addr>,
    /// `spec.listen.port`, for passive peers.
    pub listen_port: Option<u16>,
    /// `spec.listen.addresses[]`.
    pub listen_addresses: Option<Vec<IpAddr>>,
    /// `spec.drain.wait`: between GRACEFUL_SHUTDOWN and withdrawal.
    pub drain_wait: Option<Duration>,
    /// `spec.bindAddresses`: bind announced addresses on `lo`; standalone by default.
    pub bind_addresses: Option<bool>,
    /// `spec.echoReply`: answer echo requests to announced addresses; where they are bound by default.
    pub echo_reply: Option<bool>,
    /// `spec.ignoreExcludeLabel`: announce although the Node carries [`Node::EXCLUDE_LABEL`].
    pub ignore_exclude_label: Option<bool>,
    /// `spec.proxyHealth.enabled`: whether kube-proxy's own health is asked.
    pub proxy_health: Option<bool>,
    /// `spec.proxyHealth.port`: kube-proxy's `healthzBindAddress`.
    pub proxy_health_port: Option<u16>,
}

/// What a DecisionPolicy decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Hook {
    /// Which address.
    Address,
    /// Which nodes.
    Nodes,
    /// Which route attributes.
    Route,
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "Address",
            Self::Nodes => "Nodes",
            Self::Route => "Route",
        })
    }
}

/// What decides while a policy fails.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// The last decision for the same question; without one, [`Initial`].
    #[default]
    KeepLast,
    /// The rest of the chain, at its end the built-in answer.
    UseDefault,
    /// Nothing is announced or allocated.
    Withhold,
}

/// What decides for [`FailurePolicy::KeepLast`] where there is no last decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Initial {
    /// As [`FailurePolicy::UseDefault`].
    #[default]
    UseDefault,
    /// As [`FailurePolicy::Withhold`], for policies that keep routes from leaking.
    Withhold,
}

/// A DecisionPolicy.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DecisionPolicy {
    /// `metadata.name`.
    pub name: ObjectName,
    /// `spec.hook`.
    pub hook: Hook,
    /// `spec.plugin.configMap`: a ConfigMap in Bellhop's own namespace.
    pub config_map: ObjectName,
    /// `spec.plugin.key`.
    pub module_key: Arc<str>,
    /// `spec.plugin.sha256`: of the uncompressed module, 64 lower-case hex digits.
    pub sha256: Arc<str>,
    /// `spec.config` as compact JSON with sorted keys, at most 64 KiB.
    pub config: Arc<str>,
    /// `spec.match.serviceSelector`; `None` takes all.
    pub service_selector: Option<Selector>,
    /// `spec.match.namespaceSelector`; `None` takes all.
    pub namespace_selector: Option<Selector>,
    /// `spec.match.nodeSelector` (hook Route); `None` takes all.
    pub node_selector: Option<Selector>,
    /// `spec.match.peerSelector` (hook Route); `None` takes all.
    pub peer_selector: Option<Selector>,
    /// `spec.priority`: the chain's order, highest first, equal ones by name.
    pub priority: i32,
    /// `spec.failurePolicy`.
    pub failure_policy: FailurePolicy,
    /// `spec.initial`.
    pub initial: Initial,
    /// `spec.minEligible` (hook Nodes): the policy never leaves fewer nodes than this, at least 1.
    pub min_eligible: u32,
    /// `spec.limits.fuel`; the host's default where absent.
    pub fuel: Option<u64>,
    /// `spec.limits.memory` in bytes; the host's default where absent.
    pub memory: Option<u64>,
}

/// A ConfigMap of Bellhop's own namespace that may carry plugin modules: its data by key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModuleSource {
    /// `metadata.name` of the ConfigMap.
    pub name: ObjectName,
    /// `binaryData` (decoded) and `data`, by key; at most 1 MiB in all, as the API server allows.
    #[serde(with = "crate::hex")]
    pub data: BTreeMap<Arc<str>, Arc<[u8]>>,
}
