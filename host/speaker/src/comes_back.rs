//! Whether this very speaker comes back on this node after SIGTERM.
//!
//! Where it does (an upgrade, a crash of the container, a deleted pod) it goes silently, and its routes stand until the
//! next process takes them over (RFC 4724). Where it does not (a node that goes down or is removed, an uninstalled
//! Bellhop) it drains. Nobody tells a pod which of the two it is, so the API server is asked once, for a bounded time.
//! Without an answer the routes stand: an API outage withdraws nothing.

use std::path::PathBuf;
use std::time::Duration;

use bellhop_core::names::NamespacedName;
use bellhop_core::{ObjectName, ObjectRef};
use bellhop_kubernetes::{WriteError, Writer};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long to wait for the API server, of the time that the kubelet grants for a stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// Taints of nodes that go: from cloud controllers, cluster autoscalers and people.
const LEAVING_TAINTS: [&str; 3] = [
    "node.cloudprovider.kubernetes.io/shutdown",
    "ToBeDeletedByClusterAutoscaler",
    "node.kubernetes.io/out-of-service",
];

/// How long after SIGTERM the host is looked at. One that shuts down tells all its processes at once, this one maybe before it has
/// made the file, and the container beside this one hands it on within a tenth of a second.
const LOOK_AT_HOST: Duration = Duration::from_millis(300);

/// What the kubelet writes into the Ready condition of a node that it shuts down gracefully.
const SHUTTING_DOWN: &str = "node is shutting down";

/// Below the host's `/run`: systemd forbids logins as soon as a shutdown begins.
pub const NO_LOGIN: &str = "nologin";

/// What becomes of the speaker on this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its pod is made again here.
    ComesBack,
    /// It is not, for this reason.
    Leaves(String),
    /// Nobody could say, for this reason.
    Unknown(String),
}

impl Fate {
    /// True where the routes are left standing.
    pub fn keeps_routes(&self) -> bool {
        !matches!(self, Self::Leaves(_))
    }
}

/// The API server, read live.
pub trait LiveReads: Sync {
    /// An object as it is now; `None` where there is none.
    fn read(&self, object: &ObjectRef) -> impl Future<Output = Result<Option<Value>, WriteError>> + Send;
}

impl LiveReads for Writer {
    async fn read(&self, object: &ObjectRef) -> Result<Option<Value>, WriteError> {
        Self::read(self, object).await
    }
}

/// Where this speaker's pod comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The node.
    pub node: ObjectName,
    /// Its DaemonSet.
    pub daemon_set: NamespacedName,
    /// Where the host's `/run` can be seen, if it can.
    pub host_run: Option<PathBuf>,
}

/// Asks what becomes of the speaker, for at most two seconds.
pub async fn fate(cluster: &impl LiveReads, origin: &Origin) -> Fate {
    let looked_at_until = tokio::time::Instant::now() + LOOK_AT_HOST;
    let shuts_down = || origin.host_run.as_ref().is_some_and(|run| run.join(NO_LOGIN).exists());
    let leaves = || Fate::Leaves("the node shuts down".into());
    if shuts_down() {
        return leaves();
    }
    let fate = match tokio::time::timeout(PATIENCE, ask(cluster, origin)).await {
        Ok(fate) => fate,
        Err(_) => Fate::Unknown(format!("the API server does not answer within {} s", PATIENCE.as_secs())),
    };
    if !fate.keeps_routes() || origin.host_run.is_none() {
        return fate;
    }
    tokio::time::sleep_until(looked_at_until).await;
    if shuts_down() { leaves() } else { fate }
}

async fn ask(cluster: &impl LiveReads, origin: &Origin) -> Fate {
    let daemon_set = ObjectRef::namespaced("DaemonSet", &origin.daemon_set);
    let node = ObjectRef::cluster("Node", origin.node.clone());
    let (daemon_set_read, node_read) = tokio::join!(cluster.read(&daemon_set), cluster.read(&node));
    let decoded = (decoded::<DaemonSet>(&daemon_set, daemon_set_read), decoded::<Node>(&node, node_read));
    match decoded {
        (Ok(None), _) => Fate::Leaves(format!("{daemon_set} is gone")),
        (_, Ok(None)) => Fate::Leaves(format!("{node} is gone")),
        (Ok(Some(daemon_set)), Ok(Some(node))) => match leaves(&daemon_set, &node) {
            Some(reason) => Fate::Leaves(reason),
            None => Fate::ComesBack,
        },
        (Err(reason), _) | (_, Err(reason)) => Fate::Unknown(reason),
    }
}

fn decoded<T: DeserializeOwned>(
    object: &ObjectRef,
    read: Result<Option<Value>, WriteError>,
) -> Result<Option<T>, String> {
    let value = read.map_err(|error| error.to_string())?;
    value.map(serde_json::from_value).transpose().map_err(|error| format!("{object} cannot be read: {error}"))
}

/// Why the DaemonSet makes no pod on the node again, if it makes none. Taints that its tolerations may or may not cover
/// are not looked at but for those of nodes that go: a pod that runs here was tolerated. Nor is the label that excludes a
/// node from load balancing: it announces nothing then, or was told to ignore it.
pub fn leaves(daemon_set: &DaemonSet, node: &Node) -> Option<String> {
    if daemon_set.metadata.deletion_timestamp.is_some() {
        return Some("the DaemonSet is being deleted".into());
    }
    if node.metadata.deletion_timestamp.is_some() {
        return Some("the Node is being deleted".into());
    }
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    if let Some(taint) = taints.into_iter().find(|taint| LEAVING_TAINTS.contains(&taint.key.as_str())) {
        return Some(format!("the Node is tainted {}", taint.key));
    }
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let shuts_down = |message: &str| message.contains(SHUTTING_DOWN);
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    if ready.any(|ready| ready.status == "False" && ready.message.as_deref().is_some_and(shuts_down)) {
        return Some("the kubelet shuts the node down".into());
    }
    let pod = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let wanted = pod.is_none_or(|pod| selects(pod, node));
    (!wanted).then(|| "the DaemonSet does not select the Node any more".into())
}

/// `nodeSelector` and required node affinity of a pod, as the DaemonSet controller reads them.
fn selects(pod: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let by_selector =
        pod.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value.as_str()));
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref();
    by_selector
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| matches(term, &label, name))
        })
}

/// One term: all of its requirements. A term without any matches nothing.
fn matches<'a>(
    term: &NodeSelectorTerm,
    label: &impl Fn(&str) -> Option<&'a str>,
    name: Option<&'a str>,
) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |key: &str| name.filter(|_| key == "metadata.name");
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|one| holds(one, label(&one.key)))
        && fields.iter().all(|one| holds(one, field(&one.key)))
}

fn holds(requirement: &NodeSelectorRequirement, found: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = || found.is_some_and(|found| values.iter().any(|value| value == found));
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = values.first().map(String::as_str).and_then(number);
    let numbers = found.and_then(number).zip(bound);
    match requirement.operator.as_str() {
        "In" => among(),
        "NotIn" => !among(),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => numbers.is_some_and(|(found, bound)| found > bound),
        "Lt" => numbers.is_some_and(|(found, bound)| found < bound),
        // One of a later Kubernetes: a pod that runs here was selected by it.
        _ => true,
    }
}

#[cfg(test)]
mod tests;
