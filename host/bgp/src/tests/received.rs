//! UPDATEs of the neighbour: validated, counted and dropped, and nothing of them kept.

use bellhop_core::Family;
use bytes::{BufMut, Bytes, BytesMut};
use rustbgpd_wire as codec;

use super::harness::{Bench, attributes, config, decode, their_open};
use crate::wire;
use crate::{ConnectionId, Counters, Event, MAX_MESSAGE, State};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xFC, 1];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 2];
const NLRI: &[u8] = &[32, 10, 9, 8, 7];

fn update(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Bytes {
    let attributes = attributes.concat();
    let mut buf = BytesMut::new();
    wire::put_header(&mut buf, 23 + withdrawn.len() + attributes.len() + nlri.len(), 2);
    buf.put_u16(u16::try_from(withdrawn.len()).unwrap());
    buf.put_slice(withdrawn);
    buf.put_u16(u16::try_from(attributes.len()).unwrap());
    buf.put_slice(&attributes);
    buf.put_slice(nlri);
    buf.freeze()
}

/// An attribute of flags, type and value.
fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, kind, u8::try_from(value.len()).unwrap()], value].concat()
}

/// A session that heard these messages and stands; what it counted of them.
fn counted(messages: &[Bytes]) -> (Bench, Counters) {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.take();
    for message in messages {
        bench.receive(id, message);
        assert_eq!(bench.peer.state(), State::Established, "{:02x?}: {:?}", &message[..], bench.outputs);
    }
    let counters = bench.peer.counters();
    (bench, counters)
}

/// Octets that a session may keep for its connection: a message that is not whole, and the buffer it grows in.
const KEPT_MAX: usize = 4 * MAX_MESSAGE;

/// Gives the connection a stream as sockets do, and checks after each piece that what is kept is no more than a message.
fn stream(bench: &mut Bench, id: ConnectionId, octets: &[u8], piece: usize) {
    for piece in octets.chunks(piece) {
        bench.receive(id, piece);
        assert!(bench.peer.octets_kept() <= KEPT_MAX, "{} octets are kept", bench.peer.octets_kept());
    }
}

// case: bgp-37
#[test]
fn withdrawals_end_of_ribs_and_updates_that_say_nothing_are_taken() {
    let unreach = |nlri: &[u8]| attribute(0x80, 15, &[&[0, 2, 1], nlri].concat());
    let host: Vec<u8> = [&[128, 0x20, 1, 0x0D, 0xB8][..], &[0; 11], &[1]].concat();
    let (mut bench, counters) = counted(&[
        update(NLRI, &[], &[]),
        update(&[], &[&unreach(&host)], &[]),
        update(NLRI, &[ORIGIN, AS_PATH, NEXT_HOP, &unreach(&host)], NLRI),
        update(&[], &[], &[]),
        update(&[], &[&unreach(&[])], &[]),
        update(&[], &[ORIGIN, AS_PATH], &[]),
    ]);
    assert_eq!((counters.updates_received, counters.prefixes_received), (6, 1));
    assert_eq!((counters.treated_as_withdraw, counters.attributes_discarded), (0, 0));
    let ends = [Family::Ipv4, Family::Ipv6].map(Event::EndOfRibReceived);
    assert_eq!(bench.events(), ends, "a withdrawal is no End-of-RIB");
}

// case: bgp-36
#[test]
fn of_a_bad_attribute_the_routes_are_withdrawn_or_it_alone_is_left_out() {
    let missing: [(&str, &[&[u8]]); 3] = [
        ("no ORIGIN", &[AS_PATH, NEXT_HOP]),
        ("no AS_PATH", &[ORIGIN, NEXT_HOP]),
        ("no NEXT_HOP", &[ORIGIN, AS_PATH]),
    ];
    let broken: [(&str, &[&[u8]]); 4] = [
        ("flags of ORIGIN", &[&[0xC0, 1, 1, 0], AS_PATH, NEXT_HOP]),
        ("segment longer than AS_PATH", &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xFC, 1], NEXT_HOP]),
        ("segment of no type", &[ORIGIN, &[0x40, 2, 6, 9, 1, 0, 0, 0xFC, 1], NEXT_HOP]),
        (
            "LARGE_COMMUNITIES of 11 octets",
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0xC0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
        ),
    ];
    for (what, attributes) in missing.iter().chain(&broken) {
        let (_, counters) = counted(&[update(&[], attributes, NLRI)]);
        assert_eq!((counters.treated_as_withdraw, counters.attributes_discarded), (1, 0), "{what}");
    }
    let left_out: [(&str, &[&[u8]]); 3] = [
        ("AGGREGATOR of 5 octets", &[ORIGIN, AS_PATH, NEXT_HOP, &[0xC0, 7, 5, 0, 0, 0, 0, 0]]),
        ("ATOMIC_AGGREGATE with a value", &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 6, 1, 0]]),
        ("a second ORIGIN", &[ORIGIN, ORIGIN, AS_PATH, NEXT_HOP]),
    ];
    for (what, attributes) in left_out {
        let (_, counters) = counted(&[update(&[], attributes, NLRI)]);
        assert_eq!((counters.treated_as_withdraw, counters.attributes_discarded), (0, 1), "{what}");
        assert_eq!(counters.prefixes_received, 1, "{what}");
    }
}

