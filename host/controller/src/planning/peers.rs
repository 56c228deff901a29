//! BGPPeers' status: how many sessions are up, of how many.

use std::time::{Duration, Instant};

use bellhop_api::conditions::READY;
use bellhop_api::{BGPPeerStatus, Reason, SpeakerStateStatus};
use bellhop_core::objects::BgpPeer;
use bellhop_core::{ObjectName, ObjectRef, Problem, World};
use serde_json::Value;

use super::Planner;
use super::objects::{Seen, Sent};
use crate::conditions::of_type;
use crate::sessions::PeerSessions;

/// How often sessions are counted, at most: speakers report every 5 s, in large clusters less often, and a rolling restart
/// of them is to cost each peer one write in this time. A process that comes to lead waits as long before it counts, since
/// SpeakerStates may have been listed before the Leases that say which speakers live.
pub(super) const SESSIONS_INTERVAL: Duration = Duration::from_secs(5);

impl Planner {
    /// A speaker reports its sessions, lives no more (`false`), or is gone (`None`).
    pub(super) fn report_sessions(
        &mut self,
        now: Instant,
        node: &ObjectName,
        state: Option<(&SpeakerStateStatus, bool)>,
    ) {
        if self.sessions.report(node, state) {
            self.count_sessions(now);
        }
    }

    /// Sessions are counted soon, with whatever else changes until then.
    pub(super) fn count_sessions(&mut self, now: Instant) {
        self.sessions_due.get_or_insert(now + SESSIONS_INTERVAL);
    }

    /// Counts the sessions of every peer; the status of those that have another number is written.
    pub(super) fn counted_sessions(&mut self) {
        self.sessions_due = None;
        let world = &self.world;
        let counted = world.peers().iter().map(|(name, peer)| (name.clone(), self.sessions.of(world, peer)));
        self.peer_sessions = counted.collect();
        for (name, sessions) in &self.peer_sessions {
            let object = ObjectRef::cluster("BGPPeer", name.clone());
            if self.objects.of(&object).is_some_and(|known| known.seen.sessions != Some(*sessions)) {
                self.objects.mark(&object);
            }
        }
    }

    /// What a peer's status should say; `None` where it does.
    pub(super) fn peer_status(&self, object: &ObjectRef) -> Option<(Sent, Value)> {
        let (ready, event) = self.ready(object)?;
        let known = self.objects.of(object)?;
        // Before they are counted what stands there stands.
        let sessions = self.peer_sessions.get(&object.name).copied().or(known.seen.sessions);
        if of_type(&known.seen.conditions, READY) == Some(&ready) && known.seen.sessions == sessions {
            return None;
        }
        let conditions = vec![ready];
        let status = BGPPeerStatus {
            nodes: sessions.map(|sessions| sessions.nodes),
            established: sessions.map(|sessions| sessions.established),
            conditions: conditions.clone(),
        };
        let value = serde_json::to_value(&status).ok()?;
        let seen = Seen { conditions, sessions, ..Seen::default() };
        Some((Sent { seen, pool: None, event }, value))
    }
}

/// The BFDProfile that a peer names, where there is none.
pub(super) fn unknown_profile(world: &World, peer: &BgpPeer) -> Option<Problem> {
    let bfd = peer.bfd.as_ref().filter(|bfd| !world.bfd_profiles().contains_key(&bfd.profile))?;
    let meanwhile = if bfd.strict { "no session is opened" } else { "the path is not watched" };
    let message = format!(
        "no BFDProfile of this name is in force; correct the name or make the BFDProfile; until then {meanwhile}"
    );
    let object = ObjectRef::cluster("BGPPeer", peer.name.clone());
    Some(Problem::new(object, Reason::UnknownProfile.as_str(), "spec.bfd.profile", &*bfd.profile, message))
}

/// What has to be known where the path to a peer is watched and graceful restart keeps its routes: BFD ends with the process.
pub(super) fn trade_off(peer: &BgpPeer) -> Option<String> {
    peer.bfd.as_ref()?;
    let seconds = peer.graceful_restart?.as_secs();
    Some(format!(
        "; spec.bfd beside spec.gracefulRestart: BFD ends with a speaker, so the router withdraws when one restarts, or, where it \
         checks for control plane failure, keeps sending to a node that died for up to {seconds} s"
    ))
}

/// What a peer's status says of its sessions.
pub(super) fn seen(status: &BGPPeerStatus) -> Option<PeerSessions> {
    Some(PeerSessions { nodes: status.nodes?, established: status.established? })
}
