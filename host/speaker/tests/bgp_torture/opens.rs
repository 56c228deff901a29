//! OPENs that are refused: the NOTIFICATION, and what the peer's status says of it.

use bellhop_core::Family;
use bellhop_core::peer::{OwnRole, PeerAsn, Role};
use bellhop_speaker::bgp::PeerConfig;

use crate::messages::{Open, capability, four_octet, good_open, ipv4, ipv6, message};
use crate::speaker::{SPEAKER_ASN, SPEAKER_ID, Speaker};

/// The NOTIFICATION that answers these octets in place of an OPEN, whose words the peer's status must have; the peer is
/// dialled again afterwards, and gets its session with an OPEN that is good.
async fn answer(
    change: impl FnOnce(&mut PeerConfig),
    octets: &[u8],
    good: &Open,
    words: &str,
) -> (u8, u8, Vec<u8>) {
    let (mut speaker, router) = Speaker::with_router(change).await;
    let mut wire = router.dialled().await;
    wire.open().await;
    wire.write(octets).await;
    let (code, subcode, data) = wire.notification().await;
    let told = speaker.last_error().await;
    assert!(told.starts_with(&format!("sent NOTIFICATION {code}/{subcode} (")), "{told}");
    assert!(told.contains(words), "{told:?} does not say {words:?}");
    let _session = router.session_with(good).await;
    assert_eq!(speaker.established().await.last_error, None);
    speaker.bystander_hears().await;
    (code, subcode, data)
}

/// The same with the configuration that the other tests have.
async fn answer_to(octets: &[u8], words: &str) -> (u8, u8, Vec<u8>) {
    answer(|_| {}, octets, &good_open(), words).await
}

// case: bgp-15
#[tokio::test]
async fn another_version_gets_2_1_and_the_version_that_is_spoken() {
    for version in [0, 3, 5] {
        let open = Open { version, ..good_open() }.octets();
        assert_eq!(answer_to(&open, "Unsupported Version Number").await, (2, 1, vec![0, 4]), "{version}");
    }
}

// case: bgp-16
#[tokio::test]
async fn another_as_than_the_configured_one_gets_2_2_wherever_it_stands() {
    let without_capability = Open { asn: 64514, ..Open::with(&[ipv4()]) };
    let in_the_capability = Open::with(&[ipv4(), four_octet(4_200_000_000)]);
    let ours = Open { asn: 64512, ..Open::with(&[ipv4(), four_octet(SPEAKER_ASN)]) };
    for open in [without_capability, in_the_capability, ours] {
        assert_eq!(answer_to(&open.octets(), "Bad Peer AS").await, (2, 2, vec![]));
    }
}

// case: bgp-17
#[tokio::test]
async fn as_0_gets_2_2_in_the_field_and_in_the_capability() {
    let in_the_field = Open { asn: 0, ..good_open() };
    let in_the_capability = Open::with(&[ipv4(), four_octet(0)]);
    for open in [in_the_field, in_the_capability] {
        assert_eq!(answer_to(&open.octets(), "Bad Peer AS").await, (2, 2, vec![]));
    }
}

// case: bgp-18
#[tokio::test]
async fn identifier_0_gets_2_3_and_so_does_ours_from_an_internal_neighbour() {
    let nobody = Open { router_id: [0; 4].into(), ..good_open() };
    assert_eq!(answer_to(&nobody.octets(), "Bad BGP Identifier").await, (2, 3, vec![]));
    let internal = |peer: &mut PeerConfig| peer.peer_asn = PeerAsn::Internal;
    let good = Open { asn: 64512, ..Open::with(&[ipv4(), four_octet(SPEAKER_ASN)]) };
    let ours = Open { router_id: SPEAKER_ID, ..good.clone() };
    assert_eq!(answer(internal, &ours.octets(), &good, "Bad BGP Identifier").await, (2, 3, vec![]));
}

// case: bgp-18
#[tokio::test]
async fn an_external_neighbour_may_have_our_identifier() {
    let (mut speaker, router) = Speaker::with_router(|_| {}).await;
    let _session = router.session_with(&Open { router_id: SPEAKER_ID, ..good_open() }).await;
    speaker.established().await;
    speaker.bystander_hears().await;
}

