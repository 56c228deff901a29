//! What a router announces to the speaker: counted, and nothing of it kept.

use std::fmt::Write as _;
use std::sync::Arc;

use bellhop_core::RouteAttributes;
use bellhop_core::peer::Neighbour;
use bellhop_speaker::bgp::{BgpHandle, PeerConfig, ShutdownMode, State};

use super::routes;
use crate::lab::{PEER, SPEAKER, config, established, in_lab, peer, run, until};

const ASN: u32 = 64513;
const ROUTER_V6: &str = "2001:db8:ffff::1";
const SPEAKER_V6: &str = "2001:db8:ffff::2";
/// The session over which the router sends back what it has from the other one.
const ECHO: &str = "echo";
/// More than what the allocator may hold on to, far less than the routes would need.
const GROWTH: u64 = 8 << 20;

/// Resident memory of this process, in octets.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

fn received(bgp: &BgpHandle, peer: &str) -> u64 {
    bgp.snapshot().peers.get(peer).map_or(0, |peer| peer.counters.prefixes_received)
}

// case: bgp-38
#[test]
fn a_router_that_sends_all_our_routes_back_costs_neither_session_nor_memory() {
    in_lab(
        "received::a_router_that_sends_all_our_routes_back_costs_neither_session_nor_memory",
        ASN,
        |lab| async move {
            let neighbour = format!("neighbor {SPEAKER_V6}");
            let families = ["ipv4", "ipv6"].map(|family| format!("address-family {family} unicast"));
            let activate = format!("{neighbour} activate");
            lab.configure(
                ASN,
                &[
                    &format!("{neighbour} remote-as 64512"),
                    &format!("{neighbour} timers connect 1"),
                    &format!("{neighbour} advertisement-interval 0"),
                    &families[0],
                    &activate,
                    "exit-address-family",
                    &families[1],
                    &activate,
                ],
            );
            let bgp = BgpHandle::start();
            let mut both = config(peer(ASN));
            assert_eq!(bgp.configure(both.clone()).await, []);
            bgp.routes(routes(10_000, 1_000, Some(&Arc::new(RouteAttributes::default())))).await;
            bgp.ready().await;
            established(&bgp).await;
            until("11,000 prefixes", || lab.prefixes() == 11_000).await;
            // The router listens on its IPv4 address alone, and dials.
            let echo = PeerConfig {
                name: ECHO.into(),
                neighbour: Neighbour::Address(ROUTER_V6.parse().unwrap()),
                passive: true,
                ..peer(ASN)
            };
            both.peers.insert(ECHO.into(), echo);
            assert_eq!(bgp.configure(both).await, []);
            until("all routes come back", || received(&bgp, ECHO) >= 11_000).await;
            let before = resident();
            for round in 2..=6 {
                lab.vtysh(&format!("clear bgp {SPEAKER_V6} soft out"));
                until("all routes come back once more", || received(&bgp, ECHO) >= 11_000 * round).await;
            }
            let growth = resident().saturating_sub(before);
            println!("{} prefixes came back: {} KiB more", received(&bgp, ECHO), growth >> 10);
            assert!(growth < GROWTH, "{growth}");
            let snapshot = bgp.snapshot();
            for name in [PEER, ECHO] {
                let peer = &snapshot.peers[name];
                assert_eq!((peer.state, peer.counters.downs), (State::Established, 0), "{name}");
            }
            assert_eq!(lab.prefixes(), 11_000);
            bgp.shutdown(ShutdownMode::Silent).await;
        },
    );
}

// case: bgp-39
#[test]
fn a_hundred_thousand_routes_of_a_router_are_counted_and_cost_no_memory() {
    in_lab(
        "received::a_hundred_thousand_routes_of_a_router_are_counted_and_cost_no_memory",
        ASN,
        |lab| async move {
            let bgp = BgpHandle::start();
            assert_eq!(bgp.configure(config(peer(ASN))).await, []);
            bgp.routes(routes(10, 0, Some(&Arc::new(RouteAttributes::default())))).await;
            bgp.ready().await;
            established(&bgp).await;
            until("ten prefixes", || lab.prefixes() == 10).await;
            let before = resident();
            let mut text =
                format!("router bgp {ASN}\n no bgp network import-check\n address-family ipv4 unicast\n");
            for i in 0..100_000u32 {
                let _ = writeln!(text, "  network 11.{}.{}.{}/32", i / 65_536, i / 256 % 256, i % 256);
            }
            let file = lab.site.folder.join("networks.conf");
            std::fs::write(&file, text).unwrap();
            let command = format!("vtysh --vty_socket {} -f {}", lab.site.folder.display(), file.display());
            // Beside the task, which has keepalives to send meanwhile.
            tokio::task::spawn_blocking(move || run(&command)).await.unwrap();
            until("a hundred thousand prefixes", || received(&bgp, PEER) >= 100_000).await;
            let growth = resident().saturating_sub(before);
            println!("{} prefixes received: {} KiB more", received(&bgp, PEER), growth >> 10);
            assert!(growth < GROWTH, "{growth}");
            let snapshot = bgp.snapshot();
            assert_eq!(
                (snapshot.peers[PEER].state, snapshot.peers[PEER].counters.downs),
                (State::Established, 0)
            );
            let summary = lab.show("show bgp ipv4 unicast summary json");
            assert_eq!(summary["peers"][SPEAKER]["pfxRcd"], 10, "{summary}");
            bgp.shutdown(ShutdownMode::Silent).await;
        },
    );
}
