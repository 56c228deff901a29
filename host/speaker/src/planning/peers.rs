//! From the World's BGPPeers to the configuration of the BGP task.

use std::collections::BTreeMap;

use bellhop_core::World;
use bellhop_core::objects::{BgpPeer, Node};
use bellhop_core::settings::SpeakerSettings;

use crate::bgp::{BgpConfig, GracefulRestart, ListenConfig, PeerConfig};

/// The configuration of `node`'s BGP task: every BGPPeer that selects the node and has an AS number on our side.
pub(super) fn bgp_config(
    world: &World,
    node: &Node,
    settings: &SpeakerSettings,
    restarted: bool,
) -> BgpConfig {
    let peers: BTreeMap<_, _> = world
        .peers()
        .values()
        .filter(|peer| peer.node_selector.matches(&node.labels))
        .filter_map(|peer| {
            Some((peer.name.clone(), peer_config(peer, peer.local_asn.or(settings.asn)?, restarted)))
        })
        .collect();
    let listen = peers
        .values()
        .any(|peer| peer.passive)
        .then(|| ListenConfig { port: settings.listen_port, addresses: settings.listen_addresses.clone() });
    BgpConfig {
        local_asn: settings.asn.unwrap_or_default(),
        router_id: settings.router_id,
        listen,
        restarting: restarted,
        peers,
    }
}

fn peer_config(peer: &BgpPeer, local_asn: u32, restarted: bool) -> PeerConfig {
    PeerConfig {
        name: peer.name.clone(),
        peer_address: peer.address,
        peer_port: peer.port,
        peer_asn: peer.asn,
        local_asn,
        source_address: peer.source_address,
        next_hop_v4: peer.next_hop_v4,
        next_hop_v6: peer.next_hop_v6,
        passive: peer.passive,
        hold_time: peer.hold_time,
        keepalive_time: peer.keepalive_time,
        connect_retry: peer.connect_retry_time,
        ebgp_multihop: peer.ebgp_multihop,
        families: peer.families.clone(),
        // The restart mark stands only within one boot, whose kernel kept forwarding.
        graceful_restart: peer
            .graceful_restart
            .map(|restart_time| GracefulRestart { restart_time, forwarding_preserved: restarted }),
        shutdown_text: peer.shutdown_text.clone(),
    }
}
