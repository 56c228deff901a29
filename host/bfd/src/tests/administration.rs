//! What is told to a session from outside the protocol, what of it is a failure, and its configuration.

use std::time::Instant;

use super::harness::{Bench, CAUSES, MILLI, SECOND, config, ours, packet};
use crate::{
    Cause, Diagnostic, Hops, Input, InsertError, Kind, Packet, Role, Session, SessionConfig,
    SessionConfigError, State, StateChange,
};

#[test]
fn disabling_goes_to_admin_down_from_every_state_and_says_so_until_enabled() {
    for state in [State::Down, State::Init, State::Up] {
        let mut bench = Bench::in_state(config(), state);
        bench.input(Input::Disable);
        let sent = bench.sent();
        assert_eq!((sent.len(), sent[0].state), (1, State::AdminDown), "{state}: at once");
        assert_eq!(sent[0].diagnostic, Diagnostic::AdministrativelyDown);
        let change = bench.change();
        assert_eq!((change.from, change.to, change.cause), (state, State::AdminDown, Cause::Disabled));
        assert!(!change.is_failure());
        bench.input(Input::Disable);
        bench.pass_hearing(10 * SECOND, 100 * MILLI, packet(State::Up));
        assert_eq!(bench.session.state(), State::AdminDown);
        let sent = bench.sent();
        assert!(sent.len() >= 10 && sent.iter().all(|packet| packet.state == State::AdminDown));
        assert_eq!(bench.changes(), []);

        bench.input(Input::Enable);
        let change = bench.change();
        assert_eq!((change.to, change.cause, change.is_failure()), (State::Down, Cause::Enabled, false));
        bench.hear(packet(State::Down));
        bench.hear(packet(State::Init));
        assert_eq!(bench.session.state(), State::Up);
    }
}

#[test]
fn enabling_what_is_not_disabled_does_nothing() {
    for state in [State::Down, State::Init, State::Up] {
        let mut bench = Bench::in_state(config(), state);
        bench.input(Input::Enable);
        assert_eq!((bench.session.state(), bench.outputs), (state, vec![]));
    }
}

// case: bgp-74
#[test]
fn the_neighbours_admin_down_is_no_failure_and_its_down_is_one() {
    let mut bench = Bench::settled(config());
    let diagnostic = Diagnostic::AdministrativelyDown;
    bench.hear(Packet { diagnostic, ..packet(State::AdminDown) });
    let change = bench.change();
    assert_eq!((change.to, change.cause), (State::Down, Cause::RemoteAdminDown));
    assert_eq!(
        (change.diagnostic, change.remote_diagnostic),
        (Diagnostic::NeighborSignaledDown, Diagnostic::AdministrativelyDown)
    );
    assert!(!change.is_failure());
    // It stays without failure while the neighbour stays so, and when it falls silent.
    bench.pass_hearing(5 * SECOND, 300 * MILLI, packet(State::AdminDown));
    bench.pass(5 * SECOND);
    assert_eq!(bench.changes(), []);

    let mut bench = Bench::settled(config());
    bench.hear(packet(State::Down));
    assert!(bench.change().is_failure());
}

#[test]
fn only_what_says_that_the_path_failed_and_ends_up_is_a_failure() {
    for cause in CAUSES {
        for from in State::ALL {
            let diagnostic = Diagnostic::NoDiagnostic;
            let change =
                StateChange { from, to: State::Down, cause, diagnostic, remote_diagnostic: diagnostic };
            let failure = from == State::Up
                && matches!(cause.category(), "detection_expired" | "remote_down" | "path_down");
            assert_eq!(change.is_failure(), failure, "{change}");
        }
    }
}

#[test]
fn a_path_that_is_down_takes_init_and_up_down_and_the_handshake_brings_it_back() {
    for state in State::ALL {
        let mut bench = Bench::in_state(config(), state);
        bench.input(Input::PathDown);
        if !matches!(state, State::Init | State::Up) {
            assert_eq!((bench.session.state(), bench.outputs), (state, vec![]), "{state}");
            continue;
        }
        let sent = bench.sent();
        assert_eq!((sent.len(), sent[0].state, sent[0].diagnostic), (1, State::Down, Diagnostic::PathDown));
        let change = bench.change();
        assert_eq!((change.cause, change.is_failure()), (Cause::PathDown, state == State::Up));
        bench.hear(packet(State::Up));
        assert_eq!(bench.session.state(), State::Down, "the neighbour does not know yet");
        bench.hear(packet(State::Down));
        bench.hear(packet(State::Up));
        assert_eq!(bench.session.state(), State::Up);
    }
}

