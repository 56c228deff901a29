//! The World: every projection that decisions are made from, kept up to date by deltas.
//!
//! One thread owns it. [`World::apply`] returns what a delta touched, so that the cost of planning an event depends on
//! the event and not on how many Services there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::announcers::{Announcers, OwnSpeaker};
use crate::flat::FlatSet;
use crate::labels::Labels;
use crate::names::{NamespacedName, ObjectName, ObjectRef, ServiceKey, Uid};
use crate::objects::{
    AddressClaim, AddressPool, Advertisement, BfdProfile, BgpPeer, DecisionPolicy, EndpointSlice,
    ModuleSource, Namespace, Node, Service, SpeakerConfig,
};
use crate::problem::Problem;

/// One change of one object: `Some` is its new projection, `None` its deletion.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Delta {
    /// A Service.
    Service(ServiceKey, Option<Arc<Service>>),
    /// A Namespace.
    Namespace(ObjectName, Option<Arc<Namespace>>),
    /// A Node.
    Node(ObjectName, Option<Arc<Node>>),
    /// An EndpointSlice, by the key of the slice.
    EndpointSlice(NamespacedName, Option<Arc<EndpointSlice>>),
    /// An AddressPool.
    Pool(ObjectName, Option<Arc<AddressPool>>),
    /// An AddressClaim.
    Claim(IpAddr, Option<Arc<AddressClaim>>),
    /// A BGPPeer.
    Peer(ObjectName, Option<Arc<BgpPeer>>),
    /// An Advertisement.
    Advertisement(ObjectName, Option<Arc<Advertisement>>),
    /// A SpeakerConfig.
    SpeakerConfig(ObjectName, Option<Arc<SpeakerConfig>>),
    /// A BFDProfile.
    BfdProfile(ObjectName, Option<Arc<BfdProfile>>),
    /// A DecisionPolicy.
    Policy(ObjectName, Option<Arc<DecisionPolicy>>),
    /// A ConfigMap that may carry modules.
    Module(ObjectName, Option<Arc<ModuleSource>>),
    /// The nodes without a live speaker that has a session up, as the controller tells them; all that there are.
    SilentNodes(Arc<BTreeSet<ObjectName>>),
    /// What the speaker that owns the World knows of itself. No source tells it.
    OwnSpeaker(OwnSpeaker),
    /// What is wrong with an object as it stands in the source; an empty list clears it.
    Problems(ObjectRef, Vec<Problem>),
    /// The source has been read whole once. Nothing is decided before.
    Synced,
}

/// What deltas touched, to be planned again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Touched {
    /// Services whose own objects changed: the Service, its endpoints, its claims.
    pub services: BTreeSet<ServiceKey>,
    /// Addresses whose claims came, changed or went, those of reservations too.
    pub claims: BTreeSet<IpAddr>,
    /// Nodes that can announce from now on, or no more ([`World::announcers`]).
    pub announcers: BTreeSet<ObjectName>,
    /// Something that every Service depends on changed: nodes, peers, advertisements, pools, namespaces.
    pub every_service: bool,
    /// Pools or claims changed, so that Services which wait for an address may get one.
    pub addresses: bool,
    /// Peers, nodes or speaker configurations changed.
    pub peers: bool,
    /// Policies or modules changed.
    pub policies: bool,
    /// Reported problems changed.
    pub problems: bool,
    /// The source became whole.
    pub synced: bool,
}

impl Touched {
    /// What a full plan starts from.
    pub fn everything() -> Self {
        Self {
            services: BTreeSet::new(),
            claims: BTreeSet::new(),
            announcers: BTreeSet::new(),
            every_service: true,
            addresses: true,
            peers: true,
            policies: true,
            problems: true,
            synced: true,
        }
    }

    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what `other` touched.
    pub fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.claims.extend(other.claims);
        self.announcers.extend(other.announcers);
        self.every_service |= other.every_service;
        self.addresses |= other.addresses;
        self.peers |= other.peers;
        self.policies |= other.policies;
        self.problems |= other.problems;
        self.synced |= other.synced;
    }
}

