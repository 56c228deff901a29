//! The election, without a clock or a network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Leadership;

/// The times of an election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How long a Lease holds after its last renewal, as those who wait for it count.
    pub lease: Duration,
    /// How long a leader goes on without a renewal; shorter than `lease` by more than a write can be under way.
    pub renew: Duration,
    /// How often the Lease is looked at or renewed.
    pub retry: Duration,
}

impl Terms {
    /// Those of Kubernetes' own controllers (client-go's `leaderelection` defaults).
    pub const ELECTION: Self = Self {
        lease: Duration::from_secs(15),
        renew: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };
}

/// A Lease as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// `metadata.resourceVersion`: the condition of a write; `None` for a Lease that is to be made.
    pub resource_version: Option<Arc<str>>,
    /// `spec.holderIdentity`; `None` where it was given back.
    pub holder: Option<Arc<str>>,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
    /// `spec.acquireTime`, as it stands there.
    pub acquired: Option<String>,
    /// `metadata.ownerReferences[0]`.
    pub owner: Option<Value>,
}

impl Record {
    /// Of a Lease that is to be made.
    pub(super) const NONE: Self =
        Self { resource_version: None, holder: None, transitions: 0, acquired: None, owner: None };
}

/// What a candidate does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read the Lease; answer with [`Candidate::read`].
    Read,
    /// Create the Lease with this candidate as its holder; answer with [`Candidate::wrote`] or [`Candidate::refused`].
    Create,
    /// Write the Lease with this candidate as its holder, if it is as it was read; answer as above.
    Write(Record),
    /// Nothing before then.
    Wait(Instant),
}

/// One who stands for election.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: Arc<str>,
    terms: Terms,
    /// The Lease as it was seen last, and since when it is like that.
    seen: Option<(Record, Instant)>,
    /// The Lease does not exist.
    absent: bool,
    /// What is known may not be so any more.
    stale: bool,
    /// When the request of the last renewal was sent: others count from later.
    renewed: Option<Instant>,
    /// When to look at the Lease next.
    next: Option<Instant>,
}

impl Candidate {
    /// Who has seen nothing yet.
    pub fn new(identity: &str, terms: Terms) -> Self {
        Self {
            identity: identity.into(),
            terms,
            seen: None,
            absent: false,
            stale: true,
            renewed: None,
            next: None,
        }
    }

    pub(super) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    /// What to do at `now`.
    pub fn step(&self, now: Instant) -> Step {
        if let Some(next) = self.next.filter(|next| now < *next) {
            return Step::Wait(next);
        }
        if self.stale {
            return Step::Read;
        }
        match &self.seen {
            _ if self.absent => Step::Create,
            None => Step::Read,
            Some((record, since)) => match &record.holder {
                None => Step::Write(record.clone()),
                Some(holder) if *holder == self.identity => Step::Write(record.clone()),
                Some(_) if now.saturating_duration_since(*since) >= self.terms.lease => {
                    Step::Write(record.clone())
                }
                Some(_) => Step::Read,
            },
        }
    }

    /// The Lease was read; `None` where there is none.
    pub fn read(&mut self, now: Instant, record: Option<Record>) {
        self.absent = record.is_none();
        self.stale = false;
        match record {
            None => self.seen = None,
            Some(record) => {
                if record.holder.as_ref() != Some(&self.identity) {
                    // Somebody else has it, whatever this one's clock says.
                    self.renewed = None;
                }
                if self.seen.as_ref().is_none_or(|(seen, _)| *seen != record) {
                    self.seen = Some((record, now));
                }
            }
        }
        // One that can be taken is taken at once.
        let takes = matches!(self.step_regardless(now), Step::Create | Step::Write(_));
        self.next = (!takes).then_some(now + self.terms.retry);
    }

    /// The Lease was written, by a request that was sent at `sent`.
    pub fn wrote(&mut self, sent: Instant, record: Record) {
        self.absent = false;
        self.stale = false;
        self.renewed = Some(sent);
        self.seen = Some((record, sent));
        self.next = Some(sent + self.terms.retry);
    }

    /// The write was refused, as the Lease is another one by now.
    pub fn refused(&mut self) {
        self.stale = true;
        self.next = None;
    }

    /// There was no answer, or none that says anything: a write may have happened.
    pub fn failed(&mut self, now: Instant) {
        self.stale = true;
        self.next = Some(now + self.terms.retry);
    }

    /// Something of the Lease changed: look at it now.
    pub fn nudged(&mut self) {
        if self.renewed.is_none() {
            self.stale = true;
            self.next = None;
        }
    }

    /// Whether this one leads.
    pub fn leadership(&self, now: Instant) -> Leadership {
        match self.renewed.map(|renewed| renewed + self.terms.renew) {
            Some(until) if now < until => Leadership::Leader { until },
            _ => {
                let holder = self.seen.as_ref().and_then(|(record, _)| record.holder.clone());
                Leadership::Follower { leader: holder.filter(|holder| *holder != self.identity) }
            }
        }
    }

    /// The Lease as it is to be given back, if this one leads.
    pub fn held(&self, now: Instant) -> Option<Record> {
        let (record, _) = self.seen.as_ref()?;
        self.leadership(now).leads_at(now).then(|| record.clone())
    }

