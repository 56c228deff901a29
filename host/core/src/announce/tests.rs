//! Tests of the planner.

use proptest::prelude::*;

use super::*;
use crate::decision::{
    AddressDecision, AddressRequest, BuiltIn, Decided, NodeVerdict, NodesRequest, RouteDecision, RouteRequest,
};
use crate::labels::{Labels, Operator, Requirement, Selector, labels};
use crate::names::NamespacedName;
use crate::objects::*;
use crate::peer::Neighbour;
use crate::route::{Community, Family};
use crate::world::Delta;

mod aggregate;
mod gate;
mod history;
mod lost_claim;
mod max_nodes;
mod publication;
mod returning;
mod silence;
mod whole_node;

const NODE: &str = "node-1";

fn key(name: &str) -> ServiceKey {
    NamespacedName::new("web", name)
}

fn service(name: &str) -> Service {
    Service {
        key: key(name),
        uid: format!("uid-{name}").into(),
        labels: labels([("app", name)]),
        annotations: Labels::default(),
        created: 0,
        deleting: false,
        wants_address: true,
        families: vec![Family::Ipv4],
        family_policy: FamilyPolicy::SingleStack,
        requested_addresses: vec![],
        requested_pool: None,
        sharing_key: None,
        traffic_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        published: Vec::new(),
        ports: vec![Port { protocol: Protocol::Tcp, port: 80 }],
    }
}

fn node(name: &str, pairs: &[(&str, &str)]) -> Node {
    Node {
        name: name.into(),
        labels: labels(pairs.iter().copied()),
        annotations: Labels::default(),
        deleting: false,
        taints: vec![],
        unschedulable: false,
        ready: Readiness::Ready,
        network_unavailable: false,
        addresses: vec![],
    }
}

fn endpoint(node: &str, ready: bool, terminating: bool) -> Endpoint {
    Endpoint { node: Some(node.into()), ready, serving: ready || terminating, terminating }
}

fn slice(service: &str, endpoints: Vec<Endpoint>) -> Delta {
    let slice_key = NamespacedName::new("web", format!("{service}-1"));
    let slice =
        EndpointSlice { key: slice_key.clone(), service: key(service), family: Family::Ipv4, endpoints };
    Delta::EndpointSlice(slice_key, Some(Arc::new(slice)))
}

fn claim(address: &str, holders: &[&str]) -> Delta {
    let address: IpAddr = address.parse().unwrap();
    let holders = holders
        .iter()
        .map(|name| Holder {
            service: key(name),
            uid: format!("uid-{name}").into(),
            ports: vec![],
            sharing_key: None,
        })
        .collect();
    let claim = AddressClaim { address, pool: Some("public".into()), holders, decided_by: None };
    Delta::Claim(address, Some(Arc::new(claim)))
}

fn peer(name: &str) -> Delta {
    let peer = BgpPeer {
        name: name.into(),
        labels: Labels::default(),
        neighbour: Neighbour::Address("192.0.2.1".parse().unwrap()),
        redirect_port: None,
        port: 179,
        asn: 64512.into(),
        local_asn: None,
        source_address: None,
        source_interface: None,
        node_selector: Selector::default(),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry_time: Duration::from_secs(5),
        ebgp_multihop: None,
        ttl_security: None,
        password_secret: None,
        password: None,
        passive: false,
        families: Family::ALL.to_vec(),
        next_hop_v4: None,
        next_hop_v6: None,
        extended_next_hop: false,
        role: None,
        bfd: None,
        prefix_limit: None,
        graceful_restart: None,
        restart_after_notifications: false,
        shutdown_text: None,
        log_messages: false,
    };
    Delta::Peer(name.into(), Some(Arc::new(peer)))
}

fn advertisement(name: &str, priority: i32, med: u32) -> Delta {
    let advertisement = Advertisement {
        name: name.into(),
        pools: vec![],
        pool_selector: None,
        service_selector: None,
        namespace_selector: None,
        node_selector: None,
        peers: vec![],
        peer_selector: None,
        priority,
        attributes: Arc::new(RouteAttributes { med: Some(med), ..RouteAttributes::default() }),
        max_nodes: None,
        aggregation: Aggregation::default(),
    };
    Delta::Advertisement(name.into(), Some(Arc::new(advertisement)))
}

