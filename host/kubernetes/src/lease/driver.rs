//! The task that asks the API server for a Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellhop_core::ObjectRef;
use bellhop_core::names::NamespacedName;
use bytes::Bytes;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::candidate::{Candidate, Record, Step};
use super::{Leadership, SPEAKER_LEASE_DURATION};
use crate::backoff::{Backoff, chance};
use crate::request::{Failure, JSON, Lines, Request, exchange, send};
use crate::resource::Resource;

/// Longest wait for an answer about a Lease: shorter than what a leader has left between two renewals, so that one answer that
/// never comes does not cost the leadership (client-go gives them half of the renew deadline).
const ANSWER: Duration = Duration::from_secs(5);

/// How often a speaker renews its Lease.
const SPEAKER_RENEW: Duration = Duration::from_secs(10);

/// Waits between a speaker's attempts.
const WAIT_LEAST: Duration = Duration::from_secs(1);
const WAIT_MOST: Duration = Duration::from_secs(10);

/// Whom a Lease goes with.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    Nobody,
    Node(Arc<str>),
}

/// Asks for one Lease.
pub(super) struct Driver {
    client: Client,
    object: ObjectRef,
    owner: Owner,
    /// The last question had no answer.
    silent: AtomicBool,
    recoveries: watch::Sender<u64>,
}

impl Driver {
    pub(super) fn new(client: Client, namespace: &str, name: &str, owner: Owner) -> Self {
        let object = ObjectRef::namespaced("Lease", &NamespacedName::new(namespace, name));
        let (recoveries, _) = watch::channel(0);
        Self { client, object, owner, silent: AtomicBool::new(false), recoveries }
    }

    /// How often an answer came after one that did not.
    pub(super) fn recoveries(&self) -> watch::Receiver<u64> {
        self.recoveries.subscribe()
    }

    /// Stands for election until it is stopped, and gives the Lease back then.
    pub(super) async fn elect(
        self,
        mut candidate: Candidate,
        leadership: watch::Sender<Leadership>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let change = self.given_back();
        tokio::pin!(change);
        loop {
            let now = Instant::now();
            let told = candidate.leadership(now);
            let until = match &told {
                Leadership::Leader { until } => Some(*until),
                Leadership::Follower { .. } => None,
            };
            leadership.send_if_modified(|before| tell(before, told));
            let wait = match candidate.step(now) {
                Step::Wait(next) => next,
                step => {
                    tokio::select! {
                        () = self.carry_out(step, &mut candidate) => {}
                        // Whoever asks `is_leader` compares with the clock; who waits for a change is told in time too.
                        () = tokio::time::sleep_until(until.unwrap_or(now).into()), if until.is_some() => {
                            candidate.failed(Instant::now());
                        }
                        _ = &mut stopped => break,
                    }
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(wait.into()) => {}
                () = &mut change, if until.is_none() => {
                    candidate.nudged();
                    change.set(self.given_back());
                }
                _ = &mut stopped => break,
            }
        }
        let held = candidate.held(Instant::now());
        leadership.send_replace(Leadership::Follower { leader: None });
        if let Some(held) = held {
            let lease = self.lease(None, &held, Duration::from_secs(1), None);
            if let Err(failure) = self.put(&lease, Some(&held)).await {
                tracing::warn!(lease = %self.object, %failure, "the Lease could not be given back and runs out by itself");
            }
        }
    }

    /// Carries out one step; its answer goes to the candidate. Given up in between, nothing is known of a write.
    async fn carry_out(&self, step: Step, candidate: &mut Candidate) {
        let now = Instant::now();
        let (identity, duration) = (candidate.identity().clone(), candidate.terms().lease);
        let written = match &step {
            Step::Wait(_) => return,
            Step::Read => {
                match self.get().await {
                    Ok(record) => candidate.read(Instant::now(), record),
                    Err(failure) => {
                        tracing::debug!(lease = %self.object, %failure, "the Lease could not be read");
                        candidate.failed(Instant::now());
                    }
                }
                return;
            }
            Step::Create => self.put(&self.lease(Some(&identity), &Record::NONE, duration, None), None).await,
            Step::Write(seen) => {
                self.put(&self.lease(Some(&identity), seen, duration, None), Some(seen)).await
            }
        };
        match written {
            Ok(record) => candidate.wrote(now, record),
            Err(Failure::Refused(refusal)) if refusal.code == 409 || refusal.code == 404 => {
                candidate.refused()
            }
            Err(failure) => {
                tracing::debug!(lease = %self.object, %failure, "the Lease could not be written");
                candidate.failed(Instant::now());
            }
        }
    }

    /// Renews the Lease of a speaker until it is stopped, and says then that it lives no more.
    pub(super) async fn renew(
        self,
        holder: Arc<str>,
        renewed: watch::Sender<Option<Instant>>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut backoff = Backoff::new(WAIT_LEAST, WAIT_MOST);
        let mut seen: Option<Record> = None;
        let mut failing = false;
        loop {
            let wait = match self.renew_once(&holder, &mut seen).await {
                Ok(()) => {
                    backoff.reset();
                    failing = false;
                    renewed.send_replace(Some(Instant::now()));
                    // A tenth of jitter, so that a thousand speakers do not renew together.
                    SPEAKER_RENEW.mul_f64(0.95 + chance() / 10.0)
                }
                Err(failure) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(lease = %self.object, %failure, "the Lease of this speaker cannot be renewed");
                    }
                    seen = None;
                    backoff.next(failure.retry_after(), chance())
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = &mut stopped => break,
            }
        }
        if let Some(seen) = seen {
            let lease = self.lease(None, &seen, Duration::from_secs(1), None);
            let _ = self.put(&lease, Some(&seen)).await;
        }
    }

