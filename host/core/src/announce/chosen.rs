//! The nodes that announce a Service where an Advertisement allows only so many (`spec.maxNodes`): routers spread over a
//! limited number of next hops, and drop the rest in an order of their own.

use std::cmp::Reverse;

use super::endpoints::rendezvous;
use crate::announcers::Announcers;
use crate::decision::{NodeFacts, NodeVerdict};
use crate::names::{ObjectName, Uid};
use crate::objects::Advertisement;

/// The nodes that announce a Service by `advertisement`: of those that may and can, the ones of the highest weight, and among
/// equal ones in an order that differs from Service to Service and changes little when nodes come and go. `None` without a
/// limit. The order of all speakers is the same, as far as they have seen the same.
///
/// `own` counts as one that can, also before its first session: else it would have nothing to announce on it.
pub(super) fn chosen<'a>(
    advertisement: &Advertisement,
    service: &Uid,
    own: &str,
    announcers: &Announcers,
    candidates: impl Iterator<Item = (&'a NodeFacts, &'a NodeVerdict)>,
) -> Option<Vec<&'a ObjectName>> {
    let most = advertisement.max_nodes? as usize;
    let selector = advertisement.node_selector.as_ref();
    let mut nodes: Vec<(u32, &ObjectName)> = candidates
        .filter_map(|(facts, verdict)| match verdict {
            NodeVerdict::Eligible(weight) => Some((*weight, &facts.node)),
            NodeVerdict::Draining(_) | NodeVerdict::Ineligible(_) => None,
        })
        .filter(|(_, node)| selector.is_none_or(|selector| selector.matches(&node.labels)))
        .filter(|(_, node)| &*node.name == own || announcers.contains(&node.name))
        .map(|(weight, node)| (weight, &node.name))
        .collect();
    nodes.sort_by_cached_key(|(weight, node)| (Reverse(*weight), rendezvous(service, node), (*node).clone()));
    nodes.truncate(most);
    Some(nodes.into_iter().map(|(_, node)| node).collect())
}
