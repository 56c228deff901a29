//! Aggregates: when one comes and goes, and with which attributes.

use proptest::prelude::*;

use super::*;
use crate::announce::aggregate::{Aggregate, problems};

/// The same Advertisement with an aggregation.
pub(super) fn with(delta: Delta, aggregation: Aggregation) -> Delta {
    let Delta::Advertisement(name, Some(advertisement)) = delta else { panic!("no Advertisement") };
    Delta::Advertisement(name, Some(Arc::new(Advertisement { aggregation, ..(*advertisement).clone() })))
}

/// The pool of every claim of these tests, with these ranges.
fn pool(ranges: &[(&str, &str)]) -> Delta {
    let range = |(first, last): &(&str, &str)| {
        AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    };
    let pool = AddressPool {
        name: "public".into(),
        labels: Labels::default(),
        ranges: ranges.iter().map(range).collect(),
        exclude: Vec::new(),
        auto_assign: true,
        priority: 0,
        namespace_selector: None,
        service_selector: None,
    };
    Delta::Pool("public".into(), Some(Arc::new(pool)))
}

const WHOLE: [(&str, &str); 2] =
    [("203.0.113.0", "203.0.113.255"), ("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")];

pub(super) fn any_aggregation() -> impl Strategy<Value = Aggregation> {
    let ipv4 = prop::sample::select(vec![None, Some(24), Some(30), Some(32)]);
    let ipv6 = prop::sample::select(vec![None, Some(64)]);
    (ipv4, ipv6, any::<bool>()).prop_map(|(ipv4, ipv6, exact_routes)| Aggregation {
        ipv4,
        ipv6,
        exact_routes,
    })
}

pub(super) fn any_pool() -> impl Strategy<Value = Delta> {
    prop::sample::select(vec![
        pool(&WHOLE),
        pool(&[("203.0.113.0", "203.0.113.127"), ("203.0.113.128", "203.0.113.255")]),
        pool(&[("203.0.113.0", "203.0.113.3")]),
        Delta::Pool("public".into(), None),
    ])
}

fn length(ipv4: u8) -> Aggregation {
    Aggregation { ipv4: Some(ipv4), ..Aggregation::default() }
}

fn aggregated(aggregation: Aggregation) -> Vec<Delta> {
    let mut deltas = base();
    deltas.extend([pool(&WHOLE), with(advertisement("all", 0, 0), aggregation)]);
    deltas
}

/// A Service with one address and an endpoint on this node.
fn served(name: &str, address: &str) -> Vec<Delta> {
    vec![put(service(name)), claim(address, &[name]), slice(name, vec![endpoint(NODE, true, false)])]
}

fn local(name: &str) -> Delta {
    put(Service { traffic_policy: TrafficPolicy::Local, ..service(name) })
}

fn attributes(rig: &Rig, prefix: &str) -> Arc<RouteAttributes> {
    rig.announcer.wanted()["tor"][&prefix.parse::<IpNet>().unwrap()].clone()
}

// case: bgp-63
#[test]
fn an_aggregate_comes_with_its_first_address_and_goes_with_its_last() {
    let mut rig = Rig::new(aggregated(length(24)));
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
    rig.apply(served("a", "203.0.113.1"));
    assert_eq!(rig.plan(&mut BuiltIn).routes.len(), 1);
    assert_eq!(rig.announced(), ["203.0.113.0/24"]);
    rig.apply(served("b", "203.0.113.9"));
    let changes = rig.plan(&mut BuiltIn);
    assert!(changes.routes.is_empty(), "the peer hears nothing new");
    assert_eq!(changes.served, ["203.0.113.9".parse().unwrap()].into());
    rig.apply([slice("a", vec![])]);
    assert!(rig.plan(&mut BuiltIn).routes.is_empty());
    rig.apply([slice("b", vec![])]);
    assert_eq!(rig.plan(&mut BuiltIn).routes[0].attributes, None);
    assert!(rig.announced().is_empty());
}

