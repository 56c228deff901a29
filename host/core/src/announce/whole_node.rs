//! Why a node as a whole gives its routes up, whatever policies say.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::names::ObjectName;
use crate::objects::Node;
use crate::world::World;

/// A reason to drain every Service of a node: GRACEFUL_SHUTDOWN, the drain wait, withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NodeDrain {
    /// The speaker stops and does not come back.
    Stopping,
    /// The Node is gone, or being deleted.
    NodeDeleted,
    /// kube-proxy is well and says that the node is about to be deleted.
    NodeLeaving,
}

impl NodeDrain {
    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Stopping => "the speaker stops",
            Self::NodeDeleted => "the Node is deleted",
            Self::NodeLeaving => "kube-proxy's /healthz says that the node is about to be deleted",
        }
    }
}

/// The node that is planned for: as the World has it, or had it last.
#[derive(Debug)]
pub(super) struct WholeNode {
    name: ObjectName,
    last: Option<Arc<Node>>,
    drains: BTreeSet<NodeDrain>,
}

impl WholeNode {
    pub(super) fn new(name: ObjectName) -> Self {
        Self { name, last: None, drains: BTreeSet::new() }
    }

    pub(super) fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Takes over the Node. One that is deleted is planned for as it was last, so that its routes can drain; one that
    /// was never there announces nothing.
    pub(super) fn follow(&mut self, world: &World) {
        let node = world.nodes().get(&self.name);
        let deleted = match node {
            Some(node) => {
                self.last = Some(node.clone());
                node.deleting
            }
            None => self.last.is_some(),
        };
        if deleted {
            self.drains.insert(NodeDrain::NodeDeleted);
        } else {
            self.drains.remove(&NodeDrain::NodeDeleted);
        }
    }

    /// The Node, as it is or was last.
    pub(super) fn node(&self) -> Option<&Arc<Node>> {
        self.last.as_ref()
    }

    /// Begins a drain; false where it stands already.
    pub(super) fn drain(&mut self, drain: NodeDrain) -> bool {
        self.drains.insert(drain)
    }

    /// Ends a drain; false where there was none.
    pub(super) fn resume(&mut self, drain: NodeDrain) -> bool {
        self.drains.remove(&drain)
    }

    /// Why the node drains, if it does.
    pub(super) fn draining(&self) -> Option<NodeDrain> {
        self.drains.first().copied()
    }
}
