//! From one Service and its facts to its plan: whom to ask what, and what the answers make of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::decision::{
    Decided, Decisions, NodeFacts, NodeVerdict, NodesRequest, RouteDecision, RouteRequest,
};
use crate::flat::FlatMap;
use crate::names::{ObjectName, ServiceKey, Uid};
use crate::objects::{Advertisement, BgpPeer, Node, Service};
use crate::route::{Community, RouteAttributes};
use crate::settings::SpeakerSettings;
use crate::world::World;

use super::aggregate::Aggregate;
use super::endpoints::EndpointCounts;
use super::facts::{
    Obstacle, held_addresses, node_facts, node_usable, obstacle, service_facts, usable_nodes,
};
use super::lost_claim;
use super::publication::Publication;
use super::service_plan::{
    AddressPlan, NodeVerdicts, PeerPlan, RouteQuestionAt, ServicePlan, choose_advertisement,
};
use super::standing::{Softening, Standing};
use super::{Announcer, chosen};

/// What a slice is planned from.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) world: &'a World,
    pub(super) own_node: Option<&'a Arc<Node>>,
    pub(super) settings: Option<&'a SpeakerSettings>,
    pub(super) softening: Softening,
}

impl Context<'_> {
    /// The peers that this node has.
    fn peers(&self, node: &Node) -> impl Iterator<Item = &Arc<BgpPeer>> {
        self.world.peers().values().filter(|peer| peer.node_selector.matches(&node.labels))
    }
}

/// A Service before its decisions.
struct Draft {
    /// Its addresses, and for those whose claim was lost until when they are kept.
    addresses: Vec<(IpAddr, Option<Instant>)>,
    endpoints: EndpointCounts,
    request: NodesRequest,
}

/// GRACEFUL_SHUTDOWN added, and the local preference that RFC 8326 §4 asks receivers to set given to internal peers at
/// once.
pub(super) fn drained(attributes: &RouteAttributes) -> RouteAttributes {
    let mut attributes = attributes.clone();
    attributes.communities.push(Community::GRACEFUL_SHUTDOWN);
    attributes.local_preference = Some(0);
    attributes.normalised()
}

impl ServicePlan {
    /// Takes the answer of the `route` decision, softened: a route that stood and is to be withheld settles first.
    fn settle_route(
        &mut self,
        place: &RouteQuestionAt,
        answer: Decided<RouteDecision>,
        before: Option<&PeerPlan>,
        now: Instant,
        softening: Softening,
    ) {
        let draining = matches!(self.standing, Standing::Draining(_));
        let Some(peer) =
            self.addresses.get_mut(&place.address).and_then(|plan| plan.peers.get_mut(&place.peer))
        else {
            return;
        };
        peer.trail = answer.trail;
        match answer.answer {
            RouteDecision::Advertise(attributes) => {
                peer.attributes = Some(if draining { Arc::new(drained(&attributes)) } else { attributes });
            }
            RouteDecision::Withhold(reason) => peer.withhold(reason, before, now, softening),
        }
    }
}

impl PeerPlan {
    /// Keeps a route back, for a reason that is no fact: where it stood it settles first.
    fn withhold(&mut self, reason: Arc<str>, before: Option<&Self>, now: Instant, softening: Softening) {
        let stood = before.and_then(|before| Some((before.attributes.clone()?, before.withhold_at)));
        match stood {
            Some((_, Some(at))) if at <= now => {}
            Some((attributes, at)) => {
                self.attributes = Some(attributes);
                self.withhold_at = Some(at.unwrap_or(now + softening.settle));
            }
            None => {}
        }
        self.why_not = Some(reason);
    }
}

/// What is said of a node that other nodes stand in for.
fn outranked_by(most: u32, chosen: &[&ObjectName]) -> Arc<str> {
    let names: Vec<&str> = chosen.iter().map(|node| &***node).collect();
    format!("spec.maxNodes of the Advertisement is {most}, and {} come before this node", names.join(", "))
        .into()
}

impl Announcer {
    /// Asks both decisions for a slice and makes the plans.
    pub(super) fn decide(
        &self,
        context: &Context<'_>,
        slice: Vec<ServiceKey>,
        decisions: &mut dyn Decisions,
    ) -> Vec<(ServiceKey, Option<Box<ServicePlan>>)> {
        let mut drafts = Vec::with_capacity(slice.len());
        let mut gone = Vec::new();
        for key in slice {
            match context
                .world
                .services()
                .get(&key)
                .filter(|service| service.wants_address && !service.deleting)
            {
                Some(service) => drafts.push(self.draft(context, service)),
                None => gone.push((key, None)),
            }
        }
        let requests: Vec<NodesRequest> = drafts.iter().map(|draft| draft.request.clone()).collect();
        let verdicts = decisions.nodes(&requests);

        let mut questions: Vec<RouteRequest> = Vec::new();
        let mut places: Vec<RouteQuestionAt> = Vec::new();
        let mut plans: Vec<(ServiceKey, Option<Box<ServicePlan>>)> =
            Vec::with_capacity(drafts.len() + gone.len());
        for (draft, verdicts) in drafts.into_iter().zip(verdicts) {
            let key = draft.request.service.service.key.clone();
            let plan = self.service_plan(context, draft, verdicts, plans.len(), &mut questions, &mut places);
            plans.push((key, Some(Box::new(plan))));
        }
        let answers = decisions.routes(&questions);
        for (place, answer) in places.into_iter().zip(answers) {
            let (key, plan) = &mut plans[place.plan];
            if let Some(plan) = plan {
                let before = self.plans.get(key).and_then(|old| old.peer_plan(place.address, &place.peer));
                plan.settle_route(&place, answer, before, context.now, context.softening);
            }
        }
        plans.extend(gone);
        plans
    }

