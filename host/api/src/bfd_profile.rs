//! BFDProfile: how the path to a router is watched.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;

/// Timers of BFD (RFC 5880), for the BGPPeers that name it in `spec.bfd.profile`.
///
/// Both sides tell how often they would like to send and how often they can take packets; each sends at the slower of its own wish
/// and what the other can take. The path counts as down when `detectMultiplier` packets in a row did not come. Whether a session is of
/// one hop (RFC 5881) or of several (RFC 5883) follows from the peer: several where it has `ebgpMultiHop`, `ttlSecurity`
/// above 1, or is internal and on no network of the node.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: BFDProfile
/// metadata: {name: fast}
/// spec:
///   transmitInterval: 100ms
///   receiveInterval: 100ms
///   detectMultiplier: 3
/// ```
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "BFDProfile",
    plural = "bfdprofiles",
    shortname = "bhbfd",
    category = "bellhop",
    status = "BFDProfileStatus",
    derive = "PartialEq",
    printcolumn(name = "Transmit", type_ = "string", json_path = ".spec.transmitInterval"),
    printcolumn(name = "Receive", type_ = "string", json_path = ".spec.receiveInterval"),
    printcolumn(name = "Multiplier", type_ = "integer", json_path = ".spec.detectMultiplier"),
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
#[serde(rename_all = "camelCase")]
pub struct BFDProfileSpec {
    /// How often the nodes would like to send, from `10ms` to `60s`. Below `100ms` a node under load may miss its own promise.
    #[serde(default = "interval")]
    #[schemars(schema_with = "schema::bfd_interval")]
    pub transmit_interval: String,
    /// How often the nodes can take packets, from `10ms` to `60s`.
    #[serde(default = "interval")]
    #[schemars(schema_with = "schema::bfd_interval")]
    pub receive_interval: String,
    /// How many packets in a row may be missed before the path counts as down.
    #[serde(default = "multiplier")]
    #[schemars(range(min = 1, max = 255))]
    pub detect_multiplier: u8,
    /// Whether to wait until the router speaks first; one of both has to.
    #[serde(default)]
    pub passive: bool,
    /// The least TTL that packets of a session over several hops must arrive with: 254 allows one router between, 1 any
    /// number. Packets of one hop must arrive with 255 (RFC 5881 §5).
    #[serde(rename = "minimumTTL", default = "minimum_ttl")]
    #[schemars(range(min = 1, max = 254))]
    pub minimum_ttl: u8,
}

/// What became of a BFDProfile.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BFDProfileStatus {
    /// `Ready`: the profile is valid and in force. When it is not, the last version that was stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

fn interval() -> String {
    // MetalLB's and FRR's default.
    "300ms".into()
}

fn multiplier() -> u8 {
    3
}

fn minimum_ttl() -> u8 {
    254
}
