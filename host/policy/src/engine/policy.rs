//! One policy in a chain: its version in force, what it last decided, and what happens when it fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bellhop_core::decision::{ConsultOutcome, Consulted};
use bellhop_core::objects::{DecisionPolicy, FailurePolicy, Initial};

use super::version::{Answered, Entry, HookKind, Identity, Place, Tally, Unit, Version};
use super::{Failure, LogEntry};
use crate::cache::Generations;
use crate::counters::Counters;
use crate::guest::Guest;
use crate::intern::Names;
use crate::projection::{Match, Projector};
use crate::runner::Runner;
use crate::validate;

/// Last decisions kept per policy and generation. What is forgotten beyond it is asked of the last good version.
const KEPT: usize = 1 << 16;

/// What a round of a chain works with.
pub(crate) struct Context<'a> {
    pub(crate) names: &'a mut Names,
    pub(crate) runner: &'a dyn Runner,
    pub(crate) now: Option<Instant>,
    pub(crate) log: &'a mut VecDeque<LogEntry>,
    pub(crate) failures: &'a mut Vec<Failure>,
}

/// What a policy says to one unit of a batch.
pub(crate) enum Verdict<A> {
    /// It is not asked about this.
    Skipped,
    /// Its own answer, or where `kept` is given an earlier one in place of a failure. The result is never an error.
    Spoke { entry: Arc<Entry<A>>, kept: Option<Consulted> },
    /// It failed, and the chain goes on.
    UseDefault(Consulted),
    /// It failed, and nothing is announced or allocated.
    Withhold(Consulted),
}

/// One policy of a chain.
pub(crate) struct Policy<H: HookKind> {
    pub(crate) spec: Arc<DecisionPolicy>,
    selects: Match,
    pub(crate) current: Option<Version<H>>,
    last_good: Option<Version<H>>,
    kept: Generations<Place, Arc<Entry<H::Answer>>>,
    pub(crate) counters: Counters,
}

impl<H: HookKind> Policy<H> {
    pub(crate) fn new(spec: Arc<DecisionPolicy>) -> Self {
        Self {
            selects: Match::of(&spec),
            spec,
            current: None,
            last_good: None,
            kept: Generations::new(KEPT),
            counters: Counters::default(),
        }
    }

    pub(crate) fn update_spec(&mut self, spec: Arc<DecisionPolicy>) {
        self.selects = Match::of(&spec);
        self.spec = spec;
        if let Some(version) = &mut self.current {
            version.projector.set_match(self.selects.clone());
        }
    }

    /// Puts a version in force. The same version given again (a module compiled anew) keeps what it knows.
    pub(crate) fn swap(&mut self, identity: Identity, guest: Arc<dyn Guest>, projector: Projector) {
        match &mut self.current {
            Some(version) if version.identity == identity => version.guest = guest,
            current => {
                let old = current.replace(Version::new(identity, guest, projector));
                if let Some(old) = old.filter(|version| version.proven) {
                    self.last_good = Some(old.retire());
                }
            }
        }
    }

