//! How sessions end, and come back.

use std::time::Duration;

use bellhop_speaker::bgp::{BgpHandle, PeerConfig, ShutdownMode, State};

use super::updates::quick;
use super::{has, now, speaking};
use crate::netns::until;
use crate::router::{ASN, Bfd, Router, Setup, Test};
use crate::speaker::{attributes, bfd, bfd_state, established, peer};

pub(crate) async fn router_restarts<R: Router>(test: Test) {
    let mut router = R::start(&test.site, &Setup::default());
    let bgp = speaking(&router, peer(ASN), (20, 5), &attributes(1)).await;
    router.restart();
    until("the session is lost", || now(&bgp).counters.downs == 1).await;
    established(&bgp).await;
    has(&router, 25).await;
    until("both End-of-RIBs again", || now(&bgp).counters.end_of_ribs_sent == 4).await;
    assert_eq!(now(&bgp).counters.prefixes_announced, 50);
    if R::HAS_FIB {
        until("25 routes in the kernel", || test.site.kernel_routes() == 25).await;
    }
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn hold_timer<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup::default());
    let bgp = speaking(&router, quick(ASN), (5, 5), &attributes(1)).await;
    router.signal("STOP");
    until("the hold timer", || now(&bgp).counters.downs == 1).await;
    let error = now(&bgp).last_error.unwrap_or_default();
    assert!(error.contains("4/0"), "{error}");
    router.signal("CONT");
    until("another session", || now(&bgp).state == State::Established && router.is_established()).await;
    has(&router, 10).await;
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn shutdown_text<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup::default());
    let bgp = speaking(&router, peer(ASN), (5, 5), &attributes(1)).await;
    // FRR takes what comes within the first moments of a session for a part of its beginning.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let text = "maintenance of rack 7, back at noon";
    bgp.shutdown(ShutdownMode::Graceful { text: text.to_owned() }).await;
    until("the text", || router.told().contains(text)).await;
    until("the session is over", || !router.is_established()).await;
    if R::HAS_FIB {
        until("no route in the kernel", || test.site.kernel_routes() == 0).await;
    }
}

pub(crate) async fn bfd_down<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup { bfd: Bfd::Plain, ..Setup::default() });
    let watched = PeerConfig { hold_time: Duration::from_secs(90), bfd: Some(bfd(100, false)), ..peer(ASN) };
    let bgp: BgpHandle = speaking(&router, watched, (5, 5), &attributes(1)).await;
    until("the path is up on both sides", || bfd_state(&bgp) == "Up" && router.path_is_up()).await;
    assert_eq!(now(&bgp).counters.downs, 0);
    router.signal_bfd("STOP");
    let waited = until("the session ends", || now(&bgp).counters.downs == 1).await;
    // Three times 100 ms, and some for a machine that is busy.
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert_eq!(now(&bgp).counters.bfd_downs, 1);
    router.signal_bfd("CONT");
    let told = R::BFD_DOWN.unwrap();
    // A router that wakes may look at its own BFD before it reads what it was told.
    let knows = |words: String| words.contains(told) || words.contains("BFD session down");
    until("the router was told, or found out by itself", || knows(router.told())).await;
    established(&bgp).await;
    until("the path is up again", || bfd_state(&bgp) == "Up" && router.path_is_up()).await;
    has(&router, 10).await;
    bgp.shutdown(ShutdownMode::Silent).await;
}