fn speaker_config() -> Delta {
    let config = SpeakerConfig {
        name: "default".into(),
        node_selector: None,
        priority: 0,
        asn: Some(65000),
        router_id: None,
        listen_port: None,
        listen_addresses: None,
        drain_wait: Some(Duration::from_secs(10)),
        bind_addresses: Some(false),
        echo_reply: None,
        ignore_exclude_label: None,
        proxy_health: None,
        proxy_health_port: None,
    };
    Delta::SpeakerConfig("default".into(), Some(Arc::new(config)))
}

fn put_node(node: Node) -> Delta {
    Delta::Node(node.name.clone(), Some(Arc::new(node)))
}

fn put(service: Service) -> Delta {
    Delta::Service(service.key.clone(), Some(Arc::new(service)))
}

/// A world with one peer, one Advertisement and the node itself.
fn base() -> Vec<Delta> {
    vec![speaker_config(), put_node(node(NODE, &[])), peer("tor"), advertisement("all", 0, 0)]
}

/// A Service with an address and a ready endpoint on this node.
fn shop() -> Vec<Delta> {
    vec![
        put(service("shop")),
        claim("203.0.113.1", &["shop"]),
        slice("shop", vec![endpoint(NODE, true, false)]),
    ]
}

struct Rig {
    world: World,
    announcer: Announcer,
    now: Instant,
}

impl Rig {
    fn new(deltas: impl IntoIterator<Item = Delta>) -> Self {
        let mut rig = Self {
            world: World::default(),
            announcer: Announcer::new(NODE.into(), true),
            now: Instant::now(),
        };
        rig.apply(deltas);
        rig
    }

    fn apply(&mut self, deltas: impl IntoIterator<Item = Delta>) {
        for delta in deltas {
            let touched = self.world.apply(delta);
            self.announcer.note(&self.world, &touched);
        }
    }

    fn plan(&mut self, decisions: &mut dyn Decisions) -> Changes {
        let mut all = Changes::default();
        loop {
            let changes = self.announcer.plan(self.now, &self.world, decisions);
            all.routes.extend(changes.routes);
            all.bind.extend(changes.bind);
            all.unbind.extend(changes.unbind);
            all.served.extend(changes.served);
            if !changes.more {
                return all;
            }
        }
    }

    fn announced(&self) -> Vec<String> {
        let routes = self.announcer.wanted().values().flat_map(|routes| routes.keys());
        routes.map(ToString::to_string).collect()
    }
}

/// Answers with what the test sets, and counts the questions.
#[derive(Default)]
struct Scripted {
    verdict: Option<NodeVerdict>,
    withhold: bool,
    asked: usize,
}

impl Decisions for Scripted {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        BuiltIn.addresses(batch)
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        self.asked += batch.len();
        let verdict = self.verdict.clone().unwrap_or(NodeVerdict::DEFAULT);
        let all = |request: &NodesRequest| {
            request.nodes.iter().map(|_| Decided::built_in(verdict.clone())).collect()
        };
        batch.iter().map(all).collect()
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        self.asked += batch.len();
        if self.withhold {
            return batch
                .iter()
                .map(|_| Decided::built_in(RouteDecision::Withhold("not here".into())))
                .collect();
        }
        BuiltIn.routes(batch)
    }
}

#[test]
fn a_service_with_a_claim_and_a_ready_endpoint_is_announced() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    let changes = rig.plan(&mut BuiltIn);
    assert_eq!(changes.routes.len(), 1);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
}

#[test]
fn planning_again_changes_nothing() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.plan(&mut BuiltIn);
    rig.announcer.re_evaluate(&rig.world);
    assert!(rig.plan(&mut BuiltIn).is_empty());
}

#[test]
fn nothing_is_announced_without_a_claim_that_names_the_uid() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.plan(&mut BuiltIn);
    let renewed = Service { uid: "uid-of-a-new-life".into(), ..service("shop") };
    rig.apply([put(renewed)]);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
}

#[test]
fn nothing_is_announced_without_an_endpoint_that_takes_traffic() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.plan(&mut BuiltIn);
    rig.apply([slice("shop", vec![endpoint(NODE, false, false)])]);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
}

