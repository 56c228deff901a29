//! Which nodes can announce anything at all now: those with a live speaker that has a session up.
//!
//! What facts say of a node does not tell that ([`crate::announce::facts`]): a node without a speaker, or whose routers are
//! gone, may be as well as any other. A policy must leave a Service nodes that routers hear of, so only these count.
//!
//! Of other nodes a speaker knows what the controller tells; of its own node it goes by its own sessions. In standalone
//! form nobody tells, and every other node counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::ObjectName;

/// What the speaker that owns the World knows of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnSpeaker {
    /// Its node.
    pub node: ObjectName,
    /// It has a session up.
    pub has_session: bool,
}

/// The nodes that can announce. Without any word of them, all can.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announcers {
    silent: Arc<BTreeSet<ObjectName>>,
    own: Option<OwnSpeaker>,
}

impl Announcers {
    /// Whether routers can hear of a Service from this node.
    pub fn contains(&self, node: &ObjectName) -> bool {
        match &self.own {
            Some(own) if own.node == *node => own.has_session,
            _ => !self.silent.contains(node),
        }
    }

    /// The controller tells which nodes have no live speaker with a session.
    pub(crate) fn set_silent(&mut self, silent: Arc<BTreeSet<ObjectName>>) {
        self.silent = silent;
    }

    /// The own speaker tells of itself.
    pub(crate) fn set_own(&mut self, own: OwnSpeaker) {
        self.own = Some(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speaker_goes_by_its_own_sessions_whatever_is_told_of_its_node() {
        let own = |has_session| Some(OwnSpeaker { node: "a".into(), has_session });
        let silent = Arc::new(BTreeSet::from(["a".into(), "b".into()]));
        // own speaker, what is told, the nodes that can announce
        let table: [(Option<OwnSpeaker>, bool, &[&str]); 6] = [
            (None, false, &["a", "b", "c"]),
            (None, true, &["c"]),
            (own(true), true, &["a", "c"]),
            (own(false), true, &["c"]),
            (own(true), false, &["a", "b", "c"]),
            (own(false), false, &["b", "c"]),
        ];
        for (own, told, expected) in table {
            let mut announcers = Announcers::default();
            if let Some(own) = own.clone() {
                announcers.set_own(own);
            }
            if told {
                announcers.set_silent(silent.clone());
            }
            let can: Vec<&str> =
                ["a", "b", "c"].into_iter().filter(|node| announcers.contains(&(*node).into())).collect();
            assert_eq!(can, expected, "{own:?} told {told}");
        }
    }
}
