//! When to stop calling a version that fails.
//!
//! A breaker keeps calls away, not answers: what the memo knows is still answered. It works on whole batches, so that
//! the order of questions within one does not matter.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Distinct questions of one Service that must fail, without one that is answered in between, before the version is
/// not called about it any more. One could be the Service's own odd label; three are a habit.
pub const FAILURES_TO_OPEN: u32 = 3;

/// How long a breaker stays open at first. Then one batch is let through.
pub const OPEN_FIRST: Duration = Duration::from_secs(30);

/// The longest time that a breaker stays open: each failed attempt doubles it up to here.
pub const OPEN_MAX: Duration = Duration::from_secs(480);

/// Services that must have been asked about before the whole version can be taken out.
pub const SERVICES_MIN: usize = 20;

/// Namespaces that the failing Services must be in, so that no tenant alone can take a policy from the others.
pub const NAMESPACES_MIN: usize = 2;

/// Services told apart. Beyond it the tally starts anew, which errs on the side of calling.
const SERVICES_MAX: usize = 1 << 17;

/// The breakers of one version of one policy: one per Service, and one over all.
#[derive(Debug, Default)]
pub struct Breaker {
    services: HashMap<u64, Health>,
    all: Circuit,
}

#[derive(Debug)]
struct Health {
    namespace: Arc<str>,
    failures: u32,
    failing: bool,
    circuit: Circuit,
}

#[derive(Debug, Default)]
struct Circuit {
    open_until: Option<Instant>,
    /// How long it was open last.
    open_for: Option<Duration>,
}

impl Circuit {
    fn closed(&self, now: Instant) -> bool {
        self.open_until.is_none_or(|until| now >= until)
    }

    /// True where it was opened and nothing good has happened since.
    fn tripped(&self) -> bool {
        self.open_until.is_some()
    }

    fn open(&mut self, now: Instant) {
        let time = self.open_for.map_or(OPEN_FIRST, |last| (last * 2).min(OPEN_MAX));
        self.open_for = Some(time);
        self.open_until = Some(now + time);
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// What a batch told about one Service.
#[derive(Clone, Debug)]
pub struct Report {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Distinct questions answered.
    pub answered: u32,
    /// Distinct questions that failed by the plugin's own fault.
    pub failed: u32,
}

impl Breaker {
    /// True where the version may be called about this Service. Without a time nothing is ever held back.
    pub fn allows(&self, service: u64, now: Option<Instant>) -> bool {
        now.is_none_or(|now| {
            self.all.closed(now)
                && self.services.get(&service).is_none_or(|health| health.circuit.closed(now))
        })
    }

    /// True while the whole version is held back.
    pub fn open_for_all(&self, now: Instant) -> bool {
        !self.all.closed(now)
    }

    /// Takes in what one batch told, by Service.
    pub fn report(&mut self, reports: impl IntoIterator<Item = (u64, Report)>, now: Option<Instant>) {
        let mut any_failed = false;
        let mut any_answered = false;
        for (service, report) in reports {
            if self.services.len() >= SERVICES_MAX && !self.services.contains_key(&service) {
                self.services.clear();
            }
            let health = self.services.entry(service).or_insert_with(|| Health {
                namespace: report.namespace.clone(),
                failures: 0,
                failing: false,
                circuit: Circuit::default(),
            });
            any_failed |= report.failed > 0;
            any_answered |= report.answered > 0;
            if report.failed == 0 && report.answered > 0 {
                health.failures = 0;
                health.failing = false;
                health.circuit.reset();
            } else if report.failed > 0 {
                health.failures = health.failures.saturating_add(report.failed);
                health.failing = report.answered == 0;
                let trip = health.circuit.tripped() || health.failures >= FAILURES_TO_OPEN;
                if let (true, Some(now)) = (trip, now) {
                    health.circuit.open(now);
                }
            }
        }
        if any_failed && self.most_fail() {
            if let Some(now) = now {
                self.all.open(now);
            }
        } else if any_answered && !self.most_fail() {
            self.all.reset();
        }
    }

    fn most_fail(&self) -> bool {
        if self.services.len() < SERVICES_MIN {
            return false;
        }
        let failing = self.services.values().filter(|health| health.failing);
        let namespaces: HashSet<&str> = failing.clone().map(|health| &*health.namespace).collect();
        failing.count() * 2 > self.services.len() && namespaces.len() >= NAMESPACES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(namespace: &str, answered: u32, failed: u32) -> Report {
        Report { namespace: namespace.into(), answered, failed }
    }

    #[test]
    fn three_distinct_failures_open_it_for_that_service_alone() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.report([(1, report("a", 0, 2))], Some(now));
        assert!(breaker.allows(1, Some(now)));
        breaker.report([(1, report("a", 0, 1)), (2, report("a", 1, 0))], Some(now));
        assert!(!breaker.allows(1, Some(now)));
        assert!(breaker.allows(2, Some(now)));
    }

    #[test]
    fn an_answer_in_between_starts_the_count_anew() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            breaker.report([(1, report("a", 0, 2))], Some(now));
            breaker.report([(1, report("a", 1, 0))], Some(now));
            assert!(breaker.allows(1, Some(now)));
        }
    }

