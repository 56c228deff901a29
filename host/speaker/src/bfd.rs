//! The BFD thread: every BFD session of this node, over the sans-IO table of `bellhop-bfd`.
//!
//! ```text
//! BGP task ─commands(64)+wake─► BFD thread ◄─datagrams─ receivers (a family and port each, opened when first needed)
//!     ▲                           │  └──packets──► a sender for each session
//!     └── watch: what each path is ┘
//! ```
//!
//! A thread of its own, outside every runtime, so that neither planning nor plugins nor 11,000 routes delay a packet: what
//! it does in a round takes microseconds, and it waits for nothing but its sockets and its waker. What it tells is a
//! `watch`, which never waits either; failures are counted, so that one that was followed by an Up at once is not missed.
//!
//! The thread ends when its handle is dropped, after one packet for each session that says AdminDown: a neighbour that goes by
//! RFC 5882 §4.2 does not take the end of this process for a failure of the path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Inbox, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use bellhop_bfd::{
    Arrival, Cause, Discriminator, Emitted, Hops, Input, Kind, Output, Role, SOURCE_PORTS, SessionConfig,
    SessionKey, State, StateChange, Table,
};
use bellhop_bgp::Path;
use bellhop_core::ObjectName;
use bellhop_net::bfd::{Receiver, Sender, Waker, payload, wait};
use bellhop_net::interfaces::{index_of, source_towards};
use bellhop_runtime::http::Heartbeat;
use serde::Serialize;
use tokio::sync::watch;

/// Configurations that wait for the thread, which takes them within a round.
const COMMANDS: usize = 64;
/// Between two attempts to open what could not be opened: a port that somebody has, an address that is not there yet.
const RETRY: Duration = Duration::from_secs(5);
/// Datagrams of one receiver in a round: more than every session can send between two deadlines, and no flood keeps the thread
/// from sending.
const BATCH: usize = 2048;

/// A path that is to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The neighbour.
    pub remote: IpAddr,
    /// The address to send from; without it the one that the routing table gives.
    pub local: Option<IpAddr>,
    /// The interface to send by.
    pub interface: Option<Arc<str>>,
    /// Timers, and over how many hops.
    pub config: SessionConfig,
}

/// What is known of a path.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStatus {
    /// What BGP goes by.
    #[serde(skip)]
    pub path: Path,
    /// State of the session (RFC 5880 §4.1), in words.
    pub state: &'static str,
    /// How often the path was lost after it had been up.
    pub failures: u64,
    /// How often it was lost while this process had not run in time, so that the loss may be its own.
    pub late_failures: u64,
    /// Why it is not up; `None` where it is.
    pub reason: Option<String>,
    /// After how many milliseconds of silence the neighbour counts as lost; `None` where it is not heard.
    pub detection_milliseconds: Option<u64>,
}

impl PathStatus {
    /// The state, and why it is not up or how often it was lost.
    pub fn in_words(&self) -> String {
        match (&self.reason, self.failures) {
            (Some(reason), _) => format!("{} ({reason})", self.state),
            (None, 0) => self.state.to_owned(),
            (None, failures) => format!("{} (lost {failures} times)", self.state),
        }
    }
}

/// What is known of every path, by the peer's name.
pub type Paths = Arc<BTreeMap<ObjectName, PathStatus>>;

enum Command {
    Configure(BTreeMap<ObjectName, Target>),
}

/// The way to the thread; when it is dropped the thread ends.
#[derive(Debug)]
pub struct BfdHandle {
    commands: SyncSender<Command>,
    waker: Waker,
    paths: watch::Receiver<Paths>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl BfdHandle {
    /// Starts the thread, without sessions; it shows by `heartbeat` that it turns. `seed` must be random for each process.
    ///
    /// # Errors
    /// When there are no descriptors or threads left.
    pub fn start(seed: u64, heartbeat: Option<Heartbeat>) -> std::io::Result<Self> {
        let (commands, inbox) = sync_channel(COMMANDS);
        let waker = Waker::new()?;
        let (publisher, paths) = watch::channel(Paths::default());
        let driver = Driver {
            table: Table::new(seed),
            seed,
            heartbeat,
            targets: BTreeMap::new(),
            names: BTreeMap::new(),
            leaving: Vec::new(),
            receivers: Vec::new(),
            waker: waker.clone(),
            retry_at: None,
            publisher,
        };
        let thread = std::thread::Builder::new().name("bfd".into()).spawn(move || driver.run(&inbox))?;
        Ok(Self { commands, waker, paths, thread: Some(thread) })
    }

    /// Takes other targets whole: what did not change is left alone, other timers are agreed on with the neighbour.
    pub fn configure(&self, targets: BTreeMap<ObjectName, Target>) {
        // Full or gone only where the thread hangs or has ended, of which its silence tells.
        let _ = self.commands.try_send(Command::Configure(targets));
        self.waker.wake();
    }

    /// What is known of every path, as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Paths> {
        self.paths.clone()
    }
}

