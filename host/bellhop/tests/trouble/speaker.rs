//! What a speaker writes, while requests fail.

use std::sync::Arc;
use std::time::Duration;

use bellhop_kubernetes::Writer;
use bellhop_speaker::bgp::BgpHandle;
use bellhop_speaker::planning::Event;
use bellhop_speaker::state::writer::{self, ClusterState, Report};
use bellhop_test_cluster::Cluster;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::proxy::{Fault, Proxy};
use crate::{apply, wait_for};

/// Its node.
const NODE: &str = "troubled";

pub(crate) async fn its_state_is_written_while_requests_fail_in_every_way(cluster: &Cluster, proxy: &Proxy) {
    apply(cluster, &[json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } })]);
    for fault in [
        Fault::Status(429, Some(1)),
        Fault::Status(500, None),
        Fault::Status(409, None),
        Fault::Reset,
        Fault::LoseAnswer,
        Fault::Late(Duration::from_millis(300)),
    ] {
        proxy.fail(&["PATCH", "/speakerstates/"], fault.clone(), 1);
        proxy.fail(&["POST", "/speakerstates"], fault, 1);
    }
    let (planner, mut events) = mpsc::channel(4);
    let changed = Arc::new(Notify::new());
    let store = ClusterState::new(Writer::new(proxy.client().unwrap(), "bellhop-speaker"), NODE.into());
    let task = tokio::spawn(writer::run(store, planner, changed.clone(), BgpHandle::start().subscribe()));
    let answers = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let Event::Report(reply) = event else { panic!("{event:?}") };
            let status = json!({
                "phase": "Ready", "announced": ["198.51.100.1"], "announcedCount": 1, "exceptionCount": 0,
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }],
            });
            let _ = reply.send(Report { status: serde_json::from_value(status).unwrap(), nodes: 1 });
        }
    });
    changed.notify_one();
    tokio::task::block_in_place(|| {
        wait_for("the state of the speaker, and every fault to have struck", || {
            let state: Value = cluster.kubectl_json(&["get", "speakerstate", NODE, "-o", "json"]).ok()?;
            let owner = &state["metadata"]["ownerReferences"][0]["name"];
            (owner == NODE && state["status"]["announcedCount"] == 1 && proxy.left().is_empty()).then_some(())
        });
    });
    answers.abort();
    task.await.unwrap();
}
