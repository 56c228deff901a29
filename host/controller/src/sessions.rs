//! How many sessions each peer has, by what the speakers report.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_api::SpeakerStateStatus;
use bellhop_core::objects::BgpPeer;
use bellhop_core::{ObjectName, World};

/// State of a session that is up (RFC 4271 §8.2.2), as SpeakerState has it.
const ESTABLISHED: &str = "Established";

/// How many sessions a peer should have, and how many it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PeerSessions {
    /// Nodes with a speaker, live or not, that the peer selects.
    pub(crate) nodes: i32,
    /// Those of them whose speaker lives and has a session up.
    pub(crate) established: i32,
}

/// The sessions of every speaker that has ever reported and whose node is still there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    /// Peers with an established session, by node; none where the speaker does not live.
    established: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
}

impl Sessions {
    /// A speaker reports; what one reported that does not live counts no more. `None`: its SpeakerState is gone, as its
    /// node is. True when that changes something.
    pub(crate) fn report(&mut self, node: &ObjectName, state: Option<(&SpeakerStateStatus, bool)>) -> bool {
        let Some((status, live)) = state else { return self.established.remove(node).is_some() };
        let up = status.sessions.iter().filter(|session| live && session.state == ESTABLISHED);
        let up: BTreeSet<ObjectName> = up.map(|session| session.peer.as_str().into()).collect();
        self.established.insert(node.clone(), up.clone()).as_ref() != Some(&up)
    }

    /// The sessions of a peer.
    pub(crate) fn of(&self, world: &World, peer: &BgpPeer) -> PeerSessions {
        let mut sessions = PeerSessions::default();
        for (node, up) in &self.established {
            let selected = world.nodes().get(node);
            if selected.is_some_and(|node| peer.node_selector.matches(&node.labels)) {
                sessions.nodes = sessions.nodes.saturating_add(1);
                sessions.established =
                    sessions.established.saturating_add(i32::from(up.contains(&peer.name)));
            }
        }
        sessions
    }
}
