//! Whether this node's kube-proxy serves a Service of `externalTrafficPolicy: Local` already.
//!
//! kube-proxy programs the data path 0.2 to 2 s after the API says that an endpoint is ready. So before a node begins to
//! announce such a Service, and again after its local endpoints had gone, the Service's health check node port on this
//! very node must answer that there are local endpoints. Once open, a gate stays open as long as the node has endpoints
//! that take traffic: nothing is withdrawn because a check fails later. It is open from the start where only terminating
//! or suspect endpoints are local, of which kube-proxy's answer knows nothing.

use std::collections::BTreeMap;

use crate::names::ServiceKey;
use crate::objects::{Node, Service, TrafficPolicy};

use super::endpoints::EndpointCounts;

/// A health check node port that is to answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HealthCheck {
    /// The Service.
    pub service: ServiceKey,
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Which question this is: never used again, so that an answer opens no gate that closed since.
    pub question: u64,
}

/// What came of a [`HealthCheck`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It answered that the node has endpoints.
    Served,
    /// It did not in time; the node announces all the same, since a check that cannot be reached must not keep a
    /// Service off the air.
    Unproven,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Gate {
    Waiting(HealthCheck),
    Open(Proof),
}

/// The gates of all Services that have one.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: BTreeMap<ServiceKey, Gate>,
    questions: u64,
}

impl Gates {
    /// True for Services that have a gate.
    pub(super) fn concern(service: &Service) -> bool {
        service.traffic_policy == TrafficPolicy::Local && service.health_check_node_port.is_some()
    }

    /// Brings the gate of a Service to what facts say now.
    pub(super) fn follow(&mut self, service: &Service, endpoints: &EndpointCounts, node: Option<&Node>) {
        if node.is_some_and(|node| endpoints.all_linger_on(&node.name)) {
            // kube-proxy says no to new connections, which are for others, and serves what arrives: nothing to ask.
            return;
        }
        let local = node.filter(|node| endpoints.on_any(&node.name) > 0);
        let port = service.health_check_node_port.filter(|_| Self::concern(service));
        let (Some(node), Some(port)) = (local, port) else {
            self.gates.remove(&service.key);
            return;
        };
        match self.gates.get(&service.key) {
            Some(Gate::Open(_)) => return,
            Some(Gate::Waiting(check)) if check.port == port => return,
            Some(Gate::Waiting(_)) | None => {}
        }
        let gate = if endpoints.ready_on(&node.name) {
            self.questions += 1;
            Gate::Waiting(HealthCheck { service: service.key.clone(), port, question: self.questions })
        } else {
            Gate::Open(Proof::Served)
        };
        self.gates.insert(service.key.clone(), gate);
    }

    /// A Service is gone.
    pub(super) fn remove(&mut self, service: &ServiceKey) {
        self.gates.remove(service);
    }

    /// True while a Service waits for its check.
    pub(super) fn closed(&self, service: &ServiceKey) -> bool {
        matches!(self.gates.get(service), Some(Gate::Waiting(_)))
    }

    /// Opens the gate that `check` is for; false where it waits for another answer, or for none.
    pub(super) fn open(&mut self, check: &HealthCheck, proof: Proof) -> bool {
        match self.gates.get_mut(&check.service) {
            Some(gate) if *gate == Gate::Waiting(check.clone()) => {
                *gate = Gate::Open(proof);
                true
            }
            _ => false,
        }
    }

    /// What is waited for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &HealthCheck> {
        self.gates.values().filter_map(|gate| match gate {
            Gate::Waiting(check) => Some(check),
            Gate::Open(_) => None,
        })
    }

    /// Services that are announced without proof.
    pub(super) fn unproven(&self) -> impl Iterator<Item = &ServiceKey> {
        self.gates.iter().filter(|(_, gate)| **gate == Gate::Open(Proof::Unproven)).map(|(key, _)| key)
    }
}
