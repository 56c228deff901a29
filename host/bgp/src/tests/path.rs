//! What BFD says of the path to the neighbour, and what becomes of the session.

use std::time::Duration;

use super::harness::{Bench, attributes, config, parts, their_open};
use crate::{BfdUse, DownReason, Event, Input, Output, Path, PeerConfig, State};

fn watched(strict: bool) -> PeerConfig {
    PeerConfig { bfd: Some(BfdUse { strict }), ..config() }
}

fn dials(bench: &mut Bench) -> usize {
    bench.take().into_iter().filter(|output| matches!(output, Output::Dial { .. })).count()
}

// case: bgp-74
#[test]
fn a_path_that_was_up_and_is_lost_ends_the_session_with_bfd_down() {
    let plain = PeerConfig { graceful_restart: None, ..watched(false) };
    // With NOTIFICATION support of graceful restart the neighbour would keep the routes: a Hard Reset around it.
    for (config, said) in [(plain, (10, vec![])), (watched(false), (9, vec![6, 10]))] {
        let (mut bench, id) = Bench::established(config, &their_open());
        bench.set("10.0.0.1/32", Some(attributes(1)));
        bench.input(Input::Bfd(Path::Up));
        assert_eq!(bench.peer.state(), State::Established);
        bench.take();
        bench.input(Input::Bfd(Path::Down));
        let farewell = bench.farewell(id).unwrap();
        let (code, subcode, data) = parts(&farewell);
        assert_eq!((code, (subcode, data.to_vec())), (6, said));
        assert_eq!(bench.peer.counters().bfd_downs, 1);
        let last = bench.peer.last_error().unwrap();
        assert!(matches!(last, DownReason::BfdDown(_)), "{last:?}");
        assert!(last.to_string().contains("BFD"), "{last}");
        assert!(bench.events().iter().any(|event| matches!(event, Event::Down(DownReason::BfdDown(_)))));
    }
}

// case: bgp-74
#[test]
fn a_path_that_was_never_up_ends_nothing() {
    let (mut bench, _) = Bench::established(watched(false), &their_open());
    for path in [Path::Down, Path::Unknown, Path::Down, Path::AdminDown] {
        bench.input(Input::Bfd(path));
        assert_eq!(bench.peer.state(), State::Established, "{path:?}");
    }
}

// case: bgp-74
#[test]
fn a_neighbour_that_switches_its_bfd_off_keeps_the_session() {
    let (mut bench, _) = Bench::established(watched(false), &their_open());
    for path in [Path::Up, Path::AdminDown, Path::Down] {
        bench.input(Input::Bfd(path));
        assert_eq!(bench.peer.state(), State::Established, "{path:?}");
    }
}

#[test]
fn without_bfd_in_the_configuration_nobody_listens_to_it() {
    let (mut bench, _) = Bench::established(config(), &their_open());
    bench.input(Input::Bfd(Path::Up));
    bench.input(Input::Bfd(Path::Down));
    assert_eq!(bench.peer.state(), State::Established);
}

// case: bgp-74
#[test]
fn strict_bfd_lets_nothing_connect_before_the_path_is_up() {
    let mut bench = Bench::ready(watched(true));
    bench.pass(Duration::from_secs(60));
    assert_eq!((dials(&mut bench), bench.peer.accept()), (0, None));
    assert_eq!((bench.peer.state(), bench.peer.deadline()), (State::Idle, None));
    bench.input(Input::Bfd(Path::Up));
    assert_eq!(dials(&mut bench), 1, "at once");
    assert!(bench.peer.accept().is_some());
    // It is lost again: what was under way is over, and nothing new begins.
    bench.input(Input::Bfd(Path::Down));
    bench.take();
    bench.pass(Duration::from_secs(60));
    assert_eq!((dials(&mut bench), bench.peer.accept()), (0, None));
    // Switched off by the neighbour: nothing is known against the path.
    bench.input(Input::Bfd(Path::AdminDown));
    bench.pass(Duration::from_secs(60));
    assert!(dials(&mut bench) > 0);
}

#[test]
fn a_path_that_comes_back_is_dialled_at_once() {
    let (mut bench, _) = Bench::established(watched(false), &their_open());
    bench.input(Input::Bfd(Path::Up));
    bench.input(Input::Bfd(Path::Down));
    bench.take();
    assert_eq!(dials(&mut bench), 0, "a session that failed is held down");
    bench.input(Input::Bfd(Path::Up));
    assert_eq!(dials(&mut bench), 1);
}
