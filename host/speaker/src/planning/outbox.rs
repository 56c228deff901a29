//! Routes on their way from the planner to the BGP task.
//!
//! Planning goes in slices, and UPDATEs are full only where the BGP task learns of many routes at once. So withdrawals
//! leave with their slice, and announcements wait for the last slice of a run, but never longer than [`HOLD`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::announce::RouteChange;
use bellhop_core::{ObjectName, RouteAttributes};
use ipnet::IpNet;

/// How long an announcement may wait for others: some ten thousand built-in decisions, and little against what a
/// router takes for as many routes. Each hand-over in between costs at most one UPDATE per family and peer that is not
/// full.
const HOLD: Duration = Duration::from_millis(250);

/// Announcements that wait.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    held: BTreeMap<(ObjectName, IpNet), Arc<RouteAttributes>>,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Outbox {
    /// Takes the changes of a slice; returns what is to be handed over now, withdrawals first. `more`: another slice
    /// follows at once.
    pub(super) fn pass(&mut self, now: Instant, changes: Vec<RouteChange>, more: bool) -> Vec<RouteChange> {
        if self.held.is_empty() && !more {
            return changes;
        }
        let mut due = Vec::new();
        for RouteChange { peer, prefix, attributes } in changes {
            match attributes {
                Some(attributes) => {
                    self.held.insert((peer, prefix), attributes);
                    self.since.get_or_insert(now);
                }
                None => {
                    // What the peer heard before, if anything, goes; what it was to hear must not follow.
                    self.held.remove(&(peer.clone(), prefix));
                    due.push(RouteChange { peer, prefix, attributes: None });
                }
            }
        }
        if !more || self.since.is_some_and(|since| now >= since + HOLD) {
            self.since = None;
            let held = std::mem::take(&mut self.held);
            due.extend(held.into_iter().map(|((peer, prefix), attributes)| RouteChange {
                peer,
                prefix,
                attributes: Some(attributes),
            }));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(prefix: &str, med: Option<u32>) -> RouteChange {
        let attributes = |med| Arc::new(RouteAttributes { med: Some(med), ..RouteAttributes::default() });
        RouteChange {
            peer: "router".into(),
            prefix: prefix.parse().unwrap(),
            attributes: med.map(attributes),
        }
    }

    #[test]
    fn announcements_of_all_slices_leave_together_with_the_last_one() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let (a, b) = (change("192.0.2.1/32", Some(1)), change("192.0.2.2/32", Some(1)));
        assert_eq!(outbox.pass(now, vec![a.clone()], true), []);
        assert_eq!(outbox.pass(now, vec![b.clone()], false), [a, b]);
        assert_eq!(outbox.pass(now, vec![], false), []);
    }

    // case: bgp-64
    #[test]
    fn a_withdrawal_leaves_at_once_and_takes_the_announcement_with_it_that_waited() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert_eq!(outbox.pass(now, vec![change("192.0.2.1/32", Some(1))], true), []);
        let gone = change("192.0.2.1/32", None);
        assert_eq!(outbox.pass(now, vec![gone.clone()], true), [gone]);
        assert_eq!(outbox.pass(now, vec![], false), []);
    }

    #[test]
    fn of_two_announcements_of_a_prefix_the_later_one_leaves() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        outbox.pass(now, vec![change("192.0.2.1/32", Some(1))], true);
        let later = change("192.0.2.1/32", Some(2));
        assert_eq!(outbox.pass(now, vec![later.clone()], false), [later]);
    }

    #[test]
    fn an_announcement_waits_no_longer_than_its_bound_however_long_planning_goes_on() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let first = change("192.0.2.1/32", Some(1));
        assert_eq!(outbox.pass(now, vec![first.clone()], true), []);
        assert_eq!(outbox.pass(now + HOLD, vec![], true), [first]);
        // The next one begins a wait of its own.
        assert_eq!(outbox.pass(now + HOLD, vec![change("192.0.2.2/32", Some(1))], true), []);
    }
}
