//! `bellhop controller`: the planner, driven against the API server.
//!
//! ```text
//! source ─Batch──► forward ─┐                      ┌─► tasks (at most IN_FLIGHT), one for each write ─► API server
//! election ─────► follow ───┼─► Event (EVENTS) ─► planning (one thread) ─► Recorder (Events)
//! loader (thread) ──────────┤        ▲             │
//! SIGTERM, SIGINT ──────────┘        └─ Finished ──┘
//! ```
//!
//! A write that is cancelled at a stop may have happened or not; the next leader finds out by reading.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bellhop_kubernetes::{
    Batch, Election, Leadership, Recorder, Role, SourceOptions, WriteError, Writer, connect, start as watch,
};
use bellhop_runtime::forward::forward;
use bellhop_runtime::http::{self, Condition, Endpoints, Health, Heartbeat};
use bellhop_runtime::loader::{self, Loaded};
use bellhop_runtime::metrics::{ClaimWrite, Form, Metrics, Verb, WriteResult};
use bellhop_runtime::signals::StopSignals;
use tokio::sync::{mpsc, oneshot, watch};

use crate::planning::{self, Input, Phase, Planner};
use crate::store::ApiServer;
use crate::write::{Store, Write};

/// Events on their way to the planning thread: answers to all writes under way, and some batches of the source, which
/// waits while this is full.
const EVENTS: usize = 2 * planning::IN_FLIGHT;

/// Batches of the source on their way; one at a time keeps memory flat while everything is listed.
const BATCHES: usize = 1;

/// Events taken in before the next round of planning.
const BURST: usize = 64;

/// The planning thread wakes up at least this often.
const TURN: Duration = Duration::from_secs(5);

/// Longest turn of a planning thread that lives: a full plan of a large cluster takes seconds on a slow machine.
const TURN_MAX: Duration = Duration::from_secs(60);

/// How long a stop waits for writes under way.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// Name of the leaders' Lease.
const LEASE: &str = "bellhop-controller";

/// How a controller is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bellhop's own namespace: Leases, copies of policies, Secrets.
    pub namespace: String,
    /// Unique among the replicas, as the name of the pod.
    pub name: String,
    /// Serve Services without a `loadBalancerClass` too.
    pub classless: bool,
    /// The compiler of plugins.
    pub compiler: PathBuf,
    /// Where probes and metrics are answered.
    pub listen: SocketAddr,
}

/// What reaches the planning thread.
#[derive(Debug)]
enum Event {
    Input(Input),
    /// What the planner owns is to be written into the metrics.
    Measure(oneshot::Sender<()>),
    Stop,
}

impl From<Box<Loaded>> for Event {
    fn from(loaded: Box<Loaded>) -> Self {
        Self::Input(Input::Loaded(loaded))
    }
}

/// Runs until a signal asks to stop. A leader that loses its Lease goes on as a standby.
///
/// # Errors
/// When nothing says where the API server is, or it cannot be listened for probes; not when the API server is away.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let stops = StopSignals::listen().context("cannot listen for SIGTERM and SIGINT")?;
    let probes = http::listen(options.listen).await?;
    let client = connect().await?;
    let health = Health::new(Instant::now());
    let metrics = Arc::new(Metrics::new(Form::Controller));
    let namespace: Arc<str> = options.namespace.as_str().into();
    let election = Election::start(client.clone(), &namespace, LEASE, &options.name);
    let leadership = election.leadership();
    let writer = Writer::new(client.clone(), "bellhop-controller").fenced(leadership.clone());
    let store = Arc::new(ApiServer::new(writer.clone(), namespace.clone()));
    let recorder = Recorder::start(client.clone(), "controller", &options.name);

    let (events, inbox) = mpsc::channel(EVENTS);
    let (batches, readings) = mpsc::channel(BATCHES);
    let index = bellhop_index::Options { namespace: namespace.clone(), classless: options.classless };
    let source = watch(
        client,
        SourceOptions {
            role: Role::Controller,
            index,
            cache: None,
            jitter: Duration::ZERO,
            recoveries: Some(election.recoveries()),
        },
        batches,
    );
    let probes = {
        let (metrics, planner) = (metrics.clone(), events.clone());
        let (counters, reachable) = (source.counters(), source.reachable());
        let endpoints = Endpoints::new(metrics.clone(), health.clone()).measured_by(move || {
            metrics.set_api_server(&writer, &counters, *reachable.borrow());
            measure(planner.clone())
        });
        tokio::spawn(http::serve(probes, endpoints))
    };
    let batch = |batch: Batch| Event::Input(Input::Batch(batch));
    tokio::spawn(forward(readings, events.clone(), health.task("source", TURN_MAX), batch));
    tokio::spawn(follow(leadership, events.clone(), health.sentinel("election")));
    health.spawn("signals", stop_on_signal(stops, events.clone()));
    let planner = Planner::new(loader::start(options.compiler, events.clone(), health.sentinel("loader")));
    let driver = Driver {
        planner,
        store,
        recorder,
        events,
        metrics,
        heartbeat: health.task("planning", TURN_MAX),
        listed: health.condition("caches", "objects have not been listed whole yet"),
    };
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new()
        .name("planning".into())
        .spawn(move || runtime.block_on(driver.run(inbox)))
        .context("cannot start the planning thread")?;
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the planning thread panicked; see the log above"))?;
    drop(source);
    probes.abort();
    election.release().await;
    Ok(())
}

/// Has the planner write what it owns into the metrics.
async fn measure(planner: mpsc::Sender<Event>) {
    let (done, measured) = oneshot::channel();
    if planner.send(Event::Measure(done)).await.is_ok() {
        // Without an answer the values before are shown.
        let _ = measured.await;
    }
}

