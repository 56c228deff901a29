//! Clients that ask an address from before it is announced, and the proof that its route never leads where nothing answers.
//!
//! ```text
//! no route: the router resets it, and counts ─► a route: every new connection is answered
//! ```
//!
//! A node that does not serve an address yet may refuse as well: so what was refused is compared with what the router counted.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_lab::http::{self, RequestError, Stage};
use bellhop_lab::load::Failure;
use bellhop_lab::netns::Namespace;
use bellhop_test_cluster::network::{REQUEST_TIMEOUT, inside};
use serde_json::Value;

use crate::moved::Changes;
use crate::routes::url;
use crate::site::{SOON, Site};

/// Name of the router's interface and table, see [`Nowhere`].
const NOWHERE: &str = "nowhere";
/// Most failures that are kept of one address: far more than a few changes of its next hops can move.
const FAILURES_KEPT: usize = 100;

/// What the clients of one address got.
#[derive(Clone, Debug)]
struct Tally {
    address: IpAddr,
    /// Connections that were refused before the first answer.
    early: u64,
    answered: u64,
    /// Connections that a change of the router's next hops moved to another node.
    moved: u64,
    /// Answers, which name pod and node.
    by: BTreeSet<String>,
    /// Connections that were not answered, without those that moved.
    failures: Vec<Failure>,
}

/// What all clients got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Knocked {
    /// Connections before there was a route.
    pub early: u64,
    /// Connections that were answered.
    pub answered: u64,
    /// See [`crate::traffic::Passed::moved`].
    pub moved: u64,
}

impl std::ops::AddAssign for Knocked {
    fn add_assign(&mut self, other: Self) {
        self.early += other.early;
        self.answered += other.answered;
        self.moved += other.moved;
    }
}

/// The router's way to addresses of the base pool that it has no other route to: an interface that leads nowhere, and a rule
/// that resets what goes there. By itself the kernel says five times that it has no route, and then once in a second
/// (`ip_error`), and a client whose socket is busy at that moment does not hear it. Ends when dropped.
#[derive(Debug)]
pub struct Nowhere(Namespace);

impl Nowhere {
    fn set(router: Namespace) -> Result<Self> {
        // Of a run that was killed.
        drop(Self(router.clone()));
        let nowhere = Self(router);
        nowhere.0.ip_batch(&format!(
            "link add {NOWHERE} type bridge\nlink set {NOWHERE} up\n\
             route add 203.0.113.0/24 dev {NOWHERE}\nroute add 2001:db8:53::/64 dev {NOWHERE}"
        ))?;
        let rules = format!(
            "table inet {NOWHERE} {{\ncounter {NOWHERE} {{ }}\nchain forward {{\n\
             type filter hook forward priority 0\n\
             meta l4proto tcp oifname {NOWHERE} counter name {NOWHERE} reject with tcp reset\n}}\n}}"
        );
        output_of(nowhere.0.command("nft").arg(rules))?;
        Ok(nowhere)
    }

    /// Connections that found no route since the start.
    fn refused(&self) -> Result<u64> {
        let mut list = self.0.command("nft");
        let listed = output_of(list.args(["-j", "list", "counter", "inet", NOWHERE, NOWHERE]))?;
        let listed: Value = serde_json::from_str(&listed)?;
        let objects = listed["nftables"].as_array().into_iter().flatten();
        let packets = objects.filter_map(|object| object["counter"]["packets"].as_u64()).next();
        packets.with_context(|| format!("no counter in {listed}"))
    }
}

impl Drop for Nowhere {
    fn drop(&mut self) {
        // What is not there need not go.
        let _ = self.0.ip_batch(&format!("link delete {NOWHERE}"));
        let _ = output_of(self.0.command("nft").args(["delete", "table", "inet", NOWHERE]));
    }
}

impl Site {
    /// Lets the router reset each connection to an address of the base pool that it has no route to.
    ///
    /// # Errors
    /// When the router cannot be set up.
    pub fn nowhere(&self) -> Result<Nowhere> {
        Nowhere::set(self.cluster()?.router())
    }

