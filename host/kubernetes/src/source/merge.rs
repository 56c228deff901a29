//! The task that makes batches of what the watches saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bellhop_api::Reason;
use bellhop_core::{Delta, ObjectName, ObjectRef, Problem};
use bellhop_index::{Kind, Policies, Watched};
use kube::Client;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bodies::{Bodies, Due};
use super::cache::{self, Cache};
use super::health::Health;
use super::lister::{Object, Seen};
use super::observe::{EXPIRY_TICK, Observations};
use super::secrets::{Answer, Secrets};
use super::silent::SilentNodes;
use super::topic::Topic;
use super::{Batch, CacheOptions, Counters, Role, SourceOptions};
use crate::backoff::{Backoff, chance};
use crate::request::{Failure, Refusal, Request, exchange};
use crate::resource::Resource;

/// How long a speaker that kept objects waits for the API server before it uses them: longer than a busy server needs, and
/// a small part of the time for which routers keep routes over a restart.
const CACHE_WAIT: Duration = Duration::from_secs(5);

/// Most messages taken together: a list arrives in a few dozen batches and an event alone.
const TAKEN_MAX: usize = 16;

/// Least time between two snapshots, so that a full disk does not cost one with every event.
const SNAPSHOT_LEAST: Duration = Duration::from_secs(30);

/// Waits between attempts to read a ConfigMap.
const BODY_WAIT_LEAST: Duration = Duration::from_millis(500);
const BODY_WAIT_MOST: Duration = Duration::from_secs(15);

/// Why a speaker goes on from what it kept, where no answer comes.
const SILENT: &str = "the API server does not answer";

/// How far a topic is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Waiting,
    Listed,
    Refused,
}

/// What was read of a ConfigMap: its content, `None` where there is none, or why it may not be read.
type Body = (ObjectName, Arc<str>, Result<Option<Value>, Refusal>);

/// Owns the index, and what else is known of objects.
pub(crate) struct Merge {
    client: Client,
    namespace: Arc<str>,
    watched: Watched,
    /// In the role Controller.
    observations: Option<Observations>,
    /// In the role Speaker.
    silent: SilentNodes,
    bodies: Bodies,
    secrets: Secrets,
    reading: JoinSet<Body>,
    progress: BTreeMap<Topic, Progress>,
    /// Everything is known, from lists or from what was kept.
    synced: bool,
    /// The same, from lists.
    whole: bool,
    /// Where objects were kept, until they were looked for.
    kept: Option<CacheOptions>,
    /// Where objects are to be kept.
    keeps: Option<CacheOptions>,
    cache: Option<Cache>,
    snapshot_at: Option<Instant>,
    health: Arc<Health>,
    counters: Arc<Counters>,
    batches: mpsc::Sender<Batch>,
    batch: Batch,
}

impl Merge {
    pub(crate) fn new(
        client: Client,
        options: &SourceOptions,
        health: Arc<Health>,
        counters: Arc<Counters>,
        batches: mpsc::Sender<Batch>,
    ) -> Self {
        let policies = match options.role {
            Role::Controller => Policies::Specs,
            Role::Speaker => Policies::Copies,
        };
        let observes = options.role == Role::Controller;
        let topics = Topic::of(options.role);
        Self {
            secrets: Secrets::new(client.clone(), options.index.namespace.clone()),
            client,
            namespace: options.index.namespace.clone(),
            watched: Watched::new(options.index.clone(), policies),
            observations: observes.then(|| Observations::new(options.index.clone())),
            silent: SilentNodes::default(),
            bodies: Bodies::default(),
            reading: JoinSet::new(),
            progress: topics.into_iter().map(|topic| (topic, Progress::Waiting)).collect(),
            synced: false,
            whole: false,
            kept: options.cache.clone(),
            keeps: options.cache.clone(),
            cache: None,
            snapshot_at: None,
            health,
            counters,
            batches,
            batch: Batch::default(),
        }
    }

