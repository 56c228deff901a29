//! Addresses wanted on `lo`, each kept for a while after nothing needs it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an address stays bound after nothing needs it: packets of routers that have not converged are still served.
pub const UNBIND_LINGER: Duration = Duration::from_secs(5);

/// What is to be bound.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    /// `Some` since when nothing needs an address any more.
    addresses: BTreeMap<IpAddr, Option<Instant>>,
    /// Those that nothing needs, by when that began.
    lingering: BTreeSet<(Instant, IpAddr)>,
}

impl Bindings {
    /// Notes that an address is needed; true where it is to be bound now.
    pub(super) fn need(&mut self, address: IpAddr) -> bool {
        match self.addresses.get_mut(&address) {
            Some(unused_since) => {
                if let Some(since) = unused_since.take() {
                    self.lingering.remove(&(since, address));
                }
                false
            }
            None => {
                self.addresses.insert(address, None);
                true
            }
        }
    }

    /// Notes that nothing needs an address.
    pub(super) fn release(&mut self, address: IpAddr, now: Instant) {
        if let Some(unused_since @ None) = self.addresses.get_mut(&address) {
            *unused_since = Some(now);
            self.lingering.insert((now, address));
        }
    }

    /// Takes the next address that is to be unbound now.
    pub(super) fn expire(&mut self, now: Instant) -> Option<IpAddr> {
        let (since, address) =
            self.lingering.first().copied().filter(|(since, _)| *since + UNBIND_LINGER <= now)?;
        self.lingering.remove(&(since, address));
        self.addresses.remove(&address);
        Some(address)
    }

    /// When [`Bindings::expire`] has something next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lingering.first().map(|(since, _)| *since + UNBIND_LINGER)
    }

    /// Every address, those that linger included.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }
}