    /// Asks every one of `addresses`, each from a client of its own with `pause` between two connections, while `work` goes
    /// on, which begins when each client has found that there is no route. From the first answer on every connection to an
    /// address must have been answered, but for one on its way while the router changed that address's next hops, and none
    /// before it may have failed in another way than without a route.
    ///
    /// # Errors
    /// Those of `work`; then with what the clients got instead.
    pub fn knock(
        &self,
        nowhere: &Nowhere,
        addresses: &[IpAddr],
        pause: Duration,
        work: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Knocked> {
        let client = self.cluster()?.client();
        let mut recording = self.cluster()?.record_routes("knock")?;
        let stop = AtomicBool::new(false);
        let refused_before = nowhere.refused()?;
        // Each client says once that it has begun.
        let (begun, beginnings) = sync_channel(addresses.len());
        let (worked, tallies) = std::thread::scope(|scope| {
            let ask = |address: &IpAddr| {
                let (address, client, stop, begun) = (*address, client.clone(), &stop, begun.clone());
                scope.spawn(move || inside(&client, || ask_until(address, pause, stop, &begun)))
            };
            let clients: Vec<_> = addresses.iter().map(ask).collect();
            let all = addresses.iter().try_for_each(|_| beginnings.recv_timeout(SOON));
            let worked = all.context("not every client found that there is no route").and_then(|()| work());
            stop.store(true, Ordering::Relaxed);
            let tallies: Result<Vec<Tally>> = clients
                .into_iter()
                .map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
                .collect();
            (worked, tallies)
        });
        let mut tallies = tallies?;
        let changes = Changes::of(&recording.events()?)?;
        for tally in &mut tallies {
            let failures = tally.failures.len();
            // Nobody knows of the others when they broke.
            ensure!(failures < FAILURES_KEPT, "{} broke at least {failures} times", tally.address);
            tally.failures.retain(|failure| !changes.moved(tally.address, failure));
            tally.moved = (failures - tally.failures.len()) as u64;
        }
        let failed: Vec<&Tally> = tallies.iter().filter(|tally| !tally.failures.is_empty()).collect();
        ensure!(failed.is_empty(), "routes led where nothing answers: {failed:#?}");
        worked.with_context(|| format!("{tallies:?}"))?;
        let mut knocked = Knocked::default();
        for Tally { address, early, answered, moved, .. } in &tallies {
            ensure!(*answered > 0, "{address} never answered");
            knocked += Knocked { early: *early, answered: *answered, moved: *moved };
        }
        let refused = nowhere.refused()? - refused_before;
        ensure!(
            refused == knocked.early,
            "{} connections were refused, {refused} by the router",
            knocked.early
        );
        Ok(knocked)
    }
}

/// Asks one address from this thread's network namespace until told to stop.
fn ask_until(address: IpAddr, pause: Duration, stop: &AtomicBool, begun: &SyncSender<()>) -> Tally {
    let mut tally =
        Tally { address, early: 0, answered: 0, moved: 0, by: BTreeSet::new(), failures: Vec::new() };
    while !stop.load(Ordering::Relaxed) {
        let since = SystemTime::now();
        match http::get(url(address), None, REQUEST_TIMEOUT) {
            Ok(reply) => {
                tally.answered += 1;
                tally.by.insert(reply.body);
            }
            Err(error) if tally.answered == 0 && is_refused(&error) => {
                tally.early += 1;
                if tally.early == 1 {
                    // There is room for every client, and whoever listens no more has failed.
                    let _ = begun.send(());
                }
            }
            Err(error) => {
                if tally.failures.len() < FAILURES_KEPT {
                    tally.failures.push(Failure::now(since, &error));
                }
            }
        }
        std::thread::sleep(pause);
    }
    tally
}

fn is_refused(error: &RequestError) -> bool {
    error.stage == Stage::Connect && error.source.kind() == io::ErrorKind::ConnectionRefused
}