    fn step_regardless(&self, now: Instant) -> Step {
        Self { next: None, ..self.clone() }.step(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The API server's Lease.
    #[derive(Default)]
    struct Server {
        record: Option<Record>,
        versions: u32,
    }

    impl Server {
        fn write(&mut self, holder: Option<&str>, condition: Option<&Record>) -> Option<Record> {
            if self.record.as_ref().map(|record| &record.resource_version)
                != condition.map(|record| &record.resource_version)
            {
                return None;
            }
            self.versions += 1;
            let record = Record {
                resource_version: Some(self.versions.to_string().into()),
                holder: holder.map(Into::into),
                transitions: 0,
                acquired: None,
                owner: None,
            };
            self.record = Some(record.clone());
            Some(record)
        }

        /// Carries out one step that is due, `delay` after it was begun.
        fn serve(&mut self, candidate: &mut Candidate, now: Instant, delay: Duration) {
            let name = candidate.identity.clone();
            let written = match candidate.step(now) {
                Step::Wait(_) => return,
                Step::Read => return candidate.read(now + delay, self.record.clone()),
                Step::Create => self.write(Some(&name), None),
                Step::Write(seen) => self.write(Some(&name), Some(&seen)),
            };
            match written {
                Some(record) => candidate.wrote(now, record),
                None => candidate.refused(),
            }
        }
    }

    fn leads(candidate: &Candidate, now: Instant) -> bool {
        candidate.leadership(now).leads_at(now)
    }

    fn two() -> (Candidate, Candidate) {
        (Candidate::new("a", Terms::ELECTION), Candidate::new("b", Terms::ELECTION))
    }

    /// Runs both for some seconds; who is paused does nothing. Panics when both lead at once.
    fn run(
        server: &mut Server,
        (a, b): (&mut Candidate, &mut Candidate),
        from: Instant,
        seconds: u32,
        runs: (bool, bool),
    ) -> Instant {
        let mut now = from;
        for _ in 0..seconds * 10 {
            for (candidate, runs) in [(&mut *a, runs.0), (&mut *b, runs.1)] {
                for _ in 0..3 {
                    if runs {
                        server.serve(candidate, now, Duration::from_millis(20));
                    }
                }
            }
            now += SECOND / 10;
            assert!(!(leads(a, now) && leads(b, now)), "both lead");
        }
        now
    }

    #[test]
    fn one_leads_and_goes_on_leading_while_it_renews() {
        let (mut server, (mut a, mut b)) = (Server::default(), two());
        let now = run(&mut server, (&mut a, &mut b), Instant::now(), 60, (true, true));
        assert!(leads(&a, now) && !leads(&b, now));
        assert_eq!(b.leadership(now), Leadership::Follower { leader: Some("a".into()) });
    }

    #[test]
    fn a_paused_leader_has_stopped_leading_before_another_one_takes_over() {
        let (mut server, (mut a, mut b)) = (Server::default(), two());
        let mut now = run(&mut server, (&mut a, &mut b), Instant::now(), 5, (true, true));
        let paused = now;
        while !leads(&b, now) {
            now = run(&mut server, (&mut a, &mut b), now, 1, (false, true));
            assert!(now < paused + 20 * SECOND, "b never leads");
        }
        assert!(now >= paused + 13 * SECOND);
        // It wakes up: it neither leads nor takes the Lease back.
        assert!(!leads(&a, now));
        let now = run(&mut server, (&mut a, &mut b), now, 30, (true, true));
        assert!(leads(&b, now) && !leads(&a, now));
    }

    #[test]
    fn a_leader_that_hears_nothing_stops_in_time_and_leads_again_when_nobody_took_over() {
        let (mut server, (mut a, _)) = (Server::default(), two());
        let start = Instant::now();
        for _ in 0..2 {
            server.serve(&mut a, start, Duration::ZERO);
        }
        assert!(leads(&a, start));
        let mut now = start;
        while now < start + 12 * SECOND {
            a.failed(now);
            now += SECOND;
        }
        assert!(leads(&a, start + 9 * SECOND) && !leads(&a, start + 10 * SECOND));
        now += Terms::ELECTION.retry;
        for _ in 0..2 {
            server.serve(&mut a, now, Duration::ZERO);
        }
        assert!(leads(&a, now));
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let (mut server, (mut a, mut b)) = (Server::default(), two());
        let now = run(&mut server, (&mut a, &mut b), Instant::now(), 5, (true, true));
        let held = a.held(now).unwrap();
        server.write(None, Some(&held)).unwrap();
        b.nudged();
        for _ in 0..2 {
            server.serve(&mut b, now, Duration::ZERO);
        }
        assert!(leads(&b, now));
    }

    #[test]
    fn who_sees_the_lease_for_the_first_time_waits_its_whole_duration_whatever_its_clock_says() {
        let mut b = Candidate::new("b", Terms::ELECTION);
        let start = Instant::now();
        let record = Record {
            resource_version: Some("1".into()),
            holder: Some("a".into()),
            transitions: 0,
            acquired: None,
            owner: None,
        };
        b.read(start, Some(record.clone()));
        for second in 1..15 {
            assert!(!matches!(b.step(start + second * SECOND), Step::Write(_)), "{second}");
        }
        assert_eq!(b.step(start + 15 * SECOND), Step::Write(record));
    }

    #[test]
    fn a_write_without_an_answer_is_not_counted_as_a_renewal() {
        let (mut server, (mut a, _)) = (Server::default(), two());
        let start = Instant::now();
        for _ in 0..2 {
            server.serve(&mut a, start, Duration::ZERO);
        }
        let Step::Write(seen) = a.step(start + 3 * SECOND) else { panic!("{a:?}") };
        server.write(Some("a"), Some(&seen)).unwrap();
        a.failed(start + 3 * SECOND);
        let Leadership::Leader { until } = a.leadership(start + 3 * SECOND) else { panic!("{a:?}") };
        assert_eq!(until, start + 10 * SECOND);
        assert_eq!(a.step(start + 5 * SECOND), Step::Read);
    }
}
