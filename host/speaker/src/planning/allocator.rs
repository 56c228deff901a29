//! Allocation in the standalone form: the ledger, and the claim writer that carries its proposals out.
//!
//! In a cluster the controller does this, and a speaker has no allocator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::decision::FamilyUsage;
use bellhop_core::report::AllocationRole;
use bellhop_core::{Decisions, Delta, ObjectName, ObjectRef, Problem, ServiceKey, Touched, World};
use bellhop_ipam::{ClaimChange, Ledger, LedgerPlan, Mode};
use bellhop_runtime::journal::{Finder, Journal};
use bellhop_runtime::metrics::{ClaimWrite, Metrics, Verb, WriteResult};
use tokio::sync::mpsc;

use crate::claim_writer::Written;
use crate::claims::StoreError;

/// After a claim could not be written. A full disk is not helped by trying as fast as it fails.
pub(super) const WRITE_RETRY: Duration = Duration::from_secs(1);

/// The ledger of a standalone process and what it has under way.
#[derive(Debug)]
pub(super) struct Allocator {
    ledger: Ledger,
    /// Started with `--allocate`.
    allocate: bool,
    /// The claim writer, while this process holds the lock of the state directory.
    writer: Option<mpsc::Sender<Vec<ClaimChange>>>,
    /// Claims on their way to the disk; nothing is proposed meanwhile.
    writing: bool,
    /// A claim could not be written: nothing is proposed before this time.
    write_again_at: Option<Instant>,
    /// What changed since the ledger last planned.
    unplanned: Touched,
    pools: BTreeMap<ObjectName, Vec<FamilyUsage>>,
    pool_problems: Vec<Problem>,
    write_problems: BTreeMap<IpAddr, Problem>,
    /// Since when Services lack an address that they ask for, or have just been seen.
    asked: BTreeMap<ServiceKey, Instant>,
}

impl Allocator {
    pub(super) fn new(allocate: bool) -> Self {
        Self {
            ledger: Ledger::new(),
            allocate,
            writer: None,
            writing: false,
            write_again_at: None,
            unplanned: Touched::default(),
            pools: BTreeMap::new(),
            pool_problems: Vec::new(),
            write_problems: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// What the ledger knows and has decided.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Who allocates.
    pub(super) fn role(&self) -> AllocationRole {
        match (self.allocate, &self.writer) {
            (true, None) => AllocationRole::Standby,
            (true, Some(_)) => AllocationRole::Writer,
            (false, _) => AllocationRole::RequestedOnly,
        }
    }

    fn mode(&self) -> Mode {
        if self.allocate { Mode::Allocate } else { Mode::RequestedOnly }
    }

    /// Usage of a pool in force, per family.
    pub(super) fn usage(&self, pool: &str) -> impl Iterator<Item = &FamilyUsage> {
        self.pools.get(pool).into_iter().flatten()
    }

    /// Usage of every pool in force.
    pub(super) fn all_usage(&self) -> impl Iterator<Item = (&ObjectName, &FamilyUsage)> {
        self.pools.iter().flat_map(|(pool, usage)| usage.iter().map(move |usage| (pool, usage)))
    }

    /// This process holds the lock of the state directory.
    pub(super) fn writes(&self) -> bool {
        self.writer.is_some()
    }

    /// What is wrong with pools, with what Services ask for, and with writing claims.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let outcomes = self.ledger.outcomes();
        let waiting = outcomes.values().filter_map(|outcome| outcome.waiting.as_deref());
        let warnings = outcomes.values().flat_map(|outcome| &outcome.warnings);
        let problems = self.pool_problems.iter().chain(waiting).chain(warnings);
        problems.chain(self.write_problems.values()).cloned().collect()
    }

    /// When [`Allocator::plan`] is due without any event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.write_again_at
    }

    /// Notes what deltas touched.
    pub(super) fn note(&mut self, touched: Touched) {
        let now = Instant::now();
        for service in &touched.services {
            self.asked.entry(service.clone()).or_insert(now);
        }
        self.unplanned.merge(touched);
    }

    /// This process writes claims from now on, by `writer`.
    pub(super) fn set_writer(&mut self, writer: mpsc::Sender<Vec<ClaimChange>>) {
        self.writer = Some(writer);
        self.unplanned.merge(Touched::everything());
    }

