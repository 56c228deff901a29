//! What protects the connections of a peer, and what is said of it where they fail.

use std::io;

use bellhop_core::peer::Neighbour;
use bellhop_net::tcp::{self, Md5Drops, Ttl};
use ipnet::IpNet;
use tokio::net::TcpStream;

use super::PeerConfig;

/// What cannot change under a connection.
pub(super) fn transport(peer: &PeerConfig) -> impl PartialEq + use<> {
    // How many sessions a range may have changes none that is there, and its prefix those that leave it.
    let neighbour = match &peer.neighbour {
        Neighbour::Range { .. } => None,
        one => Some(one.clone()),
    };
    (neighbour, peer.peer_port, peer.source_address, peer.source_interface.clone(), ttl(peer))
}

/// External neighbours are on the link unless configured otherwise, so that nobody beyond it can be one.
pub(super) fn ttl(peer: &PeerConfig) -> Ttl {
    match peer.ttl_security {
        Some(hops) => Ttl::Security(hops),
        None if peer.peer_asn.is_internal(peer.local_asn) => Ttl::Default,
        None => Ttl::Sent(peer.ebgp_multihop.unwrap_or(1)),
    }
}

/// Sets up a connection that was accepted. It may be older than the listener's key for this neighbour: with a key of its own
/// nothing more comes or goes without a signature.
pub(super) fn prepare(stream: &TcpStream, peer: &PeerConfig) -> io::Result<()> {
    tcp::prepare(stream, ttl(peer))?;
    match peer.authentication.password() {
        Some(password) => tcp::set_password(stream, IpNet::from(stream.peer_addr()?.ip()), Some(password)),
        None => Ok(()),
    }
}

/// What else is to be said of a neighbour with a password that does not answer. The kernel drops in silence what has another
/// signature, here as there, and counts it for all neighbours together.
pub(super) fn password_hint(before: Md5Drops, now: Md5Drops) -> String {
    let words = "the router drops in silence what is signed with a password that is not its own: it may have another one, \
                 or none";
    let here = match () {
        () if now.wrong > before.wrong => "; this node drops packets that are signed with another password",
        () if now.unsigned > before.unsigned => "; this node drops packets that are not signed and must be",
        () => "",
    };
    format!("{words}{here}")
}
