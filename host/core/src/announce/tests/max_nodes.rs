//! Advertisements that only so many nodes may follow.

use super::*;

fn limited(max_nodes: u32) -> Delta {
    let Delta::Advertisement(name, Some(all)) = advertisement("all", 0, 0) else {
        panic!("no Advertisement")
    };
    Delta::Advertisement(name, Some(Arc::new(Advertisement { max_nodes: Some(max_nodes), ..(*all).clone() })))
}

fn node_name(number: usize) -> String {
    format!("node-{number}")
}

/// What each of `nodes` nodes announces of these Services, each by its own view; every node sees the same.
struct Site {
    rigs: Vec<Rig>,
}

impl Site {
    fn new(nodes: usize, services: usize, max_nodes: u32) -> Self {
        let mut deltas = vec![speaker_config(), peer("tor"), limited(max_nodes)];
        deltas.extend((1..=nodes).map(|number| put_node(node(&node_name(number), &[]))));
        for number in 1..=services {
            let name = format!("shop-{number}");
            deltas.extend([
                put(service(&name)),
                claim(&format!("203.0.113.{number}"), &[name.as_str()]),
                slice(&name, vec![endpoint(NODE, true, false)]),
            ]);
        }
        let rig = |number: usize| {
            let mut rig = Rig {
                world: World::default(),
                announcer: Announcer::new(node_name(number).into(), false),
                now: Instant::now(),
            };
            rig.apply(deltas.iter().cloned());
            rig
        };
        Self { rigs: (1..=nodes).map(rig).collect() }
    }

    fn apply(&mut self, delta: &Delta) {
        self.rigs.iter_mut().for_each(|rig| rig.apply([delta.clone()]));
    }

    fn pass(&mut self, time: Duration) {
        self.rigs.iter_mut().for_each(|rig| rig.now += time);
    }

    /// The nodes that announce each address.
    fn plan(&mut self, decisions: &mut dyn Decisions) -> BTreeMap<String, BTreeSet<usize>> {
        let mut announced: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (rig, number) in self.rigs.iter_mut().zip(1..) {
            rig.plan(decisions);
            for prefix in rig.announced() {
                announced.entry(prefix).or_default().insert(number);
            }
        }
        announced
    }
}

/// Gives some nodes a weight of their own; all others have 100.
struct Weights(&'static [(&'static str, u32)]);

impl Decisions for Weights {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        BuiltIn.addresses(batch)
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        let weight = |facts: &crate::decision::NodeFacts| {
            let own = self.0.iter().find(|(name, _)| **name == *facts.node.name);
            Decided::built_in(NodeVerdict::Eligible(own.map_or(100, |(_, weight)| *weight)))
        };
        batch.iter().map(|request| request.nodes.iter().map(weight).collect()).collect()
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        BuiltIn.routes(batch)
    }
}

#[test]
fn each_service_is_announced_from_so_many_nodes_and_the_load_is_spread() {
    let mut site = Site::new(5, 60, 2);
    let announced = site.plan(&mut BuiltIn);
    assert_eq!(announced.len(), 60);
    assert!(announced.values().all(|nodes| nodes.len() == 2), "{announced:?}");
    for number in 1..=5 {
        let share = announced.values().filter(|nodes| nodes.contains(&number)).count();
        assert!((12..=36).contains(&share), "node-{number} announces {share} of 60, the mean is 24");
    }
    let plan = site.rigs.iter().find_map(|rig| {
        let plan = rig.announcer.service(&key("shop-1"))?.peer_plan("203.0.113.1".parse().unwrap(), "tor")?;
        plan.why_not.clone()
    });
    let why_not = plan.unwrap();
    assert!(why_not.starts_with("spec.maxNodes of the Advertisement is 2, and node-"), "{why_not}");
}

#[test]
fn the_weight_of_a_policy_goes_before_the_order_of_names() {
    let mut site = Site::new(5, 20, 2);
    let announced = site.plan(&mut Weights(&[("node-4", 200), ("node-2", 150)]));
    assert!(announced.values().all(|nodes| *nodes == BTreeSet::from([2, 4])), "{announced:?}");
}

#[test]
fn a_node_that_can_announce_no_more_is_stood_in_for_and_nothing_else_moves() {
    let mut site = Site::new(5, 40, 2);
    let before = site.plan(&mut BuiltIn);
    site.apply(&Delta::SilentNodes(Arc::new(BTreeSet::from(["node-3".into()]))));
    let _ = site.plan(&mut BuiltIn);
    site.pass(SETTLE);
    let after = site.plan(&mut BuiltIn);
    let others =
        |nodes: &BTreeSet<usize>| nodes.iter().copied().filter(|node| *node != 3).collect::<Vec<_>>();
    for (prefix, nodes) in &before {
        let now = others(&after[prefix]);
        assert_eq!(now.len(), 2, "{prefix}: {nodes:?} before, {now:?} now");
        assert!(others(nodes).iter().all(|node| now.contains(node)), "{prefix}: {nodes:?}, {now:?}");
    }
}

#[test]
fn a_node_that_is_outranked_stays_until_the_other_had_time_to_come() {
    let mut site = Site::new(3, 1, 1);
    let before = site.plan(&mut Weights(&[("node-1", 200)]));
    assert_eq!(before["203.0.113.1/32"], BTreeSet::from([1]));
    site.rigs.iter_mut().for_each(|rig| rig.announcer.re_evaluate(&rig.world));
    let during = site.plan(&mut Weights(&[("node-2", 300)]));
    assert_eq!(during["203.0.113.1/32"], BTreeSet::from([1, 2]));
    site.pass(SETTLE);
    let after = site.plan(&mut Weights(&[("node-2", 300)]));
    assert_eq!(after["203.0.113.1/32"], BTreeSet::from([2]));
}

#[test]
fn a_node_that_drains_makes_way_at_once_and_goes_after_its_wait() {
    let mut site = Site::new(3, 1, 1);
    let before = site.plan(&mut Weights(&[("node-1", 200)]));
    assert_eq!(before["203.0.113.1/32"], BTreeSet::from([1]));
    for rig in &mut site.rigs {
        if &**rig.announcer.node.name() == "node-1" {
            rig.announcer.drain(&rig.world, NodeDrain::Stopping);
        }
    }
    site.apply(&Delta::SilentNodes(Arc::new(BTreeSet::from(["node-1".into()]))));
    let during = site.plan(&mut Weights(&[("node-1", 200)]));
    assert_eq!(during["203.0.113.1/32"].len(), 2, "{during:?}");
    site.pass(Duration::from_secs(10));
    let after = site.plan(&mut Weights(&[("node-1", 200)]));
    assert_eq!(after["203.0.113.1/32"].len(), 1);
    assert!(!after["203.0.113.1/32"].contains(&1));
}
