//! What a speaker tells its tools: the answers of `bellhop status`, `routes` and `explain`, as they go over the socket
//! and as `-o json` prints them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::decision::Consulted;
use crate::problem::Problem;
use crate::route::{Family, RouteAttributes};

/// A question to a speaker: one JSON document, ended by a line feed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
pub enum Question {
    /// The state of everything.
    Status,
    /// What each peer is to hear and hears.
    Routes {
        /// This peer only.
        peer: Option<String>,
    },
    /// How decisions about one Service came about.
    ExplainService {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// The answer: one JSON document, ended by a line feed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "answer", content = "content")]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To [`Question::Routes`].
    Routes(Vec<RouteRow>),
    /// To [`Question::ExplainService`].
    Service(Box<ServiceExplanation>),
    /// What was asked for does not exist, in words.
    NotFound(String),
    /// The question could not be read, in words.
    BadQuestion(String),
}

/// How far a speaker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// The manifests have not been read whole yet.
    Reading,
    /// Policies are being compiled and tested; nothing is announced before each is active or has failed.
    LoadingPolicies,
    /// Addresses are being bound before the first announcement.
    Binding,
    /// Announcing.
    Ready,
}

/// The state of everything.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Node name.
    pub node: String,
    /// Version of Bellhop.
    pub version: String,
    /// How far it is.
    pub phase: Phase,
    /// Who allocates.
    pub allocation: AllocationRole,
    /// Peers of this node.
    pub peers: Vec<PeerRow>,
    /// Services of type LoadBalancer.
    pub services: Vec<ServiceRow>,
    /// Pools.
    pub pools: Vec<PoolRow>,
    /// Policies.
    pub policies: Vec<PolicyRow>,
    /// What is wrong with objects, most recent version each.
    pub problems: Vec<Problem>,
}

/// Whether this process allocates addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AllocationRole {
    /// It holds the lock of the state directory.
    Writer,
    /// Another process holds it.
    Standby,
    /// Started without `--allocate`: serves only addresses that are asked for.
    RequestedOnly,
    /// A speaker of a cluster: the controller does.
    Controller,
}

/// One peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRow {
    /// Name of the BGPPeer, for a router of a range with its address, as `racks/192.0.2.7`.
    pub name: String,
    /// Its address; absent for one on an interface that was not heard yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its BGP Identifier, while a session is up.
    #[serde(rename = "routerID", default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// Its AS number.
    pub peer_asn: u32,
    /// Ours towards it.
    pub local_asn: u32,
    /// State of the session in the words of RFC 4271 §8.2.2.
    pub state: String,
    /// Seconds since it was established.
    pub up_seconds: Option<u64>,
    /// Families in use.
    pub families: Vec<Family>,
    /// Hold time in seconds: the one agreed on, or the one offered.
    #[serde(default)]
    pub hold_time: u64,
    /// What else both sides can, in the words of the field; empty without a session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Messages of every type sent in all sessions.
    #[serde(default)]
    pub messages_sent: u64,
    /// Messages of every type received in all sessions.
    #[serde(default)]
    pub messages_received: u64,
    /// Prefixes it is to hear.
    pub wanted: usize,
    /// Prefixes sent.
    pub sent: usize,
    /// UPDATE messages sent in this session.
    pub updates_sent: u64,
    /// What ended the last session or attempt.
    pub last_error: Option<String>,
    /// State of BFD (RFC 5880 §4.1), and why it is not up; absent where the path is not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
}

/// One Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Addresses that it holds.
    pub addresses: Vec<IpAddr>,
    /// Condition `bellhop.dev/Allocated`.
    pub allocated: Condition,
    /// Condition `bellhop.dev/Announced`, of this node.
    pub announced: Condition,
}

/// A condition in Kubernetes's terms.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// True or False.
    pub status: bool,
    /// Reason in CamelCase.
    pub reason: String,
    /// For people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRow {
    /// Name.
    pub name: String,
    /// Ranges in force.
    pub ranges: Vec<String>,
    /// Per family: family, used, free.
    pub usage: Vec<(Family, u64, u64)>,
}