    async fn renew_once(&self, holder: &str, seen: &mut Option<Record>) -> Result<(), Failure> {
        if seen.is_none() {
            *seen = self.get().await?;
        }
        let written = match &*seen {
            Some(record) => {
                let lease = self.lease(Some(holder), record, SPEAKER_LEASE_DURATION, None);
                self.put(&lease, Some(record)).await?
            }
            None => {
                let owner = match &self.owner {
                    Owner::Nobody => None,
                    Owner::Node(node) => Some(self.owner_reference(node).await?),
                };
                let lease = self.lease(Some(holder), &Record::NONE, SPEAKER_LEASE_DURATION, owner);
                self.put(&lease, None).await?
            }
        };
        *seen = Some(written);
        Ok(())
    }

    /// The Node as the owner of an object.
    async fn owner_reference(&self, node: &str) -> Result<Value, Failure> {
        let path = resource("Node").object(&ObjectRef::cluster("Node", node));
        let node_object: Value = self.ask(Request::get(path)).await?;
        let uid = node_object.pointer("/metadata/uid").cloned().unwrap_or_default();
        Ok(json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}))
    }

    /// A Lease as JSON. Times in it are for people: nobody compares them with a clock.
    fn lease(&self, holder: Option<&str>, seen: &Record, duration: Duration, owner: Option<Value>) -> Value {
        let now = format!("{:.6}", Timestamp::now());
        let changed = holder.is_some() && seen.holder.as_deref() != holder;
        let mut metadata = json!({"name": &*self.object.name, "namespace": self.object.namespace.as_deref()});
        if let Some(version) = &seen.resource_version {
            metadata["resourceVersion"] = (&**version).into();
        }
        if matches!(self.owner, Owner::Node(_)) {
            let (key, value) = super::SPEAKER_LABEL.split_once('=').unwrap_or((super::SPEAKER_LABEL, ""));
            metadata["labels"] = json!({key: value});
        }
        if let Some(owner) = owner.or_else(|| seen.owner.clone()) {
            metadata["ownerReferences"] = json!([owner]);
        }
        let mut spec = json!({
            "holderIdentity": holder.unwrap_or_default(),
            "leaseDurationSeconds": duration.as_secs(),
            "renewTime": now,
            "acquireTime": if changed { now.clone() } else { seen.acquired.clone().unwrap_or_else(|| now.clone()) },
            "leaseTransitions": seen.transitions + i32::from(changed && seen.resource_version.is_some()),
        });
        if holder.is_none() {
            spec["holderIdentity"] = Value::Null;
        }
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    }

    async fn get(&self) -> Result<Option<Record>, Failure> {
        match self.ask(Request::get(resource("Lease").object(&self.object))).await {
            Ok(value) => Ok(Some(record(&value))),
            Err(Failure::Refused(refusal)) if refusal.code == 404 => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn put(&self, lease: &Value, seen: Option<&Record>) -> Result<Record, Failure> {
        let resource = resource("Lease");
        let (method, path) = match seen {
            Some(_) => (Method::PUT, resource.object(&self.object)),
            None => (Method::POST, resource.collection(self.object.namespace.as_deref())),
        };
        let body = Bytes::from(lease.to_string());
        let request = Request { method, path, accept: JSON, content_type: Some(JSON), body };
        Ok(record(&self.ask(request).await?))
    }

    async fn ask(&self, request: Request) -> Result<Value, Failure> {
        let answer = tokio::time::timeout(ANSWER, exchange(&self.client, request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::silent("no answer within 5 s")));
        let silent = matches!(answer, Err(Failure::Silent { .. }));
        if self.silent.swap(silent, Ordering::Relaxed) && !silent {
            self.recoveries.send_modify(|count| *count += 1);
        }
        let bytes = answer?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::silent(error.to_string()))
    }

    /// Waits until the Lease has no holder, or is gone. Where that cannot be watched, it is tried again: a candidate looks at
    /// the Lease from time to time anyway.
    async fn given_back(&self) {
        loop {
            let path = format!(
                "{}?watch=true&timeoutSeconds=600&fieldSelector=metadata.name%3D{}",
                resource("Lease").collection(self.object.namespace.as_deref()),
                self.object.name
            );
            if let Ok(response) = send(&self.client, Request::get(path)).await {
                let mut lines = Lines::of(response);
                while let Ok(Some(line)) = lines.next().await {
                    let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                    let holder = event.pointer("/object/spec/holderIdentity").and_then(Value::as_str);
                    let gone = event.get("type").and_then(Value::as_str) == Some("DELETED");
                    if gone || holder.is_none_or(str::is_empty) {
                        return;
                    }
                }
            }
            tokio::time::sleep(WAIT_MOST).await;
        }
    }
}

/// Tells of a change; true where there is one.
fn tell(before: &mut Leadership, now: Leadership) -> bool {
    if *before == now {
        return false;
    }
    match (&*before, &now) {
        (Leadership::Follower { .. }, Leadership::Leader { .. }) => tracing::info!("this process leads"),
        (Leadership::Leader { .. }, Leadership::Follower { .. }) => {
            tracing::warn!("this process leads no more");
        }
        _ => {}
    }
    *before = now;
    true
}

fn resource(kind: &str) -> Resource {
    Resource::of_kind(kind).unwrap_or(Resource::ALL[0])
}

fn record(value: &Value) -> Record {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let transitions = value.pointer("/spec/leaseTransitions").and_then(Value::as_i64).unwrap_or_default();
    Record {
        resource_version: text("/metadata/resourceVersion").map(Into::into),
        holder: text("/spec/holderIdentity").filter(|holder| !holder.is_empty()).map(Into::into),
        transitions: i32::try_from(transitions).unwrap_or_default(),
        acquired: text("/spec/acquireTime").map(Into::into),
        owner: value.pointer("/metadata/ownerReferences/0").cloned(),
    }
}
