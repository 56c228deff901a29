//! States: every state with every received state, silence, roles, discriminators.

use std::time::Duration;

use super::harness::{Bench, CAUSES, MILLI, SECOND, config, ours, packet, theirs};
use crate::{
    Cause, Diagnostic, Discriminator, Input, Kind, Packet, Refusal, Role, SessionConfig, State, StateChange,
};

fn passive() -> SessionConfig {
    SessionConfig { role: Role::Passive, ..config() }
}

#[test]
fn every_state_with_every_received_state_goes_where_rfc_5880_says() {
    use State::{AdminDown, Down, Init, Up};
    let handshake = Some(Cause::Handshake);
    // State, received state, state after, cause where it changed.
    let table = [
        (AdminDown, AdminDown, AdminDown, None),
        (AdminDown, Down, AdminDown, None),
        (AdminDown, Init, AdminDown, None),
        (AdminDown, Up, AdminDown, None),
        (Down, AdminDown, Down, None),
        (Down, Down, Init, handshake),
        (Down, Init, Up, handshake),
        (Down, Up, Down, None),
        (Init, AdminDown, Down, Some(Cause::RemoteAdminDown)),
        (Init, Down, Init, None),
        (Init, Init, Up, handshake),
        (Init, Up, Up, handshake),
        (Up, AdminDown, Down, Some(Cause::RemoteAdminDown)),
        (Up, Down, Down, Some(Cause::RemoteDown)),
        (Up, Init, Up, None),
        (Up, Up, Up, None),
    ];
    for (from, received, to, cause) in table {
        let mut bench = Bench::in_state(config(), from);
        bench.hear(Packet { diagnostic: Diagnostic::PathDown, ..packet(received) });
        let context = format!("{from}, hears {received}");
        assert_eq!(bench.session.state(), to, "{context}");
        let remote = bench.session.remote().expect("heard");
        assert_eq!((remote.state, remote.discriminator), (received, theirs()), "{context}");
        let sent = bench.sent();
        let expected = cause.map(|cause| StateChange {
            from,
            to,
            cause,
            diagnostic: if to == Down { Diagnostic::NeighborSignaledDown } else { Diagnostic::NoDiagnostic },
            remote_diagnostic: Diagnostic::PathDown,
        });
        assert_eq!(bench.changes(), Vec::from_iter(expected), "{context}");
        if cause.is_some() {
            assert_eq!(sent.len(), 1, "{context}: the change is told at once");
            assert_eq!(sent[0].state, to, "{context}");
        }
    }
}

#[test]
fn silence_for_the_detection_time_takes_init_and_up_down_and_forgets_the_neighbour_in_every_state() {
    for state in State::ALL {
        let mut bench = Bench::in_state(config(), state);
        // Heard in every state, without a change of it.
        let same = if state == State::Down { State::AdminDown } else { state };
        let same = if state == State::Init { State::Down } else { same };
        bench.hear(packet(same));
        assert_eq!(bench.session.detection_time(), Some(900 * MILLI));
        bench.pass(899 * MILLI);
        assert_eq!((bench.session.state(), bench.session.remote().is_some()), (state, true));
        bench.outputs.clear();
        bench.pass(MILLI);
        assert_eq!(bench.session.remote(), None, "{state}");
        if matches!(state, State::Init | State::Up) {
            let change = bench.change();
            let expired = Cause::DetectionExpired { late: Duration::ZERO };
            assert_eq!((change.from, change.to, change.cause), (state, State::Down, expired));
            assert_eq!(change.diagnostic, Diagnostic::DetectionTimeExpired);
            assert_eq!(change.is_failure(), state == State::Up);
        } else {
            assert_eq!((bench.session.state(), bench.changes()), (state, vec![]));
        }
        bench.pass(2 * SECOND);
        assert!(bench.sent().iter().all(|packet| packet.your_discriminator.is_none()), "{state}");
    }
}

#[test]
fn a_packet_just_in_time_keeps_the_session_up() {
    let mut bench = Bench::settled(config());
    for _ in 0..100 {
        bench.pass(899 * MILLI);
        bench.hear(packet(State::Up));
    }
    assert_eq!((bench.session.state(), bench.changes()), (State::Up, vec![]));
}