/// One policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRow {
    /// Name.
    pub name: String,
    /// Hook.
    pub hook: String,
    /// First twelve digits of the sha256 of the module in force.
    pub active: Option<String>,
    /// Of the version on its way, or refused.
    pub candidate: Option<String>,
    /// Stage, for example Active or Rejected.
    pub step: String,
    /// Where rejected: at which stage.
    pub stage: Option<String>,
    /// Machine-readable reason.
    pub reason: Option<String>,
    /// For people.
    pub message: Option<String>,
    /// Calls into the module in force.
    pub calls: u64,
    /// Questions answered from the memo.
    pub memo_hits: u64,
    /// Calls that failed.
    pub failures: u64,
    /// The same by kind of failure.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub failures_by_category: std::collections::BTreeMap<String, u64>,
    /// Most fuel that a call used.
    pub fuel_max: u64,
}

/// One route of one peer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRow {
    /// Peer.
    pub peer: String,
    /// Prefix.
    pub prefix: IpNet,
    /// Services that announce it; of an aggregate none are named, as there may be any number.
    pub services: Vec<String>,
    /// Of an aggregate: where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<AggregateSource>,
    /// Attributes wanted.
    pub attributes: Arc<RouteAttributes>,
    /// True once handed to the session's socket.
    pub sent: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// Where an aggregate comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AggregateSource {
    /// The Advertisement that gives it its attributes.
    pub advertisement: String,
    /// How many addresses of Services it is announced for; one that Services share counts for each.
    pub addresses: usize,
}

/// How decisions about one Service came about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExplanation {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// This node.
    pub node: String,
    /// `spec.externalTrafficPolicy`.
    pub traffic_policy: String,
    /// Endpoints by family that take traffic, in all.
    pub endpoints: Vec<(Family, u32)>,
    /// The allocation.
    pub allocation: AllocationExplanation,
    /// The `nodes` decision per node.
    pub nodes: Vec<NodeExplanation>,
    /// How this node stands.
    pub standing: String,
    /// Each address and what each peer hears.
    pub addresses: Vec<AddressExplanation>,
}

/// How an allocation came about.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationExplanation {
    /// Condition `bellhop.dev/Allocated`.
    pub condition: Option<Condition>,
    /// What was found out in which order: addresses kept, pools considered and why not, what was taken.
    pub steps: Vec<String>,
    /// Policies asked.
    pub policies: Vec<Consulted>,
    /// The policy that each claim names as its chooser, with its note.
    pub decided_by: Vec<(IpAddr, String)>,
}

/// The `nodes` decision for one node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeExplanation {
    /// Node.
    pub node: String,
    /// `eligible (weight 100)`, `draining`, `ineligible`.
    pub verdict: String,
    /// Reason of the verdict.
    pub reason: Option<String>,
    /// Policies asked.
    pub policies: Vec<Consulted>,
}

/// One address.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressExplanation {
    /// The address.
    pub address: IpAddr,
    /// Its pool.
    pub pool: Option<String>,
    /// Why facts keep it from being announced.
    pub obstacle: Option<Condition>,
    /// What each peer hears.
    pub peers: Vec<PeerExplanation>,
}

/// What one peer hears about one address.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerExplanation {
    /// Peer.
    pub peer: String,
    /// Advertisement that covers it.
    pub advertisement: Option<String>,
    /// Attributes of its host route; absent where there is none.
    pub attributes: Option<Arc<RouteAttributes>>,
    /// The aggregate that it is announced by, beside a host route or in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<AggregateExplanation>,
    /// The aggregate that it would be announced by, if that did not reach outside of its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside_pool: Option<IpNet>,
    /// Why it is not announced.
    pub why_not: Option<String>,
    /// Policies asked.
    pub policies: Vec<Consulted>,
}

/// An aggregate that an address is announced by.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AggregateExplanation {
    /// The prefix.
    pub prefix: IpNet,
    /// The Advertisement that gives it its attributes, which need not be the one that decides for the address.
    pub advertisement: String,
    /// Attributes.
    pub attributes: Arc<RouteAttributes>,
}
