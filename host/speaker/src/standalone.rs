//! `bellhop standalone`: both roles in one process, fed by a watched folder; no API server.
//!
//! ```text
//! manifests, <state>/claims ─► ManifestSource ─┐
//! <state>/lock ─► lock keeper ─────────────────┤                     ┌─► BGP task
//! tools ─► socket ─────────────────────────────┼─► Event ─► planning ┼─► binder (lo), filter (nf_tables)
//! loader (compiler child), claim writer ───────┘        (one thread) └─► loader, claim writer
//! SIGTERM, SIGINT, scrapes ────────────────────┘
//! ```
//!
//! Everything reaches the planning thread by one bounded channel of depth `EVENTS`; nothing else owns decisions.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bellhop_core::ObjectName;
use bellhop_index::{Folder, ManifestSource};
use bellhop_runtime::forward::forward;
use bellhop_runtime::http::{self, Endpoints, Health};
use bellhop_runtime::loader;
use bellhop_runtime::metrics::{Form, Metrics};
use bellhop_runtime::signals::StopSignals;
use tokio::sync::{mpsc, oneshot};

use crate::bgp::BgpHandle;
use crate::claims::{ClaimFiles, WriterLock};
use crate::generation::RestartMark;
use crate::planning::{Allocation, Event, Planning, Signals};
use crate::{binder, claim_writer, filter, planning, readiness, socket};

/// Events on their way to the planning thread. Each is a batch, so few are enough; a full channel slows the sources
/// down and loses nothing.
const EVENTS: usize = 64;

/// Readings of the folders on their way; one at a time keeps memory flat while a large folder is taken in.
const READINGS: usize = 1;

/// How often a process that stands by looks whether the state directory's lock has become free. The kernel frees it
/// with its holder, so this bounds how long nobody allocates.
const LOCK_RETRY: Duration = Duration::from_secs(1);

/// The BGP task's turns take microseconds, and milliseconds where ten thousand routes change.
const BGP_TURN: Duration = Duration::from_secs(30);

/// The longest that what was read of the folders may wait for the planner, which takes it in between slices of a tenth of a second.
const SOURCE_TURN: Duration = Duration::from_secs(60);

/// How a standalone process is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of manifests.
    pub manifests: PathBuf,
    /// State directory: claims, the lock, restart marks. May be shared by the processes of several nodes.
    pub state: PathBuf,
    /// Name of this node, as its Node object has it.
    pub node: ObjectName,
    /// Allocate addresses for Services that ask for none by name.
    pub allocate: bool,
    /// Where tools ask.
    pub socket: PathBuf,
    /// Where metrics and probes are answered, if anywhere.
    pub listen: Option<SocketAddr>,
    /// The compiler of plugins.
    pub compiler: PathBuf,
    /// The namespace whose ConfigMaps may carry plugins.
    pub namespace: String,
    /// On SIGTERM leave the routes standing for the next process (upgrade) in place of withdrawing them.
    pub keep_routes_on_stop: bool,
}

/// Runs until a signal asks to stop.
///
/// # Errors
/// When the state directory, the socket or the watch cannot be set up.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let state = &options.state;
    std::fs::create_dir_all(state)
        .with_context(|| format!("cannot make the state directory {}", state.display()))?;
    let claims = ClaimFiles::folder(state);
    std::fs::create_dir_all(&claims)
        .with_context(|| format!("cannot make the folder {}", claims.display()))?;
    let mark = RestartMark::new(state, &options.node)
        .with_context(|| format!("cannot read or make the restart mark in {}", state.display()))?;
    let listener = socket::listen(&options.socket)
        .with_context(|| format!("cannot listen for tools on {}", options.socket.display()))?;

    let (events, inbox) = mpsc::channel(EVENTS);
    let (deltas, readings) = mpsc::channel(READINGS);
    let folders = vec![Folder::manifests(&options.manifests), Folder::own(claims)];
    // Nothing else on a plain host would serve a Service without a class.
    let source = ManifestSource::watch(
        folders,
        bellhop_index::Options { namespace: options.namespace.as_str().into(), classless: true },
        deltas,
    )
    .with_context(|| format!("cannot watch {}", options.manifests.display()))?;
    let (metrics, health) = (Arc::new(Metrics::new(Form::Standalone)), Health::new(Instant::now()));
    tokio::spawn(forward(readings, events.clone(), health.task("source", SOURCE_TURN), Event::Deltas));
    health.spawn("claims", keep_lock(state.clone(), events.clone()));
    health.spawn("tools", socket::serve(listener, events.clone()));
    let stops = StopSignals::listen().context("cannot listen for SIGTERM and SIGINT")?;
    health.spawn("signals", stop_on_signal(stops, events.clone(), options.keep_routes_on_stop));

    let bgp = BgpHandle::start_watched(health.task("bgp", BGP_TURN), health.task("bfd", BGP_TURN));
    let announced = health.condition("announced", "nothing has been announced yet");
    health.spawn("readiness", readiness::follow(bgp.subscribe(), announced));
    health.spawn("sessions", readiness::tell_sessions(bgp.subscribe(), events.clone()));
    let signals = Signals::new(metrics.clone()).with_health(&health);
    if let Some(address) = options.listen {
        let listener = http::listen(address).await?;
        tracing::info!(address = %listener.local_addr()?, "answers /metrics, /livez and /readyz");
        let events = events.clone();
        let endpoints = Endpoints::new(metrics, health.clone()).measured_by(move || measure(events.clone()));
        tokio::spawn(http::serve(listener, endpoints));
    }
    let planning = Planning::new(
        planning::Options {
            node: options.node.clone(),
            allocation: Allocation::Own { allocate: options.allocate },
            bind_by_default: true,
        },
        mark,
        bgp,
        binder::start(events.clone(), &health).context("cannot open a netlink socket")?,
        filter::start(options.node.clone(), events.clone(), &health),
        loader::start(options.compiler.clone(), events, health.sentinel("loader")),
    )
    .with_signals(signals);
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new()
        .name("planning".into())
        .spawn(move || runtime.block_on(planning.run(inbox)))
        .context("cannot start the planning thread")?;
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the planning thread panicked; see the log above"))?;
    drop(source);
    match std::fs::remove_file(&options.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Has the planner write what it owns into the metrics.
pub(crate) async fn measure(events: mpsc::Sender<Event>) {
    let (done, measured) = oneshot::channel();
    if events.send(Event::Measure(done)).await.is_ok() {
        // Without an answer the values before are shown.
        let _ = measured.await;
    }
}

/// Takes the lock of the state directory when it becomes free, and holds it for the life of the process.
async fn keep_lock(state: PathBuf, events: mpsc::Sender<Event>) {
    loop {
        match writer(&state) {
            Ok(Some(store)) => {
                let writer = claim_writer::start(store, events.clone());
                let _ = events.send(Event::Writer(writer)).await;
                return;
            }
            Ok(None) => {}
            Err(error) => tracing::error!("cannot write claims: {error:#}"),
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

/// The claims for writing, where no other process has them.
fn writer(state: &Path) -> anyhow::Result<Option<ClaimFiles>> {
    let Some(lock) = WriterLock::try_acquire(state)? else { return Ok(None) };
    Ok(Some(ClaimFiles::open(lock)?))
}

async fn stop_on_signal(mut stops: StopSignals, events: mpsc::Sender<Event>, keep_routes: bool) {
    loop {
        stops.next().await;
        if events.send(Event::Stop { keep_routes }).await.is_err() {
            return;
        }
    }
}
