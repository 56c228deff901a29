//! The claims between the ledger and the API server.
//!
//! ```text
//! ledger ─ClaimChange─► propose ─► pending ─► next ─► Write ─► API server
//!   ▲                                 ▲                           │
//!   └──── World ◄── deltas ◄──────────┴─── finished ◄── Answer ◄──┤
//!                                          watched  ◄── watch ◄───┘
//! ```
//!
//! A change counts for the World as soon as it is proposed; until it is confirmed nothing else is proposed for that
//! address. Where the API server has it otherwise, the World is given what the API server has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::names::Uid;
use bellhop_core::objects::AddressClaim;
use bellhop_core::{Delta, ServiceKey};
use bellhop_ipam::ClaimChange;
use bellhop_kubernetes::{Condition, Stored, Verb, Version, WriteError};

use crate::book::{Backoff, is_older};
use crate::write::{Answer, Leaving, ReadClaim, Write};

/// How long an answer to our own write may be ahead of the watch before a deletion that the watch shows is believed.
/// Watches lag by milliseconds; one that was cut and begun anew may leave the version in question out.
const ECHO_WAIT: Duration = Duration::from_secs(10);

/// How long a claim is left alone whose holder turned out to live, or its status to list the address, though this process
/// does not know it.
const LIVING_HOLDER_WAIT: Duration = Duration::from_secs(30);

/// A claim as the API server has it.
#[derive(Clone, Debug)]
struct Actual {
    stored: Stored,
    /// `None` where what it says cannot be read.
    claim: Option<Arc<AddressClaim>>,
    /// Known by the answer to a write of ours since then, and not seen by the watch yet.
    answered: Option<Instant>,
    /// The watch showed a deletion meanwhile.
    doubted: bool,
}

/// A change that is not confirmed yet.
#[derive(Clone, Debug)]
struct Pending {
    change: ClaimChange,
    in_flight: bool,
    /// UID of the claim that is being changed, while that is under way.
    of: Option<Arc<str>>,
    /// The server's words, while it refuses the change.
    refused: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    actual: Option<Actual>,
    /// What the watch said last; it does not repeat itself where a newer version says the same.
    watched: Option<Arc<AddressClaim>>,
    pending: Option<Pending>,
    /// UID of the claim that we deleted last: late news of it is no news.
    released: Option<Arc<str>>,
    backoff: Backoff,
}

/// What the planner knows of Services that decides whether a claim may be taken from one.
pub(crate) trait Holders {
    /// Whether a Service of this UID is known to exist.
    fn exists(&self, service: &ServiceKey, uid: &Uid) -> bool;
    /// Whether the status of the Service still lists the address.
    fn lists(&self, service: &ServiceKey, address: IpAddr) -> bool;
}

/// Every claim that exists or is on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    entries: BTreeMap<IpAddr, Entry>,
    creations: VecDeque<IpAddr>,
    changes: VecDeque<IpAddr>,
    later: BTreeSet<(Instant, IpAddr)>,
    /// Changes that wait until the status of a Service no longer lists the address.
    blocked: BTreeMap<ServiceKey, BTreeSet<IpAddr>>,
    /// Services with creations under way, and how many.
    creating: BTreeMap<ServiceKey, usize>,
}

impl Claims {
    /// True when the API server has confirmed that this Service holds the address.
    pub(crate) fn confirmed(&self, address: IpAddr, uid: &Uid) -> bool {
        let actual = self.entries.get(&address).and_then(|entry| entry.actual.as_ref());
        let claim = actual.and_then(|actual| actual.claim.as_ref());
        claim.is_some_and(|claim| claim.holders.iter().any(|holder| holder.uid == *uid))
    }

    /// The server's words, while it refuses to let this address be claimed.
    pub(crate) fn refused(&self, address: IpAddr) -> Option<&str> {
        let pending = self.entries.get(&address).and_then(|entry| entry.pending.as_ref());
        pending.and_then(|pending| pending.refused.as_deref())
    }

    /// True when claims are being made for the Service: nothing is taken from it meanwhile, so that it never loses an
    /// address before it has its new one.
    fn is_creating(&self, change: &ClaimChange, before: Option<&AddressClaim>) -> bool {
        let after = match change {
            ClaimChange::Create(_) => return false,
            ClaimChange::Update(claim) => Some(claim),
            ClaimChange::Release(_) => None,
        };
        let holders = before.iter().flat_map(|claim| &claim.holders);
        let mut holders = holders.chain(after.iter().flat_map(|claim| &claim.holders));
        holders.any(|holder| self.creating.contains_key(&holder.service))
    }

