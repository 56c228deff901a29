//! Intervals, Poll Sequences and Demand mode: RFC 5880 §6.5, §6.6, §6.8.2, §6.8.3 and §6.8.7.

use std::time::Duration;

use super::harness::{Bench, MILLI, SECOND, config, packet};
use crate::{Input, Packet, Role, SessionConfig, State};

fn with(tx: u64, rx: u64) -> SessionConfig {
    SessionConfig {
        desired_min_tx: Duration::from_millis(tx),
        required_min_rx: Duration::from_millis(rx),
        ..config()
    }
}

fn polled() -> Packet {
    Packet { poll_bit: true, ..packet(State::Up) }
}

fn answered() -> Packet {
    Packet { final_bit: true, ..packet(State::Up) }
}

/// Times between packets, for so long, with a neighbour that is Up and heard all the time.
fn gaps(bench: &mut Bench, time: Duration) -> Vec<Duration> {
    let until = bench.now + time;
    let mut gaps = Vec::new();
    let mut last = None;
    while bench.now < until {
        let deadline = bench.session.deadline().expect("periodic packets");
        bench.now = deadline;
        bench.hear(packet(State::Up));
        bench.outputs.clear();
        bench.input(Input::Tick);
        if !bench.sent().is_empty() {
            gaps.extend(last.map(|last| bench.now - last));
            last = Some(bench.now);
        }
    }
    gaps
}

fn assert_spread(gaps: &[Duration], least: Duration, most: Duration) {
    let (min, max) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
    let near = (most - least) / 20;
    assert!(*min >= least && *min <= least + near, "{min:?}, wanted {least:?}");
    assert!(*max <= most && *max >= most - near, "{max:?}, wanted {most:?}");
}

#[test]
fn packets_go_after_75_to_100_percent_of_the_larger_of_both_wishes() {
    for (ours, theirs, interval) in [(300, 300, 300), (50, 300, 300), (1000, 300, 1000)] {
        let mut bench = Bench::settled(with(ours, 300));
        assert_eq!(bench.session.transmit_interval(), interval * MILLI, "{ours} {theirs}");
        let interval = interval * MILLI;
        assert_spread(&gaps(&mut bench, 600 * interval), interval * 3 / 4, interval);
    }
}

#[test]
fn with_a_detect_multiplier_of_1_packets_go_after_at_most_90_percent() {
    let mut bench = Bench::settled(SessionConfig { detect_multiplier: 1, ..config() });
    assert_spread(&gaps(&mut bench, 180 * SECOND), 225 * MILLI, 270 * MILLI);
}

#[test]
fn while_not_up_packets_go_once_a_second_whatever_is_wanted() {
    for state in [State::AdminDown, State::Down, State::Init] {
        let mut bench = Bench::in_state(with(50, 50), state);
        // Said over and over, none of these changes the state.
        let same = if state == State::Init { State::Down } else { State::AdminDown };
        bench.pass_hearing(2 * SECOND, 100 * MILLI, packet(same));
        bench.outputs.clear();
        bench.pass_hearing(100 * SECOND, 100 * MILLI, packet(same));
        assert_eq!(bench.session.state(), state);
        let sent = bench.sent();
        assert!((100..=134).contains(&sent.len()), "{state}: {} packets", sent.len());
        assert!(sent.iter().all(|packet| packet.desired_min_tx == 1_000_000), "{state}");
    }
    let slow = Bench::new(with(5000, 300));
    assert_eq!(slow.session.transmit_interval(), 5 * SECOND, "at least a second, not at most");
}

