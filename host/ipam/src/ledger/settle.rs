//! One Service: what it keeps, what it gives up, what it still wants.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::objects::{AddressClaim, FamilyPolicy, Holder, Service, TrafficPolicy};
use bellhop_core::{Family, ObjectName, ObjectRef, Problem, ServiceKey};

use super::{Round, Want};
use crate::plan::{Allocation, Step};
use crate::sharing;

/// What is found out about a Service while it is settled.
#[derive(Default)]
pub(super) struct Progress {
    /// Why it waits: the first reason found.
    pub(super) waiting: Option<Problem>,
    pub(super) steps: Vec<Step>,
    pub(super) wants: BTreeSet<Want>,
}

impl Progress {
    pub(super) fn wait(&mut self, problem: Problem) {
        self.waiting.get_or_insert(problem);
    }
}

/// A problem of a Service.
pub(super) fn problem(
    service: &Service,
    reason: &str,
    field: &str,
    value: impl AsRef<str>,
    message: impl Into<String>,
) -> Problem {
    Problem::new(ObjectRef::namespaced("Service", &service.key), reason, field, value, message)
}

impl Round<'_> {
    /// Settles one Service; `None` when it wants no address, and whatever it held is given up.
    pub(super) fn settle(&mut self, key: &ServiceKey) -> Option<Allocation> {
        self.journal.clear();
        let service = self.service(key).cloned();
        self.give_up_stale(key, service.as_deref());
        let Some(service) = service else {
            self.ledger.waits.set(key, Vec::new());
            self.ledger.previous.remove(key);
            if self.ledger.outcomes.remove(key).is_some() {
                self.gone.push(key.clone());
            }
            return None;
        };
        let mut progress = Progress::default();
        let wanted = wanted_families(&service);
        self.keep(&service, &wanted, &mut progress);
        let before: BTreeSet<IpAddr> = self.held(key).collect();

        self.give_up_surplus(&service, &wanted, &mut progress);
        self.adopt(&service, &wanted, &mut progress);
        let kept = self.journal.len();
        let requested = self.request(&service, &wanted, &mut progress);
        self.allocate(&service, &wanted, &requested, &mut progress);
        if before.is_empty() && service.family_policy == FamilyPolicy::RequireDualStack {
            let missing =
                wanted.iter().any(|family| !self.held(key).any(|address| Family::of(address) == *family));
            if missing && self.journal.len() > kept {
                self.take_back(kept);
                progress.steps.retain(|step| !matches!(step, Step::Chosen { .. }));
            }
        }
        self.give_up_replaced(&service, &wanted, &before, &mut progress);

        let mut addresses: Vec<_> = self.held(key).collect();
        addresses.sort_by_key(|address| {
            (wanted.iter().position(|family| *family == Family::of(*address)), *address)
        });
        if progress.waiting.is_none() && addresses.is_empty() {
            let message = "has no address; no pool offers one of the families that it wants";
            progress.wait(problem(&service, "NoMatchingPool", "spec.ipFamilies", "", message));
        }
        self.ledger.waits.set(key, progress.wants.into_iter().collect());
        let warnings = addresses.iter().filter_map(|address| self.warning(&service, *address)).collect();
        let mut decided = self.story(key, &addresses, progress.steps);
        // Kept for as long as the Service lives.
        decided.shrink_to_fit();
        addresses.shrink_to_fit();
        Some(Allocation { addresses, waiting: progress.waiting.map(Box::new), warnings, decided })
    }

    /// Addresses that the Service of this key holds, in this plan.
    pub(super) fn held(&self, key: &ServiceKey) -> impl Iterator<Item = IpAddr> + use<> {
        self.ledger.claims.by_service.get(key).cloned().unwrap_or_default().into_iter()
    }

    /// Removes holders of this key that are not this Service: it went, wants no address, or was made anew. One of another
    /// UID is this Service where its own status says that it was given the address: the claim is from a backup.
    fn give_up_stale(&mut self, key: &ServiceKey, service: Option<&Service>) {
        for address in self.held(key) {
            let restored = service.filter(|service| self.was_given(service, address));
            self.edit(address, |holders| {
                let is_live = |holder: &Holder| service.is_some_and(|service| service.uid == holder.uid);
                let named = |holder: &&mut Holder| holder.service == *key;
                let has_live = holders.iter().any(|holder| holder.service == *key && is_live(holder));
                if let Some(service) = restored.filter(|_| !has_live)
                    && let Some(holder) = holders.iter_mut().find(named)
                {
                    *holder = holder_of(service);
                }
                let mut seen = false;
                holders.retain(|holder| {
                    // A claim written by hand may name one Service twice; once is enough.
                    let live = is_live(holder);
                    holder.service != *key || (live && !std::mem::replace(&mut seen, true))
                });
            });
        }
    }

    /// Gives up an address.
    pub(super) fn give_up(&mut self, key: &ServiceKey, address: IpAddr) {
        self.edit(address, |holders| holders.retain(|holder| holder.service != *key));
    }

    /// Changes the holders of a claim.
    fn edit(&mut self, address: IpAddr, change: impl FnOnce(&mut Vec<Holder>)) {
        let Some(claim) = self.claim(address).cloned() else { return };
        let mut holders = claim.holders.clone();
        change(&mut holders);
        if holders != claim.holders {
            self.propose(AddressClaim { holders, ..Arc::unwrap_or_clone(claim) });
        }
    }

    /// Goes through what the Service holds: gives up what, by its own edit, it no longer may or wants to hold, and
    /// writes its ports and sharing key as they are now.
    fn keep(&mut self, service: &Service, wanted: &[Family], progress: &mut Progress) {
        for address in self.held(&service.key) {
            let family = Family::of(address);
            let reason = if wanted.contains(&family) {
                self.lost(service, address)
            } else {
                Some(format!("the Service no longer wants {family}"))
            };
            match reason {
                Some(reason) => {
                    self.give_up(&service.key, address);
                    progress.steps.push(Step::Released { address, reason });
                }
                None => self.edit(address, |holders| {
                    for holder in holders.iter_mut().filter(|holder| holder.service == service.key) {
                        *holder = holder_of(service);
                    }
                }),
            }
        }
    }

    /// Other Services that hold the address, as they are now, with what the claim says of them.
    pub(super) fn others(&self, key: &ServiceKey, address: IpAddr) -> Vec<(Arc<Service>, Holder)> {
        let holders = self.claim(address).map(|claim| claim.holders.clone()).unwrap_or_default();
        let others = holders.into_iter().filter(|holder| holder.service != *key);
        others
            .filter_map(|holder| {
                let service = self.service(&holder.service).filter(|service| service.uid == holder.uid)?;
                Some((service.clone(), holder))
            })
            .collect()
    }

    /// Why the Service loses an address that it shares, where the terms of sharing no longer hold: whoever broke them
    /// by an edit of its own loses it; where both did or none, the younger one.
    fn lost(&self, service: &Service, address: IpAddr) -> Option<String> {
        let edited = |service: &Service, holder: &Holder| *holder != holder_of(service);
        let claim = self.claim(address)?;
        let own = claim.holders.iter().find(|holder| holder.service == service.key)?;
        self.others(&service.key, address).into_iter().find_map(|(other, holder)| {
            let why = sharing::terms(address, service, &other).err()?;
            let local = |service: &Service| service.traffic_policy == TrafficPolicy::Local;
            let loses = match (edited(service, own), edited(&other, &holder)) {
                (true, false) => true,
                (false, true) => false,
                // The claim does not tell the traffic policy; sharing began with Cluster on both sides.
                _ if local(service) != local(&other) => local(service),
                _ => (service.created, &service.key) > (other.created, &other.key),
            };
            loses.then(|| format!("Service/{} {why}", other.key))
        })
    }

    /// Gives up what a request replaced: addresses held before, once the Service holds those of their family that it
    /// asks for, or one from the pool that it asks for.
    fn give_up_replaced(
        &mut self,
        service: &Service,
        wanted: &[Family],
        before: &BTreeSet<IpAddr>,
        progress: &mut Progress,
    ) {
        for family in wanted {
            let held: Vec<_> =
                self.held(&service.key).filter(|address| Family::of(*address) == *family).collect();
            let asked = service.requested_addresses.iter().filter(|address| Family::of(**address) == *family);
            let asked: Vec<_> = asked.collect();
            for address in held.iter().filter(|address| before.contains(address) && !asked.contains(address))
            {
                let replaced = match &service.requested_pool {
                    _ if !asked.is_empty() => asked.iter().all(|address| held.contains(address)),
                    Some(pool) => {
                        !self.is_from(*address, pool)
                            && held.iter().any(|address| self.is_from(*address, pool))
                    }
                    None => false,
                };
                if replaced {
                    self.give_up(&service.key, *address);
                    let reason = "the Service asks for another one, and has it".into();
                    progress.steps.push(Step::Released { address: *address, reason });
                }
            }
        }
    }

    /// True when a held address was taken from this pool, by what its claim says; where it says nothing, when the pool
    /// covers it. What the claim says counts first, so that moving a range between pools moves no Service.
    pub(super) fn is_from(&self, address: IpAddr, pool: &ObjectName) -> bool {
        let named = self.claim(address).and_then(|claim| claim.pool.clone());
        let covering = self.ledger.pool_of(address);
        named.as_ref() == Some(pool) || covering.as_ref() == Some(pool)
    }

    /// What is wrong with an address that the Service holds and keeps.
    fn warning(&self, service: &Service, address: IpAddr) -> Option<Problem> {
        const FIELD: &str = "status.loadBalancer.ingress";
        if let Some(owner) = self.ledger.claims.owned.get(&address) {
            let message =
                format!("is an address of {owner} too; the Service keeps it until one of them gives it up");
            return Some(problem(service, "AddressExcluded", FIELD, address.to_string(), message));
        }
        if self.ledger.pools.covering(address).is_some() {
            return None;
        }
        let message = match self.ledger.pools.with_range(address) {
            Some(pool) => {
                format!(
                    "is excluded from AddressPool/{} now; the Service keeps it while it lives",
                    pool.spec().name
                )
            }
            None => "is in no AddressPool any more; the Service keeps it while it lives".into(),
        };
        Some(problem(service, "AddressOutsidePools", FIELD, address.to_string(), message))
    }

    /// The steps to tell: those of this round, or, where nothing was chosen or given up, those of the round that did;
    /// without one (after a restart) what the claims say.
    fn story(&self, key: &ServiceKey, addresses: &[IpAddr], steps: Vec<Step>) -> Vec<Step> {
        if !steps.is_empty() {
            return steps;
        }
        if let Some(before) = self.ledger.outcomes.get(key)
            && before.addresses == addresses
        {
            return before.decided.clone();
        }
        let claims = addresses.iter().filter_map(|address| self.claim(*address));
        claims
            .map(|claim| Step::Kept {
                address: claim.address,
                pool: claim.pool.clone(),
                policy: claim.decided_by.as_ref().map(|by| by.policy.clone()),
                note: claim.decided_by.as_ref().and_then(|by| by.note.clone()),
            })
            .collect()
    }
}

/// Families that a Service is to have addresses of, the primary one first.
fn wanted_families(service: &Service) -> Vec<Family> {
    match service.family_policy {
        FamilyPolicy::SingleStack => service.families.iter().take(1).copied().collect(),
        FamilyPolicy::PreferDualStack | FamilyPolicy::RequireDualStack => service.families.clone(),
    }
}

/// What a claim says of this Service as its holder.
pub(super) fn holder_of(service: &Service) -> Holder {
    Holder {
        service: service.key.clone(),
        uid: service.uid.clone(),
        ports: service.ports.clone(),
        sharing_key: service.sharing_key.clone(),
    }
}
