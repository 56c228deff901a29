//! From the World's BGPPeers to the configuration of the BGP task.

use std::collections::BTreeMap;

use bellhop_core::objects::{BgpPeer, Node};
use bellhop_core::settings::SpeakerSettings;
use bellhop_core::{ObjectRef, World};

use crate::bgp::{
    Authentication, BgpConfig, GracefulRestart, ListenConfig, PeerBfd, PeerConfig, PeerTrouble,
};

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
            let mut config = peer_config(peer, peer.local_asn.or(settings.asn)?, restarted);
            // Without the profile the path is not watched, and where that must be so first the session waits.
            config.bfd = peer.bfd.as_ref().map(|bfd| PeerBfd {
                profile: world.bfd_profiles().get(&bfd.profile).cloned(),
                strict: bfd.strict,
            });
            Some((peer.name.clone(), PeerConfig { problem: password_trouble(world, peer), ..config }))
        })
        .collect();
    let listen = peers
        .values()
        .any(PeerConfig::waits)
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
        neighbour: peer.neighbour.clone(),
        peer_port: peer.port,
        peer_asn: peer.asn,
        local_asn,
        source_address: peer.source_address,
        source_interface: peer.source_interface.clone(),
        next_hop_v4: peer.next_hop_v4,
        next_hop_v6: peer.next_hop_v6,
        passive: peer.passive,
        redirect_port: peer.redirect_port,
        hold_time: peer.hold_time,
        keepalive_time: peer.keepalive_time,
        connect_retry: peer.connect_retry_time,
        ebgp_multihop: peer.ebgp_multihop,
        ttl_security: peer.ttl_security,
        authentication: match &peer.password {
            _ if peer.awaits_password() => Authentication::Awaited,
            Some(password) => Authentication::Password(password.clone()),
            None => Authentication::Nothing,
        },
        problem: None,
        families: peer.families.clone(),
        extended_next_hop: peer.extended_next_hop,
        role: peer.role,
        bfd: None,
        prefix_limit: peer.prefix_limit,
        graceful_restart: peer.graceful_restart.map(|restart_time| GracefulRestart {
            restart_time,
            // The restart mark stands only within one boot, whose kernel kept forwarding.
            forwarding_preserved: restarted,
            notification: peer.restart_after_notifications,
        }),
        shutdown_text: peer.shutdown_text.clone(),
        log_messages: peer.log_messages,
    }
}

/// What is wrong with the Secret that a peer names.
fn password_trouble(world: &World, peer: &BgpPeer) -> Option<PeerTrouble> {
    peer.password_secret.as_ref()?;
    let problems = world.problems().get(&ObjectRef::cluster("BGPPeer", peer.name.clone()))?;
    let problem = problems.iter().find(|problem| problem.field == BgpPeer::PASSWORD_FIELD)?;
    Some(PeerTrouble { reason: problem.reason.as_str().into(), message: problem.message.as_str().into() })
}