    #[test]
    fn it_lets_a_batch_through_after_its_time_and_doubles_the_time_up_to_the_bound() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        breaker.report([(1, report("a", 0, 3))], Some(now));
        for seconds in [30, 60, 120, 240, 480, 480] {
            assert!(!breaker.allows(1, Some(now + Duration::from_secs(seconds - 1))));
            now += Duration::from_secs(seconds);
            assert!(breaker.allows(1, Some(now)), "after {seconds} s");
            breaker.report([(1, report("a", 0, 1))], Some(now));
        }
        now += OPEN_MAX;
        breaker.report([(1, report("a", 1, 0))], Some(now));
        breaker.report([(1, report("a", 0, 1))], Some(now));
        assert!(breaker.allows(1, Some(now)), "one answer closes it");
    }

    #[test]
    fn the_whole_version_is_held_back_only_when_most_of_many_services_in_two_namespaces_fail() {
        let now = Instant::now();
        let fail = |services: u64, failing: u64, namespaces: u64| {
            let mut breaker = Breaker::default();
            breaker.report(
                (0..services).map(|service| {
                    let namespace = format!("n{}", service % namespaces);
                    (
                        service,
                        if service < failing { report(&namespace, 0, 1) } else { report(&namespace, 1, 0) },
                    )
                }),
                Some(now),
            );
            breaker.open_for_all(now)
        };
        assert!(fail(20, 11, 2));
        assert!(!fail(20, 10, 2), "half is not over half");
        assert!(!fail(19, 19, 2), "too few Services");
        assert!(!fail(40, 40, 1), "one namespace alone");
    }

    #[test]
    fn a_version_that_answers_most_services_again_is_asked_by_all_and_starts_from_the_first_wait() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let all = |answered, failed| {
            (0..20).map(move |service| (service, report(["a", "b"][service as usize % 2], answered, failed)))
        };
        breaker.report(all(0, 1), Some(now));
        assert!(breaker.open_for_all(now));
        breaker.report(all(1, 0), Some(now + OPEN_FIRST));
        breaker.report(all(0, 1), Some(now + OPEN_FIRST));
        assert!(breaker.open_for_all(now + OPEN_FIRST + OPEN_FIRST - Duration::from_secs(1)));
        assert!(!breaker.open_for_all(now + OPEN_FIRST + OPEN_FIRST));
    }

    #[test]
    fn without_a_time_nothing_is_held_back() {
        let mut breaker = Breaker::default();
        breaker.report([(1, report("a", 0, 100))], None);
        assert!(breaker.allows(1, None));
    }
}
