//! Addresses that a Service asks for by name.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::objects::{AddressClaim, DecidedBy, Service};
use bellhop_core::{Family, Problem};

use super::settle::{Progress, holder_of, problem};
use super::{Round, Want};
use crate::plan::{Chooser, Step};
use crate::sharing::{self, HOLDERS_MAX};

/// Where a Service asks for addresses; the peers' annotations and `spec.loadBalancerIP` are read as this one.
const ADDRESSES: &str = "metadata.annotations[bellhop.dev/addresses]";

/// Most pools named in a message.
const POOLS_SHOWN: usize = 8;

impl Round<'_> {
    /// Takes what the Service asks for by name and may have; the families that are settled by that, granted or not.
    pub(super) fn request(
        &mut self,
        service: &Service,
        wanted: &[Family],
        progress: &mut Progress,
    ) -> BTreeSet<Family> {
        for address in &service.requested_addresses {
            if self.held(&service.key).any(|held| held == *address) {
                continue;
            }
            match self.refusal(service, wanted, *address) {
                None => {
                    self.take(service, *address, None);
                    let pool = self.ledger.pool_of(*address);
                    progress.steps.push(Step::Chosen { address: *address, pool, by: Chooser::Request });
                }
                Some(problem) => {
                    progress
                        .steps
                        .push(Step::Requested { address: *address, refused: Some(problem.message.clone()) });
                    progress.wants.insert(Want::Exact(*address));
                    if service.sharing_key.is_some() {
                        progress.wants.extend(self.sharing_want(service));
                    }
                    progress.wait(problem);
                }
            }
        }
        let asked: BTreeSet<_> =
            service.requested_addresses.iter().map(|address| Family::of(*address)).collect();
        // Whoever asks for an address of the wrong family is not served some other one instead.
        if asked.iter().all(|family| wanted.contains(family)) { asked } else { Family::ALL.into() }
    }

    pub(super) fn sharing_want(&self, service: &Service) -> Option<Want> {
        Some(Want::Sharing((service.key.namespace.clone(), service.sharing_key.clone()?)))
    }

    /// Why the Service may not have this address; `None` when it may.
    pub(super) fn refusal(&self, service: &Service, wanted: &[Family], address: IpAddr) -> Option<Problem> {
        let refuse = |reason: &str, message: String| {
            Some(problem(service, reason, ADDRESSES, address.to_string(), message))
        };
        if !wanted.contains(&Family::of(address)) {
            let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
            return refuse(
                "FamilyUnavailable",
                format!(
                    "is an {} address, but the Service wants {} only; change spec.ipFamilies or ask for another address",
                    Family::of(address),
                    wanted.join(" and ")
                ),
            );
        }
        if let Some(owner) = self.ledger.claims.owned.get(&address) {
            return refuse("AddressExcluded", format!("is an address of {owner} and is never handed out"));
        }
        let Some(pool) = self.ledger.pools.with_range(address) else {
            let mut names: Vec<_> =
                self.ledger.pools.iter().map(|pool| pool.spec().name.to_string()).collect();
            let more = if names.len() > POOLS_SHOWN { " and others" } else { "" };
            names.truncate(POOLS_SHOWN);
            let known = if names.is_empty() {
                "none is in force".into()
            } else {
                format!("{}{more}", names.join(", "))
            };
            return refuse(
                "AddressOutsidePools",
                format!("is in no AddressPool ({known}); ask for an address of a pool, or add it to one"),
            );
        };
        let name = &pool.spec().name;
        if self.ledger.pools.covering(address).is_none() {
            return refuse(
                "AddressExcluded",
                format!("is excluded from AddressPool/{name}; ask for another one"),
            );
        }
        if let Some(asked) = &service.requested_pool
            && asked != name
        {
            return refuse(
                "ConflictingFields",
                format!(
                    "is of AddressPool/{name}, but bellhop.dev/pool asks for {asked}; drop one of the two"
                ),
            );
        }
        if let Err(why) = pool.admits(service, &self.world.namespace_labels(&service.key.namespace)) {
            return refuse(
                "PoolNotAllowed",
                format!("is of AddressPool/{name}, which does not admit the Service: {why}"),
            );
        }
        let (reason, why) = self.occupied(service, address)?;
        refuse(reason, why)
    }

    /// Why an address cannot be held beside those who hold it, with the reason; `None` where nobody does, or where
    /// sharing is agreed.
    pub(super) fn occupied(&self, service: &Service, address: IpAddr) -> Option<(&'static str, String)> {
        if self.ledger.claims.avoided.contains(&address) {
            return Some((
                "AddressTaken",
                "has a claim already that cannot be read; repair or remove it".into(),
            ));
        }
        let claim = self.claim(address)?;
        if claim.holders.is_empty() {
            let name = format!("the AddressClaim of {address}");
            return Some((
                "AddressTaken",
                format!("is reserved: {name} names no holder; delete it to free the address"),
            ));
        }
        if claim.holders.len() >= HOLDERS_MAX {
            return Some((
                "SharingConflict",
                format!("is shared by {HOLDERS_MAX} Services already, the most there can be"),
            ));
        }
        for (other, _) in self.others(&service.key, address) {
            if let Err(why) = sharing::terms(address, service, &other) {
                let tried = service.sharing_key.is_some() && service.key.namespace == other.key.namespace;
                let reason = if tried { "SharingConflict" } else { "AddressTaken" };
                return Some((reason, format!("is held by Service/{}, which {why}", other.key)));
            }
        }
        None
    }

    /// Makes the Service a holder of the address.
    pub(super) fn take(&mut self, service: &Service, address: IpAddr, decided_by: Option<Arc<DecidedBy>>) {
        let mut claim = match self.claim(address).cloned() {
            Some(claim) => Arc::unwrap_or_clone(claim),
            None => {
                AddressClaim { address, pool: self.ledger.pool_of(address), holders: Vec::new(), decided_by }
            }
        };
        claim.holders.push(holder_of(service));
        self.propose(claim);
    }
}