impl Drop for BfdHandle {
    fn drop(&mut self) {
        let (gone, _) = sync_channel(0);
        // With its sender the thread's inbox is closed.
        self.commands = gone;
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was told by its hook.
            let _ = thread.join();
        }
    }
}

/// A target, and how far it is.
#[derive(Debug)]
struct Watched {
    target: Target,
    session: Option<Session>,
    /// Why there is no session, or why it cannot send.
    error: Option<String>,
    status: PathStatus,
}

#[derive(Debug)]
struct Session {
    discriminator: Discriminator,
    sender: Sender,
}

struct Driver {
    table: Table,
    seed: u64,
    heartbeat: Option<Heartbeat>,
    targets: BTreeMap<ObjectName, Watched>,
    names: BTreeMap<Discriminator, ObjectName>,
    /// Sessions that say AdminDown until the neighbour has heard it, and until when.
    leaving: Vec<(Instant, Session)>,
    receivers: Vec<(bool, Receiver)>,
    waker: Waker,
    retry_at: Option<Instant>,
    publisher: watch::Sender<Paths>,
}

impl Driver {
    fn run(mut self, inbox: &Inbox<Command>) {
        let mut out = Vec::new();
        loop {
            let leaving = self.leaving.iter().map(|(at, _)| *at).min();
            let deadline = self.table.deadline().into_iter().chain(self.retry_at).chain(leaving).min();
            let most = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let receivers = self.receivers.iter().map(|(_, receiver)| receiver);
            self.heartbeat.iter().for_each(Heartbeat::wait);
            if let Err(error) = wait(receivers, &self.waker, most) {
                tracing::error!(%error, "waiting for BFD packets");
                std::thread::sleep(Duration::from_millis(10));
            }
            // One time for all of a round (see the crate of the machine).
            let now = Instant::now();
            self.heartbeat.iter().for_each(|heartbeat| heartbeat.begin(now));
            self.receive(now, &mut out);
            self.table.tick(now, &mut out);
            loop {
                match inbox.try_recv() {
                    Ok(Command::Configure(targets)) => self.configure(now, targets, &mut out),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.part(now, &mut out),
                }
            }
            if self.retry_at.is_some_and(|at| at <= now) {
                self.retry_at = None;
                self.open_missing(now, &mut out);
            }
            self.forget_left(now);
            self.carry_out(&mut out);
            self.publish();
        }
    }

    fn receive(&mut self, now: Instant, out: &mut Vec<Emitted>) {
        let mut buffer = payload();
        for (_, receiver) in &self.receivers {
            let hops = if receiver.port() == Hops::Single.port() { Hops::Single } else { Hops::Multi };
            for _ in 0..BATCH {
                match receiver.receive(&mut buffer) {
                    Ok(Some(datagram)) => {
                        let arrival = Arrival {
                            local: datagram.local,
                            remote: datagram.remote,
                            interface: datagram.interface,
                            ttl: datagram.ttl,
                            hops,
                        };
                        let taken = self.table.receive(now, arrival, &buffer[..datagram.length], out);
                        if let Err(refusal) = taken {
                            tracing::debug!(remote = %datagram.remote, %refusal, "a BFD packet is refused");
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "receiving BFD packets");
                        break;
                    }
                }
            }
        }
    }

    fn configure(&mut self, now: Instant, targets: BTreeMap<ObjectName, Target>, out: &mut Vec<Emitted>) {
        let gone: Vec<ObjectName> =
            self.targets.keys().filter(|name| !targets.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(session) = self.targets.remove(&name).and_then(|watched| watched.session) {
                self.dismiss(now, session, out);
            }
        }
        for (name, target) in targets {
            let watched = self.targets.entry(name.clone()).or_insert_with(|| Watched {
                target: target.clone(),
                session: None,
                error: None,
                status: PathStatus { state: State::Down.as_str(), ..PathStatus::default() },
            });
            if watched.target == target {
                continue;
            }
            let before = std::mem::replace(&mut watched.target, target.clone());
            let same_session = (before.remote, before.local, &before.interface, before.config.kind.hops())
                == (target.remote, target.local, &target.interface, target.config.kind.hops());
            if !same_session {
                if let Some(session) = watched.session.take() {
                    self.dismiss(now, session, out);
                }
            } else if let Some(session) = &watched.session
                && let Err(error) = self.table.reconfigure(now, session.discriminator, target.config, out)
            {
                watched.error = Some(error.to_string());
            }
        }
        self.open_missing(now, out);
    }

