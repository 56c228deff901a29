//! Events (events.k8s.io/v1) on objects.

use std::sync::Arc;

use bellhop_core::ObjectRef;
use kube::Client;

/// Whether an Event is news or trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventKind {
    /// News.
    Normal,
    /// Trouble.
    Warning,
}

/// Something that happened to an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// To which object.
    pub regarding: ObjectRef,
    /// Its `metadata.uid`, without which `kubectl describe` does not show the Event.
    pub uid: Option<Arc<str>>,
    /// News or trouble.
    pub kind: EventKind,
    /// Machine-readable, from the closed set of condition reasons.
    pub reason: &'static str,
    /// What was done or tried, in CamelCase: `Allocate`, `Announce`.
    pub action: &'static str,
    /// One sentence for people; cut at 1024 bytes, as the kind allows.
    pub note: String,
}

/// Writes Events from a bounded queue, behind everything else; alike ones within some minutes are one series.
#[derive(Clone, Debug)]
pub struct Recorder {}

impl Recorder {
    /// A recorder that reports as `controller` (`bellhop.dev/controller`), from the pod `instance`; `namespace` has the
    /// Events on cluster-scoped objects.
    pub fn start(_client: Client, _controller: &'static str, _instance: &str) -> Self {
        unimplemented!()
    }

    /// Records that something changed; call it on transitions only. Never waits: where the queue is full, or the API
    /// server slow or away, the Event is dropped and counted.
    pub fn record(&self, _event: Event) {
        unimplemented!()
    }

    /// How many Events were dropped.
    pub fn dropped(&self) -> u64 {
        unimplemented!()
    }
}
