//! Whether a speaker comes back, by what the API server says of its DaemonSet and its Node.

use std::collections::BTreeMap;

use bellhop_kubernetes::Verb;
use serde_json::json;

use super::*;

/// An API server with two objects, one that fails, or one that never answers.
enum Fake {
    Has(BTreeMap<&'static str, Value>),
    Fails,
    Hangs,
}

impl LiveReads for Fake {
    async fn read(&self, object: &ObjectRef) -> Result<Option<Value>, WriteError> {
        match self {
            Self::Has(objects) => Ok(objects.get(&*object.kind).cloned()),
            Self::Fails => Err(WriteError::Unavailable {
                verb: Verb::Get,
                object: object.clone(),
                message: "connection refused".into(),
            }),
            Self::Hangs => std::future::pending().await,
        }
    }
}

fn origin() -> Origin {
    Origin {
        node: "node-1".into(),
        daemon_set: NamespacedName::new("bellhop-system", "bellhop-speaker"),
        host_run: None,
    }
}

fn daemon_set() -> Value {
    json!({
        "metadata": { "name": "bellhop-speaker", "namespace": "bellhop-system" },
        "spec": { "selector": {}, "template": { "spec": { "containers": [] } } },
    })
}

fn node() -> Value {
    json!({
        "metadata": { "name": "node-1", "labels": { "role": "edge", "cores": "16" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

async fn fate_of(daemon_set: Option<Value>, node: Option<Value>) -> Fate {
    let objects = [("DaemonSet", daemon_set), ("Node", node)];
    let present = objects.into_iter().filter_map(|(kind, object)| Some((kind, object?)));
    fate(&Fake::Has(present.collect()), &origin()).await
}

async fn leaves_because(daemon_set: Option<Value>, node: Option<Value>) -> String {
    match fate_of(daemon_set, node).await {
        Fate::Leaves(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// With `part` of `object` replaced.
fn with(mut object: Value, path: &str, part: Value) -> Value {
    let (parent, last) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[last] = part;
    object
}

#[tokio::test]
async fn a_speaker_whose_daemon_set_wants_the_node_comes_back() {
    assert_eq!(fate_of(Some(daemon_set()), Some(node())).await, Fate::ComesBack);
}

#[tokio::test]
async fn a_speaker_leaves_with_its_daemon_set_or_its_node() {
    let now = json!("2026-01-01T00:00:00Z");
    let table = [
        (None, Some(node()), "DaemonSet/bellhop-system/bellhop-speaker is gone"),
        (Some(daemon_set()), None, "Node/node-1 is gone"),
        (
            Some(with(daemon_set(), "/metadata/deletionTimestamp", now.clone())),
            Some(node()),
            "the DaemonSet is being deleted",
        ),
        (
            Some(daemon_set()),
            Some(with(node(), "/metadata/deletionTimestamp", now)),
            "the Node is being deleted",
        ),
    ];
    for (daemon_set, node, reason) in table {
        assert_eq!(leaves_because(daemon_set, node).await, reason);
    }
}

#[tokio::test]
async fn a_node_that_goes_down_is_left() {
    let shutting_down = json!([{
        "type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "node is shutting down",
    }]);
    let node_down = with(node(), "/status/conditions", shutting_down);
    assert_eq!(leaves_because(Some(daemon_set()), Some(node_down)).await, "the kubelet shuts the node down");
    for taint in LEAVING_TAINTS {
        let tainted = with(node(), "/spec", json!({ "taints": [{ "key": taint, "effect": "NoSchedule" }] }));
        assert!(leaves_because(Some(daemon_set()), Some(tainted)).await.contains(taint));
    }
}

#[tokio::test]
async fn a_node_that_is_only_cordoned_or_not_ready_is_not_left() {
    let unschedulable = json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" });
    let cordoned = with(node(), "/spec", json!({ "unschedulable": true, "taints": [unschedulable] }));
    assert_eq!(fate_of(Some(daemon_set()), Some(cordoned)).await, Fate::ComesBack);
    let silent =
        json!([{ "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status." }]);
    let unknown = with(node(), "/status/conditions", silent);
    assert_eq!(fate_of(Some(daemon_set()), Some(unknown)).await, Fate::ComesBack);
}

#[tokio::test]
async fn a_node_that_the_daemon_set_does_not_select_any_more_is_left() {
    let selecting = |selector: Value| with(daemon_set(), "/spec/template/spec/nodeSelector", selector);
    assert_eq!(fate_of(Some(selecting(json!({ "role": "edge" }))), Some(node())).await, Fate::ComesBack);
    assert_eq!(
        leaves_because(Some(selecting(json!({ "role": "core" }))), Some(node())).await,
        "the DaemonSet does not select the Node any more"
    );
}

#[tokio::test]
async fn node_affinity_is_read_as_the_daemon_set_controller_reads_it() {
    let requiring = |terms: Value| {
        let affinity = json!({
            "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } },
        });
        with(daemon_set(), "/spec/template/spec/affinity", affinity)
    };
    let one = |operator: &str, key: &str, values: &[&str]| json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]);
    let table = [
        (one("In", "role", &["core", "edge"]), true),
        (one("In", "role", &["core"]), false),
        (one("NotIn", "role", &["core"]), true),
        (one("NotIn", "role", &["edge"]), false),
        (one("NotIn", "absent", &["edge"]), true),
        (one("Exists", "role", &[]), true),
        (one("Exists", "absent", &[]), false),
        (one("DoesNotExist", "absent", &[]), true),
        (one("DoesNotExist", "role", &[]), false),
        (one("Gt", "cores", &["8"]), true),
        (one("Gt", "cores", &["16"]), false),
        (one("Lt", "cores", &["32"]), true),
        (one("Lt", "role", &["32"]), false),
        (
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["node-1"] }] }]),
            true,
        ),
        (
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["node-2"] }] }]),
            false,
        ),
        // Terms are alternatives; an empty one matches nothing.
        (json!([{}, { "matchExpressions": [{ "key": "role", "operator": "Exists" }] }]), true),
        (json!([{}]), false),
    ];
    for (terms, comes_back) in table {
        let fate = fate_of(Some(requiring(terms.clone())), Some(node())).await;
        assert_eq!(fate == Fate::ComesBack, comes_back, "{terms}: {fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_routes_stand() {
    for cluster in [Fake::Fails, Fake::Hangs] {
        let begin = tokio::time::Instant::now();
        let fate = fate(&cluster, &origin()).await;
        assert!(matches!(fate, Fate::Unknown(_)) && fate.keeps_routes(), "{fate:?}");
        assert!(begin.elapsed() <= PATIENCE);
    }
}

/// An API server that answers that all is well, while the host begins to shut down.
struct Meanwhile(PathBuf);

impl LiveReads for Meanwhile {
    async fn read(&self, object: &ObjectRef) -> Result<Option<Value>, WriteError> {
        std::fs::write(&self.0, "System is going down.\n").unwrap();
        Fake::Fails.read(object).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_that_it_shuts_down_a_moment_after_sigterm_is_left_too() {
    let run = tempfile::tempdir().unwrap();
    let origin = Origin { host_run: Some(run.path().into()), ..origin() };
    let cluster = Meanwhile(run.path().join("nologin"));
    let begin = tokio::time::Instant::now();
    assert_eq!(fate(&cluster, &origin).await, Fate::Leaves("the node shuts down".into()));
    assert!(begin.elapsed() <= PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_shuts_down_is_left_whatever_the_api_server_says() {
    let run = tempfile::tempdir().unwrap();
    let origin = Origin { host_run: Some(run.path().into()), ..origin() };
    assert!(fate(&Fake::Fails, &origin).await.keeps_routes());
    std::fs::write(run.path().join("nologin"), "System is going down.\n").unwrap();
    assert_eq!(fate(&Fake::Fails, &origin).await, Fate::Leaves("the node shuts down".into()));
}
