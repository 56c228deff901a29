//! What stands where: attributes in an UPDATE, and refreshes among announcements.

use bellhop_core::Family;
use rustbgpd_wire as codec;

use super::harness::{Bench, Table, attributes, config, their_open};
use crate::ConnectionId;
use crate::wire::{self, Open, Refresh};

/// The UPDATEs among what is sent.
fn updates(bench: &mut Bench, id: ConnectionId) -> Vec<codec::UpdateMessage> {
    let sent = bench.sent(id).into_iter();
    sent.filter_map(|message| if let codec::Message::Update(update) = message { Some(update) } else { None })
        .collect()
}

/// The types of the attributes, in their order.
fn types(update: &codec::UpdateMessage) -> Vec<u8> {
    let mut rest = &update.path_attributes[..];
    let mut types = Vec::new();
    while let [flags, kind, after @ ..] = rest {
        types.push(*kind);
        let (length, after) = match after {
            [high, low, after @ ..] if flags & 0x10 != 0 => (u16::from_be_bytes([*high, *low]).into(), after),
            [length, after @ ..] => (usize::from(*length), after),
            [] => panic!("no length: {:?}", update.path_attributes),
        };
        rest = &after[length..];
    }
    types
}

// case: bgp-52
#[test]
fn ipv6_stands_in_the_first_attribute_and_ipv4_in_the_body() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    for (prefix, withdraws) in [("2001:db8:1::1/128", false), ("2001:db8:1::1/128", true)] {
        bench.set(prefix, if withdraws { None } else { Some(attributes(1)) });
        let [update] = &updates(&mut bench, id)[..] else { panic!("one UPDATE") };
        assert!(update.nlri.is_empty() && update.withdrawn_routes.is_empty(), "{update:?}");
        let types = types(update);
        if withdraws {
            assert_eq!(types, [15]);
        } else {
            // MP_REACH_NLRI first (RFC 7606 §5.1), the others ascending, and no NEXT_HOP beside it.
            assert_eq!(types, [14, 1, 2, 4, 8, 32]);
        }
    }
    for withdraws in [false, true] {
        bench.set("10.0.0.1/32", if withdraws { None } else { Some(attributes(1)) });
        let [update] = &updates(&mut bench, id)[..] else { panic!("one UPDATE") };
        assert_eq!((update.nlri.is_empty(), update.withdrawn_routes.is_empty()), (withdraws, !withdraws));
        let expected: &[u8] = if withdraws { &[] } else { &[1, 2, 3, 4, 8, 32] };
        assert_eq!(types(update), expected);
    }
}

/// What is sent, in words.
fn words(bench: &mut Bench, id: ConnectionId) -> Vec<String> {
    let sent = bench.sent(id);
    let word = |message: &codec::Message| match message {
        codec::Message::RouteRefresh(refresh) => {
            format!("{:?} of {:?}", refresh.subtype(), refresh.afi().unwrap())
        }
        codec::Message::Update(update) if update.nlri.is_empty() && update.path_attributes.is_empty() => {
            "End-of-RIB of Ipv4".to_owned()
        }
        codec::Message::Update(update) if types(update) == [15] => "End-of-RIB of Ipv6".to_owned(),
        codec::Message::Update(update) if update.nlri.is_empty() => "routes of Ipv6".to_owned(),
        codec::Message::Update(_) => "routes of Ipv4".to_owned(),
        other => format!("{other:?}"),
    };
    sent.iter().map(word).collect()
}

/// A session with a route of each family, settled.
fn settled(open: &Open) -> (Bench, ConnectionId) {
    let (mut bench, id) = Bench::established(config(), open);
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8:1::1/128", Some(attributes(1)));
    bench.sent(id);
    (bench, id)
}

// case: bgp-65
#[test]
fn a_refresh_of_either_family_brings_that_family_alone_between_markers_where_both_know_them() {
    for (enhanced, family) in
        [(true, Family::Ipv4), (true, Family::Ipv6), (false, Family::Ipv4), (false, Family::Ipv6)]
    {
        let (mut bench, id) = settled(&Open { enhanced_refresh: enhanced, ..their_open() });
        bench.receive(id, &wire::route_refresh(family, Refresh::Request));
        let routes = format!("routes of {family:?}");
        let expected = if enhanced {
            vec![format!("BoRR of {family:?}"), routes, format!("EoRR of {family:?}")]
        } else {
            vec![routes]
        };
        assert_eq!(words(&mut bench, id), expected);
        assert!(bench.sent_octets(id).is_empty(), "and that is all");
    }
}

// case: bgp-65
#[test]
fn a_refresh_of_a_family_without_routes_brings_its_markers_alone() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    bench.receive(id, &wire::route_refresh(Family::Ipv6, Refresh::Request));
    assert_eq!(words(&mut bench, id), ["BoRR of Ipv6", "EoRR of Ipv6"]);
}

// case: bgp-65
#[test]
fn a_refresh_that_is_asked_for_before_the_first_end_of_rib_is_answered_after_it() {
    let mut bench = Bench::ready(config());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    let id = bench.establish(&their_open());
    bench.receive(id, &wire::route_refresh(Family::Ipv4, Refresh::Request));
    let expected = [
        "routes of Ipv4",
        "End-of-RIB of Ipv4",
        "BoRR of Ipv4",
        "routes of Ipv4",
        "EoRR of Ipv4",
        "End-of-RIB of Ipv6",
    ];
    assert_eq!(words(&mut bench, id), expected);
}

// case: bgp-65
#[test]
fn refreshes_asked_for_many_times_at_once_are_answered_once_and_markers_of_the_neighbour_not_at_all() {
    let (mut bench, id) = settled(&their_open());
    for _ in 0..1_000 {
        bench.receive(id, &wire::route_refresh(Family::Ipv4, Refresh::Request));
    }
    assert_eq!(words(&mut bench, id).len(), 3);
    for marker in [Refresh::Begin, Refresh::End] {
        bench.receive(id, &wire::route_refresh(Family::Ipv4, marker));
        assert!(bench.sent_octets(id).is_empty(), "{marker:?}");
    }
    assert_eq!(bench.peer.counters().refreshes_answered, 1);
}

// case: bgp-65
#[test]
fn a_refresh_of_many_routes_ends_with_the_neighbours_table_as_it_was() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    let mut table = Table::default();
    for number in 0..5_000 {
        bench.set(&format!("10.0.{}.{}/32", number / 256, number % 256), Some(attributes(number % 3)));
    }
    table.feed(&bench.sent_octets(id));
    let before = (table.routes.clone(), table.updates);
    bench.receive(id, &wire::route_refresh(Family::Ipv4, Refresh::Request));
    let octets = bench.sent_octets(id);
    table.feed(&octets);
    assert_eq!(table.routes, before.0);
    // As many UPDATEs again, but for the two End-of-RIBs.
    assert_eq!(table.updates - before.1, before.1 - 2);
    let mut alone = Table::default();
    alone.feed(&octets);
    assert_eq!(alone.routes, before.0, "the answer is the whole table");
}
