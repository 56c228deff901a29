//! What the API server tells: batches of deltas for the World, and beside them what a writer must know of an object.
//!
//! | task | owns | sends | ends |
//! |---|---|---|---|
//! | `Watch`, one per kind | its list and its watch | what it saw, to `Merge`, on a channel of depth 32 | with its [`Source`], or when `Merge` is gone |
//! | `Merge` | the index, the versions, the cache's writer | [`Batch`]es, on the caller's bounded channel | with its [`Source`], or when nobody receives |
//! | readers of ConfigMaps, at most as many as are referred to | nothing | their answer, to `Merge` | with the answer, or `Merge` |
//! | readers of Secrets, one for each that a BGPPeer names; speakers only | nothing | what changed, to `Merge`, on a channel of depth 16 | with `Merge`, or when no BGPPeer names it |
//!
//! One that panics ends the source whole, as what it tells of would never change again. Every one may be cancelled at any point: what was not handed on is listed again by the next start.

mod bodies;
mod cache;
mod health;
mod lister;
mod merge;
mod observe;
mod secrets;
mod silent;
mod topic;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bellhop_api::{BGPPeerStatus, Condition, DecisionPolicyStatus, SpeakerStateStatus};
use bellhop_core::{Delta, ObjectRef};
use bellhop_index::Options;
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use self::health::Health;
use self::lister::Watch;
use self::merge::Merge;
use self::topic::Topic;
use crate::backoff::chance;

/// What is watched, and how it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Everything but EndpointSlices; policies as their specs have them; SpeakerStates and speakers' Leases. ConfigMap
    /// bodies that a spec or a `status.active` refers to.
    Controller,
    /// EndpointSlices too; policies as the controller's copies of their versions in force have them; which nodes are silent.
    Speaker,
}

/// Changes that were seen together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// For the World; ends with `Delta::Synced` once everything has been listed.
    pub deltas: Vec<Delta>,
    /// For writers, in the role Controller.
    pub observed: Vec<Observed>,
}

/// An object as a writer must know it.
#[derive(Clone, PartialEq, Debug)]
pub struct Observed {
    /// Which object.
    pub object: ObjectRef,
    /// `None` once it is gone.
    pub version: Option<Version>,
}

/// The version of an object that was seen last.
#[derive(Clone, PartialEq, Debug)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`: the condition of every write.
    pub resource_version: Arc<str>,
    /// `metadata.generation`; 0 where the kind has none.
    pub generation: i64,
    /// What of its status matters to a writer.
    pub status: Status,
}

/// What of a status matters to a writer.
#[derive(Clone, PartialEq, Debug)]
pub enum Status {
    /// Of a Service.
    Service {
        /// `status.loadBalancer.ingress[].ip` that are addresses, in order.
        ingress: Vec<IpAddr>,
        /// `status.conditions[]` of types that begin with `bellhop.dev/`.
        conditions: Vec<Condition>,
    },
    /// Of a DecisionPolicy.
    Policy(Box<DecisionPolicyStatus>),
    /// Of a BGPPeer.
    Peer(Box<BGPPeerStatus>),
    /// Of a SpeakerState.
    Speaker {
        /// Its status.
        state: Box<SpeakerStateStatus>,
        /// Whether its Lease was seen to be renewed within its duration, by this process's own clock. Holds still while
        /// Leases cannot be watched.
        live: bool,
    },
    /// Of any other kind of Bellhop: its conditions.
    Conditions(Vec<Condition>),
    /// None: a ConfigMap, whose name is all that matters.
    None,
}

/// How to watch.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// What is watched.
    pub role: Role,
    /// Bellhop's own namespace, and whether Services without a class are served.
    pub index: Options,
    /// Where the last good objects are kept, for a start while the API server is away; speakers only.
    pub cache: Option<CacheOptions>,
    /// The first request waits for a random part of this, so that a thousand speakers do not ask at once.
    pub jitter: Duration,
    /// Changes when the API server answers again after it had not. Every watch is asked anew then, from where it was: packets
    /// that were lost on the way are sent again only after a wait that grows with the outage, and a connection that nobody
    /// ends says nothing meanwhile. Leases are what asks all the time ([`crate::SpeakerLease::recoveries`]).
    pub recoveries: Option<watch::Receiver<u64>>,
}

/// Where a speaker keeps the last good objects.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// A folder of the node that is this process's alone.
    pub folder: PathBuf,
    /// `/proc/sys/kernel/random/boot_id`: what was kept before a reboot is not used, as nothing of it is served any more.
    pub boot_id: Arc<str>,
}

/// A running source; dropping it stops its tasks.
#[derive(Debug)]
pub struct Source {
    reachable: watch::Receiver<bool>,
    counters: Arc<Counters>,
    /// Dropped to stop.
    stop: oneshot::Sender<()>,
    /// The one task that holds all others.
    task: JoinSet<()>,
}

