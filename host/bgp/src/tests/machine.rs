//! States, timers, collisions and graceful restart.

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::Family;
use bellhop_core::peer::{OwnRole, PeerAsn, Role};
use rustbgpd_wire as codec;

use super::harness::{Bench, LOCAL, attributes, config, parts, their_open};
use crate::wire::{self, Notification, Open};
use crate::{BfdUse, DownReason, Event, Input, Output, PeerConfig, PeerConfigError, State, StopReason};

const SECOND: Duration = Duration::from_secs(1);

fn lower() -> Open {
    Open { router_id: Ipv4Addr::new(10, 0, 0, 1), ..their_open() }
}

fn plain() -> PeerConfig {
    PeerConfig { graceful_restart: None, ..config() }
}

// case: bgp-68
#[test]
fn nothing_is_dialled_or_accepted_before_ready() {
    let mut bench = Bench::new(config());
    bench.input(Input::Start);
    bench.pass(60 * SECOND);
    assert_eq!((bench.take(), bench.peer.state(), bench.peer.accept()), (vec![], State::Idle, None));
    bench.input(Input::Ready);
    bench.dialled();
    assert_eq!(bench.peer.state(), State::Connect);
}

// case: bgp-68
#[test]
fn connecting_early_withholds_routes_and_end_of_rib_until_ready() {
    let mut bench = Bench::new(config());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    bench.input(Input::Start);
    bench.input(Input::ConnectEarly);
    let id = bench.establish(&their_open());
    assert!(bench.sent(id).is_empty());
    bench.input(Input::Ready);
    assert_eq!(bench.sent(id).len(), 3, "an announcement and two End-of-RIBs");
}

#[test]
fn a_passive_peer_never_dials_and_takes_what_comes() {
    let mut bench = Bench::ready(PeerConfig { passive: true, ..config() });
    bench.pass(600 * SECOND);
    assert_eq!((bench.take(), bench.peer.state()), (vec![], State::Active));
    let id = bench.accept();
    assert_eq!(bench.peer.state(), State::OpenSent);
    bench.receive(id, &their_open().encode());
    bench.receive(id, &wire::keepalive());
    assert_eq!(bench.peer.state(), State::Established);
}

#[test]
fn a_stopped_peer_rejects_connections() {
    let mut bench = Bench::new(config());
    let id = bench.accept();
    assert_eq!(parts(&bench.farewell(id).unwrap()), (6, 5, &[][..]));
}

// case: bgp-9, bgp-10
#[test]
fn failed_dials_are_repeated_with_growing_delays() {
    let mut bench = Bench::ready(config());
    let mut delays = Vec::new();
    for _ in 0..8 {
        let id = bench.dialled();
        let before = bench.now;
        bench.input(Input::Failed { id, error: "refused" });
        while !bench.outputs.iter().any(|output| matches!(output, Output::Dial { .. })) {
            let deadline = bench.peer.deadline().expect("another dial");
            bench.pass(deadline - bench.now);
        }
        delays.push(bench.now - before);
    }
    assert!(delays[..2].iter().all(|delay| *delay <= SECOND), "{delays:?}");
    assert!(delays[6] >= 30 * SECOND && delays[7] <= 60 * SECOND, "{delays:?}");
}

// case: bgp-10
#[test]
fn a_dial_without_an_answer_is_given_up() {
    let mut bench = Bench::ready(config());
    let id = bench.dialled();
    bench.pass(10 * SECOND);
    assert!(bench.is_closed(id));
    assert_eq!(bench.peer.last_error(), Some(&DownReason::Timeout(10)));
}

// case: bgp-44
#[test]
fn the_hold_timer_ends_every_state_after_the_open() {
    let mut bench = Bench::ready(config());
    let id = bench.dialled();
    bench.open(id);
    bench.pass(239 * SECOND);
    assert!(!bench.is_closed(id));
    bench.pass(SECOND);
    assert_eq!(parts(&bench.farewell(id).unwrap()), (4, 0, &[][..]), "in OpenSent");

    let mut bench = Bench::ready(config());
    let id = bench.dialled();
    bench.open(id);
    bench.receive(id, &their_open().encode());
    bench.pass(90 * SECOND);
    assert_eq!(parts(&bench.farewell(id).unwrap()), (4, 0, &[][..]), "in OpenConfirm");

    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.pass(89 * SECOND);
    bench.receive(id, &wire::keepalive());
    bench.pass(89 * SECOND);
    assert!(!bench.is_closed(id), "a KEEPALIVE starts the timer again");
    bench.pass(SECOND);
    assert_eq!(parts(&bench.farewell(id).unwrap()), (4, 0, &[][..]), "in Established");
}

