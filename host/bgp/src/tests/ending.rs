//! How sessions end and begin again: a peer that is removed, what its last words say, and what the next session gets.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustbgpd_wire as codec;

use super::harness::{Bench, LOCAL, Table, attributes, config, parts, their_open};
use crate::wire::{self, Notification, Open};
use crate::{ConnectionId, Input, PeerConfig, State, StopReason};

const SECOND: Duration = Duration::from_secs(1);

fn plain() -> PeerConfig {
    PeerConfig { graceful_restart: None, ..config() }
}

/// A machine with its connections in this state.
fn in_state(state: State) -> (Bench, Vec<ConnectionId>) {
    let mut bench = Bench::ready(plain());
    let dialled = bench.dialled();
    if state >= State::OpenSent {
        bench.open(dialled);
    }
    if state >= State::OpenConfirm {
        bench.receive(dialled, &their_open().encode());
    }
    if state >= State::Established {
        bench.receive(dialled, &wire::keepalive());
    }
    assert_eq!(bench.peer.state(), state);
    (bench, vec![dialled])
}

/// One that dials and holds a connection of the neighbour meanwhile.
fn with_a_held_connection() -> (Bench, Vec<ConnectionId>) {
    let mut bench = Bench::ready(plain());
    let dialled = bench.dialled();
    let accepted = bench.accept();
    bench.receive(accepted, &Open { router_id: Ipv4Addr::new(10, 0, 0, 1), ..their_open() }.encode());
    (bench, vec![dialled, accepted])
}

// case: bgp-14
#[test]
fn a_peer_that_is_removed_in_any_state_leaves_no_connection_and_no_timer() {
    let states = [State::Connect, State::OpenSent, State::OpenConfirm, State::Established];
    let held = std::iter::once_with(with_a_held_connection);
    for (mut bench, ids) in states.map(in_state).into_iter().chain(held) {
        let state = bench.peer.state();
        bench.set("10.0.0.1/32", Some(attributes(1)));
        bench.take();
        bench.input(Input::Stop(StopReason::Deconfigured));
        for (number, id) in ids.iter().enumerate() {
            let said = bench.farewell(*id);
            // Nobody listens yet on a connection that is being dialled.
            let dialling = number == 0 && (state == State::Connect || ids.len() > 1);
            let expected = if dialling { None } else { Some((6, 3, &[][..])) };
            assert_eq!(said.as_ref().map(parts), expected, "{id:?} in {state}");
        }
        assert_eq!((bench.peer.connection_count(), bench.peer.deadline()), (0, None), "{state}");
        assert_eq!((bench.peer.state(), bench.peer.octets_kept()), (State::Idle, 0), "{state}");
        bench.take();
        // Reports that were under way change nothing, and nothing is dialled again.
        for id in ids {
            bench.input(Input::Opened { id, local: LOCAL, other_family: None });
            bench.receive(id, &their_open().encode());
            bench.input(Input::Failed { id, error: "reset" });
            assert!(bench.sent_octets(id).is_empty());
        }
        bench.pass(600 * SECOND);
        assert_eq!((bench.take(), bench.peer.connection_count()), (vec![], 0), "{state}");
    }
}

// case: bgp-70
#[test]
fn a_shutdown_text_is_cut_between_characters_and_fits_255_octets() {
    for (text, octets) in
        [("é".repeat(200), 254), ("x".repeat(300), 255), ("日".repeat(85), 255), ("日".repeat(86), 255)]
    {
        let (mut bench, id) = Bench::established(plain(), &their_open());
        bench.take();
        bench.input(Input::Stop(StopReason::Shutdown(text.clone())));
        let notification = bench.farewell(id).unwrap();
        let (code, subcode, data) = parts(&notification);
        assert_eq!((code, subcode, data.len(), usize::from(data[0])), (6, 2, 1 + octets, octets));
        let said = std::str::from_utf8(&data[1..]).expect("whole characters");
        assert!(text.starts_with(said));
        // Its reader shows the same words.
        let read = Notification { code, subcode, data: data.to_vec().into() };
        assert_eq!(read.shutdown_text().as_deref(), Some(said));
    }
}

