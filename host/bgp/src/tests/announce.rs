//! What is sent for what is wanted: packing, attributes, withdrawals, refreshes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bellhop_core::route::{Community, LargeCommunity};
use bellhop_core::{Family, RouteAttributes};
use bytes::BytesMut;
use ipnet::IpNet;
use rustbgpd_wire as codec;

use super::harness::{Bench, LOCAL, Seen, Table, attributes, config, expected, their_open};
use crate::wire::{self, Open, Refresh};
use crate::{ConnectionId, Event, Input, NextHops, PeerConfig, Refusal, RefusalReason, RefusedRoutes};

/// A session, the neighbour's table after the initial End-of-RIBs, and the connection.
fn session(config: PeerConfig, asn: u32) -> (Bench, ConnectionId, Table) {
    let (mut bench, id) = Bench::established(config, &Open { asn, ..their_open() });
    let mut table = Table::default();
    table.feed(&bench.sent_octets(id));
    (bench, id, table)
}

fn external() -> (Bench, ConnectionId, Table) {
    session(config(), 64513)
}

/// 10,000 IPv4 and 1,000 IPv6 host routes.
fn many() -> Vec<String> {
    let v4 = (0..10_000u32).map(|i| format!("10.{}.{}.{}/32", i / 65536, i / 256 % 256, i % 256));
    v4.chain((0..1_000).map(|i| format!("2001:db8:1::{i:x}/128"))).collect()
}

// case: bgp-50
#[test]
fn eleven_thousand_routes_with_one_attribute_set_take_eighteen_updates_and_so_does_withdrawing_them() {
    let (mut bench, id, mut table) = external();
    let before = table.updates;
    for prefix in many() {
        bench.set(&prefix, Some(attributes(1)));
    }
    table.feed(&bench.sent_octets(id));
    assert_eq!((table.routes.len(), table.updates - before), (11_000, 18));
    for prefix in many() {
        bench.set(&prefix, None);
    }
    table.feed(&bench.sent_octets(id));
    assert_eq!((table.routes.len(), table.updates - before), (0, 36));
    assert_eq!(bench.peer.prefixes(), (0, 0));
}

// case: bgp-62
#[test]
fn an_identical_resync_sends_nothing() {
    let (mut bench, id, _) = external();
    for _ in 0..2 {
        for prefix in many() {
            // Another allocation each time: the values are what counts.
            bench.set(&prefix, Some(attributes(1)));
        }
        bench.sent(id);
        assert_eq!(bench.peer.prefixes(), (11_000, 11_000));
    }
    for prefix in many() {
        bench.set(&prefix, Some(attributes(1)));
    }
    assert!(bench.sent_octets(id).is_empty());
}

// case: bgp-60, bgp-61
#[test]
fn a_flap_that_ends_where_it_began_sends_nothing() {
    let (mut bench, id, _) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.sent(id);
    bench.set("10.0.0.1/32", None);
    bench.set("10.0.0.1/32", Some(attributes(2)));
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("10.0.0.2/32", Some(attributes(1)));
    bench.set("10.0.0.2/32", None);
    assert!(bench.sent_octets(id).is_empty());
}

// case: bgp-61, bgp-66
#[test]
fn a_thousand_flaps_while_the_neighbour_is_slow_become_one_update() {
    let (mut bench, id, mut table) = external();
    let before = table.updates;
    for value in 0..1000 {
        bench.set("10.0.0.1/32", None);
        bench.set("10.0.0.1/32", Some(attributes(value)));
    }
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.updates - before, 1);
    assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()], expected(64512, LOCAL, &attributes(999)));
}

// case: bgp-59
#[test]
fn a_change_of_attributes_replaces_the_route_without_a_withdrawal() {
    let (mut bench, id, mut table) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    bench.set("10.0.0.1/32", Some(attributes(2)));
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.withdrawals, 0);
    assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()].med, Some(2));
}