#[test]
fn silence_is_judged_in_a_tick_only_so_that_packets_in_the_socket_count() {
    let mut bench = Bench::settled(config());
    bench.now += 10 * SECOND;
    bench.input(Input::Enable);
    assert_eq!(bench.session.state(), State::Up, "no tick, no judgement");
    bench.hear(packet(State::Up));
    bench.input(Input::Tick);
    assert_eq!((bench.session.state(), bench.changes()), (State::Up, vec![]));
    assert_eq!(bench.session.counters().late_wakes, 1, "the stall is told");
}

#[test]
fn a_late_wake_is_counted_once_with_how_late_it_was_and_told_with_the_expiry() {
    let mut bench = Bench::settled(config());
    bench.pass(800 * MILLI);
    assert_eq!(bench.session.counters().late_wakes, 0);
    let deadline = bench.session.deadline().unwrap();
    bench.now = deadline + 10 * MILLI;
    bench.input(Input::Enable);
    assert_eq!(bench.session.counters().late_wakes, 0, "10 ms are not late");
    bench.now = deadline + 1500 * MILLI;
    for _ in 0..3 {
        bench.input(Input::Enable);
    }
    let last_heard = bench.session.remote().unwrap().received;
    bench.input(Input::Tick);
    let counters = bench.session.counters();
    assert_eq!((counters.late_wakes, counters.late_wake_micros), (1, 1_500_000));
    assert_eq!(counters.late_wake_micros_max, 1_500_000);
    let late = bench.now - last_heard - 900 * MILLI;
    assert_eq!(bench.change().cause, Cause::DetectionExpired { late });
}

#[test]
fn an_active_session_speaks_at_once_and_then_every_second_at_most() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.session.deadline(), Some(bench.now));
    bench.pass(Duration::ZERO);
    let first = bench.sent();
    assert_eq!(first.len(), 1);
    assert_eq!(
        first[0],
        Packet {
            my_discriminator: ours(),
            your_discriminator: None,
            desired_min_tx: 1_000_000,
            ..packet(State::Down)
        }
    );
    let started = bench.now;
    bench.pass(100 * SECOND);
    let count = bench.sent().len();
    assert!((100..=133).contains(&count), "{count} packets");
    assert_eq!(bench.now - started, 100 * SECOND);
}

#[test]
fn a_passive_session_is_silent_until_it_hears_and_again_when_the_neighbour_is_gone() {
    let mut bench = Bench::new(passive());
    assert_eq!(bench.session.deadline(), None);
    bench.pass(100 * SECOND);
    bench.input(Input::Tick);
    bench.input(Input::Disable);
    bench.input(Input::Enable);
    assert_eq!(bench.sent(), []);
    bench.hear(Packet { your_discriminator: None, ..packet(State::Down) });
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].state, sent[0].your_discriminator), (1, State::Init, Some(theirs())));
    bench.pass(900 * MILLI);
    assert_eq!(bench.session.state(), State::Down);
    bench.outputs.clear();
    bench.pass(100 * SECOND);
    assert_eq!(bench.sent(), []);
}

#[test]
fn that_the_neighbour_is_heard_is_told_at_once_and_that_it_is_not_with_the_next_periodic_packet() {
    let mut bench = Bench::in_state(config(), State::Down);
    bench.hear(Packet { detect_multiplier: 1, ..packet(State::Up) });
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].state, sent[0].your_discriminator), (1, State::Down, Some(theirs())));
    bench.pass(300 * MILLI);
    assert_eq!(bench.session.remote(), None);
    assert_eq!(bench.sent(), []);
    bench.pass(700 * MILLI);
    assert_eq!(bench.sent()[0].your_discriminator, None);
}

#[test]
fn a_neighbour_that_wanted_no_packets_is_spoken_to_again_when_it_was_forgotten() {
    let mut bench = Bench::settled(config());
    bench.hear(Packet { required_min_rx: 0, ..packet(State::Up) });
    bench.pass(SECOND);
    assert_eq!(bench.session.state(), State::Down);
    bench.outputs.clear();
    bench.pass(10 * SECOND);
    assert!(bench.sent().len() >= 10);
}

