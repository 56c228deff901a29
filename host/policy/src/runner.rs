//! Where calls of guests run.

use std::sync::OnceLock;

/// Runs the calls of one batch, in any order and on any threads.
pub trait Runner: Send + Sync {
    /// Calls `job` with every number below `count`, each once, and returns when all are done.
    fn run(&self, count: usize, job: &(dyn Fn(usize) + Sync));
}

/// One after the other, on the thread that asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Runner for Sequential {
    fn run(&self, count: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(job);
    }
}

/// The results of `job` by number; `None` where the runner did not come to run it.
pub(crate) fn collect<T: Send + Sync>(
    runner: &dyn Runner,
    count: usize,
    job: impl Fn(usize) -> T + Sync,
) -> Vec<Option<T>> {
    let results: Vec<OnceLock<T>> = (0..count).map(|_| OnceLock::new()).collect();
    runner.run(count, &|index| {
        if let Some(cell) = results.get(index) {
            // A runner that runs a job twice loses the second result, which equals the first.
            let _ = cell.set(job(index));
        }
    });
    results.into_iter().map(OnceLock::into_inner).collect()
}
