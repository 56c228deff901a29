//! Hostile and odd packets, with a fixed seed: no panic, and nothing that only silence or a good packet may do.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::harness::{MILLI, config};
use crate::timer::Jitter;
use crate::{Arrival, Emitted, Hops, Output, Packet, SessionKey, State, Table};

fn pick(random: &mut Jitter, n: usize) -> usize {
    usize::try_from(random.next() % n as u64).unwrap()
}

fn mutate(random: &mut Jitter, octets: &mut Vec<u8>) {
    for _ in 0..=pick(random, 4) {
        if octets.is_empty() {
            octets.push(0);
        }
        let at = pick(random, octets.len());
        match random.next() % 5 {
            0 => octets[at] = random.next().to_le_bytes()[0],
            1 | 2 => octets[at] ^= 1 << (random.next() % 8),
            3 => octets.insert(at, random.next().to_le_bytes()[0]),
            _ => {
                octets.remove(at);
            }
        }
    }
}

#[test]
fn mutated_packets_never_panic_and_those_accepted_are_what_they_say() {
    let mut random = Jitter::new(0x00BE_1BFD);
    let good = super::harness::packet(State::Up).encode();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..1_000_000 {
        let mut octets = good.to_vec();
        mutate(&mut random, &mut octets);
        match Packet::decode(&octets) {
            Ok(packet) => {
                accepted += 1;
                let encoded = packet.encode();
                assert_eq!(encoded[..3], octets[..3]);
                assert_eq!(encoded[4..], octets[4..24]);
            }
            Err(refusal) => {
                refused += 1;
                assert!(crate::Refusal::CATEGORIES.contains(&refusal.category()));
            }
        }
    }
    assert!(accepted > 100_000 && refused > 100_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_session_survives_mutated_packets_with_one_answer_each_at_most() {
    let mut random = Jitter::new(0x00BE_2BFD);
    let mut now = Instant::now();
    let mut table = Table::new(1);
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    let key = SessionKey { local: address(1), remote: address(2), interface: 3 };
    let ours = table.insert(now, key, config()).unwrap();
    let mut out: Vec<Emitted> = Vec::new();
    let mut changes = 0;
    for _ in 0..300_000 {
        let state = State::ALL[pick(&mut random, 4)];
        let known = pick(&mut random, 8) > 0 || !matches!(state, State::Down | State::AdminDown);
        let packet = Packet { your_discriminator: known.then_some(ours), ..super::harness::packet(state) };
        let mut octets = packet.encode().to_vec();
        if random.next().is_multiple_of(2) {
            mutate(&mut random, &mut octets);
        }
        let ttl = if random.next().is_multiple_of(10) { 254 } else { 255 };
        let hops = if random.next().is_multiple_of(20) { Hops::Multi } else { Hops::Single };
        let remote = address(if random.next().is_multiple_of(20) { 9 } else { 2 });
        let arrival = Arrival { local: key.local, remote, interface: 3, ttl, hops };
        out.clear();
        let result = table.receive(now, arrival, &octets, &mut out);
        let sent = out.iter().filter(|emitted| matches!(emitted.output, Output::Transmit(_))).count();
        assert!(sent <= 1, "{out:?}");
        assert!(result.is_ok() || out.len() == sent, "a refused packet changes no state");
        changes += out.len() - sent;
        now += Duration::from_micros(random.next() % 20_000);
        if random.next().is_multiple_of(100) {
            now += 400 * MILLI;
        }
        table.tick(now, &mut out);
        assert!(table.deadline().is_none_or(|deadline| deadline > now));
    }
    assert!(changes > 10_000, "{changes} changes");
    let counted: u64 = table.refused().total() + table.session(ours).unwrap().counters().refused.total();
    assert_eq!(counted + table.session(ours).unwrap().counters().packets_received, 300_000);
}
