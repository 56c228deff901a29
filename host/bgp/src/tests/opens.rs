//! OPENs in both directions, and errors in messages: which NOTIFICATION they bring.

use std::time::Duration;

use bellhop_core::Family;
use bytes::{BufMut, Bytes, BytesMut};
use rustbgpd_wire as codec;

use super::harness::{Bench, attributes, config, parts, their_open};
use crate::wire::{self, Open};
use crate::{DownReason, Event, GracefulRestart, Input, PeerConfig, State};

fn open_sent() -> (Bench, crate::ConnectionId) {
    let mut bench = Bench::ready(config());
    let id = bench.dialled();
    bench.open(id);
    bench.sent(id);
    (bench, id)
}

/// The answer to octets in OpenSent.
fn answer_to(octets: &[u8]) -> Option<(u8, u8, Vec<u8>)> {
    let (mut bench, id) = open_sent();
    bench.receive(id, octets);
    if !bench.is_closed(id) {
        return None;
    }
    Some(bench.farewell(id).map_or((0, 0, Vec::new()), |n| {
        let (code, subcode, data) = parts(&n);
        (code, subcode, data.to_vec())
    }))
}

fn answer_to_open(change: impl Fn(&mut Open)) -> Option<(u8, u8, Vec<u8>)> {
    let mut open = their_open();
    change(&mut open);
    answer_to(&open.encode())
}

fn message(kind: u8, body: &[u8]) -> Bytes {
    let mut buf = BytesMut::new();
    buf.put_bytes(0xFF, 16);
    buf.put_u16(u16::try_from(19 + body.len()).unwrap());
    buf.put_u8(kind);
    buf.put_slice(body);
    buf.freeze()
}

/// An OPEN from its fields and raw optional parameters.
fn raw_open(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(version);
    body.put_u16(asn);
    body.put_u16(hold);
    body.put_slice(&id);
    body.put_slice(parameters);
    message(1, &body)
}

#[test]
fn a_good_open_is_confirmed() {
    assert_eq!(answer_to_open(|_| {}), None);
}

// case: bgp-15, bgp-16, bgp-17, bgp-18, bgp-19, bgp-20
#[test]
fn a_bad_open_gets_the_notification_of_its_fault() {
    assert_eq!(answer_to(&raw_open(5, 64513, 90, [1; 4], &[0])), Some((2, 1, vec![0, 4])), "version");
    assert_eq!(answer_to_open(|o| o.asn = 64999), Some((2, 2, vec![])), "another AS");
    assert_eq!(answer_to_open(|o| o.asn = 0), Some((2, 2, vec![])), "AS 0");
    assert_eq!(answer_to_open(|o| o.router_id = [0; 4].into()), Some((2, 3, vec![])), "no identifier");
    assert_eq!(answer_to_open(|o| o.hold_time = 1), Some((2, 6, vec![])), "hold time 1");
    assert_eq!(answer_to_open(|o| o.hold_time = 2), Some((2, 6, vec![])), "hold time 2");
    assert_eq!(
        answer_to(&raw_open(4, 64513, 90, [1; 4], &[2, 9, 0])),
        Some((2, 4, vec![])),
        "parameter type"
    );
    assert_eq!(
        answer_to(&raw_open(4, 64513, 90, [1; 4], &[3, 2, 1, 65])),
        Some((2, 0, vec![])),
        "cut capability"
    );
}

// case: bgp-18
#[test]
fn an_internal_neighbour_must_have_another_identifier_an_external_one_need_not() {
    let internal = PeerConfig { peer_asn: 64512.into(), ..config() };
    let mut bench = Bench::ready(internal);
    let id = bench.dialled();
    bench.open(id);
    let open = Open { asn: 64512, router_id: config().router_id, ..their_open() };
    bench.receive(id, &open.encode());
    assert_eq!(parts(&bench.farewell(id).unwrap()), (2, 3, &[][..]));
    assert_eq!(answer_to_open(|o| o.router_id = config().router_id), None);
}

// case: bgp-25
#[test]
fn without_a_common_family_the_answer_names_ours() {
    let mut bench = Bench::ready(PeerConfig { families: vec![Family::Ipv6], ..config() });
    let id = bench.dialled();
    bench.open(id);
    bench.receive(id, &Open { families: Some(vec![Family::Ipv4]), ..their_open() }.encode());
    assert_eq!(parts(&bench.farewell(id).unwrap()), (2, 7, &[1, 4, 0, 2, 0, 1][..]));
}

