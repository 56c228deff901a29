//! What speakers are told, and when.

use std::collections::BTreeMap;

use bellhop_api::SessionState;
use bellhop_core::Delta;
use bellhop_core::labels::Labels;
use bellhop_core::objects::{Node, Readiness};
use bellhop_kubernetes::Stored;

use super::*;

fn state(session: &str) -> SpeakerStateStatus {
    let session = SessionState {
        peer: "router".into(),
        address: "192.0.2.1".into(),
        state: session.into(),
        since: String::new(),
        last_error: String::new(),
        reason: String::new(),
        message: String::new(),
    };
    SpeakerStateStatus { sessions: vec![session], ..Default::default() }
}

struct Rig {
    silent: SilentNodes,
    world: World,
    now: Instant,
    version: u32,
}

impl Rig {
    /// Nodes a and b, each with a speaker that has a session, told.
    fn new() -> Self {
        let mut rig =
            Self { silent: SilentNodes::default(), world: World::default(), now: Instant::now(), version: 0 };
        for name in ["a", "b"] {
            rig.node(name);
            rig.report(name, "Established", true);
        }
        assert_eq!(rig.pass(60), [BTreeMap::new()], "once, so that what stands there is known");
        rig
    }

    fn node(&mut self, name: &str) {
        let node = Node {
            name: name.into(),
            labels: Labels::default(),
            annotations: Labels::default(),
            deleting: false,
            taints: vec![],
            unschedulable: false,
            ready: Readiness::Ready,
            network_unavailable: false,
            addresses: vec![],
        };
        self.world.apply(Delta::Node(name.into(), Some(Arc::new(node))));
        self.silent.nodes_changed();
    }

    fn report(&mut self, node: &str, session: &str, live: bool) {
        self.silent.report(self.now, &node.into(), Some((&state(session), live)));
    }

    /// What is written in so many seconds.
    fn pass(&mut self, seconds: u64) -> Vec<BTreeMap<String, &'static str>> {
        let mut written = Vec::new();
        for _ in 0..seconds {
            if let Some(reasons) = self.silent.next(self.now, &self.world) {
                written.push(reasons.iter().map(|(node, why)| (node.to_string(), *why)).collect());
                self.version += 1;
                let stored = Stored {
                    uid: "u".into(),
                    resource_version: self.version.to_string().as_str().into(),
                    generation: 0,
                };
                self.silent.finished(self.now, &Ok(Answer::Stored(stored)));
            }
            self.now += Duration::from_secs(1);
        }
        written
    }
}

fn told(node: &str, why: &'static str) -> Vec<BTreeMap<String, &'static str>> {
    vec![BTreeMap::from([(node.to_owned(), why)])]
}

#[test]
fn a_node_is_told_once_when_it_has_announced_nothing_for_a_while_and_once_when_it_does_again() {
    let mut rig = Rig::new();
    for (session, live, why) in [("Active", true, NO_SESSION), ("Established", false, NOT_LIVE)] {
        rig.report("a", session, live);
        assert_eq!(rig.pass(SILENT_AFTER.as_secs()), [], "{why}: not at once");
        assert_eq!(rig.pass(60), told("a", why));
        rig.report("a", session, live);
        assert_eq!(rig.pass(60), [], "nothing new");
        rig.report("a", "Established", true);
        assert_eq!(rig.pass(60), [BTreeMap::new()]);
    }
}

#[test]
fn a_session_that_restarts_is_not_told_of() {
    let mut rig = Rig::new();
    rig.report("a", "Active", true);
    assert_eq!(rig.pass(10), []);
    rig.report("a", "Established", true);
    assert_eq!(rig.pass(60), []);
}

#[test]
fn a_node_without_a_speaker_is_told_of_and_one_that_is_gone_is_not() {
    let mut rig = Rig::new();
    rig.node("c");
    assert_eq!(rig.pass(60), told("c", NO_SPEAKER));
    rig.world.apply(Delta::Node("c".into(), None));
    rig.silent.nodes_changed();
    assert_eq!(rig.pass(60), [BTreeMap::new()]);
}

#[test]
fn where_nobody_seems_to_live_nothing_is_told() {
    let mut rig = Rig::new();
    rig.report("a", "Established", false);
    assert_eq!(rig.pass(60), told("a", NOT_LIVE));
    rig.report("b", "Established", false);
    assert_eq!(rig.pass(60), []);
}

#[test]
fn what_somebody_else_wrote_is_looked_at_and_a_failure_tried_again() {
    let mut rig = Rig::new();
    rig.silent.seen(Some(&rig.version.to_string().as_str().into()));
    assert_eq!(rig.pass(60), [], "its own version");
    rig.silent.seen(Some(&"77".into()));
    let due = loop {
        if let Some(reasons) = rig.silent.next(rig.now, &rig.world) {
            break reasons;
        }
        rig.now += Duration::from_secs(1);
    };
    assert!(due.is_empty());
    rig.silent.finished(rig.now, &Err(WriteError::Exists { object: object() }));
    assert!(rig.silent.deadline().is_some_and(|at| at > rig.now));
    assert_eq!(rig.pass(60), [BTreeMap::new()]);
}

fn object() -> bellhop_core::ObjectRef {
    bellhop_core::ObjectRef::cluster("ConfigMap", bellhop_api::SILENT_NODES)
}
