//! An API server that keeps what the planner writes: names are unique, conditions are checked, everything is watched.

use bellhop_api::ConditionStatus;
use bellhop_core::objects::Holder;
use bellhop_kubernetes::{Condition as Precondition, Stored, Verb};

use super::*;
use crate::write::Leaving;

/// One entry of what a watch delivers.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Service(ServiceKey, Option<ServiceObject>),
    Claim(IpAddr, Option<ClaimObject>),
    Other(ObjectRef, Option<Version>),
    Delta(Delta),
}

#[derive(Clone, Debug)]
pub(super) struct ServiceObject {
    pub(super) service: Arc<Service>,
    pub(super) resource_version: u64,
    pub(super) ingress: Vec<IpAddr>,
    pub(super) conditions: Vec<Condition>,
}

impl ServiceObject {
    pub(super) fn version(&self) -> Version {
        Version {
            uid: self.service.uid.clone(),
            resource_version: self.resource_version.to_string().into(),
            generation: 0,
            status: Status::Service { ingress: self.ingress.clone(), conditions: self.conditions.clone() },
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct ClaimObject {
    pub(super) claim: Arc<AddressClaim>,
    uid: Arc<str>,
    resource_version: u64,
}

impl ClaimObject {
    pub(super) fn version(&self) -> Version {
        Version {
            uid: self.uid.clone(),
            resource_version: self.resource_version.to_string().into(),
            generation: 1,
            status: Status::Conditions(Vec::new()),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Api {
    revision: u64,
    pub(super) services: BTreeMap<ServiceKey, ServiceObject>,
    pub(super) claims: BTreeMap<IpAddr, ClaimObject>,
    pools: BTreeMap<ObjectName, (Arc<AddressPool>, Version)>,
    pub(super) speakers: BTreeMap<ObjectName, Version>,
    pub(super) objects: BTreeMap<ObjectRef, Version>,
    /// Nodes, peers, policies and their modules, as their manifests have them.
    manifests: Vec<Delta>,
    pub(super) log: Vec<Entry>,
    /// One line for each write that was carried out.
    pub(super) writes: Vec<String>,
    /// The server's words, where admission refuses claims.
    pub(super) refuses_claims: Option<String>,
    /// There are no claims, nor a kind of them.
    pub(super) lacks_claims: bool,
    /// Claims that were asked for in vain.
    pub(super) refusals: usize,
}

impl Api {
    pub(super) fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub(super) fn put_pool(&mut self, pool: AddressPool) {
        let revision = self.next();
        let version = Version {
            uid: format!("pool-{}", pool.name).into(),
            resource_version: revision.to_string().into(),
            generation: 1,
            status: Status::Conditions(Vec::new()),
        };
        let pool = Arc::new(pool);
        self.pools.insert(pool.name.clone(), (pool.clone(), version.clone()));
        self.log.push(Entry::Other(ObjectRef::cluster("AddressPool", pool.name.clone()), Some(version)));
        self.log.push(Entry::Delta(Delta::Pool(pool.name.clone(), Some(pool))));
    }

    /// Creates a Service, or changes its spec; what is new gets a UID.
    pub(super) fn put(&mut self, service: Service) {
        let revision = self.next();
        let key = service.key.clone();
        let object = match self.services.remove(&key) {
            Some(before) => ServiceObject {
                service: Arc::new(Service { uid: before.service.uid.clone(), ..service }),
                resource_version: revision,
                ..before
            },
            None => ServiceObject {
                service: Arc::new(Service {
                    uid: format!("uid-{revision}").into(),
                    created: revision as i64,
                    ..service
                }),
                resource_version: revision,
                ingress: Vec::new(),
                conditions: Vec::new(),
            },
        };
        self.services.insert(key.clone(), object.clone());
        self.log.push(Entry::Service(key, Some(object)));
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.next();
        if self.services.remove(&key(name)).is_some() {
            self.log.push(Entry::Service(key(name), None));
        }
    }

    /// Somebody else writes a Service's addresses.
    pub(super) fn steal(&mut self, name: &str, ingress: &[IpAddr]) {
        let revision = self.next();
        if let Some(object) = self.services.get_mut(&key(name)) {
            object.resource_version = revision;
            object.ingress = ingress.to_vec();
            self.log.push(Entry::Service(key(name), Some(object.clone())));
        }
    }

    /// Somebody else writes a claim, or deletes it.
    pub(super) fn set_claim(&mut self, address: IpAddr, holder: Option<(&str, &str)>) {
        let revision = self.next();
        let object = holder.map(|(name, uid)| {
            let holder =
                Holder { service: key(name), uid: uid.into(), ports: service(name).ports, sharing_key: None };
            ClaimObject {
                claim: Arc::new(AddressClaim {
                    address,
                    pool: Some("a".into()),
                    holders: vec![holder],
                    decided_by: None,
                }),
                uid: format!("claim-{revision}").into(),
                resource_version: revision,
            }
        });
        match &object {
            Some(object) => self.claims.insert(address, object.clone()),
            None => self.claims.remove(&address),
        };
        self.log.push(Entry::Claim(address, object));
    }

    /// Nodes, peers and policies are made, or changed.
    pub(super) fn put_manifests(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            let seen = match &delta {
                Delta::Peer(name, Some(_)) => Some(("BGPPeer", name, Status::Peer(Box::default()))),
                Delta::Advertisement(name, Some(_)) => {
                    Some(("Advertisement", name, Status::Conditions(Vec::new())))
                }
                Delta::SpeakerConfig(name, Some(_)) => {
                    Some(("SpeakerConfig", name, Status::Conditions(Vec::new())))
                }
                Delta::BfdProfile(name, Some(_)) => {
                    Some(("BFDProfile", name, Status::Conditions(Vec::new())))
                }
                Delta::Policy(name, Some(_)) => {
                    Some(("DecisionPolicy", name, Status::Policy(Box::default())))
                }
                _ => None,
            };
            if let Some((kind, name, status)) = seen {
                let object = ObjectRef::cluster(kind, name.clone());
                let resource_version = self.next().to_string().into();
                let status = self.objects.get(&object).map_or(status, |before| before.status.clone());
                let version = Version { uid: name.clone(), resource_version, generation: 1, status };
                self.objects.insert(object.clone(), version.clone());
                self.log.push(Entry::Other(object, Some(version)));
            }
            self.log.push(Entry::Delta(delta.clone()));
            self.manifests.push(delta);
        }
    }

    /// What the manifest of a pool had made is gone.
    pub(super) fn put_pool_gone(&mut self, name: &str) {
        self.next();
        self.put_manifests(vec![Delta::Pool(name.into(), None)]);
    }

    /// A speaker reports these sessions: peer and state.
    pub(super) fn speaker(&mut self, node: &str, live: bool, sessions: &[(&str, &str)]) {
        let sessions = sessions.iter().map(|(peer, state)| bellhop_api::SessionState {
            peer: (*peer).into(),
            address: "192.0.2.1".into(),
            state: (*state).into(),
            since: String::new(),
            last_error: String::new(),
            reason: String::new(),
            message: String::new(),
        });
        let state = bellhop_api::SpeakerStateStatus { sessions: sessions.collect(), ..Default::default() };
        self.set_speaker(node, Some(Status::Speaker { state: Box::new(state), live }));
    }

    /// A speaker reports these addresses; `None` when it is gone.
    pub(super) fn report(&mut self, node: &str, announced: Option<&[IpAddr]>) {
        let status = announced.map(|announced| Status::Speaker {
            state: Box::new(bellhop_api::SpeakerStateStatus {
                announced: announced.iter().map(ToString::to_string).collect(),
                ..Default::default()
            }),
            live: true,
        });
        self.set_speaker(node, status);
    }

    fn set_speaker(&mut self, node: &str, status: Option<Status>) {
        let resource_version: Arc<str> = self.next().to_string().into();
        let object = ObjectRef::cluster("SpeakerState", node);
        let version =
            status.map(|status| Version { uid: node.into(), resource_version, generation: 1, status });
        match &version {
            Some(version) => self.speakers.insert(node.into(), version.clone()),
            None => self.speakers.remove(node),
        };
        self.log.push(Entry::Other(object, version));
    }

    /// What a watch that begins anew delivers.
    pub(super) fn relist(&self) -> Vec<Entry> {
        let mut log = Vec::new();
        for (name, (pool, version)) in &self.pools {
            log.push(Entry::Other(ObjectRef::cluster("AddressPool", name.clone()), Some(version.clone())));
            log.push(Entry::Delta(Delta::Pool(name.clone(), Some(pool.clone()))));
        }
        log.extend(self.manifests.iter().cloned().map(Entry::Delta));
        for (node, version) in &self.speakers {
            log.push(Entry::Other(ObjectRef::cluster("SpeakerState", node.clone()), Some(version.clone())));
        }
        for (object, version) in &self.objects {
            log.push(Entry::Other(object.clone(), Some(version.clone())));
        }
        log.extend(
            self.services.iter().map(|(key, object)| Entry::Service(key.clone(), Some(object.clone()))),
        );
        log.extend(self.claims.iter().map(|(at, object)| Entry::Claim(*at, Some(object.clone()))));
        log.push(Entry::Delta(Delta::Synced));
        log
    }

    /// Carries a write out, as etcd does: all or nothing, and only if its condition holds.
    pub(super) fn execute(&mut self, write: &Write) -> Result<Answer, WriteError> {
        match write {
            Write::CreateClaim(claim) => self.create(claim),
            Write::UpdateClaim { claim, at, leaving } => {
                if let Some(lives) = self.staying(claim.address, leaving) {
                    return Ok(Answer::HolderLives(lives));
                }
                self.check_claim(claim.address, at)?;
                self.writes.push(format!("update {}", claim.address));
                Ok(Answer::Stored(self.store(claim.clone(), at.uid.clone())))
            }
            Write::ReleaseClaim { address, at, leaving } => {
                if let Some(lives) = self.staying(*address, leaving) {
                    return Ok(Answer::HolderLives(lives));
                }
                if !self.claims.contains_key(address) {
                    return Ok(Answer::Gone);
                }
                self.check_claim(*address, at)?;
                self.next();
                self.claims.remove(address);
                self.log.push(Entry::Claim(*address, None));
                self.writes.push(format!("release {address}"));
                Ok(Answer::Gone)
            }
            Write::ReadClaim(address) => {
                Ok(Answer::Claim(self.claims.get(address).map(|object| crate::write::ReadClaim {
                    stored: stored(&object.uid, object.resource_version),
                    claim: Some(object.claim.clone()),
                })))
            }
            Write::Status { object, at, status } if &*object.kind == "Service" => {
                self.set_status(object, at, status)
            }
            Write::Status { object, at, status } => {
                self.writes.push(format!("status {object}"));
                let conditions = status["conditions"].clone();
                let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
                let revision = self.next();
                if let Some((_, version)) = self.pools.get_mut(&object.name) {
                    version.resource_version = revision.to_string().into();
                    version.status = Status::Conditions(conditions);
                    self.log.push(Entry::Other(object.clone(), Some(version.clone())));
                } else if let Some(version) = self.objects.get_mut(object) {
                    version.resource_version = revision.to_string().into();
                    let status = status.clone();
                    version.status = match &*object.kind {
                        "BGPPeer" => Status::Peer(serde_json::from_value(status).unwrap()),
                        "Advertisement" | "BFDProfile" | "SpeakerConfig" => Status::Conditions(conditions),
                        _ => Status::Policy(serde_json::from_value(status).unwrap()),
                    };
                    self.log.push(Entry::Other(object.clone(), Some(version.clone())));
                }
                Ok(Answer::Stored(stored(at.uid.as_ref().unwrap(), revision)))
            }
            Write::CreateCopy { name, manifest } => {
                self.writes.push(format!("copy {name}"));
                assert_eq!(manifest["immutable"], true);
                Ok(Answer::Stored(stored(name, self.revision)))
            }
            Write::DeleteCopy { name, .. } => {
                self.writes.push(format!("delete {name}"));
                Ok(Answer::Gone)
            }
            Write::CreateMembershipKey | Write::SilentNodes(_) => Ok(Answer::Gone),
        }
    }

    fn create(&mut self, claim: &Arc<AddressClaim>) -> Result<Answer, WriteError> {
        let object = ObjectRef::cluster("AddressClaim", bellhop_api::claim_name(claim.address));
        if self.claims.contains_key(&claim.address) {
            return Err(WriteError::Exists { object });
        }
        if self.lacks_claims {
            self.refusals += 1;
            let message = "the server could not find the requested resource".to_owned();
            return Err(WriteError::NotFound { verb: Verb::Create, object, message });
        }
        if let Some(message) = self.refuses_claims.clone() {
            self.refusals += 1;
            return Err(WriteError::Invalid { verb: Verb::Create, object, message });
        }
        self.writes.push(format!("create {}", claim.address));
        Ok(Answer::Stored(self.store(claim.clone(), None)))
    }

    fn store(&mut self, claim: Arc<AddressClaim>, uid: Option<Arc<str>>) -> Stored {
        assert!(claim.holders.len() <= 1, "an address twice: {claim:?}");
        let revision = self.next();
        let uid = uid.unwrap_or_else(|| format!("claim-{revision}").into());
        let object = ClaimObject { claim: claim.clone(), uid: uid.clone(), resource_version: revision };
        self.claims.insert(claim.address, object.clone());
        self.log.push(Entry::Claim(claim.address, Some(object)));
        stored(&uid, revision)
    }

    fn staying(&self, address: IpAddr, leaving: &[Leaving]) -> Option<ServiceKey> {
        let stays = |holder: &&Leaving| {
            let living = self.services.get(&holder.service);
            let ours = living.filter(|object| services::is_ours(&object.conditions));
            let listed = ours.map(|object| &*object.ingress).unwrap_or_default();
            holder.keeps(address, living.map(|object| (&*object.service.uid, listed)))
        };
        leaving.iter().find(stays).map(|holder| holder.service.clone())
    }

    fn check_claim(&self, address: IpAddr, at: &Precondition) -> Result<(), WriteError> {
        let object = ObjectRef::cluster("AddressClaim", bellhop_api::claim_name(address));
        let Some(claim) = self.claims.get(&address) else {
            return Err(WriteError::NotFound { verb: Verb::Update, object, message: "gone".into() });
        };
        check(object, at, &claim.uid, claim.resource_version)
    }

    fn set_status(
        &mut self,
        object: &ObjectRef,
        at: &Precondition,
        status: &serde_json::Value,
    ) -> Result<Answer, WriteError> {
        let key = ServiceKey::new(object.namespace.clone().unwrap(), object.name.clone());
        let Some(service) = self.services.get(&key) else {
            let message = "gone".into();
            return Err(WriteError::NotFound { verb: Verb::Patch, object: object.clone(), message });
        };
        check(object.clone(), at, &service.service.uid, service.resource_version)?;
        let revision = self.next();
        let ingress = status["loadBalancer"]["ingress"].as_array();
        let ingress: Vec<IpAddr> =
            ingress.into_iter().flatten().map(|entry| ip(entry["ip"].as_str().unwrap())).collect();
        let conditions: Vec<Condition> =
            serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
        let announced = conditions.iter().find(|condition| condition.type_.ends_with("Announced"));
        let announced = announced.map_or("", |condition| match condition.status {
            ConditionStatus::True => " announced",
            _ => " not announced",
        });
        let shown: Vec<String> = ingress.iter().map(ToString::to_string).collect();
        self.writes.push(format!("status {} [{}]{announced}", key.name, shown.join(" ")));
        let service = self.services.get_mut(&key).unwrap();
        service.resource_version = revision;
        service.ingress = ingress;
        service.conditions = conditions;
        let uid = service.service.uid.clone();
        self.log.push(Entry::Service(key, Some(service.clone())));
        Ok(Answer::Stored(stored(&uid, revision)))
    }
}

fn stored(uid: &Arc<str>, revision: u64) -> Stored {
    Stored { uid: uid.clone(), resource_version: revision.to_string().into(), generation: 1 }
}

fn check(object: ObjectRef, at: &Precondition, uid: &Arc<str>, revision: u64) -> Result<(), WriteError> {
    let same =
        at.uid.as_ref() == Some(uid) && at.resource_version.as_deref() == Some(revision.to_string().as_str());
    if same {
        return Ok(());
    }
    Err(WriteError::Conflict { verb: Verb::Update, object, message: "changed".into() })
}

/// An answer that was lost.
pub(super) fn unavailable() -> WriteError {
    let object = ObjectRef::cluster("Order", "x");
    WriteError::Unavailable { verb: Verb::Patch, object, message: "connection reset".into() }
}