// case: bgp-21
#[test]
fn with_hold_time_zero_no_keepalive_is_sent_and_none_expected() {
    let (mut bench, id) = Bench::established(config(), &Open { hold_time: 0, ..their_open() });
    bench.sent(id);
    bench.pass(3600 * SECOND);
    assert!(bench.sent(id).is_empty() && !bench.is_closed(id));
}

// case: bgp-22, bgp-45
#[test]
fn keepalives_come_between_75_and_100_percent_of_a_third_of_the_hold_time() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    for _ in 0..20 {
        bench.receive(id, &wire::keepalive());
        let before = bench.now;
        while bench.sent(id).is_empty() {
            let deadline = bench.peer.deadline().expect("a keepalive");
            bench.pass(deadline - bench.now);
        }
        let interval = bench.now - before;
        assert!((Duration::from_millis(22_500)..=30 * SECOND).contains(&interval), "{interval:?}");
    }
}

#[test]
fn another_keepalive_time_is_in_force_at_once_and_never_more_than_a_third_of_the_hold_time() {
    let (mut bench, _) = Bench::established(config(), &their_open());
    // What is configured, and the interval before jitter.
    for (configured, expected) in [(Some(2), 2), (Some(300), 30), (Some(5), 5), (None, 30)] {
        let before = bench.peer.deadline().expect("a keepalive");
        bench.reconfigure(PeerConfig { keepalive_time: configured.map(Duration::from_secs), ..config() });
        assert_eq!(bench.peer.negotiated().unwrap().keepalive_time, Duration::from_secs(expected));
        let deadline = bench.peer.deadline().expect("a keepalive");
        assert!(deadline <= before && deadline <= bench.now + Duration::from_secs(expected));
        bench.now = deadline;
        bench.input(Input::Tick);
        let id = bench.peer.established_connections()[0];
        bench.sent(id);
    }
}

// case: bgp-46
#[test]
fn keepalives_go_before_a_backlog_of_routes() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    for i in 0..5000u32 {
        let prefix = format!("10.{}.{}.1/32", i / 256, i % 256);
        bench.set(&prefix, Some(attributes(1)));
    }
    bench.pass(30 * SECOND);
    let mut buf = bytes::BytesMut::new();
    bench.peer.transmit(bench.now, id, &mut buf, 1);
    assert_eq!(super::harness::decode(&buf.freeze()), [codec::Message::Keepalive]);
}

// case: bgp-47
#[test]
fn a_neighbour_that_takes_nothing_is_reset_after_the_send_hold_time() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    bench.set("10.0.0.1/32", Some(attributes(1)));
    for _ in 0..48 {
        bench.receive(id, &wire::keepalive());
        bench.pass(10 * SECOND);
    }
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::Close { reset: true, .. })));
    assert_eq!(parts(&bench.farewell(id).unwrap()), (8, 0, &[][..]), "as far as it still gets through");
    assert_eq!(bench.peer.last_error(), Some(&DownReason::SendHold(480)));
}

// case: bgp-49
#[test]
fn a_session_that_flaps_twenty_times_is_held_down_longer_each_time_until_it_is_stable() {
    let mut bench = Bench::ready(config());
    let mut delays = Vec::new();
    for flap in 0..22 {
        let id = bench.establish(&their_open());
        if flap == 20 {
            bench.pass(61 * SECOND);
        }
        bench.take();
        let before = bench.now;
        bench.input(Input::Closed { id });
        while !bench.outputs.iter().any(|output| matches!(output, Output::Dial { .. })) {
            let deadline = bench.peer.deadline().expect("a dial");
            bench.pass(deadline - bench.now);
        }
        delays.push(bench.now - before);
    }
    // 0.5 s doubling to 30 s, of which 50 to 100 % are taken; from the least again after a minute in Established.
    let wholes =
        (0..20).map(|flap| (SECOND / 2 * 2_u32.pow(flap)).min(30 * SECOND)).chain([SECOND / 2, SECOND]);
    for (flap, (delay, whole)) in delays.iter().zip(wholes).enumerate() {
        assert!((whole / 2..=whole).contains(delay), "flap {flap}: {delay:?} of {whole:?}");
    }
}

