//! What facts alone say about a Service: which addresses it holds, and which nodes may serve it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::decision::{NodeFacts, ServiceFacts};
use crate::objects::{Node, Service, TrafficPolicy};
use crate::route::Family;
use crate::settings::SpeakerSettings;
use crate::world::World;

use super::endpoints::EndpointCounts;

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
    /// The Service's status does not list the address yet, so that no kube-proxy serves it.
    NotPublished,
    /// The node's kube-proxy has not said yet that it serves the Service, or has had no time to.
    DataPathPending,
}

impl Obstacle {
    /// Condition reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoEndpoints => "NoEndpoints",
            Self::NoLocalEndpoints => "NoLocalEndpoints",
            Self::NodeExcluded => "NodeExcluded",
            Self::NotBound => "NotBound",
            Self::NotPublished => "NotPublished",
            Self::DataPathPending => "DataPathPending",
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
            Self::NotPublished => {
                "the Service's status does not list the address yet, so kube-proxy does not serve it; the controller writes \
                 it"
            }
            Self::DataPathPending => {
                "kube-proxy on this node was given the address a moment ago, or does not answer on the health check node \
                 port that it serves the Service, yet"
            }
        }
    }
}

/// True where facts let a node announce anything at all. That it is cordoned, tainted or not Ready is for policies.
pub fn node_usable(world: &World, node: &Node) -> bool {
    // Few nodes carry the label, and only for these are the settings merged.
    let excluded = || {
        node.labels.contains_key(Node::EXCLUDE_LABEL)
            && !SpeakerSettings::of(world, node, false).ignore_exclude_label
    };
    !node.network_unavailable && !excluded()
}

/// Whether facts let `node` announce `address` of `service`.
pub fn obstacle(
    world: &World,
    service: &Service,
    endpoints: &EndpointCounts,
    node: Option<&Node>,
    address: IpAddr,
) -> Option<Obstacle> {
    let family = Family::of(address);
    let Some(node) = node.filter(|node| node_usable(world, node)) else {
        return Some(Obstacle::NodeExcluded);
    };
    if endpoints.total(family) == 0 {
        Some(Obstacle::NoEndpoints)
    } else if service.traffic_policy == TrafficPolicy::Local
        && endpoints.on(&node.name, family) == 0
        && !endpoints.lingers_on(&node.name, family)
    {
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

/// Every node that facts allow for a Service, sorted by name. One that is being deleted drains and is not counted on.
pub fn usable_nodes(world: &World, service: &Service, endpoints: &EndpointCounts) -> Vec<NodeFacts> {
    world
        .nodes()
        .values()
        .filter(|node| !node.deleting && node_usable(world, node))
        .filter(|node| service.traffic_policy == TrafficPolicy::Cluster || endpoints.on_any(&node.name) > 0)
        .map(|node| node_facts(world, node, endpoints))
        .collect()
}

/// A node as a Service with these endpoints sees it.
pub fn node_facts(world: &World, node: &Arc<Node>, endpoints: &EndpointCounts) -> NodeFacts {
    NodeFacts {
        node: node.clone(),
        local_endpoints: endpoints.on_any(&node.name),
        can_announce: world.announcers().contains(&node.name),
    }
}

/// The Service with the labels of its Namespace.
pub fn service_facts(world: &World, service: &Arc<Service>) -> ServiceFacts {
    ServiceFacts {
        service: service.clone(),
        namespace_labels: world.namespace_labels(&service.key.namespace),
    }
}
