//! Delays: jitter, the backoff between connection attempts, and the hold-down after a session that failed.

use std::time::Duration;

/// How long a dial may take. Longer than three SYN retransmissions (1 s, 3 s, 7 s).
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Hold time while the neighbour's OPEN is awaited (RFC 4271 §8.2.2 suggests four minutes).
pub(crate) const OPEN_HOLD: Duration = Duration::from_secs(240);
/// How long a connection that will lose a collision waits for the one that will win before it is used after all.
/// Bounds the damage of a winner that is half open; a third of the hold time where that is shorter.
pub(crate) const COLLISION_WAIT: Duration = Duration::from_secs(5);
/// For this long after a session came up, another connection is the tail of a collision and never a restarted neighbour.
pub(crate) const COLLISION_TAIL: Duration = Duration::from_secs(5);
/// After this long in Established the hold-down starts again from its least.
pub(crate) const STABLE: Duration = Duration::from_secs(60);
/// The send hold timer (RFC 9687 §4: at least eight minutes, or twice the hold time).
pub(crate) const SEND_HOLD: Duration = Duration::from_secs(480);
/// Least and greatest hold-down after a failed session.
const HOLD_DOWN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The first failed dials are repeated this fast: a router that reboots should find its sessions soon.
const RETRY_FAST: (u32, Duration) = (2, Duration::from_secs(1));
/// Delay where the exponential part of the connect backoff starts.
const RETRY_SLOW: Duration = Duration::from_secs(5);

/// SplitMix64: small, seedable, good enough for jitter; nothing here is secret.
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

    /// A duration uniformly in `[least %, 100 %]` of `whole`.
    pub(crate) fn between(&mut self, least_percent: u64, whole: Duration) -> Duration {
        let span = (100 - least_percent) * 1_000;
        let share = least_percent * 1_000 + self.next() % (span + 1);
        // Whole microseconds: a hold time is at most 65,535 s, so the product stays far below 2^64.
        let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX / 100_000).min(u64::MAX / 100_000);
        Duration::from_micros(micros * share / 100_000)
    }

    /// A keepalive interval (RFC 4271 §10: 75 to 100 %).
    pub(crate) fn keepalive(&mut self, interval: Duration) -> Duration {
        self.between(75, interval)
    }
}

/// The delay before the dial after `failures` failed ones in a row: 1 s, 1 s, 5 s, 10 s … up to `ceiling`, of which
/// 50 to 100 % are taken so that two speakers do not stay in step.
pub(crate) fn connect_delay(jitter: &mut Jitter, failures: u32, ceiling: Duration) -> Duration {
    let delay = if failures <= RETRY_FAST.0 {
        RETRY_FAST.1
    } else {
        RETRY_SLOW.saturating_mul(1 << (failures - RETRY_FAST.0 - 1).min(10))
    };
    jitter.between(50, delay.min(ceiling))
}

/// The delay after `failures` sessions that failed in a row: 0.5 s doubling to 30 s, 50 to 100 % of it.
pub(crate) fn hold_down(jitter: &mut Jitter, failures: u32) -> Duration {
    let delay = HOLD_DOWN.0.saturating_mul(1 << failures.saturating_sub(1).min(10));
    jitter.between(50, delay.min(HOLD_DOWN.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // case: bgp-45
    #[test]
    fn a_keepalive_interval_is_between_75_and_100_percent() {
        let mut jitter = Jitter::new(7);
        let whole = Duration::from_secs(30);
        let all: Vec<Duration> = (0..1000).map(|_| jitter.keepalive(whole)).collect();
        assert!(all.iter().all(|d| (Duration::from_millis(22_500)..=whole).contains(d)));
        assert!(
            all.iter().min() < Some(&Duration::from_secs(23))
                && all.iter().max() > Some(&Duration::from_secs(29))
        );
    }

    // case: bgp-10
    #[test]
    fn the_connect_backoff_starts_fast_doubles_and_stops_at_its_ceiling() {
        let mut jitter = Jitter::new(1);
        let ceiling = Duration::from_secs(60);
        for (failures, whole) in [(1, 1), (2, 1), (3, 5), (4, 10), (5, 20), (6, 40), (7, 60), (100, 60)] {
            let delay = connect_delay(&mut jitter, failures, ceiling);
            let whole = Duration::from_secs(whole);
            assert!((whole / 2..=whole).contains(&delay), "{failures} failures: {delay:?}");
        }
    }

    #[test]
    fn the_hold_down_doubles_from_half_a_second_to_half_a_minute() {
        let mut jitter = Jitter::new(1);
        for (failures, millis) in [(0, 500), (1, 500), (2, 1000), (3, 2000), (7, 30_000), (u32::MAX, 30_000)]
        {
            let whole = Duration::from_millis(millis);
            let delay = hold_down(&mut jitter, failures);
            assert!((whole / 2..=whole).contains(&delay), "{failures} failures: {delay:?}");
        }
    }
}