#[test]
fn withdrawals_go_before_announcements_of_either_family() {
    let (mut bench, id, _) = external();
    bench.set("2001:db8::1/128", Some(attributes(1)));
    bench.sent(id);
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8::1/128", None);
    let sent = bench.sent(id);
    let [codec::Message::Update(first), codec::Message::Update(second)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert!(first.nlri.is_empty() && !second.nlri.is_empty());
}

// case: bgp-57
#[test]
fn an_external_neighbour_gets_the_own_as_once_and_prepends_but_no_local_preference() {
    let (mut bench, id, mut table) = external();
    let wanted = RouteAttributes { prepend: 3, local_preference: Some(200), ..RouteAttributes::default() };
    bench.set("10.0.0.1/32", Some(Arc::new(wanted)));
    bench.set("10.0.0.2/32", Some(Arc::default()));
    table.feed(&bench.sent_octets(id));
    let seen = |prefix: &str| table.routes[&prefix.parse().unwrap()].clone();
    let plain = Seen { as_path: vec![64512], next_hop: Some(LOCAL), ..Seen::default() };
    assert_eq!(seen("10.0.0.1/32"), Seen { as_path: vec![64512; 4], ..plain.clone() });
    assert_eq!(seen("10.0.0.2/32"), plain);
}

// case: bgp-57
#[test]
fn an_internal_neighbour_gets_local_preference_and_an_empty_path_that_it_cannot_take_for_a_loop() {
    let (mut bench, id, mut table) = session(PeerConfig { peer_asn: 64512.into(), ..config() }, 64512);
    let wanted = RouteAttributes { prepend: 2, local_preference: Some(200), ..RouteAttributes::default() };
    bench.set("10.0.0.1/32", Some(Arc::new(wanted)));
    bench.set("2001:db8::9/128", Some(Arc::default()));
    table.feed(&bench.sent_octets(id));
    let seen = |prefix: &str| table.routes[&prefix.parse().unwrap()].clone();
    let first = seen("10.0.0.1/32");
    assert_eq!((first.local_preference, first.as_path), (Some(200), vec![]));
    let second = seen("2001:db8::9/128");
    assert_eq!((second.local_preference, second.as_path), (Some(100), vec![]));
    assert_eq!(second.next_hop, "2001:db8::1".parse().ok());
}

// case: bgp-58
#[test]
fn communities_arrive_sorted_and_once() {
    let (mut bench, id, mut table) = external();
    let large = |local2| LargeCommunity { global: 1, local1: 2, local2 };
    let wanted = RouteAttributes {
        communities: vec![
            Community::NO_EXPORT,
            Community::BLACKHOLE,
            Community(5),
            Community::GRACEFUL_SHUTDOWN,
            Community(5),
        ],
        large_communities: vec![large(9), large(3), large(9)],
        extended_communities: vec![0x0002_FC00_0000_0001],
        link_bandwidth: Some(1_250_000_000),
        ..RouteAttributes::default()
    };
    bench.set("10.0.0.1/32", Some(Arc::new(wanted)));
    table.feed(&bench.sent_octets(id));
    let seen = &table.routes[&"10.0.0.1/32".parse().unwrap()];
    assert_eq!(seen.communities, [5, 0xFFFF_0000, 0xFFFF_029A, 0xFFFF_FF01]);
    assert_eq!(seen.large, [(1, 2, 3), (1, 2, 9)]);
    let bandwidth = u64::from(1_250_000_000_f32.to_bits());
    assert_eq!(seen.extended, [0x0002_FC00_0000_0001, 0x4004_FC00_0000_0000 | bandwidth]);
}

// case: bgp-51
#[test]
fn many_attributes_leave_less_room_and_never_overflow_a_message() {
    let (mut bench, id, mut table) = external();
    let before = table.updates;
    let wanted =
        RouteAttributes { communities: (0..900).map(Community).collect(), ..RouteAttributes::default() };
    let wanted = Arc::new(wanted);
    for prefix in many() {
        bench.set(&prefix, Some(wanted.clone()));
    }
    // `Table` refuses messages of more than 4096 octets.
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.routes.len(), 11_000);
    assert!(table.updates - before > 120, "{}", table.updates);
}

