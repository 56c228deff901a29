//! The core task: owns every machine, takes commands and reports, carries out what the machines ask for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bellhop_bgp::{
    BfdUse, ConnectionId, DownReason, Event, Input, NextHops, Output, Peer, State, StopReason,
};
use bellhop_core::{ObjectName, RouteAttributes};
use bellhop_net::tcp::{self, DialOptions, Md5Drops};
use bellhop_runtime::http::Heartbeat;
use bytes::BytesMut;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{self, CHUNK, FAREWELL, Farewell, Key, Link, Presence, Report};
use super::listener::Listeners;
use super::log::{self, log};
use super::paths::{self, Watching};
use super::snapshot::{BgpSnapshot, FamilyRefusal, PeerSnapshot, unix_milliseconds};
use super::transport::{password_hint, prepare, transport, ttl};
use super::{
    Authentication, BgpConfig, Command, PeerConfig, PeerProblem, REPORTS, RouteChange, ShutdownMode,
};

use crate::bfd::{PathStatus, Paths};

/// The machine gives a dial up by itself; the socket's own limit only has to be longer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections of one peer, those that still say farewell included. A collision takes two and a neighbour that dials anew a
/// few more; whoever opens more than that within a second does not read farewells, and is reset.
const CONNECTIONS_MAX: usize = 16;
/// Between attempts to open listeners that failed.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// What the handle may look at beside the task. The lock is held for one event or one look, never over an await.
#[derive(Default)]
pub(super) struct Shared {
    peers: BTreeMap<ObjectName, Session>,
}

impl Shared {
    pub(super) fn routes_sent(&self, peer: &ObjectName) -> BTreeMap<IpNet, Arc<RouteAttributes>> {
        self.peers
            .get(peer)
            .map(|session| session.machine.routes_sent().into_iter().collect())
            .unwrap_or_default()
    }
}

/// One peer: its machine and its connections.
struct Session {
    life: u64,
    config: PeerConfig,
    machine: Peer,
    links: HashMap<ConnectionId, Link>,
    /// Held by each connection too.
    presence: Presence,
    established_since: Option<u64>,
    /// The count of UPDATEs when the session began.
    updates_before: u64,
    /// Half of the restart time is over: connect although what is wanted is not complete.
    connect_early_at: Option<Instant>,
    /// What else is to be said of a dial that has no answer.
    hint: Option<String>,
    /// What BFD said last of the path.
    path: Option<PathStatus>,
}

impl Session {
    /// Nothing may be dialled or taken: the password is not known.
    fn is_held(&self) -> bool {
        self.config.authentication == Authentication::Awaited
    }

