//! Hook `nodes`: which nodes may announce a Service.
//!
//! The host asks for up to 256 nodes at once; the policy is asked for one at a time, so that a verdict on a node
//! cannot depend on which others happened to be in its batch. What it may know of the others is the summary.

pub use crate::bindings::exports::bellhop::policy_nodes::nodes::{
    Request as NodesRequest, Response as NodesResponse, Summary, TopologyCount,
};

use crate::bindings::exports::bellhop::policy_nodes::nodes as wire;
use crate::decision::{Decision, cut, note};
use crate::facts::{Node, Service};

/// One node of a Service, as hook `nodes` is asked about it.
#[derive(Clone, Copy, Debug)]
pub struct NodeRequest<'a> {
    /// The Service.
    pub service: &'a Service,
    /// Counts over all nodes of the Service.
    pub summary: &'a Summary,
    /// The node.
    pub node: &'a Node,
}

/// The answer of hook `nodes` for one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// May announce, with this weight; 100 is the built-in one.
    Eligible(u32),
    /// Stop softly: GRACEFUL_SHUTDOWN first (RFC 8326), withdrawal after. With the reason, in at most 256 bytes.
    Draining(String),
    /// May not announce, and why, in at most 256 bytes.
    Ineligible(String),
}

impl Default for Summary {
    fn default() -> Self {
        Self { total: 1, ready: 1, unschedulable: 0, topology: Vec::new() }
    }
}

impl Summary {
    /// Nodes of the Service whose label `key`, a declared topology key, has this value: how many, how many ready.
    pub fn count(&self, key: &str, value: &str) -> (u32, u32) {
        let of = |count: &&TopologyCount| count.key == key && count.value == value;
        self.topology.iter().find(of).map_or((0, 0), |count| (count.total, count.ready))
    }
}

impl From<Decision<Verdict>> for wire::NodeDecision {
    fn from(decision: Decision<Verdict>) -> Self {
        let verdict = match decision.answer {
            None => wire::Verdict::UseDefault,
            Some(Verdict::Eligible(weight)) => wire::Verdict::Eligible(weight),
            Some(Verdict::Draining(reason)) => wire::Verdict::Draining(cut(reason)),
            Some(Verdict::Ineligible(reason)) => wire::Verdict::Ineligible(cut(reason)),
        };
        Self { verdict, note: note(decision.note), extra: Vec::new() }
    }
}

/// Asks for one node after the other. For [`plugin!`](crate::plugin).
#[doc(hidden)]
pub fn decide_each(
    request: &NodesRequest,
    mut decide: impl FnMut(&NodeRequest<'_>) -> Result<Decision<Verdict>, String>,
) -> Result<NodesResponse, String> {
    let decisions = request.nodes.iter().map(|node| {
        decide(&NodeRequest { service: &request.service, summary: &request.summary, node }).map(Into::into)
    });
    Ok(NodesResponse { nodes: decisions.collect::<Result<_, _>>()?, extra: Vec::new() })
}
