//! Any octets of a neighbour, in any pieces, in any state.
//!
//! The first octet chooses the session and how far it is, the second the size of the pieces; what follows is the neighbour's
//! stream.

use std::time::Instant;

use bellhop_bgp::{ConnectionId, DownReason, Event, Input, MAX_MESSAGE, Output, Peer, State};

use crate::neighbour::{Farewell, SessionKind, config, framed, keepalive, open, whole_messages};

/// What is kept of a connection is less: a message that is not whole, the greatest piece, and what a growing buffer takes twice.
const KEPT_MAX: usize = 4 * MAX_MESSAGE;

/// What a stream led to.
#[derive(PartialEq, Debug)]
struct Outcome {
    state: State,
    closed: Option<Farewell>,
    messages: u64,
    updates: u64,
    prefixes: u64,
    /// UPDATEs treated as withdrawals, and attributes discarded.
    forgiven: (u64, u64),
    sessions: u64,
}

/// Panics where the machine does what it must not.
pub fn judge(octets: &[u8]) {
    let [choice, pieces, stream @ ..] = octets else { return };
    let kind = SessionKind::of(*choice);
    let stream = if choice & 0x80 == 0 { stream.to_vec() } else { framed(stream) };
    let whole = run(kind, &stream, usize::MAX);
    let pieces = run(kind, &stream, usize::from(*pieces).max(1));
    assert_eq!(whole, pieces, "the pieces of a stream mean nothing");
    check_headers(&stream, &whole);
}

fn run(kind: SessionKind, stream: &[u8], piece: usize) -> Outcome {
    let now = Instant::now();
    let mut peer = Peer::new(config(kind), 1).expect("a good configuration");
    let mut out = Vec::new();
    for input in [Input::Start, Input::Ready] {
        peer.handle(now, input, &mut out);
    }
    let Some(Output::Dial { id }) = out.pop() else { panic!("{out:?}") };
    let prefix = "192.0.2.0/24".parse().expect("a prefix");
    peer.handle(now, Input::Set { prefix, attributes: Some(Default::default()) }, &mut out);
    let local = std::net::Ipv4Addr::LOCALHOST.into();
    peer.handle(now, Input::Opened { id, local, other_family: None }, &mut out);
    let mut sent = fetch(now, &mut peer, id);
    for message in [open(kind), keepalive()].into_iter().take(kind.handshake) {
        peer.handle(now, Input::Received { id, data: &message }, &mut out);
        sent.extend(fetch(now, &mut peer, id));
    }
    let mut closed = None;
    for data in stream.chunks(piece.min(stream.len().max(1))) {
        out.clear();
        peer.handle(now, Input::Received { id, data }, &mut out);
        assert!(peer.octets_kept() <= KEPT_MAX + 2 * data.len(), "{} octets are kept", peer.octets_kept());
        // An event for each message, and as many again where it ends the session.
        assert!(out.len() <= 4 + 2 * (data.len() + MAX_MESSAGE) / 19, "{} outputs", out.len());
        closed = closed.or_else(|| farewell(id, &out));
        sent.extend(fetch(now, &mut peer, id));
    }
    whole_messages(&sent);
    let counters = peer.counters();
    Outcome {
        state: peer.state(),
        closed,
        messages: counters.messages_received - kind.handshake as u64,
        updates: counters.updates_received,
        prefixes: counters.prefixes_received,
        forgiven: (counters.treated_as_withdraw, counters.attributes_discarded),
        sessions: counters.established,
    }
}

fn fetch(now: Instant, peer: &mut Peer, id: ConnectionId) -> Vec<u8> {
    let mut octets = Default::default();
    peer.transmit(now, id, &mut octets, usize::MAX);
    octets.to_vec()
}

/// How a connection was closed, if it was: as the RFCs say, and told to whoever looks.
fn farewell(id: ConnectionId, out: &[Output]) -> Option<Farewell> {
    let last = out.iter().find_map(|output| match output {
        Output::Close { id: closed, farewell, .. } if *closed == id => Some(farewell),
        _ => None,
    })?;
    let reason = out.iter().find_map(|output| match output {
        Output::Event(Event::Down(reason) | Event::AttemptFailed(reason)) => Some(reason),
        _ => None,
    });
    let farewell = Farewell::read(last);
    match (reason.expect("an end has its reason"), &farewell) {
        (DownReason::Sent(told), Farewell::Notification(code, subcode, data)) => {
            assert_eq!((told.code, told.subcode, &told.data[..]), (*code, *subcode, &data[..]));
            let allowed = match code {
                1 => (1..=3).contains(subcode),
                2 => matches!(subcode, 0..=4 | 6 | 7 | 11),
                3 => (1..=11).contains(subcode) && *subcode != 7,
                5 => (1..=3).contains(subcode) && data.len() == 1,
                7 => *subcode == 1,
                _ => false,
            };
            assert!(allowed, "no octets of a neighbour are answered with {code}/{subcode}");
        }
        // A NOTIFICATION is never answered (RFC 4271 §6.4).
        (DownReason::Received(_) | DownReason::Transport(_), Farewell::Silence) => {}
        other => panic!("{other:?}"),
    }
    Some(farewell)
}

/// The first header that is none, by RFC 4271 §6.1, ends the connection with its own NOTIFICATION, and nothing else has that.
fn check_headers(stream: &[u8], outcome: &Outcome) {
    let mut rest = stream;
    for _ in 0..outcome.messages {
        let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
        rest = &rest[length..];
    }
    // A NOTIFICATION that is too short for its code is no header's fault, and has no answer.
    let fault = match rest {
        [header @ .., _] if header.len() < 18 => None,
        [] => None,
        _ if rest[..16] != [0xFF; 16] => Some((1, vec![])),
        _ => {
            let (length, kind) = (u16::from_be_bytes([rest[16], rest[17]]), rest[18]);
            let least = [29, 23, 21, 19, 23].get(usize::from(kind.wrapping_sub(1)));
            match (length, least) {
                (..19 | 4097.., _) => Some((2, length.to_be_bytes().to_vec())),
                (_, None) => Some((3, vec![kind])),
                (_, Some(_)) if kind == 3 => None,
                (length, Some(least)) if length < *least || (kind == 4 && length != 19) => {
                    Some((2, length.to_be_bytes().to_vec()))
                }
                // A marker of another length has an error of its own (RFC 7313 §5).
                (24.., Some(_)) if kind == 5 && rest.len() >= length.into() && !matches!(rest[21], 1 | 2) => {
                    Some((2, length.to_be_bytes().to_vec()))
                }
                _ => None,
            }
        }
    };
    match (&outcome.closed, fault) {
        (Some(Farewell::Notification(1, subcode, data)), Some((expected, value))) => {
            assert_eq!((*subcode, data), (expected, &value));
        }
        (Some(Farewell::Notification(1, subcode, data)), None) => {
            panic!("1/{subcode} {data:?} for a header that is good: {rest:02x?}")
        }
        (None, Some(fault)) => panic!("1/{} does not come: {rest:02x?}", fault.0),
        // Closed by a message before.
        (Some(_), _) | (None, None) => {}
    }
}
