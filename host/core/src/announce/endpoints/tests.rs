//! Which endpoints count, and what the readiness of nodes may take away.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::labels::Labels;
use crate::names::{NamespacedName, ServiceKey};
use crate::objects::{EndpointSlice, FamilyPolicy, Node};
use crate::world::Delta;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Ready,
    NotReady,
    Terminating,
    /// Terminating, and does not serve any more.
    Gone,
}

fn service(traffic_policy: TrafficPolicy) -> Service {
    Service {
        key: ServiceKey::new("web", "shop"),
        uid: "uid-shop".into(),
        labels: Labels::default(),
        annotations: Labels::default(),
        created: 0,
        deleting: false,
        wants_address: true,
        families: vec![Family::Ipv4],
        family_policy: FamilyPolicy::SingleStack,
        requested_addresses: vec![],
        requested_pool: None,
        sharing_key: None,
        traffic_policy,
        health_check_node_port: None,
        published: Vec::new(),
        ports: vec![],
    }
}

fn name(index: usize) -> ObjectName {
    format!("node-{index}").into()
}

/// Nodes with their readiness and one endpoint each.
fn world(nodes: &[(Readiness, Is)]) -> World {
    let mut world = World::default();
    let endpoint = |(index, (_, is)): (usize, &(Readiness, Is))| Endpoint {
        node: Some(name(index)),
        ready: *is == Up,
        serving: matches!(is, Up | Terminating),
        terminating: matches!(is, Terminating | Gone),
    };
    let key = NamespacedName::new("web", "shop-1");
    let slice = EndpointSlice {
        key: key.clone(),
        service: ServiceKey::new("web", "shop"),
        family: Family::Ipv4,
        endpoints: nodes.iter().enumerate().map(endpoint).collect(),
    };
    world.apply(Delta::EndpointSlice(key, Some(Arc::new(slice))));
    for (index, (ready, _)) in nodes.iter().enumerate() {
        let node = Node {
            name: name(index),
            labels: Labels::default(),
            annotations: Labels::default(),
            deleting: false,
            taints: vec![],
            unschedulable: false,
            ready: *ready,
            network_unavailable: false,
            addresses: vec![],
        };
        world.apply(Delta::Node(name(index), Some(Arc::new(node))));
    }
    world
}

/// As counted where no node comes back.
fn counted(world: &World, service: &Service) -> EndpointCounts {
    EndpointCounts::of(world, service, &Returning::default(), None)
}

/// The nodes that announce a Local Service.
fn announcers(nodes: &[(Readiness, Is)]) -> BTreeSet<usize> {
    let counts = counted(&world(nodes), &service(TrafficPolicy::Local));
    (0..nodes.len()).filter(|index| counts.on(&name(*index), Family::Ipv4) > 0).collect()
}

fn total(nodes: &[(Readiness, Is)]) -> u32 {
    counted(&world(nodes), &service(TrafficPolicy::Cluster)).total(Family::Ipv4)
}

use Is::{Gone, NotReady, Ready as Up, Terminating};
use Readiness::{NotReady as Silent, Ready, Unknown};

#[test]
fn endpoints_that_are_not_ready_on_a_ready_node_never_count() {
    assert_eq!(total(&[(Ready, NotReady), (Ready, NotReady)]), 0);
    assert!(announcers(&[(Ready, NotReady)]).is_empty());
}

#[test]
fn a_cluster_service_counts_suspects_only_where_nothing_else_is_left() {
    assert_eq!(total(&[(Ready, Up), (Unknown, NotReady)]), 1);
    assert_eq!(total(&[(Ready, Terminating), (Unknown, NotReady)]), 1, "what serves comes first");
    assert_eq!(total(&[(Unknown, NotReady), (Silent, NotReady), (Ready, NotReady)]), 2);
}

#[test]
fn what_terminates_on_a_silent_node_is_no_suspect() {
    assert_eq!(total(&[(Unknown, Gone)]), 0);
    assert!(announcers(&[(Unknown, Gone)]).is_empty());
}

#[test]
fn terminating_endpoints_serve_where_none_is_ready_anywhere() {
    assert_eq!(announcers(&[(Ready, Up), (Ready, Terminating)]), [0].into());
    assert_eq!(announcers(&[(Ready, NotReady), (Ready, Terminating)]), [1].into());
}

#[test]
fn of_the_nodes_of_a_local_service_those_that_are_not_ready_go_up_to_a_third() {
    let left = |nodes: usize, silent: usize| {
        let all: Vec<_> =
            (0..nodes).map(|index| if index < silent { (Silent, NotReady) } else { (Ready, Up) }).collect();
        announcers(&all).len()
    };
    let table = [
        // nodes, of them not ready, announcers
        (1, 1, 1),
        (2, 1, 2),
        (2, 2, 2),
        (3, 1, 2),
        (3, 2, 2),
        (3, 3, 2),
        (6, 1, 5),
        (6, 2, 4),
        (6, 5, 4),
        (9, 9, 6),
    ];
    for (nodes, silent, expected) in table {
        assert_eq!(left(nodes, silent), expected, "{silent} of {nodes} nodes are not ready");
    }
}

