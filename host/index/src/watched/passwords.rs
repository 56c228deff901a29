//! BGPPeers and the Secrets that they name.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_core::{Delta, ObjectName, ObjectRef, Problem};
use serde_json::Value;

use super::{Policies, Watched};
use crate::convert::Projection;
use crate::endpoints::endpoint_of;
use crate::secrets::{self, Known};

impl Watched {
    /// The Secrets whose content is wanted, each with the shortest hold time of the sessions that it is for (zero where they
    /// have none): a new password must be there before that is over.
    pub fn secrets(&self) -> BTreeMap<ObjectName, Duration> {
        let mut wanted: BTreeMap<ObjectName, Duration> = BTreeMap::new();
        if self.policies == Policies::Specs {
            return wanted;
        }
        for peer in self.peers.values().filter_map(|(projection, _)| projection.as_ref()?.peer()) {
            let Some(secret) = &peer.password_secret else { continue };
            let shortest = wanted.entry(secret.clone()).or_insert(peer.hold_time);
            *shortest = (*shortest).min(peer.hold_time);
        }
        wanted
    }

    /// Content of a Secret that is asked for.
    pub fn apply_secret(&mut self, name: &ObjectName, value: &Value) -> Vec<Delta> {
        self.know(name, Known::Read(secrets::read(name, value).password))
    }

    /// A Secret that is asked for does not exist.
    pub fn secret_gone(&mut self, name: &ObjectName) -> Vec<Delta> {
        self.know(name, Known::Absent)
    }

    /// A Secret that is asked for may not be read, in the words of the API server.
    pub fn secret_refused(&mut self, name: &ObjectName, words: &str) -> Vec<Delta> {
        self.know(name, Known::Refused(words.into()))
    }

    fn know(&mut self, name: &ObjectName, known: Known) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if self.secrets().contains_key(name) && self.secrets.get(name) != Some(&known) {
            self.secrets.insert(name.clone(), known);
            let users = self.peers.iter().filter(|(_, (projection, _))| {
                let peer = projection.as_ref().and_then(Projection::peer);
                peer.is_some_and(|peer| peer.password_secret.as_ref() == Some(name))
            });
            self.again.extend(users.map(|(object, _)| object.clone()));
        }
        self.settle(&mut deltas);
        deltas
    }

    /// Forgets the Secrets that no BGPPeer names any more.
    pub(super) fn drop_secrets(&mut self) {
        if !self.secrets.is_empty() {
            let wanted = self.secrets();
            self.secrets.retain(|name, _| wanted.contains_key(name));
        }
    }

    /// Admits a version of a BGPPeer: with the password of its Secret, and an address that no other one has.
    pub(super) fn admit_peer(
        &mut self,
        object: &ObjectRef,
        wanted: Option<Projection>,
        old: Option<&Projection>,
        problems: &mut Vec<Problem>,
    ) -> Option<Projection> {
        let wanted = match wanted.as_ref().and_then(Projection::peer) {
            Some(peer) if self.policies == Policies::Copies => {
                let known = peer.password_secret.as_ref().and_then(|secret| self.secrets.get(secret));
                let known = known.unwrap_or(&Known::Unread);
                let in_force = old.and_then(Projection::peer);
                let namespace = &self.options.namespace;
                let (version, problem) = secrets::with_password(object, peer, in_force, known, namespace);
                problems.extend(problem);
                version.map(Projection::Peer).or_else(|| old.cloned())
            }
            _ => wanted,
        };
        let endpoint = |version: Option<&Projection>| version.and_then(endpoint_of);
        match self.endpoints.admit(object, endpoint(old), endpoint(wanted.as_ref())) {
            Ok(again) => {
                self.again.extend(again);
                wanted
            }
            Err(problem) => {
                problems.push(*problem);
                old.cloned()
            }
        }
    }
}
