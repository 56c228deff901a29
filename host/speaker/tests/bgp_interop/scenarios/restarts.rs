//! Restarts of ours: what the router keeps.

use std::time::Duration;

use bellhop_speaker::bgp::{BgpConfig, BgpHandle, ShutdownMode};

use super::{has, now, speaking};
use crate::netns::{RouteMonitor, until};
use crate::process::{Speaker, V4, V6, restartable};
use crate::router::{Bfd, Router, Setup, Test};
use crate::speaker::{attributes, bfd_state, config, established, routes};

const ALL: usize = (V4 + V6) as usize;

/// Starts the speaker that comes after a restart; nothing is wanted of it yet.
async fn successor(with_bfd: bool) -> BgpHandle {
    let bgp = BgpHandle::start();
    let again = BgpConfig { restarting: true, ..config(restartable(with_bfd)) };
    assert_eq!(bgp.configure(again).await, []);
    bgp
}

/// Every route is there, and stale where the router says so.
fn keeps_all<R: Router>(router: &R) -> bool {
    let table = router.table();
    table.len() == ALL && table.values().all(|heard| heard.stale == R::SHOWS_STALE)
}

async fn settled<R: Router>(test: &Test, router: &R) -> RouteMonitor {
    if R::HAS_FIB {
        until("every route in the kernel", || test.site.kernel_routes() == ALL).await;
    }
    assert!(router.table().values().all(|heard| !heard.stale));
    // The router takes the session's end for a restart once it has worked off the End-of-RIBs, which it does not show.
    tokio::time::sleep(Duration::from_millis(500)).await;
    test.site.watch_kernel()
}

pub(crate) async fn graceful_restart<R: Router>(test: Test) {
    let router = R::start(&test.site, &Setup::default());
    let first = speaking(&router, restartable(false), (V4, V6), &attributes(1)).await;
    until("both End-of-RIBs", || now(&first).counters.end_of_ribs_sent == 2).await;
    let kernel = settled(&test, &router).await;
    first.shutdown(ShutdownMode::Silent).await;
    until("the router misses us", || !router.is_established()).await;
    until("every route is kept", || keeps_all(&router)).await;
    // Half of the restart time after its start it connects without having anything complete to announce.
    let second = successor(false).await;
    established(&second).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(keeps_all(&router), "{:?}", router.table());
    assert_eq!((now(&second).updates_sent, kernel.deletes("")), (0, 0));
    // One of them does not come again: it goes at End-of-RIB.
    second.routes(routes(V4 - 1, V6, Some(&attributes(1)))).await;
    second.ready().await;
    let swept = || {
        let table = router.table();
        table.len() == ALL - 1 && table.values().all(|heard| !heard.stale)
    };
    until("the rest is fresh and one is swept", swept).await;
    if R::HAS_FIB {
        until("its delete in the kernel", || test.site.kernel_routes() == ALL - 1).await;
        until("its delete is told", || kernel.deletes("") == 1).await;
    }
    second.shutdown(ShutdownMode::Silent).await;
}

/// A speaker that is killed, and comes back after the router's BFD has seen it, if it has any. Returns how many routes the
/// router's kernel deleted.
async fn killed<R: Router>(test: &Test, bfd: Bfd, gone: impl Fn(&R) -> bool) -> usize {
    let with_bfd = bfd != Bfd::Off;
    let router = R::start(&test.site, &Setup { bfd, ..Setup::default() });
    let mut first = Speaker::start(&test.name, with_bfd);
    has(&router, ALL).await;
    until("the path is up", || router.path_is_up() == with_bfd).await;
    let kernel = settled(test, &router).await;
    first.kill();
    until("the router misses us", || !router.is_established() && !router.path_is_up()).await;
    until("what it does then", || gone(&router)).await;
    let second = successor(with_bfd).await;
    second.routes(routes(V4, V6, Some(&attributes(1)))).await;
    second.ready().await;
    established(&second).await;
    until("both End-of-RIBs", || now(&second).counters.end_of_ribs_sent == 2).await;
    let fresh = || {
        let table = router.table();
        table.len() == ALL && table.values().all(|heard| !heard.stale)
    };
    until("every route is fresh", fresh).await;
    if with_bfd {
        until("the path is up again", || bfd_state(&second) == "Up" && router.path_is_up()).await;
        assert_eq!(now(&second).counters.downs, 0);
    }
    if R::HAS_FIB {
        until("every route in the kernel", || test.site.kernel_routes() == ALL).await;
    }
    let deletes = kernel.deletes("");
    second.shutdown(ShutdownMode::Silent).await;
    deletes
}

pub(crate) async fn killed_and_kept<R: Router>(test: Test) {
    let bfd = if R::BFD_DOWN.is_some() { Bfd::Graceful } else { Bfd::Off };
    assert_eq!(killed::<R>(&test, bfd, keeps_all).await, 0);
}

pub(crate) async fn killed_and_lost<R: Router>(test: Test) {
    let nothing = |router: &R| router.table().is_empty();
    assert_eq!(killed::<R>(&test, Bfd::Plain, nothing).await, ALL);
}
