//! What the planner shows of itself: signs of life, readiness, and the values that it owns as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::Family;
use bellhop_core::report::Phase;
use bellhop_runtime::http::{Condition, Health, Heartbeat};
use bellhop_runtime::metrics::{ByFamily, ByPeer, ByPool, ByReason, Form, Metrics, Reason};

use super::Planning;
use super::allocator::Allocator;
use super::answers::announced;
use crate::bfd::PathStatus;
use crate::bgp::{BgpSnapshot, PeerSnapshot, SessionName, State};

/// A turn takes milliseconds, a full plan of ten thousand Services a second or two. Far more than both, as the kubelet's
/// answer to a planner that is late is to kill it.
const TURN: Duration = Duration::from_secs(60);

/// Values that were measured this long ago are shown again, so that nobody can keep the planner busy by scraping.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// Where the planner shows itself.
#[derive(Debug)]
pub struct Signals {
    pub(super) metrics: Arc<Metrics>,
    /// Task and condition `planning`, where nobody else shows them.
    health: Option<(Heartbeat, Condition)>,
    measured_at: Option<Instant>,
    /// The first event whose changes are not all handed over.
    since: Option<Instant>,
}

impl Signals {
    /// By metrics alone.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, health: None, measured_at: None, since: None }
    }

    /// As task and condition `planning` of `health`, too.
    #[must_use]
    pub fn with_health(self, health: &Health) -> Self {
        let turns = health.task("planning", TURN);
        Self { health: Some((turns, health.condition("planning", unmet(Phase::Reading)))), ..self }
    }

    /// For a planner that nobody looks at.
    pub(super) fn unseen() -> Self {
        Self::new(Arc::new(Metrics::new(Form::Standalone)))
    }

    /// A turn begins.
    pub(super) fn turn(&self) {
        if let Some((turns, _)) = &self.health {
            turns.begin(Instant::now());
        }
    }

    /// The planner waits for events.
    pub(super) fn wait(&self) {
        if let Some((turns, _)) = &self.health {
            turns.wait();
        }
    }

    /// The planner ends, as it was asked to.
    pub(super) fn retire(&self) {
        if let Some((turns, _)) = &self.health {
            turns.retire();
        }
    }

    pub(super) fn phase(&self, phase: Phase) {
        let Some((_, planned)) = &self.health else { return };
        match phase {
            Phase::Ready => planned.met(),
            other => planned.unmet(unmet(other)),
        }
    }

    /// An event was taken in that may change routes.
    pub(super) fn event(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Routes were handed to the BGP task.
    pub(super) fn handed_over(&self) {
        if let Some(since) = self.since {
            self.metrics.handover.observe(since.elapsed());
        }
    }

    /// A slice is over that began at `start`; `more` follow.
    pub(super) fn slice(&mut self, start: Instant, more: bool) {
        self.metrics.planning_slice.observe(start.elapsed());
        if !more {
            self.since = None;
        }
    }
}

/// Why a process is not ready in a phase.
fn unmet(phase: Phase) -> &'static str {
    match phase {
        Phase::Reading => "the objects have not been read whole yet",
        Phase::LoadingPolicies => "policies are being compiled and tested",
        Phase::Binding => "addresses are being bound",
        Phase::Ready => "",
    }
}

impl Planning {
    /// Writes what the planner owns into the metrics; once per [`MEASURED_FOR`].
    pub(super) fn measure(&mut self, now: Instant) {
        if self.signals.measured_at.is_some_and(|at| now < at + MEASURED_FOR) {
            return;
        }
        self.signals.measured_at = Some(now);
        let metrics = &self.signals.metrics;
        self.policies.measure(metrics);
        measure_sessions(metrics, &self.bgp.snapshot());
        metrics.bound_addresses.set(self.bound.len() as f64);
        metrics.filtered_addresses.set(self.filtering.filtered() as f64);
        metrics.filter_problems.set(self.filtering.problems().len() as f64);
        metrics.announced_addresses.replace(Family::ALL.map(|family| {
            let prefixes: std::collections::BTreeSet<_> = self
                .announcer
                .wanted()
                .values()
                .flat_map(BTreeMap::keys)
                .filter(|prefix| {
                    Family::of_net(**prefix) == family && prefix.prefix_len() == prefix.max_prefix_len()
                })
                .collect();
            (ByFamily { family }, prefixes.len() as f64)
        }));
        self.measure_services(metrics);
        if let Some(allocator) = &self.allocator {
            measure_allocation(metrics, allocator);
        }
    }