#[test]
fn coming_up_brings_the_wanted_interval_into_effect_at_once_with_a_poll() {
    let mut bench = Bench::in_state(with(50, 300), State::Init);
    bench.hear(Packet { required_min_rx: 50_000, ..packet(State::Up) });
    let sent = bench.sent();
    assert_eq!((sent.len(), sent[0].state, sent[0].poll_bit), (1, State::Up, true));
    assert_eq!(sent[0].desired_min_tx, 50_000);
    assert_eq!(bench.session.transmit_interval(), 50 * MILLI);
    bench.pass_hearing(SECOND, 50 * MILLI, Packet { required_min_rx: 50_000, ..packet(State::Up) });
    let polls = bench.sent();
    assert!(polls.len() >= 19 && polls.iter().all(|packet| packet.poll_bit), "until a Final comes");
    bench.hear(Packet { required_min_rx: 50_000, ..answered() });
    bench.pass(200 * MILLI);
    let after = bench.sent();
    assert!(after.len() >= 3 && after.iter().all(|packet| !packet.poll_bit));
    assert_eq!(bench.session.counters().polls_completed, 1);
}

#[test]
fn every_poll_is_answered_at_once_by_one_final_in_every_state_but_admin_down() {
    for state in State::ALL {
        let mut bench = Bench::in_state(config(), state);
        bench.hear(packet(State::AdminDown));
        let state = bench.session.state();
        bench.outputs.clear();
        for _ in 0..5 {
            bench.hear(Packet { poll_bit: true, ..packet(State::AdminDown) });
            let sent = bench.sent();
            if state == State::AdminDown {
                assert_eq!(sent, [], "discarded, §6.8.6");
            } else {
                assert_eq!(sent.len(), 1, "{state}");
                assert!(sent[0].final_bit && !sent[0].poll_bit, "{state}");
            }
        }
    }
    let mut bench = Bench::settled(config());
    for _ in 0..5 {
        bench.hear(polled());
    }
    let sent = bench.sent();
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|packet| packet.final_bit && packet.state == State::Up));
    bench.pass(100 * MILLI);
    assert_eq!(bench.sent(), [], "and no more than one");
    assert_eq!(bench.session.counters().finals_sent, 5);
}

#[test]
fn a_final_that_tells_a_change_of_state_makes_another_packet_needless() {
    let mut bench = Bench::in_state(config(), State::Init);
    bench.hear(polled());
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].state, sent[0].final_bit, sent[0].desired_min_tx), (State::Up, true, 300_000));
    bench.pass(300 * MILLI);
    let next = bench.sent();
    assert!(next.len() == 1 && next[0].poll_bit, "our own Poll goes with the periodic packets");
}

#[test]
fn answers_do_not_move_the_periodic_packets() {
    let mut bench = Bench::settled(config());
    bench.pass(400 * MILLI);
    let due = bench.session.deadline();
    bench.hear(polled());
    assert_eq!(bench.session.deadline(), due);
}

#[test]
fn sending_more_slowly_waits_for_the_final() {
    let mut bench = Bench::settled(config());
    bench.reconfigure(with(900, 300));
    assert_eq!(bench.sent(), [], "a Poll makes no packets of its own");
    assert_eq!(bench.session.transmit_interval(), 300 * MILLI);
    bench.pass_hearing(3 * SECOND, 100 * MILLI, packet(State::Up));
    let sent = bench.sent();
    assert!(sent.len() >= 10, "at the old interval");
    assert!(sent.iter().all(|packet| packet.poll_bit && packet.desired_min_tx == 900_000));
    bench.hear(answered());
    assert_eq!(bench.session.transmit_interval(), 900 * MILLI);
    assert!(!bench.session.is_polling());
}

#[test]
fn sending_faster_takes_effect_at_once_and_counts_from_the_last_packet() {
    let mut bench = Bench::settled(with(1000, 300));
    let quick = Packet { required_min_rx: 50_000, ..packet(State::Up) };
    bench.hear(quick);
    let due = bench.session.deadline().unwrap();
    bench.pass_hearing(due - bench.now, 300 * MILLI, quick);
    bench.pass(100 * MILLI);
    bench.outputs.clear();
    bench.reconfigure(with(50, 300));
    assert_eq!(bench.session.transmit_interval(), 50 * MILLI);
    assert_eq!(bench.session.deadline(), Some(bench.now), "its time has passed already");
    bench.pass(Duration::ZERO);
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.session.counters().late_wakes, 0, "and nobody was late");
}