// case: bgp-31, bgp-32, bgp-33
#[test]
fn a_bad_header_gets_the_notification_of_its_fault() {
    let mut bad_marker = message(4, &[]).to_vec();
    bad_marker[3] = 0;
    assert_eq!(answer_to(&bad_marker), Some((1, 1, vec![])));
    for length in [18u16, 4097] {
        let mut header = vec![0xFF; 16];
        header.extend(length.to_be_bytes());
        header.push(2);
        assert_eq!(answer_to(&header), Some((1, 2, length.to_be_bytes().to_vec())), "length {length}");
    }
    assert_eq!(answer_to(&message(9, &[])), Some((1, 3, vec![9])), "type");
    assert_eq!(answer_to(&message(1, &[0; 9])), Some((1, 2, vec![0, 28])), "short OPEN");
    assert_eq!(answer_to(&message(2, &[0; 3])), Some((1, 2, vec![0, 22])), "short UPDATE");
    assert_eq!(answer_to(&message(4, &[0])), Some((1, 2, vec![0, 20])), "long KEEPALIVE");
    assert_eq!(answer_to(&message(5, &[0; 3])), Some((1, 2, vec![0, 22])), "short ROUTE-REFRESH");
    assert_eq!(answer_to(&message(5, &[0, 1, 0, 1, 9])), Some((1, 2, vec![0, 24])), "long ROUTE-REFRESH");
}

// case: bgp-41
#[test]
fn a_malformed_notification_is_not_answered() {
    assert_eq!(answer_to(&message(3, &[6])), Some((0, 0, vec![])));
}

#[test]
fn a_bounded_refresh_marker_of_the_wrong_length_is_a_refresh_error() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    let bad = message(5, &[0, 1, 1, 1, 0]);
    bench.receive(id, &bad);
    assert_eq!(parts(&bench.farewell(id).unwrap()), (7, 1, &bad[..]));
}

// case: bgp-40
#[test]
fn a_message_that_has_no_place_in_the_state_gets_the_subcode_of_the_state() {
    for (kind, octets) in [(4, wire::keepalive()), (2, message(2, &[0; 4])), (5, message(5, &[0, 1, 0, 1]))] {
        assert_eq!(answer_to(&octets), Some((5, 1, vec![kind])), "in OpenSent");
    }
    for (kind, octets) in [(1, their_open().encode()), (2, message(2, &[0; 4]))] {
        let (mut bench, id) = open_sent();
        bench.receive(id, &their_open().encode());
        assert_eq!(bench.peer.state(), State::OpenConfirm);
        bench.receive(id, &octets);
        assert_eq!(parts(&bench.farewell(id).unwrap()), (5, 2, &[kind][..]), "in OpenConfirm");
    }
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.receive(id, &their_open().encode());
    assert_eq!(parts(&bench.farewell(id).unwrap()), (5, 3, &[1][..]), "in Established");
}

// case: bgp-34
#[test]
fn the_stream_may_be_cut_anywhere() {
    let mut stream = their_open().encode().to_vec();
    stream.extend(wire::keepalive());
    stream.extend(message(2, &[0; 4]));
    let (mut whole, id) = open_sent();
    whole.receive(id, &stream);
    assert_eq!(whole.peer.counters().updates_received, 1);
    let (mut single, id) = open_sent();
    for octet in stream {
        single.receive(id, &[octet]);
    }
    assert_eq!(single.peer.counters(), whole.peer.counters());
    assert_eq!(single.peer.state(), State::Established);
}

// case: bgp-22
#[test]
fn the_hold_time_is_the_lesser_and_the_keepalive_a_third_of_it() {
    let (bench, _) = Bench::established(config(), &Open { hold_time: 30, ..their_open() });
    let negotiated = bench.peer.negotiated().unwrap();
    assert_eq!((negotiated.hold_time.as_secs(), negotiated.keepalive_time.as_secs()), (30, 10));
    let short = PeerConfig { keepalive_time: Some(Duration::from_secs(2)), ..config() };
    let (bench, _) = Bench::established(short, &their_open());
    assert_eq!(bench.peer.negotiated().unwrap().keepalive_time.as_secs(), 2);
}

