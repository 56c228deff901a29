//! The task that writes SpeakerState.
//!
//! ```text
//! planner ─Changed─┐                       ┌─► Event::Report ─► planner ─► status
//! BGP sessions ────┴─► something is new ─► wait ─► differs from what stands? ─► StateStore (one write)
//! ```
//!
//! It writes once when the speaker is ready, and from then on only what changed, at most once in max(5 s, nodes / 20 s),
//! so that all speakers of a cluster together make at most 20 writes a second. A write that fails is tried again with
//! growing pauses; what changed meanwhile goes with it. Nothing waits for this task. Cancelling it leaves the last state.

use std::sync::Arc;
use std::time::Duration;

use bellhop_api::conditions::READY;
use bellhop_api::{ConditionStatus, SpeakerStateStatus};
use bellhop_core::{ObjectName, ObjectRef};
use bellhop_kubernetes::{Condition, Verb, WriteError, Writer};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::bgp::{BgpSnapshot, PeerTrouble, State};
use crate::planning::Event;

/// Shortest time between two writes.
const INTERVAL_MIN: Duration = Duration::from_secs(5);

/// Writes a second of all speakers together: what an API server has to spare for something that people look at.
const WRITES_PER_SECOND: usize = 20;

/// How long to wait for more after something changed: a burst of Services is one write.
const GATHER: Duration = Duration::from_millis(250);

/// Longest pause after failures; an API server that comes back is told within this.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What the planner reports.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The status, without times of transition.
    pub status: SpeakerStateStatus,
    /// Nodes of the cluster.
    pub nodes: usize,
}

/// Where SpeakerState is kept.
pub trait StateStore: Send {
    /// Puts `status` in place of the one before; makes the object where it is missing.
    fn write(&mut self, status: &SpeakerStateStatus) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// Writes until the planner is gone. `changed` is notified when the planner's part may have changed.
pub async fn run(
    mut store: impl StateStore,
    planner: mpsc::Sender<Event>,
    changed: Arc<Notify>,
    mut sessions: watch::Receiver<Arc<BgpSnapshot>>,
) {
    let mut state = WrittenState::default();
    let mut known = sessions_of(&sessions.borrow_and_update());
    let mut not_before = Instant::now();
    // A speaker that takes long to become ready says so.
    let prompt_until = not_before + INTERVAL_MIN;
    let mut failures: u32 = 0;
    loop {
        tokio::select! {
            () = changed.notified() => {}
            () = news_of_sessions(&mut sessions, &mut known) => {}
            () = planner.closed() => return,
            () = tokio::time::sleep_until(not_before), if failures > 0 => {}
        }
        tokio::time::sleep_until(not_before.max(Instant::now() + GATHER)).await;
        let Some(Report { status, nodes }) = report(&planner).await else { return };
        let starting = state.written.is_none() && !ready(&status);
        if starting && Instant::now() < prompt_until {
            continue;
        }
        let Some(status) = state.news(status, Timestamp::now()) else {
            failures = 0;
            continue;
        };
        match store.write(&status).await {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(failures, "SpeakerState is written again");
                }
                failures = 0;
                state.written = Some(status);
                not_before = Instant::now() + interval(nodes);
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(category = error.category(), "cannot write SpeakerState: {error}");
                }
                failures = failures.saturating_add(1);
                not_before = Instant::now() + backoff(nodes, failures);
            }
        }
    }
}

/// Time between two writes of one speaker.
fn interval(nodes: usize) -> Duration {
    let share = Duration::from_secs_f64(nodes as f64 / WRITES_PER_SECOND as f64);
    INTERVAL_MIN.max(share)
}

/// Time after so many failures in a row.
fn backoff(nodes: usize, failures: u32) -> Duration {
    let interval = interval(nodes);
    (interval * 2_u32.saturating_pow(failures.saturating_sub(1).min(8))).min(BACKOFF_MAX.max(interval))
}

async fn report(planner: &mpsc::Sender<Event>) -> Option<Report> {
    let (reply, answer) = oneshot::channel();
    planner.send(Event::Report(reply)).await.ok()?;
    answer.await.ok()
}

fn ready(status: &SpeakerStateStatus) -> bool {
    let mut ready = status.conditions.iter().filter(|condition| condition.type_ == READY);
    ready.any(|condition| condition.status == ConditionStatus::True)
}

/// What of the sessions stands in the status; their counters change all the time and do not.
type Sessions = Vec<(ObjectName, State, Option<u64>, Option<String>, Option<PeerTrouble>)>;

fn sessions_of(snapshot: &BgpSnapshot) -> Sessions {
    let peers = snapshot.peers.iter();
    peers
        .map(|(name, peer)| {
            let (error, problem) = (peer.last_error.clone(), peer.problem.clone());
            (name.clone(), peer.state, peer.established_since, error, problem)
        })
        .collect()
}

async fn news_of_sessions(sessions: &mut watch::Receiver<Arc<BgpSnapshot>>, known: &mut Sessions) {
    while sessions.changed().await.is_ok() {
        let now = sessions_of(&sessions.borrow_and_update());
        if now != *known {
            *known = now;
            return;
        }
    }
    // The BGP task is gone, and the planner with it.
    std::future::pending().await
}

/// What stands in the API server.
#[derive(Debug, Default)]
struct WrittenState {
    written: Option<SpeakerStateStatus>,
}

impl WrittenState {
    /// The status with its times, where it differs from what stands. A condition that did not change keeps its time.
    fn news(&self, mut status: SpeakerStateStatus, now: Timestamp) -> Option<SpeakerStateStatus> {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
        let before = self.written.as_ref().map(|written| written.conditions.as_slice()).unwrap_or_default();
        for condition in &mut status.conditions {
            let same =
                before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
            condition.last_transition_time =
                same.map_or_else(|| now.clone(), |old| old.last_transition_time.clone());
        }
        (self.written.as_ref() != Some(&status)).then_some(status)
    }
}

/// The SpeakerState of a node in the API server, owned by its Node.
#[derive(Clone, Debug)]
pub struct ClusterState {
    writer: Writer,
    node: ObjectName,
}

impl ClusterState {
    /// Written by `writer`.
    pub fn new(writer: Writer, node: ObjectName) -> Self {
        Self { writer, node }
    }

    async fn create(&self, object: &ObjectRef) -> Result<(), WriteError> {
        let node = ObjectRef::cluster("Node", self.node.clone());
        let owner = self.writer.read(&node).await?;
        let uid = owner.as_ref().and_then(|node| node.pointer("/metadata/uid")).and_then(Value::as_str);
        let Some(uid) = uid else {
            // Without an owner it would outlive the node for ever.
            let message = "a SpeakerState goes with its Node".to_owned();
            return Err(WriteError::NotFound { verb: Verb::Get, object: node, message });
        };
        let owners = [json!({ "apiVersion": "v1", "kind": "Node", "name": &*self.node, "uid": uid })];
        let manifest = json!({ "metadata": { "ownerReferences": owners }, "spec": {} });
        match self.writer.create(object, &manifest).await {
            Ok(_) | Err(WriteError::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl StateStore for ClusterState {
    async fn write(&mut self, status: &SpeakerStateStatus) -> Result<(), WriteError> {
        let object = ObjectRef::cluster("SpeakerState", self.node.clone());
        match self.writer.apply_status(&object, &Condition::default(), status).await {
            Err(WriteError::NotFound { .. }) => {
                self.create(&object).await?;
                self.writer.apply_status(&object, &Condition::default(), status).await.map(|_| ())
            }
            result => result.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests;
