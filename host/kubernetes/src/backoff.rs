//! How long to wait before something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Waits that double from `least` to `most`; each is drawn from its upper half, so that many who failed at once do not
/// come back at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, attempts: 0 }
    }

    /// The next wait; `chance` is from 0 to 1. A server's own wish (`Retry-After`) is the least.
    pub(crate) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.least.saturating_mul(1 << self.attempts.min(16)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        let wait = doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        wait.max(asked.unwrap_or_default().min(RETRY_AFTER_MAX))
    }

    /// It went well: the next wait is the first again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Longest `Retry-After` that is heeded: a minute without looking is long enough for a load balancer.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A random number from 0 to 1: keys of hash maps are drawn anew each time.
pub(crate) fn chance() -> f64 {
    // 53 bits are what an f64 holds exactly.
    let bits = RandomState::new().hash_one(()) >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let chance = bits as f64 / (1_u64 << 53) as f64;
    chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let waits: Vec<u64> = (0..6).map(|_| backoff.next(None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn the_servers_wish_is_heeded_within_bounds() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(backoff.next(Some(Duration::from_secs(7)), 1.0), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::from_secs(7000)), 1.0), RETRY_AFTER_MAX);
    }

    #[test]
    fn chances_differ_and_are_from_0_to_1() {
        let drawn: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(drawn.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(drawn.iter().any(|chance| *chance < 0.5) && drawn.iter().any(|chance| *chance > 0.5));
    }
}
