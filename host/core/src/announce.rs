//! What one node announces: planned from the World, the decisions and the time, one Service at a time.
//!
//! The planner keeps a plan per Service and, made from these, the wanted routes per peer and the addresses to bind.
//! [`Announcer::note`] takes what deltas touched; [`Announcer::plan`] works it off in slices: withdrawals that facts
//! demand first and all at once, then Services whose own objects changed, re-evaluation (a policy or node changed)
//! last. It never waits and reads no clock.
//!
//! ```text
//! note(touched) ─► facts pass ─► urgent queue ─► decide ─► ServicePlan ─► wants per (peer, prefix) ─► Changes
//!                                later queue ──┘                    └──► addresses to bind ─────────┘
//! ```

pub mod facts;
pub mod service_plan;
pub mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::decision::{Decided, Decisions, NodeVerdict, NodesRequest, RouteDecision, RouteRequest};
use crate::flat::{FlatMap, FlatSet};
use crate::names::{ObjectName, ServiceKey};
use crate::objects::{BgpPeer, Node, Service};
use crate::route::{RouteAttributes, host_route};
use crate::settings::SpeakerSettings;
use crate::world::{Touched, World};

use facts::{EndpointCounts, held_addresses, obstacle, service_facts, usable_nodes};
use service_plan::{AddressPlan, NodeVerdicts, PeerPlan, RouteQuestionAt, ServicePlan, choose_advertisement};
use standing::{Softening, Standing};

/// Services decided in one slice: with a slow plugin (2 ms a decision) a slice stays near the tenth of a second in
/// which a withdrawal has to be out.
const SLICE: usize = 128;

/// Between a policy's wish to withdraw and the decision that counts, so that skewed views cannot empty a Service.
pub const SETTLE: Duration = Duration::from_secs(2);

/// How long an address stays bound after nothing needs it: packets of routers that have not converged are still served.
pub const UNBIND_LINGER: Duration = Duration::from_secs(5);

/// A change of what one peer is to hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteChange {
    /// The peer.
    pub peer: ObjectName,
    /// The prefix.
    pub prefix: IpNet,
    /// Its attributes; `None` withdraws.
    pub attributes: Option<Arc<RouteAttributes>>,
}

/// What a slice of planning came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Routes, withdrawals first.
    pub routes: Vec<RouteChange>,
    /// Addresses to bind now.
    pub bind: BTreeSet<IpAddr>,
    /// Addresses to unbind now.
    pub unbind: BTreeSet<IpAddr>,
    /// Services planned in this slice.
    pub planned: usize,
    /// More is queued: plan again soon.
    pub more: bool,
}

impl Changes {
    /// True when nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.bind.is_empty() && self.unbind.is_empty()
    }
}

/// The planner of one node.
#[derive(Debug)]
pub struct Announcer {
    node: ObjectName,
    bind_by_default: bool,
    /// Services whose facts changed since facts were last looked at.
    unchecked: BTreeSet<ServiceKey>,
    urgent: BTreeSet<ServiceKey>,
    later: BTreeSet<ServiceKey>,
    /// Boxed, as the nodes of a tree that was filled in order are half empty.
    plans: BTreeMap<ServiceKey, Box<ServicePlan>>,
    /// The verdicts of the plan made last, which the next one most likely shares.
    last_verdicts: NodeVerdicts,
    deadlines: BTreeSet<(Instant, ServiceKey)>,
    /// Services with a plan for an address, so that a shared address stays while one of them announces it.
    by_address: BTreeMap<IpAddr, FlatSet<ServiceKey>>,
    wanted: BTreeMap<ObjectName, BTreeMap<IpNet, Arc<RouteAttributes>>>,
    /// Addresses wanted on `lo`; `Some` since when nothing needs them any more.
    bindings: BTreeMap<IpAddr, Option<Instant>>,
    /// Those of `bindings` that nothing needs, by when that began.
    lingering: BTreeSet<(Instant, IpAddr)>,
    bound: BTreeSet<IpAddr>,
    stopping: bool,
}

impl Announcer {
    /// A planner for `node`. `bind_by_default`: see [`SpeakerSettings::of`].
    pub fn new(node: ObjectName, bind_by_default: bool) -> Self {
        Self {
            node,
            bind_by_default,
            unchecked: BTreeSet::new(),
            urgent: BTreeSet::new(),
            later: BTreeSet::new(),
            plans: BTreeMap::new(),
            last_verdicts: NodeVerdicts::default(),
            deadlines: BTreeSet::new(),
            by_address: BTreeMap::new(),
            wanted: BTreeMap::new(),
            bindings: BTreeMap::new(),
            lingering: BTreeSet::new(),
            bound: BTreeSet::new(),
            stopping: false,
        }
    }

