//! Addresses that a Service leaves to us to choose.

#![allow(clippy::result_large_err, reason = "a problem is made once for a Service that waits, and kept")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::{
    AddressChoice, AddressDecision, AddressRequest, Alternative, Candidate, ConsultOutcome, Consulted,
    PoolFacts, ServiceFacts,
};
use bellhop_core::objects::{DecidedBy, FamilyPolicy, Service};
use bellhop_core::{Family, ObjectName, Problem};

use super::settle::{Progress, problem};
use super::{Round, Want};
use crate::plan::{Chooser, Mode, Step};

/// Where a Service asks for a pool; the peers' annotations are read as this one.
const POOL: &str = "metadata.annotations[bellhop.dev/pool]";

impl Round<'_> {
    /// Chooses an address of each wanted family that the Service has none of and did not ask for by name.
    pub(super) fn allocate(
        &mut self,
        service: &Arc<Service>,
        wanted: &[Family],
        requested: &BTreeSet<Family>,
        progress: &mut Progress,
    ) {
        let held: Vec<_> = self.held(&service.key).collect();
        let missing: Vec<Family> = wanted
            .iter()
            .filter(|family| !requested.contains(family))
            .filter(|family| {
                let mut of_family =
                    held.iter().filter(|address| Family::of(**address) == **family).peekable();
                match &service.requested_pool {
                    // An address of another pool is replaced when the Service comes to ask for a pool.
                    Some(pool) => !of_family.any(|address| self.is_from(*address, pool)),
                    None => of_family.peek().is_none(),
                }
            })
            .copied()
            .collect();
        if missing.is_empty() {
            return;
        }
        // Preferring both families, a Service with one of them has what it must have.
        let content = service.family_policy == FamilyPolicy::PreferDualStack
            && !held.is_empty()
            && service.requested_pool.is_none();
        if self.mode == Mode::RequestedOnly {
            if !content {
                progress.wait(problem(
                    service,
                    "AllocationDisabled",
                    "metadata.annotations[bellhop.dev/addresses]",
                    "",
                    "asks for no address by name, and this process runs without --allocate; name one, or start with --allocate",
                ));
            }
            return;
        }
        let missing = self.share(service, missing, progress);
        if missing.is_empty() {
            return;
        }
        progress.wants.extend(missing.iter().map(|family| Want::Family(*family)));
        progress.wants.extend(self.sharing_want(service));
        let before = progress.steps.len();
        if let Err(problem) = self.choose(service, &missing, progress) {
            if content {
                // It is not told again each time that it has one family only.
                progress.steps.truncate(before);
            } else {
                progress.wait(problem);
            }
        }
        for address in self.held(&service.key).filter(|address| !held.contains(address)) {
            progress.wants.remove(&Want::Family(Family::of(address)));
        }
    }

    /// Joins addresses of Services with the same sharing key; the families still missing.
    fn share(&mut self, service: &Service, missing: Vec<Family>, progress: &mut Progress) -> Vec<Family> {
        let Some(Want::Sharing(key)) = self.sharing_want(service) else { return missing };
        let shared = self.ledger.claims.by_sharing_key.get(&key).cloned().unwrap_or_default();
        let labels = self.world.namespace_labels(&service.key.namespace);
        let mut left = Vec::new();
        for family in missing {
            let found =
                shared.iter().copied().filter(|address| Family::of(*address) == family).find(|address| {
                    let admitted = self.ledger.pools.covering(*address).is_some_and(|pool| {
                        let asked =
                            service.requested_pool.as_ref().is_none_or(|asked| *asked == pool.spec().name);
                        asked && pool.admits(service, &labels).is_ok()
                    });
                    admitted
                        && !self.ledger.claims.is_barred(*address)
                        && self.occupied(service, *address).is_none()
                });
            match found {
                Some(address) => {
                    self.take(service, address, None);
                    let pool = self.ledger.pool_of(address);
                    progress.steps.push(Step::Chosen { address, pool, by: Chooser::SharingKey });
                }
                None => left.push(family),
            }
        }
        left
    }

    /// Chooses from the pools that the Service may use, as the `address` decision says.
    fn choose(
        &mut self,
        service: &Arc<Service>,
        missing: &[Family],
        progress: &mut Progress,
    ) -> Result<(), Problem> {
        let pools = self.pools_for(service, missing, progress)?;
        let (offered, absent): (Vec<Family>, Vec<Family>) = missing.iter().partition(|family| {
            pools
                .iter()
                .any(|name| self.ledger.pools.of_name(name).is_some_and(|pool| pool.has_free(**family)))
        });
        let none_offered = offered.is_empty();
        let shortage = absent.first().map(|family| self.shortage(service, *family, &pools));
        if let Some(shortage) = shortage
            && (none_offered || service.family_policy != FamilyPolicy::PreferDualStack)
        {
            return Err(shortage);
        }
        let request = self.question(service, &offered, &pools);
        let decided = self.decisions.addresses(std::slice::from_ref(&request)).pop();
        let (answer, trail) = match decided {
            Some(decided) => (decided.answer, decided.trail),
            None => (AddressDecision::Default, Arc::from([])),
        };
        progress.steps.extend(trail.iter().cloned().map(Step::Policy));
        let decider = trail.last().filter(|last| {
            matches!(
                last.outcome,
                ConsultOutcome::Decided | ConsultOutcome::KeptLast | ConsultOutcome::FailedWithhold
            )
        });
        match answer {
            AddressDecision::Default => {
                for family in offered {
                    let first =
                        request.candidates.iter().find(|candidate| Family::of(candidate.address) == family);
                    if let Some(candidate) = first {
                        self.settle_on(service, candidate.address, Chooser::BuiltIn, None, progress);
                    }
                }
                Ok(())
            }
            AddressDecision::Reject(reason) => {
                let by = decider.map_or("the address policy".into(), |decider| {
                    format!("DecisionPolicy/{}", decider.policy)
                });
                let message = format!("gets no address, {by} rejects it: {reason}");
                Err(problem(service, "RejectedByPolicy", "", "", message))
            }
            AddressDecision::Choose(alternatives) => {
                self.first_satisfiable(service, &request, &alternatives, decider, progress)
            }
        }
    }

    /// The pools that the Service may use, in the order of the built-in rule: by priority, then those that have all
    /// families that it lacks, then by name.
    fn pools_for(
        &self,
        service: &Service,
        missing: &[Family],
        progress: &mut Progress,
    ) -> Result<Vec<ObjectName>, Problem> {
        let labels = self.world.namespace_labels(&service.key.namespace);
        if let Some(name) = &service.requested_pool {
            let Some(pool) = self.ledger.pools.of_name(name) else {
                let message = match self.ledger.pools.refusal(name) {
                    Some(problem) => format!("is a pool that is not in force: {}", problem.message),
                    None => "is not the name of an AddressPool; create it or ask for another one".into(),
                };
                return Err(problem(service, "UnknownPool", POOL, name, message));
            };
            if let Err(why) = pool.admits(service, &labels) {
                progress.steps.push(Step::Pool { pool: name.clone(), refused: Some(why.clone()) });
                let message = format!("is a pool that does not admit the Service: {why}");
                return Err(problem(service, "PoolNotAllowed", POOL, name, message));
            }
            progress.steps.push(Step::Pool { pool: name.clone(), refused: None });
            return Ok(vec![name.clone()]);
        }
        let mut admitted = Vec::new();
        for pool in self.ledger.pools.iter() {
            let spec = pool.spec();
            let refused = if spec.auto_assign {
                pool.admits(service, &labels).err()
            } else {
                Some("its autoAssign is false, and the Service does not ask for it".into())
            };
            if refused.is_none() {
                let lacks = missing.iter().any(|family| !pool.has_free(*family));
                admitted.push((std::cmp::Reverse(spec.priority), lacks, spec.name.clone()));
            }
            let refused = refused.or_else(|| {
                let none_free = !missing.iter().any(|family| pool.has_free(*family));
                none_free.then(|| format!("has no free {} address", names(missing, " or ")))
            });
            progress.steps.push(Step::Pool { pool: spec.name.clone(), refused });
        }
        if admitted.is_empty() {
            let message = if self.ledger.pools.iter().next().is_none() {
                "gets no address: there is no AddressPool in force; create one"
            } else {
                "gets no address: no AddressPool with autoAssign admits it; see explain for each pool's reason"
            };
            return Err(problem(service, "NoMatchingPool", "", "", message));
        }
        admitted.sort();
        Ok(admitted.into_iter().map(|(_, _, name)| name).collect())
    }

    /// Why a family cannot be had from these pools.
    fn shortage(&self, service: &Service, family: Family, pools: &[ObjectName]) -> Problem {
        let of_family: Vec<String> = pools
            .iter()
            .filter_map(|name| {
                let usage = self.ledger.pools.of_name(name)?.usage();
                let usage = usage.into_iter().find(|usage| usage.family == family)?;
                Some(format!("{name} ({} used)", usage.used))
            })
            .collect();
        if of_family.is_empty() {
            let message =
                format!("no pool that admits the Service has {family} addresses: {}", pools.join(", "));
            return problem(service, "FamilyUnavailable", "spec.ipFamilies", family.to_string(), message);
        }
        let message =
            format!("no {family} address is free in {}; add addresses to a pool", of_family.join(", "));
        problem(service, "PoolExhausted", "", "", message)
    }

    /// The question for the `address` decision.
    fn question(&self, service: &Arc<Service>, families: &[Family], pools: &[ObjectName]) -> AddressRequest {
        let mut facts = Vec::new();
        let mut candidates = Vec::new();
        for pool in pools.iter().filter_map(|name| self.ledger.pools.of_name(name)) {
            for family in families {
                let free = pool.free(*family).take(AddressRequest::CANDIDATES_PER_POOL);
                let index = facts.len();
                candidates.extend(free.map(|(address, release_rank)| Candidate {
                    pool: index,
                    address,
                    release_rank,
                }));
            }
            facts.push(PoolFacts { pool: pool.spec().clone(), usage: pool.usage() });
        }
        AddressRequest {
            service: ServiceFacts {
                service: service.clone(),
                namespace_labels: self.world.namespace_labels(&service.key.namespace),
            },
            families: families.to_vec(),
            pools: facts,
            candidates,
        }
    }

    /// Takes the first alternative of a policy's answer that can be had whole.
    fn first_satisfiable(
        &mut self,
        service: &Service,
        request: &AddressRequest,
        alternatives: &[Alternative],
        decider: Option<&Consulted>,
        progress: &mut Progress,
    ) -> Result<(), Problem> {
        let decided_by = decider.map(|decider| {
            Arc::new(DecidedBy {
                policy: decider.policy.clone(),
                digest: decider.digest.clone(),
                note: decider.note.clone(),
            })
        });
        let mut reasons = Vec::new();
        for (index, alternative) in alternatives.iter().enumerate() {
            match self.satisfy(service, request, alternative) {
                Ok(addresses) => {
                    for address in addresses {
                        self.settle_on(service, address, Chooser::Policy, decided_by.clone(), progress);
                    }
                    return Ok(());
                }
                Err(refused) => {
                    reasons.push(refused.clone());
                    progress.steps.push(Step::Alternative { index, refused });
                }
            }
        }
        let by = decider
            .map_or("the address policy".into(), |decider| format!("DecisionPolicy/{}", decider.policy));
        let message = match reasons.as_slice() {
            [] => format!("gets no address: {by} answered with an empty list of alternatives"),
            reasons => {
                format!("gets no address, as no alternative of {by} can be had: {}", reasons.join("; "))
            }
        };
        Err(problem(service, "InvalidAnswer", "", "", message))
    }

    /// The addresses of an alternative, or why it cannot be had.
    fn satisfy(
        &self,
        service: &Service,
        request: &AddressRequest,
        alternative: &Alternative,
    ) -> Result<Vec<IpAddr>, String> {
        let mut chosen = BTreeMap::new();
        for (family, choice) in alternative {
            if !request.families.contains(family) {
                return Err(format!("names an {family} address, which was not asked for"));
            }
            let address = self.resolve(request, *family, choice)?;
            if chosen.insert(*family, address).is_some() {
                return Err(format!("names two {family} addresses"));
            }
        }
        let lacking: Vec<_> =
            request.families.iter().filter(|family| !chosen.contains_key(family)).copied().collect();
        let enough = match service.family_policy {
            FamilyPolicy::PreferDualStack => !chosen.is_empty(),
            FamilyPolicy::SingleStack | FamilyPolicy::RequireDualStack => lacking.is_empty(),
        };
        if enough {
            Ok(chosen.into_values().collect())
        } else {
            Err(format!("names no {} address", names(&lacking, " and ")))
        }
    }

    fn resolve(
        &self,
        request: &AddressRequest,
        family: Family,
        choice: &AddressChoice,
    ) -> Result<IpAddr, String> {
        let address = match choice {
            AddressChoice::Candidate(index) => {
                let count = request.candidates.len();
                let candidate = request.candidates.get(*index);
                candidate
                    .map(|c| c.address)
                    .ok_or(format!("candidate {index} is none of the {count} on offer"))?
            }
            AddressChoice::Exact(address) => *address,
            AddressChoice::Pool(name) => {
                if !request.pools.iter().any(|facts| facts.pool.name == *name) {
                    return Err(format!("pool {name} is none that the Service may use"));
                }
                let pool = self.ledger.pools.of_name(name);
                let first = pool.and_then(|pool| pool.free(family).next());
                first
                    .map(|(address, _)| address)
                    .ok_or(format!("pool {name} has no free {family} address"))?
            }
        };
        if Family::of(address) != family {
            return Err(format!("{address} is no {family} address"));
        }
        if let Some(owner) = self.ledger.claims.owned.get(&address) {
            return Err(format!("{address} is an address of {owner}"));
        }
        match self.ledger.pools.covering(address) {
            Some(pool) if request.pools.iter().any(|facts| facts.pool.name == pool.spec().name) => {}
            Some(pool) => {
                return Err(format!(
                    "{address} is of pool {}, which the Service may not use",
                    pool.spec().name
                ));
            }
            None => return Err(format!("{address} is outside every pool")),
        }
        match self.claim(address) {
            Some(claim) => match claim.holders.first() {
                Some(holder) => Err(format!("{address} is held by Service/{}", holder.service)),
                None => Err(format!("{address} is reserved")),
            },
            None if self.ledger.claims.is_barred(address) => {
                Err(format!("{address} has a claim that cannot be read"))
            }
            None => Ok(address),
        }
    }

    fn settle_on(
        &mut self,
        service: &Service,
        address: IpAddr,
        by: Chooser,
        decided_by: Option<Arc<DecidedBy>>,
        progress: &mut Progress,
    ) {
        self.take(service, address, decided_by);
        progress.steps.push(Step::Chosen { address, pool: self.ledger.pool_of(address), by });
    }
}

fn names(families: &[Family], between: &str) -> String {
    families.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
