//! Which endpoints of a Service take traffic, and what a node that is not Ready does to them.
//!
//! An endpoint counts while it is ready. Two kinds stand in where that leaves too little:
//!
//! - **Terminating** endpoints that still serve count where a Service has no ready one in a family, on any node
//!   (KEP-1669).
//! - **Suspects** are endpoints that are not ready and not terminating, on a Node that is not Ready itself: when a kubelet
//!   falls silent, the control plane marks every pod of its node as not ready, whether or not it serves. A control plane
//!   that was away for a while does so to all nodes at once. So the readiness of nodes alone never removes more than a
//!   third (rounded down) of the nodes that would announce a Service, nor the last one:
//!   - `externalTrafficPolicy: Cluster`: suspects count where no endpoint of the family is left otherwise;
//!   - `externalTrafficPolicy: Local`: of the nodes that would announce if suspects counted, those that have only suspects
//!     are removed in the order of a hash over Service and Node, up to a third; on the rest suspects count. Nodes from which
//!     no router hears anything ([`crate::announcers`]) are none of these.
//!
//! For a while after a node is Ready again ([`super::returning`]) its endpoints that are not ready are suspects still. As long
//! as any node of the cluster comes back so, a node that announces by suspects goes on: the place of a node whose endpoints
//! are ready again must not make another one go, which would come back a moment later.
//!
//! Where an `externalTrafficPolicy: Local` Service has ready endpoints elsewhere and only terminating ones on a node, these
//! **linger**: they do not count, but kube-proxy hands them what still arrives (KEP-1669). Such a node drains, so that
//! routers have it until the node where the pods went has proven that it serves.
//!
//! What this cannot know: a pod that had failed before its node fell silent is a suspect too; and while suspects count,
//! a kube-proxy that hears the API server drops what arrives for them. Pods that are evicted from a dead node terminate,
//! are no suspects any more, and let the next third go.

use std::collections::{BTreeMap, BTreeSet};

use crate::flat::FlatSet;
use crate::names::ObjectName;
use crate::objects::{Endpoint, Node, Readiness, Service, TrafficPolicy};
use crate::route::Family;
use crate::world::World;

use super::returning::Returning;

/// Of the nodes that would announce a Service, the readiness of nodes removes at most one in this many.
const REMOVABLE: usize = 3;

/// Endpoints that take traffic, by family and node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndpointCounts {
    taking: Counts,
    /// Nodes and families whose endpoints stand in for ready ones.
    standing_in: BTreeSet<(ObjectName, Family)>,
    /// Nodes and families whose endpoints all terminate, serve, and do not count.
    lingering: BTreeSet<(ObjectName, Family)>,
    /// Some endpoints are suspects.
    doubted: bool,
    /// Nodes and families that announce by suspects alone, where each node announces its own endpoints.
    kept: BTreeSet<(ObjectName, Family)>,
}

/// What of a plan rests on suspects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Doubt {
    /// Some endpoints of the Service are suspects.
    pub(super) any: bool,
    /// Families that this node announces by suspects alone.
    pub(super) kept: FlatSet<Family>,
}

impl EndpointCounts {
    /// Counts over the slices of a Service. `before` is a node, and what of its last plan rested on suspects.
    pub fn of(
        world: &World,
        service: &Service,
        returning: &Returning,
        before: Option<(&ObjectName, &Doubt)>,
    ) -> Self {
        let mut taking = Counts::default();
        let mut terminating = Counts::default();
        let mut suspects = Counts::default();
        for slice in world.slices_of(&service.key) {
            for endpoint in &slice.endpoints {
                let counts = if endpoint.ready {
                    &mut taking
                } else if endpoint.serving && endpoint.terminating {
                    &mut terminating
                } else if is_suspect(world, returning, endpoint) {
                    &mut suspects
                } else {
                    continue;
                };
                counts.add(slice.family, endpoint.node.as_ref());
            }
        }
        let doubted = Family::ALL.into_iter().any(|family| suspects.total(family) > 0);
        let before = before.filter(|_| !returning.is_empty());
        let mut counts = Self { taking, doubted, ..Self::default() };
        for family in Family::ALL {
            if counts.total(family) == 0 {
                counts.stand_in(&terminating, family, |_| true);
            }
            match service.traffic_policy {
                TrafficPolicy::Cluster if counts.total(family) == 0 => {
                    counts.stand_in(&suspects, family, |_| true);
                }
                TrafficPolicy::Cluster => {}
                TrafficPolicy::Local => {
                    let mut kept = counts.kept_suspects(world, service, &suspects, family);
                    if let Some((node, doubt)) = before
                        && doubt.kept.contains(&family)
                        && suspects.on(node, family) > 0
                        && counts.on(node, family) == 0
                    {
                        kept.insert(node.clone());
                    }
                    counts.stand_in(&suspects, family, |node| kept.contains(node));
                    counts.kept.extend(kept.into_iter().map(|node| (node, family)));
                    let lingers = |node: &&ObjectName| counts.on(node, family) == 0;
                    let lingering =
                        terminating.nodes(family).filter(lingers).map(|node| (node.clone(), family));
                    counts.lingering = lingering.chain(counts.lingering.iter().cloned()).collect();
                }
            }
        }
        counts
    }