    /// Queues what `touched` names.
    pub fn note(&mut self, world: &World, touched: &Touched) {
        // Facts can only forbid what is planned; what is not comes into a plan with the facts of then.
        let planned = touched.services.iter().filter(|key| self.plans.contains_key(*key));
        self.unchecked.extend(planned.cloned());
        self.urgent.extend(touched.services.iter().cloned());
        if touched.every_service {
            self.unchecked.extend(self.plans.keys().cloned());
            self.re_evaluate(world);
        }
    }

    /// Queues every Service, as after a change of the policies in force.
    pub fn re_evaluate(&mut self, world: &World) {
        self.later.extend(world.services().keys().cloned());
        self.later.extend(self.plans.keys().cloned());
    }

    /// Takes over which addresses are bound on the node, as the kernel has confirmed.
    pub fn set_bound(&mut self, bound: BTreeSet<IpAddr>) {
        let changed: Vec<IpAddr> = self.bound.symmetric_difference(&bound).copied().collect();
        self.bound = bound;
        for address in changed {
            self.urgent.extend(self.by_address.get(&address).into_iter().flatten().cloned());
        }
    }

    /// When [`Announcer::plan`] has to be called without any event.
    pub fn deadline(&self) -> Option<Instant> {
        let linger = self.lingering.first().map(|(since, _)| *since + UNBIND_LINGER);
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(linger).min()
    }

    /// True when something is queued.
    pub fn has_work(&self) -> bool {
        !self.urgent.is_empty() || !self.later.is_empty()
    }

