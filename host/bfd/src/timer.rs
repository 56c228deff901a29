//! Intervals: their jitter, and when the next packet is due. Microseconds, as on the wire.

use std::time::{Duration, Instant};

/// The least transmit interval while a session is not Up, microseconds (RFC 5880 §6.8.3).
pub(crate) const SLOW: u32 = 1_000_000;
/// A driver that comes later than this past a deadline is counted as late. Well above what a scheduler takes to wake a
/// thread of an ordinary priority on a busy node, and no more than the shortest interval allowed, so that a session
/// lost to our own stalls always has late wakes beside it.
pub const LATE_WAKE: Duration = Duration::from_millis(10);

/// Denominator of a share of an interval.
const WHOLE: u32 = 100_000;
/// The least share of the interval after which a packet may follow another (RFC 5880 §6.8.7).
const LEAST_SHARE: u32 = 75_000;
/// The greatest, where a single packet missed is a failure: a detect multiplier of 1 (RFC 5880 §6.8.7).
const GREATEST_SHARE_OF_ONE: u32 = 90_000;

/// SplitMix64: small, seedable, good enough for jitter and for discriminators; nothing here is secret.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The upper half of the next number.
    pub(crate) fn next_u32(&mut self) -> u32 {
        let [.., a, b, c, d] = self.next().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The share of the interval after which the next packet goes: 75 to 100 %, or to 90 % where this side's detect
    /// multiplier is 1 (RFC 5880 §6.8.7).
    pub(crate) fn share(&mut self, detect_multiplier: u8) -> Share {
        let greatest = if detect_multiplier == 1 { GREATEST_SHARE_OF_ONE } else { WHOLE };
        Share(LEAST_SHARE + self.next_u32() % (greatest - LEAST_SHARE + 1))
    }
}

/// A share of an interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share(u32);

impl Share {
    /// Nothing of it: at once.
    const NONE: Self = Self(0);

    fn of(self, interval: u32) -> Duration {
        Duration::from_micros(u64::from(interval) * u64::from(self.0) / u64::from(WHOLE))
    }
}

/// When the next periodic packet is due.
///
/// A new interval counts from the last packet and with the jitter already drawn for the next one, so that a shorter one
/// is honoured at once (RFC 5880 §6.8.3): what would have been due already is due now, and not in the past, as nobody
/// was late for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    last: Instant,
    share: Share,
    /// `None` while no packets go periodically.
    interval: Option<u32>,
    due: Option<Instant>,
}

impl Pace {
    /// The first packet is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: now, share: Share::NONE, interval: None, due: None }
    }

    /// Periodic packets go at this interval, or not at all.
    pub(crate) fn set(&mut self, now: Instant, interval: Option<u32>) {
        if interval != self.interval {
            self.interval = interval;
            self.due = interval.map(|interval| (self.last + self.share.of(interval)).max(now));
        }
    }

    /// A packet went; the next one after this share of the interval.
    pub(crate) fn sent(&mut self, now: Instant, share: Share) {
        self.last = now;
        self.share = share;
        self.due = self.interval.map(|interval| now + share.of(interval));
    }

    /// The next packet goes after another share of the interval than the one drawn for it.
    pub(crate) fn redraw(&mut self, now: Instant, share: Share) {
        self.share = share;
        self.due = self.interval.map(|interval| (self.last + share.of(interval)).max(now));
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_follows_another_after_75_to_100_percent_of_the_interval() {
        let mut jitter = Jitter::new(7);
        let all: Vec<Duration> = (0..10_000).map(|_| jitter.share(3).of(SLOW)).collect();
        let bounds = Duration::from_millis(750)..=Duration::from_secs(1);
        assert!(all.iter().all(|interval| bounds.contains(interval)));
        assert!(all.iter().min() < Some(&Duration::from_millis(751)));
        assert!(all.iter().max() > Some(&Duration::from_millis(999)));
    }

    #[test]
    fn with_a_detect_multiplier_of_1_a_packet_follows_after_at_most_90_percent() {
        let mut jitter = Jitter::new(7);
        let all: Vec<Duration> = (0..10_000).map(|_| jitter.share(1).of(SLOW)).collect();
        let bounds = Duration::from_millis(750)..=Duration::from_millis(900);
        assert!(all.iter().all(|interval| bounds.contains(interval)));
        assert!(all.iter().max() > Some(&Duration::from_millis(899)));
    }

    #[test]
    fn a_shorter_interval_counts_from_the_last_packet_and_never_ends_in_the_past() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut pace = Pace::new(start);
        pace.set(start, Some(SLOW));
        assert_eq!(pace.due(), Some(start), "the first packet");
        pace.sent(start, Share(80_000));
        assert_eq!(pace.due(), Some(at(800)));
        pace.set(at(100), Some(500_000));
        assert_eq!(pace.due(), Some(at(400)));
        pace.set(at(300), Some(100_000));
        assert_eq!(pace.due(), Some(at(300)), "due since 80 ms, known since now");
        pace.set(at(310), Some(100_000));
        assert_eq!(pace.due(), Some(at(300)), "the same interval moves nothing");
        pace.set(at(320), None);
        assert_eq!(pace.due(), None);
        pace.set(at(330), Some(SLOW));
        assert_eq!(pace.due(), Some(at(800)), "a longer interval counts from the last packet too");
    }
}
