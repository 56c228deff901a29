//! The world of plugins as the engine sees it: one trait, and what goes in and comes out.
//!
//! `bellhop-sandbox` implements it on wasmtime; tests implement it with plain functions and planted failures. What a
//! guest is shown is already projected: it holds only what the plugin's metadata declares, so that equal projections
//! are equal questions.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::AddressDecision;
use bellhop_core::objects::{Hook, Readiness, Taint, TrafficPolicy};
use bellhop_core::route::{Family, RouteAttributes};
use serde::{Deserialize, Serialize};

/// Named values: labels, annotations, `extra`. Sorted by key.
pub type Pairs = Arc<[(Arc<str>, Arc<str>)]>;

/// The JSON custom section `bellhop:policy` of a module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name of the plugin, for people.
    pub name: String,
    /// Its version, SemVer.
    pub version: String,
    /// Version of the SDK that built it.
    pub sdk: String,
    /// Hooks it has; the module exports the interface of each.
    pub hooks: BTreeSet<Hook>,
    /// What it reads.
    #[serde(default)]
    pub inputs: Inputs,
    /// JSON schema of `spec.config`.
    #[serde(default)]
    pub config_schema: serde_json::Value,
    /// Cases run before the version serves; see the SDK for their form.
    #[serde(default)]
    pub self_tests: Vec<SelfTest>,
}

/// What a plugin reads. It gets only that.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Inputs {
    /// Keys of Service labels.
    pub service_labels: BTreeSet<String>,
    /// Keys of Service annotations.
    pub service_annotations: BTreeSet<String>,
    /// Keys of labels of the Service's Namespace.
    pub namespace_labels: BTreeSet<String>,
    /// Keys of Node labels.
    pub node_labels: BTreeSet<String>,
    /// Keys of Node annotations.
    pub node_annotations: BTreeSet<String>,
    /// Keys of BGPPeer labels.
    pub peer_labels: BTreeSet<String>,
    /// Keys of AddressPool labels.
    pub pool_labels: BTreeSet<String>,
    /// Node label keys that the summary counts by.
    pub topology_keys: BTreeSet<String>,
    /// Namespace and name of the Service.
    pub service_identity: bool,
    /// Name of the Node.
    pub node_identity: bool,
    /// Name of the BGPPeer.
    pub peer_identity: bool,
    /// Taints of the Node.
    pub node_taints: bool,
    /// `spec.unschedulable` and readiness of the Node; without it they read as schedulable and ready.
    pub node_conditions: bool,
    /// How many endpoints of the Service are on the node; without it 0.
    pub local_endpoints: bool,
    /// The address announced.
    pub address: bool,
    /// The pool of the address announced.
    pub pool: bool,
    /// AS numbers and kind of the session; without it 0 and external.
    pub session: bool,
    /// Keys that may be set from outside the module by `spec.config`: the JSON pointer (RFC 6901) of a list of strings
    /// or of a map (its keys count) in it, by the name of the set above that it adds to, for example
    /// `{"nodeLabels": "/labelKeys"}`. A segment `*` stands for every member of a list or map, as in
    /// `/rules/*/nodeLabels`. What is absent adds nothing.
    pub from_config: std::collections::BTreeMap<String, String>,
}

/// A case that a version must pass before it serves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelfTest {
    /// What it proves.
    pub name: String,
    /// The `spec.config` it runs under.
    #[serde(default)]
    pub config: serde_json::Value,
    /// The hook asked.
    pub hook: Hook,
    /// The question, in the JSON form of the projections below.
    pub request: serde_json::Value,
    /// The answer that must come, in the JSON form of the answers below.
    pub expect: serde_json::Value,
}

/// A Service, projected.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceView {
    /// Namespace and name, where declared.
    #[serde(default)]
    pub identity: Option<(Arc<str>, Arc<str>)>,
    /// Declared labels that it has.
    #[serde(default = "no_pairs")]
    pub labels: Pairs,
    /// Declared annotations that it has.
    #[serde(default = "no_pairs")]
    pub annotations: Pairs,
    /// Declared labels of its Namespace.
    #[serde(default = "no_pairs")]
    pub namespace_labels: Pairs,
    /// `spec.externalTrafficPolicy`.
    #[serde(default)]
    pub traffic_policy: TrafficPolicy,
}

