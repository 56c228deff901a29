//! The Poll Sequence (RFC 5880 §6.5): how this side learns that the neighbour knows its new timers.

use std::time::{Duration, Instant};

/// No path that a session is used on takes longer for there and back; satellites take two thirds of it. Bounds what a
/// Poll Sequence is taken to say of the path where many of its Polls were lost.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(1);

/// Where a Poll Sequence stands.
///
/// A Final does not say which Poll it answers. So a change of timers that has to wait for its Final is not put into a
/// sequence whose packets are already under way, and no sequence starts before Finals of the last one can no longer
/// arrive: at least a round trip after its last Poll, and with a packet whose F bit is clear (RFC 5880 §6.8.3, the
/// second and third of its choices together).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Poll {
    phase: Phase,
    /// Another sequence is wanted after the present one.
    again: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// Wanted; no packet with the P bit went yet.
    Due,
    /// Packets with the P bit went.
    Sent { first: Instant, last: Instant },
    /// Answered; more Finals may come.
    Settling { until: Instant },
}

impl Poll {
    /// Timers changed: a sequence is wanted whose packets carry them.
    pub(super) fn request(&mut self) {
        match self.phase {
            Phase::Idle | Phase::Due => self.phase = Phase::Due,
            Phase::Sent { .. } | Phase::Settling { .. } => self.again = true,
        }
    }

    /// Nobody is there to answer.
    pub(super) fn cancel(&mut self) {
        *self = Self::default();
    }

    /// Packets carry the P bit.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Due | Phase::Sent { .. })
    }

    /// A sequence runs or waits to.
    pub(super) fn is_pending(&self) -> bool {
        self.is_running() || self.again
    }

    /// A change that has to wait for a Final may join: no Final that comes now can be of an earlier one.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Due)
    }

    /// A packet with the P bit went.
    pub(super) fn sent(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Sent { last, .. } => *last = now,
            phase => *phase = Phase::Sent { first: now, last: now },
        }
    }

    /// A packet with the F bit came; whether it ends a sequence. One that nothing was asked for does not.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        let Phase::Sent { first, last } = self.phase else { return false };
        // The answer to the first Poll or a later one: a round trip took at most this. Twice, as latency varies.
        let round_trip = 2 * now.saturating_duration_since(first);
        self.phase = Phase::Settling { until: last + round_trip.min(LONGEST_ROUND_TRIP) };
        true
    }

    /// A packet with the F bit clear came.
    pub(super) fn unasked(&mut self, now: Instant) {
        if let Phase::Settling { until } = self.phase
            && now >= until
        {
            self.phase = if self.again { Phase::Due } else { Phase::Idle };
            self.again = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_ends_only_a_sequence_of_which_a_poll_was_sent() {
        let now = Instant::now();
        let mut poll = Poll::default();
        assert!(!poll.answered(now) && !poll.is_running());
        poll.request();
        assert!(!poll.answered(now) && poll.is_running());
        poll.sent(now);
        assert!(poll.answered(now) && !poll.is_running());
        assert!(!poll.answered(now), "a second Final ends nothing");
    }

    #[test]
    fn another_sequence_starts_a_round_trip_after_the_last_poll_and_after_a_packet_without_final() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut poll = Poll::default();
        poll.request();
        poll.sent(at(0));
        poll.sent(at(100));
        poll.request();
        assert!(!poll.is_open(), "the Final may be of a packet without the change");
        assert!(poll.answered(at(150)));
        for too_early in [150, 200, 399] {
            poll.unasked(at(too_early));
            assert!(poll.is_pending() && !poll.is_running() && !poll.is_open(), "{too_early} ms");
        }
        poll.unasked(at(400));
        assert!(poll.is_running() && poll.is_open());
        assert!(!poll.answered(at(401)), "no Poll of the second sequence went yet");
    }
}
