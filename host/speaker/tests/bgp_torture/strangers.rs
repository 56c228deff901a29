//! Connections from nobody's address, and neighbours that may be of several ASes.

use bellhop_core::RouteAttributes;
use bellhop_core::peer::{Neighbour, PeerAsn};
use bellhop_speaker::bgp::PeerConfig;
use ipnet::IpNet;

use crate::messages::{Open, four_octet, good_open, ipv4};
use crate::peer::{End, Wire};
use crate::speaker::{PEER, SPEAKER_ASN, Speaker, host_routes, passive, peer};

// case: bgp-12
#[tokio::test]
async fn a_connection_from_nobodys_address_is_closed_without_a_word_and_disturbs_nobody() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let mut session = router.session().await;
    speaker.established().await;
    session.initial(2).await;
    let before = speaker.bgp.snapshot();
    for host in 50..60 {
        let mut stranger = Wire::dial(speaker.place.host(host), speaker.address()).await.unwrap();
        // It may be gone before it could say anything.
        stranger.try_write(&good_open().octets()).await.ok();
        // What it wrote was not read, which TCP tells by a reset.
        assert!(matches!(stranger.end().await, End::Closed | End::Reset));
    }
    assert_eq!(speaker.bgp.snapshot(), before);
    speaker.bystander_hears().await;
}

#[tokio::test]
async fn a_second_peer_with_the_address_of_a_session_is_refused_by_both_names_and_disturbs_nothing() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let mut session = router.session().await;
    let since = speaker.established().await.established_since;
    session.initial(2).await;
    let mut again = peer("again", router.address);
    again.peer_port = router.port() + 1;
    speaker.config.peers.insert("again".into(), again);
    let refused = speaker.bgp.configure(speaker.config.clone()).await;
    let [(name, problem)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(&**name, "again");
    let told = format!("{} is that of BGPPeer/{PEER}", router.address);
    assert!(problem.to_string().contains(&told), "{problem}");
    speaker.announce(PEER, host_routes(1), Some(RouteAttributes::default())).await;
    assert_eq!(session.update().await.announced.len(), 1);
    assert_eq!(speaker.peer(PEER).established_since, since);
    assert!(!speaker.bgp.snapshot().peers.contains_key("again"));
    speaker.bystander_hears().await;
}

/// What a neighbour of this AS gets that must be `admitted`: a session, or a NOTIFICATION.
async fn answer(admitted: PeerAsn, asn: u32) -> Option<(u8, u8, Vec<u8>)> {
    let mut speaker = Speaker::start(crate::speaker::Place::new()).await;
    let address = speaker.place.host(2);
    let mut peer = passive(PEER, address);
    peer.peer_asn = admitted;
    speaker.add(peer).await;
    let mut wire = Wire::dial(address, speaker.address()).await.unwrap();
    wire.open().await;
    let field = u16::try_from(asn).unwrap_or(23456);
    wire.write(&Open { asn: field, ..Open::with(&[ipv4(), four_octet(asn)]) }.octets()).await;
    let answer = match wire.hear().await {
        Ok(crate::messages::Heard::Keepalive) => {
            wire.write(&crate::messages::keepalive()).await;
            assert_eq!(speaker.established().await.peer_asn, asn);
            None
        }
        Ok(crate::messages::Heard::Notification(code, subcode, data)) => Some((code, subcode, data)),
        other => panic!("{other:?}"),
    };
    speaker.bystander_hears().await;
    answer
}

#[tokio::test]
async fn a_neighbour_that_dials_is_taken_by_its_as_number_exact_internal_or_external() {
    let refused = Some((2, 2, vec![]));
    for (admitted, asn, expected) in [
        (PeerAsn::Exactly(64513), 64513, &None),
        (PeerAsn::Exactly(64513), 64514, &refused),
        (PeerAsn::Exactly(4_200_000_000), 4_200_000_000, &None),
        (PeerAsn::Internal, SPEAKER_ASN, &None),
        (PeerAsn::Internal, 64513, &refused),
        (PeerAsn::External, 4_200_000_001, &None),
        (PeerAsn::External, SPEAKER_ASN, &refused),
        (PeerAsn::External, 0, &refused),
    ] {
        assert_eq!(&answer(admitted, asn).await, expected, "{admitted:?} and AS {asn}");
    }
}

// case: bgp-13
#[tokio::test]
async fn neighbours_of_a_range_are_taken_by_their_as_number_and_each_has_a_session_of_its_own() {
    let mut speaker = Speaker::start(crate::speaker::Place::new()).await;
    let prefix = IpNet::new(speaker.place.host(32), 28).unwrap();
    let range = PeerConfig {
        neighbour: Neighbour::Range { prefix, most: 3 },
        peer_asn: PeerAsn::External,
        ..passive(PEER, speaker.place.host(32))
    };
    speaker.add(range).await;
    let prefix: IpNet = "198.51.100.1/32".parse().unwrap();
    speaker.announce(PEER, [prefix], Some(RouteAttributes::default())).await;
    let mut wires = Vec::new();
    for (host, field, asn) in [(33, 64513, 64513), (34, 23456, 4_200_000_001)] {
        let mut wire = Wire::dial(speaker.place.host(host), speaker.address()).await.unwrap();
        wire.open().await;
        wire.write(&Open { asn: field, ..Open::with(&[ipv4(), four_octet(asn)]) }.octets()).await;
        wire.confirm().await;
        let initial = wire.initial(1).await;
        assert_eq!(
            initial.iter().flat_map(|update| &update.announced).collect::<Vec<_>>(),
            [&prefix],
            "{asn}"
        );
        let name = format!("{PEER}/{}", speaker.place.host(host));
        assert_eq!(speaker.peer(&name).peer_asn, asn);
        wires.push(wire);
    }
    // One of our own AS is of the range, and not of the AS numbers that it takes.
    let mut wire = Wire::dial(speaker.place.host(35), speaker.address()).await.unwrap();
    wire.open().await;
    wire.write(&Open { asn: 64512, ..Open::with(&[ipv4(), four_octet(SPEAKER_ASN)]) }.octets()).await;
    assert_eq!(wire.notification().await, (2, 2, vec![]));
    speaker.announce(PEER, [prefix], None).await;
    for wire in &mut wires {
        assert_eq!(wire.update().await.withdrawn, [prefix]);
    }
    speaker.bystander_hears().await;
}
