//! One machine with a scripted neighbour, and a table built from the octets that were sent.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::route::{Community, LargeCommunity};
use bellhop_core::{Family, RouteAttributes};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use rustbgpd_wire as codec;
use rustbgpd_wire::attribute::{AsPathSegment, PathAttribute};

use crate::wire::{GracefulRestartCapability, Open};
use crate::{ConnectionId, Event, GracefulRestart, Input, NextHops, Output, Peer, PeerConfig, State, wire};

pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

pub(super) fn config() -> PeerConfig {
    PeerConfig {
        local_asn: 64512,
        peer_asn: 64513.into(),
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        families: vec![Family::Ipv4, Family::Ipv6],
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(60),
        passive: false,
        graceful_restart: Some(GracefulRestart {
            restart_time: Duration::from_secs(120),
            forwarding_preserved: true,
            notification: true,
        }),
        restarting: false,
        next_hops: NextHops { v4: None, v6: "2001:db8::1".parse().ok() },
        extended_next_hop: false,
        role: None,
        prefix_limit: None,
        bfd: None,
        trace: false,
    }
}

/// The OPEN of a neighbour that speaks everything.
pub(super) fn their_open() -> Open {
    Open {
        asn: 64513,
        hold_time: 90,
        router_id: Ipv4Addr::new(192, 0, 2, 2),
        families: Some(vec![Family::Ipv4, Family::Ipv6]),
        four_octet: true,
        route_refresh: true,
        enhanced_refresh: true,
        graceful_restart: Some(GracefulRestartCapability {
            restarted: false,
            notification: true,
            restart_time: 120,
            families: vec![(Family::Ipv4, false), (Family::Ipv6, false)],
        }),
        extended_next_hop: false,
        roles: Vec::new(),
    }
}

pub(super) fn attributes(value: u32) -> Arc<RouteAttributes> {
    Arc::new(RouteAttributes {
        communities: vec![Community(64512 << 16 | (value & 0xFFFF))],
        large_communities: vec![LargeCommunity { global: 64512, local1: 1, local2: value }],
        med: Some(value),
        ..RouteAttributes::default()
    })
}

/// A machine, its clock, and what it said.
pub(super) struct Bench {
    pub(super) peer: Peer,
    pub(super) now: Instant,
    pub(super) outputs: Vec<Output>,
}

impl Bench {
    pub(super) fn new(config: PeerConfig) -> Self {
        let peer = Peer::new(config, 1).expect("a good configuration");
        Self { peer, now: Instant::now(), outputs: Vec::new() }
    }

    pub(super) fn ready(config: PeerConfig) -> Self {
        let mut bench = Self::new(config);
        bench.input(Input::Start);
        bench.input(Input::Ready);
        bench
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.peer.handle(self.now, input, &mut self.outputs);
    }

    pub(super) fn set(&mut self, prefix: &str, attributes: Option<Arc<RouteAttributes>>) {
        self.input(Input::Set { prefix: prefix.parse().expect("a prefix"), attributes });
    }

    pub(super) fn reconfigure(&mut self, config: PeerConfig) {
        self.peer.reconfigure(self.now, config, &mut self.outputs).expect("a configuration in bounds");
    }

    pub(super) fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        let outputs = self.take().into_iter();
        outputs
            .filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None })
            .collect()
    }

    /// The connection dialled last; forgets every other output.
    pub(super) fn dialled(&mut self) -> ConnectionId {
        let dial = self.take().into_iter().rev().find_map(|output| match output {
            Output::Dial { id } => Some(id),
            _ => None,
        });
        dial.expect("a dial")
    }

    pub(super) fn open(&mut self, id: ConnectionId) {
        self.input(Input::Opened { id, local: LOCAL, other_family: None });
    }

    pub(super) fn accept(&mut self) -> ConnectionId {
        let id = self.peer.accept().expect("accepting");
        self.open(id);
        id
    }

    pub(super) fn receive(&mut self, id: ConnectionId, data: &[u8]) {
        self.input(Input::Received { id, data });
    }

    /// Lets time pass, with a tick at every deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.peer.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
        }
        self.now = until;
    }

    pub(super) fn sent(&mut self, id: ConnectionId) -> Vec<codec::Message> {
        decode(&self.sent_octets(id))
    }

    pub(super) fn sent_octets(&mut self, id: ConnectionId) -> Bytes {
        let mut buf = BytesMut::new();
        while self.peer.transmit(self.now, id, &mut buf, 1 << 16) > 0 {}
        buf.freeze()
    }

    /// Brings a session up; everything sent so far is dropped.
    pub(super) fn established(config: PeerConfig, open: &Open) -> (Self, ConnectionId) {
        let mut bench = Self::ready(config);
        let id = bench.establish(open);
        (bench, id)
    }

    pub(super) fn establish(&mut self, open: &Open) -> ConnectionId {
        let id = self.dialled();
        self.open(id);
        self.receive(id, &open.encode());
        let octets = self.sent_octets(id);
        assert!(
            decode(&octets).contains(&codec::Message::Keepalive),
            "the OPEN was not confirmed: {:?}",
            self.outputs
        );
        self.receive(id, &wire::keepalive());
        assert_eq!(self.peer.state(), State::Established);
        id
    }

    /// The farewell of the connection, which must have been closed.
    pub(super) fn farewell(&mut self, id: ConnectionId) -> Option<codec::NotificationMessage> {
        let farewell = self.outputs.iter().find_map(|output| match output {
            Output::Close { id: closed, farewell, .. } if *closed == id => Some(farewell.clone()),
            _ => None,
        });
        let messages =
            decode(&farewell.unwrap_or_else(|| panic!("{id:?} is not closed: {:?}", self.outputs)));
        messages.into_iter().rev().find_map(|message| match message {
            codec::Message::Notification(notification) => Some(notification),
            _ => None,
        })
    }

    pub(super) fn is_closed(&self, id: ConnectionId) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Close { id: closed, .. } if *closed == id))
    }
}

