//! What the watch shows, taken over into the World and into what is known of each object.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bellhop_api::SILENT_NODES;
use bellhop_core::objects::AddressClaim;
use bellhop_core::{Delta, ObjectName, ObjectRef, ServiceKey};
use bellhop_kubernetes::{Batch, Observed, Status, Version};
use bellhop_runtime::journal::Finder;

use super::{Phase, Planner, ServiceSeen, objects};

impl Planner {
    pub(super) fn take_batch(&mut self, now: Instant, batch: Batch) {
        let Batch { deltas, observed } = batch;
        let mut claims: BTreeMap<IpAddr, Option<Arc<AddressClaim>>> = BTreeMap::new();
        let mut others = Vec::with_capacity(deltas.len());
        for delta in deltas {
            match delta {
                Delta::Claim(address, claim) => {
                    claims.insert(address, claim);
                }
                delta => others.push(delta),
            }
        }
        let mut versions: BTreeMap<IpAddr, Option<Version>> = BTreeMap::new();
        for Observed { object, version } in observed {
            if &*object.kind == "AddressClaim"
                && let Some(address) = claimed_address(&object.name)
            {
                versions.insert(address, version.clone());
            }
            self.observe(now, object, version);
        }
        for (address, version) in versions {
            let said = claims.remove(&address);
            let unreadable = version.is_some() && said.as_ref().is_some_and(Option::is_none);
            if let Some(delta) = self.claims.watched(now, address, version.as_ref(), said) {
                self.apply(delta);
            }
            if unreadable || (version.is_some() && self.world.claims().get(&address).is_none()) {
                self.ledger.avoid(address);
            }
        }
        for (address, claim) in claims {
            self.apply(Delta::Claim(address, claim));
        }
        for delta in others {
            self.apply(delta);
        }
    }

    /// An object was seen, or is gone.
    fn observe(&mut self, now: Instant, object: ObjectRef, version: Option<Version>) {
        match &*object.kind {
            "Service" => {
                let key = ServiceKey {
                    namespace: object.namespace.clone().unwrap_or_default(),
                    name: object.name.clone(),
                };
                match version {
                    Some(version) => self.observe_service(now, &key, &version),
                    None => {
                        self.services.gone(&key);
                        self.announced.remove(&key);
                        self.expected.remove(&key);
                        self.waiting.forget(&key);
                    }
                }
                self.claims.unblock(&key);
            }
            "SpeakerState" => {
                let state = version.as_ref().and_then(|version| match &version.status {
                    Status::Speaker { state, live } => Some((&**state, *live)),
                    _ => None,
                });
                self.report_sessions(now, &object.name, state);
                for peer in self.peer_troubles.report(&object.name, state) {
                    self.objects.mark(&ObjectRef::cluster("BGPPeer", peer));
                }
                self.silent.report(now, &object.name, state);
                let living = state.filter(|(_, live)| *live).map(|(state, _)| state);
                if self.announcements.report(&object.name, living) {
                    self.compare_announcements(now);
                    self.mark_policies();
                }
            }
            "ConfigMap" if *object.name == *SILENT_NODES => {
                self.silent.seen(version.as_ref().map(|version| &version.resource_version));
            }
            "ConfigMap" => {
                match version {
                    Some(_) => self.config_maps.insert(object.name.clone()),
                    None => self.config_maps.remove(&object.name),
                };
            }
            _ => match version {
                Some(version) => {
                    let seen = objects::Seen::of(&version);
                    self.objects.see(&object, &version, seen);
                }
                None => self.objects.gone(&object),
            },
        }
    }

    fn observe_service(&mut self, now: Instant, key: &ServiceKey, version: &Version) {
        let Status::Service { ingress, conditions } = &version.status else { return };
        let seen = ServiceSeen { ingress: ingress.clone(), conditions: conditions.clone() };
        self.waiting.seen(now, key, !ingress.is_empty());
        self.services.see(key, version, seen);
    }

    /// Takes one change over into the World.
    pub(super) fn apply(&mut self, delta: Delta) {
        match &delta {
            Delta::Problems(object, problems) => {
                self.journal.object(Finder::Manifests, object, problems);
                self.mark_object(object);
            }
            Delta::Policy(name, _) => {
                self.mark_object(&ObjectRef::cluster("DecisionPolicy", name.clone()));
                if self.phase == Phase::Ready {
                    self.policy_world.apply(delta.clone());
                }
            }
            Delta::Module(..) => {
                self.policy_world.apply(delta.clone());
            }
            Delta::BfdProfile(name, _) => {
                self.mark_object(&ObjectRef::cluster("BFDProfile", name.clone()));
                let users = self.world.peers().values();
                let users = users.filter(|peer| peer.bfd.as_ref().is_some_and(|bfd| bfd.profile == *name));
                let users: Vec<ObjectName> = users.map(|peer| peer.name.clone()).collect();
                for user in users {
                    self.mark_object(&ObjectRef::cluster("BGPPeer", user));
                }
            }
            Delta::Peer(name, peer) => {
                self.recount = true;
                self.mark_object(&ObjectRef::cluster("BGPPeer", name.clone()));
                if self.world.peers().contains_key(name) != peer.is_some() {
                    self.mark_advertisements();
                }
            }
            Delta::Node(..) => {
                self.recount = true;
                self.silent.nodes_changed();
                self.mark_speaker_configs();
            }
            Delta::SpeakerConfig(name, _) => {
                self.mark_object(&ObjectRef::cluster("SpeakerConfig", name.clone()));
                self.mark_speaker_configs();
            }
            Delta::Service(key, _) => self.services.mark(key),
            Delta::Pool(name, _) => {
                self.mark_object(&ObjectRef::cluster("AddressPool", name.clone()));
                self.mark_advertisements();
            }
            Delta::Advertisement(name, _) => {
                self.mark_object(&ObjectRef::cluster("Advertisement", name.clone()));
            }
            _ => {}
        }
        let mut touched = self.world.apply(delta);
        self.policies_changed |= std::mem::take(&mut touched.policies);
        self.unplanned.merge(touched);
    }

    /// Whether names are there and aggregates fit is a question of Advertisements, pools and peers together.
    fn mark_advertisements(&mut self) {
        let names: Vec<ObjectName> = self.world.advertisements().keys().cloned().collect();
        for name in names {
            self.mark_object(&ObjectRef::cluster("Advertisement", name));
        }
    }

    pub(super) fn mark_object(&mut self, object: &ObjectRef) {
        if &*object.kind == "Service" {
            let namespace = object.namespace.clone().unwrap_or_default();
            self.services.mark(&ServiceKey { namespace, name: object.name.clone() });
        } else {
            self.objects.mark(object);
        }
    }
}

/// The address that a claim of this name is of.
fn claimed_address(name: &str) -> Option<IpAddr> {
    let address = name.parse().or_else(|_| name.replace('-', ":").parse()).ok()?;
    (bellhop_api::claim_name(address) == name).then_some(address)
}
