//! What is asserted, for any implementation. Each function is a row of [`crate::table`].

mod endings;
mod restarts;
mod sessions;
mod updates;

pub(crate) use endings::*;
pub(crate) use restarts::*;
pub(crate) use sessions::*;
pub(crate) use updates::*;

use std::sync::Arc;

use bellhop_core::RouteAttributes;
use bellhop_speaker::bgp::{BgpHandle, PeerConfig, PeerSnapshot};

use crate::netns::until;
use crate::router::Router;
use crate::speaker::{PEER, config, established, routes};

/// The peer as it is now.
fn now(bgp: &BgpHandle) -> PeerSnapshot {
    bgp.snapshot().peers[PEER].clone()
}

/// A speaker with these routes whose session is up, and whose routes the router has.
async fn speaking<R: Router>(
    router: &R,
    peer: PeerConfig,
    (v4, v6): (u32, u32),
    attributes: &Arc<RouteAttributes>,
) -> BgpHandle {
    let bgp = BgpHandle::start();
    assert_eq!(bgp.configure(config(peer)).await, []);
    bgp.routes(routes(v4, v6, Some(attributes))).await;
    bgp.ready().await;
    established(&bgp).await;
    has(router, (v4 + v6) as usize).await;
    bgp
}

/// Waits until the router has so many prefixes.
async fn has<R: Router>(router: &R, prefixes: usize) {
    until(&format!("{prefixes} prefixes"), || router.count() == prefixes).await;
}