// case: bgp-51
#[test]
fn attributes_that_fill_a_message_are_refused_with_an_event_and_the_last_good_ones_stay() {
    let (mut bench, id, mut table) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    bench.take();
    let huge =
        RouteAttributes { communities: (0..1100).map(Community).collect(), ..RouteAttributes::default() };
    bench.set("10.0.0.1/32", Some(Arc::new(huge)));
    let events = bench.events();
    let [Event::Refused(refusal)] = events.as_slice() else { panic!("{events:?}") };
    assert!(matches!(refusal.reason, RefusalReason::TooLarge(4400..)), "{refusal:?}");
    assert!(bench.sent_octets(id).is_empty());
    assert_eq!(bench.peer.routes_sent()[0].1, attributes(1));
    let first = "10.0.0.1/32".parse().unwrap();
    assert_eq!(bench.peer.refused(), [RefusedRoutes { refusal: refusal.clone(), prefixes: 1, first }]);
}

// case: bgp-53
#[test]
fn without_a_next_hop_a_family_is_not_announced_and_the_reason_is_told() {
    let (mut bench, id, mut table) =
        session(PeerConfig { next_hops: NextHops::default(), ..config() }, 64513);
    bench.take();
    bench.set("2001:db8::1/128", Some(attributes(1)));
    bench.set("10.0.0.1/32", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.routes.len(), 1);
    assert_eq!(table.end_of_ribs, [1, 1], "the family's End-of-RIB is due all the same");
    let refused = bench.peer.refused();
    assert_eq!(
        (refused[0].refusal.family, refused[0].refusal.reason),
        (Family::Ipv6, RefusalReason::NoNextHop)
    );
    // A next hop comes by configuration: no reset, and the route goes out.
    let mut out = Vec::new();
    assert_eq!(bench.peer.reconfigure(bench.now, config(), &mut out), Ok(false));
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.routes.len(), 2);
}

// case: bgp-53
#[test]
fn each_family_travels_over_a_session_of_the_other() {
    let v6_local = "2001:db8::7".parse().unwrap();
    let mut bench = Bench::ready(PeerConfig { next_hops: NextHops::default(), ..config() });
    let id = bench.dialled();
    bench.input(Input::Opened { id, local: v6_local, other_family: Some(LOCAL) });
    bench.receive(id, &their_open().encode());
    bench.receive(id, &wire::keepalive());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8::1/128", Some(attributes(1)));
    let mut table = Table::default();
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()].next_hop, Some(LOCAL));
    assert_eq!(table.routes[&"2001:db8::1/128".parse().unwrap()].next_hop, Some(v6_local));
}

/// A session over IPv6 that asks for IPv4 over IPv6 next hops; `offered`: so does the neighbour.
fn extended(offered: bool, local: &str) -> (Bench, ConnectionId, Table) {
    let config = PeerConfig { next_hops: NextHops::default(), extended_next_hop: true, ..config() };
    let mut bench = Bench::ready(config);
    let id = bench.dialled();
    let opened = Input::Opened { id, local: local.parse().unwrap(), other_family: Some(LOCAL) };
    bench.input(opened);
    bench.receive(id, &Open { extended_next_hop: offered, ..their_open() }.encode());
    bench.receive(id, &wire::keepalive());
    (bench, id, Table::default())
}

// case: bgp-54
#[test]
fn ipv4_goes_over_an_ipv6_next_hop_only_where_both_asked_for_it() {
    for (offered, next_hop) in [(true, "2001:db8::7"), (false, "192.0.2.1")] {
        let (mut bench, id, mut table) = extended(offered, "2001:db8::7");
        assert_eq!(bench.peer.negotiated().unwrap().extended_next_hop, offered);
        bench.set("10.0.0.1/32", Some(attributes(1)));
        table.feed(&bench.sent_octets(id));
        assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()].next_hop, next_hop.parse().ok());
        bench.set("10.0.0.1/32", None);
        table.feed(&bench.sent_octets(id));
        assert_eq!((table.routes.len(), table.withdrawals), (0, 1));
    }
}

