//! The planner: the one owner of the World, the ledger, the policies and what is known of the objects that are written.
//!
//! It is fed by [`Input`]s and asked for [`Order`]s; it knows no socket and reads no clock. A standby follows everything
//! and decides nothing. A leader waits until everything has been listed and every policy is in force or has failed; then
//! it plans claims (Services that hold addresses first, then those whose claims were lost, then new ones by age), and
//! compares what each object's status says with what it should say. At most [`IN_FLIGHT`] orders are out at a time; what
//! each came to returns as [`Input::Finished`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use bellhop_api::{AddressPoolStatus, Condition};
use bellhop_core::decision::FamilyUsage;
use bellhop_core::names::Uid;
use bellhop_core::{ObjectName, ObjectRef, Problem, ServiceKey, Touched, World};
use bellhop_ipam::{Ledger, Mode};
use bellhop_kubernetes::{Batch, Event, WriteError};
use bellhop_runtime::journal::{Finder, Journal};
use bellhop_runtime::loader::{Job, Loaded};
use bellhop_runtime::policies::Policies;
use tokio::sync::mpsc;

use crate::announcements::Announcements;
use crate::book::{Backoff, Book};
use crate::claims::{Claims, Finished, Holders};
use crate::conditions::{Told, timestamp};
use crate::peer_troubles::PeerTroubles;
use crate::sessions::{PeerSessions, Sessions};
use crate::silent::SilentNodes;
use crate::waiting::Waiting;
use crate::write::{Answer, Write};

mod advertisements;
mod measure;
mod objects;
mod observe;
mod peers;
mod policies;
mod services;
mod speaker_configs;
#[cfg(test)]
mod tests;

/// Writes under way at a time. One waits some 5 ms for etcd, so that this is what an API server can take from one client
/// before it answers more slowly, and few enough that a stop has to wait for little.
pub const IN_FLIGHT: usize = 32;

/// How long a start waits for policies before it allocates without them: a compile child has 20 s, and a few may come in
/// a row.
const POLICIES_TIMEOUT: Duration = Duration::from_secs(60);

/// How often announcements are compared with what Services' conditions say, at most.
const ANNOUNCED_INTERVAL: Duration = Duration::from_secs(2);

/// What reaches the planner.
#[derive(Debug)]
pub enum Input {
    /// Objects changed.
    Batch(Batch),
    /// An order was carried out, or not.
    Finished(u64, Result<Answer, WriteError>),
    /// A version of a policy was loaded, or refused.
    Loaded(Box<Loaded>),
    /// Whether this process leads.
    Leading(bool),
}

/// A write to be carried out.
#[derive(Clone, PartialEq, Debug)]
pub struct Order {
    /// Names it in [`Input::Finished`].
    pub id: u64,
    /// The write.
    pub write: Write,
}

/// How far a start is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Objects have not been listed whole yet.
    Reading,
    /// The versions of policies that are in force are being loaded.
    LoadingPolicies,
    /// Everything that is needed for decisions is there.
    Ready,
}

/// What an order is about.
#[derive(Clone, PartialEq, Debug)]
enum Target {
    Claim(IpAddr),
    Service(ServiceKey, services::Sent),
    Object(ObjectRef, objects::Sent),
    Copy(ObjectName, ObjectName),
    OldCopy(ObjectName),
    MembershipKey,
    SilentNodes,
}

/// What of a Service's status matters.
#[derive(Clone, PartialEq, Debug)]
struct ServiceSeen {
    ingress: Vec<IpAddr>,
    conditions: Vec<Condition>,
}

/// The planner's state.
pub struct Planner {
    leading: bool,
    phase: Phase,
    phase_since: Option<Instant>,
    /// When this process came to lead with everything listed.
    leading_since: Option<Instant>,
    world: World,
    /// The policies as [`Policies`] follows them: at a start the versions that were in force.
    policy_world: World,
    ledger: Ledger,
    policies: Policies,
    journal: Journal,
    unplanned: Touched,
    policies_changed: bool,
    replan: bool,
    /// Writes that are not looked for in any queue.
    urgent: Vec<(Target, Write)>,
    pools: BTreeMap<ObjectName, Vec<FamilyUsage>>,
    pool_problems: BTreeMap<ObjectRef, Vec<Problem>>,
    claims: Claims,
    services: Book<ServiceKey, ServiceSeen>,
    objects: Book<ObjectRef, objects::Seen>,
    announcements: Announcements,
    /// What is said of each Service's announcement, as of the last comparison.
    announced: BTreeMap<ServiceKey, Told>,
    announced_due: Option<Instant>,
    /// When Services that nothing was said of yet were first seen with an address.
    expected: BTreeMap<ServiceKey, Instant>,
    waiting: Waiting,
    sessions: Sessions,
    /// What they say of the peers' passwords.
    peer_troubles: PeerTroubles,
    /// The sessions of each peer, as they were counted last.
    peer_sessions: BTreeMap<ObjectName, PeerSessions>,
    sessions_due: Option<Instant>,
    /// A peer or a node changed, and with it who should hold a session.
    recount: bool,
    silent: SilentNodes,
    config_maps: BTreeSet<ObjectName>,
    copies: BTreeMap<ObjectName, policies::Copying>,
    old_copies: Vec<(ObjectName, ObjectName)>,
    /// What was written of each pool's status, and when.
    written_pools: BTreeMap<ObjectName, (AddressPoolStatus, Instant)>,
    membership_key: Option<Backoff>,
    in_flight: BTreeMap<u64, Target>,
    next_order: u64,
    now_text: String,
    events: Vec<Event>,
}

