//! BFD beside BGP, against FRR's bfdd.

use std::time::Duration;

use bellhop_speaker::bgp::{BgpHandle, GracefulRestart, PeerConfig, ShutdownMode, State};

use super::{attributes, routes};
use crate::lab::{Inside, PEER, SPEAKER, config, established, in_lab, peer, until};
use crate::speaker::{bfd, bfd_state};

const ASN: u32 = 64513;

fn watched(milliseconds: u64, strict: bool) -> PeerConfig {
    PeerConfig { bfd: Some(bfd(milliseconds, strict)), ..peer(ASN) }
}

fn failures(bgp: &BgpHandle) -> u64 {
    bgp.snapshot().peers[PEER].bfd.as_ref().map_or(0, |bfd| bfd.failures)
}

/// What FRR says of its session with the speaker.
fn of_frr(lab: &Inside) -> serde_json::Value {
    lab.bfd()
}

fn watch_in_frr(lab: &Inside) {
    lab.configure(ASN, &[&format!("neighbor {SPEAKER} bfd 3 100 100")]);
}

// case: bgp-74
#[test]
fn a_frozen_router_ends_the_session_long_before_the_hold_time() {
    in_lab("paths::a_frozen_router_ends_the_session_long_before_the_hold_time", ASN, |lab| async move {
        let bgp = BgpHandle::start();
        let slow = PeerConfig { hold_time: Duration::from_secs(90), ..watched(100, false) };
        assert_eq!(bgp.configure(config(slow)).await, []);
        bgp.routes(routes(3, 0, Some(&attributes(1)))).await;
        bgp.ready().await;
        // Without BFD on the router the session is as without BFD.
        established(&bgp).await;
        assert_eq!(bfd_state(&bgp), "Down");
        watch_in_frr(&lab);
        until("the path is up on both sides", || bfd_state(&bgp) == "Up" && of_frr(&lab)["status"] == "up")
            .await;
        assert_eq!(bgp.snapshot().peers[PEER].state, State::Established);
        assert_eq!(of_frr(&lab)["remote-detect-multiplier"], 3);
        let notifications =
            || lab.neighbour()["messageStats"]["notificationsRecv"].as_u64().unwrap_or_default();
        let before = notifications();
        lab.signal("bfdd", "STOP");
        let waited = until("the session ends", || bgp.snapshot().peers[PEER].counters.downs == 1).await;
        println!("a frozen router is found after {waited:?}");
        let snapshot = bgp.snapshot();
        assert_eq!((failures(&bgp), snapshot.peers[PEER].counters.bfd_downs), (1, 1));
        // Before vtysh, which asks every daemon.
        lab.signal("bfdd", "CONT");
        until("the router was told", || notifications() > before).await;
        established(&bgp).await;
        until("the path is up again", || bfd_state(&bgp) == "Up").await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-74
#[test]
fn other_timers_are_agreed_on_under_the_session() {
    in_lab("paths::other_timers_are_agreed_on_under_the_session", ASN, |lab| async move {
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(watched(100, false))).await, []);
        bgp.ready().await;
        watch_in_frr(&lab);
        until("the path is up", || bfd_state(&bgp) == "Up").await;
        established(&bgp).await;
        let since = bgp.snapshot().peers[PEER].established_since;
        assert_eq!(bgp.configure(config(watched(200, false))).await, []);
        until("the router has the new interval", || of_frr(&lab)["remote-receive-interval"] == 200).await;
        let detection = || bgp.snapshot().peers[PEER].bfd.as_ref().and_then(|bfd| bfd.detection_milliseconds);
        until("we go by it too", || detection() == Some(600)).await;
        assert_eq!((failures(&bgp), bgp.snapshot().peers[PEER].established_since), (0, since));
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-74
#[test]
fn strict_bfd_opens_no_session_before_the_path_is_up() {
    in_lab("paths::strict_bfd_opens_no_session_before_the_path_is_up", ASN, |lab| async move {
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(watched(100, true))).await, []);
        bgp.ready().await;
        let told = || bgp.snapshot().peers[PEER].last_error.clone().unwrap_or_default();
        until("it says why", || told().starts_with("waits for BFD: nothing is heard of 198.18.0.1")).await;
        assert_eq!(bgp.snapshot().peers[PEER].counters.dials, 0);
        watch_in_frr(&lab);
        established(&bgp).await;
        assert_eq!(bfd_state(&bgp), "Up");
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

/// The routes that the router's kernel loses over an upgrade of the speaker with graceful restart and BFD together.
async fn deletes_over_an_upgrade(lab: &Inside) -> usize {
    let graceful = GracefulRestart {
        restart_time: Duration::from_secs(30),
        forwarding_preserved: true,
        notification: false,
    };
    let peer = PeerConfig { graceful_restart: Some(graceful), ..watched(100, false) };
    let first = BgpHandle::start();
    first.configure(config(peer.clone())).await;
    first.routes(routes(20, 0, Some(&attributes(1)))).await;
    first.ready().await;
    until("the path is up", || bfd_state(&first) == "Up" && of_frr(lab)["status"] == "up").await;
    until("20 routes in the kernel", || lab.kernel_routes() == 20).await;
    until("the router is settled", || first.snapshot().peers[PEER].counters.end_of_ribs_sent == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let kernel = lab.watch_kernel();
    first.shutdown(ShutdownMode::Silent).await;
    drop(first);
    until("the router misses us", || of_frr(lab)["status"] != "up").await;
    let second = BgpHandle::start();
    second.configure(bellhop_speaker::bgp::BgpConfig { restarting: true, ..config(peer) }).await;
    second.routes(routes(20, 0, Some(&attributes(1)))).await;
    second.ready().await;
    established(&second).await;
    until("20 routes in the kernel again", || lab.kernel_routes() == 20).await;
    until("both End-of-RIBs", || second.snapshot().peers[PEER].counters.end_of_ribs_sent == 2).await;
    let deletes = kernel.deletes("10.");
    second.shutdown(ShutdownMode::Graceful { text: String::new() }).await;
    until("no prefix", || lab.prefixes() == 0).await;
    deletes
}

#[test]
fn with_bfd_an_upgrade_keeps_the_routes_where_the_router_checks_for_control_plane_failure() {
    let test =
        "paths::with_bfd_an_upgrade_keeps_the_routes_where_the_router_checks_for_control_plane_failure";
    in_lab(test, ASN, |lab| async move {
        watch_in_frr(&lab);
        lab.configure(
            ASN,
            &["bgp graceful-restart", &format!("neighbor {SPEAKER} bfd check-control-plane-failure")],
        );
        assert_eq!(deletes_over_an_upgrade(&lab).await, 0);
    });
}