#[test]
fn eleven_thousand_ipv4_routes_over_an_ipv6_next_hop_fit_their_messages() {
    let (mut bench, id, mut table) = extended(true, "2001:db8::7");
    for prefix in many() {
        bench.set(&prefix, Some(attributes(1)));
    }
    table.feed(&bench.sent_octets(id));
    // `Table` refuses messages of more than 4096 octets.
    assert_eq!((table.routes.len(), table.end_of_ribs), (11_000, [1, 1]));
    assert!(table.updates <= 20, "{}", table.updates);
}

#[test]
fn a_policy_may_name_an_ipv6_next_hop_for_ipv4_where_the_session_carries_it() {
    let (mut bench, id, mut table) = extended(true, "2001:db8::7");
    let via = |address: &str| RouteAttributes { next_hop: address.parse().ok(), ..Default::default() };
    bench.set("10.0.0.1/32", Some(Arc::new(via("2001:db8::99"))));
    bench.set("10.0.0.2/32", Some(Arc::new(via("192.0.2.99"))));
    table.feed(&bench.sent_octets(id));
    let next_hop = |prefix: &str| table.routes[&prefix.parse::<IpNet>().unwrap()].next_hop;
    assert_eq!(next_hop("10.0.0.1/32"), "2001:db8::99".parse().ok());
    assert_eq!(next_hop("10.0.0.2/32"), "192.0.2.99".parse().ok());
}

// case: bgp-56
#[test]
fn a_session_between_link_local_addresses_carries_both_families_over_its_own() {
    let (mut bench, id, mut table) = extended(true, "fe80::7");
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8:1::1/128", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.routes.len(), 2);
    assert!(table.routes.values().all(|seen| seen.next_hop == "fe80::7".parse().ok()), "{:?}", table.routes);
}

#[test]
fn a_limit_of_prefixes_holds_back_what_is_above_it_and_the_session_is_complete() {
    let (mut bench, id, mut table) = session(PeerConfig { prefix_limit: Some(2), ..config() }, 64513);
    bench.take();
    for number in 1..=4 {
        bench.set(&format!("10.0.0.{number}/32"), Some(attributes(1)));
    }
    bench.set("2001:db8:1::1/128", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    assert_eq!(
        (table.routes.len(), table.end_of_ribs),
        (3, [1, 1]),
        "two of IPv4, and IPv6 by its own count"
    );
    let limit = RefusalReason::LimitReached(2);
    let refused: Vec<_> =
        bench.events().into_iter().filter(|event| matches!(event, Event::Refused(_))).collect();
    assert!(matches!(&refused[..], [Event::Refused(one)] if one.reason == limit), "told once: {refused:?}");
    let refusal = Refusal { family: Family::Ipv4, reason: limit };
    let first = "10.0.0.3/32".parse().unwrap();
    assert_eq!(bench.peer.refused(), [RefusedRoutes { refusal, prefixes: 2, first }]);
    assert!(bench.peer.is_settled(), "what is held back is not a backlog");
    // A change of what the neighbour has is not held back, and a withdrawal makes room for the next.
    bench.set("10.0.0.1/32", Some(attributes(9)));
    bench.set("10.0.0.2/32", None);
    table.feed(&bench.sent_octets(id));
    assert_eq!((table.routes.len(), table.withdrawals), (3, 1));
    assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()].med, Some(9));
    // Raised on the running session: the rest goes out.
    let mut out = Vec::new();
    assert_eq!(bench.peer.reconfigure(bench.now, config(), &mut out), Ok(false));
    table.feed(&bench.sent_octets(id));
    assert_eq!((table.routes.len(), bench.peer.refused().len()), (4, 0));
}