    fn draft(&self, context: &Context<'_>, service: &Arc<Service>) -> Draft {
        let endpoints = self.endpoints(context.world, service);
        let nodes = usable_nodes(context.world, service, &endpoints);
        Draft {
            addresses: self.addresses(context, service),
            request: NodesRequest { service: service_facts(context.world, service), nodes },
            endpoints,
        }
    }

    /// The addresses that a Service holds, and those that it keeps though their claims were lost.
    fn addresses(&self, context: &Context<'_>, service: &Service) -> Vec<(IpAddr, Option<Instant>)> {
        let held = held_addresses(context.world, service);
        let before = self.plans.get(&service.key).filter(|plan| plan.uid == service.uid);
        let lost = before.into_iter().flat_map(|plan| {
            let gone = plan.addresses.keys().filter(|address| !held.contains(address));
            gone.filter_map(|address| {
                let until = self.kept_until(context.world, service, plan, *address, context.now)?;
                Some((*address, Some(until)))
            })
        });
        let lost: Vec<_> = lost.collect();
        held.into_iter().map(|address| (address, None)).chain(lost).collect()
    }

    /// Until when a Service keeps an address of its plan whose claim was lost; in a cluster alone, where a status tells loss
    /// from release.
    pub(super) fn kept_until(
        &self,
        world: &World,
        service: &Service,
        plan: &ServicePlan,
        address: IpAddr,
        now: Instant,
    ) -> Option<Instant> {
        let before = plan.addresses.get(&address).filter(|_| self.await_publication)?;
        lost_claim::kept_until(world, service, address, before.kept_until, now)
    }

    /// The plan of one Service but for the answers of the `route` decision, whose questions it adds.
    fn service_plan(
        &self,
        context: &Context<'_>,
        draft: Draft,
        verdicts: Vec<Decided<NodeVerdict>>,
        index: usize,
        questions: &mut Vec<RouteRequest>,
        places: &mut Vec<RouteQuestionAt>,
    ) -> ServicePlan {
        let service = draft.request.service.service.clone();
        let before = self.plans.get(&service.key).filter(|plan| plan.uid == service.uid);
        let own = self.own_verdict(context, &draft, &verdicts);
        let standing = match &own {
            Some((_, verdict)) => {
                let standing = before.map(|plan| plan.standing).unwrap_or_default();
                standing.under(verdict, context.now, context.softening)
            }
            None => Standing::Out,
        };
        let nodes: NodeVerdicts =
            draft.request.nodes.iter().map(|facts| facts.node.name.clone()).zip(verdicts).collect();
        let nodes_asked = draft.request.nodes;
        let mut plan = ServicePlan {
            uid: service.uid.clone(),
            standing,
            margin: self.margins.of(context.world, &nodes),
            nodes,
            doubt: draft.endpoints.doubt(self.node.name()),
            addresses: FlatMap::new(),
        };
        let bind = context.settings.is_some_and(|settings| settings.bind_addresses);
        for (address, kept_until) in draft.addresses {
            let own_node = context.own_node.map(|node| &**node);
            let by_facts = obstacle(context.world, &service, &draft.endpoints, own_node, address);
            let wants_binding = bind && by_facts.is_none();
            let publication = self.publication(context.now, before.map(|plan| &**plan), &service, address);
            let blocked = by_facts.or_else(|| {
                if wants_binding && !self.bound.contains(&address) {
                    Some(Obstacle::NotBound)
                } else {
                    self.not_served(&service, publication)
                }
            });
            let pool = match context.world.claims().get(&address) {
                Some(claim) => claim.pool.clone(),
                None => before.and_then(|plan| plan.addresses.get(&address)?.pool.clone()),
            };
            let mut address_plan = AddressPlan {
                pool: pool.clone(),
                obstacle: blocked,
                bind: wants_binding,
                publication,
                kept_until,
                peers: FlatMap::new(),
            };
            if let (Some((own, _)), Some(settings)) = (&own, context.settings) {
                let node = &own.node;
                for peer in context.peers(node) {
                    let Some(local_asn) = peer.local_asn.or(settings.asn) else {
                        address_plan.peers.insert(peer.name.clone(), PeerPlan::without_asn());
                        continue;
                    };
                    let Some(advertisement) = choose_advertisement(
                        context.world,
                        &draft.request.service,
                        pool.as_ref(),
                        node,
                        peer,
                    ) else {
                        address_plan.peers.insert(peer.name.clone(), PeerPlan::uncovered());
                        continue;
                    };
                    let of_pool = pool.as_ref().and_then(|pool| context.world.pools().get(pool));
                    let aggregate = Aggregate::of(
                        advertisement,
                        of_pool.map(|pool| &**pool),
                        address,
                        service.traffic_policy,
                    );
                    let mut asked = PeerPlan::asked(advertisement.name.clone(), aggregate);
                    let open = blocked.is_none() && standing.announces();
                    let before = before.and_then(|before| before.peer_plan(address, &peer.name));
                    let chosen = self.chosen(context, &plan.uid, &plan.nodes, &nodes_asked, advertisement);
                    let outranked = chosen.filter(|chosen| {
                        let drains = matches!(standing, Standing::Draining(_));
                        // A node that drains makes way for those that come, and takes nothing on.
                        let stays = drains && before.is_some_and(|before| before.attributes.is_some());
                        !stays && !chosen.contains(&&node.name)
                    });
                    if let (true, Some(chosen), Some(most)) = (open, &outranked, advertisement.max_nodes) {
                        asked.withhold(outranked_by(most, chosen), before, context.now, context.softening);
                    }
                    address_plan.peers.insert(peer.name.clone(), asked);
                    if open && outranked.is_none() {
                        places.push(RouteQuestionAt { plan: index, address, peer: peer.name.clone() });
                        questions.push(RouteRequest {
                            service: draft.request.service.clone(),
                            address,
                            pool: pool.clone(),
                            node: own.clone(),
                            peer: peer.clone(),
                            local_asn,
                            defaults: advertisement.attributes.clone(),
                        });
                    }
                }
            }
            plan.addresses.insert(address, address_plan);
        }
        plan
    }

