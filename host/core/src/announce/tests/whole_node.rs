//! A node that gives its routes up as a whole.

use super::*;
use crate::announce::whole_node::NodeDrain;

fn rig() -> Rig {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.plan(&mut BuiltIn);
    rig
}

fn drains(changes: &Changes) -> bool {
    let graceful = |change: &RouteChange| {
        change
            .attributes
            .as_ref()
            .is_some_and(|attributes| attributes.communities == [Community::GRACEFUL_SHUTDOWN])
    };
    !changes.routes.is_empty() && changes.routes.iter().all(graceful)
}

impl Rig {
    /// Lets the drain wait pass.
    fn wait(&mut self) {
        self.now = self.announcer.deadline().unwrap();
        self.plan(&mut BuiltIn);
    }
}

#[test]
fn a_node_that_is_being_deleted_drains() {
    let mut rig = rig();
    rig.apply([put_node(Node { deleting: true, ..node(NODE, &[]) })]);
    assert!(drains(&rig.plan(&mut BuiltIn)));
    rig.wait();
    assert!(rig.announcer.wanted().is_empty());
}

#[test]
fn a_node_that_is_gone_drains_as_it_was_last() {
    let mut rig = rig();
    rig.apply([Delta::Node(NODE.into(), None)]);
    assert!(drains(&rig.plan(&mut BuiltIn)));
    assert_eq!(rig.announcer.draining(), Some(NodeDrain::NodeDeleted));
    rig.wait();
    assert!(rig.announcer.wanted().is_empty());
    rig.apply([put_node(node(NODE, &[]))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1, "and announces again once it is back");
}

#[test]
fn a_node_that_never_was_announces_nothing() {
    let mut rig =
        Rig::new(shop().into_iter().chain([speaker_config(), peer("tor"), advertisement("all", 0, 0)]));
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
    assert_eq!(rig.announcer.draining(), None);
}

#[test]
fn a_drain_ends_where_no_other_stands() {
    let mut rig = rig();
    rig.announcer.drain(&rig.world, NodeDrain::NodeLeaving);
    rig.announcer.drain(&rig.world, NodeDrain::Stopping);
    assert!(drains(&rig.plan(&mut BuiltIn)));
    rig.announcer.resume(&rig.world, NodeDrain::NodeLeaving);
    assert!(rig.plan(&mut BuiltIn).is_empty());
    rig.announcer.resume(&rig.world, NodeDrain::Stopping);
    let changes = rig.plan(&mut BuiltIn);
    assert_eq!(changes.routes[0].attributes.as_ref().unwrap().communities, []);
}

#[test]
fn facts_end_a_drain_at_once() {
    let mut rig = rig();
    rig.announcer.drain(&rig.world, NodeDrain::NodeLeaving);
    rig.plan(&mut BuiltIn);
    rig.apply([slice("shop", vec![])]);
    assert_eq!(rig.plan(&mut BuiltIn).routes[0].attributes, None);
}

#[test]
fn the_label_that_excludes_a_node_can_be_ignored() {
    let mut rig = rig();
    rig.apply([put_node(node(NODE, &[(Node::EXCLUDE_LABEL, "")]))]);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
    let Delta::SpeakerConfig(name, Some(config)) = speaker_config() else { unreachable!() };
    let ignoring = SpeakerConfig { ignore_exclude_label: Some(true), ..(*config).clone() };
    rig.apply([Delta::SpeakerConfig(name, Some(Arc::new(ignoring)))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1);
}

#[test]
fn no_readiness_of_nodes_changes_what_is_announced_when_all_are_unknown() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    let nodes = ["node-2", "node-3"];
    rig.apply(nodes.map(|name| put_node(node(name, &[]))));
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service("local") };
    rig.apply([
        put(local),
        claim("203.0.113.2", &["local"]),
        slice("local", vec![endpoint(NODE, true, false)]),
    ]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 2);
    for name in [NODE, "node-2", "node-3"] {
        rig.apply([put_node(Node { ready: Readiness::Unknown, ..node(name, &[]) })]);
    }
    let silent = |service: &str| slice(service, vec![endpoint(NODE, false, false)]);
    rig.apply([silent("shop"), silent("local")]);
    assert!(rig.plan(&mut BuiltIn).is_empty());
}
