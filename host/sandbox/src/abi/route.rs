//! `bellhop:policy-route/route`.

use std::net::IpAddr;

use bellhop_core::route::{
    Community, Family as CoreFamily, LargeCommunity as CoreLarge, RouteAttributes as Core,
};
use bellhop_policy_engine::guest::{GuestError, GuestRoute, Noted, RouteQuestion};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::{Family, Node, OwnedPair, Pair, Peer, Service, at_most, invalid, no_extra, note, shown, text};

/// Parameters of `decide`.
pub(crate) type Params<'a> = (Request<'a>,);
/// Results of `decide`.
pub(crate) type Results = (Result<Response, String>,);

/// `large-community`.
#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct LargeCommunity {
    global: u32,
    local1: u32,
    local2: u32,
}

/// `attributes`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct Attributes {
    communities: Vec<u32>,
    #[component(name = "large-communities")]
    large_communities: Vec<LargeCommunity>,
    #[component(name = "extended-communities")]
    extended_communities: Vec<u64>,
    #[component(name = "local-preference")]
    local_preference: Option<u32>,
    med: Option<u32>,
    prepend: u8,
    #[component(name = "link-bandwidth")]
    link_bandwidth: Option<u64>,
    #[component(name = "next-hop")]
    next_hop: Option<String>,
}

/// `request`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Request<'a> {
    service: Service<'a>,
    family: Family,
    address: Option<String>,
    pool: Option<&'a str>,
    node: Node<'a>,
    peer: Peer<'a>,
    defaults: Attributes,
    extra: Vec<Pair<'a>>,
}

/// `answer`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Answer {
    #[component(name = "use-default")]
    UseDefault,
    #[component(name = "advertise")]
    Advertise(Attributes),
    #[component(name = "withhold")]
    Withhold(String),
}

/// `response`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Response {
    answer: Answer,
    note: Option<String>,
    extra: Vec<OwnedPair>,
}

impl From<&Core> for Attributes {
    fn from(core: &Core) -> Self {
        Self {
            communities: core.communities.iter().map(|community| community.0).collect(),
            large_communities: core
                .large_communities
                .iter()
                .map(|large| LargeCommunity {
                    global: large.global,
                    local1: large.local1,
                    local2: large.local2,
                })
                .collect(),
            extended_communities: core.extended_communities.clone(),
            local_preference: core.local_preference,
            med: core.med,
            prepend: core.prepend,
            link_bandwidth: core.link_bandwidth,
            next_hop: core.next_hop.map(|address| address.to_string()),
        }
    }
}

impl<'a> From<&'a RouteQuestion> for Request<'a> {
    fn from(question: &'a RouteQuestion) -> Self {
        Self {
            service: question.service.as_ref().into(),
            family: question.family.into(),
            address: question.address.map(|address| address.to_string()),
            pool: question.pool.as_deref(),
            node: question.node.as_ref().into(),
            peer: question.peer.as_ref().into(),
            defaults: question.defaults.as_ref().into(),
            extra: Vec::new(),
        }
    }
}

impl Response {
    /// The answer, checked against the contract and normalised.
    pub(crate) fn checked(self, question: &RouteQuestion) -> Result<Noted<GuestRoute>, GuestError> {
        no_extra("extra", &self.extra)?;
        let note = note("note", self.note.as_ref())?;
        let answer = match self.answer {
            Answer::UseDefault => None,
            Answer::Advertise(attributes) => {
                Some(GuestRoute::Advertise(attributes.checked(question.family)?))
            }
            Answer::Withhold(reason) => Some(GuestRoute::Withhold(text("answer.withhold", &reason)?)),
        };
        Ok(Noted { answer, note })
    }
}

