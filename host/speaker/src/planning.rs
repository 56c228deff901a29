//! The planning thread: the one owner of the World, the ledger, the policies and the plans.
//!
//! It takes events, brings the World up to date, and plans in slices: after each slice it looks at the inbox again,
//! so that a withdrawal never waits for a re-evaluation. What it decides goes out over bounded channels to the BGP
//! task, the binder, the packet filter, the claim writer and the loader; what they did comes back as events.
//!
//! A start goes through the phases of [`Phase`]: nothing is decided before the manifests have been read whole, nothing
//! is announced before every policy is active or has failed, and no peer is dialled before the first announcement is
//! complete and its addresses are bound.

mod allocator;
mod answers;
mod data_path;
mod event;
mod filtering;
mod grace;
mod measure;
mod outbox;
mod peers;
mod start;
mod stop;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bellhop_core::announce::{Announcer, Changes};
use bellhop_core::announcers::OwnSpeaker;
use bellhop_core::report::Phase;
use bellhop_core::settings::SpeakerSettings;
use bellhop_core::{Delta, ObjectRef, Problem, Touched, World};
use bellhop_net::addresses::LIFETIME;
use bellhop_net::nftables::FilterTable;
use bellhop_runtime::journal::{Finder, Journal};
use bellhop_runtime::loader::Job;
use bellhop_runtime::policies::Policies;
use tokio::sync::{mpsc, watch};

use crate::bgp::BgpHandle;
use crate::binder::Wanted;
use crate::claim_writer::Written;
use crate::generation::RestartMark;
use allocator::Allocator;
use data_path::Cluster;
pub use data_path::ClusterNeighbours;
pub use event::{Allocation, Event, Options};
use filtering::Filtering;
pub use measure::Signals;
use outbox::Outbox;
use stop::Stopping;

/// Events taken in before the next slice of planning: enough to fold a burst, few enough to stay prompt.
const BURST: usize = 16;

/// The planning thread's state.
pub struct Planning {
    options: Options,
    phase: Phase,
    phase_since: Instant,
    world: World,
    /// In standalone form.
    allocator: Option<Allocator>,
    /// In a cluster.
    cluster: Option<Cluster>,
    announcer: Announcer,
    outbox: Outbox,
    policies: Policies,
    mark: RestartMark,
    restarted: bool,
    bgp: BgpHandle,
    binder: watch::Sender<Option<Wanted>>,
    filtering: Filtering,
    bound: BTreeSet<IpAddr>,
    peer_problems: Vec<Problem>,
    journal: Journal,
    peers_changed: bool,
    policies_changed: bool,
    stopping: Option<Stopping>,
    grace_period: Option<Duration>,
    /// What was told last of a grace period that is too short.
    grace_told: Option<Problem>,
    lifetime: Duration,
    signals: Signals,
}

impl Planning {
    /// A planner with its neighbours.
    pub fn new(
        options: Options,
        mark: RestartMark,
        bgp: BgpHandle,
        binder: watch::Sender<Option<Wanted>>,
        filter: watch::Sender<Option<FilterTable>>,
        loader: mpsc::Sender<Job>,
    ) -> Self {
        let allocator = match options.allocation {
            Allocation::Own { allocate } => Some(Allocator::new(allocate)),
            Allocation::Controller => None,
        };
        Self {
            announcer: Announcer::new(options.node.clone(), options.bind_by_default),
            options,
            outbox: Outbox::default(),
            phase: Phase::Reading,
            phase_since: Instant::now(),
            world: World::default(),
            allocator,
            cluster: None,
            policies: Policies::new(loader),
            restarted: mark.stands(),
            mark,
            bgp,
            binder,
            filtering: Filtering::new(filter),
            bound: BTreeSet::new(),
            peer_problems: Vec::new(),
            journal: Journal::default(),
            peers_changed: false,
            policies_changed: false,
            stopping: None,
            grace_period: None,
            grace_told: None,
            lifetime: LIFETIME,
            signals: Signals::unseen(),
        }
    }

    /// The same, showing itself by `signals`.
    #[must_use]
    pub fn with_signals(self, signals: Signals) -> Self {
        Self { signals, ..self }
    }

