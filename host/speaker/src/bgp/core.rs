//! The core task: owns every machine, takes commands and reports, carries out what the machines ask for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bellhop_bgp::{ConnectionId, DownReason, Event, Input, Output, StopReason};
use bellhop_core::peer::Neighbour;
use bellhop_core::{ObjectName, RouteAttributes};
use bellhop_net::tcp::{self, Md5Drops};
use bellhop_runtime::http::Heartbeat;
use bytes::BytesMut;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{self, CHUNK, FAREWELL, Farewell, Key, Report};
use super::listener::Listeners;
use super::log::{self, log};
use super::paths::{self, Watching};
use super::ranges::{self, Admission, LINGER, Range};
use super::redirect::Redirection;
use super::session::Session;
use super::snapshot::{BgpSnapshot, unix_milliseconds};
use super::transport::{password_hint, prepare};
use super::unnumbered::Discovery;
use super::{BgpConfig, Command, REPORTS, RouteChange, SessionName, ShutdownMode};
use crate::bfd::Paths;

mod configure;

/// Between attempts to open listeners that failed.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// What the handle may look at beside the task. The lock is held for one event or one look, never over an await.
#[derive(Default)]
pub(super) struct Shared {
    sessions: BTreeMap<SessionName, Session>,
    /// Peers of which sessions begin when a neighbour connects.
    ranges: BTreeMap<ObjectName, Range>,
}

impl Shared {
    pub(super) fn routes_sent(&self, session: &SessionName) -> BTreeMap<IpNet, Arc<RouteAttributes>> {
        self.sessions
            .get(session)
            .map(|session| session.machine.routes_sent().into_iter().collect())
            .unwrap_or_default()
    }
}

/// The state of the task.
pub(super) struct Core {
    shared: Arc<Mutex<Shared>>,
    publisher: watch::Sender<Arc<BgpSnapshot>>,
    /// Where its turns are shown to probes.
    heartbeat: Option<Heartbeat>,
    reports: mpsc::Sender<Report>,
    inbox: Option<mpsc::Receiver<Report>>,
    tasks: JoinSet<()>,
    listeners: Listeners,
    listen_retry: Option<Instant>,
    watching: Watching,
    redirection: Redirection,
    discovery: Discovery,
    lives: u64,
    names: HashMap<u64, SessionName>,
    /// What was configured last.
    config: Option<BgpConfig>,
    ready: bool,
    seeds: RandomState,
    /// What was dropped because of passwords, as of the last look.
    drops: Md5Drops,
}

impl Core {
    pub(super) fn new(
        shared: Arc<Mutex<Shared>>,
        publisher: watch::Sender<Arc<BgpSnapshot>>,
        heartbeat: Option<Heartbeat>,
        bfd: Option<Heartbeat>,
    ) -> Self {
        let (reports, inbox) = mpsc::channel(REPORTS);
        Self {
            shared,
            publisher,
            heartbeat,
            reports,
            inbox: Some(inbox),
            tasks: JoinSet::new(),
            listeners: Listeners::default(),
            listen_retry: None,
            watching: Watching::new(bfd),
            redirection: Redirection::default(),
            discovery: Discovery::default(),
            lives: 0,
            names: HashMap::new(),
            config: None,
            ready: false,
            seeds: RandomState::new(),
            drops: tcp::md5_drops().unwrap_or_default(),
        }
    }