    /// The plan of a Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServicePlan> {
        self.plans.get(key).map(|plan| &**plan)
    }

    /// All plans.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &ServicePlan)> {
        self.plans.iter().map(|(key, plan)| (key, &**plan))
    }

    /// Services with a plan for an address, sorted.
    pub fn services_of(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.by_address.get(&address).into_iter().flatten()
    }

    /// What each peer is to hear.
    pub fn wanted(&self) -> &BTreeMap<ObjectName, BTreeMap<IpNet, Arc<RouteAttributes>>> {
        &self.wanted
    }

    /// Plans one slice.
    pub fn plan(&mut self, now: Instant, world: &World, decisions: &mut dyn Decisions) -> Changes {
        let mut changes = Changes::default();
        let own_node = world.nodes().get(&self.node).cloned();
        let settings = own_node.as_ref().map(|node| SpeakerSettings::of(world, node, self.bind_by_default));
        self.expire(now);
        self.withdraw_what_facts_forbid(world, own_node.as_deref(), &mut changes, now);

        let slice = self.next_slice();
        changes.planned = slice.len();
        let softening = Softening {
            settle: SETTLE,
            drain_wait: settings.as_ref().map_or(SpeakerSettings::DRAIN_WAIT, |settings| settings.drain_wait),
        };
        let context =
            Context { now, world, own_node: own_node.as_ref(), settings: settings.as_ref(), softening };
        for (key, plan) in self.decide(&context, slice, decisions) {
            self.replace(key, plan, &mut changes, now);
        }
        self.unbind_what_lingered(now, &mut changes);
        changes.more = self.has_work();
        changes.routes.sort_by_key(|change| change.attributes.is_some());
        changes
    }

    /// Queues the Services whose standing has to be decided again.
    fn expire(&mut self, now: Instant) {
        while let Some((at, key)) = self.deadlines.first().cloned() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, key.clone()));
            self.urgent.insert(key);
        }
    }

    /// Withdraws at once, without asking anybody, what facts say cannot be served.
    fn withdraw_what_facts_forbid(
        &mut self,
        world: &World,
        own_node: Option<&Node>,
        changes: &mut Changes,
        now: Instant,
    ) {
        for key in std::mem::take(&mut self.unchecked) {
            let Some(plan) = self.plans.get(&key) else { continue };
            let service = world.services().get(&key).filter(|service| service.uid == plan.uid);
            let mut kept = plan.clone();
            match service.filter(|service| !service.deleting) {
                None => kept.withdraw_all("the Service is gone"),
                Some(service) => {
                    let held = held_addresses(world, service);
                    let endpoints = EndpointCounts::of(world, &key);
                    kept.withdraw(|address| {
                        if held.contains(&address) {
                            obstacle(service, &endpoints, own_node, address).map(facts::Obstacle::message)
                        } else {
                            Some("no claim names the Service as holder of the address")
                        }
                    });
                }
            }
            if kept != self.plans[&key] {
                self.replace(key, Some(kept), changes, now);
            }
        }
    }

    fn next_slice(&mut self) -> Vec<ServiceKey> {
        let mut slice = Vec::with_capacity(SLICE);
        while slice.len() < SLICE {
            let Some(key) = self.urgent.pop_first().or_else(|| self.later.pop_first()) else { break };
            self.later.remove(&key);
            slice.push(key);
        }
        slice
    }

    /// Asks both decisions for a slice and makes the plans.
    fn decide(
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
        let endpoints = EndpointCounts::of(context.world, &service.key);
        let nodes = usable_nodes(context.world, service, &endpoints);
        Draft {
            held: held_addresses(context.world, service),
            request: NodesRequest { service: service_facts(context.world, service), nodes },
            endpoints,
        }
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
        let own = draft.request.nodes.iter().position(|facts| facts.node.name == self.node);
        let verdict = own.map(|own| {
            if self.stopping {
                Decided::built_in(NodeVerdict::Draining("the speaker stops".into()))
            } else {
                verdicts[own].clone()
            }
        });
        let standing = match &verdict {
            Some(verdict) => {
                let standing = before.map(|plan| plan.standing).unwrap_or_default();
                standing.under(&verdict.answer, context.now, context.softening)
            }
            None => Standing::Out,
        };
        let mut plan = ServicePlan {
            uid: service.uid.clone(),
            standing,
            nodes: draft.request.nodes.iter().map(|facts| facts.node.name.clone()).zip(verdicts).collect(),
            addresses: FlatMap::new(),
        };
        let bind = context.settings.is_some_and(|settings| settings.bind_addresses);
        for address in draft.held {
            let by_facts =
                obstacle(&service, &draft.endpoints, context.own_node.map(|node| &**node), address);
            let wants_binding = bind && by_facts.is_none();
            let blocked = by_facts.or_else(|| {
                (wants_binding && !self.bound.contains(&address)).then_some(facts::Obstacle::NotBound)
            });
            let pool = context.world.claims().get(&address).and_then(|claim| claim.pool.clone());
            let mut address_plan = AddressPlan {
                pool: pool.clone(),
                obstacle: blocked,
                bind: wants_binding,
                peers: FlatMap::new(),
            };
            if let (Some(own), Some(settings), Some(node)) = (own, context.settings, context.own_node) {
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
                    address_plan.peers.insert(peer.name.clone(), PeerPlan::asked(advertisement.name.clone()));
                    if blocked.is_none() && standing.announces() {
                        places.push(RouteQuestionAt { plan: index, address, peer: peer.name.clone() });
                        questions.push(RouteRequest {
                            service: draft.request.service.clone(),
                            address,
                            pool: pool.clone(),
                            node: draft.request.nodes[own].clone(),
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

    /// Puts a plan in place of the one before and adds the difference to `changes`.
    fn replace(
        &mut self,
        key: ServiceKey,
        plan: Option<Box<ServicePlan>>,
        changes: &mut Changes,
        now: Instant,
    ) {
        let before = self.plans.remove(&key);
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        if let Some(before) = &before {
            addresses.extend(before.addresses.keys());
            if let Some(at) = before.deadline() {
                self.deadlines.remove(&(at, key.clone()));
            }
            for address in before.addresses.keys() {
                if let Some(services) = self.by_address.get_mut(address) {
                    services.remove(&key);
                    if services.is_empty() {
                        self.by_address.remove(address);
                    }
                }
            }
        }
        if let Some(mut plan) = plan {
            if plan.nodes == self.last_verdicts {
                plan.nodes = self.last_verdicts.clone();
            } else {
                self.last_verdicts = plan.nodes.clone();
            }
            addresses.extend(plan.addresses.keys());
            if let Some(at) = plan.deadline() {
                self.deadlines.insert((at, key.clone()));
            }
            for address in plan.addresses.keys() {
                self.by_address.entry(*address).or_default().insert(key.clone());
            }
            self.plans.insert(key, plan);
        }
        for address in addresses {
            self.refresh_routes(address, changes);
            self.refresh_binding(address, changes, now);
        }
    }

    /// Brings the wanted routes of one address up to date. Where Services share it, the first by key that announces
    /// it to a peer gives the attributes.
    fn refresh_routes(&mut self, address: IpAddr, changes: &mut Changes) {
        let prefix = host_route(address);
        let mut effective: BTreeMap<ObjectName, Arc<RouteAttributes>> = BTreeMap::new();
        for key in self.by_address.get(&address).into_iter().flatten() {
            let Some(plan) = self.plans.get(key) else { continue };
            for (peer, attributes) in plan.routes_of(address) {
                effective.entry(peer).or_insert(attributes);
            }
        }
        let stale: Vec<ObjectName> = self
            .wanted
            .iter()
            .filter(|(peer, routes)| routes.contains_key(&prefix) && !effective.contains_key(*peer))
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in stale {
            if let Some(routes) = self.wanted.get_mut(&peer) {
                routes.remove(&prefix);
                if routes.is_empty() {
                    self.wanted.remove(&peer);
                }
            }
            changes.routes.push(RouteChange { peer, prefix, attributes: None });
        }
        for (peer, attributes) in effective {
            let routes = self.wanted.entry(peer.clone()).or_default();
            if routes.get(&prefix) != Some(&attributes) {
                routes.insert(prefix, attributes.clone());
                changes.routes.push(RouteChange { peer, prefix, attributes: Some(attributes) });
            }
        }
    }

    fn refresh_binding(&mut self, address: IpAddr, changes: &mut Changes, now: Instant) {
        let wanted = self
            .by_address
            .get(&address)
            .into_iter()
            .flatten()
            .filter_map(|key| self.plans.get(key))
            .any(|plan| plan.addresses.get(&address).is_some_and(|plan| plan.bind));
        match (wanted, self.bindings.get_mut(&address)) {
            (true, Some(unused_since)) => {
                if let Some(since) = unused_since.take() {
                    self.lingering.remove(&(since, address));
                }
            }
            (true, None) => {
                self.bindings.insert(address, None);
                changes.bind.insert(address);
            }
            (false, Some(unused_since @ None)) => {
                *unused_since = Some(now);
                self.lingering.insert((now, address));
            }
            (false, _) => {}
        }
    }

    fn unbind_what_lingered(&mut self, now: Instant, changes: &mut Changes) {
        while let Some((since, address)) = self.lingering.first().copied() {
            if since + UNBIND_LINGER > now {
                break;
            }
            self.lingering.pop_first();
            self.bindings.remove(&address);
            changes.unbind.insert(address);
        }
    }

    /// Drains every Service: the speaker stops. For good.
    pub fn stop(&mut self, world: &World) {
        self.stopping = true;
        self.re_evaluate(world);
    }

    /// Addresses that are to be bound, those that linger included.
    pub fn bindings(&self) -> BTreeSet<IpAddr> {
        self.bindings.keys().copied().collect()
    }
}

/// What a slice is planned from.
struct Context<'a> {
    now: Instant,
    world: &'a World,
    own_node: Option<&'a Arc<Node>>,
    settings: Option<&'a SpeakerSettings>,
    softening: Softening,
}

impl Context<'_> {
    /// The peers that this node has.
    fn peers(&self, node: &Node) -> impl Iterator<Item = &Arc<BgpPeer>> {
        self.world.peers().values().filter(|peer| peer.node_selector.matches(&node.labels))
    }
}

/// A Service before its decisions.
struct Draft {
    held: Vec<IpAddr>,
    endpoints: EndpointCounts,
    request: NodesRequest,
}

/// GRACEFUL_SHUTDOWN added, and the local preference that RFC 8326 §4 asks receivers to set given to internal peers at
/// once.
fn drained(attributes: &RouteAttributes) -> RouteAttributes {
    let mut attributes = attributes.clone();
    attributes.communities.push(crate::route::Community::GRACEFUL_SHUTDOWN);
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
            RouteDecision::Withhold(reason) => {
                let stood = before.and_then(|before| Some((before.attributes.clone()?, before.withhold_at)));
                match stood {
                    Some((_, Some(at))) if at <= now => {}
                    Some((attributes, at)) => {
                        peer.attributes = Some(attributes);
                        peer.withhold_at = Some(at.unwrap_or(now + softening.settle));
                    }
                    None => {}
                }
                peer.why_not = Some(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests;
