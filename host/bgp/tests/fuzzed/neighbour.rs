//! What the judges share: configurations, a neighbour's good messages, and a reader of ours.

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_bgp::{GracefulRestart, NextHops, PeerConfig};
use bellhop_core::Family;
use bellhop_core::peer::{OwnRole, Role};

/// The session that a stream is for.
#[derive(Clone, Copy, Debug)]
pub struct SessionKind {
    internal: bool,
    graceful: bool,
    four_octet: bool,
    role: bool,
    trace: bool,
    /// How many of the neighbour's OPEN and KEEPALIVE came already.
    pub handshake: usize,
}

impl SessionKind {
    /// By the bits of an octet; the highest is not read.
    pub fn of(choice: u8) -> Self {
        Self {
            internal: choice & 1 != 0,
            graceful: choice & 2 != 0,
            four_octet: choice & 4 != 0,
            role: choice & 9 == 8,
            trace: choice & 16 != 0,
            handshake: usize::from(choice >> 5 & 3).min(2),
        }
    }

    fn asn(self) -> u16 {
        if self.internal { 64512 } else { 64513 }
    }
}

pub fn config(kind: SessionKind) -> PeerConfig {
    PeerConfig {
        local_asn: 64512,
        peer_asn: u32::from(kind.asn()).into(),
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        families: Family::ALL.to_vec(),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(60),
        passive: false,
        graceful_restart: kind.graceful.then_some(GracefulRestart {
            restart_time: Duration::from_secs(120),
            forwarding_preserved: true,
            notification: true,
        }),
        restarting: false,
        next_hops: NextHops { v4: None, v6: "2001:db8::1".parse().ok() },
        extended_next_hop: false,
        role: kind.role.then_some(OwnRole { role: Role::Customer, strict: false }),
        prefix_limit: None,
        bfd: None,
        trace: kind.trace,
    }
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(usize::from(u16::MAX) - 19)];
    let length = (19 + body.len()) as u16;
    [&[0xFF; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// A good OPEN.
pub fn open(kind: SessionKind) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 70, 0];
    if kind.four_octet {
        capabilities.extend([65, 4, 0, 0]);
        capabilities.extend(kind.asn().to_be_bytes());
    }
    if kind.graceful {
        capabilities.extend([64, 6, 0x40, 120, 0, 1, 1, 0x80]);
    }
    let length = capabilities.len() as u8;
    let mut body = vec![4];
    body.extend(kind.asn().to_be_bytes());
    body.extend([0, 90, 192, 0, 2, 2, length + 2, 2, length]);
    body.extend(capabilities);
    message(1, &body)
}

/// Octets as messages: type, two octets of length, body, and so on; their headers are good then.
pub fn framed(mut octets: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [kind, high, low, rest @ ..] = octets {
        let length = usize::from(u16::from_be_bytes([*high, *low])) % 4078;
        let (body, rest) = rest.split_at(length.min(rest.len()));
        stream.extend(message(*kind, body));
        octets = rest;
    }
    stream
}

/// The last that a connection carries.
#[derive(PartialEq, Debug)]
pub enum Farewell {
    Silence,
    Notification(u8, u8, Vec<u8>),
}

impl Farewell {
    pub fn read(octets: &[u8]) -> Self {
        match whole_messages(octets).pop() {
            None => Self::Silence,
            Some((3, body)) => Self::Notification(body[0], body[1], body[2..].to_vec()),
            Some(other) => panic!("the last message is {other:?}"),
        }
    }
}

/// Type and body of messages; panics where they are none.
pub fn whole_messages(mut octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    while !octets.is_empty() {
        assert_eq!(octets[..16], [0xFF; 16], "the marker");
        let length = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
        assert!((19..=4096).contains(&length) && (1..=5).contains(&octets[18]), "{:?}", &octets[16..19]);
        messages.push((octets[18], octets[19..length].to_vec()));
        octets = &octets[length..];
    }
    messages
}
