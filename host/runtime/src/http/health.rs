//! Whether a process is alive and ready, and if not, why not.
//!
//! Alive: no task that registered a [`Heartbeat`] has been at one turn for longer than its bound, and none has ended
//! unasked. A task that waits for events is alive for as long as it waits.
//!
//! Ready: every [`Condition`] holds. A process without conditions is ready.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::metrics::{ByCondition, ByTask, Metrics};

/// Of a task that waits.
const WAITS: u64 = u64::MAX;
/// Of a task that ended without being asked to.
const ENDED: u64 = u64::MAX - 1;
/// Of a task that was asked to end.
const RETIRED: u64 = u64::MAX - 2;

/// The health of a process; a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What times are counted from.
    epoch: Instant,
    tasks: Mutex<Vec<Arc<Pulse>>>,
    conditions: Mutex<Vec<Arc<Gate>>>,
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    bound: Duration,
    /// Nanoseconds from the epoch to the begin of the present turn, or one of the constants.
    since: AtomicU64,
}

#[derive(Debug)]
struct Gate {
    name: &'static str,
    /// Why it does not hold.
    unmet: Mutex<Option<Cow<'static, str>>>,
}

/// What a probe is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// All is well.
    pub ok: bool,
    /// One line for each task or condition, and one that sums up.
    pub text: String,
}

impl Health {
    /// Nothing registered yet; times are counted from `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Shared { epoch: now, tasks: Mutex::default(), conditions: Mutex::default() }))
    }

    /// A task that must not be at one turn for longer than `bound`. It waits until it begins its first turn.
    pub fn task(&self, name: &'static str, bound: Duration) -> Heartbeat {
        let pulse = Arc::new(Pulse { name, bound, since: AtomicU64::new(WAITS) });
        lock(&self.0.tasks).push(pulse.clone());
        Heartbeat { pulse, epoch: self.0.epoch }
    }

    /// A task that is only to be seen to end: it never begins a turn, and may take as long as it likes.
    pub fn sentinel(&self, name: &'static str) -> Heartbeat {
        self.task(name, Duration::MAX)
    }

    /// Spawns a task that others rely on and that nothing else looks at. It may end, as it does where whoever it works for is gone;
    /// where it panics, or is aborted, the process is not alive any more.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let heartbeat = self.sentinel(name);
        tokio::spawn(async move {
            let done = task.await;
            heartbeat.retire();
            done
        })
    }

    /// A condition of readiness, which does not hold at first, for the reason `unmet`.
    pub fn condition(&self, name: &'static str, unmet: impl Into<Cow<'static, str>>) -> Condition {
        let gate = Arc::new(Gate { name, unmet: Mutex::new(Some(unmet.into())) });
        lock(&self.0.conditions).push(gate.clone());
        Condition(gate)
    }

    /// Whether the process is alive at `now`.
    pub fn live(&self, now: Instant) -> Verdict {
        let elapsed = now.saturating_duration_since(self.0.epoch);
        let tasks = lock(&self.0.tasks).clone();
        verdict(
            "livez",
            tasks.iter().filter_map(|task| Some((task.name, task.problem(elapsed)?.map(Cow::Owned)))),
        )
    }

    /// Whether the process is ready.
    pub fn ready(&self) -> Verdict {
        let conditions = lock(&self.0.conditions).clone();
        verdict("readyz", conditions.iter().map(|gate| (gate.name, lock(&gate.unmet).clone())))
    }

    /// The same as metrics.
    pub fn measure(&self, now: Instant, metrics: &Metrics) {
        let elapsed = now.saturating_duration_since(self.0.epoch);
        let tasks = lock(&self.0.tasks).clone();
        metrics.task_busy.replace(tasks.iter().filter_map(|task| {
            let busy = match task.since.load(Ordering::Relaxed) {
                ENDED | RETIRED => return None,
                WAITS => Duration::ZERO,
                since => elapsed.saturating_sub(Duration::from_nanos(since)),
            };
            Some((ByTask { task: task.name }, busy.as_secs_f64()))
        }));
        let conditions = lock(&self.0.conditions).clone();
        let holds = |gate: &Gate| lock(&gate.unmet).is_none();
        metrics.condition.replace(
            conditions
                .iter()
                .map(|gate| (ByCondition { condition: gate.name }, if holds(gate) { 1.0 } else { 0.0 })),
        );
        metrics.ready.set_bool(conditions.iter().all(|gate| holds(gate)));
    }
}

