//! The plan of one Service on one node: what each peer hears and why, which is what `bellhop explain` prints.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::announce::aggregate::{Aggregate, Contribution};
use crate::announce::endpoints::Doubt;
use crate::announce::facts::Obstacle;
use crate::announce::publication::Publication;
use crate::announce::standing::Standing;
use crate::decision::{Consulted, Decided, NodeVerdict, ServiceFacts};
use crate::flat::FlatMap;
use crate::labels::Selector;
use crate::names::{ObjectName, Uid};
use crate::objects::{AddressPool, Advertisement, BgpPeer, Node};
use crate::route::RouteAttributes;
use crate::world::World;

/// A verdict for each node, sorted by name.
pub type NodeVerdicts = Arc<[(ObjectName, Decided<NodeVerdict>)]>;

/// What one node does about one Service.
#[derive(Clone, PartialEq, Debug)]
pub struct ServicePlan {
    /// UID of the Service; a Service made anew under the same name starts afresh.
    pub uid: Uid,
    /// Where this node stands.
    pub standing: Standing,
    /// The `nodes` decision: a verdict for each node that facts allow, sorted by name. Shared, because most Services of
    /// a node get the same.
    pub nodes: NodeVerdicts,
    /// Where it stands among the Services that other nodes' silence may matter to.
    pub(super) margin: Option<u64>,
    /// What rests on endpoints of which nobody knows whether they serve.
    pub(super) doubt: Doubt,
    /// The addresses that it holds.
    pub addresses: FlatMap<IpAddr, AddressPlan>,
}

/// What happens to one address of a Service.
#[derive(Clone, PartialEq, Debug)]
pub struct AddressPlan {
    /// The pool that its claim names, or named.
    pub pool: Option<ObjectName>,
    /// Why facts keep it from being announced.
    pub obstacle: Option<Obstacle>,
    /// It is to be bound on the node.
    pub bind: bool,
    /// Whether kube-proxy can know it.
    pub publication: Publication,
    /// Its claim was lost, and it is kept until then; see [`crate::announce::lost_claim`].
    pub kept_until: Option<Instant>,
    /// Each peer that this node has.
    pub peers: FlatMap<ObjectName, PeerPlan>,
}

/// What one peer hears about one address.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerPlan {
    /// The Advertisement that covers it.
    pub advertisement: Option<ObjectName>,
    /// Announced, by a host route with these; `None`: not announced.
    pub attributes: Option<Arc<RouteAttributes>>,
    /// How the Advertisement aggregates it: whether there is a host route, and what else carries the address.
    pub aggregate: Aggregate,
    /// Why it is not, or soon will not be, announced; where nothing else says it.
    pub why_not: Option<Arc<str>>,
    /// The node has no AS number towards the peer, so nothing else was looked at.
    pub without_asn: bool,
    /// A policy withholds it: decided again at this time, announced until then.
    pub withhold_at: Option<Instant>,
    /// The policies asked.
    pub trail: Arc<[Consulted]>,
}

impl PeerPlan {
    fn new(advertisement: Option<ObjectName>, why_not: Option<&str>) -> Self {
        Self {
            advertisement,
            attributes: None,
            aggregate: Aggregate::None,
            why_not: why_not.map(Into::into),
            without_asn: false,
            withhold_at: None,
            trail: Arc::default(),
        }
    }

    pub(crate) fn asked(advertisement: ObjectName, aggregate: Aggregate) -> Self {
        Self { aggregate, ..Self::new(Some(advertisement), None) }
    }

    pub(crate) fn uncovered() -> Self {
        Self::new(None, Some("no Advertisement covers this address, node and peer"))
    }

    pub(crate) fn without_asn() -> Self {
        let message =
            "no SpeakerConfig gives this node an ASN (spec.asn), and the BGPPeer has no spec.localASN";
        Self { without_asn: true, ..Self::new(None, Some(message)) }
    }
}

/// Why no peer hears an address from this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Silence {
    /// One word of the closed set of condition reasons.
    pub reason: &'static str,
    /// For people.
    pub message: Arc<str>,
}

/// Where the answer to a route question goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RouteQuestionAt {
    pub(crate) plan: usize,
    pub(crate) address: IpAddr,
    pub(crate) peer: ObjectName,
}

impl ServicePlan {
    /// When it has to be decided again.
    pub fn deadline(&self) -> Option<Instant> {
        let withheld =
            self.addresses.values().flat_map(|plan| plan.peers.values()).filter_map(|peer| peer.withhold_at);
        let published = self.addresses.values().filter_map(|plan| plan.publication.deadline());
        let kept = self.addresses.values().filter_map(|plan| plan.kept_until);
        self.standing.deadline().into_iter().chain(withheld).chain(published).chain(kept).min()
    }

    /// What one peer hears about one address.
    pub fn peer_plan(&self, address: IpAddr, peer: &str) -> Option<&PeerPlan> {
        self.addresses.get(&address)?.peers.get(peer)
    }

    /// The peers that one address is announced to, by its host route or by an aggregate.
    pub fn heard_by(&self, address: IpAddr) -> impl Iterator<Item = (&ObjectName, &PeerPlan)> {
        let plan = self.addresses.get(&address).filter(|plan| plan.obstacle.is_none());
        let peers = plan.into_iter().flat_map(|plan| plan.peers.iter());
        peers.filter(|(_, peer)| peer.attributes.is_some())
    }