    /// Runs until shut down, or until no handle is left.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        // Taken once, here.
        let Some(mut reports) = self.inbox.take() else { return };
        let mut done = None;
        let mut paths = None;
        while done.is_none() {
            paths = paths.or_else(|| self.watching.subscribe());
            let deadline = self.with_shared(|core, shared| core.deadline(shared));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown(mode, reply)) => {
                        self.with_shared(|core, shared| core.stop_all(shared, &mode));
                        done = Some(Some(reply));
                    }
                    Some(command) => self.with_shared(|core, shared| core.command(shared, command)),
                    None => {
                        self.with_shared(|core, shared| core.stop_all(shared, &ShutdownMode::Silent));
                        done = Some(None);
                    }
                },
                Some(report) = reports.recv() => self.with_shared(|core, shared| core.report(shared, report)),
                paths = paths::changed(&mut paths) => {
                    self.with_shared(|core, shared| core.follow_paths(shared, &paths));
                }
                () = sleep_until(deadline) => self.with_shared(Self::tick),
            }
            self.reap();
            self.publish();
        }
        self.show_turn(Heartbeat::retire);
        self.listeners = Listeners::default();
        // Reports are no longer read: a task that wants to send one must not wait for ever.
        drop(reports);
        let tasks = &mut self.tasks;
        let _ =
            tokio::time::timeout(2 * FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
        if let Some(Some(reply)) = done {
            // The caller may have gone.
            let _ = reply.send(());
        }
    }

    fn with_shared<T>(&mut self, act: impl FnOnce(&mut Self, &mut Shared) -> T) -> T {
        self.show_turn(|heartbeat| heartbeat.begin(Instant::now()));
        let shared = self.shared.clone();
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(self, &mut shared);
        self.show_turn(Heartbeat::wait);
        result
    }

    /// A seed of a random process for one use.
    fn seed(&self, of: u64) -> u64 {
        self.seeds.hash_one(of)
    }

    fn show_turn(&self, show: impl FnOnce(&Heartbeat)) {
        self.heartbeat.as_ref().map(show);
    }

    fn reap(&mut self) {
        while let Some(result) = self.tasks.try_join_next() {
            if let Err(error) = result
                && error.is_panic()
            {
                tracing::error!(%error, "a BGP connection task panicked");
            }
        }
    }

    fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let sessions = shared.sessions.values();
        sessions
            .flat_map(|session| [session.machine.deadline(), session.connect_early_at, session.forgotten_at])
            .chain([self.listen_retry])
            .flatten()
            .min()
    }

    fn command(&mut self, shared: &mut Shared, command: Command) {
        match command {
            Command::Configure(config, reply) => {
                let problems = self.configure(shared, config);
                // The caller may have gone.
                let _ = reply.send(problems);
            }
            Command::Routes(changes) => self.routes(shared, changes),
            Command::Ready => {
                self.ready = true;
                for session in shared.sessions.values_mut() {
                    session.connect_early_at = None;
                    self.feed(session, Input::Ready);
                    self.pump(session);
                }
            }
            // Handled where the loop ends.
            Command::Shutdown(..) => {}
        }
    }

    fn routes(&mut self, shared: &mut Shared, changes: Vec<RouteChange>) {
        let mut touched = BTreeSet::new();
        for change in changes {
            if let Some(range) = shared.ranges.get_mut(&change.peer) {
                range.note(&change);
                let sessions = shared.sessions.values_mut().filter(|session| *session.peer() == change.peer);
                for session in sessions {
                    let RouteChange { prefix, attributes, .. } = change.clone();
                    self.feed(session, Input::Set { prefix, attributes });
                    touched.insert(session.name.clone());
                }
                continue;
            }
            let RouteChange { peer, prefix, attributes } = change;
            let Some(session) = shared.sessions.get_mut(&peer) else {
                tracing::debug!(%peer, %prefix, "a route for a peer that is not configured");
                continue;
            };
            self.feed(session, Input::Set { prefix, attributes });
            touched.insert(peer);
        }
        for name in touched {
            if let Some(session) = shared.sessions.get_mut(&name) {
                self.pump(session);
            }
        }
    }

    fn report(&mut self, shared: &mut Shared, report: Report) {
        let key = match &report {
            Report::Accepted(..) => {
                if let Report::Accepted(stream, remote) = report {
                    self.accepted(shared, stream, remote);
                }
                return;
            }
            Report::Heard(interface, router) => return self.heard(shared, interface, *router),
            Report::Redirected(error) => return self.redirection.note(error.clone()),
            Report::Connected(key, _)
            | Report::Received(key, _)
            | Report::Drained(key)
            | Report::Closed(key)
            | Report::Failed(key, _) => *key,
        };
        let Some(name) = self.names.get(&key.peer) else { return };
        let Some(session) = shared.sessions.get_mut(name) else { return };
        let id = key.connection;
        match report {
            Report::Connected(_, local) => {
                if let Some(link) = session.links.get_mut(&id) {
                    link.open = true;
                }
                self.feed(session, opened(id, local.ip()));
            }
            Report::Received(_, data) => self.feed(session, Input::Received { id, data: &data }),
            Report::Closed(_) => self.feed(session, Input::Closed { id }),
            Report::Failed(_, error) => self.feed(session, Input::Failed { id, error: &error }),
            Report::Drained(_) | Report::Accepted(..) | Report::Heard(..) | Report::Redirected(_) => {}
        }
        self.pump(session);
        if session.links.is_empty() {
            self.forget(shared, Instant::now());
        }
    }

    fn accepted(&mut self, shared: &mut Shared, stream: TcpStream, remote: SocketAddr) {
        let known = shared.sessions.values().find(|session| session.is_from(remote));
        let name = known.map(|session| session.name.clone()).or_else(|| self.begin(shared, remote.ip()));
        let Some(session) = name.and_then(|name| shared.sessions.get_mut(&name)) else {
            tracing::info!(%remote, "a BGP connection from no peer is closed");
            return;
        };
        // Before the peer is ready a NOTIFICATION would end a graceful restart: reset instead. So is whoever cannot be
        // told from a stranger, while the password is not known.
        let refused = session.is_held() || session.is_crowded();
        let id = if refused { None } else { session.machine.accept() };
        let Some(id) = id else {
            if let Err(error) = tcp::reset_on_close(&stream) {
                tracing::debug!(%error, "resetting a connection");
            }
            return;
        };
        let prepared = prepare(&stream, &session.config).and_then(|()| stream.local_addr());
        let local = match prepared {
            Ok(local) => local,
            Err(error) => {
                let error = error.to_string();
                self.feed(session, Input::Failed { id, error: &error });
                return;
            }
        };
        let key = Key { peer: session.life, connection: id };
        let (link, ends) = connection::link(key, self.reports.clone(), true, session.presence.clone());
        session.links.insert(id, link);
        self.tasks.spawn(connection::carry(stream, ends));
        self.feed(session, opened(id, local.ip()));
        self.pump(session);
    }

    /// The session of a neighbour that connects and has none, where it is of a range that has room.
    fn begin(&mut self, shared: &mut Shared, neighbour: IpAddr) -> Option<SessionName> {
        let (peer, instead_of) = match ranges::admit(&shared.ranges, &shared.sessions, neighbour) {
            Admission::Admitted { peer, instead_of } => (peer, instead_of),
            Admission::Full(peer, most) => {
                tracing::warn!(%peer, %neighbour, most, "a neighbour is refused: its range has spec.peerRange.maxSessions sessions");
                return None;
            }
            Admission::Unknown => return None,
        };
        if let Some(idle) = instead_of.and_then(|name| shared.sessions.remove(&name)) {
            self.names.remove(&idle.life);
        }
        let range = shared.ranges.get(&peer)?;
        let config = self.config.clone()?;
        let name = ranges::session_name(&peer, neighbour);
        // The machine's configuration was checked when the range was configured.
        let mut session = self.open(name.clone(), &config, &range.config, Some(neighbour)).ok()?;
        self.want(&mut session, &range.wanted);
        tracing::info!(%peer, %neighbour, "a neighbour of the range connects");
        shared.sessions.insert(name.clone(), session);
        self.rewatch(shared);
        Some(name)
    }

    /// Sessions of ranges whose connections ended a while ago are forgotten.
    fn forget(&mut self, shared: &mut Shared, now: Instant) {
        for session in shared.sessions.values_mut() {
            let idle = shared.ranges.contains_key(session.peer()) && session.links.is_empty();
            session.forgotten_at = idle.then(|| session.forgotten_at.unwrap_or(now + LINGER));
        }
        let before = shared.sessions.len();
        shared.sessions.retain(|_, session| session.forgotten_at.is_none_or(|at| at > now));
        if shared.sessions.len() < before {
            self.names.retain(|_, name| shared.sessions.contains_key(name));
            self.rewatch(shared);
        }
    }

    /// A router is heard on an interface. While the session with another one is up, that one counts.
    fn heard(&mut self, shared: &mut Shared, interface: &Arc<str>, router: IpAddr) {
        self.discovery.note(interface, router);
        let on_it = |session: &&mut Session| matches!(&session.config.neighbour, Neighbour::Interface(name) if name == interface);
        for session in shared.sessions.values_mut().filter(on_it) {
            if session.remote == Some(router) || session.is_established() {
                continue;
            }
            tracing::info!(session = %session.name, %router, %interface, "the router is heard");
            if session.remote.replace(router).is_some() {
                self.feed(session, Input::Stop(StopReason::ConfigurationChange));
            }
            if !session.is_held() {
                self.feed(session, Input::Start);
            }
        }
        self.rewatch(shared);
    }

    /// Lets BFD watch the paths of the sessions that there are.
    fn rewatch(&mut self, shared: &Shared) {
        self.watching.configure(shared.sessions.values(), self.seeds.hash_one("bfd"));
    }

    /// BFD says something new of paths.
    fn follow_paths(&mut self, shared: &mut Shared, paths: &Paths) {
        for session in shared.sessions.values_mut() {
            let now = paths.get(&session.name).cloned();
            let inputs = paths::inputs(session.path.as_ref(), now.as_ref());
            session.path = now;
            for input in inputs {
                self.feed(session, input);
            }
            self.pump(session);
        }
    }

    fn tick(&mut self, shared: &mut Shared) {
        let now = Instant::now();
        for session in shared.sessions.values_mut() {
            if session.connect_early_at.is_some_and(|at| at <= now) {
                session.connect_early_at = None;
                tracing::warn!(peer = %session.name, "connecting before the announcements are complete: half of the restart time is over");
                self.feed(session, Input::ConnectEarly);
            }
            if session.machine.deadline().is_some_and(|at| at <= now) {
                self.feed(session, Input::Tick);
            }
            self.pump(session);
        }
        self.forget(shared, now);
        if self.listen_retry.is_some_and(|at| at <= now) {
            self.listeners.retry(&self.reports);
            self.plan_listen_retry();
        }
    }

    fn plan_listen_retry(&mut self) {
        self.listen_retry = (!self.listeners.errors().is_empty()).then(|| Instant::now() + LISTEN_RETRY);
    }

    fn stop_all(&mut self, shared: &mut Shared, mode: &ShutdownMode) {
        for session in shared.sessions.values_mut() {
            let reason = match mode {
                ShutdownMode::Silent => StopReason::Silent,
                ShutdownMode::Graceful { text } => {
                    StopReason::Shutdown(session.config.shutdown_text.as_deref().unwrap_or(text).to_owned())
                }
            };
            // What was withdrawn just before must reach the neighbour before the connection ends.
            self.pump(session);
            self.feed(session, Input::Stop(reason));
        }
    }

    fn feed(&mut self, session: &mut Session, input: Input<'_>) {
        let mut outputs = Vec::new();
        session.machine.handle(Instant::now(), input, &mut outputs);
        self.carry_out(session, outputs);
    }

    fn carry_out(&mut self, session: &mut Session, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Dial { id } => {
                    // A machine without the neighbour's address was not started.
                    let Some((remote, options)) = session.dial() else { continue };
                    let key = Key { peer: session.life, connection: id };
                    let (link, ends) =
                        connection::link(key, self.reports.clone(), false, session.presence.clone());
                    session.links.insert(id, link);
                    self.tasks.spawn(connection::dial(remote, options, ends));
                }
                Output::Close { id, farewell, reset } => {
                    if session.config.log_messages {
                        log::sent(&session.name, &farewell);
                    }
                    if let Some(link) = session.links.remove(&id) {
                        link.close.send_replace(Some(Farewell { message: farewell, reset }));
                    }
                }
                Output::Event(event) => {
                    match &event {
                        Event::Established(_) => {
                            session.established_since = Some(unix_milliseconds());
                            session.updates_before = session.machine.counters().updates_sent;
                        }
                        Event::Down(_) => session.established_since = None,
                        Event::AttemptFailed(DownReason::Timeout(_)) => self.look_for_drops(session),
                        _ => {}
                    }
                    log(&session.name, &event);
                }
            }
        }
    }

    /// Looks whether the kernel dropped something because of passwords since the last look.
    fn look_for_drops(&mut self, session: &mut Session) {
        if session.config.authentication.password().is_some() {
            let now = tcp::md5_drops().unwrap_or_default();
            session.hint = Some(password_hint(std::mem::replace(&mut self.drops, now), now));
        }
    }

    /// Hands over what there is to send, as far as the connections have room.
    fn pump(&mut self, session: &mut Session) {
        for (id, link) in session.links.iter().filter(|(_, link)| link.open) {
            while let Ok(permit) = link.chunks.try_reserve() {
                let mut buf = BytesMut::new();
                if session.machine.transmit(Instant::now(), *id, &mut buf, CHUNK - bellhop_bgp::MAX_MESSAGE)
                    == 0
                {
                    break;
                }
                if session.config.log_messages {
                    log::sent(&session.name, &buf);
                }
                permit.send(buf.freeze());
            }
        }
    }

    fn publish(&mut self) {
        let mut errors = self.listeners.errors().to_vec();
        errors.extend(self.redirection.error().map(str::to_owned));
        let peers = self.with_shared(|_, shared| {
            shared.sessions.iter().map(|(name, session)| (name.clone(), session.show())).collect()
        });
        let next = BgpSnapshot { peers, ready: self.ready, listen_errors: errors };
        self.publisher.send_if_modified(|current| {
            let changed = **current != next;
            if changed {
                *current = Arc::new(next);
            }
            changed
        });
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn opened(id: ConnectionId, local: IpAddr) -> Input<'static> {
    let other_family = tcp::other_family_address(local).unwrap_or_else(|error| {
        tracing::warn!(%local, %error, "cannot look up the addresses of the session's interface");
        None
    });
    Input::Opened { id, local, other_family }
}
