//! Waiting for a condition with a deadline: the only way the lab and its tests wait.

use std::fmt;
use std::time::{Duration, Instant};

/// Pause between two looks. Short against everything waited for, long enough to leave the CPU to the processes under test.
const PAUSE: Duration = Duration::from_millis(10);

/// A condition that did not come true before its deadline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unmet {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// What the last look saw.
    pub seen: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not within {:.1} s: {}; last seen: {}", self.waited.as_secs_f64(), self.what, self.seen)
    }
}

impl std::error::Error for Unmet {}

/// Looks again and again until `look` returns `Ok`, at most for `deadline`. The last look happens at or after it, so
/// that a slow machine is never told that it failed on a state older than the deadline.
///
/// # Errors
/// With what the last look saw.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, Unmet> {
    let start = Instant::now();
    loop {
        let last = start.elapsed() >= deadline;
        match look() {
            Ok(value) => return Ok(value),
            Err(seen) if last => return Err(Unmet { what: what.into(), waited: start.elapsed(), seen }),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_first_success() {
        let mut looks = 0;
        let value = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err("too early".into()) }
        });
        assert_eq!(value, Ok(3));
    }

    #[test]
    fn waiting_in_vain_tells_what_was_seen_last() {
        let unmet = wait_for("the moon", Duration::ZERO, || Err::<(), _>("clouds".into())).unwrap_err();
        assert_eq!((unmet.what.as_str(), unmet.seen.as_str()), ("the moon", "clouds"));
        assert!(unmet.to_string().contains("the moon") && unmet.to_string().contains("clouds"));
    }
}
