//! How a node stands towards a Service over time: announced, settling, draining, out.
//!
//! Facts move it at once. What a policy wants moves it softly: a withdrawal waits a settle time and is decided again,
//! so that skewed views of several nodes cannot empty a Service; a drain announces GRACEFUL_SHUTDOWN first and waits.

use std::time::{Duration, Instant};

use crate::decision::NodeVerdict;

/// Where this node stands towards one Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// Not announced.
    #[default]
    Out,
    /// Announced.
    Announced,
    /// Still announced; a policy wants it out, which is decided again at this time.
    Settling(Instant),
    /// Announced with GRACEFUL_SHUTDOWN until this time.
    Draining(Instant),
    /// Withdrawn after a drain that still holds.
    Drained,
}

/// The times that soften what policies want.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Softening {
    /// Between a policy's wish to withdraw and the decision that counts.
    pub settle: Duration,
    /// Between GRACEFUL_SHUTDOWN and withdrawal.
    pub drain_wait: Duration,
}

impl Standing {
    /// True while routes are announced.
    pub fn announces(self) -> bool {
        matches!(self, Self::Announced | Self::Settling(_) | Self::Draining(_))
    }

    /// When it has to be decided again.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Settling(at) | Self::Draining(at) => Some(at),
            Self::Out | Self::Announced | Self::Drained => None,
        }
    }

    /// The next standing under `verdict` at `now`.
    #[must_use]
    pub fn under(self, verdict: &NodeVerdict, now: Instant, softening: Softening) -> Self {
        match (verdict, self) {
            (NodeVerdict::Eligible(_), _) => Self::Announced,
            (NodeVerdict::Draining(_), Self::Announced | Self::Settling(_)) => {
                Self::Draining(now + softening.drain_wait)
            }
            (NodeVerdict::Draining(_), Self::Draining(until)) if now < until => self,
            (NodeVerdict::Draining(_), Self::Draining(_) | Self::Out | Self::Drained) => Self::Drained,
            (NodeVerdict::Ineligible(_), Self::Announced) => Self::Settling(now + softening.settle),
            (NodeVerdict::Ineligible(_), Self::Settling(until) | Self::Draining(until)) if now < until => {
                self
            }
            (NodeVerdict::Ineligible(_), _) => Self::Out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOFTENING: Softening =
        Softening { settle: Duration::from_secs(2), drain_wait: Duration::from_secs(10) };

    fn draining() -> NodeVerdict {
        NodeVerdict::Draining("maintenance".into())
    }

    fn ineligible() -> NodeVerdict {
        NodeVerdict::Ineligible("other zone".into())
    }

    #[test]
    fn a_drain_announces_until_its_wait_is_over_and_then_stays_out() {
        let start = Instant::now();
        let drain = Standing::Announced.under(&draining(), start, SOFTENING);
        assert_eq!(drain, Standing::Draining(start + SOFTENING.drain_wait));
        assert!(drain.announces());
        let later = start + SOFTENING.drain_wait;
        assert_eq!(drain.under(&draining(), later, SOFTENING), Standing::Drained);
        assert_eq!(Standing::Drained.under(&draining(), later, SOFTENING), Standing::Drained);
    }

    #[test]
    fn a_drain_that_is_called_off_announces_again_at_once() {
        let start = Instant::now();
        let drain = Standing::Announced.under(&draining(), start, SOFTENING);
        assert_eq!(drain.under(&NodeVerdict::DEFAULT, start, SOFTENING), Standing::Announced);
    }

    #[test]
    fn a_withdrawal_that_a_policy_wants_waits_the_settle_time() {
        let start = Instant::now();
        let settling = Standing::Announced.under(&ineligible(), start, SOFTENING);
        assert_eq!(settling, Standing::Settling(start + SOFTENING.settle));
        assert_eq!(settling.under(&ineligible(), start + Duration::from_secs(1), SOFTENING), settling);
        assert_eq!(settling.under(&ineligible(), start + SOFTENING.settle, SOFTENING), Standing::Out);
        assert_eq!(
            settling.under(&NodeVerdict::DEFAULT, start + SOFTENING.settle, SOFTENING),
            Standing::Announced
        );
    }

    #[test]
    fn what_was_never_announced_is_not_announced_to_be_drained() {
        assert_eq!(Standing::Out.under(&draining(), Instant::now(), SOFTENING), Standing::Drained);
        assert_eq!(Standing::Out.under(&ineligible(), Instant::now(), SOFTENING), Standing::Out);
    }
}