#[test]
fn our_open_says_what_is_configured() {
    let mut bench = Bench::ready(PeerConfig { local_asn: 4_200_000_000, restarting: true, ..config() });
    let id = bench.dialled();
    bench.open(id);
    let sent = bench.sent(id);
    let [codec::Message::Open(open)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((open.my_as, open.four_byte_as(), open.hold_time), (23456, 4_200_000_000, 90));
    let mut graceful = None;
    for capability in &open.capabilities {
        assert_ne!(capability, &codec::Capability::ExtendedMessage);
        assert!(!matches!(capability, codec::Capability::AddPath(_)));
        if let codec::Capability::GracefulRestart { restart_state, notification, restart_time, families } =
            capability
        {
            let preserved: Vec<bool> = families.iter().map(|family| family.forwarding_preserved).collect();
            graceful = Some((*restart_state, *notification, *restart_time, preserved));
        }
    }
    assert_eq!(graceful, Some((true, true, 120, vec![true, true])), "R, N, restart time, F");
    for wanted in [codec::Capability::RouteRefresh, codec::Capability::EnhancedRouteRefresh] {
        assert!(open.capabilities.contains(&wanted), "{wanted:?}");
    }
}

#[test]
fn routes_of_an_earlier_boot_are_not_vouched_for_but_those_of_an_earlier_session_are() {
    let forwarding = |bench: &mut Bench, id| {
        let sent = bench.sent(id);
        let Some(codec::Message::Open(open)) = sent.first() else { panic!("{sent:?}") };
        open.capabilities.iter().any(|capability| match capability {
            codec::Capability::GracefulRestart { families, .. } => {
                families.iter().all(|f| f.forwarding_preserved)
            }
            _ => false,
        })
    };
    let restart = GracefulRestart {
        restart_time: Duration::from_secs(120),
        forwarding_preserved: false,
        notification: false,
    };
    let mut bench = Bench::ready(PeerConfig { graceful_restart: Some(restart), ..config() });
    for (established, expected) in [(false, false), (true, false), (false, true)] {
        let id = bench.dialled();
        bench.open(id);
        assert_eq!(forwarding(&mut bench, id), expected);
        lose(&mut bench, id, established);
    }
}

/// Ends a connection, after a whole session where `established`.
fn lose(bench: &mut Bench, id: crate::ConnectionId, established: bool) {
    if established {
        bench.receive(id, &their_open().encode());
        bench.receive(id, &wire::keepalive());
        bench.sent(id);
    }
    bench.input(Input::Closed { id });
    bench.pass(Duration::from_secs(2));
}

#[test]
fn the_restart_bit_stays_until_one_session_got_its_end_of_ribs() {
    let restarting = |bench: &mut Bench, id| {
        let sent = bench.sent(id);
        let Some(codec::Message::Open(open)) = sent.first() else { panic!("{sent:?}") };
        open.capabilities
            .iter()
            .any(|c| matches!(c, codec::Capability::GracefulRestart { restart_state: true, .. }))
    };
    let mut bench = Bench::ready(PeerConfig { restarting: true, ..config() });
    for (established, expected) in [(false, true), (true, true), (false, false)] {
        let id = bench.dialled();
        bench.open(id);
        assert_eq!(restarting(&mut bench, id), expected);
        lose(&mut bench, id, established);
    }
}

// case: bgp-24
#[test]
fn a_neighbour_that_refuses_capabilities_is_offered_fewer_and_that_is_remembered() {
    let mut bench = Bench::ready(config());
    let mut offered = Vec::new();
    for subcode in [7, 7, 6] {
        let id = bench.dialled();
        bench.open(id);
        let sent = bench.sent(id);
        let [codec::Message::Open(open)] = sent.as_slice() else { panic!("{sent:?}") };
        offered.push(open.capabilities.len());
        bench.receive(id, &message(3, &[2, subcode]));
        bench.pass(Duration::from_secs(10));
    }
    assert_eq!(offered, [6, 3, 0]);
}

// case: bgp-23, bgp-27
#[test]
fn a_neighbour_without_capabilities_gets_ipv4_and_two_octet_paths() {
    let mut bench = Bench::ready(PeerConfig { local_asn: 4_200_000_000, ..config() });
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8::1/128", Some(attributes(1)));
    let id = bench.dialled();
    bench.open(id);
    bench.sent(id);
    bench.receive(id, &raw_open(4, 64513, 90, [9; 4], &[0]));
    bench.receive(id, &wire::keepalive());
    let updates: Vec<codec::UpdateMessage> = bench
        .sent(id)
        .into_iter()
        .filter_map(|message| if let codec::Message::Update(update) = message { Some(update) } else { None })
        .collect();
    assert_eq!(updates.len(), 2, "one announcement and one End-of-RIB: {updates:?}");
    let raw = &updates[0].path_attributes;
    assert!(raw.windows(7).any(|w| w == [0x40, 2, 4, 2, 1, 0x5B, 0xA0]), "AS_PATH of AS_TRANS: {raw:?}");
    let asn = 4_200_000_000_u32.to_be_bytes();
    let as4 = [0xC0, 17, 6, 2, 1, asn[0], asn[1], asn[2], asn[3]];
    assert!(raw.windows(9).any(|w| w == as4), "AS4_PATH: {raw:?}");
    let refused = bench.peer.refused();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].refusal.family, Family::Ipv6);
}

// case: bgp-26
#[test]
fn an_open_with_extended_parameters_is_understood() {
    // RFC 9072: non-extended length 255, type 255, extended length, then parameters with two-octet lengths.
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xFC, 0x01];
    capabilities.extend([200, 252].into_iter().chain(std::iter::repeat_n(7, 252)));
    let mut parameters = vec![255, 255];
    parameters.extend(u16::try_from(3 + capabilities.len()).unwrap().to_be_bytes());
    parameters.push(2);
    parameters.extend(u16::try_from(capabilities.len()).unwrap().to_be_bytes());
    parameters.extend(capabilities);
    assert_eq!(answer_to(&raw_open(4, 64513, 90, [9; 4], &parameters)), None);
}

#[test]
fn a_shutdown_communication_is_shown_to_people() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.take();
    bench.receive(id, &message(3, &[6, 2, 4, b'g', b'o', b'n', b'e']));
    let events = bench.events();
    let [Event::Down(reason @ DownReason::Received(_))] = events.as_slice() else { panic!("{events:?}") };
    assert!(reason.to_string().ends_with(": gone"), "{reason}");
    assert_eq!(reason.category(), "notification_received");
}