    pub(crate) async fn run(mut self, mut seen: mpsc::Receiver<(Topic, Seen)>) {
        let mut taken = Vec::with_capacity(TAKEN_MAX);
        let cache_due = tokio::time::sleep(CACHE_WAIT);
        tokio::pin!(cache_due);
        let mut tick = tokio::time::interval(EXPIRY_TICK);
        loop {
            tokio::select! {
                count = seen.recv_many(&mut taken, TAKEN_MAX) => {
                    if count == 0 {
                        return;
                    }
                    for (topic, seen) in taken.drain(..) {
                        self.take(topic, seen).await;
                    }
                }
                Some(ended) = self.reading.join_next() => {
                    if let Some(body) = super::outcome(ended) {
                        self.take_body(body);
                    }
                }
                (name, answer) = self.secrets.next() => self.take_secret(&name, &answer),
                () = &mut cache_due, if !self.synced && self.kept.is_some() => self.restore(SILENT).await,
                _ = tick.tick() => {
                    let hold = self.health.is_silent(Topic::SpeakerLeases);
                    if let Some(observations) = &mut self.observations {
                        self.batch.observed.extend(observations.expire(Instant::now(), hold));
                    }
                }
            }
            self.read_bodies();
            self.secrets.follow(self.watched.secrets());
            if self.lacks_a_kind() {
                self.restore("the API server refuses some kinds").await;
            }
            self.finish();
            let batch = std::mem::take(&mut self.batch);
            let nothing = batch.deltas.is_empty() && batch.observed.is_empty();
            if !nothing && self.batches.send(batch).await.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, topic: Topic, seen: Seen) {
        match seen {
            Seen::Relist => self.relist(topic),
            Seen::Objects(objects) => objects.into_iter().for_each(|object| self.apply(topic, object)),
            Seen::Gone(object) => self.gone(topic, &object),
            Seen::Listed => self.listed(topic),
            Seen::Refused(refusal) => self.refused(topic, &refusal),
            Seen::Allowed => self.allowed(topic),
            Seen::Silent { nobody } => {
                if nobody && !self.synced {
                    self.restore(SILENT).await;
                }
            }
        }
    }

    fn relist(&mut self, topic: Topic) {
        match topic {
            Topic::Objects(Kind::ConfigMap) => self.bodies.relist(),
            Topic::Objects(kind) => self.watched.relist(kind),
            Topic::SilentNodes => self.silent.relist(),
            Topic::SpeakerStates | Topic::SpeakerLeases => {}
        }
        if let Some(observations) = &mut self.observations {
            observations.relist(topic);
        }
    }

    fn listed(&mut self, topic: Topic) {
        let deltas = match topic {
            Topic::Objects(Kind::ConfigMap) => {
                self.bodies.listed();
                Vec::new()
            }
            Topic::Objects(kind) => self.watched.relisted(kind),
            Topic::SilentNodes => self.silent.listed().into_iter().collect(),
            Topic::SpeakerStates | Topic::SpeakerLeases => Vec::new(),
        };
        self.batch.deltas.extend(deltas);
        if let Some(observations) = &mut self.observations {
            self.batch.observed.extend(observations.relisted(topic));
        }
        self.progress.insert(topic, Progress::Listed);
    }

    fn apply(&mut self, topic: Topic, object: Object) {
        let value = match object.value {
            Ok(value) => value,
            Err(why) => {
                if let Topic::Objects(kind) = topic {
                    let namespace = object.namespace.as_deref();
                    self.batch.deltas.extend(self.watched.apply_unreadable(
                        kind,
                        namespace,
                        &object.name,
                        &why,
                    ));
                }
                return;
            }
        };
        if let Some(observations) = &mut self.observations {
            self.batch.observed.extend(observations.apply(topic, &value, Instant::now()));
        }
        match topic {
            Topic::Objects(Kind::ConfigMap) => {
                let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
                self.bodies.seen(&object.name, version.unwrap_or_default());
            }
            Topic::Objects(kind) => self.batch.deltas.extend(self.watched.apply(kind, value)),
            Topic::SilentNodes => self.batch.deltas.extend(self.silent.apply(&value)),
            Topic::SpeakerStates | Topic::SpeakerLeases => {}
        }
    }

    fn gone(&mut self, topic: Topic, object: &Object) {
        let namespace = object.namespace.as_deref();
        if let Some(observations) = &mut self.observations {
            let gone = observations.gone(topic, namespace.unwrap_or_default(), &object.name);
            self.batch.observed.extend(gone);
        }
        match topic {
            Topic::Objects(Kind::ConfigMap) => self.bodies.gone(&object.name),
            Topic::Objects(kind) => {
                self.batch.deltas.extend(self.watched.delete(kind, namespace, &object.name));
            }
            Topic::SilentNodes => self.batch.deltas.extend(self.silent.gone()),
            Topic::SpeakerStates | Topic::SpeakerLeases => {}
        }
    }

    fn refused(&mut self, topic: Topic, refusal: &Refusal) {
        let resource = topic.resource();
        let problem = refused(resource, "list", refusal);
        tracing::warn!(%problem, "the API server refuses; this is tried again");
        self.batch.deltas.push(Delta::Problems(problem.object.clone(), vec![problem]));
        if self.progress.get(&topic) == Some(&Progress::Waiting) {
            self.progress.insert(topic, Progress::Refused);
        }
        if topic == Topic::Objects(Kind::ConfigMap) {
            self.bodies.refused();
        }
    }

    fn allowed(&mut self, topic: Topic) {
        tracing::info!(resource = topic.resource().plural, "the API server refuses no more");
        self.batch.deltas.push(Delta::Problems(api(topic.resource()), Vec::new()));
    }

    /// Asks for the ConfigMaps that are referred to and were not read.
    fn read_bodies(&mut self) {
        for due in self.bodies.due(&self.watched.referenced()) {
            match due {
                Due::Gone(name) => self.batch.deltas.extend(self.watched.config_map_gone(&name)),
                Due::Read(name, version) => {
                    let (client, namespace) = (self.client.clone(), self.namespace.clone());
                    self.counters.bodies.fetch_add(1, Ordering::Relaxed);
                    self.reading.spawn(async move {
                        let body = read_body(&client, &namespace, &name).await;
                        (name, version, body)
                    });
                }
            }
        }
    }

    fn take_body(&mut self, (name, version, body): Body) {
        if !self.bodies.answered(&name, &version) {
            return;
        }
        let deltas = match body {
            Ok(Some(value)) => self.watched.apply_config_map(&name, value),
            Ok(None) => self.watched.config_map_gone(&name),
            Err(refusal) => {
                let problem = refused(Topic::Objects(Kind::ConfigMap).resource(), "get", &refusal);
                vec![Delta::Problems(problem.object.clone(), vec![problem])]
            }
        };
        self.batch.deltas.extend(deltas);
    }

    fn take_secret(&mut self, name: &ObjectName, answer: &Answer) {
        let deltas = match answer {
            Answer::Content(_, value) => self.watched.apply_secret(name, value),
            Answer::Absent => self.watched.secret_gone(name),
            Answer::Refused(words) => self.watched.secret_refused(name, words),
        };
        self.batch.deltas.extend(deltas);
    }

    /// True where every kind has an answer and some a refusal: of those the objects known last stay in force.
    fn lacks_a_kind(&self) -> bool {
        let has = |wanted: Progress| self.progress.values().any(|progress| *progress == wanted);
        !self.synced && self.kept.is_some() && has(Progress::Refused) && !has(Progress::Waiting)
    }

    /// Takes what was kept on the node for what has not been listed.
    async fn restore(&mut self, why: &str) {
        // It is looked for once: who writes it is this process.
        let Some(options) = self.kept.take() else { return };
        let folder = options.folder.clone();
        let kept = match tokio::task::spawn_blocking(move || cache::load(&options)).await {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "no objects kept on the node can be used");
                return;
            }
            // The runtime is going down.
            Err(_) => return,
        };
        let silent = self.silent.restore(&kept);
        let mut restored = self.watched.restore(kept);
        restored.extend(silent);
        tracing::warn!(
            objects = restored.len(),
            "{why}: going on from the objects that were kept on the node"
        );
        self.counters.restored.fetch_add(1, Ordering::Relaxed);
        self.batch.deltas.extend(restored);
        self.batch.deltas.push(Delta::Synced);
        self.synced = true;
    }

    /// Says that everything is known once it is, and keeps what changed.
    fn finish(&mut self) {
        if !self.whole {
            let answered = self.progress.iter().all(|(topic, progress)| match progress {
                Progress::Listed => true,
                Progress::Refused => !topic.is_required(),
                Progress::Waiting => false,
            });
            self.whole =
                answered && self.bodies.is_settled(&self.watched.referenced()) && self.secrets.is_settled();
            if self.whole && !std::mem::replace(&mut self.synced, true) {
                self.batch.deltas.push(Delta::Synced);
            }
        }
        if self.whole {
            self.keep();
        }
    }

    /// Keeps what changed on the node. What was kept by an earlier run is replaced only once everything was listed.
    fn keep(&mut self) {
        let Some(options) = &self.keeps else { return };
        if self.cache.is_none() {
            match Cache::start(options) {
                Ok(cache) => self.cache = Some(cache),
                Err(error) => {
                    tracing::warn!(%error, "the last good objects are not kept on the node");
                    self.keeps = None;
                }
            }
        }
        let Some(cache) = &self.cache else { return };
        if !cache.wants_snapshot() {
            cache.append(&self.batch.deltas);
        } else if self.snapshot_at.is_none_or(|at| at.elapsed() > SNAPSHOT_LEAST) {
            self.snapshot_at = Some(Instant::now());
            let mut all = self.watched.snapshot();
            all.push(self.silent.snapshot());
            cache.snapshot(all);
        }
    }
}

