//! `bellhop speaker`: the speaker of one node of a cluster, fed by the API server.
//!
//! ```text
//! API server ─► Source (cache in <state>) ──────┐
//! kube-proxy ─► health checks, proxy health ────┤                     ┌─► BGP task
//! tools ─► socket ──────────────────────────────┼─► Event ─► planning ┼─► binder (lo), filter (nf_tables)
//! loader (compiler child) ──────────────────────┤        (one thread) └─► loader, drivers of kube-proxy's health
//! SpeakerState writer ◄─Report──────────────────┤
//! SIGTERM, SIGINT ─► comes back? ───────────────┘
//! Lease ─► API server; probes and metrics ─► HTTP
//! ```
//!
//! Everything reaches the planning thread by one bounded channel of depth `EVENTS`. It allocates nothing: the controller
//! does. While the API server is away nothing is told, so nothing changes; what was known last is kept in the state
//! directory, so that a speaker that starts meanwhile announces the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bellhop_core::ObjectName;
use bellhop_core::names::NamespacedName;
use bellhop_kubernetes::{Batch, CacheOptions, Role, SourceOptions, SpeakerLease, Writer};
use bellhop_runtime::forward::forward;
use bellhop_runtime::http::{self, Health, Heartbeat};
use bellhop_runtime::loader;
use bellhop_runtime::metrics::{Form, Metrics};
use bellhop_runtime::signals::StopSignals;
use tokio::sync::{Notify, mpsc, watch};

use crate::bgp::BgpHandle;
use crate::comes_back::{Fate, Origin, fate};
use crate::generation::RestartMark;
use crate::planning::{Allocation, ClusterNeighbours, Event, Planning, Signals};
use crate::state::writer::{self, ClusterState};
use crate::{binder, filter, health_checks, planning, proxy_health, readiness, socket, standalone};

/// Events on their way to the planning thread. Each is a batch, so few are enough; a full channel slows the sources
/// down and loses nothing.
const EVENTS: usize = 64;

/// Batches of the source on their way; one at a time keeps memory flat while a large cluster is taken in.
const BATCHES: usize = 1;

/// The first requests of the speakers of a cluster spread over this, so that a thousand of them, restarted together, do not
/// list at once. Well below what a source waits before it goes by what it kept: the API server must have had its time.
const START_JITTER: Duration = Duration::from_secs(2);

/// The longest that the BGP task may be at one turn, which takes microseconds, and that a batch of the source may wait for
/// the planner, which takes events in between slices of a tenth of a second. A restart helps neither before.
const TURN: Duration = Duration::from_secs(60);

/// The name under which fields are owned in the API server.
const FIELD_MANAGER: &str = "bellhop-speaker";

/// How a speaker is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this node, as its Node object has it.
    pub node: ObjectName,
    /// Bellhop's own namespace.
    pub namespace: String,
    /// The DaemonSet that this speaker's pod comes from.
    pub daemon_set: String,
    /// Serve Services without a class too.
    pub classless: bool,
    /// A folder of the node: restart marks, the objects known last.
    pub state: PathBuf,
    /// Where tools ask. In a folder that every boot of the node finds empty: it tells a restart from a reboot too.
    pub socket: PathBuf,
    /// The compiler of plugins.
    pub compiler: PathBuf,
    /// Where probes and metrics are answered.
    pub listen: SocketAddr,
    /// Where the host's `/run` can be seen, if it can: a shutdown of the host shows there first.
    pub host_run: Option<PathBuf>,
    /// How long after SIGTERM the pod gets SIGKILL (`terminationGracePeriodSeconds`), where that is known.
    pub grace_period: Option<Duration>,
}

/// Runs until a signal asks to stop.
///
/// # Errors
/// When the state directory, a socket or the client of the API server cannot be set up; not when the API server is away.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let state = &options.state;
    std::fs::create_dir_all(state)
        .with_context(|| format!("cannot make the state directory {}", state.display()))?;
    let run = options.socket.parent().unwrap_or(Path::new("/"));
    let mark =
        RestartMark::new(state, &options.node).and_then(|mark| mark.within(run)).with_context(|| {
            format!("cannot read or make the restart mark in {} and {}", state.display(), run.display())
        })?;
    let tools = socket::listen(&options.socket)
        .with_context(|| format!("cannot listen for tools on {}", options.socket.display()))?;
    let probes = http::listen(options.listen).await?;
    let client = bellhop_kubernetes::connect().await?;

    let health = Health::new(Instant::now());
    let metrics = Arc::new(Metrics::new(Form::Speaker));
    let signals = Signals::new(metrics.clone()).with_health(&health);
    let (events, inbox) = mpsc::channel(EVENTS);
    let (batches, seen) = mpsc::channel(BATCHES);
    let lease = SpeakerLease::start(client.clone(), &options.namespace, &options.node, &options.node);
    let watched = source_options(&options, &mark, lease.recoveries());
    let source = bellhop_kubernetes::start(client.clone(), watched, batches);
    let writer = Writer::new(client.clone(), FIELD_MANAGER);
    let probes = {
        let (address, planner) = (probes.local_addr()?, events.clone());
        tracing::info!(%address, "answers /metrics, /livez and /readyz");
        let (writer, counters, reachable) = (writer.clone(), source.counters(), source.reachable());
        let endpoints = http::Endpoints::new(metrics.clone(), health.clone());
        tokio::spawn(http::serve(
            probes,
            endpoints.measured_by(move || {
                metrics.set_api_server(&writer, &counters, *reachable.borrow());
                standalone::measure(planner.clone())
            }),
        ))
    };
    let deltas = |batch: Batch| Event::Deltas(batch.deltas);
    tokio::spawn(forward(seen, events.clone(), health.task("source", TURN), deltas));
    tokio::spawn(watch_lease(lease.renewed(), events.clone(), health.sentinel("lease")));
    health.spawn("tools", socket::serve(tools, events.clone()));

    let bgp = BgpHandle::start_watched(health.task("bgp", TURN), health.task("bfd", TURN));
    let changed = Arc::new(Notify::new());
    let state = ClusterState::new(writer.clone(), options.node.clone());
    health.spawn("state", writer::run(state, events.clone(), changed.clone(), bgp.subscribe()));
    let stops = StopSignals::listen().context("cannot listen for SIGTERM and SIGINT")?;
    let stopping = health.spawn("signals", stop_on_signal(stops, events.clone(), writer, options.origin()));
    let announced = health.condition("announced", "nothing has been announced yet");
    health.spawn("readiness", readiness::follow(bgp.subscribe(), announced));
    health.spawn("sessions", readiness::tell_sessions(bgp.subscribe(), events.clone()));
    let planning = planner(&options, mark, bgp, events, changed, &health)?.with_signals(signals);
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new()
        .name("planning".into())
        .spawn(move || runtime.block_on(planning.run(inbox)))
        .context("cannot start the planning thread")?;
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the planning thread panicked; see the log above"))?;

    probes.abort();
    drop(source);
    let left = stopping.is_finished() && matches!(stopping.await, Ok(Fate::Leaves(_)));
    if left {
        // Others need not wait until it runs out. A speaker that comes back is not missed for so short a time.
        lease.release().await;
    }
    remove(&options.socket)
}

