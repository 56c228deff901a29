//! Hook `route`: with which attributes one node announces one address of a Service to one peer.

mod community;

pub use crate::bindings::exports::bellhop::policy_route::route::{
    LargeCommunity, Request as RouteRequest, Response as RouteResponse,
};
pub use community::{Community, CommunityError};

use std::net::IpAddr;

use crate::bindings::exports::bellhop::policy_route::route as wire;
use crate::decision::{Decision, cut, note};
use crate::facts::{Family, Node, Peer, Service};

/// What a route carries beside its prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// COMMUNITIES (RFC 1997), at most 64.
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY (RFC 8092), at most 16.
    pub large_communities: Vec<LargeCommunity>,
    /// EXTENDED COMMUNITIES (RFC 4360), eight octets each in network order, at most 16.
    pub extended_communities: Vec<u64>,
    /// LOCAL_PREF; sent to internal peers only.
    pub local_preference: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// The own AS this many times more in the AS path, 0 to 16.
    pub prepend: u8,
    /// Bytes per second, for weighted ECMP.
    pub link_bandwidth: Option<u64>,
    /// In place of the speaker's own address; of the family of the address announced.
    pub next_hop: Option<IpAddr>,
}

/// The answer of hook `route`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// Announce with exactly these.
    Advertise(Attributes),
    /// Do not announce to this peer, and why, in at most 256 bytes.
    Withhold(String),
}

impl RouteRequest {
    /// What the Advertisement gives: the built-in answer, to start from.
    pub fn default_attributes(&self) -> Attributes {
        let given = &self.defaults;
        Attributes {
            communities: given.communities.iter().copied().map(Community).collect(),
            large_communities: given.large_communities.clone(),
            extended_communities: given.extended_communities.clone(),
            local_preference: given.local_preference,
            med: given.med,
            prepend: given.prepend,
            link_bandwidth: given.link_bandwidth,
            next_hop: given.next_hop.as_deref().and_then(|text| text.parse().ok()),
        }
    }
}

impl Default for RouteRequest {
    fn default() -> Self {
        Self {
            service: Service::default(),
            family: Family::Ipv4,
            address: None,
            pool: None,
            node: Node::default(),
            peer: Peer::default(),
            defaults: Attributes::default().into(),
            extra: Vec::new(),
        }
    }
}

impl From<Attributes> for wire::Attributes {
    fn from(attributes: Attributes) -> Self {
        Self {
            communities: attributes.communities.into_iter().map(|community| community.0).collect(),
            large_communities: attributes.large_communities,
            extended_communities: attributes.extended_communities,
            local_preference: attributes.local_preference,
            med: attributes.med,
            prepend: attributes.prepend,
            link_bandwidth: attributes.link_bandwidth,
            next_hop: attributes.next_hop.map(|address| address.to_string()),
        }
    }
}

impl From<Decision<Route>> for RouteResponse {
    fn from(decision: Decision<Route>) -> Self {
        let answer = match decision.answer {
            None => wire::Answer::UseDefault,
            Some(Route::Advertise(attributes)) => wire::Answer::Advertise(attributes.into()),
            Some(Route::Withhold(reason)) => wire::Answer::Withhold(cut(reason)),
        };
        Self { answer, note: note(decision.note), extra: Vec::new() }
    }
}
