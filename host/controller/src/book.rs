//! What is known of each object that is written to, and which of them are to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_kubernetes::{Condition, Stored, Version, WriteError};

/// First wait after a write that failed; it doubles up to [`BACKOFF_MAX`].
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// Longest wait: an admission rule that is put right is noticed within a minute.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long a write that met a newer version waits for it to come by the watch before it is tried again all the same.
const NEWER_WAIT: Duration = Duration::from_secs(10);

/// When something that failed is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Backoff {
    failures: u8,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure; when to try again.
    pub(crate) fn failed(&mut self, now: Instant, error: &WriteError) -> Instant {
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(8));
        let asked = match error {
            WriteError::Throttled { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        };
        self.failures = self.failures.saturating_add(1);
        let until = now + doubled.min(BACKOFF_MAX).max(asked.min(BACKOFF_MAX));
        self.until = Some(until);
        until
    }

    /// Waits until then.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// When it may be tried, now or later.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.until
    }

    /// When it may be tried; `None` for at once.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

/// True where `version` is of an earlier write than `than`. Versions of one kind are numbers in the order of writes
/// (KEP-5504); what is none counts as newer.
pub(crate) fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}

/// The last known version of one object.
#[derive(Clone, Debug)]
pub(crate) struct Known<S> {
    pub(crate) uid: Arc<str>,
    pub(crate) resource_version: Arc<str>,
    pub(crate) generation: i64,
    /// What of its status matters.
    pub(crate) seen: S,
    /// The server's words, while it refuses what is written.
    pub(crate) refused: Option<String>,
    in_flight: bool,
    backoff: Backoff,
}

impl<S> Known<S> {
    /// What a write takes for granted.
    pub(crate) fn condition(&self) -> Condition {
        Condition { uid: Some(self.uid.clone()), resource_version: Some(self.resource_version.clone()) }
    }
}

/// Every object of one kind of key.
///
/// An object is looked at when it is marked: [`Book::next`] yields those that may be written now, each once; one with a
/// write under way is yielded again after its answer, one that failed when its wait is over.
#[derive(Clone, Debug)]
pub(crate) struct Book<K, S> {
    known: BTreeMap<K, Known<S>>,
    marked: BTreeSet<K>,
    later: BTreeSet<(Instant, K)>,
}

impl<K, S> Default for Book<K, S> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), marked: BTreeSet::new(), later: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, S> Book<K, S> {
    /// The watch shows a version. False for one that an answer to our own write is newer than.
    pub(crate) fn see(&mut self, key: &K, version: &Version, seen: S) -> bool {
        if let Some(known) = self.known.get_mut(key)
            && known.uid == version.uid
        {
            if is_older(&version.resource_version, &known.resource_version) {
                return false;
            }
            if known.resource_version != version.resource_version {
                known.backoff = Backoff::default();
                known.refused = None;
            }
            known.resource_version = version.resource_version.clone();
            known.generation = version.generation;
            known.seen = seen;
        } else {
            let known = Known {
                uid: version.uid.clone(),
                resource_version: version.resource_version.clone(),
                generation: version.generation,
                seen,
                refused: None,
                in_flight: false,
                backoff: Backoff::default(),
            };
            self.known.insert(key.clone(), known);
        }
        self.mark(key);
        true
    }

    /// The object is gone.
    pub(crate) fn gone(&mut self, key: &K) {
        self.known.remove(key);
        self.marked.remove(key);
    }

    pub(crate) fn of(&self, key: &K) -> Option<&Known<S>> {
        self.known.get(key)
    }

    pub(crate) fn seen_mut(&mut self, key: &K) -> Option<&mut S> {
        self.known.get_mut(key).map(|known| &mut known.seen)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &Known<S>)> {
        self.known.iter()
    }

    /// The object is to be looked at.
    pub(crate) fn mark(&mut self, key: &K) {
        self.marked.insert(key.clone());
    }

    /// Every object is to be looked at.
    pub(crate) fn mark_all(&mut self) {
        self.marked = self.known.keys().cloned().collect();
    }

    /// The object is to be looked at then.
    pub(crate) fn mark_at(&mut self, at: Instant, key: &K) {
        self.later.insert((at, key.clone()));
    }

    /// The next object to be looked at that may be written.
    pub(crate) fn next(&mut self, now: Instant) -> Option<K> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.marked.insert(key);
            }
        }
        while let Some(key) = self.marked.pop_first() {
            let Some(known) = self.known.get(&key) else { continue };
            if known.in_flight {
                continue;
            }
            match known.backoff.until(now) {
                Some(until) => self.mark_at(until, &key),
                None => return Some(key),
            }
        }
        None
    }

    /// A write of the object is under way.
    pub(crate) fn sent(&mut self, key: &K) {
        if let Some(known) = self.known.get_mut(key) {
            known.in_flight = true;
        }
    }

    /// A write of the object of this UID was carried out. False where it is another object, or gone.
    pub(crate) fn stored(&mut self, key: &K, stored: &Stored) -> bool {
        let Some(known) = self.known.get_mut(key) else { return false };
        known.in_flight = false;
        self.marked.insert(key.clone());
        if known.uid != stored.uid || is_older(&stored.resource_version, &known.resource_version) {
            return false;
        }
        known.resource_version = stored.resource_version.clone();
        known.backoff = Backoff::default();
        known.refused = None;
        true
    }

    /// A write of the object failed.
    pub(crate) fn failed(&mut self, now: Instant, key: &K, error: &WriteError) {
        let Some(known) = self.known.get_mut(key) else { return };
        known.in_flight = false;
        match error {
            // The newer version comes by the watch, and clears this.
            WriteError::Conflict { .. } | WriteError::NotFound { .. } => {
                known.backoff.hold(now + NEWER_WAIT);
            }
            WriteError::NotLeader { .. } => {}
            _ => {
                known.backoff.failed(now, error);
            }
        }
        if let WriteError::Invalid { message, .. } | WriteError::Forbidden { message, .. } = error {
            known.refused = Some(message.clone());
        }
        self.marked.insert(key.clone());
    }

    /// When [`Book::next`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}
