//! OPENs of odd shapes and sizes, and what becomes of capabilities that are many, unknown or none.

use bellhop_core::Family;
use bellhop_core::peer::{OwnRole, Role};
use bytes::{BufMut, Bytes, BytesMut};
use rustbgpd_wire as codec;

use super::harness::{Bench, attributes, config, parts, their_open};
use crate::wire::{self, Open};
use crate::{Negotiated, PeerConfig, State};

/// The octet of an OPEN that says how long its optional parameters are, and what stands there and after it in the form
/// of RFC 9072.
const PARAMETERS_AT: usize = 28;
const EXTENDED: [u8; 2] = [255, 255];

/// An OPEN of AS 64513 with these optional parameters, lengths included.
fn open(parameters: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    wire::put_header(&mut message, PARAMETERS_AT + parameters.len(), 1);
    message.put_slice(&[4, 0xFC, 0x01, 0, 90, 192, 0, 2, 2]);
    message.put_slice(parameters);
    message.freeze()
}

/// The parameters of one capability parameter each.
fn each_alone(capabilities: &[&[u8]]) -> Vec<u8> {
    let parameters: Vec<u8> = capabilities
        .iter()
        .flat_map(|capability| [&[2, u8::try_from(capability.len()).unwrap()][..], capability].concat())
        .collect();
    [&[u8::try_from(parameters.len()).unwrap()], &parameters[..]].concat()
}

/// All in one capability parameter.
fn together(capabilities: &[&[u8]]) -> Vec<u8> {
    each_alone(&[&capabilities.concat()])
}

/// What a session with a neighbour of this OPEN agrees on; the code and subcode where it is refused.
fn agreed(config: PeerConfig, octets: &[u8]) -> Result<Negotiated, (u8, u8, Vec<u8>)> {
    let mut bench = Bench::ready(config);
    let id = bench.dialled();
    bench.open(id);
    bench.receive(id, octets);
    if bench.is_closed(id) {
        let notification = bench.farewell(id).expect("a NOTIFICATION");
        let (code, subcode, data) = parts(&notification);
        return Err((code, subcode, data.to_vec()));
    }
    bench.receive(id, &wire::keepalive());
    assert_eq!(bench.peer.state(), State::Established);
    Ok(bench.peer.negotiated().unwrap().clone())
}

const IPV4: &[u8] = &[1, 4, 0, 1, 0, 1];
const IPV6: &[u8] = &[1, 4, 0, 2, 0, 1];
const FOUR_OCTET: &[u8] = &[65, 4, 0, 0, 0xFC, 0x01];
const REFRESH: &[u8] = &[2, 0];
const ENHANCED: &[u8] = &[70, 0];

// case: bgp-28
#[test]
fn capabilities_may_come_twice_and_the_last_graceful_restart_counts() {
    let first: &[u8] = &[64, 2, 0, 10];
    let last: &[u8] = &[64, 6, 0x81, 0x2C, 0, 1, 1, 0x80];
    let all = [IPV4, REFRESH, first, IPV6, FOUR_OCTET, ENHANCED, IPV4, REFRESH, FOUR_OCTET, last, IPV6];
    for parameters in [each_alone(&all), together(&all)] {
        let negotiated = agreed(config(), &open(&parameters)).unwrap();
        assert_eq!(negotiated.families, [Family::Ipv4, Family::Ipv6]);
        assert!(negotiated.four_octet && negotiated.route_refresh && negotiated.enhanced_refresh);
        assert!(negotiated.graceful_restart && negotiated.peer_restarted);
        assert_eq!(negotiated.peer_restart_time.as_secs(), 300);
    }
}

// case: bgp-28
#[test]
fn capabilities_that_nobody_knows_or_of_another_length_say_nothing() {
    let odd: [&[u8]; 9] = [
        &[0, 0],
        &[199, 3, 1, 2, 3],
        &[239, 0],
        &[71, 7, 0, 1, 1, 0, 0, 0, 9],
        &[6, 0],
        &[2, 1, 0],
        &[70, 3, 1, 2, 3],
        &[5, 1, 0],
        &[255, 1, 7],
    ];
    let all = [&odd[..], &[IPV4, FOUR_OCTET]].concat();
    for parameters in [each_alone(&all), together(&all)] {
        let negotiated =
            agreed(PeerConfig { extended_next_hop: true, ..config() }, &open(&parameters)).unwrap();
        assert_eq!(negotiated.families, [Family::Ipv4]);
        assert!(!negotiated.route_refresh && !negotiated.enhanced_refresh && !negotiated.extended_next_hop);
        assert!(!negotiated.graceful_restart && negotiated.four_octet);
    }
}

// case: bgp-42
#[test]
fn families_that_nobody_knows_are_not_agreed_on_and_do_not_mean_ipv4() {
    let foreign: [&[u8]; 4] =
        [&[1, 4, 77, 77, 0, 1], &[1, 4, 0, 25, 0, 70], &[1, 4, 0, 1, 0, 128], &[1, 4, 0, 2, 0, 2]];
    let beside = [&foreign[..], &[IPV6, FOUR_OCTET]].concat();
    assert_eq!(agreed(config(), &open(&together(&beside))).unwrap().families, [Family::Ipv6]);
    let alone = foreign.iter().map(std::slice::from_ref);
    for families in alone.chain([&foreign[..]]) {
        let refused = agreed(config(), &open(&together(families))).unwrap_err();
        assert_eq!(refused, (2, 7, [IPV4, IPV6].concat()), "{families:?}");
    }
}

