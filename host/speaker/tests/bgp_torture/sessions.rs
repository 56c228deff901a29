//! Neighbours that speak less than everything, or say it in an unusual way.

use std::time::{Duration, Instant};

use bellhop_core::{Family, RouteAttributes};
use bellhop_speaker::bgp::{GracefulRestart, PeerConfig};

use crate::messages::{
    Heard, HeardOpen, NOTIFICATION, Open, ROUTER_ASN, capability, four_octet, good_open, graceful_restart,
    ipv4, ipv6, keepalive, message, update,
};
use crate::peer::Wire;
use crate::speaker::{PEER, Speaker, host_routes};

// case: bgp-21
#[tokio::test]
async fn with_hold_time_0_no_keepalive_is_sent_and_none_is_waited_for() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let mut silent = router.session().await;
    assert_eq!(speaker.established().await.hold_time, 0);
    silent.initial(2).await;
    // Longer than the least hold time there is.
    let heard = silent.hear_within(Duration::from_millis(3500)).await;
    assert_eq!(heard, None, "neither a KEEPALIVE nor the end");
    speaker.announce(PEER, host_routes(1), Some(RouteAttributes::default())).await;
    assert_eq!(silent.update().await.announced.len(), 1);
    speaker.bystander_hears().await;
}

/// The hold time of a session of these proposals, in which KEEPALIVEs come every third of it, less jitter.
async fn hold_time(ours: u64, theirs: u16) -> u64 {
    let (mut speaker, router) = Speaker::with_router(|peer| peer.hold_time = Duration::from_secs(ours)).await;
    let mut wire = router.session_with(&Open { hold_time: theirs, ..good_open() }).await;
    let hold_time = speaker.established().await.hold_time;
    wire.initial(2).await;
    let third = Duration::from_secs(hold_time) / 3;
    assert_eq!(wire.hear().await, Ok(Heard::Keepalive));
    for _ in 0..3 {
        let before = Instant::now();
        assert_eq!(wire.hear().await, Ok(Heard::Keepalive));
        wire.write(&keepalive()).await;
        let between = before.elapsed();
        // Half a second for a machine that is busy.
        let bounds = third * 3 / 4 - Duration::from_millis(100)..=third + Duration::from_millis(500);
        assert!(bounds.contains(&between), "{between:?} in a session of {hold_time} s");
    }
    // Silence from here on.
    let since = Instant::now();
    assert_eq!(wire.notification().await, (4, 0, vec![]));
    let waited = since.elapsed();
    let bounds = third * 3 - Duration::from_millis(500)..=third * 3 + Duration::from_secs(1);
    assert!(bounds.contains(&waited), "{waited:?} in a session of {hold_time} s");
    assert!(speaker.last_error().await.contains("Hold Timer Expired"));
    speaker.bystander_hears().await;
    hold_time
}

// case: bgp-22
#[tokio::test]
async fn the_lesser_hold_time_counts_and_a_keepalive_goes_every_third_of_it() {
    assert_eq!(hold_time(90, 3).await, 3);
    assert_eq!(hold_time(3, 180).await, 3);
}

// case: bgp-23
#[tokio::test]
async fn a_neighbour_without_capabilities_gets_ipv4_alone_and_two_octet_as_numbers() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let v6 = "2001:db8:1::1/128".parse().unwrap();
    speaker.announce(PEER, host_routes(1).chain([v6]), Some(RouteAttributes::default())).await;
    let mut wire = router.session_with(&Open::with(&[])).await;
    let status = speaker.established().await;
    assert_eq!(status.families, [Family::Ipv4]);
    let updates = wire.initial(1).await;
    assert_eq!(updates.len(), 1, "{updates:?}");
    assert_eq!(updates[0].announced, host_routes(1).collect::<Vec<_>>());
    assert_eq!(updates[0].attributes[&2], [2, 1, 0xFC, 0x00], "AS_PATH of two octets");
    let status = speaker.peer(PEER);
    assert_eq!((status.prefixes_wanted, status.prefixes_sent), (2, 1));
    assert_eq!((status.refused.len(), status.refused[0].family), (1, Family::Ipv6));
    assert!(status.refused[0].reason.contains("did not negotiate"), "{:?}", status.refused);
    speaker.bystander_hears().await;
}

fn codes(open: &HeardOpen) -> Vec<u8> {
    open.capabilities.iter().map(|(code, _)| *code).collect()
}

// case: bgp-24
#[tokio::test]
async fn a_neighbour_that_answers_2_7_is_offered_fewer_capabilities_from_then_on() {
    let restart = GracefulRestart {
        restart_time: Duration::from_secs(120),
        forwarding_preserved: true,
        notification: true,
    };
    let (mut speaker, router) = Speaker::with_router(|peer| peer.graceful_restart = Some(restart)).await;
    let mut offered = Vec::new();
    for _ in 0..2 {
        let mut wire = router.dialled().await;
        offered.push(codes(&wire.open().await));
        wire.write(&message(NOTIFICATION, &[2, 7])).await;
        wire.end().await;
    }
    assert!(speaker.last_error().await.contains("received NOTIFICATION 2/7 (Unsupported Capability)"));
    assert_eq!(offered, [vec![1, 1, 2, 70, 64, 65], vec![1, 1, 65]]);
    // Remembered also after a session that came up.
    for _ in 0..2 {
        let (mut wire, open) = router.opened(&Open::with(&[])).await;
        assert_eq!(codes(&open), [0; 0], "after two refusals");
        wire.confirm().await;
        wire.initial(1).await;
    }
    speaker.bystander_hears().await;
}