#[test]
fn an_aggregate_whose_last_address_goes_while_another_comes_is_not_touched() {
    let mut rig = Rig::new(aggregated(length(24)).into_iter().chain(served("a", "203.0.113.1")));
    rig.plan(&mut BuiltIn);
    rig.apply([slice("a", vec![])].into_iter().chain(served("b", "203.0.113.9")));
    assert!(rig.plan(&mut BuiltIn).routes.is_empty());
    assert_eq!(rig.announced(), ["203.0.113.0/24"]);
}

#[test]
fn a_local_service_has_its_host_route_beside_the_aggregate_and_only_where_it_is_served() {
    let mut rig = Rig::new(aggregated(length(24)));
    rig.apply(served("a", "203.0.113.1").into_iter().chain(served("b", "203.0.113.9")));
    rig.apply([local("b"), put_node(node("node-2", &[]))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.0/24", "203.0.113.9/32"]);
    rig.apply([slice("b", vec![endpoint("node-2", true, false)])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.0/24"], "node-2 has the host route");
    assert!(rig.announcer.in_aggregate("203.0.113.9".parse().unwrap()));
}

#[test]
fn exact_routes_stand_beside_the_aggregate_on_request() {
    let mut rig = Rig::new(aggregated(Aggregation { exact_routes: true, ..length(24) }));
    rig.apply(served("a", "203.0.113.1"));
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.0/24", "203.0.113.1/32"]);
    rig.apply([with(advertisement("all", 0, 0), length(24))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.0/24"]);
}

#[test]
fn each_family_has_its_own_length() {
    let mut rig = Rig::new(aggregated(Aggregation { ipv6: Some(64), ..length(32) }));
    rig.apply(served("a", "203.0.113.1"));
    let mut six = slice("six", vec![endpoint(NODE, true, false)]);
    if let Delta::EndpointSlice(_, Some(slice)) = &mut six {
        Arc::make_mut(slice).family = Family::Ipv6;
    }
    rig.apply([put(service("six")), claim("2001:db8::1", &["six"]), six]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32", "2001:db8::/64"]);
}

#[test]
fn an_aggregate_that_reaches_outside_of_the_pool_gives_way_to_host_routes_and_is_a_problem() {
    let mut rig = Rig::new(aggregated(length(24)).into_iter().chain(served("a", "203.0.113.1")));
    rig.apply([pool(&[("203.0.113.1", "203.0.113.254")])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
    let plan = rig.announcer.service(&key("a")).unwrap();
    let peer = plan.peer_plan("203.0.113.1".parse().unwrap(), "tor").unwrap();
    assert_eq!(peer.aggregate, Aggregate::OutsidePool("203.0.113.0/24".parse().unwrap()));
    let told = |rig: &Rig| -> Vec<String> {
        let advertisement = &rig.world.advertisements()["all"];
        problems(&rig.world, advertisement).iter().map(ToString::to_string).collect()
    };
    let [problem] = &told(&rig)[..] else { panic!("{:?}", told(&rig)) };
    for part in [
        "Advertisement/all: spec.aggregation.ipv4Length: \"24\": 203.0.113.0/24",
        "AddressPool public",
        "AggregateOutsidePool",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
    // Two ranges that touch are as good as one.
    rig.apply([pool(&[("203.0.113.128", "203.0.113.255"), ("203.0.113.0", "203.0.113.127")])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.0/24"]);
    assert!(told(&rig).is_empty());
}

#[test]
fn an_aggregate_has_the_attributes_of_its_advertisement_and_not_those_of_a_policy() {
    struct Marking;
    impl Decisions for Marking {
        fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
            BuiltIn.addresses(batch)
        }
        fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
            BuiltIn.nodes(batch)
        }
        fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
            let marked = RouteAttributes { med: Some(99), ..RouteAttributes::default() };
            batch
                .iter()
                .map(|_| Decided::built_in(RouteDecision::Advertise(Arc::new(marked.clone()))))
                .collect()
        }
    }
    let mut rig = Rig::new(aggregated(Aggregation { exact_routes: true, ..length(24) }));
    rig.apply(served("a", "203.0.113.1"));
    rig.plan(&mut Marking);
    assert_eq!(attributes(&rig, "203.0.113.0/24").med, Some(0));
    assert_eq!(attributes(&rig, "203.0.113.1/32").med, Some(99));
}

#[test]
fn a_withheld_address_does_not_contribute() {
    let mut rig = Rig::new(aggregated(length(24)).into_iter().chain(served("a", "203.0.113.1")));
    rig.plan(&mut Scripted { withhold: true, ..Scripted::default() });
    assert!(rig.announced().is_empty());
}

#[test]
fn of_advertisements_that_share_an_aggregate_the_highest_priority_gives_the_attributes() {
    let mut rig = Rig::new(aggregated(length(24)).into_iter().chain(served("a", "203.0.113.1")));
    let only_b = Selector {
        requirements: vec![Requirement { key: "app".into(), operator: Operator::In(vec!["b".into()]) }],
    };
    let Delta::Advertisement(name, Some(special)) = with(advertisement("special", 7, 7), length(24)) else {
        unreachable!()
    };
    let special = Advertisement { service_selector: Some(only_b), ..(*special).clone() };
    rig.apply([Delta::Advertisement(name.clone(), Some(Arc::new(special.clone())))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(attributes(&rig, "203.0.113.0/24").med, Some(0), "nothing contributes to the other one");
    rig.apply(served("b", "203.0.113.9"));
    rig.plan(&mut BuiltIn);
    assert_eq!(attributes(&rig, "203.0.113.0/24").med, Some(7));
    let shown = rig.announcer.aggregate("tor", "203.0.113.0/24".parse().unwrap()).unwrap();
    assert_eq!((&**shown.advertisement, shown.contributors), ("special", 2));

    // Another length is another prefix, and each stands for its own addresses.
    rig.apply([Delta::Advertisement(
        name,
        Some(Arc::new(Advertisement { aggregation: length(29), ..special })),
    )]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.0/24", "203.0.113.8/29"]);
    assert_eq!(attributes(&rig, "203.0.113.0/24").med, Some(0));
    assert_eq!(attributes(&rig, "203.0.113.8/29").med, Some(7));
}

#[test]
fn an_edit_of_attributes_is_one_update_of_the_aggregate() {
    let many = (1..=SLICE * 2)
        .flat_map(|index| served(&format!("s{index}"), &format!("203.0.113.{}", index.min(255))));
    let mut rig = Rig::new(aggregated(length(24)).into_iter().chain(many));
    rig.plan(&mut BuiltIn);
    rig.apply([with(advertisement("all", 0, 5), length(24))]);
    let changes = rig.plan(&mut BuiltIn);
    assert_eq!(changes.routes.len(), 1, "{:?}", changes.routes);
    assert_eq!(changes.routes[0].attributes.as_ref().unwrap().med, Some(5));
}

#[test]
fn an_aggregate_drains_once_all_its_addresses_do() {
    let mut rig = Rig::new(aggregated(length(24)));
    rig.apply(served("a", "203.0.113.1").into_iter().chain(served("b", "203.0.113.9")));
    rig.apply([local("b"), put_node(node("node-2", &[]))]);
    rig.plan(&mut BuiltIn);
    // The pod of b moves: its host route drains, the aggregate is for a too.
    rig.apply([slice("b", vec![endpoint(NODE, false, true), endpoint("node-2", true, false)])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(attributes(&rig, "203.0.113.9/32").communities, [Community::GRACEFUL_SHUTDOWN]);
    assert!(attributes(&rig, "203.0.113.0/24").communities.is_empty());
    rig.announcer.drain(&rig.world, NodeDrain::Stopping);
    rig.plan(&mut BuiltIn);
    assert_eq!(attributes(&rig, "203.0.113.0/24").communities, [Community::GRACEFUL_SHUTDOWN]);
    rig.now = rig.announcer.deadline().unwrap();
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
}

#[test]
fn one_more_service_is_one_service_planned_however_many_there_are() {
    for standing in [10, 200] {
        let others =
            (1..=standing).flat_map(|index| served(&format!("s{index}"), &format!("203.0.113.{index}")));
        let mut rig = Rig::new(aggregated(length(24)).into_iter().chain(others));
        rig.plan(&mut BuiltIn);
        rig.apply(served("new", "203.0.113.255"));
        let mut decisions = Scripted::default();
        let changes = rig.announcer.plan(rig.now, &rig.world, &mut decisions);
        assert_eq!((changes.planned, decisions.asked, changes.more), (1, 2, false), "beside {standing}");
    }
}
