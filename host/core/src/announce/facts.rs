//! What facts alone say about a Service: which addresses it holds, where its endpoints are, which nodes may serve it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::decision::{NodeFacts, ServiceFacts};
use crate::names::{ObjectName, ServiceKey};
use crate::objects::{Node, Service, TrafficPolicy};
use crate::route::Family;
use crate::world::World;

/// Endpoints that take traffic, by family and node.
///
/// Ready ones count; where a Service has none in a family, those that still serve while terminating do (KEP-1669).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndpointCounts {
    total: [u32; 2],
    by_node: BTreeMap<ObjectName, [u16; 2]>,
}

fn slot(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

impl EndpointCounts {
    /// Counts over the slices of a Service.
    pub fn of(world: &World, service: &ServiceKey) -> Self {
        let mut ready = Self::default();
        let mut terminating = Self::default();
        for slice in world.slices_of(service) {
            for endpoint in &slice.endpoints {
                if endpoint.ready {
                    ready.add(slice.family, endpoint.node.as_ref());
                } else if endpoint.serving && endpoint.terminating {
                    terminating.add(slice.family, endpoint.node.as_ref());
                }
            }
        }
        for family in Family::ALL {
            if ready.total(family) == 0 {
                ready.take_over(&terminating, family);
            }
        }
        ready
    }

    fn add(&mut self, family: Family, node: Option<&ObjectName>) {
        self.total[slot(family)] += 1;
        if let Some(node) = node {
            let count = &mut self.by_node.entry(node.clone()).or_default()[slot(family)];
            *count = count.saturating_add(1);
        }
    }

    fn take_over(&mut self, other: &Self, family: Family) {
        self.total[slot(family)] = other.total(family);
        for (node, counts) in &other.by_node {
            self.by_node.entry(node.clone()).or_default()[slot(family)] = counts[slot(family)];
        }
    }

    /// Endpoints of a family on all nodes.
    pub fn total(&self, family: Family) -> u32 {
        self.total[slot(family)]
    }

    /// Endpoints of a family on one node.
    pub fn on(&self, node: &str, family: Family) -> u16 {
        self.by_node.get(node).map_or(0, |counts| counts[slot(family)])
    }

    /// Endpoints on one node; a dual-stack endpoint, which stands in a slice of each family, counts once.
    pub fn on_any(&self, node: &str) -> u16 {
        self.by_node.get(node).map_or(0, |counts| counts[0].max(counts[1]))
    }
}

/// Why facts keep an address from being announced from this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// No endpoint of the address's family takes traffic.
    NoEndpoints,
    /// `externalTrafficPolicy: Local`, and no endpoint of the family is on this node.
    NoLocalEndpoints,
    /// The node is unknown, excluded by label, or its network is unavailable.
    NodeExcluded,
    /// The address is not bound on the node yet.
    NotBound,
}

impl Obstacle {
    /// Condition reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoEndpoints => "NoEndpoints",
            Self::NoLocalEndpoints => "NoLocalEndpoints",
            Self::NodeExcluded => "NodeExcluded",
            Self::NotBound => "NotBound",
        }
    }

    /// For people.
    pub fn message(self) -> &'static str {
        match self {
            Self::NoEndpoints => "no endpoint of this family takes traffic",
            Self::NoLocalEndpoints => {
                "externalTrafficPolicy is Local and no endpoint of this family is on this node"
            }
            Self::NodeExcluded => {
                "the Node is missing, labelled node.kubernetes.io/exclude-from-external-load-balancers, or its network \
                 is unavailable"
            }
            Self::NotBound => "the address is not bound on this node yet",
        }
    }
}

/// True where facts let a node announce anything at all.
pub fn node_usable(node: &Node) -> bool {
    !node.labels.contains_key(Node::EXCLUDE_LABEL) && !node.network_unavailable
}

/// Whether facts let `node` announce `address` of `service`.
pub fn obstacle(
    service: &Service,
    endpoints: &EndpointCounts,
    node: Option<&Node>,
    address: IpAddr,
) -> Option<Obstacle> {
    let family = Family::of(address);
    let Some(node) = node.filter(|node| node_usable(node)) else { return Some(Obstacle::NodeExcluded) };
    if endpoints.total(family) == 0 {
        Some(Obstacle::NoEndpoints)
    } else if service.traffic_policy == TrafficPolicy::Local && endpoints.on(&node.name, family) == 0 {
        Some(Obstacle::NoLocalEndpoints)
    } else {
        None
    }
}

/// The addresses that a Service holds: those with a claim that names its UID and key.
pub fn held_addresses(world: &World, service: &Service) -> Vec<IpAddr> {
    world
        .claims_of(&service.uid)
        .filter(|claim| {
            claim.holders.iter().any(|holder| holder.uid == service.uid && holder.service == service.key)
        })
        .map(|claim| claim.address)
        .collect()
}

/// Every node that facts allow for a Service, sorted by name.
pub fn usable_nodes(world: &World, service: &Service, endpoints: &EndpointCounts) -> Vec<NodeFacts> {
    world
        .nodes()
        .values()
        .filter(|node| node_usable(node))
        .filter(|node| service.traffic_policy == TrafficPolicy::Cluster || endpoints.on_any(&node.name) > 0)
        .map(|node| NodeFacts { node: node.clone(), local_endpoints: endpoints.on_any(&node.name) })
        .collect()
}

/// The Service with the labels of its Namespace.
pub fn service_facts(world: &World, service: &Arc<Service>) -> ServiceFacts {
    ServiceFacts {
        service: service.clone(),
        namespace_labels: world.namespace_labels(&service.key.namespace),
    }
}