/// The OPEN of RFC 9072 with these capabilities, each in a parameter of its own.
fn extended(capabilities: &[Vec<u8>]) -> Open {
    let mut inside = Vec::new();
    for capability in capabilities {
        inside.push(2);
        inside.extend(u16::try_from(capability.len()).unwrap().to_be_bytes());
        inside.extend(capability);
    }
    let mut parameters = vec![255, 255];
    parameters.extend(u16::try_from(inside.len()).unwrap().to_be_bytes());
    parameters.extend(inside);
    Open { parameters, ..good_open() }
}

// case: bgp-26
#[tokio::test]
async fn an_open_in_the_extended_form_is_understood_whether_it_needs_that_form_or_not() {
    let short = vec![ipv4(), ipv6(), four_octet(u32::from(ROUTER_ASN))];
    let long = [short.clone(), vec![capability(200, &[7; 250]); 15]].concat();
    for capabilities in [short, long] {
        let (mut speaker, router) = Speaker::with_router(|_| {}).await;
        let mut wire = router.session_with(&extended(&capabilities)).await;
        assert_eq!(speaker.established().await.families, Family::ALL);
        wire.initial(2).await;
        speaker.bystander_hears().await;
    }
}

// case: bgp-27
#[tokio::test]
async fn a_four_octet_as_shows_itself_to_a_neighbour_of_two_as_as_trans_with_as4_path() {
    let (mut speaker, router) = Speaker::with_router(|peer| peer.local_asn = 4_200_000_000).await;
    let attributes = RouteAttributes { prepend: 1, ..RouteAttributes::default() };
    speaker.announce(PEER, host_routes(1), Some(attributes)).await;
    let (mut wire, open) = router.opened(&Open::with(&[ipv4()])).await;
    assert_eq!(open.asn, 23456);
    let octets = 4_200_000_000_u32.to_be_bytes();
    assert!(open.capabilities.contains(&(65, octets.to_vec())), "{open:?}");
    wire.confirm().await;
    let updates = wire.initial(1).await;
    assert_eq!(updates[0].attributes[&2], [2, 2, 0x5B, 0xA0, 0x5B, 0xA0], "AS_PATH");
    assert_eq!(updates[0].attributes[&17], [&[2, 2], &octets[..], &octets].concat(), "AS4_PATH");
    speaker.bystander_hears().await;
}

/// What a removed peer hears whose OPEN had these two Graceful Restart capabilities.
async fn farewell(first: Vec<u8>, second: Vec<u8>) -> (u8, u8, Vec<u8>) {
    let restart = GracefulRestart {
        restart_time: Duration::from_secs(120),
        forwarding_preserved: true,
        notification: true,
    };
    let (mut speaker, router) = Speaker::with_router(|peer| peer.graceful_restart = Some(restart)).await;
    let unknown = [capability(200, &[1, 2, 3]), capability(0, &[]), capability(1, &[1, 2, 3, 4])];
    let known = [ipv4(), ipv4(), first, four_octet(u32::from(ROUTER_ASN)), ipv6(), ipv4(), second];
    let mut wire = router.session_with(&Open::with(&[&unknown[..], &known].concat())).await;
    let status = speaker.established().await;
    assert_eq!((status.families, status.graceful_restart), (Family::ALL.to_vec(), true));
    wire.initial(2).await;
    speaker.remove(PEER).await;
    speaker.bystander_hears().await;
    wire.notification().await
}

// case: bgp-28
#[tokio::test]
async fn capabilities_may_come_twice_or_be_unknown_and_the_last_graceful_restart_counts() {
    // The N bit shows in how the session is ended: by a Hard Reset, or not.
    let (with, without) = (graceful_restart(false, true), graceful_restart(false, false));
    assert_eq!(farewell(with.clone(), without.clone()).await, (6, 3, vec![]));
    assert_eq!(farewell(without, with).await, (6, 9, vec![6, 3]));
}

/// The session of a neighbour over IPv6, which has one loopback address for all.
#[tokio::test]
async fn a_session_over_ipv6_takes_the_same() {
    let mut speaker = Speaker::start(crate::speaker::Place::new()).await;
    let router = crate::peer::Router::at("::1".parse().unwrap());
    let mut config = crate::speaker::peer(PEER, router.address);
    config.peer_port = router.port();
    speaker.add(PeerConfig { next_hop_v4: "192.0.2.1".parse().ok(), next_hop_v6: None, ..config }).await;
    let mut bad = router.dialled().await;
    bad.open().await;
    bad.write(&Open { hold_time: 1, ..good_open() }.octets()).await;
    assert_eq!(bad.notification().await, (2, 6, vec![]));
    let v6 = "2001:db8:1::1/128".parse().unwrap();
    speaker.announce(PEER, host_routes(1).chain([v6]), Some(RouteAttributes::default())).await;
    let mut wire: Wire = router.session().await;
    let updates = wire.initial(2).await;
    let announced: Vec<_> = updates.iter().flat_map(|update| &update.announced).copied().collect();
    assert_eq!(announced, host_routes(1).chain([v6]).collect::<Vec<_>>());
    wire.write(&update(&[], &[], &[33, 1, 2, 3, 4, 5])).await;
    assert_eq!(wire.notification().await, (3, 10, vec![33, 1, 2, 3, 4, 5]));
    speaker.bystander_hears().await;
}