impl Planner {
    /// A standby that knows nothing yet; modules are loaded by `loader`.
    pub fn new(loader: mpsc::Sender<Job>) -> Self {
        Self {
            leading: false,
            phase: Phase::Reading,
            phase_since: None,
            leading_since: None,
            world: World::default(),
            policy_world: World::default(),
            ledger: Ledger::new().one_per_family(),
            policies: Policies::new(loader),
            journal: Journal::default(),
            unplanned: Touched::default(),
            policies_changed: false,
            replan: false,
            urgent: Vec::new(),
            pools: BTreeMap::new(),
            pool_problems: BTreeMap::new(),
            claims: Claims::default(),
            services: Book::default(),
            objects: Book::default(),
            announcements: Announcements::default(),
            announced: BTreeMap::new(),
            announced_due: None,
            expected: BTreeMap::new(),
            waiting: Waiting::default(),
            sessions: Sessions::default(),
            peer_troubles: PeerTroubles::default(),
            peer_sessions: BTreeMap::new(),
            sessions_due: None,
            recount: false,
            silent: SilentNodes::default(),
            config_maps: BTreeSet::new(),
            copies: BTreeMap::new(),
            old_copies: Vec::new(),
            written_pools: BTreeMap::new(),
            membership_key: Some(Backoff::default()),
            in_flight: BTreeMap::new(),
            next_order: 0,
            now_text: String::new(),
            events: Vec::new(),
        }
    }

    /// How far the start is; readiness is everything beyond [`Phase::Reading`].
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The World as this process means it to be.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Usage of each pool in force.
    pub fn pools(&self) -> &BTreeMap<ObjectName, Vec<FamilyUsage>> {
        &self.pools
    }

    /// Orders that are out.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Events since the last call, each for a transition.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How long each Service had waited that was given an address since the last call: from when it was seen without one
    /// until its status was written.
    pub fn take_waits(&mut self) -> Vec<Duration> {
        self.waiting.take()
    }

    /// Takes over what happened; plans nothing yet.
    pub fn take(&mut self, now: Instant, input: Input) {
        match input {
            Input::Batch(batch) => self.take_batch(now, batch),
            Input::Finished(id, result) => self.take_finished(now, id, result),
            Input::Loaded(loaded) => {
                if self.policies.take_loaded(now, *loaded) {
                    self.re_evaluate();
                } else {
                    // A refusal changes nothing but what is told of it.
                    self.mark_policies();
                }
            }
            Input::Leading(leading) => self.lead(leading),
        }
    }

    fn lead(&mut self, leading: bool) {
        if self.leading == leading {
            return;
        }
        self.leading = leading;
        self.leading_since = None;
        if leading {
            self.unplanned.merge(Touched::everything());
            self.services.mark_all();
            self.objects.mark_all();
            self.membership_key = Some(Backoff::default());
            self.silent.forget();
        } else {
            for delta in self.claims.withdraw() {
                self.apply(delta);
            }
        }
    }

    /// What waits for an address is decided again, as the policies in force changed.
    fn re_evaluate(&mut self) {
        self.unplanned.merge(Touched { policies: true, ..Touched::default() });
        self.mark_policies();
    }

    fn take_finished(&mut self, now: Instant, id: u64, result: Result<Answer, WriteError>) {
        let Some(target) = self.in_flight.remove(&id) else { return };
        if let Err(error) = &result {
            self.log_failure(&target, error);
        }
        match target {
            Target::Claim(address) => self.finished_claim(now, address, &result),
            Target::Service(key, sent) => self.finished_service(now, &key, sent, result),
            Target::Object(object, sent) => self.finished_object(now, &object, sent, result),
            Target::Copy(policy, copy) => self.finished_copy(now, &policy, copy, &result),
            Target::OldCopy(name) => {
                if result.is_ok() {
                    self.config_maps.remove(&name);
                }
            }
            Target::SilentNodes => self.silent.finished(now, &result),
            Target::MembershipKey => {
                self.membership_key = match &result {
                    Ok(_) | Err(WriteError::Exists { .. }) => None,
                    Err(error) => {
                        let mut backoff = self.membership_key.unwrap_or_default();
                        backoff.failed(now, error);
                        Some(backoff)
                    }
                }
            }
        }
    }