#[test]
fn a_passive_session_tells_the_neighbour_of_a_path_that_is_down() {
    let mut bench = Bench::in_state(SessionConfig { role: Role::Passive, ..config() }, State::Up);
    bench.input(Input::PathDown);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn forgetting_drops_the_neighbour_without_a_failure() {
    for state in State::ALL {
        let mut bench = Bench::in_state(config(), state);
        bench.hear(packet(if state == State::Up { State::Up } else { State::AdminDown }));
        let state = bench.session.state();
        bench.outputs.clear();
        bench.input(Input::Forget);
        assert_eq!(bench.session.remote(), None);
        assert_eq!(bench.session.detection_time(), None);
        assert!(!bench.session.is_polling());
        let sent = bench.sent();
        assert!(sent.iter().all(|packet| packet.your_discriminator.is_none()), "{state}");
        let changes = bench.changes();
        assert_eq!(changes.len(), usize::from(state == State::Up), "{state}");
        assert!(changes.iter().all(|change| change.cause == Cause::Forgotten && !change.is_failure()));
    }
}

#[test]
fn farewell_is_the_detection_time_of_the_neighbour() {
    let mut bench = Bench::settled(config());
    assert_eq!(bench.session.farewell(), 900 * MILLI);
    bench.hear(Packet { required_min_rx: 2_000_000, ..packet(State::Up) });
    assert_eq!(bench.session.farewell(), 6 * SECOND);
    bench.hear(packet(State::Up));
    bench.input(Input::Disable);
    assert_eq!(bench.session.farewell(), 3 * SECOND, "once a second from now on");
}

#[test]
fn another_role_or_ttl_takes_effect_in_place_and_another_kind_is_refused() {
    let mut bench = Bench::new(SessionConfig { role: Role::Passive, ..config() });
    bench.reconfigure(config());
    bench.pass(2 * SECOND);
    assert!(bench.sent().len() >= 2, "active now");
    bench.reconfigure(SessionConfig { role: Role::Passive, ..config() });
    bench.pass(10 * SECOND);
    assert_eq!(bench.sent(), [], "passive again");

    let hops = |min_ttl| SessionConfig { kind: Kind::MultiHop { min_ttl }, ..config() };
    let mut out = Vec::new();
    let error = bench.session.reconfigure(bench.now, hops(250), &mut out).expect_err("another kind");
    assert_eq!(error, SessionConfigError::Kind { is: Hops::Single, wanted: Hops::Multi });
    assert_eq!(error.to_string(), "kind: Single cannot become Multi; remove the session and add another");
    assert_eq!(bench.session.config().kind, Kind::SingleHop);

    let mut bench = Bench::new(hops(250));
    bench.input(Input::Received { packet: packet(State::Down), ttl: 249 });
    assert_eq!(bench.session.state(), State::Down);
    bench.reconfigure(hops(249));
    bench.input(Input::Received { packet: packet(State::Down), ttl: 249 });
    assert_eq!(bench.session.state(), State::Init);
}

#[test]
fn a_configuration_out_of_its_bounds_is_refused_in_words() {
    let hops = |min_ttl| SessionConfig { kind: Kind::MultiHop { min_ttl }, ..config() };
    let table = [
        (
            SessionConfig { desired_min_tx: 5 * MILLI, ..config() },
            "desired_min_tx: 5ms is not allowed; use 10ms to 60s",
        ),
        (
            SessionConfig { required_min_rx: 61 * SECOND, ..config() },
            "required_min_rx: 61s is not allowed; use 10ms to 60s",
        ),
        (
            SessionConfig { detect_multiplier: 0, ..config() },
            "detect_multiplier: 0 is not allowed; use 1 to 255",
        ),
        (hops(0), "kind.min_ttl: 0 is not allowed; use 1 to 254, or a single hop where it would be 255"),
        (hops(255), "kind.min_ttl: 255 is not allowed; use 1 to 254, or a single hop where it would be 255"),
    ];
    for (config, text) in table {
        let error: SessionConfigError = config.check().expect_err(text);
        assert_eq!(error.to_string(), text);
        let now = Instant::now();
        assert_eq!(Session::new(now, config, ours(), 1).expect_err(text), error);
        assert_eq!(InsertError::from(error).to_string(), text);
    }
    for good in [hops(1), hops(254), SessionConfig { desired_min_tx: 60 * SECOND, ..config() }] {
        assert_eq!(good.check(), Ok(()));
    }
}