    /// The nodes that announce a Service by an Advertisement; `None` where that does not limit them.
    fn chosen<'a>(
        &self,
        context: &Context<'_>,
        service: &Uid,
        verdicts: &'a NodeVerdicts,
        nodes: &'a [NodeFacts],
        advertisement: &Advertisement,
    ) -> Option<Vec<&'a ObjectName>> {
        let verdicts = verdicts.iter().map(|(_, decided)| &decided.answer);
        let candidates = nodes.iter().zip(verdicts);
        chosen::chosen(advertisement, service, self.node.name(), context.world.announcers(), candidates)
    }

    /// How far kube-proxy can be with an address.
    fn publication(
        &self,
        now: Instant,
        before: Option<&ServicePlan>,
        service: &Service,
        address: IpAddr,
    ) -> Publication {
        if !self.await_publication {
            return Publication::Served;
        }
        let before = before.and_then(|plan| plan.addresses.get(&address)).map(|plan| plan.publication);
        before.unwrap_or_default().next(service.published.contains(&address), !self.planned_once, now)
    }

    /// What keeps kube-proxy from serving an address of a Service.
    fn not_served(&self, service: &Service, publication: Publication) -> Option<Obstacle> {
        match publication {
            Publication::Awaited => Some(Obstacle::NotPublished),
            Publication::Settling(_) => Some(Obstacle::DataPathPending),
            Publication::Served => self.gates.closed(&service.key).then_some(Obstacle::DataPathPending),
        }
    }

    /// This node, and what is decided about it: by the whole node's drain, else by the `nodes` decision, else by endpoints
    /// that are about to go; `None` where facts rule it out.
    fn own_verdict(
        &self,
        context: &Context<'_>,
        draft: &Draft,
        verdicts: &[Decided<NodeVerdict>],
    ) -> Option<(NodeFacts, NodeVerdict)> {
        if let (Some(drain), Some(node)) = (self.node.draining(), context.own_node) {
            // One that is deleted is not among the nodes asked about.
            let own = node_facts(context.world, node, &draft.endpoints);
            return Some((own, NodeVerdict::Draining(drain.reason().into())));
        }
        let asked = draft.request.nodes.iter().zip(verdicts);
        let mut own = asked.filter(|(facts, _)| facts.node.name == *self.node.name());
        if let Some((facts, verdict)) = own.next() {
            return Some((facts.clone(), verdict.answer.clone()));
        }
        // Facts rule it out for as long as no other endpoint comes, and what arrives meanwhile is served.
        let node = context.own_node.filter(|node| node_usable(context.world, node));
        let node = node.filter(|node| draft.endpoints.all_linger_on(&node.name))?;
        let own = node_facts(context.world, node, &draft.endpoints);
        Some((own, NodeVerdict::Draining("the endpoints on this node terminate".into())))
    }
}
