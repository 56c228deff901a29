//! Leases (coordination.k8s.io/v1): who leads the controllers, and which speakers live.
//!
//! [`Candidate`] is the election without a clock or a network; `driver` asks the API server for it, in one task for each
//! Lease, which owns it and is ended by dropping its handle. Safe however clocks of nodes differ, as client-go's: a
//! candidate takes a Lease only after it saw nothing of it change for its whole duration by its own clock, and a leader
//! stops before anybody else can have seen that.

mod candidate;
mod driver;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub use self::candidate::{Candidate, Record, Step, Terms};
use self::driver::{Driver, Owner};

/// What the names of the speakers' Leases begin with; the node's name follows.
pub const SPEAKER_LEASE_PREFIX: &str = "bellhop-speaker-";

/// The label that speakers' Leases have, by which the controller watches them.
pub const SPEAKER_LABEL: &str = "bellhop.dev/lease=speaker";

/// How long a speaker lives after a renewal was seen: four times the time between two.
pub const SPEAKER_LEASE_DURATION: Duration = Duration::from_secs(40);

/// Whether this process leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// It does not.
    Follower {
        /// Who does, as far as known.
        leader: Option<Arc<str>>,
    },
    /// It does, until then at most; renewals move the time on.
    Leader {
        /// By this process's monotonic clock, which runs on while the process is stopped.
        until: Instant,
    },
}

impl Leadership {
    /// True while no other process can lead. Ask before each write, and not once per reconcile: a process that was
    /// paused has the answer of before the pause in its variables, and the time of after it in its clock.
    pub fn is_leader(&self) -> bool {
        self.leads_at(Instant::now())
    }

    /// The same, at a given time.
    pub fn leads_at(&self, now: Instant) -> bool {
        matches!(self, Self::Leader { until } if now < *until)
    }
}

/// Takes part in an election; dropping it ends that without giving the Lease back.
#[derive(Debug)]
pub struct Election {
    leadership: watch::Receiver<Leadership>,
    recoveries: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<()>,
}

impl Election {
    /// Starts to stand for election for the Lease `name`; `identity` is unique among those who stand, as the name of the
    /// pod.
    pub fn start(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        let (leadership, receiver) = watch::channel(Leadership::Follower { leader: None });
        let (stop, stopped) = oneshot::channel();
        let candidate = Candidate::new(identity, Terms::ELECTION);
        let driver = Driver::new(client, namespace, name, Owner::Nobody);
        let recoveries = driver.recoveries();
        let mut task = JoinSet::new();
        task.spawn(driver.elect(candidate, leadership, stopped));
        Self { leadership: receiver, recoveries, stop: Some(stop), task }
    }

    /// Whether this process leads; a change of `until` alone is a change too.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Counts how often the API server answered about the Lease after it had not: for [`crate::SourceOptions::recoveries`].
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        self.recoveries.clone()
    }

    /// True while no other process can lead.
    pub fn is_leader(&self) -> bool {
        self.leadership.borrow().is_leader()
    }

    /// Stops leading and gives the Lease back, so that another one leads at once. Call it when nothing is written any more.
    pub async fn release(mut self) {
        stop(self.stop.take(), &mut self.task).await;
    }
}

/// Keeps the Lease of a speaker, `bellhop-speaker-<node>`, renewed; dropping it ends that.
#[derive(Debug)]
pub struct SpeakerLease {
    renewed: watch::Receiver<Option<Instant>>,
    recoveries: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<()>,
}

impl SpeakerLease {
    /// Starts to renew; the Lease is owned by the Node, so that it goes with it. The Node's UID is read from the API
    /// server. `pod` names the holder.
    pub fn start(client: Client, namespace: &str, node: &str, pod: &str) -> Self {
        let (renewed, receiver) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let name = format!("{SPEAKER_LEASE_PREFIX}{node}");
        let driver = Driver::new(client, namespace, &name, Owner::Node(node.into()));
        let recoveries = driver.recoveries();
        let mut task = JoinSet::new();
        task.spawn(driver.renew(pod.into(), renewed, stopped));
        Self { renewed: receiver, recoveries, stop: Some(stop), task }
    }

    /// When the Lease was renewed last.
    pub fn renewed(&self) -> watch::Receiver<Option<Instant>> {
        self.renewed.clone()
    }

    /// Counts how often the API server answered about the Lease after it had not: for [`crate::SourceOptions::recoveries`].
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        self.recoveries.clone()
    }

    /// Says that this speaker lives no more (`spec.holderIdentity` is emptied), at a clean stop.
    pub async fn release(mut self) {
        stop(self.stop.take(), &mut self.task).await;
    }
}

/// Longest wait for a Lease to be given back: a stop must not hang on an API server that is away.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

async fn stop(stop: Option<oneshot::Sender<()>>, task: &mut JoinSet<()>) {
    if stop.is_some_and(|stop| stop.send(()).is_ok()) {
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, task.join_next()).await;
    }
    task.shutdown().await;
}