/// Tells the planner when this process comes to lead, and when it does no more: by word, or because its Lease ran out. An
/// election that ends while the planner lives ended unasked: this process would never lead again, and is not alive any more.
async fn follow(
    mut leadership: watch::Receiver<Leadership>,
    events: mpsc::Sender<Event>,
    heartbeat: Heartbeat,
) {
    let mut told = false;
    loop {
        let now = leadership.borrow_and_update().clone();
        let leads = now.is_leader();
        if leads != told {
            told = leads;
            tracing::info!(leads, "leadership");
            if events.send(Event::Input(Input::Leading(leads))).await.is_err() {
                return heartbeat.retire();
            }
        }
        let changed = leadership.changed();
        let gone = match now {
            Leadership::Leader { until } if leads => {
                tokio::time::timeout_at(until.into(), changed).await.is_ok_and(|changed| changed.is_err())
            }
            _ => changed.await.is_err(),
        };
        if gone {
            break;
        }
    }
    if events.is_closed() {
        return heartbeat.retire();
    }
    tracing::error!("the election has ended unasked, and /livez fails from now on");
    // Whatever comes of it, the Lease is not renewed; where the planner is gone by now, it needs no word.
    let _ = events.send(Event::Input(Input::Leading(false))).await;
}

async fn stop_on_signal(mut stops: StopSignals, events: mpsc::Sender<Event>) {
    stops.next().await;
    let _ = events.send(Event::Stop).await;
}

/// What a write does to a claim, where it is of one.
fn claim_verb(write: &Write) -> Option<Verb> {
    match write {
        Write::CreateClaim(_) => Some(Verb::Create),
        Write::UpdateClaim { .. } => Some(Verb::Update),
        Write::ReleaseClaim { .. } => Some(Verb::Delete),
        _ => None,
    }
}

/// The planning thread.
struct Driver<S> {
    planner: Planner,
    store: Arc<S>,
    recorder: Recorder,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    listed: Condition,
}

impl<S: Store> Driver<S> {
    /// Runs until a stop, and then until the writes under way are done.
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut stop_by: Option<Instant> = None;
        while stop_by.is_none_or(|by| self.planner.in_flight() > 0 && Instant::now() < by) {
            let now = Instant::now();
            let due = self.planner.deadline(now).map_or(now + TURN, |due| due.min(now + TURN));
            let due = stop_by.map_or(due, |by| due.min(by));
            self.heartbeat.wait();
            let mut next = tokio::time::timeout_at(due.into(), inbox.recv()).await.ok().flatten();
            self.heartbeat.begin(Instant::now());
            for _ in 0..BURST {
                let Some(event) = next else { break };
                self.event(event, &mut stop_by);
                next = inbox.try_recv().ok();
            }
            if let Some(event) = next {
                self.event(event, &mut stop_by);
            }
            self.turn();
        }
        self.heartbeat.retire();
    }

    fn event(&mut self, event: Event, stop_by: &mut Option<Instant>) {
        match event {
            Event::Input(input) => self.take(input),
            Event::Measure(done) => {
                self.planner.measure(&self.metrics);
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            Event::Stop => {
                tracing::info!("stopping");
                stop_by.get_or_insert(Instant::now() + STOP_WAIT);
                self.take(Input::Leading(false));
            }
        }
    }

    fn take(&mut self, input: Input) {
        self.planner.take(Instant::now(), input);
    }

    fn turn(&mut self) {
        for order in self.planner.step(Instant::now(), SystemTime::now()) {
            let (store, events, metrics) = (self.store.clone(), self.events.clone(), self.metrics.clone());
            tokio::spawn(async move {
                let verb = claim_verb(&order.write);
                let result = store.execute(order.write).await;
                if let Some(verb) = verb {
                    let result = WriteResult::of(result.as_ref().err().map_or("ok", WriteError::category));
                    metrics.claim_writes.inc(&ClaimWrite { verb, result });
                }
                let _ = events.send(Event::Input(Input::Finished(order.id, result))).await;
            });
        }
        for waited in self.planner.take_waits() {
            self.metrics.allocation_duration.observe(waited);
        }
        for event in self.planner.take_events() {
            self.recorder.record(event);
        }
        if self.planner.phase() != Phase::Reading {
            self.listed.met();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_election_that_ends_while_the_planner_lives_costs_the_leadership_and_the_liveness() {
        let health = Health::new(Instant::now());
        let (election, leadership) = watch::channel(Leadership::Follower { leader: None });
        let (events, mut inbox) = mpsc::channel(1);
        let task = tokio::spawn(follow(leadership, events, health.sentinel("election")));
        election.send_replace(Leadership::Leader { until: Instant::now() + TURN_MAX });
        assert!(matches!(inbox.recv().await, Some(Event::Input(Input::Leading(true)))));
        assert!(health.live(Instant::now()).ok);
        drop(election);
        assert!(matches!(inbox.recv().await, Some(Event::Input(Input::Leading(false)))));
        task.await.unwrap();
        let verdict = health.live(Instant::now());
        assert!(verdict.text.starts_with("[-]election failed: has ended"), "{}", verdict.text);
    }

    #[tokio::test]
    async fn an_election_that_ends_after_the_planner_did_as_it_was_asked() {
        let health = Health::new(Instant::now());
        let (election, leadership) = watch::channel(Leadership::Follower { leader: None });
        let (events, inbox) = mpsc::channel(1);
        drop(inbox);
        drop(election);
        follow(leadership, events, health.sentinel("election")).await;
        assert!(health.live(Instant::now()).ok);
    }
}
