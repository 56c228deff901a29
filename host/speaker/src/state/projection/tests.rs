//! What SpeakerState says of plans and sessions, and that it keeps within what the kind allows.

use std::sync::Arc;
use std::time::Instant;

use bellhop_core::announce::whole_node::NodeDrain;
use bellhop_core::objects::AddressClaim;
use bellhop_core::{BuiltIn, Delta, Family, World};
use bellhop_index::Index;

use super::*;

/// A node with a peer, and as many Services as asked for, each with an address; those of even numbers have an endpoint.
fn world(services: usize) -> World {
    let mut manifests = String::from(
        r#"
{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
---
{apiVersion: bellhop.dev/v1alpha1, kind: SpeakerConfig, metadata: {name: all}, spec: {asn: 64512}}
---
{apiVersion: bellhop.dev/v1alpha1, kind: BGPPeer, metadata: {name: router}, spec: {peerAddress: 192.0.2.1, peerASN: 64513}}
---
{apiVersion: bellhop.dev/v1alpha1, kind: Advertisement, metadata: {name: all}, spec: {}}
"#,
    );
    for index in 0..services {
        let address = format!("10.0.{}.{}", index / 256, index % 256);
        let endpoints = if index % 2 == 0 { "[{addresses: [10.9.0.1], nodeName: node-1}]" } else { "[]" };
        manifests += &format!(
            r#"---
apiVersion: v1
kind: Service
metadata: {{namespace: web, name: shop-{index}, uid: uid-{index}}}
spec: {{type: LoadBalancer, ipFamilies: [IPv4], ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{namespace: web, name: shop-{index}-1, labels: {{kubernetes.io/service-name: shop-{index}}}}}
addressType: IPv4
endpoints: {endpoints}
---
apiVersion: bellhop.dev/v1alpha1
kind: AddressClaim
metadata: {{name: {address}}}
spec:
  address: {address}
  holders: [{{namespace: web, name: shop-{index}, uid: uid-{index}, ports: [{{protocol: TCP, port: 80}}]}}]
"#
        );
    }
    let mut index = Index::new(bellhop_index::Options { classless: true, ..Default::default() });
    let deltas = index.apply("all.yaml", manifests.as_bytes());
    let problems: Vec<_> = deltas.iter().filter(|delta| matches!(delta, Delta::Problems(..))).collect();
    assert!(problems.is_empty(), "{problems:?}");
    let mut world = World::default();
    for delta in deltas {
        world.apply(delta);
    }
    world
}

fn planned(world: &World) -> Announcer {
    let mut announcer = Announcer::new("node-1".into(), false);
    announcer.note(world, &bellhop_core::Touched::everything());
    while announcer.plan(Instant::now(), world, &mut BuiltIn).more {}
    announcer
}

fn sessions(state: State) -> BgpSnapshot {
    let peer = PeerSnapshot {
        peer: "router".into(),
        address: Some("192.0.2.1".parse().unwrap()),
        router_id: None,
        peer_asn: 64513,
        local_asn: 64512,
        state,
        established_since: (state == State::Established).then_some(1_700_000_000_123),
        hold_time: 90,
        families: vec![Family::Ipv4],
        graceful_restart: true,
        capabilities: Vec::new(),
        prefixes_wanted: 0,
        prefixes_sent: 0,
        updates_sent: 0,
        counters: Default::default(),
        last_error: (state != State::Established).then(|| "é".repeat(1000)),
        problem: None,
        refused: vec![],
        bfd: None,
    };
    BgpSnapshot { peers: [("router".into(), peer)].into(), ..BgpSnapshot::default() }
}

fn status_of(announcer: &Announcer, sessions: &BgpSnapshot) -> SpeakerStateStatus {
    status(View {
        phase: Phase::Ready,
        announcer,
        node: &"node-1".into(),
        sessions,
        policies: vec![LoadedPolicy {
            name: "table".into(),
            sha256: String::new(),
            message: "x".repeat(1000),
        }],
    })
}

#[test]
fn addresses_are_told_as_ranges_and_the_others_with_the_reason() {
    let status = status_of(&planned(&world(5)), &sessions(State::Established));
    assert_eq!(status.phase, Some(SpeakerPhase::Ready));
    assert_eq!(status.sessions_up, "1/1");
    assert_eq!(status.sessions[0].since, "2023-11-14T22:13:20Z");
    assert_eq!(status.announced_count, 3);
    assert_eq!(status.announced, ["10.0.0.0", "10.0.0.2", "10.0.0.4"]);
    assert_eq!(status.exception_count, 2);
    let exception = &status.exceptions[0];
    assert_eq!((exception.name.as_str(), exception.reason.as_str()), ("shop-1", "NoEndpoints"));
    assert_eq!(status.conditions[0].status, ConditionStatus::True);
}

#[test]
fn addresses_announced_by_an_aggregate_are_told_as_announced_and_the_aggregate_beside_them() {
    let mut world = world(5);
    let more = r#"
{apiVersion: bellhop.dev/v1alpha1, kind: AddressPool, metadata: {name: ten}, spec: {addresses: [10.0.0.0/24]}}
---
{apiVersion: bellhop.dev/v1alpha1, kind: Advertisement, metadata: {name: all}, spec: {aggregation: {ipv4Length: 28}}}
"#;
    let mut index = Index::new(bellhop_index::Options { classless: true, ..Default::default() });
    for delta in index.apply("more.yaml", more.as_bytes()) {
        world.apply(delta);
    }
    for claim in world.claims().values().cloned().collect::<Vec<_>>() {
        let of_pool = AddressClaim { pool: Some("ten".into()), ..(*claim).clone() };
        world.apply(Delta::Claim(claim.address, Some(Arc::new(of_pool))));
    }
    let status = status_of(&planned(&world), &sessions(State::Established));
    assert_eq!(status.announced, ["10.0.0.0", "10.0.0.2", "10.0.0.4"]);
    assert_eq!(status.aggregates, ["10.0.0.0/28"]);
    assert_eq!(status.exception_count, 2);
}

#[test]
fn neighbouring_addresses_are_one_range_and_families_never_are() {
    let addresses = ["0.0.0.1", "0.0.0.2", "0.0.0.3", "0.0.0.5", "255.255.255.255", "::", "::1", "ffff::"];
    let ranges: Vec<String> = ranges(&addresses.iter().map(|address| address.parse().unwrap()).collect())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ranges, ["0.0.0.1-0.0.0.3", "0.0.0.5", "255.255.255.255", "::-::1", "ffff::"]);
}

#[test]
fn without_a_session_nothing_is_announced() {
    let status = status_of(&planned(&world(2)), &sessions(State::Connect));
    assert_eq!((status.sessions_up.as_str(), status.announced_count), ("0/1", 0));
    let reasons: Vec<&str> = status.exceptions.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["NoSession", "NoEndpoints"]);
}