/// Reads a ConfigMap whole, however long that takes; `None` where there is none.
async fn read_body(client: &Client, namespace: &str, name: &str) -> Result<Option<Value>, Refusal> {
    let resource = Topic::Objects(Kind::ConfigMap).resource();
    let path = format!("{}/{name}", resource.collection(Some(namespace)));
    let mut backoff = Backoff::new(BODY_WAIT_LEAST, BODY_WAIT_MOST);
    loop {
        let failure = match exchange(client, Request::get(path.clone())).await {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => return Ok(Some(value)),
                Err(error) => Failure::silent(format!("the ConfigMap cannot be read: {error}")),
            },
            Err(Failure::Refused(refusal)) if refusal.code == 404 => return Ok(None),
            Err(Failure::Refused(refusal)) if refusal.code == 403 => return Err(refusal),
            Err(failure) => failure,
        };
        tracing::debug!(name, %failure, "a ConfigMap could not be read and is asked for again");
        tokio::time::sleep(backoff.next(failure.retry_after(), chance())).await;
    }
}

/// How problems name a resource of the API server.
fn api(resource: Resource) -> ObjectRef {
    ObjectRef::cluster("API", resource.plural)
}

/// What to say of a refusal to list or read a resource.
fn refused(resource: Resource, verb: &str, refusal: &Refusal) -> Problem {
    let plural = resource.plural;
    let words = &refusal.message;
    let (reason, message) = match refusal.code {
        404 => (
            Reason::UnknownKind,
            format!(
                "cannot {verb} {plural}: there is no kind {} in {}; install its CRD",
                resource.kind, resource.api_version
            ),
        ),
        401 => (
            Reason::Forbidden,
            format!("cannot {verb} {plural}: the API server does not know this client: {words}"),
        ),
        _ => (
            Reason::Forbidden,
            format!(
                "cannot {verb} {plural}: forbidden: {words}; the ClusterRole must allow {verb} on {plural}"
            ),
        ),
    };
    Problem::new(api(resource), reason.as_str(), "", "", message)
}
