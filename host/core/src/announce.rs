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

pub mod aggregate;
mod bindings;
mod chosen;
mod draft;
pub mod endpoints;
pub mod facts;
pub mod gate;
pub mod lost_claim;
mod margins;
pub mod publication;
pub mod returning;
pub mod service_plan;
pub mod standing;
mod wanted;
pub mod whole_node;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::decision::Decisions;
use crate::flat::FlatSet;
use crate::names::{ObjectName, ServiceKey};
use crate::objects::{Node, Service};
use crate::route::{RouteAttributes, host_route};
use crate::settings::SpeakerSettings;
use crate::world::{Touched, World};

use aggregate::{Aggregates, AnnouncedAggregate};
use bindings::Bindings;
pub use bindings::UNBIND_LINGER;
use draft::Context;
use endpoints::EndpointCounts;
use facts::{held_addresses, obstacle};
use gate::{Gates, HealthCheck, Proof};
use margins::Margins;
use returning::Returning;
use service_plan::{NodeVerdicts, ServicePlan};
use standing::Softening;
use wanted::Wanted;
use whole_node::{NodeDrain, WholeNode};

/// Services decided in one slice: with a slow plugin (2 ms a decision) a slice stays near the tenth of a second in
/// which a withdrawal has to be out.
const SLICE: usize = 128;

/// Between a policy's wish to withdraw and the decision that counts, so that skewed views cannot empty a Service.
pub const SETTLE: Duration = Duration::from_secs(2);

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
    /// Addresses that one more Service serves from this node now, or one fewer: where Services share an address, its routes
    /// may be the same as before.
    pub served: BTreeSet<IpAddr>,
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
    node: WholeNode,
    bind_by_default: bool,
    /// Whether kube-proxy of this node is asked before a Service of `externalTrafficPolicy: Local` is announced.
    ask_proxy: bool,
    /// Whether a Service's status has to list an address before it is announced.
    await_publication: bool,
    /// Everything that was there at the start has been planned.
    planned_once: bool,
    gates: Gates,
    returning: Returning,
    margins: Margins,
    /// The most nodes that a policy must leave, as of the plan made last.
    least_eligible: u32,
    /// Services with suspects among their endpoints.
    doubted: BTreeSet<ServiceKey>,
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
    aggregates: Aggregates,
    wanted: Wanted,
    bindings: Bindings,
    bound: BTreeSet<IpAddr>,
}

impl Announcer {
    /// A planner for `node`. `bind_by_default`: see [`SpeakerSettings::of`].
    pub fn new(node: ObjectName, bind_by_default: bool) -> Self {
        Self {
            node: WholeNode::new(node),
            bind_by_default,
            ask_proxy: false,
            await_publication: false,
            planned_once: false,
            gates: Gates::default(),
            returning: Returning::default(),
            margins: Margins::default(),
            least_eligible: 1,
            doubted: BTreeSet::new(),
            unchecked: BTreeSet::new(),
            urgent: BTreeSet::new(),
            later: BTreeSet::new(),
            plans: BTreeMap::new(),
            last_verdicts: NodeVerdicts::default(),
            deadlines: BTreeSet::new(),
            by_address: BTreeMap::new(),
            aggregates: Aggregates::default(),
            wanted: Wanted::default(),
            bindings: Bindings::default(),
            bound: BTreeSet::new(),
        }
    }

    /// Asks this node's kube-proxy, by the health check node port of each Service of `externalTrafficPolicy: Local`,
    /// before the node begins to announce it.
    #[must_use]
    pub fn asking_proxy(mut self) -> Self {
        self.ask_proxy = true;
        self
    }

    /// Begins to announce an address only once the Service's status has listed it for [`publication::PUBLICATION_SETTLE`];
    /// what it lists when the first plan is made counts at once.
    #[must_use]
    pub fn awaiting_publication(mut self) -> Self {
        self.await_publication = true;
        self
    }

    /// Queues what `touched` names.
    pub fn note(&mut self, world: &World, touched: &Touched) {
        // Facts can only forbid what is planned; what is not comes into a plan with the facts of then.
        let planned = touched.services.iter().filter(|key| self.plans.contains_key(*key));
        self.unchecked.extend(planned.cloned());
        self.urgent.extend(touched.services.iter().cloned());
        // Whoever keeps an address whose claim was lost is no holder of the claim that comes.
        for key in touched.claims.iter().filter_map(|address| self.by_address.get(address)).flatten() {
            self.unchecked.insert(key.clone());
            self.urgent.insert(key.clone());
        }
        if touched.peers {
            self.returning.follow(world);
        }
        if touched.every_service {
            self.unchecked.extend(self.plans.keys().cloned());
            self.re_evaluate(world);
        } else if !touched.announcers.is_empty() {
            if world.advertisements().values().any(|advertisement| advertisement.max_nodes.is_some()) {
                self.re_evaluate(world);
            }
            self.note_announcers(world, &touched.announcers);
        }
    }