    /// Takes what the claim writer did; returns what the World is to learn of it.
    pub(super) fn take_written(
        &mut self,
        written: Vec<Written>,
        journal: &mut Journal,
        metrics: &Metrics,
    ) -> Vec<Delta> {
        self.writing = false;
        let mut deltas = Vec::new();
        for Written { change, result } in written {
            let address = change.address();
            metrics.claim_writes.inc(&ClaimWrite { verb: verb(&change), result: outcome(&result) });
            match result {
                Ok(()) => {
                    self.time(&change, metrics);
                    self.write_problems.remove(&address);
                    deltas.push(taken_over(change));
                }
                Err(error) => {
                    self.write_problems.insert(address, error.problem(address));
                    if matches!(error, StoreError::Exists { .. }) {
                        self.ledger.avoid(address);
                    }
                    self.unplanned.addresses = true;
                    self.write_again_at = Some(Instant::now() + WRITE_RETRY);
                }
            }
        }
        journal.all(Finder::Claims, self.write_problems.values());
        deltas
    }

    /// Lets the ledger plan what changed; returns its proposals where this process may carry them out.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        world: &World,
        decisions: &mut dyn Decisions,
        journal: &mut Journal,
    ) -> Vec<ClaimChange> {
        if self.write_again_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.write_again_at = None;
        let due = self.unplanned.addresses
            || self.unplanned.every_service
            || !self.unplanned.services.is_empty()
            || self.unplanned.synced;
        if self.writing || !due {
            return Vec::new();
        }
        let touched = std::mem::take(&mut self.unplanned);
        let plan = self.ledger.plan(world, &touched, self.mode(), decisions);
        journal.all(Finder::Pools, &plan.problems);
        for (service, allocation) in &plan.outcomes {
            let problems: Vec<Problem> =
                allocation.waiting.as_deref().into_iter().chain(&allocation.warnings).cloned().collect();
            journal.object(Finder::Allocation, &ObjectRef::namespaced("Service", service), &problems);
        }
        for service in &plan.gone {
            journal.forget(Finder::Allocation, ObjectRef::namespaced("Service", service));
        }
        self.forget_served(&plan);
        self.pool_problems = plan.problems;
        self.pools = plan.pools;
        if self.writer.is_some() { plan.changes } else { Vec::new() }
    }

    /// Of the Services that were planned, only those without an address, or with one on its way, have something to wait for.
    fn forget_served(&mut self, plan: &LedgerPlan) {
        let under_way: BTreeSet<&ServiceKey> = plan.changes.iter().flat_map(holders).collect();
        for (service, allocation) in &plan.outcomes {
            if allocation.waiting.is_none() && !under_way.contains(service) {
                self.asked.remove(service);
            }
        }
        for service in &plan.gone {
            self.asked.remove(service);
        }
    }

    /// How long the Services of a claim that was written have waited for it.
    fn time(&mut self, change: &ClaimChange, metrics: &Metrics) {
        for service in holders(change) {
            if let Some(since) = self.asked.remove(service) {
                metrics.allocation_duration.observe(since.elapsed());
            }
        }
    }

    /// Hands proposals to the claim writer; what came of them returns as an event.
    pub(super) async fn write(&mut self, changes: Vec<ClaimChange>) {
        if let Some(writer) = self.writer.as_ref().filter(|_| !changes.is_empty()) {
            self.writing = writer.send(changes).await.is_ok();
        }
    }
}

/// The Services that a claim names from now on.
fn holders(change: &ClaimChange) -> impl Iterator<Item = &ServiceKey> {
    let claim = match change {
        ClaimChange::Create(claim) | ClaimChange::Update(claim) => Some(claim),
        ClaimChange::Release(_) => None,
    };
    claim.into_iter().flat_map(|claim| claim.holders.iter().map(|holder| &holder.service))
}

fn verb(change: &ClaimChange) -> Verb {
    match change {
        ClaimChange::Create(_) => Verb::Create,
        ClaimChange::Update(_) => Verb::Update,
        ClaimChange::Release(_) => Verb::Delete,
    }
}

fn outcome(result: &Result<(), StoreError>) -> WriteResult {
    match result {
        Ok(()) => WriteResult::Ok,
        Err(StoreError::Exists { .. }) => WriteResult::Conflict,
        Err(StoreError::Missing { .. }) => WriteResult::Missing,
        Err(StoreError::Encode { .. }) => WriteResult::Invalid,
        Err(StoreError::Io { .. }) => WriteResult::Unavailable,
    }
}

/// What the World learns of a change that was carried out.
fn taken_over(change: ClaimChange) -> Delta {
    let address = change.address();
    let claim = match change {
        ClaimChange::Create(claim) | ClaimChange::Update(claim) => Some(Arc::new(claim)),
        ClaimChange::Release(_) => None,
    };
    let holders = claim.iter().flat_map(|claim| &claim.holders).map(|holder| holder.service.to_string());
    let holders = holders.collect::<Vec<_>>().join(",");
    match &claim {
        Some(_) => tracing::info!(%address, holders, "claim written"),
        None => tracing::info!(%address, "claim removed"),
    }
    Delta::Claim(address, claim)
}