#[test]
fn a_restarted_neighbour_takes_the_session_down_and_up_again_with_its_new_discriminator() {
    let mut bench = Bench::settled(config());
    let anew = Discriminator::new(7).unwrap();
    bench.hear(Packet { my_discriminator: anew, your_discriminator: None, ..packet(State::Down) });
    let change = bench.change();
    assert_eq!((change.cause, change.is_failure()), (Cause::RemoteDown, true));
    bench.hear(Packet { my_discriminator: anew, ..packet(State::Down) });
    bench.hear(Packet { my_discriminator: anew, ..packet(State::Init) });
    assert_eq!(bench.session.state(), State::Up);
    assert!(bench.sent().iter().all(|packet| packet.your_discriminator == Some(anew)));
    let counters = bench.session.counters();
    assert_eq!((counters.ups, counters.downs.of("remote_down")), (2, 1));
}

#[test]
fn why_a_session_failed_is_told_until_it_is_up_again() {
    let mut bench = Bench::settled(config());
    bench.pass(SECOND);
    bench.hear(packet(State::Down));
    bench.hear(packet(State::Init));
    let told: Vec<_> = bench.sent().iter().map(|packet| (packet.state, packet.diagnostic)).collect();
    let expired = Diagnostic::DetectionTimeExpired;
    let end = [(State::Down, expired), (State::Init, expired), (State::Up, Diagnostic::NoDiagnostic)];
    assert!(told.ends_with(&end), "{told:?}");
}

// case: bgp-74
#[test]
fn a_single_hop_takes_ttl_255_only_and_a_multihop_what_it_is_told() {
    for kind in [Kind::SingleHop, Kind::MultiHop { min_ttl: 250 }] {
        let mut bench = Bench::new(SessionConfig { kind, ..config() });
        for ttl in 0..=255_u8 {
            let before = bench.session.counters().packets_received;
            bench.input(Input::Received { packet: packet(State::Up), ttl });
            let taken = bench.session.counters().packets_received > before;
            assert_eq!(taken, ttl >= kind.least_ttl(), "{kind:?} with TTL {ttl}");
        }
        let refused = bench.session.counters().refused;
        assert_eq!(refused.of("ttl"), u64::from(kind.least_ttl()));
        assert_eq!(refused.total(), refused.of("ttl"));
    }
}

#[test]
fn a_refused_packet_changes_nothing() {
    let mut bench = Bench::settled(config());
    bench.pass(500 * MILLI);
    bench.outputs.clear();
    let before = (*bench.session.remote().unwrap(), bench.session.deadline());
    bench.input(Input::Received { packet: packet(State::Down), ttl: 254 });
    let other = Packet { your_discriminator: Some(theirs()), ..packet(State::Down) };
    bench.hear(other);
    assert_eq!((*bench.session.remote().unwrap(), bench.session.deadline()), before);
    assert_eq!(bench.outputs, []);
    let refused = bench.session.counters().refused;
    assert_eq!((refused.of("ttl"), refused.of("unknown_discriminator"), refused.total()), (1, 1, 2));
    assert_eq!(refused.of(Refusal::Multipoint.category()), 0);
}

#[test]
fn every_cause_has_a_category_of_its_own_that_is_counted() {
    let categories: Vec<_> = CAUSES.iter().map(|cause| cause.category()).collect();
    assert_eq!(categories, Cause::CATEGORIES);
    let change = StateChange {
        from: State::Up,
        to: State::Down,
        cause: Cause::DetectionExpired { late: 20 * MILLI },
        diagnostic: Diagnostic::DetectionTimeExpired,
        remote_diagnostic: Diagnostic::PathDown,
    };
    assert_eq!(
        change.to_string(),
        "Up to Down: nothing was received for the detection time and 20ms more (the neighbour's diagnostic: path down)"
    );
}

#[test]
fn counters_are_written_with_every_label_of_their_sets() {
    let mut bench = Bench::settled(config());
    bench.input(Input::PathDown);
    let value = serde_json::to_value(bench.session.counters()).unwrap();
    assert_eq!((&value["ups"], &value["downs"]["path_down"]), (&1.into(), &1.into()));
    for label in Cause::CATEGORIES {
        assert!(value["downs"][label].is_u64(), "{label}");
    }
    for label in Refusal::CATEGORIES {
        assert_eq!(value["refused"][label], 0, "{label}");
    }
}