// case: bgp-3, bgp-4, bgp-7
#[test]
fn the_connection_of_the_higher_identifier_wins_a_collision() {
    for (open, dialled_wins) in [(lower(), true), (their_open(), false)] {
        for first_open_on_dialled in [true, false] {
            let mut bench = Bench::ready(plain());
            let dialled = bench.dialled();
            let accepted = bench.accept();
            bench.open(dialled);
            let (winner, loser) = if dialled_wins { (dialled, accepted) } else { (accepted, dialled) };
            let (first, second) =
                if first_open_on_dialled { (dialled, accepted) } else { (accepted, dialled) };
            bench.receive(first, &open.encode());
            if first == loser {
                assert!(
                    !bench.sent(loser).contains(&codec::Message::Keepalive),
                    "the loser is not confirmed"
                );
                bench.receive(second, &open.encode());
            }
            assert_eq!(parts(&bench.farewell(loser).unwrap()), (6, 7, &[][..]));
            bench.input(Input::Closed { id: loser });
            bench.receive(winner, &wire::keepalive());
            assert_eq!(bench.peer.established_connections(), [winner]);
            assert!(!bench.events().iter().any(|event| matches!(event, Event::Down(_))));
        }
    }
}

// case: bgp-5
#[test]
fn of_equal_identifiers_the_connection_of_the_higher_as_number_wins() {
    for (theirs, dialled_wins) in [(64511, true), (64513, false), (4_200_000_000, false)] {
        for first_open_on_dialled in [true, false] {
            let mut bench =
                Bench::ready(PeerConfig { peer_asn: PeerAsn::External, graceful_restart: None, ..config() });
            let dialled = bench.dialled();
            let accepted = bench.accept();
            bench.open(dialled);
            let open = Open { asn: theirs, router_id: config().router_id, ..their_open() };
            let (winner, loser) = if dialled_wins { (dialled, accepted) } else { (accepted, dialled) };
            bench.receive(if first_open_on_dialled { dialled } else { accepted }, &open.encode());
            if !bench.is_closed(loser) {
                bench.receive(winner, &open.encode());
            }
            assert_eq!(parts(&bench.farewell(loser).unwrap()), (6, 7, &[][..]), "AS {theirs}");
            bench.input(Input::Closed { id: loser });
            bench.receive(winner, &wire::keepalive());
            assert_eq!(bench.peer.established_connections(), [winner], "AS {theirs}");
        }
    }
}

#[test]
fn the_loser_of_a_collision_is_used_when_the_winner_fails_or_hangs() {
    for hangs in [false, true] {
        let mut bench = Bench::ready(plain());
        let dialled = bench.dialled();
        let accepted = bench.accept();
        bench.receive(accepted, &lower().encode());
        bench.receive(accepted, &wire::keepalive());
        assert_eq!(bench.peer.state(), State::OpenConfirm, "held");
        if hangs {
            bench.pass(5 * SECOND);
            assert!(bench.is_closed(dialled));
        } else {
            bench.input(Input::Failed { id: dialled, error: "refused" });
        }
        assert_eq!(bench.peer.established_connections(), [accepted]);
    }
}

// case: bgp-6
#[test]
fn a_new_connection_beside_an_established_session_is_refused() {
    let (mut bench, id) = Bench::established(plain(), &Open { graceful_restart: None, ..their_open() });
    bench.pass(60 * SECOND);
    let second = bench.accept();
    assert_eq!(parts(&bench.farewell(second).unwrap()), (6, 7, &[][..]));
    assert_eq!(bench.peer.established_connections(), [id]);
}