/// Every projection, by key. Read the maps freely; change them through [`World::apply`] only, which keeps the
/// secondary keys true.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct World {
    services: BTreeMap<ServiceKey, Arc<Service>>,
    namespaces: BTreeMap<ObjectName, Arc<Namespace>>,
    nodes: BTreeMap<ObjectName, Arc<Node>>,
    slices: BTreeMap<NamespacedName, Arc<EndpointSlice>>,
    slices_by_service: BTreeMap<ServiceKey, FlatSet<NamespacedName>>,
    pools: BTreeMap<ObjectName, Arc<AddressPool>>,
    claims: BTreeMap<IpAddr, Arc<AddressClaim>>,
    claims_by_uid: BTreeMap<Uid, FlatSet<IpAddr>>,
    peers: BTreeMap<ObjectName, Arc<BgpPeer>>,
    advertisements: BTreeMap<ObjectName, Arc<Advertisement>>,
    speaker_configs: BTreeMap<ObjectName, Arc<SpeakerConfig>>,
    bfd_profiles: BTreeMap<ObjectName, Arc<BfdProfile>>,
    policies: BTreeMap<ObjectName, Arc<DecisionPolicy>>,
    modules: BTreeMap<ObjectName, Arc<ModuleSource>>,
    announcers: Announcers,
    problems: BTreeMap<ObjectRef, Vec<Problem>>,
    synced: bool,
}

/// Sets or removes; true when the map changed.
fn replace<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    match value {
        Some(value) if map.get(&key) == Some(&value) => false,
        Some(value) => {
            map.insert(key, value);
            true
        }
        None => map.remove(&key).is_some(),
    }
}