    /// Takes over a proposal; what the World is to learn of it. `None` where it has to wait for something else: the ledger
    /// proposes it again.
    pub(crate) fn propose(&mut self, now: Instant, change: ClaimChange) -> Option<Delta> {
        let address = change.address();
        let entry = self.entries.entry(address).or_default();
        if entry.pending.is_some() {
            return None;
        }
        let before = entry.actual.as_ref().and_then(|actual| actual.claim.clone());
        if self.is_creating(&change, before.as_deref()) {
            return None;
        }
        let delta = match &change {
            ClaimChange::Create(claim) | ClaimChange::Update(claim) => Some(Arc::new(claim.clone())),
            ClaimChange::Release(_) => None,
        };
        if let ClaimChange::Create(claim) = &change {
            for holder in &claim.holders {
                *self.creating.entry(holder.service.clone()).or_default() += 1;
            }
        }
        let entry = self.entries.entry(address).or_default();
        entry.pending = Some(Pending { change, in_flight: false, of: None, refused: None });
        self.queue(now, address);
        Some(Delta::Claim(address, delta))
    }

    fn queue(&mut self, now: Instant, address: IpAddr) {
        let Some(entry) = self.entries.get(&address) else { return };
        match (entry.backoff.until(now), &entry.pending) {
            (Some(until), _) => {
                self.later.insert((until, address));
            }
            (None, Some(Pending { change: ClaimChange::Create(_), .. })) => self.creations.push_back(address),
            (None, _) => self.changes.push_back(address),
        }
    }

    /// The status of a Service changed, or it is gone: what waited for that may go on.
    pub(crate) fn unblock(&mut self, service: &ServiceKey) {
        self.changes.extend(self.blocked.remove(service).into_iter().flatten());
    }

    /// True while there are claims to be made that have not been sent; those that failed and wait do not count.
    pub(crate) fn has_creations(&self) -> bool {
        !self.creations.is_empty()
    }

