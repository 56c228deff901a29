//! DecisionPolicy: a plugin that answers one of the three decisions.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;
use crate::selector::LabelSelector;

/// A sandboxed WebAssembly plugin that takes one of three decisions in Bellhop's place: which address a Service gets, which nodes may
/// announce it, or which attributes its routes have.
///
/// The module is in a ConfigMap of Bellhop's own namespace; `bellhop plugin pack` writes both. Several policies on a hook form a
/// chain by `priority`, then name; the first that answers decides. A new version comes into force only after it has been checked,
/// compiled, configured and has passed its self-tests; until then, and when it is refused, the one before stays in force.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: DecisionPolicy
/// metadata: {name: peer-attributes}
/// spec:
///   hook: Route
///   plugin:
///     configMap: peer-attributes-190d8e5e7d4e
///     sha256: 190d8e5e7d4ea3af24a5353e8b7afaca89f7629364ab713986ea55a7fca191bb
///   config: {}                       # as the plugin defines it
///   match:
///     namespaceSelector: {matchLabels: {team: shop}}
/// ```
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "DecisionPolicy",
    plural = "decisionpolicies",
    shortname = "bhpolicy",
    category = "bellhop",
    status = "DecisionPolicyStatus",
    derive = "PartialEq",
    printcolumn(name = "Hook", type_ = "string", json_path = ".spec.hook"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.active.digest"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.active.version"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidate.digest"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
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
    printcolumn(
        name = "Failure-Policy",
        type_ = "string",
        json_path = ".spec.failurePolicy",
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self.hook == oldSelf.hook")
    .message("the hook of a policy never changes; create another policy").field_path(".hook"))]
#[x_kube(validation = Rule::new("!has(self.minEligible) || self.hook == 'Nodes'")
    .message("is for hook Nodes only; leave it out").field_path(".minEligible"))]
#[x_kube(validation = Rule::new("!has(self.match) || self.hook == 'Route' || !has(self.match.peerSelector)")
    .message("is for hook Route only; leave it out").field_path(".match.peerSelector"))]
#[x_kube(validation = Rule::new("!has(self.match) || self.hook == 'Route' || !has(self.match.nodeSelector)")
    .message("is for hook Route only; leave it out").field_path(".match.nodeSelector"))]
#[serde(rename_all = "camelCase")]
pub struct DecisionPolicySpec {
    /// The decision that the plugin takes. It never changes.
    ///
    /// - Address: which address a Service gets.
    /// - Nodes: which nodes may announce a Service.
    /// - Route: which attributes a route has towards a peer.
    pub hook: Hook,
    /// Where the plugin is.
    pub plugin: PluginRef,
    /// Settings of the plugin: any object that its settings schema allows; at most 64 KiB as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    /// What the policy is asked about; without it everything.
    #[serde(rename = "match", default, skip_serializing_if = "Match::is_empty")]
    pub match_: Match,
    /// Policies with a higher number are asked first; with the same number by name.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// What counts when the plugin fails, and while no version of it is in force. No failure moves an address that a Service
    /// has.
    ///
    /// - KeepLast: the last decision about the same subject; where there is none, `initial`.
    /// - UseDefault: the next policy of the chain, and in the end the built-in answer.
    /// - Withhold: nothing. No address, not eligible, not announced.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// What `failurePolicy: KeepLast` answers where there is no last decision.
    ///
    /// - UseDefault: the next policy of the chain, and in the end the built-in answer.
    /// - Withhold: nothing, for policies that keep routes from leaking.
    #[serde(default)]
    pub initial: InitialAnswer,
    /// Hook Nodes only: how many nodes of a Service the policy must leave eligible, at least; 1 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub min_eligible: Option<u16>,
    /// What one call of the plugin may cost before it counts as failed.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// A decision that plugins can answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Hook {
    /// Which address a Service gets.
    Address,
    /// Which nodes may announce a Service.
    Nodes,
    /// Which attributes a route has towards a peer.
    Route,
}

/// Where a plugin is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginRef {
    /// ConfigMap in Bellhop's own namespace that holds the module.
    #[schemars(schema_with = "schema::config_map")]
    pub config_map: String,
    /// Key of `binaryData` under which the zstd-compressed module stands.
    #[serde(default = "module_key")]
    #[schemars(schema_with = "schema::config_map_key")]
    pub key: String,
    /// SHA-256 of the uncompressed module, in 64 lower-case hexadecimal digits.
    #[schemars(schema_with = "schema::sha256")]
    pub sha256: String,
}

/// What a policy is asked about: all selectors that are set must match.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Namespaces of the Services, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Services, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// Hook Route only: BGPPeers, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_selector: Option<LabelSelector>,
    /// Hook Route only: nodes, by their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
}

impl Match {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What counts when a plugin fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// The last decision; where there is none, `initial`.
    #[default]
    KeepLast,
    /// The next policy of the chain, and in the end the built-in answer.
    UseDefault,
    /// Nothing: no address, not eligible, not announced.
    Withhold,
}

/// What counts where there is no last decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum InitialAnswer {
    /// The next policy of the chain, and in the end the built-in answer.
    #[default]
    UseDefault,
    /// Nothing: for policies that keep routes from leaking.
    Withhold,
}

/// What one call of a plugin may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
pub struct Limits {
    /// Fuel per call, about one per WebAssembly instruction; 10,000,000 without it. A call for a batch of nodes gets
    /// 50,000 more for each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100_000, max = 1_000_000_000))]
    pub fuel: Option<u64>,
    /// Memory per instance in bytes, from 1 MiB to 64 MiB; 16 MiB without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_048_576, max = 67_108_864))]
    pub memory: Option<u64>,
}

impl Limits {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde's skip_serializing_if asks for"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of a DecisionPolicy.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionPolicyStatus {
    /// The version in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<PluginVersion>,
    /// The version being rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<PluginVersion>,
    /// How far the candidate is, in this order: Verified (its digest is the one asked for), Checked (size, imports and
    /// metadata are allowed), Compiled, Configured (it took its settings), SelfTested, Shadow (it answers for comparison
    /// only), Canary (some nodes act on it), Active. Or Rejected: the condition Ready says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<RolloutStep>,
    /// `Ready`: a version is in force, and it is the one that `spec` asks for. `Progressing`: a candidate is on its way.
    /// `Degraded`: calls fail, and `failurePolicy` answers in the plugin's place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// A version of a policy: module and settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginVersion {
    /// SHA-256 of the uncompressed module.
    #[schemars(length(min = 64, max = 64))]
    pub sha256: String,
    /// First twelve digits of `sha256`: what `kubectl get` shows, and what the names of packed ConfigMaps end in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 12))]
    pub digest: String,
    /// Version that the module's metadata names; known once the module is Checked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub version: String,
    /// SHA-256 of `config` as canonical JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub config_sha256: String,
    /// ConfigMap in Bellhop's namespace with the controller's own copy of this version: the module, and in `policy.json`
    /// the spec that it came with. Speakers act on this copy alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub config_map: String,
}

/// How far a candidate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStep {
    /// Its digest is the one asked for.
    Verified,
    /// Its size, imports and metadata are allowed.
    Checked,
    /// It is compiled.
    Compiled,
    /// It has accepted its settings.
    Configured,
    /// Its self-tests pass.
    SelfTested,
    /// It answers beside the active version, for comparison only.
    Shadow,
    /// Some nodes act on it.
    Canary,
    /// It is in force.
    Active,
    /// It was refused; the condition says why.
    Rejected,
}

fn module_key() -> String {
    "module.wasm.zst".into()
}
