//! Too much of everything: connections, routes, attributes.

use std::time::Duration;

use bellhop_core::RouteAttributes;
use bellhop_core::route::{Community, LargeCommunity};
use ipnet::IpNet;

use crate::endings::sockets;
use crate::messages::{attributes, good_open, nlri, update};
use crate::peer::Wire;
use crate::speaker::{PEER, Place, Speaker, alone, host_routes, passive, tasks, until};

/// Connections of one neighbour that may be open at once, those included that say farewell; and one that is being accepted.
const OPEN_AT_ONCE: usize = 17;
/// Memory that may be taken for nothing that lasts: buffers of the allocator and of the runtime.
const NOISE_KB: u64 = 6 * 1024;

/// Resident memory of this process in kB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A thousand connections from one address, all kept open on the far side; the most sockets and tasks of the speaker at once.
async fn thousand(speaker: &Speaker, from: u8) -> (usize, usize) {
    let (place, to) = (speaker.place, speaker.address());
    let mut kept = Vec::new();
    let mut most = (0, 0);
    for _ in 0..1000 {
        // Some are reset before they are told to be open.
        kept.extend(Wire::dial(place.host(from), to).await.ok());
        most = (most.0.max(sockets(place.host(1))), most.1.max(tasks()));
    }
    most
}