#[test]
fn a_neighbour_that_takes_packets_faster_gets_them_at_once() {
    let mut bench = Bench::settled(with(50, 300));
    bench.hear(Packet { required_min_rx: 5_000_000, ..packet(State::Up) });
    bench.pass_hearing(6 * SECOND, 500 * MILLI, Packet { required_min_rx: 5_000_000, ..packet(State::Up) });
    bench.pass(200 * MILLI);
    bench.outputs.clear();
    bench.hear(packet(State::Up));
    assert!(bench.session.deadline().unwrap() <= bench.now + 300 * MILLI);
    bench.pass(300 * MILLI);
    assert!(!bench.sent().is_empty());
}

#[test]
fn expecting_packets_sooner_waits_for_the_final() {
    let mut bench = Bench::settled(with(300, 1000));
    assert_eq!(bench.session.detection_time(), Some(3 * SECOND));
    bench.reconfigure(with(300, 100));
    bench.pass_hearing(2 * SECOND, 100 * MILLI, packet(State::Up));
    assert!(bench.sent().iter().all(|packet| packet.poll_bit && packet.required_min_rx == 100_000));
    assert_eq!(bench.session.detection_time(), Some(3 * SECOND));
    bench.hear(answered());
    assert_eq!(bench.session.detection_time(), Some(900 * MILLI), "the neighbour sends every 300 ms");
}

#[test]
fn expecting_packets_later_takes_effect_at_once() {
    let mut bench = Bench::settled(config());
    bench.reconfigure(with(300, 1000));
    assert_eq!(bench.session.detection_time(), Some(3 * SECOND));
}

#[test]
fn the_detection_time_is_their_multiplier_of_the_larger_of_our_need_and_their_wish() {
    let mut bench = Bench::settled(config());
    for (multiplier, wish, millis) in [(3, 300, 900), (1, 50, 300), (5, 2000, 10_000), (255, 0, 76_500)] {
        bench.hear(Packet {
            detect_multiplier: multiplier,
            desired_min_tx: wish * 1000,
            ..packet(State::Up)
        });
        assert_eq!(bench.session.detection_time(), Some(millis * MILLI));
    }
}

#[test]
fn another_change_waits_until_the_finals_of_the_first_are_over() {
    let mut bench = Bench::settled(config());
    bench.reconfigure(with(600, 300));
    bench.pass(300 * MILLI);
    assert!(bench.sent().iter().all(|packet| packet.poll_bit && packet.desired_min_tx == 600_000));
    bench.reconfigure(with(900, 300));
    bench.pass(100 * MILLI);
    bench.hear(packet(State::Up));
    bench.pass(200 * MILLI);
    let sent = bench.sent();
    assert!(!sent.is_empty() && sent.iter().all(|packet| packet.desired_min_tx == 600_000), "{sent:?}");
    bench.hear(answered());
    assert_eq!(bench.session.transmit_interval(), 600 * MILLI, "what the Final confirms");
    bench.hear(answered());
    assert!(bench.session.is_polling(), "the second change is still to come");
    // A round trip after the last Poll and with a packet without F the second one goes.
    bench.pass_hearing(2 * SECOND, 100 * MILLI, packet(State::Up));
    let sent = bench.sent();
    let last = sent.last().unwrap();
    assert!(last.poll_bit && last.desired_min_tx == 900_000);
    assert_eq!(bench.session.transmit_interval(), 600 * MILLI);
    bench.hear(answered());
    assert_eq!(bench.session.transmit_interval(), 900 * MILLI);
}