    fn log_failure(&mut self, target: &Target, error: &WriteError) {
        match error {
            // Met every day where several write; what comes of it is decided from what is read.
            WriteError::Conflict { .. } | WriteError::Exists { .. } | WriteError::NotLeader { .. } => {
                tracing::debug!(%error, ?target, "not written");
            }
            error => tracing::warn!(category = error.category(), "{error}"),
        }
    }

    fn finished_claim(&mut self, now: Instant, address: IpAddr, result: &Result<Answer, WriteError>) {
        let before = self.claims.holders(address);
        if let Ok(Answer::HolderLives(service)) = result {
            tracing::warn!(%address, %service, "claim kept: its holder needs it, though the watch does not show it");
        }
        match self.claims.finished(now, address, result) {
            Finished::Confirmed => self.note_confirmed(address, &before),
            Finished::Otherwise(delta, avoid) => {
                self.apply(delta);
                if let Some(address) = avoid {
                    self.ledger.avoid(address);
                }
            }
            Finished::Read(write) => self.urgent.push((Target::Claim(address), write)),
            Finished::Retried => {}
        }
        // What waited for this one is proposed again.
        self.replan = true;
        let holders = self.claims.holders(address).into_iter().chain(before);
        let planned = self.world.claims().get(&address).map(|claim| claim.holders.clone());
        let planned = planned.into_iter().flatten().map(|holder| holder.service);
        for service in holders.chain(planned).collect::<BTreeSet<_>>() {
            self.services.mark(&service);
        }
    }

    fn note_confirmed(&mut self, address: IpAddr, before: &[ServiceKey]) {
        let after = self.claims.holders(address);
        let shown = after.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if after.is_empty() {
            tracing::info!(%address, "claim released");
            for service in before {
                self.event_of_service(service, services::RELEASED, format!("{address} is free again"));
            }
        } else {
            tracing::info!(%address, holders = shown, "claim written");
        }
    }

    /// Plans what is due, and hands out orders.
    pub fn step(&mut self, now: Instant, wall: SystemTime) -> Vec<Order> {
        self.now_text = timestamp(wall);
        if self.policies.deadline().is_some_and(|due| due <= now) {
            self.policies.tick(now);
            self.mark_policies();
        }
        self.advance(now);
        if self.phase == Phase::Ready && std::mem::take(&mut self.policies_changed) {
            self.follow_policies(now);
        }
        self.policies.log_events();
        if !self.leading || self.phase != Phase::Ready {
            return Vec::new();
        }
        if self.leading_since.is_none() {
            self.leading_since = Some(now);
            self.compare_announcements(now);
            self.sessions_due = None;
            self.count_sessions(now);
        }
        self.plan_claims(now);
        if std::mem::take(&mut self.recount) {
            self.count_sessions(now);
        }
        if self.sessions_due.is_some_and(|due| due <= now) {
            self.counted_sessions();
        }
        if self.announced_due.is_some_and(|due| due <= now) {
            if self.claims.has_creations() {
                // Whoever waits for an address comes first; what is announced is told once nobody does.
                self.announced_due = Some(now + ANNOUNCED_INTERVAL);
            } else {
                self.announced_due = None;
                self.compare_announced(now);
            }
        }
        let mut orders = Vec::new();
        while self.in_flight.len() < IN_FLIGHT {
            let Some((target, write)) = self.next_write(now) else { break };
            let id = self.next_order;
            self.next_order += 1;
            self.in_flight.insert(id, target);
            orders.push(Order { id, write });
        }
        orders
    }

    fn advance(&mut self, now: Instant) {
        let since = *self.phase_since.get_or_insert(now);
        match self.phase {
            Phase::Reading if self.world.synced() => {
                self.phase = Phase::LoadingPolicies;
                self.follow_active_policies(now);
            }
            Phase::LoadingPolicies if self.policies.settled() || now >= since + POLICIES_TIMEOUT => {
                self.phase = Phase::Ready;
                self.follow_specs(now);
            }
            _ => return,
        }
        tracing::info!(phase = ?self.phase, "phase");
        self.phase_since = Some(now);
        if self.phase == Phase::LoadingPolicies {
            self.advance(now);
        }
    }