// case: bgp-23
#[test]
fn without_a_capability_of_families_it_is_ipv4_whatever_else_there_is() {
    for capabilities in [&[][..], &[FOUR_OCTET][..], &[REFRESH, FOUR_OCTET][..]] {
        let negotiated = agreed(config(), &open(&together(capabilities))).unwrap();
        assert_eq!(negotiated.families, [Family::Ipv4]);
        assert_eq!(negotiated.four_octet, capabilities.contains(&FOUR_OCTET));
    }
    // Nor where the parameters are none at all.
    assert!(!agreed(config(), &open(&[0])).unwrap().four_octet);
}

// case: bgp-30
#[test]
fn an_open_of_4096_octets_is_read_and_one_octet_more_is_a_bad_length() {
    let mut capabilities: Vec<u8> = [IPV4, IPV6, FOUR_OCTET].concat();
    let whole = 4096 - PARAMETERS_AT - 4 - 3;
    while capabilities.len() < whole {
        let value = (whole - capabilities.len()).saturating_sub(2).min(253);
        capabilities.extend([200, u8::try_from(value).unwrap()]);
        capabilities.extend(std::iter::repeat_n(7, value));
    }
    assert_eq!(capabilities.len(), whole);
    let mut parameters = EXTENDED.to_vec();
    parameters.put_u16(u16::try_from(3 + whole).unwrap());
    parameters.put_u8(2);
    parameters.put_u16(u16::try_from(whole).unwrap());
    parameters.extend(capabilities);
    let octets = open(&parameters);
    assert_eq!(octets.len(), 4096);
    assert_eq!(agreed(config(), &octets).unwrap().families.len(), 2);

    let mut longer = octets.to_vec();
    longer[16..18].copy_from_slice(&4097u16.to_be_bytes());
    longer.push(0);
    assert_eq!(agreed(config(), &longer).unwrap_err(), (1, 2, vec![0x10, 0x01]));
    // At once, before any of it is waited for.
    assert_eq!(agreed(config(), &longer[..19]).unwrap_err(), (1, 2, vec![0x10, 0x01]));
}

// case: bgp-26
#[test]
fn an_open_is_written_in_the_extended_form_once_its_parameters_are_longer_than_255_octets() {
    let customer = PeerConfig { role: Some(OwnRole { role: Role::Customer, strict: false }), ..config() };
    let with_roles = |count| Open { roles: vec![Some(Role::Provider); count], ..their_open() };
    let mut forms = Vec::new();
    for count in 1..200 {
        let octets = with_roles(count).encode();
        forms.push(octets[PARAMETERS_AT..PARAMETERS_AT + 2] == EXTENDED);
        let negotiated = agreed(customer.clone(), &octets).unwrap();
        assert_eq!(negotiated.peer_role, Some(Role::Provider), "{count} roles");
        assert_eq!(negotiated.families.len(), 2, "{count} roles");
        // What it says of its length holds, in either form.
        let rest = &octets[PARAMETERS_AT..];
        let length = if forms.last() == Some(&true) {
            4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]))
        } else {
            1 + usize::from(rest[0])
        };
        assert_eq!(rest.len(), length, "{count} roles");
    }
    assert!(forms.is_sorted() && forms.contains(&true) && forms.contains(&false), "the short form first");
}

// case: bgp-27
#[test]
fn towards_two_octets_a_four_octet_as_stands_once_for_each_prepend_in_as4_path_and_else_there_is_none() {
    const FOUR: u32 = 4_200_000_000;
    for (local_asn, prepend) in [(FOUR, 0), (FOUR, 3), (64512, 3), (65535, 0), (65536, 1)] {
        let mut bench = Bench::ready(PeerConfig { local_asn, ..config() });
        let wanted = bellhop_core::RouteAttributes { prepend, ..Default::default() };
        bench.set("10.0.0.1/32", Some(std::sync::Arc::new(wanted)));
        let id = bench.dialled();
        bench.open(id);
        let told = bench.sent(id);
        let [codec::Message::Open(told)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((told.my_as, told.four_byte_as()), (u16::try_from(local_asn).unwrap_or(23456), local_asn));
        bench.receive(id, &open(&together(&[IPV4])));
        bench.receive(id, &wire::keepalive());
        let sent = bench.sent(id);
        let update = sent.iter().find_map(|message| match message {
            codec::Message::Update(update) if !update.nlri.is_empty() => Some(update),
            _ => None,
        });
        let raw = &update.expect("an announcement").path_attributes;
        let hops = 1 + prepend;
        let two_octet = u16::try_from(local_asn).unwrap_or(23456).to_be_bytes();
        let path = [&[0x40, 2, 2 + 2 * hops, 2, hops][..], &two_octet.repeat(hops.into())].concat();
        assert!(raw.windows(path.len()).any(|window| window == path), "AS_PATH {path:?}: {raw:?}");
        let as4 =
            [&[0xC0, 17, 2 + 4 * hops, 2, hops][..], &local_asn.to_be_bytes().repeat(hops.into())].concat();
        let has_as4 = raw.windows(as4.len()).any(|window| window == as4);
        assert_eq!(has_as4, local_asn > 65535, "AS4_PATH {as4:?}: {raw:?}");
        assert_eq!(raw.windows(2).any(|window| window == [0xC0, 17]), has_as4, "{raw:?}");
    }
}

// case: bgp-27
#[test]
fn towards_four_octets_a_four_octet_as_stands_in_the_path_itself() {
    let (mut bench, id) =
        Bench::established(PeerConfig { local_asn: 4_200_000_000, ..config() }, &their_open());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    let octets = bench.sent_octets(id);
    let path = [&[0x40, 2, 6, 2, 1][..], &4_200_000_000_u32.to_be_bytes()].concat();
    assert!(octets.windows(path.len()).any(|window| window == path));
    assert!(!octets.windows(2).any(|window| window == [0xC0, 17]), "no AS4_PATH beside it");
}
