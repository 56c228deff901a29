//! Coming up, and who may.

use std::time::Duration;

use bellhop_core::Password;
use bellhop_speaker::bgp::{Authentication, BgpHandle, PeerConfig, ShutdownMode, State};

use super::{has, now, speaking};
use crate::netns::{said, until};
use crate::router::{ASN, Router, Setup, Test};
use crate::speaker::{attributes, config, established, peer, routes};

/// What must not come about does not within this: dials are repeated every second, and a session takes milliseconds.
const NEVER: Duration = Duration::from_secs(3);
/// Routes that a router announces.
const OF_THE_ROUTER: u32 = 200;

pub(crate) async fn whoever_dials<R: Router>(test: Test) {
    let waits = R::start(&test.site, &Setup { passive: true, ..Setup::default() });
    let bgp = speaking(&waits, peer(ASN), (3, 3), &attributes(1)).await;
    assert!(waits.is_established());
    assert!(now(&bgp).counters.dials >= 1);
    bgp.shutdown(ShutdownMode::Graceful { text: String::new() }).await;
    drop(waits);

    let dials = R::start(&test.site, &Setup::default());
    let passive = PeerConfig { passive: true, ..peer(ASN) };
    let bgp = speaking(&dials, passive, (3, 3), &attributes(1)).await;
    assert!(dials.is_established());
    assert_eq!(now(&bgp).counters.dials, 0);
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn password<R: Router>(test: Test) {
    let signed = |password: &str| {
        let password = Password::new(password.as_bytes()).unwrap();
        PeerConfig { authentication: Authentication::Password(password), ..peer(ASN) }
    };
    let router = R::start(&test.site, &Setup { password: Some("hush"), ..Setup::default() });
    let bgp = BgpHandle::start();
    for wrong in [peer(ASN), signed("hash")] {
        assert_eq!(bgp.configure(config(wrong)).await, []);
        bgp.routes(routes(3, 3, Some(&attributes(1)))).await;
        bgp.ready().await;
        let mut snapshots = bgp.subscribe();
        let up = snapshots.wait_for(|now| now.peers.values().any(|peer| peer.state == State::Established));
        assert!(tokio::time::timeout(NEVER, up).await.is_err(), "a session came up that must not");
        assert!(!router.is_established());
    }
    assert_eq!(bgp.configure(config(signed("hush"))).await, []);
    established(&bgp).await;
    has(&router, 6).await;
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn routes_of_the_router<R: Router>(test: Test) {
    let kernel = || {
        let mut all = said(std::process::Command::new("ip").args(["-o", "address"]));
        for family in ["-4", "-6"] {
            all += &said(std::process::Command::new("ip").args([family, "route", "show", "table", "all"]));
        }
        // A link-local address is tentative for some moments.
        all.lines().filter(|line| !line.contains("fe80:")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = kernel();
    let router = R::start(&test.site, &Setup { own_routes: OF_THE_ROUTER, ..Setup::default() });
    let bgp = speaking(&router, peer(ASN), (5, 5), &attributes(1)).await;
    until("the router's routes", || now(&bgp).counters.prefixes_received >= u64::from(OF_THE_ROUTER)).await;
    assert_eq!(kernel(), before, "a route of the router's came into our kernel");
    let after = now(&bgp);
    assert_eq!((after.state, after.counters.downs), (State::Established, 0));
    // Ten routes of one set: one UPDATE of each family, and the End-of-RIBs.
    assert_eq!((after.prefixes_sent, after.updates_sent), (10, 4));
    assert_eq!(router.count(), 10);
    bgp.shutdown(ShutdownMode::Silent).await;
}
