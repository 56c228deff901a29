//! Nodes that cease to announce, as policies and the planner count them.

use super::*;
use crate::announcers::OwnSpeaker;
use crate::decision::{ConsultOutcome, Consulted, NodeFacts};

/// A policy that takes this node from every Service but leaves, by the floor of policies, `least` nodes that can announce;
/// it counts what it is asked.
struct TakesThisNode {
    least: usize,
    asked: usize,
}

impl Decisions for TakesThisNode {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        BuiltIn.addresses(batch)
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        self.asked += batch.len();
        let trail: Arc<[Consulted]> = Arc::from([Consulted {
            policy: "drain".into(),
            digest: "".into(),
            outcome: ConsultOutcome::Decided,
            note: None,
        }]);
        let verdicts = |request: &NodesRequest| {
            let others = request.nodes.iter().filter(|node| &*node.node.name != NODE);
            let stays = others.filter(|node| node.can_announce).count() < self.least;
            let answer = |node: &NodeFacts| match &*node.node.name == NODE && !stays {
                true => NodeVerdict::Ineligible("drained".into()),
                false => NodeVerdict::DEFAULT,
            };
            let decided = |node| Decided { answer: answer(node), trail: trail.clone() };
            request.nodes.iter().map(decided).collect()
        };
        batch.iter().map(verdicts).collect()
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        BuiltIn.routes(batch)
    }

    fn least_eligible(&self) -> u32 {
        u32::try_from(self.least).unwrap()
    }
}

fn silent(nodes: &[&str]) -> Delta {
    Delta::SilentNodes(Arc::new(nodes.iter().map(|name| (*name).into()).collect()))
}

/// Six nodes, so many Services, and a policy that has taken this node from all of them.
fn rig(services: usize, decisions: &mut TakesThisNode) -> Rig {
    let mut rig = Rig::new(base());
    rig.apply((2..=6).map(|index| put_node(node(&format!("node-{index}"), &[]))));
    rig.apply([Delta::OwnSpeaker(OwnSpeaker { node: NODE.into(), has_session: true })]);
    for index in 0..services {
        let name = format!("s{index}");
        let address = format!("203.0.113.{index}");
        rig.apply([
            put(service(&name)),
            claim(&address, &[&name]),
            slice(&name, vec![endpoint("node-2", true, false)]),
        ]);
    }
    settle(&mut rig, decisions);
    decisions.asked = 0;
    rig
}

/// Plans until nothing is due.
fn settle(rig: &mut Rig, decisions: &mut TakesThisNode) {
    rig.plan(decisions);
    while let Some(at) = rig.announcer.deadline() {
        rig.now = at;
        rig.plan(decisions);
    }
}

#[test]
fn the_last_node_with_a_session_is_announced_though_a_policy_wants_another_one() {
    let mut decisions = TakesThisNode { least: 1, asked: 0 };
    let mut rig = rig(1, &mut decisions);
    assert!(rig.announced().is_empty());
    let others = ["node-2", "node-3", "node-4", "node-5", "node-6"];
    rig.apply([silent(&others)]);
    settle(&mut rig, &mut decisions);
    assert_eq!(rig.announced(), ["203.0.113.0/32"]);
    rig.apply([silent(&others[1..])]);
    settle(&mut rig, &mut decisions);
    assert!(rig.announced().is_empty(), "another node has a session again");
}

#[test]
fn no_service_is_looked_at_for_a_node_that_is_not_among_the_last_ones() {
    let mut decisions = TakesThisNode { least: 2, asked: 0 };
    let mut rig = rig(20, &mut decisions);
    for silence in [&["node-2"][..], &["node-2", "node-3"], &["node-3"]] {
        rig.apply([silent(silence)]);
        assert!(!rig.announcer.has_work(), "{silence:?} leaves three");
    }
    rig.apply([silent(&["node-2", "node-3", "node-4", "node-5"])]);
    settle(&mut rig, &mut decisions);
    assert_eq!(rig.announced().len(), 20, "one is left, of two");
    assert!(decisions.asked >= 20);
}

#[test]
fn without_a_policy_no_service_is_looked_at_for_a_silent_node() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([put_node(node("node-2", &[]))]);
    rig.plan(&mut BuiltIn);
    rig.apply([silent(&["node-2"])]);
    assert!(!rig.announcer.has_work());
}
