//! One version of one policy: its guest, what it was shown, what it answered.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bellhop_core::decision::{ConsultOutcome, Consulted};
use bellhop_core::names::ObjectName;
use bellhop_core::objects::Hook;

use super::{Failure, LogEntry};
use crate::breaker::{Breaker, Report};
use crate::cache::Generations;
use crate::counters::Counters;
use crate::guest::{Called, Guest, GuestError, Noted};
use crate::intern::{Interner, Names};
use crate::projection::{Match, Projector};
use crate::runner::Runner;
use crate::validate;

/// Answers remembered per version and generation. The largest working set meant for one speaker, 10,000 Services with
/// two addresses and three peers whose policy tells all of them apart, fits; at some 100 bytes each the worst case of
/// two generations stays near 13 MB.
const MEMO: usize = 1 << 16;

/// Log lines held until they are taken. A guest may write 64 a call, and only so many are read.
const LOG: usize = 1024;

/// One thing asked about in a batch: the index of its request, and of its node in it (0 where a request is one thing).
pub(crate) type Unit = (usize, usize);

/// Where a decision takes effect, by the numbers of names: what a last decision is kept under.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    pub(crate) service: u64,
    pub(crate) node: u64,
    pub(crate) peer: u64,
    pub(crate) address: Option<IpAddr>,
}

/// One question to one version: its identity, where it takes effect, and what the plugin is shown.
pub(crate) struct Asked<H: HookKind> {
    pub(crate) key: H::Key,
    pub(crate) place: Place,
    pub(crate) namespace: Arc<str>,
    pub(crate) shown: H::Shown,
}

/// What differs between the hooks.
pub(crate) trait HookKind: Sized {
    const HOOK: Hook;
    type Request;
    /// What answers are remembered under: identities of what is shown.
    type Key: Hash + Eq + Clone;
    /// What the plugin is shown.
    type Shown: Sync;
    type Answer: Hash + Eq + Clone + Send + Sync;

    /// True where the policy is asked about this unit.
    fn matches(selects: &Match, request: &Self::Request, part: usize) -> bool;

    /// The questions about the units; `None` where the policy is not asked.
    fn project(
        projector: &mut Projector,
        batch: &[Self::Request],
        units: &[Unit],
        names: &mut Names,
    ) -> Vec<Option<Asked<Self>>>;

    /// Asks the guest; one checked answer per question, in order.
    fn call(
        guest: &dyn Guest,
        runner: &dyn Runner,
        questions: &[&Self::Shown],
        tally: &mut Tally<'_>,
    ) -> Vec<Result<Noted<Self::Answer>, GuestError>>;

    /// The answer in a form that means the same for a later request; `None` where it does as it is.
    fn keep(_request: &Self::Request, _answer: &Self::Answer) -> Option<Self::Answer> {
        None
    }
}

/// Takes note of what calls cost and logged.
pub(crate) struct Tally<'a> {
    pub(crate) policy: &'a ObjectName,
    pub(crate) counters: &'a mut Counters,
    pub(crate) log: &'a mut VecDeque<LogEntry>,
    pub(crate) failures: &'a mut Vec<Failure>,
}

impl Tally<'_> {
    /// The result of a call; `None` stands for one that the runner did not run.
    pub(crate) fn take<T>(&mut self, called: Option<Called<T>>) -> Result<T, GuestError> {
        let Some(called) = called else {
            let error = GuestError::Infrastructure("the call was not run".into());
            self.counters.failed(&error);
            return Err(error);
        };
        self.counters.called(called.cost);
        for (level, text) in called.log {
            if self.log.len() >= LOG {
                self.log.pop_front();
            }
            self.log.push_back(LogEntry { policy: self.policy.clone(), level, text });
        }
        called.result.inspect_err(|error| self.counters.failed(error))
    }

    /// A failure found after the call, in its answer.
    pub(crate) fn refused(&mut self, error: GuestError) -> GuestError {
        self.counters.failed(&error);
        error
    }
}

/// What a version said to one question.
#[derive(Debug)]
pub(crate) struct Entry<A> {
    /// The answer, `None` for `use-default`.
    pub(crate) result: Result<Option<A>, GuestError>,
    pub(crate) note: Option<Arc<str>>,
    /// The trail that ends here; empty for a failure, whose trail depends on what becomes of it.
    pub(crate) trail: Arc<[Consulted]>,
}

impl<A: PartialEq> PartialEq for Entry<A> {
    fn eq(&self, other: &Self) -> bool {
        self.result == other.result && self.note == other.note
    }
}

impl<A: Eq> Eq for Entry<A> {}

impl<A: Hash> Hash for Entry<A> {
    fn hash<S: Hasher>(&self, state: &mut S) {
        self.result.hash(state);
        self.note.hash(state);
    }
}

impl<A> Entry<A> {
    pub(crate) fn new(
        policy: &ObjectName,
        digest: &Arc<str>,
        result: Result<Option<A>, GuestError>,
        note: Option<Arc<str>>,
    ) -> Self {
        let outcome = match &result {
            Ok(Some(_)) => Some(ConsultOutcome::Decided),
            Ok(None) => Some(ConsultOutcome::UseDefault),
            Err(_) => None,
        };
        let trail = outcome.map(|outcome| Consulted {
            policy: policy.clone(),
            digest: digest.clone(),
            outcome,
            note: note.clone(),
        });
        Self { result, note, trail: trail.into_iter().collect() }
    }
}