// case: bgp-6, bgp-72
#[test]
fn with_graceful_restart_a_new_connection_replaces_the_session_and_everything_is_announced_again() {
    let mut bench = Bench::ready(config());
    bench.set("10.0.0.1/32", Some(attributes(1)));
    let old = bench.establish(&their_open());
    bench.sent(old);
    bench.pass(60 * SECOND);
    bench.take();
    let new = bench.accept();
    assert_eq!(bench.peer.established_connections(), [old], "until its OPEN comes");
    let restarted = {
        let mut open = their_open();
        open.graceful_restart.as_mut().unwrap().restarted = true;
        open
    };
    bench.receive(new, &restarted.encode());
    assert!(bench.is_closed(old));
    assert_eq!(bench.farewell(old), None, "without a NOTIFICATION");
    bench.receive(new, &wire::keepalive());
    assert!(bench.peer.negotiated().unwrap().peer_restarted);
    let updates = bench.sent(new).iter().filter(|m| matches!(m, codec::Message::Update(_))).count();
    assert_eq!(updates, 3, "the route again, and End-of-RIB of both families");
}

// case: bgp-6
#[test]
fn right_after_the_session_came_up_a_new_connection_is_the_tail_of_a_collision() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.pass(SECOND);
    let second = bench.accept();
    assert_eq!(parts(&bench.farewell(second).unwrap()), (6, 7, &[][..]));
    assert_eq!(bench.peer.established_connections(), [id]);
}

// case: bgp-14, bgp-70, bgp-71
#[test]
fn every_way_of_stopping_says_what_it_is() {
    type Said = Option<(u8, Vec<u8>)>;
    let table: [(StopReason, Said, Said); 5] = [
        (StopReason::Silent, None, None),
        (
            StopReason::Shutdown("bye".into()),
            Some((2, b"\x03bye".to_vec())),
            Some((9, b"\x06\x02\x03bye".to_vec())),
        ),
        (StopReason::Deconfigured, Some((3, vec![])), Some((9, vec![6, 3]))),
        (StopReason::Reset(String::new()), Some((4, vec![])), Some((9, vec![6, 4]))),
        (StopReason::ConfigurationChange, Some((6, vec![])), Some((6, vec![]))),
    ];
    for (reason, without, with) in table {
        for (config, expected) in [(plain(), without), (config(), with)] {
            let (mut bench, id) = Bench::established(config, &their_open());
            bench.take();
            bench.input(Input::Stop(reason.clone()));
            let said = bench.farewell(id).map(|n| (n.subcode, n.data.to_vec()));
            assert_eq!(said, expected, "{reason:?}");
            assert_eq!((bench.peer.state(), bench.peer.deadline()), (State::Idle, None));
        }
    }
}

// case: bgp-7
#[test]
fn late_reports_of_a_connection_that_is_gone_change_nothing() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    let gone = crate::ConnectionId(id.0 + 100);
    for input in [
        Input::Closed { id: gone },
        Input::Failed { id: gone, error: "reset" },
        Input::Received { id: gone, data: b"?" },
        Input::Opened { id: gone, local: LOCAL, other_family: None },
    ] {
        bench.input(input);
    }
    assert_eq!(bench.peer.established_connections(), [id]);
    assert!(bench.sent(gone).is_empty());
}

#[test]
fn a_notification_received_ends_the_session_without_an_answer() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.receive(id, &Notification::new(6, 4).encode());
    assert_eq!(bench.farewell(id), None);
    assert_eq!(bench.peer.state(), State::Active);
}

#[test]
fn only_a_change_of_what_was_negotiated_resets_the_session() {
    type Change = fn(&mut PeerConfig);
    let role = |c: &mut PeerConfig| c.role = Some(OwnRole { role: Role::Customer, strict: false });
    let changes: [(bool, Change); 13] = [
        (false, |c| c.trace = true),
        (false, |c| c.prefix_limit = Some(1)),
        (false, |c| c.bfd = Some(BfdUse { strict: true })),
        (false, |c| c.peer_asn = PeerAsn::External),
        (true, |c| c.extended_next_hop = true),
        (true, |c| c.graceful_restart = None),
        (true, role),
        (false, |c| c.connect_retry = SECOND),
        (false, |c| c.passive = true),
        (false, |c| c.next_hops.v4 = Some(Ipv4Addr::new(192, 0, 2, 9))),
        (true, |c| c.hold_time = 30 * SECOND),
        (true, |c| c.families = vec![Family::Ipv4]),
        (true, |c| c.local_asn = 64999),
    ];
    for (resets, change) in changes {
        let (mut bench, id) = Bench::established(config(), &their_open());
        let mut next = config();
        change(&mut next);
        let mut out = Vec::new();
        assert_eq!(bench.peer.reconfigure(bench.now, next, &mut out), Ok(resets));
        assert_eq!(bench.peer.established_connections().contains(&id), !resets);
    }
}