// case: bgp-36
#[test]
fn lengths_that_reach_beyond_the_update_reset_the_session() {
    let mut withdrawn_too_long = update(NLRI, &[], &[]).to_vec();
    withdrawn_too_long[20] = 200;
    let mut attributes_too_long = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP], NLRI).to_vec();
    attributes_too_long[22] = 200;
    for octets in [withdrawn_too_long, attributes_too_long] {
        let (mut bench, id) = Bench::established(config(), &their_open());
        bench.receive(id, &octets);
        let notification = bench.farewell(id).expect("a NOTIFICATION");
        assert_eq!((notification.code.as_u8(), notification.subcode), (3, 1));
    }
}

// case: bgp-42
#[test]
fn routes_of_families_that_nobody_knows_or_asked_for_are_left_out_and_the_session_stands() {
    // An AFI of no meaning, a SAFI of no meaning, multicast, labelled unicast, VPN, EVPN, link state, flow specifications.
    let families =
        [[77, 77, 1], [0, 1, 99], [0, 1, 2], [0, 2, 4], [0, 1, 128], [0, 25, 70], [64, 4, 71], [0, 1, 133]];
    for family in families {
        let next_hop_and_nlri = [4, 192, 0, 2, 2, 0, 32, 10, 9, 8, 7];
        let reach = attribute(0x80, 14, &[&family[..], &next_hop_and_nlri].concat());
        let extended = [&[0x90, 14, 0, 14][..], &family, &next_hop_and_nlri].concat();
        let unreach = attribute(0x80, 15, &[&family[..], &[32, 10, 9, 8, 7]].concat());
        let end_of_rib = attribute(0x80, 15, &family);
        let (mut bench, counters) = counted(&[
            update(&[], &[&reach, ORIGIN, AS_PATH], &[]),
            update(&[], &[ORIGIN, AS_PATH, &extended], &[]),
            update(&[], &[&unreach], &[]),
            update(&[], &[&end_of_rib], &[]),
            // Beside a route of ours, which counts.
            update(&[], &[&reach, ORIGIN, AS_PATH, NEXT_HOP], NLRI),
        ]);
        assert_eq!((counters.updates_received, counters.prefixes_received), (5, 1), "{family:?}");
        assert_eq!((counters.treated_as_withdraw, counters.attributes_discarded), (0, 5), "{family:?}");
        assert_eq!(bench.events(), [], "no End-of-RIB of {family:?}");
    }
}

// case: bgp-42
#[test]
fn a_refresh_of_a_family_that_nobody_knows_is_left_out() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.sent(id);
    bench.take();
    for family in [[77, 77, 0, 1], [0, 1, 0, 128], [0, 25, 0, 70], [0, 1, 9, 1]] {
        let mut refresh = BytesMut::new();
        wire::put_header(&mut refresh, 23, 5);
        refresh.put_slice(&family);
        bench.receive(id, &refresh);
        assert!(bench.sent_octets(id).is_empty() && bench.take().is_empty(), "{family:?}");
    }
    assert_eq!(bench.peer.state(), State::Established);
}

/// UPDATEs with `count` host routes from 20.0.0.0 on, each full, with other attributes in each.
fn table(count: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    let numbers: Vec<u32> = (0..count).collect();
    for (med, group) in (0u32..).zip(numbers.chunks(700)) {
        let nlri: Vec<u8> = group
            .iter()
            .flat_map(|number| {
                let [_, b, c, d] = number.to_be_bytes();
                [32, 20 + b, c, d, 1]
            })
            .collect();
        let med = attribute(0x80, 4, &med.to_be_bytes());
        octets.extend_from_slice(&update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &med], &nlri));
    }
    octets
}

