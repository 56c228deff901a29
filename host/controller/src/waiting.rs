//! How long Services wait for their addresses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bellhop_core::ServiceKey;

/// When each Service without an address was first seen so, and how long those that got one since have waited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    since: BTreeMap<ServiceKey, Instant>,
    served: Vec<Duration>,
}

impl Waiting {
    /// A Service of ours was seen, with an address in its status or without.
    pub(crate) fn seen(&mut self, now: Instant, service: &ServiceKey, has_address: bool) {
        if has_address {
            // Somebody else served it: the leader, while this process stands by.
            self.since.remove(service);
        } else {
            self.since.entry(service.clone()).or_insert(now);
        }
    }

    /// A Service is gone, or asks for no address any more.
    pub(crate) fn forget(&mut self, service: &ServiceKey) {
        self.since.remove(service);
    }

    /// A status with an address was written by this process.
    pub(crate) fn served(&mut self, now: Instant, service: &ServiceKey) {
        if let Some(since) = self.since.remove(service) {
            self.served.push(now.saturating_duration_since(since));
        }
    }

    /// How long the Services have waited that were served since this was last asked.
    pub(crate) fn take(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.served)
    }
}
