//! Leases (coordination.k8s.io/v1): who leads the controllers, and which speakers live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::watch;

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

/// Takes part in an election.
#[derive(Debug)]
pub struct Election {
    leadership: watch::Receiver<Leadership>,
}

impl Election {
    /// Starts to stand for election for the Lease `name`; `identity` is unique among those who stand, as the name of the
    /// pod with its UID.
    pub fn start(_client: Client, _namespace: &str, _name: &str, _identity: &str) -> Self {
        unimplemented!()
    }

    /// Whether this process leads; a change of `until` alone is a change too.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// True while no other process can lead.
    pub fn is_leader(&self) -> bool {
        self.leadership.borrow().is_leader()
    }

    /// Stops leading and gives the Lease back, so that another one leads at once. Call it when nothing is written any more.
    pub async fn release(self) {
        unimplemented!()
    }
}

/// Keeps the Lease of a speaker, `bellhop-speaker-<node>`, renewed; dropping it ends that.
#[derive(Debug)]
pub struct SpeakerLease {
    renewed: watch::Receiver<Option<Instant>>,
}

impl SpeakerLease {
    /// Starts to renew; the Lease is owned by the Node, so that it goes with it. The Node's UID is read from the API
    /// server.
    pub fn start(_client: Client, _namespace: &str, _node: &str, _pod: &str) -> Self {
        unimplemented!()
    }

    /// When the Lease was renewed last.
    pub fn renewed(&self) -> watch::Receiver<Option<Instant>> {
        self.renewed.clone()
    }

    /// Says that this speaker lives no more (`spec.holderIdentity` is emptied), at a clean stop.
    pub async fn release(self) {
        unimplemented!()
    }
}
