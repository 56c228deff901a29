//! Any body of an OPEN: what is agreed on, or what is answered.

use std::time::Instant;

use bellhop_bgp::{Event, Input, Output, Peer, State};
use bellhop_core::Family;

use crate::neighbour::{Farewell, SessionKind, config, keepalive, message, whole_messages};

/// Panics where the machine agrees on what it must not. The first octet chooses the session, what follows is the body.
pub fn judge(octets: &[u8]) {
    let [choice, body @ ..] = octets else { return };
    let kind = SessionKind::of(*choice);
    let config = config(kind);
    let now = Instant::now();
    let mut peer = Peer::new(config.clone(), 1).expect("a good configuration");
    let mut out = Vec::new();
    for input in [Input::Start, Input::Ready] {
        peer.handle(now, input, &mut out);
    }
    let Some(Output::Dial { id }) = out.pop() else { panic!("{out:?}") };
    let prefix = "192.0.2.0/24".parse().expect("a prefix");
    peer.handle(now, Input::Set { prefix, attributes: Some(Default::default()) }, &mut out);
    let local = std::net::Ipv4Addr::LOCALHOST.into();
    peer.handle(now, Input::Opened { id, local, other_family: None }, &mut out);
    peer.handle(now, Input::Received { id, data: &message(1, body) }, &mut out);
    let refused = out.iter().find_map(|output| match output {
        Output::Close { farewell, .. } => Some(Farewell::read(farewell)),
        _ => None,
    });
    let length = 19 + body.len();
    match refused {
        Some(Farewell::Notification(1, 2, _)) => {
            assert!(!(29..=4096).contains(&length), "a good length of {length}");
            return;
        }
        Some(Farewell::Notification(2, subcode, data)) => {
            match subcode {
                1 => assert!(body[0] != 4 && data == [0, 4], "version {}", body[0]),
                6 => assert!(matches!(body[3..5], [0, 1 | 2])),
                7 => assert_eq!(data, [1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1], "our families"),
                0 | 2 | 3 | 4 | 11 => {}
                _ => panic!("2/{subcode}"),
            }
            return;
        }
        Some(other) => panic!("{other:?}"),
        None => {}
    }
    assert_eq!(peer.state(), State::OpenConfirm);
    peer.handle(now, Input::Received { id, data: &keepalive() }, &mut out);
    let negotiated = peer.negotiated().expect("a session").clone();
    assert!(out.contains(&Output::Event(Event::Established(negotiated.clone()))));
    // The fixed part of the OPEN, read here once more.
    let theirs = u64::from(u16::from_be_bytes([body[3], body[4]]));
    assert_eq!(body[0], 4);
    assert_eq!(negotiated.hold_time.as_secs(), theirs.min(90));
    assert!(
        !matches!(negotiated.hold_time.as_secs(), 1 | 2)
            && negotiated.keepalive_time <= negotiated.hold_time / 3
    );
    assert_eq!(negotiated.router_id.octets(), body[5..9]);
    assert!(!negotiated.router_id.is_unspecified());
    assert!(config.peer_asn.admits(negotiated.peer_asn, config.local_asn));
    assert!(
        negotiated.four_octet || u32::from(u16::from_be_bytes([body[1], body[2]])) == negotiated.peer_asn
    );
    assert!(
        !negotiated.families.is_empty() && negotiated.families.iter().all(|f| config.families.contains(f))
    );
    assert!(config.graceful_restart.is_some() || !negotiated.graceful_restart);
    assert!(negotiated.graceful_restart || !negotiated.notification_restart);
    let mut sent = Default::default();
    peer.transmit(now, id, &mut sent, usize::MAX);
    let updates: Vec<Vec<u8>> =
        whole_messages(&sent).into_iter().filter(|(kind, _)| *kind == 2).map(|(_, body)| body).collect();
    let routes = usize::from(negotiated.families.contains(&Family::Ipv4));
    assert_eq!(updates.len(), routes + negotiated.families.len(), "the route and the End-of-RIBs");
    if routes == 1 && !config.is_internal() {
        let asn: &[u8] = if negotiated.four_octet { &[0, 0, 0xFC, 0] } else { &[0xFC, 0] };
        let path = [&[0x40, 2, 2 + asn.len() as u8, 2, 1], asn].concat();
        assert!(updates[0].windows(path.len()).any(|part| part == path), "{:02x?}", updates[0]);
    }
}
