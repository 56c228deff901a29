//! What arrives.

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::RouteAttributes;
use bellhop_core::route::{Community, LargeCommunity};
use bellhop_speaker::bgp::{PeerConfig, ShutdownMode};

use super::{has, now, speaking};
use crate::netns::{SPEAKER, SPEAKER_V6, until};
use crate::router::{ASN, Heard, Router, Setup, Test};
use crate::speaker::{LOCAL_ASN, attributes, peer, routes};

/// Everything that a decision may set; the route target is `rt:64512:100`.
fn everything() -> RouteAttributes {
    RouteAttributes {
        communities: vec![Community(64512 << 16 | 7), Community::NO_EXPORT],
        large_communities: vec![LargeCommunity { global: 64512, local1: 1, local2: 2 }],
        extended_communities: vec![0x0002_FC00_0000_0064],
        local_preference: Some(250),
        med: Some(5),
        prepend: 2,
        ..RouteAttributes::default()
    }
}

fn set(words: &[&str]) -> std::collections::BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The route of [`everything`] with this next hop.
fn expected(next_hop: &str) -> Heard {
    Heard {
        next_hop: next_hop.parse().unwrap(),
        as_path: vec![LOCAL_ASN; 3],
        med: Some(5),
        local_preference: None,
        communities: set(&["64512:7", "65535:65281"]),
        large: set(&["64512:1:2"]),
        extended: set(&["rt:64512:100"]),
        stale: false,
    }
}

async fn arrive_whole<R: Router>(test: Test, asn: u32, of_session: impl Fn(Heard) -> Heard) {
    let router = R::start(&test.site, &Setup { asn, ..Setup::default() });
    let bgp = speaking(&router, peer(asn), (3, 3), &Arc::new(everything())).await;
    let table = router.table();
    assert_eq!(table.len(), 6);
    for (prefix, heard) in table {
        let next_hop = if prefix.addr().is_ipv4() { SPEAKER } else { SPEAKER_V6 };
        assert_eq!(heard, of_session(expected(next_hop)), "{prefix}");
    }
    // A decision may name another next hop.
    let elsewhere: IpAddr = "198.18.0.77".parse().unwrap();
    let moved = RouteAttributes { next_hop: Some(elsewhere), ..everything() };
    bgp.routes(routes(1, 0, Some(&Arc::new(moved)))).await;
    let first = "10.0.0.0/32".parse().unwrap();
    until("the other next hop", || router.table()[&first].next_hop == elsewhere).await;
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn attributes_external<R: Router>(test: Test) {
    let external = |heard| Heard { local_preference: R::OWN_PREFERENCE, ..heard };
    arrive_whole::<R>(test, ASN, external).await;
}

pub(crate) async fn attributes_internal<R: Router>(test: Test) {
    let internal = |heard| Heard { local_preference: Some(250), as_path: vec![], ..heard };
    arrive_whole::<R>(test, LOCAL_ASN, internal).await;
}

pub(crate) async fn eleven_thousand<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup::default());
    let bgp = speaking(&router, peer(ASN), (10_000, 1_000), &attributes(1)).await;
    // The End-of-RIBs are two of them.
    assert!(now(&bgp).updates_sent <= 2 + 18, "{} UPDATEs", now(&bgp).updates_sent);
    if R::HAS_FIB {
        until("the kernel has them", || test.site.kernel_routes() == 11_000).await;
    }
    bgp.routes(routes(10_000, 1_000, None)).await;
    has(&router, 0).await;
    if R::HAS_FIB {
        until("the kernel has none", || test.site.kernel_routes() == 0).await;
    }
    assert_eq!(now(&bgp).counters.downs, 0);
    assert!(router.is_established());
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn other_attributes<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup::default());
    let bgp = speaking(&router, peer(ASN), (20, 5), &attributes(5)).await;
    if R::HAS_FIB {
        until("25 routes in the kernel", || test.site.kernel_routes() == 25).await;
    }
    let kernel = test.site.watch_kernel();
    let before = router.withdrawals();
    bgp.routes(routes(20, 5, Some(&attributes(6)))).await;
    let all_new = || router.table().values().filter(|heard| heard.med == Some(6)).count() == 25;
    until("the new MED in every route", all_new).await;
    assert_eq!(router.withdrawals(), before);
    assert_eq!(now(&bgp).counters.prefixes_withdrawn, 0);
    // zebra 8.4 replaces IPv6 routes by delete and add, whatever changed.
    assert_eq!(kernel.deletes("10."), 0);
    // The counts can see a withdrawal.
    bgp.routes(routes(1, 0, None)).await;
    has(&router, 24).await;
    assert_eq!(router.withdrawals(), before + 1);
    if R::HAS_FIB {
        until("its delete in the kernel", || kernel.deletes("10.") == 1).await;
    }
    bgp.shutdown(ShutdownMode::Silent).await;
}

pub(crate) async fn route_refresh<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup::default());
    let bgp = speaking(&router, peer(ASN), (20, 5), &attributes(1)).await;
    until("both End-of-RIBs", || now(&bgp).counters.end_of_ribs_sent == 2).await;
    let before = (router.table(), now(&bgp).counters);
    router.refresh();
    until("both families asked for", || now(&bgp).counters.refreshes_answered == 2).await;
    until("all sent again", || now(&bgp).counters.prefixes_announced == 50).await;
    // The answer is through when something after it is.
    bgp.routes(routes(21, 0, Some(&attributes(1))).split_off(20)).await;
    has(&router, 26).await;
    let mut after = router.table();
    after.remove(&"10.0.0.20/32".parse().unwrap());
    assert_eq!(after, before.0);
    assert_eq!(router.withdrawals(), 0);
    assert_eq!(now(&bgp).counters.downs, 0);
    bgp.shutdown(ShutdownMode::Silent).await;
}

/// A peer with the shortest hold time.
pub(super) fn quick(asn: u32) -> PeerConfig {
    PeerConfig { hold_time: std::time::Duration::from_secs(3), ..peer(asn) }
}
