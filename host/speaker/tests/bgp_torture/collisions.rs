//! Two connections of one neighbour.

use std::net::Ipv4Addr;

use bellhop_core::RouteAttributes;

use crate::messages::{
    HIGH, Heard, LOW, Open, four_octet, good_open, graceful_restart, ipv4, ipv6, keepalive,
};
use crate::peer::{End, Router, Wire};
use crate::speaker::{PEER, Speaker, host_routes};

/// Both dial, and neither has said anything but the speaker's OPENs: the connection it dialled, and the other one.
async fn both_dial(speaker: &Speaker, router: &Router) -> (Wire, Wire) {
    let mut ours = router.dialled().await;
    ours.open().await;
    let mut theirs = Wire::dial(router.address, speaker.address()).await.unwrap();
    theirs.open().await;
    (ours, theirs)
}

async fn lost(mut wire: Wire) {
    assert_eq!(wire.notification().await, (6, 7, vec![]), "the loser of the collision");
}

async fn collide(router_id: Ipv4Addr, ours_first: bool) {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let (mut ours, mut theirs) = both_dial(&speaker, &router).await;
    let open = Open { router_id, ..good_open() }.octets();
    // Where the loser's OPEN comes first, it may be left without an answer until the winner is known.
    if ours_first {
        ours.write(&open).await;
        theirs.try_write(&open).await.ok();
    } else {
        theirs.write(&open).await;
        ours.try_write(&open).await.ok();
    }
    let (mut winner, loser) = if router_id == LOW { (ours, theirs) } else { (theirs, ours) };
    winner.confirm().await;
    lost(loser).await;
    let status = speaker.established().await;
    assert_eq!((status.counters.established, status.counters.downs), (1, 0));
    assert_eq!(status.counters.collisions, 1);
    assert_eq!(status.last_error, None);
    winner.initial(2).await;
    speaker.bystander_hears().await;
}

// case: bgp-3
#[tokio::test]
async fn of_two_connections_ours_stays_where_our_identifier_is_the_higher_and_theirs_gets_6_7() {
    collide(LOW, true).await;
    collide(LOW, false).await;
}

// case: bgp-4
#[tokio::test]
async fn of_two_connections_theirs_stays_where_our_identifier_is_the_lower_and_ours_gets_6_7() {
    collide(HIGH, true).await;
    collide(HIGH, false).await;
}

// case: bgp-6
#[tokio::test]
async fn a_second_connection_beside_a_session_gets_6_7_and_the_session_goes_on() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let mut session = router.session().await;
    let since = speaker.established().await.established_since;
    session.initial(2).await;
    for _ in 0..5 {
        lost(Wire::dial(router.address, speaker.address()).await.unwrap()).await;
    }
    speaker.announce(PEER, host_routes(1), Some(RouteAttributes::default())).await;
    assert_eq!(session.update().await.announced.len(), 1);
    let status = speaker.peer(PEER);
    assert_eq!((status.established_since, status.counters.downs), (since, 0));
    speaker.bystander_hears().await;
}

// case: bgp-6
#[tokio::test]
async fn with_graceful_restart_a_second_connection_replaces_the_session_without_a_word() {
    let restart = bellhop_speaker::bgp::GracefulRestart {
        restart_time: std::time::Duration::from_secs(120),
        forwarding_preserved: true,
        notification: true,
    };
    let (mut speaker, router) = Speaker::with_router(|peer| peer.graceful_restart = Some(restart)).await;
    let capabilities = [ipv4(), ipv6(), four_octet(64513), graceful_restart(false, true)];
    let mut old = router.session_with(&Open::with(&capabilities)).await;
    speaker.announce(PEER, host_routes(3), Some(RouteAttributes::default())).await;
    speaker.established().await;
    // Within five seconds it is the tail of a collision, and refused.
    let mut new = loop {
        let mut new = Wire::dial(router.address, speaker.address()).await.unwrap();
        match new.hear().await {
            Ok(Heard::Open(_)) => break new,
            Ok(Heard::Notification(6, 7, _)) => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(speaker.peer(PEER).counters.downs, 0, "an OPEN that was not answered replaces nothing");
    let capabilities = [ipv4(), ipv6(), four_octet(64513), graceful_restart(true, true)];
    new.write(&Open::with(&capabilities).octets()).await;
    assert_eq!(new.hear().await, Ok(Heard::Keepalive));
    assert_eq!(old.end().await, End::Closed);
    new.write(&keepalive()).await;
    let announced: usize = new.initial(2).await.iter().map(|update| update.announced.len()).sum();
    assert_eq!(announced, 3, "everything is announced again");
    speaker.bystander_hears().await;
}