#[test]
fn an_attribute_set_may_name_its_own_next_hop_of_the_same_family() {
    let (mut bench, id, mut table) = external();
    let via =
        |next_hop: &str| Arc::new(RouteAttributes { next_hop: next_hop.parse().ok(), ..Default::default() });
    bench.take();
    bench.set("10.0.0.1/32", Some(via("192.0.2.77")));
    bench.set("10.0.0.2/32", Some(via("2001:db8::77")));
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.routes.len(), 1);
    assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()].next_hop, "192.0.2.77".parse().ok());
    assert!(
        matches!(bench.events().as_slice(), [Event::Refused(r)] if r.reason == RefusalReason::ForeignNextHop)
    );
}

#[test]
fn a_changed_next_hop_is_announced_without_a_withdrawal() {
    let (mut bench, id, mut table) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    let mut next = config();
    next.next_hops.v4 = Some(Ipv4Addr::new(192, 0, 2, 200));
    let mut out = Vec::new();
    bench.peer.reconfigure(bench.now, next, &mut out).unwrap();
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.withdrawals, 0);
    assert_eq!(table.routes[&"10.0.0.1/32".parse().unwrap()].next_hop, "192.0.2.200".parse().ok());
}

// case: bgp-65
#[test]
fn a_refresh_is_answered_between_its_markers_with_the_whole_family() {
    let (mut bench, id, _) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8::1/128", Some(attributes(1)));
    bench.sent(id);
    bench.receive(id, &wire::route_refresh(Family::Ipv4, Refresh::Request));
    let kinds: Vec<String> = bench
        .sent(id)
        .iter()
        .map(|message| match message {
            codec::Message::RouteRefresh(refresh) => {
                format!("{:?} {:?}", refresh.afi().unwrap(), refresh.subtype())
            }
            codec::Message::Update(update) => format!("UPDATE of {}", update.nlri.len()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["Ipv4 BoRR", "UPDATE of 5", "Ipv4 EoRR"]);
    assert_eq!(bench.peer.counters().end_of_ribs_sent, 2, "End-of-RIB is not repeated");
}

// case: bgp-65
#[test]
fn a_refresh_of_a_family_that_was_not_negotiated_is_ignored() {
    let (mut bench, id, _) = session(PeerConfig { families: vec![Family::Ipv4], ..config() }, 64513);
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.sent(id);
    bench.receive(id, &wire::route_refresh(Family::Ipv6, Refresh::Request));
    assert!(bench.sent_octets(id).is_empty());
}

#[test]
fn a_withdrawal_during_a_refresh_is_sent() {
    let (mut bench, id, mut table) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    bench.receive(id, &wire::route_refresh(Family::Ipv4, Refresh::Request));
    let mut buf = BytesMut::new();
    bench.peer.transmit(bench.now, id, &mut buf, 1);
    bench.set("10.0.0.1/32", None);
    table.feed(&buf);
    table.feed(&bench.sent_octets(id));
    assert!(table.routes.is_empty());
}

#[test]
fn an_aggregate_is_sent_as_its_network() {
    let (mut bench, id, mut table) = external();
    bench.set("10.1.2.3/17", Some(attributes(1)));
    bench.set("2001:db8::1/57", Some(attributes(1)));
    table.feed(&bench.sent_octets(id));
    let prefixes: Vec<String> = table.routes.keys().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.1.0.0/17", "2001:db8::/57"]);
}

// case: bgp-69
#[test]
fn a_session_that_comes_back_gets_everything_again() {
    let (mut bench, id, _) = external();
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("10.0.0.2/32", Some(attributes(1)));
    bench.sent(id);
    bench.input(Input::Closed { id });
    assert_eq!(bench.peer.prefixes(), (2, 0));
    bench.set("10.0.0.2/32", None);
    bench.pass(std::time::Duration::from_secs(1));
    let id = bench.establish(&their_open());
    let mut table = Table::default();
    table.feed(&bench.sent_octets(id));
    assert_eq!((table.routes.len(), table.end_of_ribs), (1, [1, 1]));
}
