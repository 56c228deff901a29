//! The speaker's real planning thread and BGP task in a process of their own, fed with synthetic deltas.
//!
//! [`serve`] is what runs there (`benches speaker STATE`), told by lines on its standard input what to do next;
//! [`Speaker`] is the handle. A process of its own, so that its memory is a speaker's and nobody else's.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bellhop_core::{Delta, Family};
use bellhop_lab::netns::Namespace;
use bellhop_runtime::http::Health;
use bellhop_runtime::loader;
use bellhop_speaker::bgp::BgpHandle;
use bellhop_speaker::generation::RestartMark;
use bellhop_speaker::planning::{self, Allocation, Event, Planning};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::process::Memory;
use crate::wire::{NODE, ROUTER};
use crate::world;

/// First argument of the program in place of a bench's name.
pub const COMMAND: &str = "speaker";

/// Events on their way to the planner, as many as in the standalone form.
const EVENTS: usize = 64;
/// Worker threads of the runtime, as many as the `bellhop` program has.
const RUNTIME_THREADS: usize = 2;
/// How long the session may take to come up.
const SESSION_DEADLINE: Duration = Duration::from_secs(30);

/// What the handle asks for, one JSON value a line; each is answered by one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Ask {
    /// Make the deltas of these Services, and keep them. Answered by `null`.
    Prepare { v4: Range<u32>, v6: Range<u32> },
    /// Hand the prepared deltas to the planner, as one change of the World. Answered by `null`.
    Apply,
    /// Change the attributes of all routes. Answered by `null`.
    Attributes { med: u32 },
    /// Remove the IPv4 Services of these numbers. Answered by `null`.
    Remove { v4: Range<u32> },
    /// Answered by the [`Sent`] of the session.
    Counters,
}

/// What the BGP task says of its one session.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// The session is up.
    pub established: bool,
    /// UPDATEs sent in this session, End-of-RIB markers included.
    pub updates: u64,
    /// End-of-RIB markers sent.
    pub end_of_ribs: u64,
    /// Prefixes announced, repetitions included.
    pub announced: u64,
    /// Prefixes withdrawn.
    pub withdrawn: u64,
    /// Prefixes that the neighbour has.
    pub prefixes: u64,
}

/// Runs the planner and the BGP task until standard input ends.
///
/// # Errors
/// When the state directory cannot be used or a line is no request.
pub fn serve(state: &Path) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    let (events, inbox) = mpsc::channel(EVENTS);
    let mark = RestartMark::new(state, &NODE.name())?;
    let bgp = runtime.block_on(async { BgpHandle::start() });
    let (binder, _bindings) = watch::channel(None);
    let (filter, _table) = watch::channel(None);
    // Nobody asks whether it lives.
    let heartbeat = Health::new(Instant::now()).sentinel("loader");
    let loader = loader::start(state.join("no-compiler"), events.clone(), heartbeat);
    let options = planning::Options {
        node: NODE.name().into(),
        allocation: Allocation::Own { allocate: false },
        bind_by_default: true,
    };
    let planning = Planning::new(options, mark, bgp.clone(), binder, filter, loader);
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("planning".into())
        .spawn(move || handle.block_on(planning.run(inbox)))?;
    let change = |deltas: Vec<Delta>| {
        events.blocking_send(Event::Deltas(deltas)).map_err(|_| anyhow::anyhow!("the planner ended"))
    };
    change(world::base())?;

    let mut prepared = Vec::new();
    for line in std::io::stdin().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Ask::Prepare { v4, v6 } => {
                let v4 = v4.flat_map(|number| world::service(Family::Ipv4, number));
                let v6 = v6.flat_map(|number| world::service(Family::Ipv6, number));
                prepared = v4.chain(v6).collect();
                serde_json::Value::Null
            }
            Ask::Apply => {
                change(std::mem::take(&mut prepared))?;
                serde_json::Value::Null
            }
            Ask::Attributes { med } => {
                change(vec![world::attributes(med)])?;
                serde_json::Value::Null
            }
            Ask::Remove { v4 } => {
                let services = v4.flat_map(|number| world::service(Family::Ipv4, number));
                change(services.map(deleted).collect())?;
                serde_json::Value::Null
            }
            Ask::Counters => serde_json::to_value(sent(&bgp))?,
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The deletion of what a delta made.
fn deleted(delta: Delta) -> Delta {
    match delta {
        Delta::Service(key, _) => Delta::Service(key, None),
        Delta::EndpointSlice(key, _) => Delta::EndpointSlice(key, None),
        Delta::Claim(address, _) => Delta::Claim(address, None),
        other => other,
    }
}

fn sent(bgp: &BgpHandle) -> Sent {
    let snapshot = bgp.snapshot();
    let Some(peer) = snapshot.peers.get(ROUTER.name()) else { return Sent::default() };
    Sent {
        established: peer.established_since.is_some(),
        updates: peer.updates_sent,
        end_of_ribs: peer.counters.end_of_ribs_sent,
        announced: peer.counters.prefixes_announced,
        withdrawn: peer.counters.prefixes_withdrawn,
        prefixes: peer.prefixes_sent as u64,
    }
}

/// The handle on a speaker process; it ends with the handle.
#[derive(Debug)]
pub struct Speaker {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Speaker {
    /// Starts it in the node's namespace and waits until its session is up and both End-of-RIBs are sent.
    ///
    /// # Errors
    /// When it cannot be started or no session comes up.
    pub fn start(benches: &Path, namespace: &Namespace, state: &Path) -> Result<Self> {
        std::fs::create_dir_all(state)?;
        let mut command: Command = namespace.command(benches);
        command.arg(COMMAND).arg(state).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {} {COMMAND}", benches.display()))?;
        let asks = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut speaker = Self { child, asks, answers };
        let begin = Instant::now();
        loop {
            let sent = speaker.sent()?;
            if sent.established && sent.end_of_ribs >= 2 {
                return Ok(speaker);
            }
            if begin.elapsed() > SESSION_DEADLINE {
                bail!("no session with the router within {SESSION_DEADLINE:?}: {sent:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask<T: for<'de> Deserialize<'de>>(&mut self, ask: &Ask) -> Result<T> {
        let line = serde_json::to_string(ask)? + "\n";
        self.asks.write_all(line.as_bytes())?;
        let mut answer = String::new();
        let count = self.answers.read_line(&mut answer)?;
        ensure!(count > 0, "the speaker process ended; its words are above");
        Ok(serde_json::from_str(&answer)?)
    }

    /// Makes the World's next change: Services of these numbers. It happens with [`Speaker::apply`].
    ///
    /// # Errors
    /// When the process is gone.
    pub fn prepare(&mut self, v4: Range<u32>, v6: Range<u32>) -> Result<()> {
        self.ask(&Ask::Prepare { v4, v6 })
    }

    /// Makes the change happen; returns when it began.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn apply(&mut self) -> Result<Instant> {
        let begin = Instant::now();
        self.ask::<()>(&Ask::Apply)?;
        Ok(begin)
    }

    /// Changes the attributes of all routes; returns when.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn attributes(&mut self, med: u32) -> Result<Instant> {
        let begin = Instant::now();
        self.ask::<()>(&Ask::Attributes { med })?;
        Ok(begin)
    }

    /// Removes Services; returns when.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn remove(&mut self, v4: Range<u32>) -> Result<Instant> {
        let begin = Instant::now();
        self.ask::<()>(&Ask::Remove { v4 })?;
        Ok(begin)
    }

    /// What its BGP task sent.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn sent(&mut self) -> Result<Sent> {
        self.ask(&Ask::Counters)
    }

    /// Its memory.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.child.id())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