    /// What the policy says to each unit, in order.
    pub(crate) fn consult(
        &mut self,
        batch: &[H::Request],
        units: &[Unit],
        context: &mut Context<'_>,
    ) -> Vec<Verdict<H::Answer>> {
        let Some(version) = &mut self.current else {
            return units.iter().map(|unit| self.without_version(&batch[unit.0], unit.1)).collect();
        };
        let keeps = self.spec.failure_policy == FailurePolicy::KeepLast;
        let asked = H::project(&mut version.projector, batch, units, context.names);
        let mut tally = Tally {
            policy: &self.spec.name,
            counters: &mut self.counters,
            log: context.log,
            failures: context.failures,
        };
        let answers = version.answer(&asked, context.runner, context.now, &mut tally);

        let mut verdicts = Vec::with_capacity(units.len());
        let mut orphans: Vec<usize> = Vec::new();
        for (index, (answer, asked)) in answers.into_iter().zip(&asked).enumerate() {
            let (answer, Some(asked)) = (answer, asked) else {
                verdicts.push(Verdict::Skipped);
                continue;
            };
            let failure = match answer {
                Answered::NotAsked => {
                    verdicts.push(Verdict::Skipped);
                    continue;
                }
                Answered::Entry(entry) => match &entry.result {
                    Ok(_) => {
                        if keeps {
                            self.keep(&asked.place, &batch[units[index].0], &entry);
                        }
                        verdicts.push(Verdict::Spoke { entry, kept: None });
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Answered::HeldBack => "not asked: it failed too often lately".to_owned(),
            };
            let last = if keeps { self.kept.get(&asked.place) } else { None };
            verdicts.push(match last {
                Some(entry) => {
                    let kept = Some(self.kept_last(&entry, &failure, "the last decision is kept"));
                    Verdict::Spoke { entry, kept }
                }
                None => {
                    if keeps {
                        orphans.push(index);
                    }
                    self.failed(&failure)
                }
            });
        }
        if !orphans.is_empty() {
            self.ask_last_good(batch, units, &orphans, &mut verdicts, context);
        }
        verdicts
    }

    /// Asks the last good version where the one in force failed and nothing is kept.
    fn ask_last_good(
        &mut self,
        batch: &[H::Request],
        units: &[Unit],
        orphans: &[usize],
        verdicts: &mut [Verdict<H::Answer>],
        context: &mut Context<'_>,
    ) {
        let Some(version) = &mut self.last_good else { return };
        // The policy's match of today decides whom it is asked about, so the version's own is opened.
        version.projector.set_match(Match::default());
        let units: Vec<Unit> = orphans.iter().map(|&index| units[index]).collect();
        let asked = H::project(&mut version.projector, batch, &units, context.names);
        let mut tally = Tally {
            policy: &self.spec.name,
            counters: &mut self.counters,
            log: context.log,
            failures: context.failures,
        };
        let answers = version.answer(&asked, context.runner, context.now, &mut tally);
        for ((&index, answer), (asked, unit)) in orphans.iter().zip(answers).zip(asked.iter().zip(&units)) {
            let (Answered::Entry(entry), Some(asked)) = (answer, asked) else { continue };
            if entry.result.is_err() {
                continue;
            }
            let failure = match &verdicts[index] {
                Verdict::UseDefault(consulted) | Verdict::Withhold(consulted) => consulted.note.clone(),
                _ => None,
            };
            let failure = failure.unwrap_or_else(|| "failed".into());
            self.keep(&asked.place, &batch[unit.0], &entry);
            let kept = Some(self.kept_last(&entry, &failure, "the last good version was asked"));
            verdicts[index] = Verdict::Spoke { entry, kept };
        }
    }

    fn keep(&mut self, place: &Place, request: &H::Request, entry: &Arc<Entry<H::Answer>>) {
        if self.kept.get(place).is_some_and(|kept| Arc::ptr_eq(&kept, entry)) {
            return;
        }
        let lasting = match &entry.result {
            Ok(Some(answer)) => H::keep(request, answer),
            _ => None,
        };
        let entry = match lasting {
            None => entry.clone(),
            Some(answer) => Arc::new(Entry {
                result: Ok(Some(answer)),
                note: entry.note.clone(),
                trail: entry.trail.clone(),
            }),
        };
        self.kept.insert(*place, entry);
    }

    fn without_version(&self, request: &H::Request, part: usize) -> Verdict<H::Answer> {
        if H::matches(&self.selects, request, part) {
            self.failed("no version of it is in force")
        } else {
            Verdict::Skipped
        }
    }

    /// What a failure comes to where no decision is kept.
    fn failed(&self, why: &str) -> Verdict<H::Answer> {
        let withhold = match (self.spec.failure_policy, self.spec.initial) {
            (FailurePolicy::Withhold, _) | (FailurePolicy::KeepLast, Initial::Withhold) => true,
            (FailurePolicy::UseDefault, _) | (FailurePolicy::KeepLast, Initial::UseDefault) => false,
        };
        let outcome =
            if withhold { ConsultOutcome::FailedWithhold } else { ConsultOutcome::FailedUseDefault };
        let digest =
            self.current.as_ref().map_or_else(|| "".into(), |version| version.identity.digest.clone());
        let consulted =
            Consulted { policy: self.spec.name.clone(), digest, outcome, note: Some(validate::note(why)) };
        if withhold { Verdict::Withhold(consulted) } else { Verdict::UseDefault(consulted) }
    }

    fn kept_last(&self, entry: &Entry<H::Answer>, failure: &str, instead: &str) -> Consulted {
        let digest = entry.trail.first().map_or_else(|| "".into(), |consulted| consulted.digest.clone());
        let said = entry.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        Consulted {
            policy: self.spec.name.clone(),
            digest,
            outcome: ConsultOutcome::KeptLast,
            note: Some(validate::note(&format!("{failure}; {instead}{said}"))),
        }
    }
}