/// What came of one question.
pub(crate) enum Answered<A> {
    /// The policy is not asked about this.
    NotAsked,
    /// The breaker keeps the call away.
    HeldBack,
    /// An answer or a failure.
    Entry(Arc<Entry<A>>),
}

/// What makes two versions the same to a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) digest: Arc<str>,
    pub(crate) config: Arc<str>,
    pub(crate) fuel: Option<u64>,
    pub(crate) memory: Option<u64>,
}

/// One version in force, or the last good one.
pub(crate) struct Version<H: HookKind> {
    pub(crate) identity: Identity,
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) projector: Projector,
    memo: Generations<H::Key, Arc<Entry<H::Answer>>>,
    entries: Interner<Entry<H::Answer>>,
    breaker: Breaker,
    /// The kinds of failure that have been told of.
    failed_by: BTreeSet<&'static str>,
    /// It has answered at least once.
    pub(crate) proven: bool,
}

impl<H: HookKind> Version<H> {
    pub(crate) fn new(identity: Identity, guest: Arc<dyn Guest>, projector: Projector) -> Self {
        Self {
            identity,
            guest,
            projector,
            memo: Generations::new(MEMO),
            entries: Interner::new(),
            breaker: Breaker::default(),
            failed_by: BTreeSet::new(),
            proven: false,
        }
    }

    /// Gives back the memory of what may not be needed again: the version steps back to be the last good one.
    pub(crate) fn retire(mut self) -> Self {
        self.memo = Generations::new(MEMO);
        self.entries = Interner::new();
        self.breaker = Breaker::default();
        self
    }

    /// Answers to all questions: from the memo where it knows, else from the guest, each distinct question once.
    pub(crate) fn answer(
        &mut self,
        asked: &[Option<Asked<H>>],
        runner: &dyn Runner,
        now: Option<Instant>,
        tally: &mut Tally<'_>,
    ) -> Vec<Answered<H::Answer>> {
        let mut answers = Vec::with_capacity(asked.len());
        let mut distinct: HashMap<&H::Key, usize> = HashMap::new();
        let mut misses: Vec<&Asked<H>> = Vec::new();
        let mut waiting: Vec<(usize, usize)> = Vec::new();
        for asked in asked {
            let Some(asked) = asked else {
                answers.push(Answered::NotAsked);
                continue;
            };
            if let Some(entry) = self.memo.get(&asked.key) {
                tally.counters.memo_hits += 1;
                answers.push(Answered::Entry(entry));
                continue;
            }
            if self.breaker.allows(asked.place.service, now) {
                let miss = *distinct.entry(&asked.key).or_insert_with(|| {
                    misses.push(asked);
                    misses.len() - 1
                });
                waiting.push((answers.len(), miss));
            } else {
                tally.counters.held_back += 1;
            }
            answers.push(Answered::HeldBack);
        }
        if misses.is_empty() {
            return answers;
        }

        let shown: Vec<&H::Shown> = misses.iter().map(|asked| &asked.shown).collect();
        let results = H::call(&*self.guest, runner, &shown, tally);
        let entries: Vec<Arc<Entry<H::Answer>>> = misses
            .iter()
            .zip(results)
            .map(|(asked, result)| self.remember(&asked.key, tally, result))
            .collect();
        self.report(asked, &waiting, &entries, now);
        for (index, miss) in waiting {
            if let Some(entry) = entries.get(miss) {
                answers[index] = Answered::Entry(entry.clone());
            }
        }
        answers
    }

    fn remember(
        &mut self,
        key: &H::Key,
        tally: &mut Tally<'_>,
        result: Result<Noted<H::Answer>, GuestError>,
    ) -> Arc<Entry<H::Answer>> {
        if let Err(error) = &result
            && self.failed_by.insert(error.category())
        {
            tally.failures.push(Failure {
                policy: tally.policy.clone(),
                digest: self.identity.digest.clone(),
                category: error.category(),
                message: validate::note(&error.to_string()),
            });
        }
        let (result, note) = match result {
            Ok(noted) => (Ok(noted.answer), noted.note.map(|note| validate::note(&note))),
            Err(error) => (Err(error), None),
        };
        self.proven |= result.is_ok();
        let memoised = result.as_ref().err().is_none_or(GuestError::deterministic);
        let entry = Entry::new(tally.policy, &self.identity.digest, result, note);
        if !memoised {
            return Arc::new(entry);
        }
        let entry = self.entries.intern(entry).value;
        self.memo.insert(key.clone(), entry.clone());
        entry
    }

    /// Tells the breaker, per Service, how many distinct questions were answered and how many failed.
    fn report(
        &mut self,
        asked: &[Option<Asked<H>>],
        waiting: &[(usize, usize)],
        entries: &[Arc<Entry<H::Answer>>],
        now: Option<Instant>,
    ) {
        let mut counted: HashSet<(u64, usize)> = HashSet::new();
        let mut reports: HashMap<u64, Report> = HashMap::new();
        for &(index, miss) in waiting {
            let (Some(Some(asked)), Some(entry)) = (asked.get(index), entries.get(miss)) else { continue };
            if !counted.insert((asked.place.service, miss)) {
                continue;
            }
            let report = reports.entry(asked.place.service).or_insert_with(|| Report {
                namespace: asked.namespace.clone(),
                answered: 0,
                failed: 0,
            });
            match &entry.result {
                Ok(_) => report.answered += 1,
                Err(error) if error.deterministic() => report.failed += 1,
                Err(_) => {}
            }
        }
        self.breaker.report(reports, now);
    }
}