/// What a source counts since its start, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events of watches, those of lists apart.
    pub events: AtomicU64,
    /// Lists anew because the version seen was too old.
    pub relists: AtomicU64,
    /// Attempts to list or watch that failed.
    pub failures: AtomicU64,
    /// ConfigMaps read whole.
    pub bodies: AtomicU64,
    /// Starts from the objects that were kept on the node: 0 or 1.
    pub restored: AtomicU64,
}

/// Messages of the watches that may wait: each has 50 objects at most, so that a World that is slow to take them costs some
/// ten megabytes.
const SEEN_DEPTH: usize = 32;

impl Source {
    /// Whether the API server answered lately; changes are logged by the source. False before its first answer.
    pub fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.clone()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Stops every task, and waits until they are gone.
    pub async fn stop(mut self) {
        drop(self.stop);
        while self.task.join_next().await.is_some() {}
    }
}

/// Waits until it is stopped, or until the first of these tasks ends, and then ends the others. Each of them ends by itself only
/// where nobody receives, or by a panic, which has to end the source: without one kind it would go on telling of the others.
async fn together(mut tasks: JoinSet<()>, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        _ = stopped => {}
        Some(Err(error)) = tasks.join_next() => {
            tracing::error!(%error, "a task that watches the API server has ended unasked, and all others with it");
        }
        else => {}
    }
    tasks.shutdown().await;
}

/// What a reader came back with, `None` where it was given up. Its panic is the caller's.
fn outcome<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(outcome) => Some(outcome),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// Starts watching. Every batch goes to `batches`; a full channel makes the watches wait. It ends when nobody receives.
///
/// [`Delta::Synced`] comes once every kind was listed and every ConfigMap that is referred to was read. A kind without which
/// decisions would be wrong (Services, EndpointSlices, AddressClaims, AddressPools, Nodes, Namespaces, DecisionPolicies)
/// is waited for, however long; for any other one a refusal (403, 404) counts as an answer. Either way a refusal is a
/// problem of the object `API/<resource>` that names what must be allowed.
///
/// With a cache, `Synced` comes no later than some seconds after the start: with what was kept, where the API server has
/// not answered by then, or refuses a kind.
pub fn start(client: Client, options: SourceOptions, batches: mpsc::Sender<Batch>) -> Source {
    let topics = Topic::of(options.role);
    let (health, reachable) = Health::new(topics.len());
    let (health, counters) = (Arc::new(health), Arc::new(Counters::default()));
    let (seen, received) = mpsc::channel(SEEN_DEPTH);
    let mut tasks = JoinSet::new();
    let wait = options.jitter.mul_f64(chance());
    for topic in topics {
        let watch = Watch {
            client: client.clone(),
            recoveries: options.recoveries.clone(),
            topic,
            namespace: options.index.namespace.clone(),
            seen: seen.clone(),
            health: health.clone(),
            counters: counters.clone(),
            streams: true,
            refused: None,
        };
        tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            watch.run().await;
        });
    }
    let merge = Merge::new(client, &options, health, counters.clone(), batches);
    tasks.spawn(merge.run(received));
    let (stop, stopped) = oneshot::channel();
    let mut task = JoinSet::new();
    task.spawn(together(tasks, stopped));
    Source { reachable, counters, stop, task }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tasks that hold a channel between them, as watches and `Merge` hold that of batches.
    fn two(first: impl Future<Output = ()> + Send + 'static) -> (JoinSet<()>, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel::<()>(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(first);
        tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        (tasks, receiver)
    }

    #[tokio::test]
    async fn where_one_task_panics_the_source_ends() {
        let (tasks, mut batches) = two(async { panic!("a bug") });
        let (_stop, stopped) = oneshot::channel();
        tokio::time::timeout(Duration::from_secs(60), together(tasks, stopped)).await.unwrap();
        assert_eq!(batches.recv().await, None);
    }

    #[tokio::test]
    async fn a_source_that_is_stopped_or_dropped_ends() {
        let (tasks, mut batches) = two(std::future::pending());
        let (stop, stopped) = oneshot::channel();
        drop(stop);
        together(tasks, stopped).await;
        assert_eq!(batches.recv().await, None);
    }

    #[tokio::test]
    async fn the_panic_of_a_reader_is_that_of_who_waits_for_it_and_one_that_was_given_up_is_none() {
        let mut readers = JoinSet::new();
        readers.spawn(async { 7 });
        assert_eq!(outcome(readers.join_next().await.unwrap()), Some(7));
        readers.spawn(std::future::pending()).abort();
        assert_eq!(outcome(readers.join_next().await.unwrap()), None);
        readers.spawn(async { panic!("a bug") });
        let waits = tokio::spawn(async move { outcome(readers.join_next().await.unwrap()) });
        assert!(waits.await.unwrap_err().is_panic());
    }
}
