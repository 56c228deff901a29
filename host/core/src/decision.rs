//! The three decisions that a policy may take over, as questions and answers, and the built-in answers.
//!
//! Questions carry whole projections behind `Arc`s: what of them a plugin may see is the policy engine's business.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::names::ObjectName;
use crate::objects::{AddressPool, BgpPeer, Node, Service};
use crate::route::{Family, RouteAttributes};

/// An answer, and who was asked on the way to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided<T> {
    /// The answer.
    pub answer: T,
    /// The policies asked, in the chain's order; empty for a built-in answer that nobody was asked about.
    pub trail: Arc<[Consulted]>,
}

impl<T> Decided<T> {
    /// The built-in answer, nobody asked.
    pub fn built_in(answer: T) -> Self {
        Self { answer, trail: Arc::default() }
    }
}

/// One policy that was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consulted {
    /// `metadata.name` of the DecisionPolicy.
    pub policy: ObjectName,
    /// sha256 of the module that answered, hex; empty where none is in force.
    pub digest: Arc<str>,
    /// What came of it.
    pub outcome: ConsultOutcome,
    /// The policy's own words, or why it failed.
    pub note: Option<Arc<str>>,
}

/// What came of asking one policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ConsultOutcome {
    /// It decided; the chain ends here.
    Decided,
    /// It said `use-default`; the next one is asked.
    UseDefault,
    /// It failed; its last decision for this question was kept.
    KeptLast,
    /// It failed; the next one is asked.
    FailedUseDefault,
    /// It failed; nothing is announced or allocated.
    FailedWithhold,
}

/// A node as a Service sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeFacts {
    /// The node.
    pub node: Arc<Node>,
    /// Endpoints of the Service on this node that take traffic, at most 65535 are told.
    pub local_endpoints: u16,
    /// Routers can hear of the Service from it: it has a live speaker with a session up. Only such nodes count for what
    /// policies must leave. No policy sees it.
    pub can_announce: bool,
}

/// A Service as the decisions see it.
#[derive(Clone, PartialEq, Debug)]
pub struct ServiceFacts {
    /// The Service.
    pub service: Arc<Service>,
    /// Labels of its Namespace.
    pub namespace_labels: Labels,
}

/// Which address a Service gets.
#[derive(Clone, PartialEq, Debug)]
pub struct AddressRequest {
    /// The Service.
    pub service: ServiceFacts,
    /// Families that an address is needed for, the primary one first.
    pub families: Vec<Family>,
    /// The pools it may use, in built-in order.
    pub pools: Vec<PoolFacts>,
    /// Free addresses on offer, at most [`AddressRequest::CANDIDATES_PER_POOL`] per pool and family.
    pub candidates: Vec<Candidate>,
}

impl AddressRequest {
    /// Enough for a policy to tell addresses apart, few enough that the question stays small.
    pub const CANDIDATES_PER_POOL: usize = 16;
}

/// A pool with its usage.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolFacts {
    /// The pool.
    pub pool: Arc<AddressPool>,
    /// Families it has, with addresses used and free.
    pub usage: Vec<FamilyUsage>,
}

/// Usage of a pool in one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct FamilyUsage {
    /// The family.
    pub family: Family,
    /// Addresses with a claim.
    pub used: u64,
    /// Addresses without; saturating, as an IPv6 pool may hold more than 64 bits can count.
    pub free: u64,
}

/// A free address on offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Index into [`AddressRequest::pools`].
    pub pool: usize,
    /// The address.
    pub address: IpAddr,
    /// 0 for never used, else 1 for the longest ago released, and so on.
    pub release_rank: u32,
}

/// The answer of the `address` decision.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AddressDecision {
    /// The built-in rule: pools in order, the least recently released address of each family.
    Default,
    /// In order of preference; the ledger takes the first that it can satisfy whole.
    Choose(Vec<Alternative>),
    /// No address, and why.
    Reject(Arc<str>),
}

/// One choice per family.
pub type Alternative = Vec<(Family, AddressChoice)>;

/// A choice for one family.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AddressChoice {
    /// Index into [`AddressRequest::candidates`].
    Candidate(usize),
    /// Exactly this address; the ledger checks that it is in a pool of the request and free.
    Exact(IpAddr),
    /// Any free address of the pool of this name.
    Pool(ObjectName),
}

/// Which nodes may announce a Service.
#[derive(Clone, PartialEq, Debug)]
pub struct NodesRequest {
    /// The Service.
    pub service: ServiceFacts,
    /// All nodes that facts allow (not deleted, not excluded), sorted by name.
    pub nodes: Vec<NodeFacts>,
}

/// The answer of the `nodes` decision for one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum NodeVerdict {
    /// May announce, with this weight.
    Eligible(u32),
    /// Stop softly, with the reason.
    Draining(Arc<str>),
    /// May not announce, with the reason.
    Ineligible(Arc<str>),
}

impl NodeVerdict {
    /// The built-in answer.
    pub const DEFAULT: Self = Self::Eligible(100);
}

/// With which attributes this node announces one address to one peer.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteRequest {
    /// The Service.
    pub service: ServiceFacts,
    /// The address.
    pub address: IpAddr,
    /// The pool it is from, where one covers it.
    pub pool: Option<ObjectName>,
    /// The announcing node.
    pub node: NodeFacts,
    /// The peer.
    pub peer: Arc<BgpPeer>,
    /// AS number of the speaker towards this peer.
    pub local_asn: u32,
    /// The Advertisement's attributes: the built-in answer.
    pub defaults: Arc<RouteAttributes>,
}

/// The answer of the `route` decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteDecision {
    /// Announce with these attributes, normalised.
    Advertise(Arc<RouteAttributes>),
    /// Do not announce to this peer, and why.
    Withhold(Arc<str>),
}

/// Whoever answers: the built-in rules, or a chain of plugins.
///
/// Each method takes a batch and gives one answer per question, in order. Answers to equal questions are equal, and
/// no answer depends on its batch-mates.
pub trait Decisions {
    /// Which address each Service gets.
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>>;
    /// A verdict per node of each request, in the request's order.
    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>>;
    /// The most nodes that some policy must leave a Service (`spec.minEligible`). While a Service has more left that can
    /// announce, its verdicts do not depend on which these are.
    fn least_eligible(&self) -> u32 {
        1
    }
    /// Attributes, or withhold.
    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>>;
}

/// The built-in answers: the least recently released address, every node, the Advertisement's attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

impl Decisions for BuiltIn {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        batch.iter().map(|_| Decided::built_in(AddressDecision::Default)).collect()
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        batch
            .iter()
            .map(|request| request.nodes.iter().map(|_| Decided::built_in(NodeVerdict::DEFAULT)).collect())
            .collect()
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        batch
            .iter()
            .map(|request| Decided::built_in(RouteDecision::Advertise(request.defaults.clone())))
            .collect()
    }
}