impl Options {
    fn origin(&self) -> Origin {
        Origin {
            node: self.node.clone(),
            daemon_set: NamespacedName::new(self.namespace.as_str(), self.daemon_set.as_str()),
            host_run: self.host_run.clone(),
        }
    }
}

fn source_options(options: &Options, mark: &RestartMark, recoveries: watch::Receiver<u64>) -> SourceOptions {
    SourceOptions {
        role: Role::Speaker,
        index: bellhop_index::Options {
            namespace: options.namespace.as_str().into(),
            classless: options.classless,
        },
        cache: Some(CacheOptions { folder: options.state.join("cache"), boot_id: mark.boot_id().into() }),
        jitter: START_JITTER,
        recoveries: Some(recoveries),
    }
}

fn planner(
    options: &Options,
    mark: RestartMark,
    bgp: BgpHandle,
    events: mpsc::Sender<Event>,
    state_changed: Arc<Notify>,
    health: &Health,
) -> anyhow::Result<Planning> {
    let neighbours = ClusterNeighbours {
        health_checks: health_checks::start(events.clone(), health),
        proxy_health: proxy_health::start(events.clone(), health),
        state_changed,
    };
    let planning = Planning::new(
        planning::Options {
            node: options.node.clone(),
            allocation: Allocation::Controller,
            bind_by_default: false,
        },
        mark,
        bgp,
        binder::start(events.clone(), health).context("cannot open a netlink socket")?,
        filter::start(options.node.clone(), events.clone(), health),
        loader::start(options.compiler.clone(), events, health.sentinel("loader")),
    );
    Ok(planning.in_cluster(neighbours).with_grace_period(options.grace_period))
}

/// Waits for the task that renews the Lease to end, which it does with the planner only: others would take a speaker without a
/// Lease for one that is gone.
async fn watch_lease(
    mut renewed: watch::Receiver<Option<Instant>>,
    events: mpsc::Sender<Event>,
    heartbeat: Heartbeat,
) {
    loop {
        tokio::select! {
            () = events.closed() => return heartbeat.retire(),
            changed = renewed.changed() => if changed.is_err() { break },
        }
    }
    if events.is_closed() {
        heartbeat.retire();
    } else {
        tracing::error!("the Lease of this speaker is not renewed any more, and /livez fails from now on");
    }
}

/// Waits for signals: the first asks what becomes of this speaker and stops accordingly, each further one stops at once.
async fn stop_on_signal(
    mut stops: StopSignals,
    events: mpsc::Sender<Event>,
    writer: Writer,
    origin: Origin,
) -> Fate {
    stops.next().await;
    let fate = fate(&writer, &origin).await;
    match &fate {
        Fate::ComesBack => tracing::info!("this speaker comes back on this node"),
        Fate::Leaves(reason) => tracing::info!(reason, "this speaker does not come back on this node"),
        Fate::Unknown(reason) => {
            tracing::warn!(reason, "cannot tell whether this speaker comes back on this node");
        }
    }
    let keep_routes = fate.keeps_routes();
    while events.send(Event::Stop { keep_routes }).await.is_ok() {
        tokio::select! {
            () = events.closed() => break,
            () = stops.next() => {}
        }
    }
    fate
}

fn remove(socket: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_that_nobody_renews_any_more_costs_the_liveness_unless_the_planner_is_gone() {
        for (planner_lives, alive) in [(true, false), (false, true)] {
            let health = Health::new(Instant::now());
            let (renewals, renewed) = watch::channel(None);
            let (events, inbox) = mpsc::channel(1);
            let inbox = planner_lives.then_some(inbox);
            renewals.send_replace(Some(Instant::now()));
            drop(renewals);
            watch_lease(renewed, events, health.sentinel("lease")).await;
            let verdict = health.live(Instant::now());
            assert_eq!(verdict.ok, alive, "{}", verdict.text);
            drop(inbox);
        }
    }
}
