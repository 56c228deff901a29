//! What `bellhop status -o json` says, as far as the lab looks at it: read as any other program would read it.

use std::net::IpAddr;

use serde::Deserialize;

/// The state of one node's process.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How far it is: `Reading`, `LoadingPolicies`, `Binding`, `Ready`.
    pub phase: String,
    /// `Writer`, `Standby` or `RequestedOnly`.
    pub allocation: String,
    /// Its BGP peers.
    pub peers: Vec<Peer>,
    /// The Services of type LoadBalancer.
    pub services: Vec<Service>,
    /// The DecisionPolicies.
    pub policies: Vec<Policy>,
    /// What is wrong with objects.
    pub problems: Vec<Problem>,
}

/// A BGP peer.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Name of the BGPPeer.
    pub name: String,
    /// State of the session, for example `Established`.
    pub state: String,
    /// Prefixes that it is to hear.
    pub wanted: usize,
    /// Prefixes sent.
    pub sent: usize,
}

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A DecisionPolicy.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// First digits of the sha256 of the module in force.
    #[serde(default)]
    pub active: Option<String>,
    /// `Active`, `Rejected`, or how far the candidate is.
    pub step: String,
    /// Where rejected: at which stage.
    #[serde(default)]
    pub stage: Option<String>,
    /// Machine-readable reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// Reason for people.
    #[serde(default)]
    pub message: Option<String>,
    /// Calls of the module in force that failed.
    #[serde(default)]
    pub failures: u64,
}

/// Something wrong with an object.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Problem {
    /// Which object.
    pub object: Object,
    /// Which field.
    pub field: String,
    /// Machine-readable reason.
    pub reason: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// An object of the manifests.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Status {
    /// What is wrong with the policy of this name, if anything is.
    pub fn problem_of_policy(&self, name: &str) -> Option<&Problem> {
        self.problems
            .iter()
            .find(|problem| problem.object.kind == "DecisionPolicy" && problem.object.name == name)
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.name == name)
    }

    /// The Service of this namespace and name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.namespace == namespace && service.name == name)
    }
}
