//! Which BGPPeer has which address: a router is one BGPPeer, as a connection that it opens shows no port of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_api::Reason;
use bellhop_core::{ObjectRef, Problem};

use crate::convert::Projection;

/// Address of a BGPPeer.
pub(crate) type Endpoint = IpAddr;

/// The endpoint of a BGPPeer; `None` for any other kind.
pub(crate) fn endpoint_of(projection: &Projection) -> Option<Endpoint> {
    match projection {
        Projection::Peer(peer) => Some(peer.address),
        _ => None,
    }
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
        if let Some(endpoint) = wanted {
            if let Some(owner) = self.held.get(&endpoint).filter(|owner| *owner != name) {
                let message =
                    format!("is the address of {owner} already, whatever the ports; a router is one BGPPeer");
                let reason = Reason::DuplicatePeer.as_str();
                self.waiting.insert(name.clone(), endpoint);
                let problem =
                    Problem::new(name.clone(), reason, "spec.peerAddress", endpoint.to_string(), message);
                return Err(Box::new(problem));
            }
            self.held.insert(endpoint, name.clone());
        }
        let Some(let_go) = held.filter(|held| Some(*held) != wanted) else { return Ok(Vec::new()) };
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
