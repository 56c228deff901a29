//! The speaker's side: its one peer, its routes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::objects::BfdProfile;
use bellhop_core::peer::Neighbour;
use bellhop_core::route::{Community, LargeCommunity};
use bellhop_core::{Family, RouteAttributes};
use bellhop_speaker::bgp::{
    Authentication, BgpConfig, BgpHandle, BgpSnapshot, ListenConfig, PeerBfd, PeerConfig, RouteChange, State,
};

use crate::netns::{PATIENCE, ROUTER};

pub(crate) const PEER: &str = "router";
/// The speaker's AS number.
pub(crate) const LOCAL_ASN: u32 = 64512;

pub(crate) async fn established(bgp: &BgpHandle) {
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut snapshots = bgp.subscribe();
        let up = |snapshot: &Arc<BgpSnapshot>| {
            snapshot.peers.get(PEER).is_some_and(|peer| peer.state == State::Established)
        };
        snapshots.wait_for(up).await.map(|_| ())
    });
    let result = waited.await;
    assert!(matches!(result, Ok(Ok(()))), "no session: {:?}", bgp.snapshot());
}

pub(crate) fn peer(asn: u32) -> PeerConfig {
    PeerConfig {
        name: PEER.into(),
        neighbour: Neighbour::Address(ROUTER.parse().unwrap()),
        peer_port: 179,
        peer_asn: asn.into(),
        local_asn: LOCAL_ASN,
        source_address: None,
        source_interface: None,
        next_hop_v4: None,
        next_hop_v6: None,
        passive: false,
        hold_time: Duration::from_secs(9),
        keepalive_time: None,
        connect_retry: Duration::from_secs(5),
        ebgp_multihop: None,
        ttl_security: None,
        authentication: Authentication::Nothing,
        problem: None,
        families: Family::ALL.to_vec(),
        extended_next_hop: false,
        role: None,
        bfd: None,
        prefix_limit: None,
        graceful_restart: None,
        redirect_port: None,
        shutdown_text: None,
        log_messages: false,
    }
}

pub(crate) fn config(peer: PeerConfig) -> BgpConfig {
    BgpConfig {
        local_asn: LOCAL_ASN,
        router_id: Ipv4Addr::new(198, 18, 0, 2),
        listen: Some(ListenConfig { port: 179, addresses: vec![] }),
        restarting: false,
        peers: BTreeMap::from([(peer.name.clone(), peer)]),
    }
}

pub(crate) fn bfd(milliseconds: u64, strict: bool) -> PeerBfd {
    let interval = Duration::from_millis(milliseconds);
    let profile = BfdProfile {
        name: "test".into(),
        transmit_interval: interval,
        receive_interval: interval,
        detect_multiplier: 3,
        passive: false,
        minimum_ttl: 254,
    };
    PeerBfd { profile: Some(Arc::new(profile)), strict }
}

pub(crate) fn bfd_state(bgp: &BgpHandle) -> &'static str {
    bgp.snapshot().peers[PEER].bfd.as_ref().map_or("none", |bfd| bfd.state)
}

pub(crate) fn attributes(med: u32) -> Arc<RouteAttributes> {
    Arc::new(RouteAttributes {
        communities: vec![Community(64512 << 16 | 7), Community::NO_EXPORT],
        large_communities: vec![LargeCommunity { global: 64512, local1: 1, local2: 2 }],
        med: Some(med),
        prepend: 1,
        ..RouteAttributes::default()
    })
}

pub(crate) fn routes(v4: u32, v6: u32, attributes: Option<&Arc<RouteAttributes>>) -> Vec<RouteChange> {
    let v4 = (0..v4).map(|i| format!("10.{}.{}.{}/32", i / 65536, i / 256 % 256, i % 256));
    let all = v4.chain((0..v6).map(|i| format!("2001:db8:1::{i:x}/128")));
    all.map(|prefix| RouteChange {
        peer: PEER.into(),
        prefix: prefix.parse().unwrap(),
        attributes: attributes.cloned(),
    })
    .collect()
}