    /// The next change that may be written: with `creations` one of those, else another one.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        creations: bool,
        holders: &impl Holders,
    ) -> Option<(IpAddr, Write)> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, address)) = self.later.pop_first() {
                self.queue(now, address);
            }
        }
        let queue = |claims: &mut Self| {
            if creations { claims.creations.pop_front() } else { claims.changes.pop_front() }
        };
        while let Some(address) = queue(self) {
            if let Some(write) = self.write(address, holders) {
                if let Some(entry) = self.entries.get_mut(&address)
                    && let Some(pending) = &mut entry.pending
                {
                    pending.in_flight = true;
                    pending.of = entry.actual.as_ref().map(|actual| actual.stored.uid.clone());
                }
                return Some((address, write));
            }
        }
        None
    }

    /// The write of a pending change; `None` where there is none, or where it must wait.
    fn write(&mut self, address: IpAddr, holders: &impl Holders) -> Option<Write> {
        let entry = self.entries.get(&address)?;
        if entry.pending.is_none() && entry.actual.as_ref().is_some_and(|actual| actual.doubted) {
            return Some(Write::ReadClaim(address));
        }
        let pending = entry.pending.as_ref().filter(|pending| !pending.in_flight)?;
        let after = match (&pending.change, &entry.actual) {
            (ClaimChange::Create(claim), None) => return Some(Write::CreateClaim(Arc::new(claim.clone()))),
            (ClaimChange::Update(claim), Some(_)) => Some(Arc::new(claim.clone())),
            (ClaimChange::Release(_), Some(_)) => None,
            // It is not as it was when this was proposed; what is there has to be read.
            _ => return Some(Write::ReadClaim(address)),
        };
        let actual = entry.actual.as_ref()?;
        let mut leaving = Vec::new();
        for holder in actual.claim.iter().flat_map(|claim| &claim.holders) {
            let stays = after
                .as_ref()
                .is_some_and(|claim| claim.holders.iter().any(|other| other.service == holder.service));
            if stays {
                continue;
            }
            let gone = !holders.exists(&holder.service, &holder.uid);
            if !gone && holders.lists(&holder.service, address) {
                self.blocked.entry(holder.service.clone()).or_default().insert(address);
                return None;
            }
            leaving.push(Leaving { service: holder.service.clone(), uid: holder.uid.clone(), gone });
        }
        let at = Condition::from(&actual.stored);
        Some(match after {
            Some(claim) => Write::UpdateClaim { claim, at, leaving },
            None => Write::ReleaseClaim { address, at, leaving },
        })
    }

    /// A change is over, done or not.
    fn settle(&mut self, address: IpAddr) -> Option<ClaimChange> {
        let pending = self.entries.get_mut(&address)?.pending.take()?;
        if let ClaimChange::Create(claim) = &pending.change {
            for holder in &claim.holders {
                if let Some(count) = self.creating.get_mut(&holder.service) {
                    *count -= 1;
                    if *count == 0 {
                        self.creating.remove(&holder.service);
                    }
                }
            }
        }
        Some(pending.change)
    }

    /// What the World is to know of a claim: the pending change, else what the API server has.
    fn truth(&mut self, address: IpAddr) -> Delta {
        let entry = self.entries.entry(address).or_default();
        let claim = entry.actual.as_ref().and_then(|actual| actual.claim.clone());
        if entry.actual.is_none() && entry.pending.is_none() && entry.released.is_none() {
            self.entries.remove(&address);
        }
        Delta::Claim(address, claim)
    }

    /// The watch shows a claim, or that it is gone; `said` is what it says where that changed. What the World is to learn.
    pub(crate) fn watched(
        &mut self,
        now: Instant,
        address: IpAddr,
        version: Option<&Version>,
        said: Option<Option<Arc<AddressClaim>>>,
    ) -> Option<Delta> {
        let entry = self.entries.entry(address).or_default();
        if let Some(said) = said {
            entry.watched = said;
        }
        let Some(version) = version else {
            entry.watched = None;
            entry.released = None;
            match &mut entry.actual {
                None => return None,
                Some(Actual { answered: Some(at), doubted, .. }) if now < *at + ECHO_WAIT => {
                    // The deletion of an earlier claim of the address, in all likelihood.
                    *doubted = true;
                    self.later.insert((*at + ECHO_WAIT, address));
                    return None;
                }
                Some(_) => entry.actual = None,
            }
            return (!self.is_in_flight(address)).then(|| self.drop_pending(address));
        };
        let stale = match &entry.actual {
            Some(actual) if actual.stored.uid == version.uid => {
                is_older(&version.resource_version, &actual.stored.resource_version)
            }
            Some(actual) => {
                actual.answered.is_some()
                    && is_older(&version.resource_version, &actual.stored.resource_version)
            }
            None => entry.released.as_ref() == Some(&version.uid),
        };
        if stale {
            return None;
        }
        let same = entry.actual.as_ref().is_some_and(|actual| {
            actual.stored.resource_version == version.resource_version && actual.claim.is_some()
        });
        if same {
            if let Some(actual) = &mut entry.actual {
                actual.answered = None;
                actual.doubted = false;
            }
            return None;
        }
        let changed = entry.actual.as_ref().is_none_or(|actual| actual.claim != entry.watched);
        entry.actual = Some(Actual {
            stored: Stored {
                uid: version.uid.clone(),
                resource_version: version.resource_version.clone(),
                generation: version.generation,
            },
            claim: entry.watched.clone(),
            answered: None,
            doubted: false,
        });
        (changed && !self.is_in_flight(address)).then(|| self.drop_pending(address))
    }

    /// True while an answer about the claim of this address is awaited.
    pub(crate) fn is_in_flight(&self, address: IpAddr) -> bool {
        let pending = self.entries.get(&address).and_then(|entry| entry.pending.as_ref());
        pending.is_some_and(|pending| pending.in_flight)
    }

    /// What was pending was decided from a version that is no more.
    fn drop_pending(&mut self, address: IpAddr) -> Delta {
        self.settle(address);
        self.truth(address)
    }

    /// A write of the claim was answered; what the World is to learn.
    pub(crate) fn finished(
        &mut self,
        now: Instant,
        address: IpAddr,
        result: &Result<Answer, WriteError>,
    ) -> Finished {
        match result {
            Ok(Answer::Stored(stored)) => {
                let change = self.settle(address);
                let entry = self.entries.entry(address).or_default();
                entry.backoff = Backoff::default();
                entry.released = None;
                let seen = entry.actual.as_ref().is_some_and(|actual| {
                    let seen = &actual.stored;
                    seen.uid == stored.uid && !is_older(&seen.resource_version, &stored.resource_version)
                });
                if seen {
                    // The watch was faster, and may know more already.
                    return Finished::Otherwise(self.truth(address), None);
                }
                if let Some(ClaimChange::Create(claim) | ClaimChange::Update(claim)) = change {
                    let (stored, claim) = (stored.clone(), Some(Arc::new(claim)));
                    entry.actual = Some(Actual { stored, claim, answered: Some(now), doubted: false });
                }
                Finished::Confirmed
            }
            Ok(Answer::Gone) => {
                let pending = self.entries.get(&address).and_then(|entry| entry.pending.as_ref());
                let released = pending.and_then(|pending| pending.of.clone());
                self.settle(address);
                let entry = self.entries.entry(address).or_default();
                entry.backoff = Backoff::default();
                if entry.actual.as_ref().is_some_and(|actual| Some(&actual.stored.uid) != released.as_ref()) {
                    // The watch was faster, and shows the next claim of the address.
                    return Finished::Otherwise(self.truth(address), None);
                }
                entry.actual = None;
                entry.released = released;
                Finished::Confirmed
            }
            Ok(Answer::Claim(read)) => {
                self.settle(address);
                self.read(now, address, read.clone())
            }
            Ok(Answer::HolderLives(_)) => {
                self.settle(address);
                self.entries.entry(address).or_default().backoff.hold(now + LIVING_HOLDER_WAIT);
                Finished::Otherwise(self.truth(address), None)
            }
            // One that is to be made and is not found: its kind is away, and the same address is asked for until it is back.
            Err(error @ WriteError::NotFound { verb: Verb::Create, .. }) => self.retry(now, address, error),
            Err(
                error @ (WriteError::Exists { .. }
                | WriteError::Conflict { .. }
                | WriteError::NotFound { .. }),
            ) => {
                // What is read may lead to the same proposal; it must not be made as fast as it fails.
                self.entries.entry(address).or_default().backoff.failed(now, error);
                Finished::Read(Write::ReadClaim(address))
            }
            Err(WriteError::NotLeader { .. }) => {
                self.settle(address);
                Finished::Otherwise(self.truth(address), None)
            }
            Err(error) => self.retry(now, address, error),
        }
    }

    /// What is pending is tried again later.
    fn retry(&mut self, now: Instant, address: IpAddr, error: &WriteError) -> Finished {
        let entry = self.entries.entry(address).or_default();
        let until = entry.backoff.failed(now, error);
        if let Some(pending) = &mut entry.pending {
            pending.in_flight = false;
            pending.refused = match error {
                WriteError::Invalid { message, .. } | WriteError::Forbidden { message, .. } => {
                    Some(message.clone())
                }
                _ => None,
            };
        }
        self.later.insert((until, address));
        Finished::Retried
    }

    fn read(&mut self, now: Instant, address: IpAddr, read: Option<ReadClaim>) -> Finished {
        let entry = self.entries.entry(address).or_default();
        let unreadable = read.as_ref().is_some_and(|read| read.claim.is_none());
        entry.actual = read.map(|ReadClaim { stored, claim }| {
            let answered = Some(now);
            Actual { stored, claim, answered, doubted: false }
        });
        Finished::Otherwise(self.truth(address), unreadable.then_some(address))
    }

    /// This process leads no more: what was not sent is not sent. What the World is to learn.
    pub(crate) fn withdraw(&mut self) -> Vec<Delta> {
        self.creations.clear();
        self.changes.clear();
        self.later.clear();
        self.blocked.clear();
        let pending = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.pending.as_ref().is_some_and(|pending| !pending.in_flight));
        let pending: Vec<IpAddr> = pending.map(|(address, _)| *address).collect();
        pending.into_iter().map(|address| self.drop_pending(address)).collect()
    }

    /// When [`Claims::next`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// The Services that hold the address, by what the API server has.
    pub(crate) fn holders(&self, address: IpAddr) -> Vec<ServiceKey> {
        let entry = self.entries.get(&address);
        let actual = entry.and_then(|entry| entry.actual.as_ref()).and_then(|actual| actual.claim.as_ref());
        let holders = actual.into_iter().flat_map(|claim| &claim.holders);
        holders.map(|holder| holder.service.clone()).collect()
    }
}

/// What came of a write of a claim.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Finished {
    /// The World has it as the API server does.
    Confirmed,
    /// The World is to learn this; and if an address is named, its claim cannot be read, and it is to be avoided.
    Otherwise(Delta, Option<IpAddr>),
    /// It is to be read what is there.
    Read(Write),
    /// It is tried again later.
    Retried,
}