#[test]
fn changes_before_the_first_poll_went_share_one_sequence() {
    let mut bench = Bench::settled(config());
    bench.pass(10 * MILLI);
    bench.outputs.clear();
    bench.reconfigure(with(600, 300));
    bench.reconfigure(with(900, 100));
    bench.pass(300 * MILLI);
    let sent = bench.sent();
    assert!(sent.iter().all(|packet| packet.desired_min_tx == 900_000 && packet.required_min_rx == 100_000));
    bench.hear(answered());
    assert_eq!(bench.session.transmit_interval(), 900 * MILLI);
    assert!(!bench.session.is_polling());
}

#[test]
fn a_change_that_needs_no_final_joins_a_sequence_under_way_and_another_follows() {
    let mut bench = Bench::settled(config());
    bench.reconfigure(with(900, 300));
    bench.pass(300 * MILLI);
    bench.reconfigure(with(600, 600));
    assert_eq!(bench.session.detection_time(), Some(1800 * MILLI), "at once");
    bench.hear(answered());
    assert_eq!(bench.session.transmit_interval(), 600 * MILLI, "never more than the Final may be about");
    assert!(bench.session.is_polling());
    bench.pass_hearing(SECOND, 100 * MILLI, packet(State::Up));
    bench.hear(answered());
    assert!(!bench.session.is_polling());
    assert_eq!(bench.session.counters().polls_completed, 3);
}

#[test]
fn a_final_that_nobody_asked_for_changes_nothing() {
    let mut bench = Bench::settled(config());
    bench.pass(10 * MILLI);
    bench.outputs.clear();
    bench.reconfigure(with(900, 100));
    bench.hear(answered());
    assert_eq!(bench.session.transmit_interval(), 300 * MILLI);
    assert_eq!(bench.session.detection_time(), Some(900 * MILLI));
    assert!(bench.session.is_polling());
}

#[test]
fn leaving_up_ends_every_wait_for_a_final() {
    let mut bench = Bench::settled(with(300, 1000));
    bench.reconfigure(with(900, 100));
    bench.pass(300 * MILLI);
    bench.reconfigure(with(2000, 50));
    bench.hear(packet(State::Down));
    let told = *bench.sent().last().unwrap();
    assert_eq!((told.desired_min_tx, told.required_min_rx), (2_000_000, 50_000));
    assert_eq!(bench.session.transmit_interval(), 2 * SECOND);
    assert_eq!(bench.session.detection_time(), Some(900 * MILLI));
}

#[test]
fn another_detect_multiplier_goes_with_the_next_packet_and_needs_no_poll() {
    let mut bench = Bench::settled(config());
    bench.pass(10 * MILLI);
    bench.outputs.clear();
    bench.reconfigure(SessionConfig { detect_multiplier: 5, ..config() });
    assert_eq!(bench.sent(), []);
    bench.pass(300 * MILLI);
    let sent = bench.sent();
    assert!(!sent.is_empty() && sent.iter().all(|packet| packet.detect_multiplier == 5 && !packet.poll_bit));
}

#[test]
fn with_a_detect_multiplier_of_1_from_now_on_the_packet_on_its_way_goes_after_at_most_90_percent_too() {
    let mut bench = Bench::settled(config());
    for _ in 0..100 {
        bench.now = bench.session.deadline().unwrap();
        bench.hear(packet(State::Up));
        bench.input(Input::Tick);
        bench.reconfigure(SessionConfig { detect_multiplier: 1, ..config() });
        assert!(bench.session.deadline().unwrap() <= bench.now + 270 * MILLI);
        // The other way round the neighbour still expects every packet, the next one too.
        bench.reconfigure(config());
        assert!(bench.session.deadline().unwrap() <= bench.now + 270 * MILLI);
    }
}