    /// Peers and attributes of the host routes of one address.
    pub(crate) fn host_routes(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = (&ObjectName, &Arc<RouteAttributes>)> {
        let exact = self.heard_by(address).filter(|(_, plan)| plan.aggregate.has_host_route());
        exact.filter_map(|(peer, plan)| Some((peer, plan.attributes.as_ref()?)))
    }

    /// What its addresses contribute to aggregates: by peer, and by the Advertisement that decides.
    pub(crate) fn contributions(&self) -> impl Iterator<Item = (&ObjectName, &ObjectName, &Contribution)> {
        let heard = self.addresses.keys().flat_map(|address| self.heard_by(*address));
        heard.filter_map(|(peer, plan)| match &plan.aggregate {
            Aggregate::Contributes(contribution) => Some((peer, plan.advertisement.as_ref()?, contribution)),
            Aggregate::None | Aggregate::OutsidePool(_) => None,
        })
    }

    /// Why no peer is to hear `address` from `node`, which this plan is for; `None` where one is, or where the Service does
    /// not hold the address.
    pub fn silence(&self, address: IpAddr, node: &str) -> Option<Silence> {
        let plan = self.addresses.get(&address)?;
        let because = |reason, message: &str| Some(Silence { reason, message: message.into() });
        if let Some(obstacle) = plan.obstacle {
            return because(obstacle.reason(), obstacle.message());
        }
        if plan.peers.values().any(|peer| peer.attributes.is_some()) {
            return None;
        }
        match self.standing {
            Standing::Drained => return because("Drained", "the node was drained"),
            Standing::Out => {
                let own = self.nodes.iter().find(|(name, _)| &**name == node);
                return match own.map(|(_, decided)| &decided.answer) {
                    Some(NodeVerdict::Ineligible(reason) | NodeVerdict::Draining(reason)) => {
                        because("Ineligible", reason)
                    }
                    _ => because("Ineligible", "a policy keeps this node from announcing"),
                };
            }
            Standing::Announced | Standing::Settling(_) | Standing::Draining(_) => {}
        }
        let Some(peer) = plan.peers.values().max_by_key(|peer| peer.advertisement.is_some()) else {
            return because("NoPeer", "no BGPPeer selects this node");
        };
        let reason = match (&peer.advertisement, peer.without_asn) {
            (Some(_), _) => "WithheldByPolicy",
            (None, true) => "NoASN",
            (None, false) => "NoAdvertisement",
        };
        because(reason, peer.why_not.as_deref().unwrap_or_default())
    }

    /// True where this node announces an address of the Service, or binds it.
    pub fn serves(&self, address: IpAddr) -> bool {
        self.heard_by(address).next().is_some() || self.addresses.get(&address).is_some_and(|plan| plan.bind)
    }

    /// Withdraws every address, for a reason that holds for all.
    pub(crate) fn withdraw_all(&mut self, reason: &'static str) {
        self.withdraw(|_| Some(reason));
    }

    /// Withdraws the addresses that `reason` names one for.
    pub(crate) fn withdraw(&mut self, reason: impl Fn(IpAddr) -> Option<&'static str>) {
        for (address, plan) in self.addresses.iter_mut() {
            let Some(reason) = reason(*address) else { continue };
            plan.bind = false;
            for peer in plan.peers.values_mut().filter(|peer| peer.attributes.is_some()) {
                peer.attributes = None;
                peer.withhold_at = None;
                peer.why_not = Some(reason.into());
            }
        }
    }
}

/// Whether an Advertisement selects the addresses of a pool, of which the name may be all that is left.
pub(crate) fn selects_pool(
    advertisement: &Advertisement,
    name: Option<&ObjectName>,
    pool: Option<&AddressPool>,
) -> bool {
    let open = advertisement.pools.is_empty() && advertisement.pool_selector.is_none();
    let named = name.is_some_and(|name| advertisement.pools.contains(name));
    let labels = pool.map(|pool| &pool.labels);
    let selected = |selector: &Selector| labels.is_some_and(|labels| selector.matches(labels));
    open || named || advertisement.pool_selector.as_ref().is_some_and(selected)
}

/// The Advertisement that decides for one address, node and peer: of those that cover it the one of highest priority,
/// of equal ones the first by name.
pub(crate) fn choose_advertisement<'a>(
    world: &'a World,
    facts: &ServiceFacts,
    pool: Option<&ObjectName>,
    node: &Node,
    peer: &BgpPeer,
) -> Option<&'a Advertisement> {
    let pool_object = pool.and_then(|pool| world.pools().get(pool)).map(|pool| &**pool);
    let chosen = |selector: &Option<Selector>, labels| selector.as_ref().is_none_or(|s| s.matches(labels));
    world
        .advertisements()
        .values()
        .filter(|advertisement| {
            let peers_open = advertisement.peers.is_empty() && advertisement.peer_selector.is_none();
            let peer_named = advertisement.peers.contains(&peer.name);
            let peer_selected =
                advertisement.peer_selector.as_ref().is_some_and(|selector| selector.matches(&peer.labels));
            selects_pool(advertisement, pool, pool_object)
                && (peers_open || peer_named || peer_selected)
                && chosen(&advertisement.service_selector, &facts.service.labels)
                && chosen(&advertisement.namespace_selector, &facts.namespace_labels)
                && chosen(&advertisement.node_selector, &node.labels)
        })
        .max_by(|a, b| a.priority.cmp(&b.priority).then_with(|| b.name.cmp(&a.name)))
        .map(|advertisement| &**advertisement)
}