    /// Queues the Services to which it may matter that these nodes can announce now, or no more.
    fn note_announcers(&mut self, world: &World, nodes: &BTreeSet<ObjectName>) {
        let ceased = nodes.iter().filter(|node| !world.announcers().contains(node)).count();
        self.later.extend(self.margins.cease(ceased, self.least_eligible).cloned());
        self.note_doubted();
    }

    /// Queues the Services with suspects: what of these counts depends on other nodes, and on time.
    fn note_doubted(&mut self) {
        self.unchecked.extend(self.doubted.iter().cloned());
        self.urgent.extend(self.doubted.iter().cloned());
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

    /// The health check node ports that are to answer before their Services are announced from here.
    pub fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        self.gates.waiting()
    }

    /// Takes over what came of a check. A check that nothing waits for any more changes nothing.
    pub fn take_proof(&mut self, check: &HealthCheck, proof: Proof) {
        if self.gates.open(check, proof) {
            self.urgent.insert(check.service.clone());
        }
    }

    /// Services that are announced although their health check node port did not answer in time.
    pub fn unproven(&self) -> impl Iterator<Item = &ServiceKey> {
        self.gates.unproven()
    }

    /// Drains every Service of the node, until [`Announcer::resume`] names the same reason.
    pub fn drain(&mut self, world: &World, drain: NodeDrain) {
        if self.node.drain(drain) {
            self.re_evaluate(world);
        }
    }

    /// Ends a drain; where no other stands, the node announces again.
    pub fn resume(&mut self, world: &World, drain: NodeDrain) {
        if self.node.resume(drain) {
            self.re_evaluate(world);
        }
    }

    /// Why the node drains, or has drained, as a whole.
    pub fn draining(&self) -> Option<NodeDrain> {
        self.node.draining()
    }

    /// When [`Announcer::plan`] has to be called without any event.
    pub fn deadline(&self) -> Option<Instant> {
        let plans = self.deadlines.first().map(|(at, _)| *at);
        plans.into_iter().chain(self.bindings.deadline()).chain(self.returning.deadline()).min()
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

    /// Addresses in `prefix` that a Service has a plan for, lowest first.
    pub fn addresses_in(&self, prefix: IpNet) -> impl Iterator<Item = IpAddr> {
        self.by_address.range(prefix.network()..=prefix.broadcast()).map(|(address, _)| *address)
    }

    /// What each peer is to hear.
    pub fn wanted(&self) -> &BTreeMap<ObjectName, BTreeMap<IpNet, Arc<RouteAttributes>>> {
        self.wanted.by_peer()
    }

    /// True where routers may send what is for `address` here, because an announced aggregate contains it.
    pub fn in_aggregate(&self, address: IpAddr) -> bool {
        self.aggregates.cover(address)
    }

    /// The aggregate `prefix` as `peer` is to hear it; `None` where it is none, or not announced.
    pub fn aggregate(&self, peer: &str, prefix: IpNet) -> Option<AnnouncedAggregate<'_>> {
        self.aggregates.get(peer, prefix)
    }

    /// The endpoints of a Service as this node counts them: by the World, and by what it announced while nodes come back.
    pub fn endpoints(&self, world: &World, service: &Service) -> EndpointCounts {
        let before = self.plans.get(&service.key).filter(|plan| plan.uid == service.uid);
        let kept = before.map(|plan| (self.node.name(), &plan.doubt));
        EndpointCounts::of(world, service, &self.returning, kept)
    }

    /// Plans one slice.
    pub fn plan(&mut self, now: Instant, world: &World, decisions: &mut dyn Decisions) -> Changes {
        let mut changes = Changes::default();
        self.node.follow(world);
        let own_node = self.node.node().cloned();
        let settings = own_node.as_ref().map(|node| SpeakerSettings::of(world, node, self.bind_by_default));
        self.least_eligible = decisions.least_eligible();
        self.expire(now);
        self.withdraw_what_facts_forbid(world, own_node.as_deref(), &mut changes, now);

        let slice = self.next_slice();
        changes.planned = slice.len();
        self.follow_gates(world, &slice, own_node.as_deref());
        let softening = Softening {
            settle: SETTLE,
            drain_wait: settings.as_ref().map_or(SpeakerSettings::DRAIN_WAIT, |settings| settings.drain_wait),
        };
        let context =
            Context { now, world, own_node: own_node.as_ref(), settings: settings.as_ref(), softening };
        for (key, plan) in self.decide(&context, slice, decisions) {
            if plan.is_none() {
                self.gates.remove(&key);
            }
            self.replace(key, plan, &mut changes, now);
        }
        self.aggregates.settle(&mut self.wanted, &mut changes);
        while let Some(address) = self.bindings.expire(now) {
            changes.unbind.insert(address);
        }
        changes.more = self.has_work();
        self.planned_once |= !changes.more;
        changes.routes.sort_by_key(|change| change.attributes.is_some());
        changes
    }

