//! What is counted about one policy.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::guest::{Cost, GuestError};

/// Counters of one policy since it was set, over all its versions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Calls of the guest.
    pub calls: u64,
    /// Questions answered without a call.
    pub memo_hits: u64,
    /// Questions not asked because the breaker was open.
    pub held_back: u64,
    /// Failed calls by [`GuestError::category`].
    pub failures: BTreeMap<&'static str, u64>,
    /// Most fuel used by a call.
    pub fuel_max: u64,
    /// Most CPU time used by a call, in nanoseconds.
    pub cpu_nanos_max: u64,
    /// Most memory held by a call, in bytes.
    pub memory_max: u64,
}

impl Counters {
    pub(crate) fn called(&mut self, cost: Cost) {
        self.calls += 1;
        self.fuel_max = self.fuel_max.max(cost.fuel);
        self.cpu_nanos_max = self.cpu_nanos_max.max(cost.cpu_nanos);
        self.memory_max = self.memory_max.max(cost.memory);
    }

    pub(crate) fn failed(&mut self, error: &GuestError) {
        *self.failures.entry(error.category()).or_default() += 1;
    }
}
