//! From which nodes no router hears anything, as the speakers are told.
//!
//! Speakers that read each other's SpeakerStates would be sent every one of their writes: on 1,000 nodes 20 a second, to 1,000
//! speakers. What they need of each other is one bit, which changes seldom: whether a node has a live speaker with a session
//! up. So this controller, which reads all SpeakerStates and Leases anyway, writes the nodes without one into one ConfigMap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_api::SpeakerStateStatus;
use bellhop_core::{ObjectName, World};
use bellhop_kubernetes::WriteError;

use crate::book::Backoff;
use crate::write::Answer;

/// How long a node has announced nothing before that is told. A speaker that restarts, or whose router does, has its sessions
/// again within seconds, and policies should not give its Services to other nodes and back for that.
const SILENT_AFTER: Duration = Duration::from_secs(15);

/// How often the object is written, at most: each write goes to every speaker.
const INTERVAL: Duration = Duration::from_secs(2);

/// Most nodes that are told: as many as Kubernetes supports, with names of 63 octets half of what a ConfigMap may hold.
const NODES_MAX: usize = 5_000;

/// State of a session that is up (RFC 4271 §8.2.2), as SpeakerState has it.
const ESTABLISHED: &str = "Established";

const NO_SPEAKER: &str = "no speaker has reported";
const NOT_LIVE: &str = "the Lease of its speaker ran out";
const NO_SESSION: &str = "its speaker has no session up";

/// Nodes, each with why it announces nothing.
pub(crate) type Reasons = BTreeMap<ObjectName, &'static str>;

/// What is known of each node, and what stands in the ConfigMap.
#[derive(Debug, Default)]
pub(crate) struct SilentNodes {
    /// Why a node announces nothing, if so, and since when.
    nodes: BTreeMap<ObjectName, (Option<&'static str>, Instant)>,
    /// Something changed since it was looked at last.
    changed: bool,
    due: Option<Instant>,
    sent: Option<Arc<Reasons>>,
    /// What the object says; `None` while that is not known.
    told: Option<Arc<Reasons>>,
    /// The version of the object that says so.
    version: Option<Arc<str>>,
    backoff: Backoff,
}

impl SilentNodes {
    /// A speaker reports, and whether it lives; `None`: its SpeakerState is gone.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        node: &ObjectName,
        state: Option<(&SpeakerStateStatus, bool)>,
    ) {
        let why = match state {
            None => Some(NO_SPEAKER),
            Some((_, false)) => Some(NOT_LIVE),
            Some((state, true)) => {
                let up = state.sessions.iter().any(|session| session.state == ESTABLISHED);
                (!up).then_some(NO_SESSION)
            }
        };
        let entry = self.nodes.entry(node.clone()).or_insert((None, now));
        if entry.0.is_some() != why.is_some() {
            entry.1 = now;
        }
        self.changed |= entry.0 != why;
        entry.0 = why;
    }

    /// Nodes came or went.
    pub(crate) fn nodes_changed(&mut self) {
        self.changed = true;
    }

    /// This process came to lead: what the object says is to be read.
    pub(crate) fn forget(&mut self) {
        self.told = None;
        self.changed = true;
    }

    /// The watch shows a version of the object, or that it is gone; one that is not of our writing is looked at.
    pub(crate) fn seen(&mut self, version: Option<&Arc<str>>) {
        if self.sent.is_none() && self.told.is_some() && self.version.as_ref() != version {
            self.forget();
        }
    }

    /// What is to be written, if anything is due.
    pub(crate) fn next(&mut self, now: Instant, world: &World) -> Option<Arc<Reasons>> {
        if std::mem::take(&mut self.changed) {
            self.due.get_or_insert(now + INTERVAL);
        }
        if self.sent.is_some() || self.due.is_none_or(|due| now < due) {
            return None;
        }
        self.due = None;
        let reasons = self.reasons(now, world)?;
        if self.told.as_deref() == Some(&reasons) {
            return None;
        }
        let reasons = Arc::new(reasons);
        self.sent = Some(reasons.clone());
        Some(reasons)
    }

    /// The nodes that announce nothing, for long enough; `None` where that is every node, which is more likely to mean that this
    /// process cannot see: speakers go on with what they know.
    fn reasons(&mut self, now: Instant, world: &World) -> Option<Reasons> {
        self.nodes.retain(|node, (why, _)| world.nodes().contains_key(node) || *why != Some(NO_SPEAKER));
        let mut reasons = Reasons::new();
        let mut some_announces = false;
        for node in world.nodes().keys() {
            let (why, since) = *self.nodes.entry(node.clone()).or_insert((Some(NO_SPEAKER), now));
            let Some(why) = why else {
                some_announces = true;
                continue;
            };
            let at = since + SILENT_AFTER;
            if at <= now {
                reasons.insert(node.clone(), why);
            } else {
                self.due = Some(self.due.map_or(at, |due| due.min(at)));
            }
        }
        while reasons.len() > NODES_MAX {
            reasons.pop_last();
        }
        some_announces.then_some(reasons)
    }

    /// What came of the write.
    pub(crate) fn finished(&mut self, now: Instant, result: &Result<Answer, WriteError>) {
        let Some(sent) = self.sent.take() else { return };
        let again = match result {
            Ok(answer) => {
                self.told = Some(sent);
                self.version = match answer {
                    Answer::Stored(stored) => Some(stored.resource_version.clone()),
                    _ => None,
                };
                self.backoff = Backoff::default();
                // What changed meanwhile waits as long as after any other write.
                now + INTERVAL
            }
            Err(error) => {
                self.told = None;
                self.backoff.failed(now, error)
            }
        };
        self.due = Some(self.due.map_or(again, |due| due.max(again)));
    }

    /// When [`SilentNodes::next`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.sent.is_none())
    }
}

#[cfg(test)]
mod tests;