#[test]
fn a_large_cluster_keeps_within_what_the_kind_allows() {
    let status = status_of(&planned(&world(500)), &sessions(State::Idle));
    assert_eq!((status.exception_count, status.exceptions.len()), (500, EXCEPTIONS_MAX));
    assert_eq!(status.sessions[0].last_error.chars().count(), MESSAGE_MAX);
    assert_eq!(status.policies[0].message.chars().count(), POLICY_MESSAGE_MAX);
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let known: BTreeSet<&str> = reasons.collect();
    assert!(status.exceptions.iter().all(|exception| known.contains(exception.reason.as_str())));
}

#[test]
fn a_node_that_drains_says_so() {
    let world = world(1);
    let mut announcer = planned(&world);
    announcer.drain(&world, NodeDrain::NodeLeaving);
    let status = status_of(&announcer, &sessions(State::Established));
    assert_eq!(status.phase, Some(SpeakerPhase::Draining));
    assert_eq!(status.conditions[0].reason, "Draining");
}

#[test]
fn every_reason_of_silence_is_one_of_the_closed_set() {
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let obstacles = [
        Obstacle::NoEndpoints,
        Obstacle::NoLocalEndpoints,
        Obstacle::NodeExcluded,
        Obstacle::NotBound,
        Obstacle::NotPublished,
        Obstacle::DataPathPending,
    ];
    for reason in obstacles.iter().map(|obstacle| obstacle.reason()) {
        assert!(known.contains(reason), "{reason}");
    }
    for reason in ["Drained", "Ineligible", "NoPeer", "WithheldByPolicy", "NoASN", "NoAdvertisement"] {
        assert!(known.contains(reason), "{reason}");
    }
}

#[test]
fn a_local_service_without_an_endpoint_here_is_no_exception() {
    let mut world = world(2);
    for (key, service) in world.services().clone() {
        let mut local = bellhop_core::objects::Service::clone(&service);
        local.traffic_policy = bellhop_core::objects::TrafficPolicy::Local;
        world.apply(Delta::Service(key, Some(Arc::new(local))));
    }
    let elsewhere = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {namespace: web, name: \
                     elsewhere, labels: {kubernetes.io/service-name: shop-1}}\naddressType: IPv4\nendpoints: \
                     [{addresses: [10.9.0.2], nodeName: node-2}]\n";
    let mut index = Index::new(bellhop_index::Options { classless: true, ..Default::default() });
    for delta in index.apply("elsewhere.yaml", elsewhere.as_bytes()) {
        world.apply(delta);
    }
    let status = status_of(&planned(&world), &sessions(State::Established));
    assert_eq!((status.announced_count, status.exception_count), (1, 0));
}
