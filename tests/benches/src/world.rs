//! A synthetic World: one node, one router, one pool, and as many Services as asked for, each with its claim.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::Delta;
use bellhop_core::labels::{Selector, labels};
use bellhop_core::names::{NamespacedName, shared};
use bellhop_core::objects::{
    AddressClaim, AddressPool, AddressRange, Advertisement, BgpPeer, Endpoint, EndpointSlice, FamilyPolicy,
    Holder, Namespace, Node, Port, Protocol, Readiness, Service, SpeakerConfig, TrafficPolicy,
};
use bellhop_core::peer::Neighbour;
use bellhop_core::route::{Community, Family, LargeCommunity, RouteAttributes};
use bellhop_lab::plan::CLUSTER_ASN;

use crate::wire::{NODE, ROUTER};

const NAMESPACE: &str = "bench";
const POOL: &str = "bench";
const ADVERTISEMENT: &str = "everything";

/// First addresses of the pool, from the networks for benchmarks (RFC 2544, RFC 5180).
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
/// Addresses of each family in the pool.
const POOL_SIZE: u32 = 1 << 16;

/// The address of a Service.
pub fn address(family: Family, number: u32) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::from(u32::from(FIRST_V4) + number).into(),
        Family::Ipv6 => Ipv6Addr::from(u128::from(FIRST_V6) + u128::from(number)).into(),
    }
}

/// Everything but Services. `bindAddresses` is false: what is measured here is announcing.
pub fn base() -> Vec<Delta> {
    let node: Arc<str> = NODE.name().into();
    let range = |family| AddressRange::new(address(family, 0), address(family, POOL_SIZE - 1));
    let pool = AddressPool {
        name: POOL.into(),
        labels: labels::<&str, &str>([]),
        ranges: Family::ALL.into_iter().filter_map(range).collect(),
        exclude: Vec::new(),
        auto_assign: true,
        priority: 0,
        namespace_selector: None,
        service_selector: None,
    };
    let speaker = SpeakerConfig {
        name: "default".into(),
        node_selector: None,
        priority: 0,
        asn: Some(CLUSTER_ASN),
        router_id: None,
        listen_port: None,
        listen_addresses: None,
        drain_wait: Some(Duration::ZERO),
        bind_addresses: Some(false),
        echo_reply: None,
        ignore_exclude_label: None,
        proxy_health: None,
        proxy_health_port: None,
    };
    let namespace = Namespace { name: NAMESPACE.into(), labels: labels([("team", "bench")]) };
    let of_node = Node {
        name: node.clone(),
        labels: labels([("kubernetes.io/hostname", &*node)]),
        annotations: labels::<&str, &str>([]),
        taints: Vec::new(),
        unschedulable: false,
        ready: Readiness::Ready,
        network_unavailable: false,
        deleting: false,
        addresses: vec![NODE.ipv4().into(), NODE.ipv6().into()],
    };
    vec![
        Delta::Namespace(NAMESPACE.into(), Some(Arc::new(namespace))),
        Delta::Node(node, Some(Arc::new(of_node))),
        Delta::Pool(POOL.into(), Some(Arc::new(pool))),
        Delta::SpeakerConfig("default".into(), Some(Arc::new(speaker))),
        Delta::Peer(ROUTER.name().into(), Some(Arc::new(router()))),
        attributes(1),
        Delta::Synced,
    ]
}

fn router() -> BgpPeer {
    BgpPeer {
        name: ROUTER.name().into(),
        labels: labels([("role", "edge")]),
        neighbour: Neighbour::Address(ROUTER.ipv4().into()),
        port: 179,
        asn: ROUTER.asn().into(),
        local_asn: None,
        source_address: None,
        source_interface: None,
        node_selector: Selector::default(),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry_time: Duration::from_secs(1),
        ebgp_multihop: None,
        ttl_security: None,
        password_secret: None,
        password: None,
        redirect_port: None,
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
    }
}

/// The one Advertisement, whose attributes every route gets.
pub fn attributes(med: u32) -> Delta {
    let attributes = RouteAttributes {
        communities: vec![Community(CLUSTER_ASN << 16 | 1), Community(CLUSTER_ASN << 16 | 2)],
        large_communities: vec![LargeCommunity { global: CLUSTER_ASN, local1: 1, local2: 1 }],
        med: Some(med),
        ..RouteAttributes::default()
    };
    let advertisement = Advertisement {
        name: ADVERTISEMENT.into(),
        pools: Vec::new(),
        pool_selector: None,
        service_selector: None,
        namespace_selector: None,
        node_selector: None,
        peers: Vec::new(),
        peer_selector: None,
        priority: 0,
        attributes: Arc::new(attributes),
        max_nodes: None,
        aggregation: Default::default(),
    };
    Delta::Advertisement(ADVERTISEMENT.into(), Some(Arc::new(advertisement)))
}

/// A Service with one address, an endpoint on the node, and the claim that names it: the Service, its slice, its claim.
/// What manifests have in common is shared, as where they are read.
pub fn service(family: Family, number: u32) -> [Delta; 3] {
    let name = match family {
        Family::Ipv4 => format!("four-{number}"),
        Family::Ipv6 => format!("six-{number}"),
    };
    let key = NamespacedName::new(shared(NAMESPACE), name.as_str());
    let uid: Arc<str> = format!("uid-{name}").into();
    let port = Port { protocol: Protocol::Tcp, port: 8080 };
    let service = Service {
        key: key.clone(),
        uid: uid.clone(),
        labels: labels([("app", name.as_str()), ("tier", "gold")]),
        annotations: labels::<&str, &str>([]),
        created: 1_700_000_000,
        deleting: false,
        wants_address: true,
        families: vec![family],
        family_policy: FamilyPolicy::SingleStack,
        requested_addresses: vec![address(family, number)],
        requested_pool: None,
        sharing_key: None,
        traffic_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        published: Vec::new(),
        ports: vec![port],
    };
    let slice = EndpointSlice {
        key: NamespacedName::new(shared(NAMESPACE), format!("{name}-1")),
        service: key.clone(),
        family,
        endpoints: vec![Endpoint {
            node: Some(shared(&NODE.name())),
            ready: true,
            serving: true,
            terminating: false,
        }],
    };
    let holder = Holder { service: key.clone(), uid, ports: vec![port], sharing_key: None };
    let claim = AddressClaim {
        address: address(family, number),
        pool: Some(shared(POOL)),
        holders: vec![holder],
        decided_by: None,
    };
    [
        Delta::Service(key, Some(Arc::new(service))),
        Delta::EndpointSlice(slice.key.clone(), Some(Arc::new(slice))),
        Delta::Claim(claim.address, Some(Arc::new(claim))),
    ]
}
