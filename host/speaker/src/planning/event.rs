//! What reaches the planning thread, and what it is told once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bellhop_core::announce::gate::{HealthCheck, Proof};
use bellhop_core::report::{Answer, Question};
use bellhop_core::{Delta, ObjectName};
use bellhop_ipam::ClaimChange;
use bellhop_runtime::loader::Loaded;
use tokio::sync::{mpsc, oneshot};

use crate::claim_writer::Written;
use crate::filter::FilterReport;
use crate::proxy_health::ProxyHealth;
use crate::state::writer::Report;

/// What reaches the planning thread.
#[derive(Debug)]
pub enum Event {
    /// Changes of objects.
    Deltas(Vec<Delta>),
    /// The addresses that are bound now.
    Bound(BTreeSet<IpAddr>),
    /// What the packet filter has come to.
    Filtered(FilterReport),
    /// What the claim writer did.
    Written(Vec<Written>),
    /// A version of a policy was loaded, or refused.
    Loaded(Box<Loaded>),
    /// This process holds the lock of the state directory from now on, and writes claims by this.
    Writer(mpsc::Sender<Vec<ClaimChange>>),
    /// What came of health checks.
    Checked(Vec<(HealthCheck, Proof)>),
    /// Whether a session is up, with any peer.
    HasSession(bool),
    /// kube-proxy on this node says something else than before.
    Proxy(ProxyHealth),
    /// The values that the planner owns are to be written into the metrics.
    Measure(oneshot::Sender<()>),
    /// A tool asks.
    Ask(Question, oneshot::Sender<Answer>),
    /// SpeakerState is to be written.
    Report(oneshot::Sender<Report>),
    /// Stop.
    Stop {
        /// Leave the routes standing for the next process.
        keep_routes: bool,
    },
}

impl From<Box<Loaded>> for Event {
    fn from(loaded: Box<Loaded>) -> Self {
        Self::Loaded(loaded)
    }
}

/// Who allocates the addresses that a planner announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocation {
    /// This process (standalone).
    Own {
        /// For Services that ask for none by name, too (`--allocate`).
        allocate: bool,
    },
    /// The cluster's controller.
    Controller,
}

/// What a planner is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node it plans for.
    pub node: ObjectName,
    /// Who allocates.
    pub allocation: Allocation,
    /// Whether announced addresses are bound on `lo` where no SpeakerConfig says so or otherwise: in standalone form,
    /// where nothing else serves the addresses of a plain host.
    pub bind_by_default: bool,
}
