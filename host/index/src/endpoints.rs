//! Which BGPPeer has which router: for the same nodes a router is one BGPPeer.

use std::collections::BTreeMap;

use bellhop_api::Reason;
use bellhop_core::peer::Neighbour;
use bellhop_core::{ObjectRef, Problem};

use crate::convert::Projection;

/// Where the router of a BGPPeer is, and for which nodes. Racks whose routers all have one address are BGPPeers of their own;
/// that they select different nodes shows on the nodes alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Endpoint {
    /// Whatever its port: a connection that the router opens shows none of its own.
    neighbour: Neighbour,
    nodes: String,
}

/// The endpoint of a BGPPeer; `None` for any other kind.
pub(crate) fn endpoint_of(projection: &Projection) -> Option<Endpoint> {
    let Projection::Peer(peer) = projection else { return None };
    let neighbour = match &peer.neighbour {
        // How many there may be makes no other range of it.
        Neighbour::Range { prefix, .. } => Neighbour::Range { prefix: *prefix, most: 1 },
        one => one.clone(),
    };
    Some(Endpoint { neighbour, nodes: format!("{:?}", peer.node_selector) })
}

/// The endpoints of the BGPPeers in force. Of two with the same one the one that was there first stays.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Endpoints {
    held: BTreeMap<Endpoint, ObjectRef>,
    /// BGPPeers that wait for an endpoint which another one has.
    waiting: BTreeMap<ObjectRef, Endpoint>,
}

impl Endpoints {
    /// A version with the endpoint `wanted` is to replace one with the endpoint `held`. Where it may, the answer is who
    /// waited for what it lets go, and is to be decided again; where it may not, `held` stays.
    pub(crate) fn admit(
        &mut self,
        name: &ObjectRef,
        held: Option<Endpoint>,
        wanted: Option<Endpoint>,
    ) -> Result<Vec<ObjectRef>, Box<Problem>> {
        self.waiting.remove(name);
        if let Some(endpoint) = wanted.clone() {
            if let Some(owner) = self.held.get(&endpoint).filter(|owner| *owner != name) {
                let what = match &endpoint.neighbour {
                    Neighbour::Address(_) => "the address",
                    Neighbour::Range { .. } => "the range",
                    Neighbour::Interface(_) => "the interface",
                };
                let message = format!(
                    "is {what} of {owner} already, whatever the ports; for the same nodes a router is one BGPPeer"
                );
                let field = endpoint.neighbour.field();
                let reason = Reason::DuplicatePeer.as_str();
                let problem =
                    Problem::new(name.clone(), reason, field, endpoint.neighbour.to_string(), message);
                self.waiting.insert(name.clone(), endpoint);
                return Err(Box::new(problem));
            }
            self.held.insert(endpoint, name.clone());
        }
        let Some(let_go) = held.filter(|held| Some(held) != wanted.as_ref()) else { return Ok(Vec::new()) };
        if self.held.get(&let_go) == Some(name) {
            self.held.remove(&let_go);
        }
        let waited = self.waiting.iter().filter(|(_, waits_for)| **waits_for == let_go);
        Ok(waited.map(|(name, _)| name.clone()).collect())
    }

    /// True while somebody waits.
    #[cfg(test)]
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lets BGPPeers that wait for each other's endpoints in a circle exchange them; they are to be decided again. Empty
    /// where there is no circle.
    pub(crate) fn exchange(&mut self) -> Vec<ObjectRef> {
        for start in self.waiting.keys() {
            let mut circle = vec![start.clone()];
            let mut current = start;
            while let Some(owner) = self.waiting.get(current).and_then(|endpoint| self.held.get(endpoint)) {
                if owner == start {
                    // Everyone lets go; each takes what it waits for when it is decided again.
                    self.held.retain(|_, owner| !circle.contains(owner));
                    for name in &circle {
                        if let Some(endpoint) = self.waiting.remove(name) {
                            self.held.insert(endpoint, name.clone());
                        }
                    }
                    return circle;
                }
                if circle.contains(owner) {
                    break;
                }
                circle.push(owner.clone());
                current = owner;
            }
        }
        Vec::new()
    }
}
