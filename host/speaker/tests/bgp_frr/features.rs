//! What a session may agree on with FRR beside families and timers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::RouteAttributes;
use bellhop_core::peer::{Neighbour, PeerAsn};
use bellhop_speaker::bgp::{BgpHandle, PeerConfig, ShutdownMode};

use super::{attributes, routes};
use crate::lab::{PEER, SPEAKER, config, established, in_lab, peer, until};

const ASN: u32 = 64513;
const ROUTER_V6: &str = "2001:db8:ffff::1";
const SPEAKER_V6: &str = "2001:db8:ffff::2";

#[test]
fn a_router_of_any_as_number_is_taken_where_that_is_left_open() {
    in_lab("features::a_router_of_any_as_number_is_taken_where_that_is_left_open", ASN, |lab| async move {
        let bgp = BgpHandle::start();
        let internal = PeerConfig { peer_asn: PeerAsn::Internal, ..peer(ASN) };
        assert_eq!(bgp.configure(config(internal)).await, []);
        bgp.routes(routes(3, 0, Some(&attributes(1)))).await;
        bgp.ready().await;
        let told = || bgp.snapshot().peers[PEER].last_error.clone().unwrap_or_default();
        until("the other AS is refused", || told().contains("2/2")).await;
        let external = PeerConfig { peer_asn: PeerAsn::External, ..peer(ASN) };
        assert_eq!(bgp.configure(config(external)).await, []);
        established(&bgp).await;
        assert_eq!(bgp.snapshot().peers[PEER].peer_asn, ASN);
        until("three prefixes", || lab.prefixes() == 3).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-54
#[test]
fn ipv4_routes_reach_the_kernel_over_an_ipv6_next_hop() {
    in_lab("features::ipv4_routes_reach_the_kernel_over_an_ipv6_next_hop", ASN, |lab| async move {
        let neighbour = format!("neighbor {SPEAKER_V6}");
        lab.configure(
            ASN,
            &[
                &format!("no neighbor {SPEAKER}"),
                &format!("{neighbour} remote-as 64512"),
                &format!("{neighbour} timers connect 1"),
                &format!("{neighbour} capability extended-nexthop"),
                "address-family ipv4 unicast",
                &format!("{neighbour} activate"),
            ],
        );
        let bgp = BgpHandle::start();
        // The router listens on its IPv4 address alone, and dials.
        let extended = PeerConfig {
            neighbour: Neighbour::Address(ROUTER_V6.parse().unwrap()),
            passive: true,
            extended_next_hop: true,
            ..peer(ASN)
        };
        assert_eq!(bgp.configure(config(extended)).await, []);
        bgp.routes(routes(3, 0, Some(&attributes(1)))).await;
        bgp.ready().await;
        established(&bgp).await;
        until("three routes in the kernel", || lab.kernel_routes() == 3).await;
        let route = lab.show("show bgp ipv4 unicast 10.0.0.1/32 json");
        let hops: Vec<IpAddr> = route["paths"][0]["nexthops"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hop| hop["ip"].as_str().unwrap().parse().unwrap())
            .collect();
        assert!(hops.contains(&"2001:db8:ffff::2".parse().unwrap()), "{route}");
        assert!(hops.iter().all(IpAddr::is_ipv6), "{route}");
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

#[test]
fn a_prefix_limit_keeps_a_router_from_ending_the_session() {
    in_lab("features::a_prefix_limit_keeps_a_router_from_ending_the_session", ASN, |lab| async move {
        let limit = format!("neighbor {SPEAKER} maximum-prefix 10");
        lab.configure(ASN, &["address-family ipv4 unicast", &limit]);
        let bgp = BgpHandle::start();
        let limited = PeerConfig { prefix_limit: Some(10), ..peer(ASN) };
        assert_eq!(bgp.configure(config(limited)).await, []);
        bgp.routes(routes(25, 0, Some(&attributes(1)))).await;
        bgp.ready().await;
        established(&bgp).await;
        until("ten prefixes", || lab.prefixes() == 10).await;
        let snapshot = bgp.snapshot();
        let refused = &snapshot.peers[PEER].refused;
        assert_eq!(refused[0].prefixes, 15);
        assert!(refused[0].reason.contains("prefixLimit"), "{refused:?}");
        assert_eq!(snapshot.peers[PEER].counters.downs, 0);
        // Without the limit the router does what its own says.
        assert_eq!(bgp.configure(config(peer(ASN))).await, []);
        let told = || bgp.snapshot().peers[PEER].last_error.clone().unwrap_or_default();
        until("the router's limit", || told().contains("6/1")).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-58
#[test]
fn extended_communities_and_link_bandwidth_arrive_as_they_are() {
    in_lab("features::extended_communities_and_link_bandwidth_arrive_as_they_are", ASN, |lab| async move {
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(peer(ASN))).await, []);
        let wanted = RouteAttributes {
            extended_communities: vec![0x0002_FC00_0000_0064],
            link_bandwidth: Some(1_250_000_000),
            ..RouteAttributes::default()
        };
        bgp.routes(routes(1, 0, Some(&Arc::new(wanted)))).await;
        bgp.ready().await;
        established(&bgp).await;
        until("the prefix", || lab.prefixes() == 1).await;
        let route = lab.show("show bgp ipv4 unicast 10.0.0.0/32 json");
        let extended = route["paths"][0]["extendedCommunity"]["string"].as_str().unwrap_or_default();
        assert!(extended.contains("RT:64512:100"), "{route}");
        assert!(extended.contains("LB:64512:1250000000 (10.000 Gbps)"), "{route}");
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-70
#[test]
fn a_long_shutdown_text_arrives_whole() {
    in_lab("features::a_long_shutdown_text_arrives_whole", ASN, |lab| async move {
        let text = "scheduled maintenance of the rack ".repeat(7);
        assert!(text.len() > 128 && text.len() <= 255);
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(peer(ASN))).await, []);
        bgp.ready().await;
        established(&bgp).await;
        // FRR takes what comes within the first moments of a session for a part of its beginning.
        tokio::time::sleep(Duration::from_millis(100)).await;
        bgp.shutdown(ShutdownMode::Graceful { text: text.clone() }).await;
        until("the text", || lab.neighbour()["lastShutdownDescription"].as_str() == Some(&text)).await;
    });
}
