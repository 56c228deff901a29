//! The ticker that makes running guests look at their CPU time now and then.
//!
//! One thread. It bumps the engine's epoch every [`TICK`] while calls are in flight; each bump makes the guests look
//! at their own thread's CPU time, so that a call that waits for a busy machine is not mistaken for one that runs
//! away. With no call in flight for [`IDLE_TICKS`] it parks and costs nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

/// A tenth of the backstop: precise enough for a limit on runaway calls, and 0.3 % of a core while calls run.
const TICK: Duration = Duration::from_millis(10);

/// How long the ticker waits for more calls before it parks: waking it costs more than ten ticks.
const IDLE_TICKS: u32 = 10;

/// Handle on the ticker thread.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    in_flight: AtomicUsize,
    parked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// A call in flight; the ticker ticks while one lives.
pub(crate) struct InFlight<'a> {
    shared: &'a Shared,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread; it lives as long as the process, as the engine does.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticking = shared.clone();
        thread::Builder::new()
            .name("policy-ticker".to_owned())
            .stack_size(64 << 10)
            .spawn(move || ticking.run(&engine))?;
        Ok(Self { shared })
    }

    /// Marks a call as in flight and wakes the ticker where it is parked.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            // Taking the lock waits until the ticker is really asleep, so that the wake-up is not lost.
            let _asleep = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_one();
        }
        InFlight { shared: &self.shared }
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            engine.increment_epoch();
            idle = if self.in_flight.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle >= IDLE_TICKS {
                self.park();
                idle = 0;
            }
        }
    }

    fn park(&self) {
        let mut asleep = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.store(true, Ordering::SeqCst);
        while self.in_flight.load(Ordering::SeqCst) == 0 {
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}
