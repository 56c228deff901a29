//! Octets that are no BGP, half messages, and messages in pieces.

use std::time::Duration;

use bellhop_core::RouteAttributes;

use crate::messages::{NOTIFICATION, attributes, good_open, keepalive, message, nlri, update};
use crate::peer::{End, Wire};
use crate::speaker::{PEER, SPEAKER_ASN, Speaker, host_routes, passive};

/// SplitMix64, so that each run writes the same octets.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z ^ (z >> 27)
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A speaker whose neighbour dials, as often as it likes.
async fn dialled_by_its_neighbour() -> Speaker {
    let mut speaker = Speaker::start(crate::speaker::Place::new()).await;
    let address = speaker.place.host(2);
    speaker.add(passive(PEER, address)).await;
    speaker
}

async fn dial(speaker: &Speaker) -> Wire {
    let mut wire = Wire::dial(speaker.place.host(2), speaker.address()).await.unwrap();
    wire.open().await;
    wire
}

async fn session(speaker: &Speaker) -> Wire {
    let mut wire = dial(speaker).await;
    wire.write(&good_open().octets()).await;
    wire.confirm().await;
    speaker.established().await;
    wire.initial(2).await;
    wire
}

#[tokio::test]
async fn garbage_gets_1_1_however_long_it_is_and_the_session_comes_up_afterwards() {
    let mut speaker = dialled_by_its_neighbour().await;
    let mut random = Random(7);
    for round in 0..100_usize {
        let mut wire = dial(&speaker).await;
        let octets = random.octets(19 + round * 331);
        // The rest is not read once the marker is wrong.
        wire.try_write(&octets).await.ok();
        assert_eq!(wire.notification().await, (1, 1, vec![]), "round {round}");
    }
    let told = speaker.last_error().await;
    assert_eq!(told, "sent NOTIFICATION 1/1 (Connection Not Synchronized)");
    session(&speaker).await;
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn garbage_within_a_session_ends_it_with_1_1() {
    let mut speaker = dialled_by_its_neighbour().await;
    let mut wire = session(&speaker).await;
    wire.write(&Random(9).octets(100)).await;
    assert_eq!(wire.notification().await, (1, 1, vec![]));
    let status = speaker.peer(PEER);
    assert_eq!((status.counters.downs, status.established_since), (1, None));
    session(&speaker).await;
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn a_neighbour_that_closes_within_a_message_is_said_to_have_closed() {
    let mut speaker = dialled_by_its_neighbour().await;
    let whole = good_open().octets();
    for kept in [0, 1, 18, 19, whole.len() - 1] {
        let mut wire = dial(&speaker).await;
        wire.write(&whole[..kept]).await;
        drop(wire);
        assert_eq!(speaker.last_error().await, "the neighbour closed the connection", "after {kept} octets");
    }
    let mut wire = session(&speaker).await;
    wire.write(&update(&[], &attributes(&[64513]), &[32, 1, 2, 3, 4])[..30]).await;
    drop(wire);
    assert_eq!(speaker.last_error().await, "the neighbour closed the connection");
    assert_eq!(speaker.peer(PEER).counters.prefixes_received, 0);
    session(&speaker).await;
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn a_session_in_single_octets_is_a_session() {
    let mut speaker = dialled_by_its_neighbour().await;
    let mut wire = dial(&speaker).await;
    let mut octets = good_open().octets();
    octets.extend(keepalive());
    octets.extend(update(&[], &attributes(&[64513]), &nlri(host_routes(20))));
    octets.extend(update(&nlri(host_routes(3)), &[], &[]));
    for octet in octets {
        wire.write(&[octet]).await;
    }
    speaker.established().await;
    speaker.until("both UPDATEs", |speaker| speaker.peer(PEER).counters.updates_received == 2).await;
    let counters = speaker.peer(PEER).counters;
    assert_eq!((counters.prefixes_received, counters.downs), (20, 0));
    assert_eq!(wire.hear().await, Ok(crate::messages::Heard::Keepalive));
    wire.initial(2).await;
    speaker.announce(PEER, host_routes(1), Some(RouteAttributes::default())).await;
    assert_eq!(wire.update().await.announced.len(), 1);
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn half_an_open_that_never_ends_keeps_nobody_else_out() {
    let mut speaker = dialled_by_its_neighbour().await;
    let mut half = dial(&speaker).await;
    half.write(&good_open().octets()[..25]).await;
    // The neighbour dials anew, as one does that restarted: the older connection goes.
    session(&speaker).await;
    assert_eq!(half.notification().await, (6, 7, vec![]));
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn malformed_notifications_are_not_answered() {
    let mut speaker = dialled_by_its_neighbour().await;
    for body in [&[][..], &[6]] {
        let mut wire = session(&speaker).await;
        wire.write(&message(NOTIFICATION, body)).await;
        assert_eq!(wire.end().await, End::Closed);
        assert_eq!(speaker.last_error().await, "connection failed: malformed NOTIFICATION received");
    }
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn a_router_that_claims_to_be_us_is_told_so() {
    let mut speaker = dialled_by_its_neighbour().await;
    let ours = crate::messages::Open {
        asn: u16::try_from(SPEAKER_ASN).unwrap(),
        router_id: crate::speaker::SPEAKER_ID,
        ..crate::messages::Open::with(&[crate::messages::ipv4()])
    };
    let mut wire = dial(&speaker).await;
    wire.write(&ours.octets()).await;
    assert_eq!(wire.notification().await, (2, 2, vec![]));
    assert_eq!(speaker.last_error().await, "sent NOTIFICATION 2/2 (Bad Peer AS)");
    session(&speaker).await;
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn a_session_that_is_lost_again_and_again_comes_back_each_time() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    for _ in 0..3 {
        let mut wire = tokio::time::timeout(Duration::from_secs(10), router.session()).await.expect("a dial");
        speaker.established().await;
        wire.write(&[0; 19]).await;
        assert_eq!(wire.notification().await, (1, 1, vec![]));
        speaker.bystander_hears().await;
    }
    assert_eq!(speaker.peer(PEER).counters.downs, 3);
}
