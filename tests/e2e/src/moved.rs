//! Which connections that broke are ECMP's doing and no failure of the announcements.
//!
//! When the router changes the next hops of an address, a connection that is open at that moment may continue at another
//! node. That node may reset it, or drop as invalid what it cannot place, as kube-proxy does. So what broke counts as moved
//! where the router changed the route to that very address meanwhile, and as a failure everywhere else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bellhop_lab::load::Failure;
use bellhop_lab::observe::kernel::Event;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;

/// How much later than the change itself a recording's time may be: iproute2 takes it when it reads of the change, which it does
/// before other programs run. Below what passes between the end of a pod and the withdrawal that follows from it.
const READ_BY: Duration = Duration::from_millis(100);

/// When the router changed its route to each address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes(BTreeMap<String, Vec<SystemTime>>);

impl Changes {
    /// Those of a recording.
    ///
    /// # Errors
    /// When an event has a time of another form.
    pub fn of(events: &[Event]) -> Result<Self> {
        let mut changes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for event in events {
            let at = time(&event.at).with_context(|| format!("the time of {event:?}"))?;
            changes.entry(event.destination.clone()).or_default().push(at);
        }
        Ok(Self(changes))
    }

    /// Whether a connection to an address broke because the router changed its next hops while it was open.
    pub fn moved(&self, address: IpAddr, failure: &Failure) -> bool {
        let (since, until) = failure.during().into_inner();
        let during = since..=until + READ_BY;
        let own = self.0.get(&address.to_string());
        failure.established && own.into_iter().flatten().any(|at| during.contains(at))
    }
}

/// A time of a recording, which is in UTC.
fn time(text: &str) -> Option<SystemTime> {
    let at: DateTime = text.parse().ok()?;
    let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    Some(UNIX_EPOCH + Duration::from_micros(at.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io;

    use bellhop_lab::http::{RequestError, Stage};
    use bellhop_lab::observe::kernel::Change;

    use super::*;

    const ADDRESS: &str = "203.0.113.10";

    /// A recording in which the route to a destination changes once, at half past three.
    fn changed(destination: &str) -> (Changes, SystemTime) {
        let at = "2026-01-02T03:30:00.500000";
        let line = String::new();
        let event = Event { at: at.into(), change: Change::Set, destination: destination.into(), line };
        (Changes::of(&[event]).unwrap(), UNIX_EPOCH + Duration::from_micros(1_767_324_600_500_000))
    }

    /// A connection that was waited for from `since` on, for half a second.
    fn broken(stage: Stage, kind: io::ErrorKind, since: SystemTime) -> Failure {
        let failure = Failure::now(since, &RequestError { stage, source: kind.into() });
        Failure { at_us: failure.since_us + 500_000, ..failure }
    }

    #[test]
    fn a_connection_is_moved_only_while_the_route_to_its_own_address_changes() {
        let address: IpAddr = ADDRESS.parse().unwrap();
        let (changes, at) = changed(ADDRESS);
        let reset = |since| broken(Stage::Answer, io::ErrorKind::ConnectionReset, since);
        let open = reset(at - Duration::from_millis(100));
        assert!(changes.moved(address, &open));
        assert!(!changed("203.0.113.11").0.moved(address, &open));
        assert!(!Changes::default().moved(address, &open));
        // Begun after it, and broken before it.
        assert!(!changes.moved(address, &reset(at + Duration::from_millis(1))));
        assert!(!changes.moved(address, &reset(at - Duration::from_secs(1))));
        assert!(changes.moved(address, &reset(at - Duration::from_millis(500) - READ_BY)));
    }

    #[test]
    fn what_was_never_taken_was_not_moved() {
        let (changes, at) = changed(ADDRESS);
        let since = at - Duration::from_millis(100);
        let moved = |stage, kind| changes.moved(ADDRESS.parse().unwrap(), &broken(stage, kind, since));
        assert!(!moved(Stage::Connect, io::ErrorKind::ConnectionRefused));
        assert!(!moved(Stage::Connect, io::ErrorKind::TimedOut));
        // One node has taken it, and another one got what followed.
        assert!(moved(Stage::Connect, io::ErrorKind::ConnectionReset));
        assert!(moved(Stage::Answer, io::ErrorKind::TimedOut));
    }
}
