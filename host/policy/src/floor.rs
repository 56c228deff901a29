//! What no policy of the `nodes` hook may take from a Service: its last nodes, and a crowd of nodes at once only
//! because they are not Ready.
//!
//! Only nodes count from which routers hear of the Service: an eligible node whose speaker has no session serves nobody.
//! Where there is none of these, all count, so that what is planned then can be announced with the first session.
//!
//! Both rules are stateless functions of one policy's verdicts on one Service, so that every speaker comes to the same
//! result. Which nodes they keep depends on names alone and differs between Services, which spreads the load.

use std::cmp::Reverse;

use bellhop_core::names::ServiceKey;
use bellhop_core::objects::Readiness;

/// Of the announcers of a Service, one in this many may be lost to NotReady or Unknown alone. A kubelet that cannot
/// reach the API server is not a node that cannot serve, and such outages come in crowds.
pub const READINESS_SHARE: usize = 3;

/// One node after one policy has spoken.
#[derive(Clone, Debug)]
pub struct NodeStanding<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Its readiness.
    pub ready: Readiness,
    /// It has a live speaker with a session up.
    pub can_announce: bool,
    /// It was eligible before this policy spoke.
    pub before: bool,
    /// What it is now.
    pub after: Standing,
    /// It lost its place to this policy for no other reason than its readiness.
    pub readiness_alone: bool,
}

/// What a node is after one policy has spoken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// May announce.
    Eligible,
    /// Stops softly.
    Draining,
    /// May not announce.
    Ineligible,
    /// May not announce, by the operator's own choice (`failurePolicy: Withhold`), or was out before: never kept.
    Out,
}

/// Why a node is kept eligible against the policy's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// `spec.minEligible`.
    MinEligible,
    /// [`READINESS_SHARE`].
    Readiness,
}

/// The nodes that stay eligible against the policy's verdict, by index, ascending.
///
/// `lost_to_readiness` says how many nodes earlier policies of the chain took for readiness alone; they share the bound.
/// `min_eligible` is taken as at least 1 and never asks for more nodes than were eligible before. Draining counts as not
/// eligible. Kept first are Ready nodes, then those which the policy only drains, then by rendezvous hash of Service
/// and node.
pub fn kept(
    service: &ServiceKey,
    min_eligible: u32,
    lost_to_readiness: usize,
    nodes: &[NodeStanding<'_>],
) -> Vec<(usize, Kept)> {
    let counting = counting(nodes.iter().map(|node| (node.before, node.can_announce)));
    let counts = |node: &NodeStanding<'_>| node.before && (node.can_announce || counting.silent);
    let removed = |node: &NodeStanding<'_>| {
        counts(node) && matches!(node.after, Standing::Draining | Standing::Ineligible)
    };
    let order = |index: usize| Reverse(rendezvous(service, nodes[index].node));

    let mut by_readiness: Vec<usize> =
        (0..nodes.len()).filter(|&index| removed(&nodes[index]) && nodes[index].readiness_alone).collect();
    by_readiness.sort_by_key(|&index| (order(index), nodes[index].node));
    let most = readiness_allowance(counting.nodes, lost_to_readiness);
    by_readiness.truncate(by_readiness.len().saturating_sub(most));
    let mut kept: Vec<(usize, Kept)> =
        by_readiness.into_iter().map(|index| (index, Kept::Readiness)).collect();

    let eligible =
        nodes.iter().filter(|node| counts(node) && node.after == Standing::Eligible).count() + kept.len();
    let wanted = (min_eligible.max(1) as usize).min(counting.nodes);
    if eligible < wanted {
        let mut rest: Vec<usize> = (0..nodes.len())
            .filter(|&index| removed(&nodes[index]) && !kept.iter().any(|(other, _)| *other == index))
            .collect();
        rest.sort_by_key(|&index| {
            let node = &nodes[index];
            (node.ready != Readiness::Ready, node.after, order(index), node.node)
        });
        kept.extend(rest.into_iter().take(wanted - eligible).map(|index| (index, Kept::MinEligible)));
    }
    kept.sort_unstable_by_key(|(index, _)| *index);
    kept
}

