//! The BGP task against FRR, in network namespaces of its own.
//!
//! Every test makes two namespaces with one link, runs its body in the speaker's by starting this test binary again there, and
//! starts FRR's zebra, bfdd and bgpd in the router's. Needs root, iproute2 and FRR, and fails where they are missing.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as its body does")]

mod features;
#[path = "../common/frr_lab.rs"]
mod frr_lab;
mod lab;
mod neighbours;
#[path = "../common/netns.rs"]
mod netns;
mod paths;
mod received;
mod security;
#[path = "../common/speaker.rs"]
mod speaker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_speaker::bgp::{BgpConfig, BgpHandle, GracefulRestart, PeerConfig, ShutdownMode, State};
use lab::{Inside, PEER, SPEAKER, config, established, in_lab, peer, until};
use speaker::{attributes, routes};

// case: bgp-1, bgp-59, bgp-70, peers-98
#[test]
fn both_families_over_one_session_with_their_attributes() {
    in_lab("both_families_over_one_session_with_their_attributes", 64513, |lab| async move {
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(peer(64513))).await, []);
        bgp.routes(routes(100, 20, Some(&attributes(5)))).await;
        bgp.ready().await;
        established(&bgp).await;
        until("120 prefixes", || lab.prefixes() == 120).await;
        until("120 routes in the kernel", || lab.kernel_routes() == 120).await;
        for (family, prefix, next_hop) in
            [("ipv4", "10.0.0.1/32", SPEAKER), ("ipv6", "2001:db8:1::1/128", "2001:db8:ffff::2")]
        {
            let route = lab.show(&format!("show bgp {family} unicast {prefix} json"));
            let path = &route["paths"][0];
            assert_eq!(path["aspath"]["string"], "64512 64512", "{route}");
            assert_eq!(path["community"]["string"], "64512:7 no-export", "{route}");
            assert_eq!(path["largeCommunity"]["string"], "64512:1:2", "{route}");
            assert_eq!(path["metric"], 5, "{route}");
            assert_eq!(path["nexthops"][0]["ip"], next_hop, "{route}");
        }
        // An edit of attributes is an UPDATE: nothing is withdrawn and the session goes on.
        let since = bgp.snapshot().peers[PEER].established_since;
        let kernel = lab.watch_kernel();
        bgp.routes(routes(100, 20, Some(&attributes(6)))).await;
        until("the new MED", || {
            lab.show("show bgp ipv4 unicast 10.0.0.99/32 json")["paths"][0]["metric"] == 6
        })
        .await;
        assert_eq!(bgp.routes_sent(&PEER.into()).len(), 120);
        bgp.routes(routes(1, 0, None)).await;
        until("one withdrawal", || lab.prefixes() == 119).await;
        until("its delete in the kernel", || kernel.deletes("10.") >= 1).await;
        // zebra 8.4 replaces IPv6 routes by delete and add, whatever changed; IPv4 shows what was withdrawn.
        assert_eq!(kernel.deletes("10."), 1);
        let snapshot = bgp.snapshot();
        assert_eq!(snapshot.peers[PEER].established_since, since);
        assert_eq!(snapshot.peers[PEER].counters.prefixes_withdrawn, 1);
        bgp.shutdown(ShutdownMode::Graceful { text: "maintenance".into() }).await;
        until("the shutdown text", || {
            lab.neighbour()["lastShutdownDescription"].as_str() == Some("maintenance")
        })
        .await;
    });
}