#[test]
fn a_neighbour_that_wants_no_packets_gets_changes_and_answers_only() {
    let mut bench = Bench::settled(config());
    let still = Packet { required_min_rx: 0, ..packet(State::Up) };
    bench.hear(still);
    bench.pass_hearing(60 * SECOND, 500 * MILLI, still);
    assert_eq!(bench.sent(), []);
    bench.hear(Packet { poll_bit: true, ..still });
    assert_eq!(bench.sent().len(), 1, "an answer");
    bench.reconfigure(SessionConfig { detect_multiplier: 5, ..config() });
    assert_eq!(bench.sent().len(), 1, "there is no periodic packet to wait for");
    bench.hear(Packet { state: State::Down, ..still });
    assert_eq!(bench.sent().len(), 1, "a change of state");
    bench.hear(packet(State::Down));
    bench.pass(2 * SECOND);
    assert!(bench.sent().len() >= 2, "periodic packets again");
}

#[test]
fn a_neighbour_in_demand_mode_gets_packets_only_while_this_side_polls() {
    let mut bench = Bench::in_state(config(), State::Up);
    let demand = Packet { demand_bit: true, ..packet(State::Up) };
    bench.pass_hearing(3 * SECOND, 200 * MILLI, demand);
    let polls = bench.sent();
    assert!(polls.len() >= 10 && polls.iter().all(|packet| packet.poll_bit), "the Poll of coming up");
    bench.hear(Packet { final_bit: true, ..demand });
    bench.hear(demand);
    bench.pass_hearing(60 * SECOND, 500 * MILLI, demand);
    assert_eq!((bench.sent(), bench.session.state()), (vec![], State::Up));

    bench.hear(Packet { poll_bit: true, ..demand });
    let sent = bench.sent();
    assert!(sent.len() == 1 && sent[0].final_bit && !sent[0].demand_bit);

    bench.reconfigure(with(600, 300));
    bench.pass_hearing(SECOND, 200 * MILLI, demand);
    let polls = bench.sent();
    assert!(!polls.is_empty() && polls.iter().all(|packet| packet.poll_bit));
    bench.hear(Packet { final_bit: true, ..demand });
    bench.pass_hearing(5 * SECOND, 500 * MILLI, demand);
    assert_eq!(bench.sent(), []);

    bench.hear(packet(State::Up));
    bench.pass_hearing(5 * SECOND, 500 * MILLI, packet(State::Up));
    assert!(bench.sent().len() >= 8, "Demand mode is over");
}

#[test]
fn demand_mode_holds_only_while_both_sides_are_up() {
    let mut bench = Bench::settled(config());
    let demand = Packet { demand_bit: true, ..packet(State::Up) };
    bench.hear(demand);
    bench.pass(500 * MILLI);
    assert_eq!(bench.sent(), []);
    bench.hear(Packet { state: State::Init, ..demand });
    bench.pass(600 * MILLI);
    assert!(bench.sent().len() >= 2, "the neighbour is not Up");
    bench.hear(demand);
    bench.outputs.clear();
    bench.pass(900 * MILLI);
    let sent = bench.sent();
    assert!(!sent.is_empty() && sent[0].state == State::Down, "silence is judged in Demand mode too");
}

// case: bgp-74
#[test]
fn this_side_never_sets_the_bits_that_it_does_not_mean() {
    let mut bench = Bench::new(SessionConfig { role: Role::Passive, ..config() });
    for state in [State::Down, State::Up, State::Up, State::AdminDown, State::Down, State::Init] {
        for bits in 0..4 {
            let packet = Packet { poll_bit: bits & 1 != 0, demand_bit: bits & 2 != 0, ..packet(state) };
            bench.hear(packet);
            bench.pass(400 * MILLI);
        }
    }
    let sent = bench.sent();
    assert!(sent.len() > 20);
    for packet in sent {
        assert!(!packet.demand_bit && !packet.control_plane_independent);
        assert!(!(packet.poll_bit && packet.final_bit));
        assert_eq!(packet.required_min_echo_rx, 0);
    }
}
