//! Addresses that a Service was given before its claims were lost or restored from a backup.

use std::net::IpAddr;

use bellhop_core::Family;
use bellhop_core::objects::Service;

use super::Round;
use super::settle::Progress;
use crate::plan::{Chooser, Step};

impl Round<'_> {
    /// True when this very Service was given the address before, by what [`Ledger::set_previous`] told.
    ///
    /// [`Ledger::set_previous`]: super::Ledger::set_previous
    pub(super) fn was_given(&self, service: &Service, address: IpAddr) -> bool {
        let previous = self.ledger.previous.get(&service.key);
        previous.is_some_and(|previous| previous.uid == service.uid && previous.addresses.contains(&address))
    }

    /// Gives up all but one of the addresses of a family that the Service did not ask for by name.
    pub(super) fn give_up_surplus(&mut self, service: &Service, wanted: &[Family], progress: &mut Progress) {
        if !self.ledger.one_per_family {
            return;
        }
        for family in wanted {
            let of_family = |address: &IpAddr| Family::of(*address) == *family;
            if service.requested_addresses.iter().any(of_family) {
                continue;
            }
            let mut held: Vec<IpAddr> = self.held(&service.key).filter(of_family).collect();
            held.sort_by_key(|address| {
                let asked = service.requested_pool.as_ref().is_some_and(|pool| self.is_from(*address, pool));
                (!asked, !self.was_given(service, *address), *address)
            });
            let Some((kept, surplus)) = held.split_first() else { continue };
            for address in surplus {
                self.give_up(&service.key, *address);
                let reason = format!("the Service has {kept}, and two were claimed for it at a time");
                progress.steps.push(Step::Released { address: *address, reason });
            }
        }
    }

    /// Claims again what the Service was given before, where it may still have it: the address is free, or shared by
    /// agreement, its pool admits the Service, and the Service neither asks for another one of the family nor holds one.
    pub(super) fn adopt(&mut self, service: &Service, wanted: &[Family], progress: &mut Progress) {
        let Some(previous) = self.ledger.previous.get(&service.key) else { return };
        if previous.uid != service.uid {
            return;
        }
        for address in previous.addresses.clone() {
            let family = Family::of(address);
            let asked = &service.requested_addresses;
            let asks_for_another =
                asked.iter().any(|asked| Family::of(*asked) == family) && !asked.contains(&address);
            let holds = self.held(&service.key).any(|held| Family::of(held) == family);
            if holds || asks_for_another || self.refusal(service, wanted, address).is_some() {
                continue;
            }
            self.take(service, address, None);
            let pool = self.ledger.pool_of(address);
            progress.steps.push(Step::Chosen { address, pool, by: Chooser::Before });
        }
    }
}