    /// The same, for a speaker of a cluster.
    #[must_use]
    pub fn in_cluster(mut self, neighbours: ClusterNeighbours) -> Self {
        self.cluster = Some(Cluster::new(neighbours, self.restarted));
        self.announcer = self.announcer.asking_proxy().awaiting_publication();
        self
    }

    /// Runs until an [`Event::Stop`] has been carried out.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        // Without anybody left to tell it anything it would turn for ever.
        let orphaned = |inbox: &mpsc::Receiver<Event>| inbox.is_closed() && inbox.is_empty();
        while !(self.stopped(Instant::now()) || orphaned(&inbox)) {
            self.signals.wait();
            // What waits for the World or for the policies must not keep this thread awake: their compiler needs the CPU.
            let mut next = if self.announcer.has_work() && self.plans() {
                inbox.try_recv().ok()
            } else {
                self.next_event(&mut inbox).await
            };
            self.signals.turn();
            for _ in 0..BURST {
                let Some(event) = next else { break };
                self.take(event);
                next = inbox.try_recv().ok();
            }
            if let Some(event) = next {
                self.take(event);
            }
            let start = Instant::now();
            self.step(start).await;
            self.signals.slice(start, self.announcer.has_work());
        }
        self.end(inbox).await;
    }

    /// The next event, or `None` when a deadline has come first.
    async fn next_event(&self, inbox: &mut mpsc::Receiver<Event>) -> Option<Event> {
        let deadline = self
            .announcer
            .deadline()
            .into_iter()
            .chain(self.policies.deadline())
            .chain(self.filtering.deadline())
            .chain(self.phase_deadline())
            .chain(self.stopping.and_then(Stopping::deadline))
            .chain(self.allocator.as_ref().and_then(Allocator::deadline))
            .min();
        match deadline {
            Some(at) => tokio::time::timeout_at(at.into(), inbox.recv()).await.ok().flatten(),
            None => inbox.recv().await,
        }
    }

    /// Takes over one event; plans nothing yet.
    fn take(&mut self, event: Event) {
        if !matches!(event, Event::Measure(_) | Event::Ask(..)) {
            self.signals.event();
        }
        match event {
            Event::Measure(done) => {
                self.measure(Instant::now());
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Event::Deltas(deltas) => {
                for delta in deltas {
                    self.apply(delta);
                }
            }
            Event::Bound(bound) => {
                self.bound.clone_from(&bound);
                self.announcer.set_bound(bound);
            }
            Event::Filtered(report) => {
                self.journal.all(Finder::DataPath, &report.problems);
                self.filtering.set_report(report);
            }
            Event::Written(written) => self.take_written(written),
            Event::Loaded(loaded) => {
                if self.policies.take_loaded(Instant::now(), *loaded) {
                    self.re_evaluate();
                }
            }
            Event::Writer(writer) => {
                tracing::info!(node = %self.options.node, "holds the lock of the state directory: writes claims from now on");
                if let Some(allocator) = &mut self.allocator {
                    allocator.set_writer(writer);
                }
            }
            Event::Ask(question, reply) => {
                let _ = reply.send(self.answer(question));
            }
            Event::Checked(answers) => {
                for (check, proof) in answers {
                    self.announcer.take_proof(&check, proof);
                }
            }
            Event::HasSession(has_session) => self.apply_own(has_session),
            Event::Proxy(health) => self.take_proxy_health(health),
            Event::Report(reply) => {
                let _ = reply.send(self.report());
            }
            Event::Stop { keep_routes } => self.stop(keep_routes, Instant::now()),
        }
    }

    fn apply(&mut self, delta: Delta) {
        if let Delta::Problems(object, problems) = &delta {
            self.journal.object(Finder::Manifests, object, problems);
        }
        let touched = self.world.apply(delta);
        if touched.is_empty() {
            return;
        }
        self.peers_changed |= touched.peers;
        self.policies_changed |= touched.policies;
        if self.phase != Phase::Reading {
            self.announcer.note(&self.world, &touched);
        }
        self.filtering.note(&touched);
        self.note_allocator(touched);
    }

    /// Takes over what this speaker knows of itself.
    fn apply_own(&mut self, has_session: bool) {
        let node = self.options.node.clone();
        self.apply(Delta::OwnSpeaker(OwnSpeaker { node, has_session }));
    }

    /// Every Service is decided again, as the policies in force changed.
    fn re_evaluate(&mut self) {
        self.announcer.re_evaluate(&self.world);
        self.note_allocator(Touched { policies: true, ..Touched::default() });
    }

    fn note_allocator(&mut self, touched: Touched) {
        if let Some(allocator) = &mut self.allocator {
            allocator.note(touched);
        }
    }

    fn follow_policies(&mut self, now: Instant) {
        if self.policies.follow(now, &self.world) {
            self.re_evaluate();
        }
    }

    fn take_written(&mut self, written: Vec<Written>) {
        let Some(allocator) = &mut self.allocator else { return };
        for delta in allocator.take_written(written, &mut self.journal, &self.signals.metrics) {
            self.apply(delta);
        }
    }

    /// One round of planning.
    async fn step(&mut self, now: Instant) {
        self.policies.tick(now);
        if std::mem::take(&mut self.policies_changed) && self.phase != Phase::Reading {
            self.follow_policies(now);
        }
        self.advance_phase(now).await;
        if !self.plans() {
            return;
        }
        if let Some(allocator) = &mut self.allocator {
            let decisions = self.policies.decisions(now);
            let changes = allocator.plan(now, &self.world, decisions, &mut self.journal);
            allocator.write(changes).await;
        }
        if std::mem::take(&mut self.peers_changed) {
            // Before the routes: what is wanted of a peer that is not configured yet would be dropped.
            self.configure_bgp().await;
        }
        let changes = self.announcer.plan(now, &self.world, self.policies.decisions(now));
        self.policies.log_events();
        self.follow_data_path(now);
        self.note_state(&changes);
        self.carry_out(now, changes).await;
        if self.phase == Phase::Binding {
            self.advance_phase(now).await;
        }
    }

    async fn carry_out(&mut self, now: Instant, changes: Changes) {
        if !changes.bind.is_empty() || !changes.unbind.is_empty() || self.binder.borrow().is_none() {
            let wanted = self.announcer.bindings();
            if !changes.more || self.phase == Phase::Ready {
                self.bind(wanted);
            }
        }
        self.filtering.note_changes(&changes);
        if !changes.more || self.phase == Phase::Ready {
            let node = self.world.nodes().get(&self.options.node).map(|node| &**node);
            self.filtering.update(now, &self.announcer, &self.world, node);
        }
        let routes = self.outbox.pass(now, changes.routes, changes.more);
        if !routes.is_empty() {
            self.bgp.routes(routes).await;
            self.signals.handed_over();
        }
    }

    fn bind(&self, addresses: BTreeSet<IpAddr>) {
        self.binder.send_replace(Some(Wanted { addresses, lifetime: self.lifetime }));
    }

    /// Addresses outlive this process for longer than any peer keeps its routes over a restart.
    fn follow_restart_times(&mut self) {
        let longest =
            self.world.peers().values().filter_map(|peer| peer.graceful_restart).max().unwrap_or_default();
        let lifetime = LIFETIME.max(longest * 3 / 2);
        if lifetime != self.lifetime {
            self.lifetime = lifetime;
            self.binder.send_if_modified(|wanted| {
                wanted
                    .as_mut()
                    .is_some_and(|wanted| std::mem::replace(&mut wanted.lifetime, lifetime) != lifetime)
            });
        }
    }

    async fn configure_bgp(&mut self) {
        self.follow_restart_times();
        let Some(node) = self.world.nodes().get(&self.options.node) else {
            let message =
                "there is no Node of this name, so no peer is dialled; --node is to be the name of a Node";
            let problem = Problem::new(
                ObjectRef::cluster("Node", self.options.node.clone()),
                "NodeMissing",
                "",
                "",
                message,
            );
            self.peer_problems = vec![problem];
            self.journal.all(Finder::Peers, &self.peer_problems);
            return;
        };
        let settings = SpeakerSettings::of(&self.world, node, self.options.bind_by_default);
        self.filtering.set_echo_reply(settings.echo_reply);
        let config = peers::bgp_config(&self.world, node, &settings, self.restarted);
        let refused = self.bgp.configure(config).await;
        self.peer_problems = refused
            .into_iter()
            .map(|(peer, problem)| {
                Problem::new(ObjectRef::cluster("BGPPeer", peer), "InvalidPeer", "", "", problem.to_string())
            })
            .collect();
        self.journal.all(Finder::Peers, &self.peer_problems);
    }
}

#[cfg(test)]
mod tests;