#[test]
fn a_reset_for_other_parameters_is_silent_where_the_neighbour_keeps_the_routes_and_the_next_session_is_the_same_twos()
 {
    type Change = fn(&mut PeerConfig);
    let notifications = |c: &mut PeerConfig| c.graceful_restart.as_mut().unwrap().notification ^= true;
    let changes: [(bool, Change); 7] = [
        (true, |c| c.hold_time = 30 * SECOND),
        (true, |c| c.router_id = Ipv4Addr::new(192, 0, 2, 77)),
        (true, |c| c.extended_next_hop = true),
        (true, notifications),
        (false, |c| c.graceful_restart = None),
        (false, |c| c.local_asn = 64999),
        (false, |c| c.peer_asn = 64999.into()),
    ];
    let mut without = config();
    without.graceful_restart.as_mut().unwrap().notification = false;
    // Where NOTIFICATIONs keep routes too, one says why.
    for (before, kept_by_silence) in [(without, true), (config(), false)] {
        for (silent, change) in changes {
            let mut next = before.clone();
            change(&mut next);
            let (mut bench, id) = Bench::established(before.clone(), &their_open());
            bench.take();
            bench.reconfigure(next.clone());
            let said = bench.farewell(id).map(|n| n.subcode);
            assert_eq!(said, if silent && kept_by_silence { None } else { Some(6) }, "{before:?} {next:?}");
        }
    }
    let (mut bench, id) = Bench::established(plain(), &their_open());
    bench.take();
    bench.reconfigure(PeerConfig { hold_time: 30 * SECOND, ..config() });
    assert_eq!(bench.farewell(id).map(|n| n.subcode), Some(6), "nothing keeps the routes");
}

#[test]
fn a_configuration_out_of_bounds_is_refused_with_what_would_be_right() {
    let bad = |change: fn(&mut PeerConfig)| {
        let mut config = config();
        change(&mut config);
        crate::Peer::new(config, 0).map(|_| ()).unwrap_err()
    };
    assert_eq!(bad(|c| c.hold_time = 2 * SECOND), PeerConfigError::HoldTime(2 * SECOND));
    assert_eq!(bad(|c| c.peer_asn = 0.into()), PeerConfigError::Asn { field: "peer_asn" });
    assert_eq!(bad(|c| c.router_id = Ipv4Addr::UNSPECIFIED), PeerConfigError::RouterId);
    assert_eq!(bad(|c| c.families.clear()), PeerConfigError::Families(0));
    assert!(bad(|c| c.hold_time = SECOND).to_string().contains("3 s to 65535 s"));
    let internal = bad(|c| {
        c.peer_asn = PeerAsn::Internal;
        c.role = Some(OwnRole { role: Role::Peer, strict: false });
    });
    assert_eq!(internal, PeerConfigError::InternalRole);
}

#[test]
fn every_message_is_told_where_that_is_asked_for() {
    let count = |bench: &mut Bench| {
        let told = bench.events().into_iter().filter(|event| matches!(event, Event::MessageReceived(_)));
        told.count()
    };
    let (mut bench, id) = Bench::established(PeerConfig { trace: true, ..config() }, &their_open());
    assert_eq!(count(&mut bench), 2, "OPEN and KEEPALIVE");
    let keepalive = wire::keepalive();
    bench.receive(id, &keepalive[..10]);
    assert_eq!(count(&mut bench), 0);
    bench.receive(id, &[&keepalive[10..], &keepalive[..]].concat());
    assert_eq!(count(&mut bench), 2);
    bench.receive(id, b"GET / HTTP/1.1\r\nHost: bgp\r\n\r\n");
    assert_eq!(count(&mut bench), 1, "what is no message too");
    let (mut quiet, id) = Bench::established(config(), &their_open());
    quiet.receive(id, &keepalive);
    assert_eq!(count(&mut quiet), 0);
}
