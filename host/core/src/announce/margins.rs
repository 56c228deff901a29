//! How many nodes may cease to announce before that matters to a Service.
//!
//! Policies must leave a Service nodes that can announce. Where one of many nodes of a Service loses its sessions nothing
//! follows from that, and 10,000 Services must not be looked at to find it out. So each Service of which a policy was asked
//! is kept under the number of nodes that it has left, plus the number of nodes that had ceased until it was planned: when
//! one more ceases, all these sums stand, and those which the sum of then comes up to are the ones to be planned again.

use std::collections::BTreeSet;

use crate::decision::NodeVerdict;
use crate::names::ServiceKey;
use crate::objects::Readiness;
use crate::world::World;

use super::service_plan::NodeVerdicts;

/// The Services of which policies were asked, by what they have to spare.
#[derive(Debug, Default)]
pub(super) struct Margins {
    /// How often a node ceased to be able to announce.
    ceased: u64,
    services: BTreeSet<(u64, ServiceKey)>,
}

impl Margins {
    /// Where a Service stands with these verdicts; `None` where no node's silence can matter to it.
    pub(super) fn of(&self, world: &World, verdicts: &NodeVerdicts) -> Option<u64> {
        if verdicts.iter().all(|(_, decided)| decided.trail.is_empty()) {
            return None;
        }
        let mut left = 0;
        for (name, decided) in verdicts.iter() {
            let eligible = matches!(decided.answer, NodeVerdict::Eligible(_));
            let ready = world.nodes().get(name).is_none_or(|node| node.ready == Readiness::Ready);
            if !ready && !eligible {
                // What readiness alone may take is a share of all that announce: each one matters.
                return Some(0);
            }
            left += u64::from(eligible && world.announcers().contains(name));
        }
        Some(left + self.ceased)
    }

    pub(super) fn insert(&mut self, margin: u64, service: ServiceKey) {
        self.services.insert((margin, service));
    }

    pub(super) fn remove(&mut self, margin: u64, service: &ServiceKey) {
        self.services.remove(&(margin, service.clone()));
    }

    /// So many nodes ceased to be able to announce, and others may have begun to: the Services to which that may matter,
    /// where no policy leaves fewer nodes than `least`.
    pub(super) fn cease(&mut self, nodes: usize, least: u32) -> impl Iterator<Item = &ServiceKey> {
        self.ceased += nodes as u64;
        let most = self.ceased + u64::from(least);
        self.services.iter().take_while(move |(margin, _)| *margin <= most).map(|(_, service)| service)
    }
}
