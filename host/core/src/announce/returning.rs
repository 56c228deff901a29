//! Nodes that were not Ready and are again, and the time that their pods get to be ready too.
//!
//! When a kubelet falls silent, the control plane marks the pods of its node as not ready. When it comes back the Node is
//! Ready at once, and its pods are only once the kubelet has reported each of them: for seconds a well node has endpoints
//! that are not ready. For [`GRACE`] these are suspects still ([`super::endpoints`]), as while the node was silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::names::ObjectName;
use crate::objects::Readiness;
use crate::world::World;

/// How long after a node became Ready again its pods may still be not ready because of what went before: a kubelet that
/// starts probes each container anew (by default every 10 s, after a delay of its own) and compares what it reported with
/// what stands every 10 s, and endpoints follow within a second or two. A pod that fails in truth is announced for so much
/// longer at most, and only where nothing but suspects is left or by nodes that kept it.
pub const GRACE: Duration = Duration::from_secs(60);

/// The nodes that come back.
#[derive(Debug, Default)]
pub struct Returning {
    away: BTreeSet<ObjectName>,
    /// Until when; `None` for one of which the time is not known yet.
    back: BTreeMap<ObjectName, Option<Instant>>,
}

impl Returning {
    /// Takes over the readiness of the World's nodes. Reads no clock: [`Returning::pass`] gives what came back its time.
    pub(super) fn follow(&mut self, world: &World) {
        let nodes = world.nodes();
        self.away.retain(|node| nodes.contains_key(node));
        self.back.retain(|node, _| nodes.get(node).is_some_and(|node| !node.deleting));
        for node in nodes.values() {
            if node.ready != Readiness::Ready {
                self.back.remove(&node.name);
                self.away.insert(node.name.clone());
            } else if self.away.remove(&node.name) && !node.deleting {
                self.back.insert(node.name.clone(), None);
            }
        }
    }

    /// Time has passed; true where some node's grace is over.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let nodes = self.back.len();
        self.back.retain(|_, until| *until.get_or_insert(now + GRACE) > now);
        self.back.len() < nodes
    }

    /// When the first grace is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.back.values().flatten().min().copied()
    }

    /// True while a node comes back.
    pub(super) fn contains(&self, node: &ObjectName) -> bool {
        self.back.contains_key(node)
    }

    /// True where no node comes back.
    pub(super) fn is_empty(&self) -> bool {
        self.back.is_empty()
    }
}