    /// Queues the Services whose standing has to be decided again.
    fn expire(&mut self, now: Instant) {
        if self.returning.pass(now) {
            self.note_doubted();
        }
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
                None => {
                    kept.withdraw_all("the Service is gone");
                    self.gates.remove(&key);
                }
                Some(service) => {
                    let held = held_addresses(world, service);
                    let endpoints = self.endpoints(world, service);
                    kept.doubt = endpoints.doubt(self.node.name());
                    if self.ask_proxy {
                        self.gates.follow(service, &endpoints, own_node);
                    }
                    kept.withdraw(|address| {
                        let kept = || self.kept_until(world, service, plan, address, now).is_some();
                        if held.contains(&address) || kept() {
                            obstacle(world, service, &endpoints, own_node, address)
                                .map(facts::Obstacle::message)
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

    /// Brings the gates of a slice's Services to what facts say.
    fn follow_gates(&mut self, world: &World, slice: &[ServiceKey], own_node: Option<&Node>) {
        if !self.ask_proxy {
            return;
        }
        for service in slice.iter().filter_map(|key| world.services().get(key)) {
            if Gates::concern(service) && world.claims_of(&service.uid).next().is_some() {
                let endpoints = self.endpoints(world, service);
                self.gates.follow(service, &endpoints, own_node);
            } else {
                self.gates.remove(&service.key);
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
            self.aggregates.remove(before);
            addresses.extend(before.addresses.keys());
            if let Some(at) = before.deadline() {
                self.deadlines.remove(&(at, key.clone()));
            }
            if let Some(margin) = before.margin {
                self.margins.remove(margin, &key);
            }
            self.doubted.remove(&key);
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
            self.aggregates.add(&plan);
            addresses.extend(plan.addresses.keys());
            if let Some(at) = plan.deadline() {
                self.deadlines.insert((at, key.clone()));
            }
            if let Some(margin) = plan.margin {
                self.margins.insert(margin, key.clone());
            }
            if plan.doubt.any {
                self.doubted.insert(key.clone());
            }
            for address in plan.addresses.keys() {
                self.by_address.entry(*address).or_default().insert(key.clone());
            }
            self.plans.insert(key.clone(), plan);
        }
        let after = self.plans.get(&key);
        for address in addresses.iter().copied() {
            let serves = |plan: Option<&Box<ServicePlan>>| plan.is_some_and(|plan| plan.serves(address));
            if serves(before.as_ref()) != serves(after) {
                changes.served.insert(address);
            }
        }
        for address in addresses {
            self.refresh_routes(address, changes);
            self.refresh_binding(address, changes, now);
        }
    }

    /// Brings the wanted host routes of one address up to date. Where Services share it, the first by key that announces
    /// it to a peer gives the attributes.
    fn refresh_routes(&mut self, address: IpAddr, changes: &mut Changes) {
        let prefix = host_route(address);
        let mut effective: BTreeMap<ObjectName, Arc<RouteAttributes>> = BTreeMap::new();
        for key in self.by_address.get(&address).into_iter().flatten() {
            let Some(plan) = self.plans.get(key) else { continue };
            for (peer, attributes) in plan.host_routes(address) {
                effective.entry(peer.clone()).or_insert_with(|| attributes.clone());
            }
        }
        for peer in self.wanted.peers_of(prefix) {
            if !effective.contains_key(&peer) {
                self.wanted.set(&peer, prefix, None, changes);
            }
        }
        for (peer, attributes) in effective {
            self.wanted.set(&peer, prefix, Some(attributes), changes);
        }
    }

    fn refresh_binding(&mut self, address: IpAddr, changes: &mut Changes, now: Instant) {
        let mut plans =
            self.by_address.get(&address).into_iter().flatten().filter_map(|key| self.plans.get(key));
        if plans.any(|plan| plan.addresses.get(&address).is_some_and(|plan| plan.bind)) {
            if self.bindings.need(address) {
                changes.bind.insert(address);
            }
        } else {
            self.bindings.release(address, now);
        }
    }

    /// Addresses that are to be bound, those that linger included.
    pub fn bindings(&self) -> BTreeSet<IpAddr> {
        self.bindings.addresses().collect()
    }
}

#[cfg(test)]
mod tests;
