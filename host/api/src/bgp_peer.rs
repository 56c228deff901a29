//! BGPPeer: a router that nodes hold a BGP session with.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;
use crate::selector::LabelSelector;

/// A router that nodes hold a BGP session with. The object's labels are the peer's labels, which Advertisements and policies select
/// by.
///
/// An AS number equal to the nodes' makes it an internal peer, any other an external one. Both address families run over one
/// session, whatever the family of `peerAddress` is. What the peer announces is counted and discarded: Bellhop only speaks.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: BGPPeer
/// metadata:
///   name: router-a
///   labels: {role: edge}
/// spec:
///   peerAddress: 192.0.2.1
///   peerASN: 64496
///   holdTime: 9s
///   ebgpMultiHop: 2                  # for an external peer that is not on the link
///   nodeSelector:
///     matchLabels: {rack: a}
///   gracefulRestart: {restartTime: 120s}
/// ```
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "BGPPeer",
    plural = "bgppeers",
    shortname = "bhpeer",
    category = "bellhop",
    status = "BGPPeerStatus",
    derive = "PartialEq",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.peerAddress"),
    printcolumn(name = "ASN", type_ = "integer", json_path = ".spec.peerASN"),
    printcolumn(name = "Established", type_ = "integer", json_path = ".status.established"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes"),
    printcolumn(name = "Families", type_ = "string", json_path = ".spec.families", priority = "1"),
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
#[x_kube(validation = Rule::new(schema::keepalive_below_hold_time())
    .message("must be shorter than holdTime, by custom a third of it").field_path(".keepaliveTime"))]
#[x_kube(validation = Rule::new(schema::SOURCE_FAMILY)
    .message("must be of the family of peerAddress").field_path(".sourceAddress"))]
#[x_kube(validation = Rule::new("has(self.peerASN) != has(self.dynamicASN)")
    .message("needs either peerASN, as peerASN: 64496, or dynamicASN: internal or external").field_path(".peerASN"))]
#[x_kube(validation = Rule::new("!(has(self.role) && has(self.dynamicASN) && self.dynamicASN == 'internal')")
    .message("cannot stand beside dynamicASN: internal, as roles are between AS numbers").field_path(".role"))]
#[x_kube(validation = Rule::new("!(has(self.ttlSecurity) && has(self.ebgpMultiHop))")
    .message("cannot stand beside ebgpMultiHop: keep ttlSecurity, which says over how many hops the router may be away")
    .field_path(".ttlSecurity"))]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerSpec {
    /// Address of the router. Two BGPPeers must not have the same address.
    #[schemars(schema_with = "schema::address")]
    pub peer_address: String,
    /// TCP port that the router listens on.
    #[serde(default = "peer_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: u16,
    /// AS number of the router (RFC 6793): the nodes' own for an internal peer, any other for an external one. Either this or
    /// `dynamicASN`.
    #[serde(rename = "peerASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::asn")]
    pub peer_asn: Option<u32>,
    /// In place of `peerASN`: the router may have any AS number of this kind, and tells it in its OPEN.
    #[serde(rename = "dynamicASN", default, skip_serializing_if = "Option::is_none")]
    pub dynamic_asn: Option<DynamicASN>,
    /// AS number that the nodes show to this peer, where it is not that of the SpeakerConfig.
    #[serde(rename = "localASN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::asn")]
    pub local_asn: Option<u32>,
    /// Address that the nodes dial from; of the family of `peerAddress`. Without it the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::address")]
    pub source_address: Option<String>,
    /// Interface of the node that connections to this peer go out by, whatever the routing table says. Where a node has
    /// none of this name, no session is opened from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::interface")]
    pub source_interface: Option<String>,
    /// Nodes that hold a session with this peer; without it all do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Hold time offered in OPEN (RFC 4271 §4.2): `0s` for none, else `3s` to `65535s`. The smaller offer counts.
    #[serde(default = "hold_time")]
    #[schemars(schema_with = "schema::hold_time")]
    pub hold_time: String,
    /// Time between KEEPALIVE messages, from `1s`; without it a third of the hold time agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::timer")]
    pub keepalive_time: Option<String>,
    /// Time between two attempts to connect (RFC 4271 §8.2.2 ConnectRetryTime), from `1s`.
    #[serde(default = "connect_retry_time")]
    #[schemars(schema_with = "schema::timer")]
    pub connect_retry_time: String,
    /// TTL of packets to an external peer that is not on the link; without it, it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 255))]
    pub ebgp_multi_hop: Option<u8>,
    /// TTL security (GTSM, RFC 5082): over how many hops the router may be away, 1 for one on the link. Packets are sent with a TTL of
    /// 255, and those of the router are dropped by the kernel where they come with less than 256 minus this. The router
    /// must be set alike; `ebgpMultiHop` cannot stand beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub ttl_security: Option<u8>,
    /// Name of a Secret in Bellhop's own namespace that holds the session's password, with which every packet is signed (TCP MD5,
    /// RFC 2385). Its type is `kubernetes.io/basic-auth` and its key `password`: 1 to 80 octets without control characters.
    /// While it cannot be used no session is opened; one that was up stays, with the password known last. A new password is
    /// taken over without a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret")]
    pub password_secret: Option<String>,
    /// Whether to wait for the router to connect, and never to dial.
    #[serde(default)]
    pub passive: bool,
    /// Address families of the session (RFC 4760), whatever the family of `peerAddress` is.
    #[serde(default = "families")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub families: Vec<IpFamily>,
    /// Next hops announced to this peer in place of the node's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHop>,
    /// Announces IPv4 routes with an IPv6 next hop (RFC 8950) where the router understands it: so a fabric needs no IPv4
    /// addresses on its links. `nextHop.ipv4` goes over it.
    #[serde(default)]
    pub extended_next_hop: bool,
    /// The nodes' role towards an external peer (RFC 9234), by which both sides find out when it was set up otherwise than
    /// meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PeerRole>,
    /// Watches the path to this peer with BFD (RFC 5880, 5882): when it is lost, the session ends within the detection time, and not
    /// only after the hold time. The router must be set up for it too; until it answers, the session is as without BFD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<PeerBFD>,
    /// Most prefixes of a family that are announced to this peer, below the limit at which the router would end the
    /// session. What is above it is not announced, and told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub prefix_limit: Option<u32>,
    /// Graceful restart (RFC 4724): the router keeps forwarding while a speaker restarts.
    #[serde(default)]
    pub graceful_restart: GracefulRestart,
    /// Text sent with an administrative shutdown (RFC 9003); at most 255 octets of UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub shutdown_text: Option<String>,
    /// Writes every message of this peer's sessions to the speakers' logs, in words and in hexadecimal. For looking into
    /// trouble; switched on and off it resets nothing.
    #[serde(default)]
    pub log_messages: bool,
}