    fn measure_services(&self, metrics: &Metrics) {
        let (mut count, mut heard) = (0_u64, 0_u64);
        let mut silent: BTreeMap<String, u64> = BTreeMap::new();
        for service in self.world.services().values().filter(|service| service.wants_address) {
            count += 1;
            let condition = announced(self.announcer.service(&service.key), &self.options.node);
            if condition.status {
                heard += 1;
            } else {
                *silent.entry(condition.reason).or_default() += 1;
            }
        }
        metrics.services.set(count as f64);
        metrics.services_announced.set(heard as f64);
        metrics.services_not_announced.replace(by_reason(silent));
    }
}

fn by_reason(counts: BTreeMap<String, u64>) -> impl Iterator<Item = (ByReason, f64)> {
    counts.into_iter().map(|(reason, count)| (ByReason { reason: Reason::new(&reason) }, count as f64))
}

fn measure_allocation(metrics: &Metrics, allocator: &Allocator) {
    metrics.leader.set_bool(allocator.writes());
    let usage = || {
        allocator.all_usage().map(|(pool, usage)| (ByPool { pool: pool.into(), family: usage.family }, usage))
    };
    metrics.pool_used.replace(usage().map(|(labels, usage)| (labels, usage.used as f64)));
    metrics.pool_free.replace(usage().map(|(labels, usage)| (labels, usage.free as f64)));
    metrics
        .pool_capacity
        .replace(usage().map(|(labels, usage)| (labels, usage.used as f64 + usage.free as f64)));
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    for problem in allocator.ledger().outcomes().values().filter_map(|outcome| outcome.waiting.as_deref()) {
        *waiting.entry(problem.reason.clone()).or_default() += 1;
    }
    metrics.services_waiting.replace(by_reason(waiting));
}

fn measure_sessions(metrics: &Metrics, snapshot: &BgpSnapshot) {
    let each = |value: fn(&PeerSnapshot) -> f64| {
        let peers = snapshot.peers.iter();
        peers.map(move |(name, peer)| (ByPeer { peer: name.into() }, value(peer))).collect::<Vec<_>>()
    };
    metrics.session_up.replace(each(|peer| if peer.state == State::Established { 1.0 } else { 0.0 }));
    metrics.session_established_at.replace(snapshot.peers.iter().filter_map(|(name, peer)| {
        Some((ByPeer { peer: name.into() }, peer.established_since? as f64 / 1000.0))
    }));
    metrics.session_established.replace(each(|peer| peer.counters.established as f64));
    metrics.session_downs.replace(each(|peer| peer.counters.downs as f64));
    metrics.dial_failures.replace(each(|peer| peer.counters.dial_failures as f64));
    metrics.updates_sent.replace(each(|peer| peer.counters.updates_sent as f64));
    metrics.updates_received.replace(each(|peer| peer.counters.updates_received as f64));
    metrics.prefixes_announced.replace(each(|peer| peer.counters.prefixes_announced as f64));
    metrics.prefixes_withdrawn.replace(each(|peer| peer.counters.prefixes_withdrawn as f64));
    metrics.prefixes_wanted.replace(each(|peer| peer.prefixes_wanted as f64));
    metrics.prefixes_sent.replace(each(|peer| peer.prefixes_sent as f64));
    metrics
        .prefixes_refused
        .replace(each(|peer| peer.refused.iter().map(|refusal| refusal.prefixes).sum::<usize>() as f64));
    metrics.messages_sent.replace(each(|peer| peer.counters.messages_sent as f64));
    metrics.messages_received.replace(each(|peer| peer.counters.messages_received as f64));
    metrics.treated_as_withdraw.replace(each(|peer| peer.counters.treated_as_withdraw as f64));
    let watched = |value: fn(&PathStatus) -> f64| {
        let peers = snapshot.peers.iter();
        let of = move |(name, peer): (&SessionName, &PeerSnapshot)| {
            Some((ByPeer { peer: name.into() }, value(peer.bfd.as_ref()?)))
        };
        peers.filter_map(of).collect::<Vec<_>>()
    };
    metrics.bfd_up.replace(watched(|path| if path.state == "Up" { 1.0 } else { 0.0 }));
    metrics.bfd_failures.replace(watched(|path| path.failures as f64));
    metrics.bfd_late_failures.replace(watched(|path| path.late_failures as f64));
    metrics.listen_errors.set(snapshot.listen_errors.len() as f64);
}