impl Pulse {
    /// `None` where nothing is to be said of it any more; else what is wrong, if anything.
    fn problem(&self, elapsed: Duration) -> Option<Option<String>> {
        Some(match self.since.load(Ordering::Relaxed) {
            RETIRED => return None,
            WAITS => None,
            ENDED => Some("has ended; the log says why".into()),
            since => {
                let busy = elapsed.saturating_sub(Duration::from_nanos(since));
                (busy > self.bound).then(|| {
                    format!(
                        "at one turn for {} s, {} s at most are right",
                        busy.as_secs(),
                        self.bound.as_secs()
                    )
                })
            }
        })
    }
}

/// The sign of life of one task. Where it is dropped without [`Heartbeat::retire`], as a panic does, the process is not
/// alive any more.
///
/// A loop that always has something to do calls [`Heartbeat::begin`] once in each turn, and never [`Heartbeat::wait`]:
/// then the bound is on the time between turns.
#[derive(Debug)]
pub struct Heartbeat {
    pulse: Arc<Pulse>,
    epoch: Instant,
}

impl Heartbeat {
    /// A turn begins at `now`; one that was under way is over.
    pub fn begin(&self, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        // 500 years are left above.
        self.pulse.since.store(u64::try_from(since).unwrap_or(RETIRED - 1), Ordering::Relaxed);
    }

    /// The turn is over, and the task waits for something to do.
    pub fn wait(&self) {
        self.pulse.since.store(WAITS, Ordering::Relaxed);
    }

    /// The task ends as it was asked to; to be called last.
    pub fn retire(&self) {
        self.pulse.since.store(RETIRED, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // One that was retired stays so.
        let _ = self
            .pulse
            .since
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |since| (since != RETIRED).then_some(ENDED));
    }
}

/// One condition of readiness.
#[derive(Clone, Debug)]
pub struct Condition(Arc<Gate>);

impl Condition {
    /// It holds from now on.
    pub fn met(&self) {
        *lock(&self.0.unmet) = None;
    }

    /// It does not hold, for this reason.
    pub fn unmet(&self, why: impl Into<Cow<'static, str>>) {
        *lock(&self.0.unmet) = Some(why.into());
    }

    /// True while it holds.
    pub fn holds(&self) -> bool {
        lock(&self.0.unmet).is_none()
    }
}