    fn plan_claims(&mut self, now: Instant) {
        let due = self.replan
            || self.unplanned.addresses
            || self.unplanned.every_service
            || self.unplanned.peers
            || !self.unplanned.services.is_empty()
            || !self.unplanned.claims.is_empty()
            || self.unplanned.policies
            || self.unplanned.synced;
        if !due {
            return;
        }
        self.replan = false;
        let touched = std::mem::take(&mut self.unplanned);
        self.tell_previous(&touched);
        let plan = self.ledger.plan(&self.world, &touched, Mode::Allocate, self.policies.decisions(now));
        self.journal.all(Finder::Pools, &plan.problems);
        for (service, allocation) in &plan.outcomes {
            let problems: Vec<Problem> =
                allocation.waiting.as_deref().into_iter().chain(&allocation.warnings).cloned().collect();
            self.journal.object(Finder::Allocation, &ObjectRef::namespaced("Service", service), &problems);
            self.services.mark(service);
        }
        for service in &plan.gone {
            self.journal.forget(Finder::Allocation, ObjectRef::namespaced("Service", service));
            self.services.mark(service);
        }
        self.take_pools(plan.pools, plan.problems);
        for change in plan.changes {
            if let Some(delta) = self.claims.propose(now, change) {
                self.apply(delta);
            }
        }
    }

    /// Tells the ledger of addresses that a status of ours lists though no claim gives them to the Service, and which of
    /// several of a family it lists.
    fn tell_previous(&mut self, touched: &Touched) {
        let keys: Vec<ServiceKey> = if touched.synced {
            self.services.iter().map(|(key, _)| key.clone()).collect()
        } else {
            touched.services.iter().cloned().collect()
        };
        for key in keys {
            let Some(known) = self.services.of(&key) else { continue };
            let lost: Vec<IpAddr> = if services::is_ours(&known.seen.conditions) {
                let held = |address: &IpAddr| {
                    let claim = self.world.claims().get(address);
                    claim.is_some_and(|claim| claim.holders.iter().any(|holder| holder.uid == known.uid))
                };
                let several = self.world.claims_of(&known.uid).nth(1).is_some();
                known.seen.ingress.iter().filter(|a| several || !held(a)).copied().collect()
            } else {
                Vec::new()
            };
            self.ledger.set_previous(&key, &known.uid, &lost);
        }
    }

    /// The next write: what Services wait for first.
    fn next_write(&mut self, now: Instant) -> Option<(Target, Write)> {
        if let Some(urgent) = self.urgent.pop() {
            return Some(urgent);
        }
        if let Some((key, sent, write)) = self.next_service(now) {
            return Some((Target::Service(key, sent), write));
        }
        for creations in [true, false] {
            let holders = Known { services: &self.services, world: &self.world };
            if let Some((address, write)) = self.claims.next(now, creations, &holders) {
                return Some((Target::Claim(address), write));
            }
        }
        if let Some(copy) = self.next_copy(now) {
            return Some(copy);
        }
        if let Some((object, sent, write)) = self.next_object(now) {
            return Some((Target::Object(object, sent), write));
        }
        if self.leases_known().is_some_and(|known| known <= now)
            && let Some(nodes) = self.silent.next(now, &self.world)
        {
            return Some((Target::SilentNodes, Write::SilentNodes(nodes)));
        }
        let key = self.membership_key.as_ref()?;
        let free = key.until(now).is_none() && !self.in_flight.values().any(|t| *t == Target::MembershipKey);
        free.then_some((Target::MembershipKey, Write::CreateMembershipKey))
    }

    /// When [`Planner::step`] is due without any input.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let loading = (self.phase == Phase::LoadingPolicies).then_some(self.phase_since).flatten();
        let mut deadlines = vec![self.policies.deadline(), loading.map(|since| since + POLICIES_TIMEOUT)];
        if self.leading && self.phase == Phase::Ready {
            deadlines.extend([self.claims.deadline(), self.services.deadline(), self.objects.deadline()]);
            deadlines.extend([self.announced_due, self.sessions_due, self.copies_deadline()]);
            let silent = self.silent.deadline().into_iter().chain(self.leases_known());
            deadlines.push(silent.max().filter(|due| now < *due));
            deadlines.push(self.membership_key.as_ref().and_then(|backoff| backoff.until(now)));
        }
        deadlines.into_iter().flatten().min()
    }
}

/// What is known of the holders of claims.
struct Known<'a> {
    services: &'a Book<ServiceKey, ServiceSeen>,
    world: &'a World,
}

impl Holders for Known<'_> {
    fn exists(&self, service: &ServiceKey, uid: &Uid) -> bool {
        let seen = self.services.of(service).is_some_and(|known| known.uid == *uid);
        seen || self.world.services().get(service).is_some_and(|service| service.uid == *uid)
    }

    fn lists(&self, service: &ServiceKey, address: IpAddr) -> bool {
        self.services.of(service).is_some_and(|known| {
            services::is_ours(&known.seen.conditions) && known.seen.ingress.contains(&address)
        })
    }
}
