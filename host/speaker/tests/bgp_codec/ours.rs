//! Our machine, without sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_bgp::{ConnectionId, GracefulRestart, Input, NextHops, Output, Peer, PeerConfig};
use bellhop_core::peer::{OwnRole, Role};
use bellhop_core::{Family, RouteAttributes};
use bytes::BytesMut;
use ipnet::IpNet;

use crate::{Kind, theirs};

pub(crate) const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const LOCAL_V6: &str = "2001:db8::100";

/// The next hop of a route that names none.
pub(crate) fn next_hop(prefix: IpNet) -> IpAddr {
    if prefix.addr().is_ipv4() { LOCAL.into() } else { LOCAL_V6.parse().unwrap() }
}

fn config(kind: Kind) -> PeerConfig {
    PeerConfig {
        local_asn: kind.ours,
        peer_asn: u32::from(kind.theirs).into(),
        router_id: ROUTER_ID,
        families: Family::ALL.to_vec(),
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
        next_hops: NextHops { v4: None, v6: LOCAL_V6.parse().ok() },
        extended_next_hop: false,
        role: kind.provider.then_some(OwnRole { role: Role::Provider, strict: false }),
        prefix_limit: None,
        bfd: None,
        trace: false,
    }
}

pub(crate) struct Machine {
    pub(crate) peer: Peer,
    id: ConnectionId,
    now: Instant,
}

impl Machine {
    /// Its connection is open, and its OPEN is to be fetched.
    pub(crate) fn dialled(kind: Kind) -> Self {
        let now = Instant::now();
        let mut peer = Peer::new(config(kind), 1).unwrap();
        let mut out = Vec::new();
        for input in [Input::Start, Input::Ready] {
            peer.handle(now, input, &mut out);
        }
        let Some(Output::Dial { id }) = out.pop() else { panic!("{out:?}") };
        peer.handle(now, Input::Opened { id, local: LOCAL.into(), other_family: None }, &mut out);
        Self { peer, id, now }
    }

    /// Its session is up, and OPEN and KEEPALIVE are fetched.
    pub(crate) fn established(kind: Kind) -> Self {
        let mut machine = Self::dialled(kind);
        machine.receive(&theirs::open(kind));
        machine.sent();
        machine.receive(&theirs::keepalive());
        machine
    }

    pub(crate) fn receive(&mut self, data: &[u8]) {
        self.peer.handle(self.now, Input::Received { id: self.id, data }, &mut Vec::new());
    }

    pub(crate) fn set(&mut self, prefix: IpNet, attributes: Option<Arc<RouteAttributes>>) {
        self.peer.handle(self.now, Input::Set { prefix, attributes }, &mut Vec::new());
    }

    pub(crate) fn sent(&mut self) -> Vec<u8> {
        let mut octets = BytesMut::new();
        self.peer.transmit(self.now, self.id, &mut octets, usize::MAX);
        octets.to_vec()
    }
}
