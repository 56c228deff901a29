//! Time: who reads it, what happens where it leaps, and what goes first to a neighbour that reads slowly.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::RouteAttributes;
use bellhop_core::route::Community;
use bytes::BytesMut;
use rustbgpd_wire as codec;

use super::harness::{Bench, attributes, config, decode, parts, their_open};
use crate::wire;
use crate::{DownReason, Event, Input, Output, State};

const SECOND: Duration = Duration::from_secs(1);

/// The source files of the crate that are no tests.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                None if !path.ends_with("tests") => folders.push(path),
                Some(extension) if extension == "rs" && !path.ends_with("tests.rs") => files.push(path),
                _ => {}
            }
        }
    }
    files
}

// case: bgp-48
#[test]
fn no_clock_is_read_but_the_one_that_the_driver_hands_in() {
    let files = sources();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for clock in ["Instant::now", "SystemTime", ".elapsed()", "UNIX_EPOCH"] {
            assert!(!product.contains(clock), "{}: {clock}", file.display());
        }
    }
}

// case: bgp-48
#[test]
fn a_leap_of_the_clock_over_the_hold_time_is_one_expiry_and_one_dial() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    bench.take();
    bench.now += 3600 * SECOND;
    bench.input(Input::Tick);
    assert_eq!(parts(&bench.farewell(id).unwrap()), (4, 0, &[][..]));
    let downs = bench.events().iter().filter(|event| matches!(event, Event::Down(_))).count();
    assert_eq!((downs, bench.peer.counters().dials), (1, 1));
    bench.pass(5 * SECOND);
    let dials = bench.take().iter().filter(|output| matches!(output, Output::Dial { .. })).count();
    assert_eq!(dials, 1, "what was missed is not made up for");
}

// case: bgp-48
#[test]
fn a_leap_of_the_clock_within_the_hold_time_costs_one_keepalive() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    bench.now += 89 * SECOND;
    for _ in 0..3 {
        bench.input(Input::Tick);
    }
    assert_eq!(bench.sent(id), [codec::Message::Keepalive], "of the three that were due");
    assert_eq!(bench.peer.state(), State::Established);
}

// case: bgp-46
#[test]
fn keepalives_pass_ten_megabytes_that_the_neighbour_reads_one_message_at_a_time() {
    const ROUTES: u32 = 2_600;
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    for number in 0..ROUTES {
        // Some 4,000 octets, and no two alike: as many messages as routes.
        let communities = (0..990).map(|community| Community(number << 10 | community)).collect();
        let wanted = RouteAttributes { communities, ..RouteAttributes::default() };
        bench.set(&format!("10.0.{}.{}/32", number / 256, number % 256), Some(Arc::new(wanted)));
    }
    let mut octets = 0;
    let mut read = |bench: &mut Bench| {
        let mut buf = BytesMut::new();
        octets += bench.peer.transmit(bench.now, id, &mut buf, 1);
        decode(&buf.freeze())
    };
    for _ in 0..100 {
        // Longer than the keepalive time, shorter than the hold time: so often it looks.
        bench.pass(40 * SECOND);
        bench.receive(id, &wire::keepalive());
        assert_eq!(read(&mut bench), [codec::Message::Keepalive]);
        assert!(matches!(read(&mut bench)[..], [codec::Message::Update(_)]));
    }
    assert_eq!(bench.peer.state(), State::Established);
    assert!(bench.peer.octets_kept() <= 4096, "the rest is no queue of octets");
    while !read(&mut bench).is_empty() {}
    assert!(octets > 10_000_000, "{octets}");
    assert_eq!(bench.peer.prefixes(), (2_600, 2_600));
}

// case: bgp-47
#[test]
fn a_neighbour_that_takes_one_message_now_and_then_is_not_reset_and_one_that_takes_none_is() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.sent(id);
    for number in 0..100 {
        bench.set(&format!("10.0.0.{number}/32"), Some(attributes(number)));
    }
    let wait = |bench: &mut Bench, times| {
        for _ in 0..times {
            bench.pass(75 * SECOND);
            bench.receive(id, &wire::keepalive());
        }
    };
    for _ in 0..20 {
        // 450 s; the send hold time is 480 s. There is always more to take.
        wait(&mut bench, 6);
        assert!(bench.peer.transmit(bench.now, id, &mut BytesMut::new(), 1) > 0);
        assert!(!bench.peer.is_settled());
    }
    assert_eq!(bench.peer.state(), State::Established);
    // It goes on to talk, and takes nothing.
    wait(&mut bench, 7);
    assert!(bench.events().contains(&Event::Down(DownReason::SendHold(480))));
}