// case: bgp-19
#[tokio::test]
async fn an_optional_parameter_that_nobody_knows_gets_2_4() {
    let alone = Open { parameters: vec![3, 9, 1, 0], ..good_open() };
    let mut beside = good_open();
    beside.parameters[0] += 2;
    beside.parameters.extend([1, 0]);
    for open in [alone, beside] {
        assert_eq!(answer_to(&open.octets(), "Unsupported Optional Parameter").await, (2, 4, vec![]));
    }
}

// case: bgp-20
#[tokio::test]
async fn a_hold_time_of_one_or_two_seconds_gets_2_6() {
    for hold_time in [1, 2] {
        let open = Open { hold_time, ..good_open() };
        assert_eq!(answer_to(&open.octets(), "Unacceptable Hold Time").await, (2, 6, vec![]));
    }
}

// case: bgp-25
#[tokio::test]
async fn without_a_common_family_the_answer_is_2_7_with_our_families() {
    let ipv6_alone = |peer: &mut PeerConfig| peer.families = vec![Family::Ipv6];
    let vpn = capability(1, &[0, 1, 0, 128]);
    for families in [vec![ipv4()], vec![vpn], vec![]] {
        let open = Open::with(&families).octets();
        let answer = answer(ipv6_alone, &open, &good_open(), "Unsupported Capability").await;
        assert_eq!(answer, (2, 7, ipv6()));
    }
}

// case: bgp-29
#[tokio::test]
async fn roles_that_do_not_go_together_get_2_11() {
    let role = |number: u8| capability(9, &[number]);
    let good = Open::with(&[ipv4(), four_octet(64513), role(0)]);
    let peer_and_customer = [ipv4(), four_octet(64513), role(0), role(4)];
    for wrong in [vec![ipv4(), four_octet(64513), role(3)], peer_and_customer.to_vec()] {
        let customer =
            |peer: &mut PeerConfig| peer.role = Some(OwnRole { role: Role::Customer, strict: false });
        let answer = answer(customer, &Open::with(&wrong).octets(), &good, "Role Mismatch").await;
        assert_eq!(answer, (2, 11, vec![]));
    }
}

// case: bgp-29
#[tokio::test]
async fn a_neighbour_without_a_role_gets_2_11_where_one_is_demanded() {
    let strict = |peer: &mut PeerConfig| peer.role = Some(OwnRole { role: Role::Customer, strict: true });
    let good = Open::with(&[ipv4(), four_octet(64513), capability(9, &[0])]);
    assert_eq!(answer(strict, &good_open().octets(), &good, "Role Mismatch").await, (2, 11, vec![]));
}

// case: bgp-30
#[tokio::test]
async fn an_open_of_more_than_4096_octets_gets_1_2_with_its_length() {
    // RFC 9072: the parameters' length and theirs take two octets each.
    let inside = 4097 - 29 - 3 - 3;
    let mut parameters = vec![255, 255];
    parameters.extend(u16::try_from(inside + 3).unwrap().to_be_bytes());
    parameters.push(2);
    parameters.extend(u16::try_from(inside).unwrap().to_be_bytes());
    parameters.resize(parameters.len() + inside, 0);
    let open = Open { parameters, ..good_open() }.octets();
    assert_eq!(open.len(), 4097);
    assert_eq!(answer_to(&open, "Bad Message Length").await, (1, 2, 4097_u16.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn headers_that_are_none_get_1_1_to_1_3() {
    let mut marker = good_open().octets();
    marker[7] = 0;
    assert_eq!(answer_to(&marker, "Connection Not Synchronized").await, (1, 1, vec![]));
    let mut short = good_open().octets();
    short[16..18].copy_from_slice(&[0, 18]);
    assert_eq!(answer_to(&short, "Bad Message Length").await, (1, 2, vec![0, 18]));
    assert_eq!(answer_to(&message(9, &[]), "Bad Message Type").await, (1, 3, vec![9]));
}
