//! Hostile and odd input, with a fixed seed: no panic, bounded time, and the session survives what it should.

use bytes::{BufMut, Bytes, BytesMut};

use super::harness::{Bench, config, their_open};
use crate::timer::Jitter;
use crate::wire::{self, Notification, Refresh};
use crate::{Event, State};
use bellhop_core::Family;

fn update(attributes: &[u8], nlri: &[u8]) -> Bytes {
    let mut buf = BytesMut::new();
    wire::put_header(&mut buf, 23 + attributes.len() + nlri.len(), 2);
    buf.put_u16(0);
    buf.put_u16(u16::try_from(attributes.len()).unwrap());
    buf.put_slice(attributes);
    buf.put_slice(nlri);
    buf.freeze()
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xFC, 1];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 2];
const NLRI: &[u8] = &[32, 10, 9, 8, 7];

fn good() -> Vec<u8> {
    [ORIGIN, AS_PATH, NEXT_HOP].concat()
}

#[test]
fn routes_of_the_neighbour_are_counted_and_dropped() {
    let (mut bench, id) = Bench::established(config(), &their_open());
    bench.receive(id, &update(&good(), NLRI));
    bench.receive(id, &update(&[], &[]));
    bench.receive(id, &update(&[0x80, 15, 3, 0, 2, 1], &[]));
    let counters = bench.peer.counters();
    assert_eq!((counters.updates_received, counters.prefixes_received), (3, 1));
    let events = bench.events();
    assert!(events.contains(&Event::EndOfRibReceived(Family::Ipv4)), "{events:?}");
    assert!(events.contains(&Event::EndOfRibReceived(Family::Ipv6)), "{events:?}");
}

// case: bgp-36
#[test]
fn attribute_errors_that_rfc_7606_forgives_keep_the_session() {
    let bad: [&[u8]; 6] = [
        &[0x40, 1, 1, 9],
        &[0x40, 1, 2, 0, 0],
        &[0x80, 4, 3, 0, 0, 0],
        &[0xC0, 8, 3, 0, 0, 0],
        &[0x40, 3, 4, 0, 0, 0, 0],
        &[0x40, 99, 1, 0],
    ];
    for attribute in bad {
        let (mut bench, id) = Bench::established(config(), &their_open());
        // Replace the good attribute of the same type, or add it.
        let rest: Vec<u8> = [ORIGIN, AS_PATH, NEXT_HOP]
            .iter()
            .filter(|a| a[1] != attribute[1])
            .copied()
            .flatten()
            .copied()
            .collect();
        bench.receive(id, &update(&[attribute, &rest].concat(), NLRI));
        assert_eq!(bench.peer.state(), State::Established, "{attribute:?}");
        assert_eq!(bench.peer.counters().treated_as_withdraw, 1, "{attribute:?}");
    }
}

// case: bgp-36
#[test]
fn errors_that_leave_the_prefixes_unclear_reset_the_session() {
    let table: [(&[u8], &[u8], u8); 2] =
        [(&[0x80, 14, 4, 0, 2, 1, 16], &[], 5), (&good(), &[33, 10, 0, 0, 0, 0], 10)];
    for (attributes, nlri, subcode) in table {
        let (mut bench, id) = Bench::established(config(), &their_open());
        bench.receive(id, &update(attributes, nlri));
        let notification = bench.farewell(id).expect("a NOTIFICATION");
        assert_eq!((notification.code.as_u8(), notification.subcode), (3, subcode));
    }
}

// case: bgp-35
#[test]
fn mutated_messages_never_panic_and_are_answered_or_survived() {
    let mut open = their_open();
    open.asn = 64513;
    let seeds: Vec<Bytes> = vec![
        open.encode(),
        wire::keepalive(),
        wire::route_refresh(Family::Ipv6, Refresh::Begin),
        Notification::cease_with_text(2, "maintenance").encode(),
        update(&good(), NLRI),
        update(&[], &[]),
        update(
            &[
                0x90, 14, 0, 26, 0, 2, 1, 16, 0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32,
                1, 2, 3, 4,
            ],
            &[],
        ),
    ];
    let mut random = Jitter::new(0x00BE_1109);
    let (mut established, mut id) = Bench::established(config(), &their_open());
    let pick = |random: &mut Jitter, n: usize| usize::try_from(random.next() % n as u64).unwrap();
    for _ in 0..200_000 {
        let mut message = seeds[pick(&mut random, seeds.len())].to_vec();
        for _ in 0..=pick(&mut random, 5) {
            let at = pick(&mut random, message.len());
            match random.next() % 4 {
                0 => message[at] = random.next().to_le_bytes()[0],
                1 => message[at] ^= 1 << (random.next() % 8),
                2 => message.insert(at, random.next().to_le_bytes()[0]),
                _ => {
                    message.remove(at);
                }
            }
            if message.len() < 19 {
                message.resize(19, 0);
            }
        }
        if !random.next().is_multiple_of(10) {
            message[..16].fill(0xFF);
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            message[16..18].copy_from_slice(&length);
        }
        // A connection that waits for more octets, or one that was closed, is replaced by a new one.
        established.receive(id, &message);
        if established.peer.state() != State::Established || random.next().is_multiple_of(16) {
            (established, id) = Bench::established(config(), &their_open());
        }
        established.take();
        // The same octets before the OPEN.
        if random.next().is_multiple_of(8) {
            let mut fresh = Bench::ready(config());
            let dialled = fresh.dialled();
            fresh.open(dialled);
            fresh.receive(dialled, &message);
        }
    }
}
