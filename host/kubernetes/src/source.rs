//! What the API server tells: batches of deltas for the World, and beside them what a writer must know of an object.

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_api::{Condition, DecisionPolicyStatus, SpeakerStateStatus};
use bellhop_core::{Delta, ObjectRef};

/// What is watched, and how it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Everything but EndpointSlices; policies as their specs have them; SpeakerStates.
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
    /// Of a SpeakerState, with whether its Lease is live according to its own renewals.
    Speaker(Box<SpeakerStateStatus>),
    /// Of any other kind of Bellhop: its conditions.
    Conditions(Vec<Condition>),
    /// None.
    None,
}