    /// Begins to part from a session in order.
    fn dismiss(&mut self, now: Instant, session: Session, out: &mut Vec<Emitted>) {
        self.names.remove(&session.discriminator);
        self.table.handle(now, session.discriminator, Input::Disable, out);
        let farewell = self.table.session(session.discriminator).map(bellhop_bfd::Session::farewell);
        self.leaving.push((now + farewell.unwrap_or_default(), session));
    }

    fn forget_left(&mut self, now: Instant) {
        let table = &mut self.table;
        self.leaving.retain(|(until, session)| {
            let stays = *until > now;
            if !stays {
                table.remove(session.discriminator);
            }
            stays
        });
    }

    /// Opens the sockets and sessions that are wanted and not there.
    fn open_missing(&mut self, now: Instant, out: &mut Vec<Emitted>) {
        let names: Vec<ObjectName> = self
            .targets
            .iter()
            .filter(|(_, watched)| match &watched.session {
                None => true,
                // One that is up goes on, whatever a packet met with: its end is for the timers of both sides to tell.
                Some(session) => {
                    let state = self.table.session(session.discriminator).map(bellhop_bfd::Session::state);
                    watched.error.is_some() && state != Some(State::Up)
                }
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let Some(watched) = self.targets.get_mut(&name) else { continue };
            let target = watched.target.clone();
            if let Some(session) = watched.session.take() {
                // It could not send: its address may have gone, and another one come.
                self.names.remove(&session.discriminator);
                self.table.remove(session.discriminator);
            }
            let opened = self.open(now, &name, &target);
            let Some(watched) = self.targets.get_mut(&name) else { continue };
            match opened {
                Ok(session) => {
                    tracing::info!(peer = %name, remote = %target.remote, "BFD session opened");
                    self.names.insert(session.discriminator, name);
                    watched.session = Some(session);
                    watched.error = None;
                }
                Err(error) => {
                    if watched.error.as_ref() != Some(&error) {
                        tracing::warn!(peer = %name, %error, "the path to this peer cannot be watched");
                    }
                    watched.error = Some(error);
                    self.retry_at.get_or_insert(now + RETRY);
                }
            }
        }
        self.table.tick(now, out);
    }

    fn open(&mut self, now: Instant, name: &ObjectName, target: &Target) -> Result<Session, String> {
        let hops = target.config.kind.hops();
        let ipv4 = target.remote.is_ipv4();
        let open = self.receivers.iter().any(|(v4, receiver)| *v4 == ipv4 && receiver.port() == hops.port());
        if !open {
            let receiver = Receiver::open(ipv4, hops.port()).map_err(|error| error.to_string())?;
            self.receivers.push((ipv4, receiver));
        }
        let interface = target.interface.as_deref();
        let local = match target.local {
            Some(local) => local,
            None => source_towards(target.remote, interface)
                .map_err(|error| format!("no way to {}: {error}", target.remote))?,
        };
        let index = match interface {
            Some(interface) => index_of(interface).map_err(|error| error.to_string())?,
            None => 0,
        };
        let key = SessionKey { local, remote: target.remote, interface: index };
        // One that is leaving has the place of its successor.
        if let Some(old) = self.table.find(key, hops) {
            self.table.remove(old);
            self.leaving.retain(|(_, session)| session.discriminator != old);
        }
        let span = u64::from(*SOURCE_PORTS.end() - *SOURCE_PORTS.start());
        let first = SOURCE_PORTS.start() + u16::try_from(hash(name, self.seed) % span).unwrap_or_default();
        let sender = Sender::open(local, target.remote, hops.port(), index, SOURCE_PORTS, first)
            .map_err(|error| error.to_string())?;
        let discriminator = self.table.insert(now, key, target.config).map_err(|error| error.to_string())?;
        Ok(Session { discriminator, sender })
    }

    fn carry_out(&mut self, out: &mut Vec<Emitted>) {
        for Emitted { discriminator, output, .. } in out.drain(..) {
            match output {
                Output::Transmit(packet) => self.send(discriminator, &packet),
                Output::StateChanged(change) => self.changed(discriminator, &change),
            }
        }
    }

    fn send(&mut self, discriminator: Discriminator, packet: &[u8]) {
        let Some(name) = self.names.get(&discriminator) else {
            let left = self.leaving.iter().find(|(_, session)| session.discriminator == discriminator);
            if let Some((_, session)) = left {
                // Whoever leaves has nothing to do about it.
                let _ = session.sender.send(packet);
            }
            return;
        };
        let Some(watched) = self.targets.get_mut(name) else { return };
        let Some(session) = &watched.session else { return };
        match session.sender.send(packet) {
            // Nobody listens there yet: no trouble of this node's.
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => {
                let error = format!("sending to {}: {error}", watched.target.remote);
                if watched.error.as_ref() != Some(&error) {
                    tracing::warn!(peer = %name, %error, "BFD packets cannot be sent");
                }
                watched.error = Some(error);
                self.retry_at.get_or_insert(Instant::now() + RETRY);
            }
            _ => watched.error = None,
        }
    }

    fn changed(&mut self, discriminator: Discriminator, change: &StateChange) {
        let Some(name) = self.names.get(&discriminator) else { return };
        let Some(watched) = self.targets.get_mut(name) else { return };
        let status = &mut watched.status;
        if change.is_failure() {
            status.failures += 1;
            if matches!(change.cause, Cause::DetectionExpired { late } if late > bellhop_bfd::LATE_WAKE) {
                status.late_failures += 1;
            }
        }
        status.path = match (change.to, change.cause) {
            (State::Up, _) => Path::Up,
            (_, Cause::RemoteAdminDown) => Path::AdminDown,
            _ if change.is_failure() => Path::Down,
            // It was not up, so nothing was lost.
            _ if status.path == Path::AdminDown => Path::AdminDown,
            _ => Path::Down,
        };
        tracing::info!(
            peer = %name, from = change.from.as_str(), to = change.to.as_str(), cause = ?change.cause,
            diagnostic = %change.diagnostic, "BFD"
        );
    }

    fn publish(&mut self) {
        for watched in self.targets.values_mut() {
            let session = watched.session.as_ref().and_then(|own| self.table.session(own.discriminator));
            let state = session.map_or(State::Down, bellhop_bfd::Session::state);
            watched.status.state = state.as_str();
            let detection = session.and_then(bellhop_bfd::Session::detection_time);
            watched.status.detection_milliseconds =
                detection.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            watched.status.reason = match (&watched.error, state) {
                (Some(error), _) => Some(error.clone()),
                (None, State::Up) => None,
                (None, _) if detection.is_none() => {
                    Some(format!("nothing is heard of {}", watched.target.remote))
                }
                (None, _) => session.map(|session| session.diagnostic().to_string()),
            };
        }
        self.publisher.send_if_modified(|current| {
            let same = current.len() == self.targets.len()
                && current
                    .iter()
                    .zip(&self.targets)
                    .all(|((name, status), (other, watched))| name == other && *status == watched.status);
            if !same {
                let next = self.targets.iter().map(|(name, watched)| (name.clone(), watched.status.clone()));
                *current = Arc::new(next.collect());
            }
            !same
        });
    }

    /// Says AdminDown once over every session.
    fn part(mut self, now: Instant, out: &mut Vec<Emitted>) {
        let all: Vec<Discriminator> = self.names.keys().copied().collect();
        for discriminator in all {
            self.table.handle(now, discriminator, Input::Disable, out);
        }
        self.carry_out(out);
        self.heartbeat.iter().for_each(Heartbeat::retire);
    }
}

/// Where the search for a source port begins: other for each session, so that few are tried.
fn hash(name: &str, seed: u64) -> u64 {
    name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)) >> 8
}

/// Timers of a session over one hop, or over several.
pub fn session_config(profile: &bellhop_core::objects::BfdProfile, one_hop: bool) -> SessionConfig {
    SessionConfig {
        role: if profile.passive { Role::Passive } else { Role::Active },
        desired_min_tx: profile.transmit_interval,
        required_min_rx: profile.receive_interval,
        detect_multiplier: profile.detect_multiplier,
        kind: if one_hop { Kind::SingleHop } else { Kind::MultiHop { min_ttl: profile.minimum_ttl } },
    }
}

#[cfg(test)]
mod tests;