#[tokio::test]
async fn a_thousand_connections_of_strangers_leave_nothing() {
    let mut speaker = Speaker::start(Place::new()).await;
    let before = (tasks(), sockets(speaker.place.host(1)));
    let most = thousand(&speaker, 77).await;
    assert!(most.0 < before.1 + 70, "{} sockets at once, of which 64 wait to be accepted", most.0);
    assert_eq!(most.1, before.0, "no task for a stranger");
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn a_thousand_connections_of_a_neighbour_are_a_few_at_once_and_its_session_comes_up() {
    let mut speaker = Speaker::start(Place::new()).await;
    let place = speaker.place;
    speaker.add(passive(PEER, place.host(2))).await;
    let before = (tasks(), sockets(place.host(1)));
    let most = thousand(&speaker, 2).await;
    assert!(most.0 < before.1 + 70 + OPEN_AT_ONCE, "{} sockets at once", most.0);
    assert!(most.1 < before.0 + OPEN_AT_ONCE, "{} tasks at once, {} before", most.1, before.0);
    speaker.bystander_hears().await;
    // The neighbour itself, now that whoever had its address is done.
    let mut wire = loop {
        let mut wire = Wire::dial(place.host(2), speaker.address()).await.unwrap();
        if wire.try_write(&good_open().octets()).await.is_ok() && wire.hear().await.is_ok() {
            break wire;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    wire.confirm().await;
    speaker.established().await;
    until("one connection more", || sockets(place.host(1)) == before.1 + 1).await;
    until("the tasks of one connection", || tasks() == before.0 + 1).await;
}

#[tokio::test]
async fn a_thousand_connections_beside_a_session_do_not_touch_it() {
    let mut speaker = Speaker::start(Place::new()).await;
    let place = speaker.place;
    speaker.add(passive(PEER, place.host(2))).await;
    let mut wire = Wire::dial(place.host(2), speaker.address()).await.unwrap();
    wire.open().await;
    wire.write(&good_open().octets()).await;
    wire.confirm().await;
    let since = speaker.established().await.established_since;
    wire.initial(2).await;
    let before = tasks();
    let most = thousand(&speaker, 2).await;
    assert!(most.1 < before + OPEN_AT_ONCE, "{} tasks at once, {before} before", most.1);
    speaker.announce(PEER, host_routes(1), Some(RouteAttributes::default())).await;
    assert_eq!(wire.update().await.announced.len(), 1);
    let status = speaker.peer(PEER);
    assert_eq!((status.established_since, status.counters.downs), (since, 0));
    speaker.bystander_hears().await;
}

/// The octets of one announcement for each 700 of these prefixes.
fn announcements(prefixes: impl Iterator<Item = IpNet>, path: &[u32]) -> Vec<Vec<u8>> {
    let prefixes: Vec<IpNet> = prefixes.collect();
    prefixes.chunks(700).map(|some| update(&[], &attributes(path), &nlri(some.iter().copied()))).collect()
}

// case: bgp-38
#[tokio::test]
async fn a_router_that_echoes_eleven_thousand_routes_changes_neither_session_nor_memory() {
    if !alone("flood::a_router_that_echoes_eleven_thousand_routes_changes_neither_session_nor_memory") {
        return;
    }
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    speaker.announce(PEER, host_routes(11_000), Some(RouteAttributes::default())).await;
    let mut wire = router.session().await;
    let since = speaker.established().await.established_since;
    let heard: usize = wire.initial(2).await.iter().map(|update| update.announced.len()).sum();
    assert_eq!(heard, 11_000);
    let before = speaker.peer(PEER);
    let echoes = announcements(host_routes(11_000), &[64513, 64512]);
    let mut resident = 0;
    for round in 0..20 {
        for echo in &echoes {
            wire.write(echo).await;
        }
        let received = (round + 1) * 11_000;
        speaker.until("the echo", |speaker| speaker.peer(PEER).counters.prefixes_received == received).await;
        // What is taken once, the first round takes.
        if round == 0 {
            resident = memory();
        }
    }
    assert!(memory() < resident + NOISE_KB, "{resident} kB before, {} kB after", memory());
    let status = speaker.peer(PEER);
    assert_eq!((status.established_since, status.counters.downs), (since, 0));
    assert_eq!((status.prefixes_wanted, status.prefixes_sent), (11_000, 11_000));
    assert_eq!(status.counters.updates_sent, before.counters.updates_sent, "an echo is not answered");
    assert_eq!(speaker.bgp.routes_sent(&PEER.into()).len(), 11_000);
    speaker.bystander_hears().await;
}

// case: bgp-39
#[tokio::test]
async fn a_hundred_thousand_routes_of_a_router_are_counted_and_take_no_memory() {
    if !alone("flood::a_hundred_thousand_routes_of_a_router_are_counted_and_take_no_memory") {
        return;
    }
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let mut wire = router.session().await;
    let since = speaker.established().await.established_since;
    wire.initial(2).await;
    let updates = announcements(host_routes(100_000), &[64513, 64514, 64515]);
    let resident = memory();
    for update in &updates {
        wire.write(update).await;
        speaker.peer(PEER);
    }
    speaker.until("all of them", |speaker| speaker.peer(PEER).counters.prefixes_received == 100_000).await;
    // Kept, they would take 10 MB and more.
    assert!(memory() < resident + NOISE_KB, "{resident} kB before, {} kB after", memory());
    let status = speaker.peer(PEER);
    assert_eq!((status.established_since, status.counters.downs), (since, 0));
    assert_eq!((status.prefixes_wanted, status.prefixes_sent), (0, 0));
    assert_eq!(speaker.bgp.routes_sent(&PEER.into()).len(), 0);
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn attributes_that_fit_no_message_are_refused_with_the_name_of_a_route_and_the_others_go_out() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let large = |local2| LargeCommunity { global: 64512, local1: 1, local2 };
    let huge = RouteAttributes {
        communities: (0..200).map(Community).collect(),
        large_communities: (0..300).map(large).collect(),
        ..RouteAttributes::default()
    };
    let mut wire = router.session().await;
    speaker.established().await;
    wire.initial(2).await;
    let refused: IpNet = "198.51.100.7/32".parse().unwrap();
    speaker.announce(PEER, [refused], Some(huge)).await;
    speaker.announce(PEER, host_routes(2), Some(RouteAttributes::default())).await;
    assert_eq!(wire.update().await.announced.len(), 2);
    let status = speaker.peer(PEER);
    assert_eq!((status.prefixes_wanted, status.prefixes_sent), (3, 2));
    let [refusal] = &status.refused[..] else { panic!("{:?}", status.refused) };
    assert_eq!((refusal.prefixes, refusal.first), (1, refused));
    for words in ["the attributes are 44", "message of 4096"] {
        assert!(refusal.reason.contains(words), "{:?} does not say {words:?}", refusal.reason);
    }
    // With attributes that fit it goes out.
    speaker.announce(PEER, [refused], Some(RouteAttributes::default())).await;
    assert_eq!(wire.update().await.announced, [refused]);
    assert!(speaker.peer(PEER).refused.is_empty());
    speaker.bystander_hears().await;
}