/// Removes `value` from the set at `key`, and the set with its last value.
fn unlink<K: Ord, V: Ord>(map: &mut BTreeMap<K, FlatSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

impl World {
    /// Takes over one change and says what it touched; nothing for a change that changes nothing.
    pub fn apply(&mut self, delta: Delta) -> Touched {
        let mut touched = Touched::default();
        match delta {
            Delta::Service(key, service) => {
                if replace(&mut self.services, key.clone(), service) {
                    touched.services.insert(key);
                    touched.addresses = true;
                }
            }
            Delta::Namespace(name, namespace) => {
                let changed = replace(&mut self.namespaces, name, namespace);
                touched.every_service = changed;
                touched.addresses = changed;
            }
            Delta::Node(name, node) => {
                let changed = replace(&mut self.nodes, name, node);
                touched.every_service = changed;
                touched.peers = changed;
                touched.addresses = changed;
            }
            Delta::EndpointSlice(key, slice) => self.apply_slice(key, slice, &mut touched),
            Delta::Pool(name, pool) => {
                let changed = replace(&mut self.pools, name, pool);
                touched.every_service = changed;
                touched.addresses = changed;
            }
            Delta::Claim(address, claim) => self.apply_claim(address, claim, &mut touched),
            Delta::Peer(name, peer) => {
                let changed = replace(&mut self.peers, name, peer);
                touched.every_service = changed;
                touched.peers = changed;
                touched.addresses = changed;
            }
            Delta::Advertisement(name, advertisement) => {
                touched.every_service = replace(&mut self.advertisements, name, advertisement);
            }
            Delta::SpeakerConfig(name, config) => {
                let changed = replace(&mut self.speaker_configs, name, config);
                touched.every_service = changed;
                touched.peers = changed;
            }
            Delta::BfdProfile(name, profile) => {
                touched.peers = replace(&mut self.bfd_profiles, name, profile);
            }
            Delta::Policy(name, policy) => touched.policies = replace(&mut self.policies, name, policy),
            Delta::Module(name, module) => touched.policies = replace(&mut self.modules, name, module),
            Delta::SilentNodes(silent) => {
                self.apply_announcers(&mut touched, |announcers| announcers.set_silent(silent));
            }
            Delta::OwnSpeaker(own) => {
                self.apply_announcers(&mut touched, |announcers| announcers.set_own(own));
            }
            Delta::Problems(object, problems) => {
                let problems = (!problems.is_empty()).then_some(problems);
                // A session shows what is wrong with its peer.
                let peer = &*object.kind == "BGPPeer";
                touched.problems = replace(&mut self.problems, object, problems);
                touched.peers = touched.problems && peer;
            }
            Delta::Synced => {
                touched.synced = !self.synced;
                self.synced = true;
            }
        }
        touched
    }

    fn apply_slice(&mut self, key: NamespacedName, slice: Option<Arc<EndpointSlice>>, touched: &mut Touched) {
        let before = self.slices.get(&key).map(|slice| slice.service.clone());
        let after = slice.as_ref().map(|slice| slice.service.clone());
        if !replace(&mut self.slices, key.clone(), slice) {
            return;
        }
        if let Some(service) = before {
            unlink(&mut self.slices_by_service, &service, &key);
            touched.services.insert(service);
        }
        if let Some(service) = after {
            self.slices_by_service.entry(service.clone()).or_default().insert(key);
            touched.services.insert(service);
        }
    }

    fn apply_claim(&mut self, address: IpAddr, claim: Option<Arc<AddressClaim>>, touched: &mut Touched) {
        let before = self.claims.get(&address).cloned();
        let after = claim.clone();
        if !replace(&mut self.claims, address, claim) {
            return;
        }
        touched.addresses = true;
        touched.claims.insert(address);
        for holder in before.iter().flat_map(|claim| &claim.holders) {
            unlink(&mut self.claims_by_uid, &holder.uid, &address);
            touched.services.insert(holder.service.clone());
        }
        for holder in after.iter().flat_map(|claim| &claim.holders) {
            self.claims_by_uid.entry(holder.uid.clone()).or_default().insert(address);
            touched.services.insert(holder.service.clone());
        }
    }

    fn apply_announcers(&mut self, touched: &mut Touched, change: impl FnOnce(&mut Announcers)) {
        let before = self.announcers.clone();
        change(&mut self.announcers);
        let changed =
            self.nodes.keys().filter(|node| before.contains(node) != self.announcers.contains(node));
        touched.announcers = changed.cloned().collect();
    }

    /// Services by key.
    pub fn services(&self) -> &BTreeMap<ServiceKey, Arc<Service>> {
        &self.services
    }

    /// Namespaces by name.
    pub fn namespaces(&self) -> &BTreeMap<ObjectName, Arc<Namespace>> {
        &self.namespaces
    }

    /// Nodes by name.
    pub fn nodes(&self) -> &BTreeMap<ObjectName, Arc<Node>> {
        &self.nodes
    }

    /// Pools by name.
    pub fn pools(&self) -> &BTreeMap<ObjectName, Arc<AddressPool>> {
        &self.pools
    }

    /// Claims by address.
    pub fn claims(&self) -> &BTreeMap<IpAddr, Arc<AddressClaim>> {
        &self.claims
    }

    /// Peers by name.
    pub fn peers(&self) -> &BTreeMap<ObjectName, Arc<BgpPeer>> {
        &self.peers
    }

    /// Advertisements by name.
    pub fn advertisements(&self) -> &BTreeMap<ObjectName, Arc<Advertisement>> {
        &self.advertisements
    }

    /// Speaker configurations by name.
    pub fn speaker_configs(&self) -> &BTreeMap<ObjectName, Arc<SpeakerConfig>> {
        &self.speaker_configs
    }

    /// BFD profiles by name.
    pub fn bfd_profiles(&self) -> &BTreeMap<ObjectName, Arc<BfdProfile>> {
        &self.bfd_profiles
    }

    /// Policies by name.
    pub fn policies(&self) -> &BTreeMap<ObjectName, Arc<DecisionPolicy>> {
        &self.policies
    }

    /// ConfigMaps with modules by name.
    pub fn modules(&self) -> &BTreeMap<ObjectName, Arc<ModuleSource>> {
        &self.modules
    }

    /// Which nodes can announce.
    pub fn announcers(&self) -> &Announcers {
        &self.announcers
    }

    /// What the source found wrong, by object.
    pub fn problems(&self) -> &BTreeMap<ObjectRef, Vec<Problem>> {
        &self.problems
    }

    /// True once the source has been read whole.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// Labels of a Service's Namespace; empty where the source has no such Namespace.
    pub fn namespace_labels(&self, namespace: &str) -> Labels {
        self.namespaces.get(namespace).map(|namespace| namespace.labels.clone()).unwrap_or_default()
    }

    /// EndpointSlices of a Service.
    pub fn slices_of<'a>(&'a self, service: &ServiceKey) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
        self.slices_by_service.get(service).into_iter().flatten().filter_map(|key| self.slices.get(key))
    }

    /// Claims that name this UID as a holder.
    pub fn claims_of<'a>(&'a self, uid: &Uid) -> impl Iterator<Item = &'a Arc<AddressClaim>> {
        self.claims_by_uid.get(uid).into_iter().flatten().filter_map(|address| self.claims.get(address))
    }
}
