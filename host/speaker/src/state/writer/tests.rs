//! How seldom SpeakerState is written, in virtual time.

use std::sync::Mutex;

use super::*;

/// A store that keeps when and what was written, and fails as often as told.
#[derive(Clone, Default)]
struct FakeStore(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    written: Vec<(Instant, i32)>,
    tried: usize,
    failures: usize,
}

impl StateStore for FakeStore {
    async fn write(&mut self, status: &SpeakerStateStatus) -> Result<(), WriteError> {
        let mut kept = self.0.lock().unwrap();
        kept.tried += 1;
        if kept.failures > 0 {
            kept.failures -= 1;
            let object = ObjectRef::cluster("SpeakerState", "node-1");
            return Err(WriteError::Unavailable {
                verb: Verb::Patch,
                object,
                message: "connection refused".into(),
            });
        }
        kept.written.push((Instant::now(), status.announced_count));
        Ok(())
    }
}

/// A planner that reports what a test sets.
struct Rig {
    store: FakeStore,
    changed: Arc<Notify>,
    announced: Arc<Mutex<i32>>,
    _sessions: watch::Sender<Arc<BgpSnapshot>>,
    begin: Instant,
}

impl Rig {
    fn start(nodes: usize, failures: usize) -> Self {
        let (planner, mut events) = mpsc::channel(4);
        let (sessions, inbox) = watch::channel(Arc::default());
        let announced = Arc::new(Mutex::new(0));
        let store = FakeStore::default();
        store.0.lock().unwrap().failures = failures;
        let changed = Arc::new(Notify::new());
        let count = announced.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let Event::Report(reply) = event else { panic!("{event:?}") };
                let condition = bellhop_api::Condition {
                    type_: "Ready".into(),
                    status: ConditionStatus::True,
                    observed_generation: None,
                    last_transition_time: String::new(),
                    reason: "Ready".into(),
                    message: String::new(),
                };
                let status = SpeakerStateStatus {
                    announced_count: *count.lock().unwrap(),
                    conditions: vec![condition],
                    ..SpeakerStateStatus::default()
                };
                let _ = reply.send(Report { status, nodes });
            }
        });
        tokio::spawn(run(store.clone(), planner, changed.clone(), inbox));
        Self { store, changed, announced, _sessions: sessions, begin: Instant::now() }
    }

    fn announce(&self, count: i32) {
        *self.announced.lock().unwrap() = count;
        self.changed.notify_one();
    }

    /// Seconds after the begin at which what was written.
    fn written(&self) -> Vec<(u64, i32)> {
        let kept = self.store.0.lock().unwrap();
        kept.written.iter().map(|(at, count)| ((*at - self.begin).as_secs(), *count)).collect()
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_state_is_written_promptly_and_then_at_most_every_five_seconds() {
    let rig = Rig::start(3, 0);
    for count in 1..=100 {
        rig.announce(count);
        pass(SECOND / 5).await;
    }
    let written = rig.written();
    assert_eq!(written[0].0, 0);
    assert!(written.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 5), "{written:?}");
    assert_eq!(written.len(), 4);
    pass(10 * SECOND).await;
    assert_eq!(rig.written().last().unwrap().1, 100, "the last word is written");
}

#[tokio::test(start_paused = true)]
async fn in_a_large_cluster_each_speaker_writes_more_seldom() {
    let rig = Rig::start(1000, 0);
    for count in 1..=200 {
        rig.announce(count);
        pass(SECOND).await;
    }
    let written = rig.written();
    assert!(written.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 50), "{written:?}");
    assert_eq!(written.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_did_not_change_is_not_written() {
    let rig = Rig::start(3, 0);
    rig.announce(1);
    pass(10 * SECOND).await;
    for _ in 0..100 {
        rig.changed.notify_one();
        pass(SECOND).await;
    }
    assert_eq!(rig.written().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_quiet_time_is_written_at_once() {
    let rig = Rig::start(1000, 0);
    rig.announce(1);
    pass(100 * SECOND).await;
    rig.announce(2);
    pass(SECOND).await;
    assert_eq!(rig.written(), [(0, 1), (100, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again_ever_more_seldom_with_what_is_new() {
    let rig = Rig::start(3, 5);
    rig.announce(1);
    pass(20 * SECOND).await;
    rig.announce(2);
    pass(300 * SECOND).await;
    assert_eq!(rig.store.0.lock().unwrap().tried, 6);
    let written = rig.written();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].1, 2);
    // Pauses of 5, 10, 20, 40 and 60 s.
    assert!((135..140).contains(&written[0].0), "{written:?}");
}

#[test]
fn a_condition_keeps_its_time_while_it_does_not_change() {
    use bellhop_api::ConditionStatus::{False, True};
    let status = |status, reason: &str| {
        let condition = bellhop_api::Condition {
            type_: "Ready".into(),
            status,
            observed_generation: None,
            last_transition_time: String::new(),
            reason: reason.into(),
            message: String::new(),
        };
        SpeakerStateStatus { conditions: vec![condition], ..SpeakerStateStatus::default() }
    };
    let at = |second| Timestamp::from_second(second).unwrap();
    let time = |status: &SpeakerStateStatus| status.conditions[0].last_transition_time.clone();
    let mut state = WrittenState::default();
    let first = state.news(status(False, "Pending"), at(0)).unwrap();
    assert_eq!(time(&first), "1970-01-01T00:00:00Z");
    state.written = Some(first.clone());
    assert_eq!(state.news(status(False, "Pending"), at(1)), None);
    let other = state.news(status(False, "DataPathPending"), at(2)).unwrap();
    assert_eq!(time(&other), time(&first));
    let ready = state.news(status(True, "Ready"), at(3)).unwrap();
    assert_eq!(time(&ready), "1970-01-01T00:00:03Z");
}