impl Attributes {
    fn checked(self, family: CoreFamily) -> Result<Core, GuestError> {
        let path = |field: &str| format!("answer.advertise.{field}");
        at_most(&path("communities"), "communities", self.communities.len(), Core::COMMUNITIES_MAX)?;
        at_most(
            &path("large-communities"),
            "large communities",
            self.large_communities.len(),
            Core::LARGE_COMMUNITIES_MAX,
        )?;
        at_most(
            &path("extended-communities"),
            "extended communities",
            self.extended_communities.len(),
            Core::EXTENDED_COMMUNITIES_MAX,
        )?;
        if self.prepend > Core::PREPEND_MAX {
            return Err(invalid(
                path("prepend"),
                format!("{}; 0 to {} is right", self.prepend, Core::PREPEND_MAX),
            ));
        }
        let next_hop = self.next_hop.map(|text| next_hop(&path("next-hop"), &text, family)).transpose()?;
        Ok(Core {
            communities: self.communities.into_iter().map(Community).collect(),
            large_communities: self
                .large_communities
                .into_iter()
                .map(|large| CoreLarge { global: large.global, local1: large.local1, local2: large.local2 })
                .collect(),
            extended_communities: self.extended_communities,
            local_preference: self.local_preference,
            med: self.med,
            prepend: self.prepend,
            link_bandwidth: self.link_bandwidth,
            next_hop,
        }
        .normalised())
    }
}

/// A next hop that a router can use: a unicast address of the family of the route.
fn next_hop(field: &str, text: &str, family: CoreFamily) -> Result<IpAddr, GuestError> {
    let example = match family {
        CoreFamily::Ipv4 => "192.0.2.1",
        CoreFamily::Ipv6 => "2001:db8::1",
    };
    text.parse::<IpAddr>()
        .ok()
        .filter(|address| CoreFamily::of(*address) == family)
        .filter(|address| !address.is_unspecified() && !address.is_multicast() && !address.is_loopback())
        .ok_or_else(|| {
            invalid(field, format!("\"{}\" is no unicast {family} address such as {example}", shown(text)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes::from(&Core::default())
    }

    fn field(attributes: Attributes) -> String {
        match attributes.checked(CoreFamily::Ipv4) {
            Err(GuestError::InvalidAnswer { field, .. }) => field,
            other => panic!("not an invalid answer: {other:?}"),
        }
    }

    #[test]
    fn ten_thousand_communities_are_refused_by_count() {
        let error = Attributes { communities: vec![1; 10_000], ..attributes() }
            .checked(CoreFamily::Ipv4)
            .unwrap_err()
            .to_string();
        assert!(error.contains("10000 communities; at most 64"), "{error}");
    }

    #[test]
    fn every_attribute_beyond_its_bound_is_refused_by_its_own_name() {
        let large = LargeCommunity { global: 1, local1: 2, local2: 3 };
        assert_eq!(
            field(Attributes { large_communities: vec![large; 17], ..attributes() }),
            "answer.advertise.large-communities"
        );
        assert_eq!(
            field(Attributes { extended_communities: vec![0; 17], ..attributes() }),
            "answer.advertise.extended-communities"
        );
        assert_eq!(field(Attributes { prepend: 17, ..attributes() }), "answer.advertise.prepend");
    }

    #[test]
    fn a_next_hop_is_a_unicast_address_of_the_family_of_the_route() {
        for wrong in ["2001:db8::1", "0.0.0.0", "224.0.0.1", "127.0.0.1", "router", ""] {
            assert_eq!(
                field(Attributes { next_hop: Some(wrong.to_owned()), ..attributes() }),
                "answer.advertise.next-hop",
                "{wrong}"
            );
        }
        let right = Attributes { next_hop: Some("192.0.2.1".to_owned()), ..attributes() };
        assert_eq!(right.checked(CoreFamily::Ipv4).unwrap().next_hop, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn attributes_come_back_sorted_and_without_duplicates() {
        let answered = Attributes { communities: vec![3, 1, 3], ..attributes() };
        assert_eq!(answered.checked(CoreFamily::Ipv4).unwrap().communities, [Community(1), Community(3)]);
    }
}