/// Code, subcode and data of a NOTIFICATION.
pub(super) fn parts(notification: &codec::NotificationMessage) -> (u8, u8, &[u8]) {
    (notification.code.as_u8(), notification.subcode, &notification.data)
}

pub(super) fn decode(octets: &Bytes) -> Vec<codec::Message> {
    let mut rest = octets.clone();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        messages
            .push(codec::decode_message(&mut rest, codec::MAX_MESSAGE_LEN).expect("a well-formed message"));
    }
    messages
}

/// What a route says, as its receiver sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    pub(super) as_path: Vec<u32>,
    pub(super) next_hop: Option<IpAddr>,
    pub(super) med: Option<u32>,
    pub(super) local_preference: Option<u32>,
    pub(super) communities: Vec<u32>,
    pub(super) extended: Vec<u64>,
    pub(super) large: Vec<(u32, u32, u32)>,
}

/// The neighbour's Adj-RIB-In, from octets of one connection.
#[derive(Default)]
pub(super) struct Table {
    pending: BytesMut,
    pub(super) routes: BTreeMap<IpNet, Seen>,
    pub(super) end_of_ribs: [usize; 2],
    pub(super) updates: usize,
    pub(super) withdrawals: usize,
    pub(super) two_octet: bool,
}

impl Table {
    pub(super) fn feed(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
        while let Ok(Some(length)) = codec::peek_message_length(&self.pending, codec::MAX_MESSAGE_LEN) {
            if self.pending.len() < usize::from(length) {
                return;
            }
            assert!(usize::from(length) <= crate::MAX_MESSAGE);
            let mut frame = self.pending.split_to(usize::from(length)).freeze();
            let message =
                codec::decode_message(&mut frame, codec::MAX_MESSAGE_LEN).expect("a well-formed message");
            if let codec::Message::Update(update) = message {
                self.update(&update);
            }
        }
    }

    fn update(&mut self, update: &codec::UpdateMessage) {
        self.updates += 1;
        let parsed = update.parse(!self.two_octet, false, &[]).expect("a well-formed UPDATE");
        if update.withdrawn_routes.is_empty() && update.path_attributes.is_empty() && update.nlri.is_empty() {
            self.end_of_ribs[0] += 1;
        }
        for entry in &parsed.withdrawn {
            self.withdraw(IpNet::new(entry.prefix.addr.into(), entry.prefix.len).expect("a prefix"));
        }
        let mut seen = Seen::default();
        let mut prefixes: Vec<IpNet> = Vec::new();
        for entry in &parsed.announced {
            prefixes.push(IpNet::new(entry.prefix.addr.into(), entry.prefix.len).expect("a prefix"));
        }
        for attribute in &parsed.attributes {
            match attribute {
                PathAttribute::AsPath(path) => {
                    for segment in &path.segments {
                        let AsPathSegment::AsSequence(asns) = segment else { panic!("a set: {segment:?}") };
                        seen.as_path.extend(asns);
                    }
                }
                PathAttribute::NextHop(next_hop) => seen.next_hop = Some((*next_hop).into()),
                PathAttribute::Med(med) => seen.med = Some(*med),
                PathAttribute::LocalPref(preference) => seen.local_preference = Some(*preference),
                PathAttribute::Communities(all) => seen.communities = all.clone(),
                PathAttribute::ExtendedCommunities(all) => {
                    seen.extended = all.iter().map(|community| community.as_u64()).collect();
                }
                PathAttribute::LargeCommunities(all) => {
                    seen.large = all.iter().map(|c| (c.global_admin, c.local_data1, c.local_data2)).collect();
                }
                PathAttribute::MpReachNlri(reach) => {
                    seen.next_hop = Some(reach.next_hop);
                    prefixes.extend(reach.announced.iter().map(|entry| net(entry.prefix)));
                }
                PathAttribute::MpUnreachNlri(unreach) => {
                    if unreach.withdrawn.is_empty() {
                        self.end_of_ribs[1] += 1;
                    }
                    for entry in &unreach.withdrawn {
                        self.withdraw(net(entry.prefix));
                    }
                }
                _ => {}
            }
        }
        for prefix in prefixes {
            self.routes.insert(prefix, seen.clone());
        }
    }

    fn withdraw(&mut self, prefix: IpNet) {
        self.withdrawals += 1;
        assert!(self.routes.remove(&prefix).is_some(), "{prefix} is withdrawn and was never announced");
    }
}

fn net(prefix: codec::nlri::Prefix) -> IpNet {
    match prefix {
        codec::nlri::Prefix::V4(p) => IpNet::new(p.addr.into(), p.len).expect("a prefix"),
        codec::nlri::Prefix::V6(p) => IpNet::new(p.addr.into(), p.len).expect("a prefix"),
    }
}

/// What a receiver must see of these attributes on an eBGP session from `asn`.
pub(super) fn expected(asn: u32, next_hop: IpAddr, attributes: &RouteAttributes) -> Seen {
    Seen {
        as_path: vec![asn; 1 + usize::from(attributes.prepend)],
        next_hop: Some(attributes.next_hop.unwrap_or(next_hop)),
        med: attributes.med,
        local_preference: None,
        communities: attributes.communities.iter().map(|c| c.0).collect(),
        extended: attributes.extended_communities.clone(),
        large: attributes.large_communities.iter().map(|c| (c.global, c.local1, c.local2)).collect(),
    }
}