/// How the path to a peer is watched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
pub struct PeerBFD {
    /// Name of the BFDProfile. While there is none of this name, the path is not watched.
    #[schemars(schema_with = "schema::bfd_profile")]
    pub profile: String,
    /// Whether no session is opened before BFD says that the path is up.
    #[serde(default)]
    pub strict: bool,
}

/// AS numbers that a peer may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DynamicASN {
    /// The nodes' own.
    Internal,
    /// Any but the nodes' own.
    External,
}

/// The nodes' role towards a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
pub struct PeerRole {
    /// What the nodes are to the router: a `customer` has a `provider`, a `routeServerClient` a `routeServer`, and a `peer`
    /// a `peer`. A router that tells another role is refused.
    pub name: RoleName,
    /// Whether a router that tells no role is refused too.
    #[serde(default)]
    pub strict: bool,
}

/// A role of RFC 9234 §3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoleName {
    /// A transit provider.
    Provider,
    /// A route server.
    RouteServer,
    /// A client of a route server.
    RouteServerClient,
    /// A customer.
    Customer,
    /// A lateral peer.
    Peer,
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum IpFamily {
    /// IPv4 unicast.
    IPv4,
    /// IPv6 unicast.
    IPv6,
}

/// Next hops in place of the node's own address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
pub struct NextHop {
    /// Next hop of IPv4 routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ipv4_address")]
    pub ipv4: Option<String>,
    /// Next hop of IPv6 routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ipv6_address")]
    pub ipv6: Option<String>,
}

/// Graceful restart (RFC 4724).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GracefulRestart {
    /// Whether the capability is offered.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// How long the router keeps the routes of a speaker that is away: `1s` to `4095s` (RFC 4724 §3, twelve bits).
    #[serde(default = "restart_time")]
    #[schemars(schema_with = "schema::restart_time")]
    pub restart_time: String,
    /// Whether the router is to keep the routes also after a NOTIFICATION, and when nothing was heard of the node for the
    /// hold time (RFC 8538): a flapping session then withdraws nothing, and a node that died is sent traffic for up to
    /// `restartTime`.
    #[serde(default)]
    pub notifications: bool,
}

impl Default for GracefulRestart {
    fn default() -> Self {
        Self { enabled: enabled(), restart_time: restart_time(), notifications: false }
    }
}

/// What became of a BGPPeer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BGPPeerStatus {
    /// Nodes that should hold a session with this peer: those that `nodeSelector` selects and that have a speaker. A
    /// speaker that does not live counts here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub nodes: Option<i32>,
    /// How many of them have an established session, as the live speakers report; counted every five seconds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub established: Option<i32>,
    /// `Ready`: the peer is valid and in force. When it is not, the last version that was stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

fn peer_port() -> u16 {
    179
}

fn hold_time() -> String {
    "90s".into()
}

fn connect_retry_time() -> String {
    // RFC 4271 suggests 120 s; a load balancer that waits two minutes for a router that came back is not one.
    "10s".into()
}

fn families() -> Vec<IpFamily> {
    vec![IpFamily::IPv4, IpFamily::IPv6]
}

fn enabled() -> bool {
    true
}

fn restart_time() -> String {
    "120s".into()
}
