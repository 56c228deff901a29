//! What the API server tells: batches of deltas for the World, and beside them what a writer must know of an object.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellhop_api::{Condition, DecisionPolicyStatus, SpeakerStateStatus};
use bellhop_core::{Delta, ObjectRef};
use bellhop_index::Options;
use kube::Client;
use tokio::sync::{mpsc, watch};

/// What is watched, and how it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Everything but EndpointSlices; policies as their specs have them; SpeakerStates and speakers' Leases. ConfigMap
    /// bodies that a spec or a `status.active` refers to.
    Controller,
    /// EndpointSlices too; policies as the controller's copies of their versions in force have them.
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
}

/// What a source counts, for metrics.
#[derive(Debug, Default)]
pub struct Counters {}

impl Source {
    /// Whether the API server answered lately; changes are logged by the source.
    pub fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.clone()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

/// Starts watching. Every batch goes to `batches`; a full channel makes the watches wait.
pub fn start(_client: Client, _options: SourceOptions, _batches: mpsc::Sender<Batch>) -> Source {
    unimplemented!()
}