/// A Node, projected.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeView {
    /// Name, where declared.
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// Declared labels that it has.
    #[serde(default = "no_pairs")]
    pub labels: Pairs,
    /// Declared annotations that it has.
    #[serde(default = "no_pairs")]
    pub annotations: Pairs,
    /// Taints, where declared.
    #[serde(default, with = "taints")]
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`, where declared.
    #[serde(default)]
    pub unschedulable: bool,
    /// Readiness, where declared.
    #[serde(default = "ready")]
    pub ready: Readiness,
    /// Endpoints of the Service on the node, where declared.
    #[serde(default)]
    pub local_endpoints: u16,
}

/// A BGPPeer, projected.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerView {
    /// Name, where declared.
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// Declared labels that it has.
    #[serde(default = "no_pairs")]
    pub labels: Pairs,
    /// AS of the peer.
    #[serde(default)]
    pub peer_asn: u32,
    /// Our AS towards it.
    #[serde(default)]
    pub local_asn: u32,
}

fn no_pairs() -> Pairs {
    Arc::from([])
}

fn ready() -> Readiness {
    Readiness::Ready
}

/// JSON form of taints in self-tests: `{"key": …, "value": …, "effect": …}`.
mod taints {
    use super::Taint;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        key: Arc<str>,
        #[serde(default)]
        value: Option<Arc<str>>,
        effect: Arc<str>,
    }

    pub(super) fn serialize<S: Serializer>(taints: &[Taint], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(taints.iter().map(|taint| Form {
            key: taint.key.clone(),
            value: Some(taint.value.clone()),
            effect: taint.effect.clone(),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Taint>, D::Error> {
        let forms = Vec::<Form>::deserialize(deserializer)?;
        Ok(forms
            .into_iter()
            .map(|form| Taint {
                key: form.key,
                value: form.value.unwrap_or_else(|| "".into()),
                effect: form.effect,
            })
            .collect())
    }
}

/// A pool, projected.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolView {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Declared labels that it has.
    #[serde(default = "no_pairs")]
    pub labels: Pairs,
    /// `spec.priority`.
    #[serde(default)]
    pub priority: i32,
    /// Family, addresses used, addresses free.
    #[serde(default)]
    pub usage: Vec<(Family, u64, u64)>,
}

/// The question of the `address` hook.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressQuestion {
    /// The Service.
    pub service: ServiceView,
    /// Families wanted, the primary one first.
    pub families: Vec<Family>,
    /// Pools it may use.
    pub pools: Vec<PoolView>,
    /// Free addresses: index into `pools`, address, release rank.
    pub candidates: Vec<(usize, IpAddr, u32)>,
}

/// The question of the `nodes` hook, one batch of at most 256 nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodesQuestion {
    /// The Service.
    pub service: ServiceView,
    /// Counts over all nodes of the Service.
    #[serde(default)]
    pub summary: Summary,
    /// The nodes of this batch.
    pub nodes: Vec<Arc<NodeView>>,
}

/// Counts over all nodes of a Service.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Summary {
    /// All.
    pub total: u32,
    /// Ready ones.
    pub ready: u32,
    /// Cordoned ones.
    pub unschedulable: u32,
    /// By declared topology key and value: total, ready.
    #[serde(default)]
    pub topology: Vec<(Arc<str>, Arc<str>, u32, u32)>,
}

/// The question of the `route` hook.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteQuestion {
    /// The Service.
    pub service: Arc<ServiceView>,
    /// Family of the address.
    pub family: Family,
    /// The address, where declared.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The pool, where declared.
    #[serde(default)]
    pub pool: Option<Arc<str>>,
    /// The announcing node.
    pub node: Arc<NodeView>,
    /// The peer.
    pub peer: Arc<PeerView>,
    /// The Advertisement's attributes.
    #[serde(default)]
    pub defaults: Arc<RouteAttributes>,
}

/// A guest's answer with its note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noted<T> {
    /// The answer; `None` is `use-default`.
    pub answer: Option<T>,
    /// What it said about it, at most 256 bytes.
    pub note: Option<Arc<str>>,
}

/// The answer of the `nodes` hook for one node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GuestVerdict {
    /// May announce, with this weight.
    Eligible(u32),
    /// Stop softly.
    Draining(Arc<str>),
    /// May not announce.
    Ineligible(Arc<str>),
}

/// The answer of the `route` hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GuestRoute {
    /// Announce with exactly these.
    Advertise(RouteAttributes),
    /// Do not announce to this peer.
    Withhold(Arc<str>),
}

/// What a call cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Fuel used.
    pub fuel: u64,
    /// CPU time in nanoseconds.
    pub cpu_nanos: u64,
    /// Linear memory at the end, in bytes.
    pub memory: u64,
}

/// A line that a guest logged: level (`debug`, `info`, `warn`, `error`) and text.
pub type LogLine = (&'static str, String);

/// The outcome of one call.
#[derive(Clone, Debug)]
pub struct Called<T> {
    /// The answer, or how it failed.
    pub result: Result<T, GuestError>,
    /// What it cost.
    pub cost: Cost,
    /// What it logged, at most 64 lines and 16 KiB.
    pub log: Vec<LogLine>,
}

/// How a call failed. Typed from the runtime's own trap codes; never read from a text.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum GuestError {
    /// The guest returned an error.
    #[error("the policy says: {0}")]
    Policy(String),
    /// `configure` returned an error.
    #[error("the policy refuses its config: {0}")]
    Config(String),
    /// The guest trapped: a panic, an out-of-bounds access, an `unreachable`.
    #[error("the module trapped: {0}")]
    Trap(String),
    /// The fuel ran out.
    #[error("the module used up its {limit} units of fuel")]
    OutOfFuel {
        /// The budget.
        limit: u64,
    },
    /// It asked for more memory than it may have.
    #[error("the module asked for more than its {limit} bytes of memory")]
    MemoryLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// Its stack overflowed.
    #[error("the module overflowed its stack")]
    StackOverflow,
    /// What it passed to the host was larger than the host copies.
    #[error("the module handed the host more data than is copied")]
    OutputTooLarge,
    /// An answer that breaks the contract: which field, and why.
    #[error("invalid answer: {field}: {message}")]
    InvalidAnswer {
        /// Path in the answer.
        field: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The CPU-time backstop fired twice or the runtime failed. The machine's fault: never memoised, never counted
    /// against the plugin.
    #[error("the runtime could not finish the call: {0}")]
    Infrastructure(String),
}

impl GuestError {
    /// Metric label and condition reason, from a closed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Policy(_) => "PolicyError",
            Self::Config(_) => "ConfigRefused",
            Self::Trap(_) => "Trap",
            Self::OutOfFuel { .. } => "OutOfFuel",
            Self::MemoryLimit { .. } => "MemoryLimit",
            Self::StackOverflow => "StackOverflow",
            Self::OutputTooLarge => "OutputTooLarge",
            Self::InvalidAnswer { .. } => "InvalidAnswer",
            Self::Infrastructure(_) => "Infrastructure",
        }
    }

    /// True where the same call would fail again in the same way, so that the failure may be memoised.
    pub fn deterministic(&self) -> bool {
        !matches!(self, Self::Infrastructure(_))
    }
}

/// One version of a plugin with its config and limits, ready to be called. Every call runs on a fresh instance;
/// calls may come from several threads at once.
pub trait Guest: Send + Sync {
    /// What the module says of itself.
    fn metadata(&self) -> &Metadata;
    /// sha256 of the uncompressed module, 64 lower-case hex digits.
    fn digest(&self) -> &Arc<str>;
    /// Runs `configure` alone, to see whether the config is taken.
    fn configure(&self) -> Called<()>;
    /// Which address.
    fn address(&self, question: &AddressQuestion) -> Called<Noted<AddressDecision>>;
    /// Which nodes: one answer per node of the question.
    fn nodes(&self, question: &NodesQuestion) -> Called<Vec<Noted<GuestVerdict>>>;
    /// Which attributes.
    fn route(&self, question: &RouteQuestion) -> Called<Noted<GuestRoute>>;
}
