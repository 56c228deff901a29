//! SpeakerConfig: what holds for the speakers of some nodes.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;
use crate::selector::LabelSelector;

/// What holds for the speakers of the selected nodes: AS number, router ID, where they listen, how they drain.
///
/// Several may select a node: each field is taken from the one with the highest `priority` (then the first by name) that sets it. A
/// speaker without an AS number opens no session.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: SpeakerConfig
/// metadata: {name: default}
/// spec:
///   asn: 64500
///   drain: {wait: 10s}
/// ```
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "SpeakerConfig",
    plural = "speakerconfigs",
    shortname = "bhspeaker",
    category = "bellhop",
    status = "SpeakerConfigStatus",
    derive = "PartialEq",
    printcolumn(name = "ASN", type_ = "integer", json_path = ".spec.asn"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
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
pub struct SpeakerConfigSpec {
    /// Nodes that this holds for; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Higher wins, field by field.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// AS number of the speakers (RFC 6793).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::asn")]
    pub asn: Option<u32>,
    /// BGP Identifier (RFC 6286), written as an IPv4 address and unique per speaker: set it only where one node is
    /// selected. Without it, it is the node's IPv4 address, or derived from the node's name where it has none. Two nodes
    /// with the same one are told in `Ready`.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::router_id")]
    pub router_id: Option<String>,
    /// Where the speakers accept BGP connections. Without it they listen only where a passive peer needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,
    /// How announcements end when a node drains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Whether the speakers bind announced addresses on the node's `lo`, so that the node itself can serve them.
    /// Without it they do in standalone form, and do not in Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_addresses: Option<bool>,
    /// Whether echo requests (ping) to announced addresses are answered. Without it they are where the addresses are bound
    /// on the node, and refused elsewhere. Unused addresses of an aggregate never answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_reply: Option<bool>,
    /// Whether the nodes announce although they carry the label
    /// `node.kubernetes.io/exclude-from-external-load-balancers`, as control-plane nodes of kubeadm do. Without it they
    /// do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_exclude_label: Option<bool>,
    /// How the speakers look at the health of kube-proxy on their nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_health: Option<ProxyHealth>,
}

/// How a speaker looks at the health of kube-proxy on its node: after a reboot it waits for `/livez` before it announces,
/// and it drains the node while `/healthz` alone says that the node is about to go.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
pub struct ProxyHealth {
    /// Whether kube-proxy is asked at all; it is where no SpeakerConfig says otherwise. Turn it off where something else
    /// takes kube-proxy's place, to save the wait after a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Port of kube-proxy's `healthzBindAddress`; 10256 where no SpeakerConfig says another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// Where a speaker accepts BGP connections.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
pub struct Listen {
    /// TCP port; 1179 where no SpeakerConfig says another, because 179 is often another program's on the same node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Addresses to listen on; all addresses of the node where no SpeakerConfig says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Option<Vec<String>>,
}

/// How announcements end when a node drains.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
pub struct Drain {
    /// Time between marking the routes with GRACEFUL_SHUTDOWN (RFC 8326) and withdrawing them, from `0s` to `1h`.
    #[serde(default = "drain_wait")]
    #[schemars(schema_with = "schema::drain_wait")]
    pub wait: String,
}

impl Default for Drain {
    fn default() -> Self {
        Self { wait: drain_wait() }
    }
}

/// What became of a SpeakerConfig.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerConfigStatus {
    /// `Ready`: the object is valid and in force. When it is not, the last version that was stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

fn drain_wait() -> String {
    "10s".into()
}