/// Held for a look or a change, never over an await.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines in the form that kube-apiserver's own probes answer in.
fn verdict<'a>(probe: &str, checks: impl Iterator<Item = (&'a str, Option<Cow<'static, str>>)>) -> Verdict {
    let (mut ok, mut text) = (true, String::new());
    for (name, problem) in checks {
        match problem {
            None => text.extend(["[+]", name, " ok\n"]),
            Some(problem) => {
                ok = false;
                text.extend(["[-]", name, " failed: ", &*problem, "\n"]);
            }
        }
    }
    text.extend([probe, if ok { " check passed\n" } else { " check failed\n" }]);
    Verdict { ok, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exposition, Form};

    const BOUND: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_task_at_one_turn_for_longer_than_its_bound_is_named_until_the_turn_ends() {
        let start = Instant::now();
        let health = Health::new(start);
        let (planning, bgp) = (health.task("planning", BOUND), health.task("bgp", BOUND));
        planning.begin(start + SECOND);
        bgp.begin(start + 2 * SECOND);
        bgp.wait();
        assert!(health.live(start + SECOND + BOUND).ok);
        let late = health.live(start + 2 * SECOND + BOUND);
        assert_eq!(
            (late.ok, late.text.as_str()),
            (
                false,
                "[-]planning failed: at one turn for 61 s, 60 s at most are right\n[+]bgp ok\nlivez check failed\n"
            )
        );
        planning.wait();
        assert!(health.live(start + 3 * SECOND + BOUND).ok);
    }

    #[test]
    fn a_task_that_waits_is_alive_however_long() {
        let start = Instant::now();
        let health = Health::new(start);
        let task = health.task("planning", BOUND);
        task.begin(start);
        task.wait();
        assert!(health.live(start + 1000 * BOUND).ok);
    }

    #[test]
    fn a_task_that_begins_turn_after_turn_is_alive_without_ever_waiting() {
        let start = Instant::now();
        let health = Health::new(start);
        let task = health.task("planning", BOUND);
        for turn in 0..10 {
            task.begin(start + turn * BOUND);
            assert!(health.live(start + (turn + 1) * BOUND).ok);
        }
    }

    #[test]
    fn a_task_that_ended_unasked_is_not_alive_and_one_that_retired_is_not_missed() {
        let start = Instant::now();
        let health = Health::new(start);
        let (panicked, asked) = (health.task("panicked", BOUND), health.task("asked", BOUND));
        asked.retire();
        assert!(health.live(start).ok);
        drop(panicked);
        let verdict = health.live(start);
        assert!(!verdict.ok);
        assert!(verdict.text.starts_with("[-]panicked failed: has ended"), "{}", verdict.text);
        assert!(!verdict.text.contains("asked"), "{}", verdict.text);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_missed_and_one_that_comes_to_its_end_is_not() {
        let start = Instant::now();
        let health = Health::new(start);
        assert_eq!(health.spawn("done", async { 7 }).await.unwrap(), 7);
        assert!(health.live(start).ok);
        let waits = health.spawn("waits", std::future::pending::<()>());
        assert!(health.live(start + 1000 * BOUND).ok);
        assert!(health.spawn("broken", async { panic!("a bug") }).await.unwrap_err().is_panic());
        let verdict = health.live(start);
        assert_eq!(
            verdict.text,
            "[+]waits ok\n[-]broken failed: has ended; the log says why\nlivez check failed\n"
        );
        waits.abort();
    }

    #[test]
    fn readiness_needs_every_condition_and_says_what_is_missing() {
        let health = Health::new(Instant::now());
        assert!(health.ready().ok, "without conditions");
        let cache = health.condition("cache", "not listed yet");
        let announced = health.condition("announced", "nothing announced yet");
        cache.met();
        let verdict = health.ready();
        assert_eq!(
            verdict.text,
            "[+]cache ok\n[-]announced failed: nothing announced yet\nreadyz check failed\n"
        );
        announced.met();
        assert!(health.ready().ok);
        cache.unmet(format!("{} kinds to go", 3));
        assert!(health.ready().text.contains("[-]cache failed: 3 kinds to go\n"));
    }

    #[test]
    fn health_is_told_as_metrics_too() {
        let start = Instant::now();
        let health = Health::new(start);
        let (task, condition) = (health.task("planning", BOUND), health.condition("cache", "no"));
        task.begin(start);
        let metrics = Metrics::new(Form::Speaker);
        health.measure(start + 3 * SECOND, &metrics);
        let text = metrics.render(Exposition::Text);
        assert!(text.contains("bellhop_task_busy_seconds{task=\"planning\"} 3.0\n"), "{text}");
        assert!(text.contains("bellhop_ready_condition{condition=\"cache\"} 0.0\n"), "{text}");
        assert!(text.contains("\nbellhop_ready 0.0\n"), "{text}");
        condition.met();
        health.measure(start + 3 * SECOND, &metrics);
        assert_eq!(metrics.ready.value(), Some(1.0));
    }
}