// case: bgp-71
#[test]
fn with_notification_restart_only_a_hard_reset_makes_the_routes_go_and_only_where_both_announced_it() {
    let deaf = {
        let mut open = their_open();
        open.graceful_restart.as_mut().unwrap().notification = false;
        open
    };
    let own_deaf = {
        let mut config = config();
        config.graceful_restart.as_mut().unwrap().notification = false;
        config
    };
    for (config, open, hard) in [
        (config(), their_open(), true),
        (config(), deaf, false),
        (own_deaf, their_open(), false),
        (plain(), their_open(), false),
    ] {
        let (mut bench, id) = Bench::established(config, &open);
        bench.take();
        bench.input(Input::Stop(StopReason::Shutdown("bye".into())));
        let notification = bench.farewell(id).unwrap();
        let expected = if hard { (6, 9, &b"\x06\x02\x03bye"[..]) } else { (6, 2, &b"\x03bye"[..]) };
        assert_eq!(parts(&notification), expected);
    }
}

// case: bgp-69
#[test]
fn a_session_without_a_route_gets_each_end_of_rib_once_and_routes_later_bring_none() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    let mut table = Table::default();
    table.feed(&bench.sent_octets(id));
    assert_eq!((table.updates, table.end_of_ribs), (2, [1, 1]));
    for prefix in ["10.0.0.1/32", "2001:db8:1::1/128"] {
        for attributes in [Some(attributes(1)), Some(attributes(2)), None] {
            bench.set(prefix, attributes);
            table.feed(&bench.sent_octets(id));
        }
    }
    assert_eq!((table.routes.len(), table.end_of_ribs), (0, [1, 1]));
    // Of a family that was not agreed on there is none.
    let (mut bench, id) = Bench::established(config(), &Open { families: None, ..their_open() });
    let mut table = Table::default();
    table.feed(&bench.sent_octets(id));
    assert_eq!(table.end_of_ribs, [1, 0]);
}

// case: bgp-69
#[test]
fn an_end_of_rib_follows_the_last_route_of_its_family_however_little_is_read_at_a_time() {
    let mut bench = Bench::ready(config());
    for number in 0..3_000 {
        bench.set(&format!("10.0.{}.{}/32", number / 256, number % 256), Some(attributes(number % 5)));
        bench.set(&format!("2001:db8:1::{number:x}/128"), Some(attributes(1)));
    }
    let id = bench.establish(&their_open());
    let mut messages = Vec::new();
    loop {
        let mut buf = bytes::BytesMut::new();
        if bench.peer.transmit(bench.now, id, &mut buf, 1) == 0 {
            break;
        }
        messages.extend(super::harness::decode(&buf.freeze()));
    }
    let mut table = Table::default();
    for message in messages {
        let codec::Message::Update(update) = message else { continue };
        let mut octets = bytes::BytesMut::new();
        update.encode_with_limit(&mut octets, codec::MAX_MESSAGE_LEN).unwrap();
        let before = (table.routes.len(), table.end_of_ribs);
        table.feed(&octets);
        if table.end_of_ribs != before.1 {
            let ipv4 = table.routes.keys().filter(|prefix| prefix.addr().is_ipv4()).count();
            let whole = if table.end_of_ribs[0] > before.1[0] { ipv4 } else { table.routes.len() - ipv4 };
            assert_eq!(whole, 3_000, "before {:?}", table.end_of_ribs);
        }
    }
    assert_eq!(table.end_of_ribs, [1, 1]);
}

// case: bgp-72
#[test]
fn a_neighbour_that_restarted_within_a_session_that_failed_gets_everything_again() {
    let restarted = {
        let mut open = their_open();
        open.graceful_restart.as_mut().unwrap().restarted = true;
        open
    };
    let mut bench = Bench::ready(config());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.set("2001:db8:1::1/128", Some(attributes(2)));
    let old = bench.establish(&their_open());
    bench.sent(old);
    assert!(!bench.peer.negotiated().unwrap().peer_restarted);
    bench.input(Input::Failed { id: old, error: "Connection reset by peer" });
    bench.pass(SECOND);
    let new = bench.establish(&restarted);
    assert!(bench.peer.negotiated().unwrap().peer_restarted);
    let mut table = Table::default();
    table.feed(&bench.sent_octets(new));
    assert_eq!((table.routes.len(), table.end_of_ribs), (2, [1, 1]));
}
