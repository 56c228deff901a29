//! A `bellhop standalone` of its own, in a network namespace of its own, over a folder of its own.

pub(crate) mod manifests;
pub(crate) mod plugins;
pub(crate) mod process;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: a hundred times what it takes on an idle machine, as tests run
/// beside compilers.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` finds what it looks for; `what` and what was seen last are the failure's text.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let since = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if since.elapsed() > DEADLINE => panic!("after {DEADLINE:?} still not: {what}; {seen}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
