//! What the planner owns, as metrics.

use std::collections::BTreeMap;

use bellhop_runtime::metrics::{ByPool, ByReason, Metrics, Reason};

use super::Planner;

impl Planner {
    /// Writes what the planner owns into the metrics. Only the leader tells of pools and of Services that wait: a
    /// standby's ledger is not kept up.
    pub fn measure(&self, metrics: &Metrics) {
        metrics.leader.set_bool(self.leading);
        self.policies.measure(metrics);
        let services = self.world.services().values();
        metrics.services.set(services.filter(|service| service.wants_address).count() as f64);
        let pools = self.pools.iter().filter(|_| self.leading);
        let usage: Vec<_> = pools
            .flat_map(|(pool, usage)| {
                usage.iter().map(move |usage| (ByPool { pool: pool.into(), family: usage.family }, usage))
            })
            .collect();
        let each = |value: fn(u64, u64) -> f64| {
            usage.iter().map(move |(labels, usage)| (labels.clone(), value(usage.used, usage.free)))
        };
        metrics.pool_used.replace(each(|used, _| used as f64));
        metrics.pool_free.replace(each(|_, free| free as f64));
        metrics.pool_capacity.replace(each(|used, free| used as f64 + free as f64));
        let mut waiting: BTreeMap<&str, u64> = BTreeMap::new();
        let outcomes = self.ledger.outcomes().values().filter(|_| self.leading);
        for problem in outcomes.filter_map(|outcome| outcome.waiting.as_deref()) {
            *waiting.entry(&problem.reason).or_default() += 1;
        }
        let reasons = waiting.into_iter();
        metrics
            .services_waiting
            .replace(reasons.map(|(reason, count)| (ByReason { reason: Reason::new(reason) }, count as f64)));
    }
}
