//! Increments come to what one full plan comes to, whatever happened and however it was split.

use std::collections::BTreeMap;

use super::*;
use crate::announcers::OwnSpeaker;
use crate::decision::{ConsultOutcome, Consulted};

/// A policy that wants node-2 alone, on the floor that policies have: it leaves a node that can announce.
struct OnlyNode2;

impl Decisions for OnlyNode2 {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        BuiltIn.addresses(batch)
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        batch.iter().map(only_node_2).collect()
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        BuiltIn.routes(batch)
    }
}

fn only_node_2(request: &NodesRequest) -> Vec<Decided<NodeVerdict>> {
    let nodes = &request.nodes;
    let heard = nodes.iter().any(|node| node.can_announce);
    let counts = |index: usize| nodes[index].can_announce || !heard;
    let wanted = |index: usize| &*nodes[index].node.name == "node-2";
    let left = (0..nodes.len()).any(|index| counts(index) && wanted(index));
    let kept = (0..nodes.len()).find(|index| counts(*index)).filter(|_| !left);
    let asked = Consulted {
        policy: "only-node-2".into(),
        digest: "".into(),
        outcome: ConsultOutcome::Decided,
        note: None,
    };
    let verdict = |index| match wanted(index) || kept == Some(index) {
        true => NodeVerdict::DEFAULT,
        false => NodeVerdict::Ineligible("not node-2".into()),
    };
    let decided = |index| Decided { answer: verdict(index), trail: Arc::from([asked.clone()]) };
    (0..nodes.len()).map(decided).collect()
}

/// One random change of a small universe.
fn any_delta() -> impl Strategy<Value = Delta> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let address = prop::sample::select(vec!["203.0.113.1", "203.0.113.2", "2001:db8::1"]);
    let node_name = prop::sample::select(vec![NODE, "node-2"]);
    prop_oneof![
        (name.clone(), any::<bool>(), any::<bool>()).prop_map(|(name, local, wants_address)| {
            let traffic_policy = if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            put(Service { traffic_policy, wants_address, ..service(name) })
        }),
        name.clone().prop_map(|name| Delta::Service(key(name), None)),
        (address.clone(), prop::collection::vec(name.clone(), 0..3))
            .prop_map(|(address, holders)| claim(address, &holders)),
        address.prop_map(|address| Delta::Claim(address.parse().unwrap(), None)),
        (name.clone(), prop::collection::vec((node_name.clone(), any::<bool>(), any::<bool>()), 0..3))
            .prop_map(|(name, endpoints)| {
                let endpoints = endpoints.into_iter().map(|(node, ready, ends)| endpoint(node, ready, ends));
                slice(name, endpoints.collect())
            }),
        (node_name.clone(), any::<bool>(), any::<bool>()).prop_map(|(name, excluded, ready)| {
            let ready = if ready { Readiness::Ready } else { Readiness::Unknown };
            put_node(Node { ready, ..node(name, if excluded { &[(Node::EXCLUDE_LABEL, "")] } else { &[] }) })
        }),
        (any::<bool>(), any::<bool>()).prop_map(|(here, there)| {
            let silent = [(NODE, here), ("node-2", there)].into_iter().filter(|(_, silent)| *silent);
            Delta::SilentNodes(Arc::new(silent.map(|(name, _)| name.into()).collect()))
        }),
        any::<bool>()
            .prop_map(|has_session| { Delta::OwnSpeaker(OwnSpeaker { node: NODE.into(), has_session }) }),
        node_name.prop_map(|name| Delta::Node(name.into(), None)),
        (prop::sample::select(vec!["all", "special"]), 0..3_i32, 0..3_u32, aggregate::any_aggregation())
            .prop_map(|(name, priority, med, aggregation)| {
                aggregate::with(advertisement(name, priority, med), aggregation)
            }),
        aggregate::any_pool(),
        Just(Delta::Advertisement("special".into(), None)),
        prop::sample::select(vec!["tor", "spine"]).prop_map(peer),
        Just(Delta::Peer("spine".into(), None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_a_history_ends_as_one_full_plan_does(
        history in prop::collection::vec((any_delta(), any::<bool>()), 0..60),
    ) {
        let mut stepwise = Rig::new(base());
        let mut heard: BTreeMap<(ObjectName, IpNet), Arc<RouteAttributes>> = BTreeMap::new();
        for (delta, plan_now) in history {
            stepwise.apply([delta]);
            if plan_now {
                take_over(&mut heard, stepwise.plan(&mut OnlyNode2));
            }
        }
        take_over(&mut heard, stepwise.plan(&mut OnlyNode2));
        // A node that was and is gone drains; one that never was has nothing to drain.
        while let Some(at) = stepwise.announcer.deadline() {
            stepwise.now = at;
            take_over(&mut heard, stepwise.plan(&mut OnlyNode2));
        }

        let mut at_once = Announcer::new(NODE.into(), true);
        at_once.note(&stepwise.world, &Touched::everything());
        while at_once.plan(stepwise.now, &stepwise.world, &mut OnlyNode2).more {}
        prop_assert_eq!(stepwise.announcer.wanted(), at_once.wanted());
        let wanted: BTreeMap<_, _> = at_once
            .wanted()
            .iter()
            .flat_map(|(peer, routes)| routes.iter().map(|(net, attributes)| ((peer.clone(), *net), attributes.clone())))
            .collect();
        prop_assert_eq!(heard, wanted, "what the changes add up to is what is wanted");
    }
}

fn take_over(heard: &mut BTreeMap<(ObjectName, IpNet), Arc<RouteAttributes>>, changes: Changes) {
    for change in changes.routes {
        match change.attributes {
            Some(attributes) => heard.insert((change.peer, change.prefix), attributes),
            None => heard.remove(&(change.peer, change.prefix)),
        };
    }
}
