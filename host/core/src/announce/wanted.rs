//! The routes that each peer is to hear.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::names::ObjectName;
use crate::route::RouteAttributes;

use super::{Changes, RouteChange};

/// Routes by peer and prefix; a peer without routes has no entry.
#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<ObjectName, BTreeMap<IpNet, Arc<RouteAttributes>>>);

impl Wanted {
    pub(super) fn by_peer(&self) -> &BTreeMap<ObjectName, BTreeMap<IpNet, Arc<RouteAttributes>>> {
        &self.0
    }

    /// The peers that are to hear `prefix`.
    pub(super) fn peers_of(&self, prefix: IpNet) -> Vec<ObjectName> {
        let with = self.0.iter().filter(|(_, routes)| routes.contains_key(&prefix));
        with.map(|(peer, _)| peer.clone()).collect()
    }

    /// Announces `prefix` to a peer, or with `None` withdraws it; where that changes something, `changes` has it too.
    pub(super) fn set(
        &mut self,
        peer: &ObjectName,
        prefix: IpNet,
        attributes: Option<Arc<RouteAttributes>>,
        changes: &mut Changes,
    ) {
        match &attributes {
            Some(attributes) => {
                let routes = self.0.entry(peer.clone()).or_default();
                if routes.get(&prefix) == Some(attributes) {
                    return;
                }
                routes.insert(prefix, attributes.clone());
            }
            None => {
                let Some(routes) = self.0.get_mut(peer) else { return };
                if routes.remove(&prefix).is_none() {
                    return;
                }
                if routes.is_empty() {
                    self.0.remove(peer);
                }
            }
        }
        changes.routes.push(RouteChange { peer: peer.clone(), prefix, attributes });
    }
}