#[test]
fn the_last_endpoints_serve_while_they_terminate() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([slice("shop", vec![endpoint(NODE, false, true)])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
}

#[test]
fn an_address_of_a_family_without_endpoints_is_not_announced() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([claim("2001:db8::1", &["shop"])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
}

#[test]
fn a_local_service_follows_its_endpoints() {
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service("shop") };
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([put(local), put_node(node("node-2", &[]))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1);
    rig.apply([slice("shop", vec![endpoint("node-2", true, false)])]);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
}

#[test]
fn a_local_service_whose_pod_moves_is_drained_here_while_the_old_pod_serves() {
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service("shop") };
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([put(local), put_node(node("node-2", &[]))]);
    rig.plan(&mut BuiltIn);
    rig.apply([slice("shop", vec![endpoint(NODE, false, true), endpoint("node-2", true, false)])]);
    let changes = rig.plan(&mut BuiltIn);
    let attributes = changes.routes[0].attributes.clone().unwrap();
    assert_eq!(attributes.communities, [Community::GRACEFUL_SHUTDOWN]);

    // It ends before the drain does: nothing serves what arrives any more.
    let mut ended = vec![slice("shop", vec![endpoint("node-2", true, false)])];
    rig.apply(ended.clone());
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());

    // A speaker that starts meanwhile has nothing to drain.
    ended.push(slice("shop", vec![endpoint(NODE, false, true), endpoint("node-2", true, false)]));
    rig.apply(ended);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
}

#[test]
fn a_drain_of_endpoints_that_terminate_for_long_ends_after_its_wait() {
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service("shop") };
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([put(local), put_node(node("node-2", &[]))]);
    rig.plan(&mut BuiltIn);
    let terminating = |others: &[Endpoint]| slice("shop", [&[endpoint(NODE, false, true)], others].concat());
    rig.apply([terminating(&[endpoint("node-2", true, false)])]);
    rig.plan(&mut BuiltIn);
    rig.now = rig.announcer.deadline().unwrap();
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
    // Nobody else is ready any more: it stands in.
    rig.apply([terminating(&[])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1);
}

#[test]
fn a_local_service_announces_here_only_the_family_that_has_an_endpoint_here() {
    let local = Service { traffic_policy: TrafficPolicy::Local, ..service("shop") };
    let slice_v6 = |node: &str| {
        let slice_key = NamespacedName::new("web", "shop-v6");
        let endpoints = vec![endpoint(node, true, false)];
        let slice =
            EndpointSlice { key: slice_key.clone(), service: key("shop"), family: Family::Ipv6, endpoints };
        Delta::EndpointSlice(slice_key, Some(Arc::new(slice)))
    };
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([
        put(local),
        put_node(node("node-2", &[])),
        claim("2001:db8::1", &["shop"]),
        slice_v6("node-2"),
    ]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
    rig.apply([slice_v6(NODE)]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 2);
}

#[test]
fn a_claim_that_names_the_uid_under_another_name_announces_nothing() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    let address: IpAddr = "203.0.113.2".parse().unwrap();
    let holder =
        Holder { service: key("impostor"), uid: "uid-shop".into(), ports: vec![], sharing_key: None };
    let claim = AddressClaim { address, pool: None, holders: vec![holder], decided_by: None };
    rig.apply([Delta::Claim(address, Some(Arc::new(claim)))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
}

#[test]
fn facts_withdraw_before_anybody_is_asked() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.plan(&mut BuiltIn);
    let many = (0..SLICE * 2).map(|index| put(service(&format!("a-{index}"))));
    rig.apply(many.collect::<Vec<_>>());
    rig.apply([put_node(node(NODE, &[(Node::EXCLUDE_LABEL, "")]))]);
    let first = rig.announcer.plan(rig.now, &rig.world, &mut BuiltIn);
    assert_eq!(first.routes.len(), 1, "the withdrawal is in the first slice, before {first:?}");
    assert_eq!(first.routes[0].attributes, None);
    assert!(first.more);
}

// case: bgp-70
#[test]
fn a_drain_carries_graceful_shutdown_then_withdraws_and_keeps_the_address_bound_meanwhile() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    let mut decisions = Scripted::default();
    rig.plan(&mut decisions);
    decisions.verdict = Some(NodeVerdict::Draining("maintenance".into()));
    rig.announcer.re_evaluate(&rig.world);
    let changes = rig.plan(&mut decisions);
    let attributes = changes.routes[0].attributes.clone().unwrap();
    assert_eq!(attributes.communities, [Community::GRACEFUL_SHUTDOWN]);
    rig.now = rig.announcer.deadline().unwrap();
    let changes = rig.plan(&mut decisions);
    assert_eq!(changes.routes[0].attributes, None);
}