    /// The nodes with suspects alone that keep announcing all the same.
    fn kept_suspects(
        &self,
        world: &World,
        service: &Service,
        suspects: &Counts,
        family: Family,
    ) -> BTreeSet<ObjectName> {
        let lost: Vec<&ObjectName> =
            suspects.nodes(family).filter(|node| self.on(node, family) == 0).collect();
        // From the others nothing can be taken; what they would announce stands ready for their next session.
        let (mut lost, unheard): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|node| world.announcers().contains(node));
        let heard = self.taking.nodes(family).filter(|node| world.announcers().contains(node));
        let announcers = heard.count() + lost.len();
        lost.sort_by_key(|node| (rendezvous(&service.uid, node), *node));
        lost.into_iter().skip(announcers / REMOVABLE).chain(unheard).cloned().collect()
    }

    /// Counts endpoints of other standing on the nodes that `keep` names.
    fn stand_in(&mut self, others: &Counts, family: Family, keep: impl Fn(&str) -> bool) {
        for (node, count) in others.of(family) {
            if node.as_deref().is_none_or(&keep) {
                self.taking.add_many(family, node.as_ref(), count);
                self.standing_in.extend(node.map(|node| (node, family)));
            }
        }
    }

    /// What rests on suspects, of the Service and of what `node` announces.
    pub(super) fn doubt(&self, node: &ObjectName) -> Doubt {
        let mut kept = FlatSet::new();
        for family in Family::ALL {
            if self.kept.contains(&(node.clone(), family)) {
                kept.insert(family);
            }
        }
        Doubt { any: self.doubted, kept }
    }

    /// Endpoints of a family on all nodes.
    pub fn total(&self, family: Family) -> u32 {
        self.taking.total(family)
    }

    /// Endpoints of a family on one node.
    pub fn on(&self, node: &str, family: Family) -> u16 {
        self.taking.on(node, family)
    }

    /// Endpoints on one node; a dual-stack endpoint, which stands in a slice of each family, counts once.
    pub fn on_any(&self, node: &str) -> u16 {
        self.taking.by_node.get(node).map_or(0, |counts| counts[0].max(counts[1]))
    }

    /// True where what arrives at a node for a family is served, and only by endpoints that are about to go while others
    /// are ready elsewhere.
    pub fn lingers_on(&self, node: &ObjectName, family: Family) -> bool {
        self.lingering.contains(&(node.clone(), family))
    }

    /// True where all endpoints of a node linger.
    pub fn all_linger_on(&self, node: &ObjectName) -> bool {
        self.on_any(node) == 0 && Family::ALL.into_iter().any(|family| self.lingers_on(node, family))
    }

    /// True where a node has an endpoint that is ready, and not only some that stand in.
    pub fn ready_on(&self, node: &ObjectName) -> bool {
        Family::ALL
            .into_iter()
            .any(|family| self.on(node, family) > 0 && !self.standing_in.contains(&(node.clone(), family)))
    }
}

/// Not ready, as far as is known because its node is not, or was not a moment ago.
fn is_suspect(world: &World, returning: &Returning, endpoint: &Endpoint) -> bool {
    let node = endpoint.node.as_ref().and_then(|node| world.nodes().get(node));
    let silent = |node: &Node| node.ready != Readiness::Ready || returning.contains(&node.name);
    !endpoint.terminating && node.is_some_and(|node| silent(node))
}

/// An order of nodes that every speaker agrees on and that differs from Service to Service: 64 bits of FNV-1a, mixed so
/// that names which differ in their last digit do not stay neighbours.
pub(super) fn rendezvous(service: &str, node: &str) -> u64 {
    let bytes = service.bytes().chain([0]).chain(node.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// How many endpoints, by family and node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Counts {
    total: [u32; 2],
    by_node: BTreeMap<ObjectName, [u16; 2]>,
    nowhere: [u16; 2],
}

impl Counts {
    fn add(&mut self, family: Family, node: Option<&ObjectName>) {
        self.add_many(family, node, 1);
    }

    fn add_many(&mut self, family: Family, node: Option<&ObjectName>, count: u16) {
        self.total[slot(family)] += u32::from(count);
        let counts = match node {
            Some(node) => self.by_node.entry(node.clone()).or_default(),
            None => &mut self.nowhere,
        };
        counts[slot(family)] = counts[slot(family)].saturating_add(count);
    }

    /// Endpoints of a family on all nodes.
    fn total(&self, family: Family) -> u32 {
        self.total[slot(family)]
    }

    /// Endpoints of a family on one node.
    fn on(&self, node: &str, family: Family) -> u16 {
        self.by_node.get(node).map_or(0, |counts| counts[slot(family)])
    }

    /// Nodes with endpoints of a family.
    fn nodes(&self, family: Family) -> impl Iterator<Item = &ObjectName> {
        self.by_node.iter().filter(move |(_, counts)| counts[slot(family)] > 0).map(|(node, _)| node)
    }

    /// Endpoints of a family by node; those without one last.
    fn of(&self, family: Family) -> impl Iterator<Item = (Option<ObjectName>, u16)> {
        let nodes = self.by_node.iter().map(move |(node, counts)| (Some(node.clone()), counts[slot(family)]));
        nodes.chain([(None, self.nowhere[slot(family)])]).filter(|(_, count)| *count > 0)
    }
}

fn slot(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

#[cfg(test)]
mod tests;
