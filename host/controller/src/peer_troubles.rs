//! What is wrong with the Secrets of peers, by what the speakers report: the controller may not read them.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_api::SpeakerStateStatus;
use bellhop_core::objects::BgpPeer;
use bellhop_core::{ObjectName, ObjectRef, Problem};

/// Reason and message.
type Trouble = (String, String);

/// What each speaker reports of its peers' passwords.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerTroubles {
    speakers: BTreeMap<ObjectName, Speaker>,
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Speaker {
    live: bool,
    troubles: BTreeMap<ObjectName, Trouble>,
}

impl PeerTroubles {
    /// A speaker reports, and lives or not; or it is gone (`None`). The answer is of which peers other things are said now.
    ///
    /// One that dies says nothing more. Of one that was never seen to live its last words count: whoever begins to lead may
    /// have listed its state before its Lease.
    pub(crate) fn report(
        &mut self,
        node: &ObjectName,
        state: Option<(&SpeakerStateStatus, bool)>,
    ) -> BTreeSet<ObjectName> {
        let before = self.speakers.remove(node).unwrap_or_default();
        if let Some((status, live)) = state {
            let troubles = if before.live && !live { BTreeMap::new() } else { troubles(status) };
            self.speakers.insert(node.clone(), Speaker { live, troubles });
        }
        let nothing = BTreeMap::new();
        let after = self.speakers.get(node).map_or(&nothing, |speaker| &speaker.troubles);
        let peers = before.troubles.keys().chain(after.keys());
        peers.filter(|peer| before.troubles.get(*peer) != after.get(*peer)).cloned().collect()
    }

    /// What is wrong with the Secret that a peer names: as the first node that says so has it.
    pub(crate) fn of(&self, peer: &BgpPeer, object: &ObjectRef) -> Option<Problem> {
        let secret = peer.password_secret.as_ref()?;
        let told =
            self.speakers.iter().find_map(|(node, speaker)| Some((node, speaker.troubles.get(&peer.name)?)));
        let (node, (reason, message)) = told?;
        let message = format!("{message} (as {node} has it)");
        Some(Problem::new(object.clone(), reason, BgpPeer::PASSWORD_FIELD, &**secret, message))
    }
}

fn troubles(status: &SpeakerStateStatus) -> BTreeMap<ObjectName, Trouble> {
    let troubled = status.sessions.iter().filter(|session| !session.reason.is_empty());
    troubled
        .map(|session| (session.peer.as_str().into(), (session.reason.clone(), session.message.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use bellhop_api::SessionState;

    use super::*;

    fn state(reason: &str) -> SpeakerStateStatus {
        let session = SessionState {
            peer: "router".into(),
            address: "192.0.2.1".into(),
            state: "Idle".into(),
            since: String::new(),
            last_error: String::new(),
            reason: reason.into(),
            message: "the Secret x".into(),
        };
        SpeakerStateStatus { sessions: vec![session], ..Default::default() }
    }

    #[test]
    fn what_a_speaker_says_counts_until_it_says_otherwise_dies_or_goes() {
        let mut troubles = PeerTroubles::default();
        let (wrong, right) = (state("SecretMissing"), state(""));
        let mut report = |node: &str, state| troubles.report(&node.into(), state).len();
        assert_eq!(report("a", Some((&wrong, false))), 1, "the last words of one that was not seen to live");
        assert_eq!(report("a", Some((&wrong, true))), 0);
        assert_eq!(report("a", Some((&right, true))), 1);
        assert_eq!(report("a", Some((&wrong, true))), 1);
        assert_eq!(report("a", Some((&wrong, false))), 1, "it died");
        assert_eq!(report("b", Some((&wrong, true))), 1);
        assert_eq!(report("b", None), 1);
    }
}