    /// As many connections are open as may be.
    fn is_crowded(&self) -> bool {
        Arc::strong_count(&self.presence) > CONNECTIONS_MAX
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
    lives: u64,
    names: HashMap<u64, ObjectName>,
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
            lives: 0,
            names: HashMap::new(),
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
        let sessions = shared.peers.values();
        sessions
            .flat_map(|session| [session.machine.deadline(), session.connect_early_at])
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
                for (name, session) in &mut shared.peers {
                    session.connect_early_at = None;
                    self.feed(name, session, Input::Ready);
                    self.pump(session);
                }
            }
            // Handled where the loop ends.
            Command::Shutdown(..) => {}
        }
    }

    fn configure(&mut self, shared: &mut Shared, config: BgpConfig) -> Vec<(ObjectName, PeerProblem)> {
        let mut problems = Vec::new();
        let gone: Vec<ObjectName> =
            shared.peers.keys().filter(|name| !config.peers.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(mut session) = shared.peers.remove(&name) {
                self.feed(&name, &mut session, Input::Stop(StopReason::Deconfigured));
                self.names.remove(&session.life);
            }
        }
        let mut addresses: BTreeMap<IpAddr, ObjectName> = BTreeMap::new();
        // Who has an address keeps it: a newcomer disturbs no session, whatever its name.
        let (staying, others): (Vec<_>, Vec<_>) = config.peers.iter().partition(|(name, peer)| {
            shared.peers.get(*name).is_some_and(|session| session.config.peer_address == peer.peer_address)
        });
        for (name, peer) in staying.into_iter().chain(others) {
            if let Some(other) = addresses.get(&peer.peer_address) {
                let problem = PeerProblem::AddressTaken { address: peer.peer_address, other: other.clone() };
                problems.push((name.clone(), problem));
                continue;
            }
            addresses.insert(peer.peer_address, name.clone());
            let result = match shared.peers.get_mut(name) {
                Some(session) => self.reconfigure(name, session, &config, peer),
                None => self.add(name, &config, peer).map(|session| {
                    shared.peers.insert(name.clone(), session);
                }),
            };
            if let Err(problem) = result {
                problems.push((name.clone(), problem));
            }
        }
        for (name, problem) in &problems {
            tracing::warn!(peer = %name, %problem, "this peer's configuration cannot be used");
        }
        let peers = shared.peers.values().map(|session| &session.config);
        self.watching.configure(peers, self.seeds.hash_one("bfd"));
        let passive = config.peers.values().any(|peer| peer.passive);
        let peers = shared.peers.values().map(|session| &session.config);
        let passwords = peers
            .filter_map(|peer| Some((peer.peer_address, peer.authentication.password()?.clone())))
            .collect();
        self.listeners.apply(config.listen.filter(|_| passive), passwords, &self.reports);
        self.plan_listen_retry();
        problems
    }

    fn add(
        &mut self,
        name: &ObjectName,
        config: &BgpConfig,
        peer: &PeerConfig,
    ) -> Result<Session, PeerProblem> {
        self.lives += 1;
        let life = self.lives;
        let machine = Peer::new(machine_config(config, peer), self.seeds.hash_one(life))?;
        self.names.insert(life, name.clone());
        let early = peer.graceful_restart.filter(|_| config.restarting && !self.ready);
        let mut session = Session {
            life,
            config: peer.clone(),
            machine,
            links: HashMap::new(),
            presence: Presence::default(),
            established_since: None,
            updates_before: 0,
            connect_early_at: early.map(|restart| Instant::now() + restart.restart_time / 2),
            hint: None,
            path: None,
        };
        if !session.is_held() {
            self.feed(name, &mut session, Input::Start);
        }
        if self.ready {
            self.feed(name, &mut session, Input::Ready);
        }
        Ok(session)
    }

    fn reconfigure(
        &mut self,
        name: &ObjectName,
        session: &mut Session,
        config: &BgpConfig,
        peer: &PeerConfig,
    ) -> Result<(), PeerProblem> {
        let machine = machine_config(config, peer);
        machine.check()?;
        let before = std::mem::replace(&mut session.config, peer.clone());
        let mut moved = transport(&before) != transport(peer);
        if before.authentication != peer.authentication {
            // A session that is up and signs goes on with the other password; any other one begins anew with it.
            let signed = before.authentication.password().is_some();
            match peer.authentication.password() {
                Some(password) if signed && session.machine.state() == State::Established => {
                    tracing::info!(peer = %name, "the password is changed under the session");
                    session.links.values().for_each(|link| {
                        link.password.send_replace(Some(password.clone()));
                    });
                }
                _ => moved = true,
            }
        }
        if moved {
            self.feed(name, session, Input::Stop(StopReason::ConfigurationChange));
        }
        let mut outputs = Vec::new();
        let reset = session.machine.reconfigure(Instant::now(), machine, &mut outputs)?;
        self.carry_out(name, session, outputs);
        if moved && !session.is_held() {
            self.feed(name, session, Input::Start);
        }
        if moved || reset {
            tracing::info!(peer = %name, "reset for its new configuration");
        }
        self.pump(session);
        Ok(())
    }

    fn routes(&mut self, shared: &mut Shared, changes: Vec<RouteChange>) {
        let mut touched = BTreeSet::new();
        for RouteChange { peer, prefix, attributes } in changes {
            let Some(session) = shared.peers.get_mut(&peer) else {
                tracing::debug!(%peer, %prefix, "a route for a peer that is not configured");
                continue;
            };
            self.feed(&peer, session, Input::Set { prefix, attributes });
            touched.insert(peer);
        }
        for peer in touched {
            if let Some(session) = shared.peers.get_mut(&peer) {
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
            Report::Connected(key, _)
            | Report::Received(key, _)
            | Report::Drained(key)
            | Report::Closed(key)
            | Report::Failed(key, _) => *key,
        };
        let Some(name) = self.names.get(&key.peer).cloned() else { return };
        let Some(session) = shared.peers.get_mut(&name) else { return };
        let id = key.connection;
        match report {
            Report::Connected(_, local) => {
                if let Some(link) = session.links.get_mut(&id) {
                    link.open = true;
                }
                self.feed(&name, session, opened(id, local.ip()));
            }
            Report::Received(_, data) => self.feed(&name, session, Input::Received { id, data: &data }),
            Report::Closed(_) => self.feed(&name, session, Input::Closed { id }),
            Report::Failed(_, error) => self.feed(&name, session, Input::Failed { id, error: &error }),
            Report::Drained(_) | Report::Accepted(..) => {}
        }
        self.pump(session);
    }

    fn accepted(&mut self, shared: &mut Shared, stream: TcpStream, remote: SocketAddr) {
        let address = remote.ip();
        let Some((name, session)) =
            shared.peers.iter_mut().find(|(_, session)| session.config.peer_address == address)
        else {
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
                self.feed(name, session, Input::Failed { id, error: &error });
                return;
            }
        };
        let key = Key { peer: session.life, connection: id };
        let (link, ends) = connection::link(key, self.reports.clone(), true, session.presence.clone());
        session.links.insert(id, link);
        self.tasks.spawn(connection::carry(stream, ends));
        self.feed(name, session, opened(id, local.ip()));
        self.pump(session);
    }

    /// BFD says something new of paths.
    fn follow_paths(&mut self, shared: &mut Shared, paths: &Paths) {
        for (name, session) in &mut shared.peers {
            let now = paths.get(name).cloned();
            let inputs = paths::inputs(session.path.as_ref(), now.as_ref());
            session.path = now;
            for input in inputs {
                self.feed(name, session, input);
            }
            self.pump(session);
        }
    }

    fn tick(&mut self, shared: &mut Shared) {
        let now = Instant::now();
        for (name, session) in &mut shared.peers {
            if session.connect_early_at.is_some_and(|at| at <= now) {
                session.connect_early_at = None;
                tracing::warn!(peer = %name, "connecting before the announcements are complete: half of the restart time is over");
                self.feed(name, session, Input::ConnectEarly);
            }
            if session.machine.deadline().is_some_and(|at| at <= now) {
                self.feed(name, session, Input::Tick);
            }
            self.pump(session);
        }
        if self.listen_retry.is_some_and(|at| at <= now) {
            self.listeners.retry(&self.reports);
            self.plan_listen_retry();
        }
    }

    fn plan_listen_retry(&mut self) {
        self.listen_retry = (!self.listeners.errors().is_empty()).then(|| Instant::now() + LISTEN_RETRY);
    }

    fn stop_all(&mut self, shared: &mut Shared, mode: &ShutdownMode) {
        for (name, session) in &mut shared.peers {
            let reason = match mode {
                ShutdownMode::Silent => StopReason::Silent,
                ShutdownMode::Graceful { text } => {
                    StopReason::Shutdown(session.config.shutdown_text.as_deref().unwrap_or(text).to_owned())
                }
            };
            // What was withdrawn just before must reach the neighbour before the connection ends.
            self.pump(session);
            self.feed(name, session, Input::Stop(reason));
        }
    }

    fn feed(&mut self, name: &ObjectName, session: &mut Session, input: Input<'_>) {
        let mut outputs = Vec::new();
        session.machine.handle(Instant::now(), input, &mut outputs);
        self.carry_out(name, session, outputs);
    }

    fn carry_out(&mut self, name: &ObjectName, session: &mut Session, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Dial { id } => {
                    let key = Key { peer: session.life, connection: id };
                    let (link, ends) =
                        connection::link(key, self.reports.clone(), false, session.presence.clone());
                    session.links.insert(id, link);
                    let remote = SocketAddr::new(session.config.peer_address, session.config.peer_port);
                    let options = DialOptions {
                        source: session.config.source_address,
                        interface: session.config.source_interface.clone(),
                        ttl: ttl(&session.config),
                        password: session.config.authentication.password().cloned(),
                        timeout: DIAL_TIMEOUT,
                    };
                    self.tasks.spawn(connection::dial(remote, options, ends));
                }
                Output::Close { id, farewell, reset } => {
                    if session.config.log_messages {
                        log::sent(name, &farewell);
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
                    log(name, &event);
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
                    log::sent(&session.config.name, &buf);
                }
                permit.send(buf.freeze());
            }
        }
    }

    fn publish(&mut self) {
        let errors = self.listeners.errors().to_vec();
        let peers = self.with_shared(|_, shared| {
            shared.peers.iter().map(|(name, session)| (name.clone(), show(session))).collect()
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

fn machine_config(config: &BgpConfig, peer: &PeerConfig) -> bellhop_bgp::PeerConfig {
    bellhop_bgp::PeerConfig {
        local_asn: peer.local_asn,
        peer_asn: peer.peer_asn,
        router_id: config.router_id,
        families: peer.families.clone(),
        hold_time: peer.hold_time,
        keepalive_time: peer.keepalive_time,
        connect_retry: peer.connect_retry,
        passive: peer.passive,
        graceful_restart: peer.graceful_restart,
        restarting: config.restarting,
        next_hops: NextHops { v4: peer.next_hop_v4, v6: peer.next_hop_v6 },
        extended_next_hop: peer.extended_next_hop,
        role: peer.role,
        prefix_limit: peer.prefix_limit,
        bfd: peer.bfd.as_ref().map(|bfd| BfdUse { strict: bfd.strict }),
        trace: peer.log_messages,
    }
}

fn opened(id: ConnectionId, local: IpAddr) -> Input<'static> {
    let other_family = tcp::other_family_address(local).unwrap_or_else(|error| {
        tracing::warn!(%local, %error, "cannot look up the addresses of the session's interface");
        None
    });
    Input::Opened { id, local, other_family }
}

fn show(session: &Session) -> PeerSnapshot {
    let machine = &session.machine;
    let negotiated = machine.negotiated();
    let (prefixes_wanted, prefixes_sent) = machine.prefixes();
    let counters = machine.counters();
    let refused = machine.refused().into_iter().map(|routes| FamilyRefusal {
        family: routes.refusal.family,
        prefixes: routes.prefixes,
        first: routes.first,
        reason: routes.refusal.reason.to_string(),
    });
    PeerSnapshot {
        address: session.config.peer_address,
        peer_asn: negotiated
            .map(|n| n.peer_asn)
            .or(session.config.peer_asn.known(session.config.local_asn))
            .unwrap_or_default(),
        local_asn: session.config.local_asn,
        state: machine.state(),
        established_since: session.established_since,
        hold_time: negotiated.map_or(session.config.hold_time, |n| n.hold_time).as_secs(),
        families: negotiated.map_or_else(|| session.config.families.clone(), |n| n.families.clone()),
        graceful_restart: negotiated.is_some_and(|n| n.graceful_restart),
        prefixes_wanted,
        prefixes_sent,
        updates_sent: counters.updates_sent.saturating_sub(session.updates_before),
        counters,
        last_error: last_error(session),
        problem: session.config.problem.clone(),
        refused: refused.collect(),
        bfd: session.path.clone(),
    }
}

/// What ended the last session or attempt; of a session that waits for its password, why it does.
fn last_error(session: &Session) -> Option<String> {
    if session.is_held() {
        let problem = session.config.problem.as_ref();
        return Some(problem.map_or("waits for its password".into(), |problem| problem.message.to_string()));
    }
    if let Some(wait) = paths::strict_wait(session.config.bfd.as_ref(), session.path.as_ref()) {
        return Some(wait);
    }
    let reason = session.machine.last_error()?;
    let signed = session.config.authentication.password().is_some();
    Some(match (reason, &session.hint) {
        (DownReason::Timeout(_), Some(hint)) if signed => format!("{reason}; {hint}"),
        _ => reason.to_string(),
    })
}
