//! Bellhop's BGP task in a process of its own, with routes handed to it as the planner does.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellhop_core::RouteAttributes;
use bellhop_core::peer::Neighbour;
use bellhop_core::route::{Community, Family, host_route};
use bellhop_lab::plan::CLUSTER_ASN;
use bellhop_speaker::bgp::{Authentication, BgpConfig, BgpHandle, PeerConfig, RouteChange};

use super::{Batch, Process, Rival};
use crate::wire::{NODE, ROUTER, Wire};

/// First argument of the program in place of a bench's name.
pub const COMMAND: &str = "bgp";

/// Worker threads of the runtime, as many as the `bellhop` program has.
const RUNTIME_THREADS: usize = 2;

/// Runs the BGP task until standard input ends. Each line there is a batch: first and last number of its IPv4 routes and of its
/// IPv6 routes, and the number of sets. A line is answered once the changes are made, and again once they are handed over.
///
/// # Errors
/// When a line is no batch.
pub fn serve() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    let bgp = runtime.block_on(async {
        let bgp = BgpHandle::start();
        bgp.configure(config()).await;
        bgp.ready().await;
        bgp
    });
    let mut lines = std::io::stdin().lines();
    while let Some(line) = lines.next().transpose()? {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        let [v4, v4_end, v6, v6_end, sets] = numbers[..] else { anyhow::bail!("no batch: {line}") };
        let changes = changes(&Batch { v4: v4..v4_end, v6: v6..v6_end, sets });
        println!("made");
        // The handle begins to count now.
        lines.next().transpose()?;
        runtime.block_on(bgp.routes(changes));
        println!("handed over");
    }
    Ok(())
}

fn changes(batch: &Batch) -> Vec<RouteChange> {
    let mut sets: BTreeMap<u32, Arc<RouteAttributes>> = BTreeMap::new();
    let change = |route: super::Route| {
        let attributes = sets.entry(route.med).or_insert_with(|| {
            Arc::new(RouteAttributes {
                communities: vec![Community(CLUSTER_ASN << 16 | 1)],
                med: Some(route.med),
                ..RouteAttributes::default()
            })
        });
        RouteChange {
            peer: ROUTER.name().into(),
            prefix: host_route(route.address),
            attributes: Some(attributes.clone()),
        }
    };
    batch.routes().map(change).collect()
}

fn config() -> BgpConfig {
    let peer = PeerConfig {
        name: ROUTER.name().into(),
        neighbour: Neighbour::Address(ROUTER.ipv4().into()),
        peer_port: 179,
        peer_asn: ROUTER.asn().into(),
        local_asn: CLUSTER_ASN,
        source_address: None,
        source_interface: None,
        next_hop_v4: None,
        next_hop_v6: None,
        passive: false,
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(1),
        ebgp_multihop: None,
        ttl_security: None,
        authentication: Authentication::Nothing,
        problem: None,
        families: Family::ALL.to_vec(),
        extended_next_hop: false,
        role: None,
        bfd: None,
        prefix_limit: None,
        graceful_restart: None,
        redirect_port: None,
        shutdown_text: None,
        log_messages: false,
    };
    BgpConfig {
        local_asn: CLUSTER_ASN,
        router_id: NODE.ipv4(),
        listen: None,
        restarting: false,
        peers: BTreeMap::from([(peer.name.clone(), peer)]),
    }
}

/// The handle on such a process.
#[derive(Debug)]
pub struct Task {
    // Ends when its standard input does, at the latest.
    _process: Process,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Task {
    fn ask(&mut self, line: &str) -> Result<()> {
        writeln!(self.asks, "{line}")?;
        let mut answer = String::new();
        ensure!(self.answers.read_line(&mut answer)? > 0, "the process ended; its words are above");
        Ok(())
    }
}

impl Rival for Task {
    const NAME: &'static str = "Bellhop";

    fn start(benches: &Path, wire: &Wire) -> Result<Self> {
        let mut command = wire.node().command(benches);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start {} {COMMAND}", benches.display()))?;
        let asks = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { _process: Process(child), asks, answers })
    }

    fn announce(&mut self, _wire: &Wire, batch: &Batch) -> Result<Instant> {
        let Batch { v4, v6, sets } = batch;
        self.ask(&format!("{} {} {} {} {sets}", v4.start, v4.end, v6.start, v6.end))?;
        let begin = Instant::now();
        self.ask("go")?;
        Ok(begin)
    }
}
