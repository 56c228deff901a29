//! A batch of questions spread over a few threads.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bellhop_policy_engine::runner::Runner;

/// Most threads of one batch. Decisions are short; more threads than this only fight for the kernel's memory lock.
pub const THREADS_MAX: usize = 4;

/// Below this many items per thread starting one costs more than it saves: a thread is some 20 us, as a call is.
const ITEMS_PER_THREAD: usize = 8;

/// How many threads a batch is spread over. They live for one batch, so that none idles between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workers {
    threads: NonZeroUsize,
}

impl Default for Workers {
    /// One per core that this process may use, at most [`THREADS_MAX`].
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::new(cores)
    }
}

impl Workers {
    /// `threads` threads, at least 1 and at most [`THREADS_MAX`].
    pub fn new(threads: usize) -> Self {
        Self { threads: NonZeroUsize::new(threads.min(THREADS_MAX)).unwrap_or(NonZeroUsize::MIN) }
    }

    /// How many threads.
    pub fn threads(&self) -> usize {
        self.threads.get()
    }

    /// `work` of each item, in the items' order, whichever thread did it. Small batches stay on the calling thread.
    ///
    /// # Panics
    /// Where `work` does.
    pub fn run<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let threads = self.threads.get().min(items.len().div_ceil(ITEMS_PER_THREAD));
        if threads <= 1 {
            return items.iter().map(work).collect();
        }
        let next = AtomicUsize::new(0);
        let share = || {
            let mut done = Vec::with_capacity(items.len() / threads + 1);
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else { return done };
                done.push((index, work(item)));
            }
        };
        let mut all = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(share)).collect();
            let mut all = share();
            for other in others {
                all.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            all
        });
        all.sort_unstable_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, result)| result).collect()
    }
}

impl Runner for Workers {
    fn run(&self, count: usize, job: &(dyn Fn(usize) + Sync)) {
        let numbers: Vec<usize> = (0..count).collect();
        Self::run(self, &numbers, |number| job(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_questions_for_any_number_of_threads() {
        let items: Vec<u32> = (0..1000).collect();
        let expected: Vec<u64> = items.iter().map(|item| u64::from(*item) * 3).collect();
        for threads in 0..6 {
            assert_eq!(Workers::new(threads).run(&items, |item| u64::from(*item) * 3), expected);
        }
    }

    #[test]
    fn an_empty_batch_has_no_answers() {
        assert!(Workers::default().run(&[] as &[u8], |item| *item).is_empty());
    }

    #[test]
    fn a_batch_is_never_spread_over_more_than_four_threads() {
        assert_eq!(Workers::new(64).threads(), THREADS_MAX);
        assert_eq!(Workers::new(0).threads(), 1);
    }
}
