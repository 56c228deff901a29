//! Advertisement: which addresses go to which peers, from which nodes, with which attributes.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;
use crate::selector::LabelSelector;

/// Which addresses are announced, from which nodes, to which peers, with which attributes.
///
/// What no Advertisement selects is not announced; an empty `spec` selects everything. Where several select the same address, node
/// and peer, the one with the highest `priority` decides, equal ones by name. An edit of attributes sends an UPDATE; it never
/// withdraws a route or resets a session. A pool or BGPPeer that is named and not there is told in the condition `Ready`; what
/// else is named counts.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: Advertisement
/// metadata: {name: gold-at-the-edge}
/// spec:
///   priority: 10
///   poolSelector: {matchLabels: {reach: internet}}
///   serviceSelector: {matchLabels: {tier: gold}}
///   peerSelector: {matchLabels: {role: edge}}
///   attributes:
///     communities: ["64500:100", no-export]
///     largeCommunities: ["64500:1:2"]
///     med: 10
/// ```
///
/// ## Aggregation
///
/// With `spec.aggregation` routers hear one prefix in the place of the addresses in it:
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: Advertisement
/// metadata: {name: public-in-one}
/// spec:
///   pools: [public]
///   aggregation: {ipv4Length: 24, ipv6Length: 64}
/// ```
///
/// A node announces an aggregate while it announces at least one address in it, so it comes with the first Service and goes with the
/// last. Traffic for every address of the aggregate may then arrive at each of these nodes. What is for an address that no Service
/// has is refused there, and goes neither back to the router nor to a program of the node.
///
/// - With `externalTrafficPolicy: Local` the nodes that serve an address announce its host route (`/32`, `/128`) beside the aggregate, and
///   routers follow the longer prefix. Whoever filters longer prefixes on the way sends such a Service's traffic to nodes that cannot
///   serve it.
/// - `exactRoutes: true` announces every host route beside the aggregate.
/// - An aggregate never reaches outside of the pool of its address, as what is there belongs to somebody else. Where it would, the address
///   is announced by its host route, and the condition `Ready` says `AggregateOutsidePool`. What `exclude` of the pool lists counts as the
///   pool's: name whole prefixes in `addresses` and exclude what is not to be handed out.
/// - An aggregate has the `attributes` of the Advertisement. Policies of hook `Route` decide on single addresses: their attributes go with host
///   routes alone. An address that one withholds, or that a policy of hook `Nodes` keeps from a node, does not contribute to an aggregate;
///   one that stands for other addresses still leads routers to it.
/// - Each address has one Advertisement that decides, here as everywhere. Where several decide for addresses of one prefix with one
///   length, the aggregate has the attributes of the one with the highest `priority`, equal ones by name; different lengths are
///   different prefixes, each standing for its own addresses. `bellhop explain` and `bellhop routes` show which.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "Advertisement",
    plural = "advertisements",
    shortname = "bhadv",
    category = "bellhop",
    status = "AdvertisementStatus",
    derive = "PartialEq",
    printcolumn(name = "Pools", type_ = "string", json_path = ".spec.pools"),
    printcolumn(name = "Peers", type_ = "string", json_path = ".spec.peers"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("!has(self.pools) || self.pools.size() == 0 || !has(self.poolSelector)")
    .message("cannot stand beside pools; use one of them").field_path(".poolSelector"))]
#[x_kube(validation = Rule::new("!has(self.peers) || self.peers.size() == 0 || !has(self.peerSelector)")
    .message("cannot stand beside peers; use one of them").field_path(".peerSelector"))]
#[serde(rename_all = "camelCase")]
pub struct AdvertisementSpec {
    /// AddressPools whose addresses are announced, by name. Without this and `poolSelector` those of all pools are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::names")]
    pub pools: Vec<String>,
    /// AddressPools whose addresses are announced, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<LabelSelector>,
    /// Services whose addresses are announced; without it all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// Namespaces whose Services are announced; without it those of all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Nodes that announce; without it all may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// BGPPeers that are announced to, by name. Without this and `peerSelector` all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::names")]
    pub peers: Vec<String>,
    /// BGPPeers that are announced to, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_selector: Option<LabelSelector>,
    /// Of several that select the same address, node and peer the highest decides; equal ones by name.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// How many nodes announce a Service at most, because routers spread over a limited number of next hops: those of the
    /// highest weight (which a `nodes` policy gives), and among equal ones others for each Service. Without it all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_nodes: Option<u32>,
    /// Attributes of the routes; a `route` policy may answer others.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Prefixes that stand for the addresses in them; without it every address has its host route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<Aggregation>,
}

/// Which prefixes stand for the addresses in them. An aggregate that would reach outside of the pool of an address is not announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.ipv4Length) || has(self.ipv6Length)")
    .message("needs ipv4Length, ipv6Length or both, as ipv4Length: 24"))]
#[serde(rename_all = "camelCase")]
pub struct Aggregation {
    /// Length of the prefixes that IPv4 addresses are announced by; 32, each by itself, without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub ipv4_length: Option<u8>,
    /// Length of the prefixes that IPv6 addresses are announced by; 128, each by itself, without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_length: Option<u8>,
    /// Announces the host route of each address beside the aggregate. Without it only addresses of Services with
    /// `externalTrafficPolicy: Local` have one.
    #[serde(default)]
    pub exact_routes: bool,
}

/// Attributes of routes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// Communities (RFC 1997): `65000:100` or a well-known name as `no-export`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::communities")]
    pub communities: Vec<String>,
    /// Large communities (RFC 8092): `64512:1:2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::large_communities")]
    pub large_communities: Vec<String>,
    /// Extended communities (RFC 4360): `rt:64512:100` (route target) or `soo:192.0.2.1:100` (site of origin), of an AS number
    /// or an IPv4 address and a number, or any in hexadecimal as `0x0002fc0000000064`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::extended_communities")]
    pub extended_communities: Vec<String>,
    /// Link bandwidth in megabits per second (draft-ietf-idr-link-bandwidth), by which routers weigh next hops
    /// where they are set to: with a `nodeSelector` an Advertisement for each size of node.
    #[serde(rename = "linkBandwidthMbps", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub link_bandwidth_mbps: Option<u32>,
    /// LOCAL_PREF, sent to internal peers only; 100 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub local_preference: Option<u32>,
    /// MULTI_EXIT_DISC; not sent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub med: Option<u32>,
    /// How many more times the own AS number stands in the AS path.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 16))]
    pub prepend: u8,
}

impl Attributes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde's skip_serializing_if asks for"
)]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// What became of an Advertisement.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisementStatus {
    /// `Ready`: the Advertisement is valid and in force. When it is not, the last version that was stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}