#[test]
fn eleven_thousand_routes_take_at_most_25_updates_and_one_more_is_seen_at_once() {
    let test = "eleven_thousand_routes_take_at_most_25_updates_and_one_more_is_seen_at_once";
    in_lab(test, 64512, |lab| async move {
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(peer(64512))).await, []);
        bgp.ready().await;
        established(&bgp).await;
        let begin = Instant::now();
        bgp.routes(routes(10_000, 1_000, Some(&Arc::default()))).await;
        until("11,000 prefixes", || lab.prefixes() == 11_000).await;
        println!("11,000 routes in the router after {:?}", begin.elapsed());
        let updates = bgp.snapshot().peers[PEER].updates_sent;
        // Two of them are End-of-RIB.
        assert!(updates <= 2 + 25, "{updates} UPDATEs");
        let route = lab.show("show bgp ipv4 unicast 10.0.39.15/32 json");
        assert_eq!(route["paths"][0]["locPrf"], 100, "{route}");
        until("the kernel has them", || lab.kernel_routes() == 11_000).await;
        let begin = Instant::now();
        bgp.routes(routes(10_001, 0, Some(&Arc::default())).split_off(10_000)).await;
        until("one more", || lab.prefixes() == 11_001).await;
        println!("one more after {:?}, the look with vtysh included", begin.elapsed());
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-2
#[test]
fn a_passive_peer_is_dialled_by_the_router() {
    in_lab("a_passive_peer_is_dialled_by_the_router", 64513, |lab| async move {
        let bgp = BgpHandle::start();
        let passive = PeerConfig { passive: true, ..peer(64513) };
        assert_eq!(bgp.configure(config(passive)).await, []);
        bgp.routes(routes(3, 3, Some(&attributes(1)))).await;
        bgp.ready().await;
        established(&bgp).await;
        until("six prefixes", || lab.prefixes() == 6).await;
        assert_eq!(bgp.snapshot().peers[PEER].counters.dials, 0);
        // Away and back: the router is told, and comes again.
        let mut empty = config(peer(64513));
        empty.peers.clear();
        assert_eq!(bgp.configure(empty).await, []);
        until("no prefix", || lab.prefixes() == 0).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

/// A restart whose announcements come 1.5 s after the session: deletes in the router's kernel, from the end of the old
/// session to the new announcements.
async fn deletes_over_a_restart(lab: &Inside, forwarding_preserved: bool) -> usize {
    // Half of the restart time after its start the speaker connects without having anything complete to announce.
    let graceful =
        GracefulRestart { restart_time: Duration::from_secs(4), forwarding_preserved, notification: false };
    let peer = PeerConfig { graceful_restart: Some(graceful), ..peer(64513) };
    let first = BgpHandle::start();
    first.configure(config(peer.clone())).await;
    first.routes(routes(100, 20, Some(&attributes(1)))).await;
    first.ready().await;
    until("120 routes in the kernel", || lab.kernel_routes() == 120).await;
    // Both End-of-RIBs are through, so that the router takes the session's end for a restart.
    until("the router is settled", || first.snapshot().peers[PEER].counters.end_of_ribs_sent == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let kernel = lab.watch_kernel();
    first.shutdown(ShutdownMode::Silent).await;
    let second = BgpHandle::start();
    second.configure(BgpConfig { restarting: true, ..config(peer) }).await;
    established(&second).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(second.snapshot().peers[PEER].updates_sent, 0, "nothing is announced before it is complete");
    let deletes = kernel.deletes("");
    second.routes(routes(100, 20, Some(&attributes(1)))).await;
    second.ready().await;
    until("both End-of-RIBs", || {
        second.snapshot().peers.get(PEER).is_some_and(|p| p.counters.end_of_ribs_sent == 2)
    })
    .await;
    until("120 prefixes again", || lab.prefixes() == 120).await;
    until("120 routes in the kernel again", || lab.kernel_routes() == 120).await;
    let deletes = deletes.max(kernel.deletes(""));
    second.shutdown(ShutdownMode::Graceful { text: String::new() }).await;
    until("no prefix", || lab.prefixes() == 0).await;
    deletes
}

// case: bgp-67, bgp-68, peers-73
#[test]
fn a_graceful_restart_deletes_no_route_in_the_router_although_the_announcements_come_late() {
    let test = "a_graceful_restart_deletes_no_route_in_the_router_although_the_announcements_come_late";
    in_lab(test, 64513, |lab| async move {
        assert_eq!(deletes_over_a_restart(&lab, true).await, 0);
        // The same without the F bit loses every route: the test can see the difference.
        assert_eq!(deletes_over_a_restart(&lab, false).await, 120);
    });
}

// case: bgp-44
#[test]
fn a_dead_router_is_noticed_and_found_again() {
    in_lab("a_dead_router_is_noticed_and_found_again", 64513, |lab| async move {
        let bgp = BgpHandle::start();
        let quick = PeerConfig { hold_time: Duration::from_secs(3), ..peer(64513) };
        bgp.configure(config(quick)).await;
        bgp.routes(routes(5, 0, Some(&attributes(1)))).await;
        bgp.ready().await;
        until("five prefixes", || lab.prefixes() == 5).await;
        lab.signal("bgpd", "STOP");
        let state = || bgp.snapshot().peers[PEER].state;
        until("the hold timer", || state() != State::Established).await;
        let error = bgp.snapshot().peers[PEER].last_error.clone().unwrap_or_default();
        assert!(error.contains("4/0"), "{error}");
        lab.signal("bgpd", "CONT");
        established(&bgp).await;
        until("five prefixes again", || lab.prefixes() == 5).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}