#[test]
fn a_third_is_a_third_of_the_nodes_that_routers_hear_of() {
    // nodes whose speakers have no session, nodes that are not ready, nodes that announce or would
    let table: [(&[usize], &[usize], &[usize]); 4] = [
        (&[], &[0], &[1, 2]),
        (&[1], &[0], &[0, 1, 2]),
        (&[1, 2], &[0], &[0, 1, 2]),
        (&[0], &[0], &[0, 1, 2]),
    ];
    for (unheard, silent, expected) in table {
        let nodes: Vec<_> = (0..3)
            .map(|index| if silent.contains(&index) { (Unknown, NotReady) } else { (Ready, Up) })
            .collect();
        let mut world = world(&nodes);
        world.apply(Delta::SilentNodes(Arc::new(unheard.iter().map(|index| name(*index)).collect())));
        let counts = counted(&world, &service(TrafficPolicy::Local));
        let left: Vec<usize> = (0..3).filter(|index| counts.on(&name(*index), Family::Ipv4) > 0).collect();
        assert_eq!(left, expected, "no session on {unheard:?}, not ready {silent:?}");
    }
}

#[test]
fn an_endpoint_without_a_node_counts_for_the_service_and_for_no_node() {
    let mut world = world(&[]);
    let key = NamespacedName::new("web", "shop-1");
    let endpoint = Endpoint { node: None, ready: true, serving: true, terminating: false };
    let slice = EndpointSlice {
        key: key.clone(),
        service: ServiceKey::new("web", "shop"),
        family: Family::Ipv4,
        endpoints: vec![endpoint],
    };
    world.apply(Delta::EndpointSlice(key, Some(Arc::new(slice))));
    let counts = counted(&world, &service(TrafficPolicy::Local));
    assert_eq!((counts.total(Family::Ipv4), counts.total(Family::Ipv6)), (1, 0));
}

#[test]
fn a_ready_endpoint_is_told_from_one_that_stands_in() {
    let counts = |nodes: &[_]| counted(&world(nodes), &service(TrafficPolicy::Local));
    assert!(counts(&[(Ready, Up)]).ready_on(&name(0)));
    assert!(!counts(&[(Ready, Terminating)]).ready_on(&name(0)));
    assert!(!counts(&[(Unknown, NotReady)]).ready_on(&name(0)));
}

fn any_node() -> impl Strategy<Value = (Readiness, Is)> {
    let readiness = prop::sample::select(vec![Ready, Silent, Unknown]);
    (readiness, prop::sample::select(vec![Up, NotReady, Terminating, Gone]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the nodes were, nodes that fall silent (their endpoints marked not ready with them) take away at most
    /// a third of those that announced, and never the last.
    #[test]
    fn readiness_of_nodes_alone_removes_at_most_a_third(
        before in prop::collection::vec(prop::sample::select(vec![(Ready, Up), (Ready, NotReady)]), 0..30),
        falls in prop::collection::vec(any::<bool>(), 30),
    ) {
        let announced = announcers(&before);
        let after: Vec<_> = before
            .iter()
            .zip(&falls)
            .map(|(node, falls)| if *falls && node.1 == Up { (Unknown, NotReady) } else { *node })
            .collect();
        let left = announcers(&after);
        prop_assert!(left.is_subset(&announced));
        prop_assert!(announced.len() - left.len() <= announced.len() / 3);
        prop_assert_eq!(left.is_empty(), announced.is_empty());
        prop_assert_eq!(total(&before) > 0, total(&after) > 0, "a Cluster Service never goes");
    }

    #[test]
    fn ready_endpoints_always_count(nodes in prop::collection::vec(any_node(), 0..30)) {
        let up: BTreeSet<usize> =
            nodes.iter().enumerate().filter(|(_, node)| node.1 == Up).map(|(index, _)| index).collect();
        prop_assert!(up.is_subset(&announcers(&nodes)));
    }
}

#[test]
fn who_goes_first_differs_from_service_to_service() {
    let nodes: Vec<String> = (0..30).map(|index| format!("node-{index}")).collect();
    let first = |service: &str| nodes.iter().min_by_key(|node| rendezvous(service, node)).cloned();
    let firsts: BTreeSet<_> = (0..30).map(|index| first(&format!("uid-{index}"))).collect();
    assert!(firsts.len() > 12, "spread over nodes: {firsts:?}");
}