#[test]
fn a_speaker_that_stops_drains_everything_and_announces_nothing_new() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.plan(&mut BuiltIn);
    rig.announcer.drain(&rig.world, NodeDrain::Stopping);
    let changes = rig.plan(&mut BuiltIn);
    assert_eq!(changes.routes[0].attributes.as_ref().unwrap().communities, [Community::GRACEFUL_SHUTDOWN]);
    rig.apply([
        put(service("late")),
        claim("203.0.113.9", &["late"]),
        slice("late", vec![endpoint(NODE, true, false)]),
    ]);
    assert!(rig.plan(&mut BuiltIn).is_empty());
    rig.now = rig.announcer.deadline().unwrap();
    rig.plan(&mut BuiltIn);
    assert!(rig.announcer.wanted().is_empty());
}

#[test]
fn a_route_that_a_policy_withholds_settles_first_and_is_asked_about_again() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    let mut decisions = Scripted::default();
    rig.plan(&mut decisions);
    decisions.withhold = true;
    rig.announcer.re_evaluate(&rig.world);
    assert!(rig.plan(&mut decisions).is_empty());
    rig.now = rig.announcer.deadline().unwrap();
    let asked = decisions.asked;
    let changes = rig.plan(&mut decisions);
    assert_eq!(changes.routes[0].attributes, None);
    assert!(decisions.asked > asked);
    assert_eq!(rig.announcer.deadline(), None);
}

#[test]
fn nothing_is_announced_before_the_address_is_bound() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([Delta::SpeakerConfig("default".into(), {
        let Delta::SpeakerConfig(_, Some(config)) = speaker_config() else { unreachable!() };
        Some(Arc::new(SpeakerConfig { bind_addresses: Some(true), ..(*config).clone() }))
    })]);
    let changes = rig.plan(&mut BuiltIn);
    assert!(changes.routes.is_empty());
    assert_eq!(changes.bind.len(), 1);
    rig.announcer.set_bound(changes.bind);
    assert_eq!(rig.plan(&mut BuiltIn).routes.len(), 1);
    rig.apply([slice("shop", vec![])]);
    let changes = rig.plan(&mut BuiltIn);
    assert_eq!((changes.routes.len(), changes.unbind.len()), (1, 0), "withdrawn at once, still bound");
    rig.now = rig.announcer.deadline().unwrap();
    assert_eq!(rig.plan(&mut BuiltIn).unbind.len(), 1);
}

#[test]
fn a_shared_address_stays_while_one_of_its_services_announces_it() {
    let mut rig = Rig::new(base());
    rig.apply([
        put(service("a")),
        put(service("b")),
        claim("203.0.113.1", &["a", "b"]),
        slice("a", vec![endpoint(NODE, true, false)]),
        slice("b", vec![endpoint(NODE, true, false)]),
    ]);
    rig.plan(&mut BuiltIn);
    rig.apply([slice("a", vec![])]);
    assert!(rig.plan(&mut BuiltIn).is_empty());
    rig.apply([slice("b", vec![])]);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
}

#[test]
fn a_second_service_on_an_address_is_told_though_the_routes_stay_as_they_are() {
    let mut rig = Rig::new(base());
    rig.apply([
        put(service("a")),
        put(service("b")),
        claim("203.0.113.1", &["a", "b"]),
        slice("a", vec![endpoint(NODE, true, false)]),
    ]);
    let address: IpAddr = "203.0.113.1".parse().unwrap();
    assert_eq!(rig.plan(&mut BuiltIn).served, [address].into());
    rig.apply([slice("b", vec![endpoint(NODE, true, false)])]);
    let changes = rig.plan(&mut BuiltIn);
    assert!(changes.is_empty());
    assert_eq!(changes.served, [address].into());
    rig.apply([slice("b", vec![])]);
    assert_eq!(rig.plan(&mut BuiltIn).served, [address].into());
}

// case: peers-87, peers-116
#[test]
fn of_overlapping_advertisements_the_highest_priority_decides() {
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([advertisement("special", 10, 7), advertisement("zz", 10, 9)]);
    let changes = rig.plan(&mut BuiltIn);
    assert_eq!(changes.routes[0].attributes.as_ref().unwrap().med, Some(7));
}

// case: peers-109
#[test]
fn a_peer_that_selects_other_nodes_hears_nothing() {
    let Delta::Peer(name, Some(tor)) = peer("tor") else { unreachable!() };
    let selector = Selector {
        requirements: vec![Requirement { key: "rack".into(), operator: Operator::In(vec!["b".into()]) }],
    };
    let mut rig = Rig::new(base().into_iter().chain(shop()));
    rig.apply([Delta::Peer(name, Some(Arc::new(BgpPeer { node_selector: selector, ..(*tor).clone() })))]);
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty());
    rig.apply([put_node(node(NODE, &[("rack", "b")]))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1);
}
