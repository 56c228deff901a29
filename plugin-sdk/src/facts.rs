//! What is told about Services, nodes and peers: the contract's types, with lookups and defaults for tests.

pub use crate::bindings::bellhop::policy_base::types::{
    Family, Identity, Node, Pair, Peer, Readiness, Service, SessionType, Taint, TrafficPolicy,
};

use std::fmt;
use std::net::IpAddr;

/// The value under a key of labels, annotations or `extra`.
pub fn value_of<'a>(pairs: &'a [Pair], key: &str) -> Option<&'a str> {
    pairs.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

/// Pairs from plain strings, for tests.
pub fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<Pair> {
    pairs.into_iter().map(|(key, value)| Pair { key: key.into(), value: value.into() }).collect()
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

impl Service {
    /// Value of a label that the metadata declares.
    pub fn label(&self, key: &str) -> Option<&str> {
        value_of(&self.labels, key)
    }

    /// Value of an annotation that the metadata declares.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        value_of(&self.annotations, key)
    }

    /// Value of a label of the Service's Namespace that the metadata declares.
    pub fn namespace_label(&self, key: &str) -> Option<&str> {
        value_of(&self.namespace_labels, key)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            identity: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            namespace_labels: Vec::new(),
            external_traffic_policy: TrafficPolicy::Cluster,
            extra: Vec::new(),
        }
    }
}

impl Node {
    /// Value of a label that the metadata declares.
    pub fn label(&self, key: &str) -> Option<&str> {
        value_of(&self.labels, key)
    }

    /// Value of an annotation that the metadata declares.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        value_of(&self.annotations, key)
    }

    /// The first taint with this key, where the metadata declares taints.
    pub fn taint(&self, key: &str) -> Option<&Taint> {
        self.taints.iter().find(|taint| taint.key == key)
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            taints: Vec::new(),
            unschedulable: false,
            ready: Readiness::Ready,
            local_endpoints: 0,
            extra: Vec::new(),
        }
    }
}

impl Peer {
    /// Value of a label that the metadata declares.
    pub fn label(&self, key: &str) -> Option<&str> {
        value_of(&self.labels, key)
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            name: None,
            labels: Vec::new(),
            peer_asn: 0,
            local_asn: 0,
            session: SessionType::External,
            extra: Vec::new(),
        }
    }
}
