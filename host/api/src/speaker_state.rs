//! SpeakerState: what the speaker of one node does.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema::ADDRESS_MAX;

/// What the speaker of one node does: its sessions, what it announces, and what it cannot announce and why.
///
/// Named as its Node, owned by it, and written by that speaker alone, at most every five seconds; you only read it. The whole truth
/// about one Service on one node is what `kubectl bellhop explain` asks the speaker for.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "SpeakerState",
    plural = "speakerstates",
    shortname = "bhstate",
    category = "bellhop",
    status = "SpeakerStateStatus",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Sessions", type_ = "string", json_path = ".status.sessionsUp"),
    printcolumn(name = "Addresses", type_ = "integer", json_path = ".status.announcedCount"),
    printcolumn(name = "Exceptions", type_ = "integer", json_path = ".status.exceptionCount"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerStateSpec {}

/// What a speaker reports.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerStateStatus {
    /// How far the speaker is: Reading (objects are not read whole yet), LoadingPolicies, Binding (waits for the data path
    /// before the first announcement), Ready (it announces), Draining (GRACEFUL_SHUTDOWN is out, and it is about to
    /// withdraw).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SpeakerPhase>,
    /// Version of Bellhop.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub version: String,
    /// Sessions that are established, of those that are configured, as `1/2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub sessions_up: String,
    /// One entry per peer of this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub sessions: Vec<SessionState>,
    /// How many addresses this node announces to at least one peer.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub announced_count: i32,
    /// The same addresses as ranges: one address, or `a-b` with both ends. The first 4096 ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(length(min = 2, max = 91)))]
    pub announced: Vec<String>,
    /// The aggregates that announce them in the place of host routes or beside them, as prefixes. The first 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 4, max = 43)))]
    pub aggregates: Vec<String>,
    /// How many addresses that Services hold this node does not announce although it could be asked to.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub exception_count: i32,
    /// The first 64 of them, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exceptions: Vec<SpeakerException>,
    /// Policies as this node has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub policies: Vec<LoadedPolicy>,
    /// `Ready`: the first full announcement is out, or there is nothing to announce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// How far a speaker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum SpeakerPhase {
    /// Objects have not been read whole yet.
    Reading,
    /// Policies are being compiled and tested.
    LoadingPolicies,
    /// Addresses are being bound, or the data path is awaited, before the first announcement.
    Binding,
    /// It announces.
    Ready,
    /// It announces GRACEFUL_SHUTDOWN and is about to withdraw.
    Draining,
}

/// One BGP session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionState {
    /// Name of the BGPPeer.
    #[schemars(length(min = 1, max = 253))]
    pub peer: String,
    /// Address of the router; empty for one on an interface that was not heard yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = ADDRESS_MAX))]
    pub address: String,
    /// State in the words of RFC 4271 §8.2.2, for example Established.
    #[schemars(length(min = 1, max = 16))]
    pub state: String,
    /// When the state was entered (RFC 3339), while Established.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub since: String,
    /// What ended the last session or attempt; empty while Established.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub last_error: String,
    /// What is wrong with the Secret of the peer's password, as one word in CamelCase of the closed set of condition reasons.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^([A-Z][A-Za-z]*)?$"))]
    pub reason: String,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

/// An address that a Service holds and this node does not announce.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerException {
    /// Namespace of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The address.
    #[schemars(length(min = 2, max = ADDRESS_MAX))]
    pub address: String,
    /// Why, as one word in CamelCase of the closed set of condition reasons.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Z][A-Za-z]*$"))]
    pub reason: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub message: String,
}

/// A policy as a node has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadedPolicy {
    /// Name of the DecisionPolicy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// SHA-256 of the module that answers on this node; empty where none does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub sha256: String,
    /// Why the version that should be in force on this node is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}