// case: bgp-39
#[test]
fn a_hundred_thousand_routes_of_the_neighbour_are_counted_and_nothing_of_them_is_kept() {
    let octets = table(100_000);
    for piece in [65_536, 1_460, 4_099] {
        let (mut bench, id) = Bench::established(config(), &their_open());
        bench.set("10.0.0.1/32", Some(attributes(1)));
        bench.sent(id);
        bench.take();
        // A driver reads at most this at once: what is kept is bounded by it and not by the table.
        for piece in octets.chunks(piece) {
            bench.receive(id, piece);
            assert!(
                bench.peer.octets_kept() <= KEPT_MAX.max(2 * piece.len()),
                "{}",
                bench.peer.octets_kept()
            );
        }
        assert_eq!(bench.peer.counters().prefixes_received, 100_000);
        assert_eq!(bench.peer.state(), State::Established);
        assert!(bench.take().is_empty(), "nothing is told of each");
        assert_eq!((bench.peer.prefixes(), bench.peer.attribute_sets()), ((1, 1), 1));
        assert!(bench.sent_octets(id).is_empty(), "and nothing is answered");
    }
}

// case: bgp-38
#[test]
fn a_neighbour_that_echoes_eleven_thousand_routes_changes_nothing() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    for number in 0..10_000u32 {
        let prefix = format!("10.{}.{}.{}/32", number / 65536, number / 256 % 256, number % 256);
        bench.set(&prefix, Some(attributes(number % 7)));
    }
    for number in 0..1_000 {
        bench.set(&format!("2001:db8:1::{number:x}/128"), Some(attributes(1)));
    }
    let ours = bench.sent_octets(id);
    let routes = bench.peer.routes_sent();
    assert_eq!(routes.len(), 11_000);
    bench.take();
    // As they are, with our AS in their paths; twice, as after a refresh; then withdrawn.
    for _ in 0..2 {
        stream(&mut bench, id, &ours, 1_460);
    }
    for (prefix, _) in &routes {
        let mut withdrawal = BytesMut::new();
        wire::update::withdraw(Family::of_net(*prefix), std::iter::once(*prefix), &mut withdrawal);
        stream(&mut bench, id, &withdrawal, MAX_MESSAGE);
    }
    assert_eq!(bench.peer.counters().prefixes_received, 22_000);
    assert_eq!(bench.peer.state(), State::Established);
    assert!(bench.take().is_empty());
    assert_eq!((bench.peer.routes_sent(), bench.peer.attribute_sets()), (routes, 7));
    assert!(bench.sent_octets(id).is_empty(), "what the neighbour has of us is for it to know");
}

// case: bgp-41
#[test]
fn no_notification_however_malformed_is_answered_in_any_state() {
    let notification = |body: &[u8]| {
        let mut message = BytesMut::new();
        wire::put_header(&mut message, 19 + body.len(), 3);
        message.put_slice(body);
        message.freeze()
    };
    let long = [&[6, 2, 255][..], &[0xC3; 4000]].concat();
    // Cut off, of no code, of no subcode, with a text longer than the message or of no UTF-8, a Hard Reset around nothing.
    let bodies: [&[u8]; 8] = [&[], &[6], &[99, 1], &[0, 0], &[6, 99], &[6, 2, 200, b'x'], &long, &[6, 9]];
    for body in bodies {
        for state in [State::OpenSent, State::OpenConfirm, State::Established] {
            let mut bench = Bench::ready(config());
            let id = bench.dialled();
            bench.open(id);
            if state > State::OpenSent {
                bench.receive(id, &their_open().encode());
            }
            if state > State::OpenConfirm {
                bench.receive(id, &wire::keepalive());
            }
            assert_eq!(bench.peer.state(), state);
            bench.receive(id, &notification(body));
            assert!(bench.is_closed(id), "{body:?} in {state}");
            assert_eq!(bench.farewell(id), None, "{body:?} in {state}");
            assert!(bench.peer.last_error().is_some());
        }
    }
}

// case: bgp-40
#[test]
fn an_update_before_established_gets_the_subcode_of_the_state_also_on_a_connection_that_is_held() {
    let mut bench = Bench::ready(config());
    let dialled = bench.dialled();
    let accepted = bench.accept();
    let lower = wire::Open { router_id: [10, 0, 0, 1].into(), ..their_open() };
    bench.receive(accepted, &lower.encode());
    assert!(!decode(&bench.sent_octets(accepted)).contains(&codec::Message::Keepalive), "it is held");
    bench.receive(accepted, &update(&[], &[ORIGIN, AS_PATH, NEXT_HOP], NLRI));
    let notification = bench.farewell(accepted).expect("a NOTIFICATION");
    assert_eq!((notification.code.as_u8(), notification.subcode, &notification.data[..]), (5, 2, &[2][..]));
    assert_eq!(bench.peer.counters().updates_received, 0);
    assert!(!bench.is_closed(dialled), "the other connection goes on");
}