/// Of the nodes that were eligible before a policy spoke, those that count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counting {
    /// How many.
    pub nodes: usize,
    /// None of them can announce, so all count.
    pub silent: bool,
}

/// Counts nodes, each by whether it was eligible before and whether it can announce.
pub fn counting(nodes: impl Iterator<Item = (bool, bool)>) -> Counting {
    let (mut before, mut heard) = (0, 0);
    for (_, can_announce) in nodes.filter(|(eligible, _)| *eligible) {
        before += 1;
        heard += usize::from(can_announce);
    }
    if heard > 0 {
        Counting { nodes: heard, silent: false }
    } else {
        Counting { nodes: before, silent: true }
    }
}

/// How many of `before` eligible nodes a policy may take for readiness alone, where earlier ones took
/// `lost_to_readiness` already.
pub fn readiness_allowance(before: usize, lost_to_readiness: usize) -> usize {
    ((before + lost_to_readiness) / READINESS_SHARE).saturating_sub(lost_to_readiness)
}

/// Highest-random-weight hash of a Service and a node: FNV-1a with the finaliser of SplitMix64. The same on every
/// machine and in every release, as two speakers of different releases must agree.
pub fn rendezvous(service: &ServiceKey, node: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [&*service.namespace, &*service.name, node] {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service() -> ServiceKey {
        ServiceKey::new("web", "shop")
    }

    fn node(name: &str, after: Standing) -> NodeStanding<'_> {
        NodeStanding {
            node: name,
            ready: Readiness::Ready,
            can_announce: true,
            before: true,
            after,
            readiness_alone: false,
        }
    }

    #[test]
    fn the_last_node_is_never_taken() {
        let nodes =
            [node("a", Standing::Ineligible), node("b", Standing::Draining), node("c", Standing::Ineligible)];
        assert_eq!(
            kept(&service(), 0, 0, &nodes),
            [(1, Kept::MinEligible)],
            "draining is kept before ineligible"
        );
        assert_eq!(kept(&service(), 9, 0, &nodes).len(), 3);
    }

    #[test]
    fn a_ready_node_is_kept_before_one_that_is_not() {
        let mut nodes = [node("a", Standing::Draining), node("b", Standing::Ineligible)];
        nodes[0].ready = Readiness::Unknown;
        assert_eq!(kept(&service(), 1, 0, &nodes), [(1, Kept::MinEligible)]);
    }

    #[test]
    fn an_eligible_node_is_enough() {
        assert!(
            kept(&service(), 1, 0, &[node("a", Standing::Ineligible), node("b", Standing::Eligible)])
                .is_empty()
        );
    }

    #[test]
    fn only_nodes_that_can_announce_count_as_left_and_are_kept() {
        use Standing::{Draining, Eligible, Ineligible};
        // what each node is, whether it can announce, minEligible, the nodes kept
        type Row = ([Standing; 3], [bool; 3], u32, &'static [usize]);
        let table: [Row; 8] = [
            // The last node with a session, while the policy leaves others that have none.
            ([Ineligible, Eligible, Eligible], [true, false, false], 1, &[0]),
            ([Draining, Eligible, Eligible], [true, false, false], 1, &[0]),
            ([Ineligible, Eligible, Eligible], [true, false, true], 1, &[]),
            ([Ineligible, Eligible, Eligible], [true, false, true], 2, &[0]),
            // It asks for more than can announce: no node without a session is kept for it.
            ([Ineligible, Ineligible, Eligible], [true, false, true], 3, &[0]),
            ([Ineligible, Ineligible, Ineligible], [false, true, false], 1, &[1]),
            // None can: all count.
            ([Ineligible, Eligible, Ineligible], [false; 3], 1, &[]),
            ([Ineligible, Ineligible, Ineligible], [false; 3], 3, &[0, 1, 2]),
        ];
        for (after, can_announce, min, expected) in table {
            let mut nodes = [node("a", after[0]), node("b", after[1]), node("c", after[2])];
            for (node, can_announce) in nodes.iter_mut().zip(can_announce) {
                node.can_announce = can_announce;
            }
            let kept: Vec<usize> =
                kept(&service(), min, 0, &nodes).into_iter().map(|(index, _)| index).collect();
            assert_eq!(kept, expected, "{after:?}, can announce {can_announce:?}, at least {min}");
        }
    }

    #[test]
    fn readiness_takes_no_more_than_a_third_of_the_nodes_that_can_announce() {
        let mut nodes = ["a", "b", "c", "d", "e", "f"].map(|name| node(name, Standing::Ineligible));
        for (index, node) in nodes.iter_mut().enumerate() {
            node.ready = Readiness::Unknown;
            node.readiness_alone = true;
            node.can_announce = index < 3;
        }
        let kept = kept(&service(), 1, 0, &nodes);
        assert_eq!(kept.len(), 2, "one of three: {kept:?}");
        assert!(kept.iter().all(|(index, why)| *index < 3 && *why == Kept::Readiness));
    }

    #[test]
    fn what_the_operator_withholds_is_not_kept() {
        assert!(kept(&service(), 1, 0, &[node("a", Standing::Out)]).is_empty());
    }

    #[test]
    fn readiness_alone_takes_no_more_than_a_third() {
        let names: Vec<String> = (0..9).map(|index| format!("n{index}")).collect();
        let nodes: Vec<NodeStanding<'_>> = names
            .iter()
            .map(|name| NodeStanding {
                node: name,
                ready: Readiness::Unknown,
                can_announce: true,
                before: true,
                after: Standing::Ineligible,
                readiness_alone: true,
            })
            .collect();
        let kept = kept(&service(), 1, 0, &nodes);
        assert_eq!(kept.len(), 6);
        assert!(kept.iter().all(|(_, why)| *why == Kept::Readiness));
    }

    #[test]
    fn services_keep_different_nodes() {
        let nodes = ["a", "b", "c", "d"].map(|name| node(name, Standing::Ineligible));
        let chosen: std::collections::BTreeSet<usize> = (0..50)
            .map(|index| kept(&ServiceKey::new("web", format!("s{index}")), 1, 0, &nodes)[0].0)
            .collect();
        assert_eq!(chosen.len(), 4);
    }

    #[test]
    fn the_hash_is_the_same_in_every_release() {
        assert_eq!(rendezvous(&service(), "node-1"), 7_339_032_171_381_665_064);
    }

    proptest! {
        #[test]
        fn enough_nodes_stay_whatever_the_policy_says_and_their_order_does_not_matter(
            verdicts in prop::collection::vec((0u8..3, any::<bool>(), any::<bool>()), 1..40),
            min in 0u32..6,
            rotate in 0usize..40,
        ) {
            let names: Vec<String> = (0..verdicts.len()).map(|index| format!("n{index}")).collect();
            let mut nodes: Vec<NodeStanding<'_>> = verdicts.iter().zip(&names).map(|(&(after, ready, alone), name)| {
                NodeStanding {
                    node: name,
                    ready: if ready { Readiness::Ready } else { Readiness::NotReady },
                    can_announce: true,
                    before: true,
                    after: [Standing::Eligible, Standing::Draining, Standing::Ineligible][usize::from(after)],
                    readiness_alone: alone && !ready,
                }
            }).collect();
            let first = kept(&service(), min, 0, &nodes);
            let eligible = nodes.iter().filter(|node| node.after == Standing::Eligible).count() + first.len();
            prop_assert!(eligible >= (min.max(1) as usize).min(nodes.len()));
            let mut named: Vec<&str> = first.iter().map(|(index, _)| nodes[*index].node).collect();
            named.sort_unstable();
            let turn = rotate % nodes.len();
            nodes.rotate_left(turn);
            let mut again: Vec<&str> = kept(&service(), min, 0, &nodes).iter().map(|(index, _)| nodes[*index].node).collect();
            again.sort_unstable();
            prop_assert_eq!(named, again);
        }
    }
}
