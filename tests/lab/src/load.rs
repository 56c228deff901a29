//! The client's load: one new connection for every request, counted by who answered, with every failure told.
//!
//! ECMP hashes by address and port, so when a router's set of next hops changes, a connection that is open at that
//! moment may continue at another node, which knows nothing of it and resets it. That is how ECMP works and no failure
//! of the announcements: a request whose *established* connection is reset is repeated once on a new connection, and
//! counted as [`Report::moved`]. Everything else (no connection, a timeout, a second reset) is a [`Failure`].

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::command::output_of;
use crate::http::{self, Stage, Url};
use crate::netns::Namespace;
use crate::plan::Router;

/// How long one request may take at each of its stages. Longer than the kernel's first SYN retransmission (1 s) would
/// hide a lost SYN; a request that needs one has failed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(900);
/// Most failures that a report lists; all are counted.
const FAILURES_LISTED: usize = 20;
/// Most connections that moved of which a report tells when: a change of the next hops catches a few that are open.
const MOVES_LISTED: usize = 100;
/// A counted load gives up on a server after so many failures in a row: at 0.9 s each, the rest would only cost time.
const GIVE_UP_AFTER: u32 = 5;

/// What to ask, how often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// The servers; each is asked by a thread of its own.
    pub urls: Vec<Url>,
    /// Requests to each server, fewer where it fails several times in a row; `None` goes on until standard input ends.
    pub count: Option<u64>,
    /// A load without a count goes on, after it was told to end, until it has made so many requests to each server.
    pub at_least: u64,
    /// Pause between two requests to the same server.
    pub pause: Duration,
    /// Interface to bind to, so that one router alone is used.
    pub interface: Option<String>,
}

/// What the requests to one server got.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tally {
    /// Requests made.
    pub requests: u64,
    /// Answers by the name in them.
    pub answers: BTreeMap<String, u64>,
    /// Answers by the router over whose link the connection went.
    pub routers: BTreeMap<String, u64>,
    /// Established connections that were reset and made again; see the module.
    pub moved: u64,
    /// The first of these.
    pub moves: Vec<Failure>,
    /// Requests that failed.
    pub failed: u64,
    /// The first of these.
    pub failures: Vec<Failure>,
    /// The longest that a request took that did not fail, in microseconds.
    pub slowest_us: u64,
}

/// One failed connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When it was begun, in microseconds since 1970.
    pub since_us: u64,
    /// When it failed, likewise.
    pub at_us: u64,
    /// Where.
    pub stage: Stage,
    /// A server had taken it.
    pub established: bool,
    /// Why.
    pub error: String,
}

impl Failure {
    /// A connection that was begun at `since` and fails at this moment.
    pub fn now(since: SystemTime, error: &http::RequestError) -> Self {
        Self {
            since_us: us(since),
            at_us: us(SystemTime::now()),
            stage: error.stage,
            established: error.stage == Stage::Answer || is_moved(error),
            error: format!("{error} ({:?})", error.source.kind()),
        }
    }

    /// From when to when it was waited for.
    pub fn during(&self) -> RangeInclusive<SystemTime> {
        let time = |us| UNIX_EPOCH + Duration::from_micros(us);
        time(self.since_us)..=time(self.at_us)
    }
}

/// What all requests got, by URL.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report(pub BTreeMap<String, Tally>);

impl Report {
    /// Requests made to all servers.
    pub fn requests(&self) -> u64 {
        self.0.values().map(|tally| tally.requests).sum()
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.0.values().map(|tally| tally.failed).sum()
    }

    /// Connections that moved from node to node.
    pub fn moved(&self) -> u64 {
        self.0.values().map(|tally| tally.moved).sum()
    }

    /// What one server's clients got.
    pub fn of(&self, url: Url) -> Tally {
        self.0.get(&url.to_string()).cloned().unwrap_or_default()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests, {} failed", self.requests(), self.failed())?;
        if self.moved() > 0 {
            write!(f, ", {} moved while open", self.moved())?;
        }
        for (url, tally) in &self.0 {
            for failure in tally.failures.iter().take(3) {
                write!(f, "; {url} at {:.3}: {}", failure.at_us as f64 / 1e6, failure.error)?;
            }
        }
        Ok(())
    }
}

/// Makes the requests from this process, in this network namespace; without a count, until standard input ends.
pub fn run(load: &Load) -> Report {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if load.count.is_none() {
            scope.spawn(|| {
                // The end of standard input is the sign to stop: it also comes when the process that started us is killed.
                let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
                stop.store(true, Ordering::Relaxed);
            });
        }
        run_until(load, &stop)
    })
}

/// Makes the requests from this thread's network namespace; without a count, until `stop` is set.
pub fn run_until(load: &Load, stop: &AtomicBool) -> Report {
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for url in &load.urls {
            scope.spawn(|| {
                let tally = ask_again_and_again(load, *url, stop);
                // A poisoned lock only means that another thread panicked between two inserts, which leaves the map whole.
                report.lock().unwrap_or_else(PoisonError::into_inner).0.insert(url.to_string(), tally);
            });
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn ask_again_and_again(load: &Load, url: Url, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut failures_in_a_row = 0;
    while match load.count {
        Some(count) => tally.requests < count,
        None => !stop.load(Ordering::Relaxed) || tally.requests < load.at_least,
    } {
        let start = std::time::Instant::now();
        tally.requests += 1;
        let mut since = SystemTime::now();
        let mut result = http::get(url, load.interface.as_deref(), REQUEST_TIMEOUT);
        if let Err(error) = &result
            && is_moved(error)
        {
            tally.moved += 1;
            if tally.moves.len() < MOVES_LISTED {
                tally.moves.push(Failure::now(since, error));
            }
            since = SystemTime::now();
            result = http::get(url, load.interface.as_deref(), REQUEST_TIMEOUT);
        }
        match result {
            Ok(reply) => {
                failures_in_a_row = 0;
                *tally.answers.entry(reply.body).or_default() += 1;
                let router = Router::of_client_address(reply.local.ip()).map_or("other", Router::name);
                *tally.routers.entry(router.to_owned()).or_default() += 1;
                let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                tally.slowest_us = tally.slowest_us.max(took);
            }
            Err(error) => {
                tally.failed += 1;
                failures_in_a_row += 1;
                let failure = Failure::now(since, &error);
                eprintln!("{:.6} {url} {}", failure.at_us as f64 / 1e6, failure.error);
                if tally.failures.len() < FAILURES_LISTED {
                    tally.failures.push(failure);
                }
            }
        }
        if load.count.is_some() && failures_in_a_row == GIVE_UP_AFTER {
            break;
        }
        if !load.pause.is_zero() {
            std::thread::sleep(load.pause);
        }
    }
    tally
}

/// True for an established connection that the other side does not know (any more). That may come to light while
/// connecting still: the kernel says `ECONNREFUSED` for a reset in answer to the SYN, and `ECONNRESET` only once one node
/// has accepted and another one has got what followed (Linux, `tcp_reset`).
pub fn is_moved(error: &http::RequestError) -> bool {
    matches!(error.source.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Microseconds since 1970.
fn us(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Load {
    /// `count` requests to each of `urls`, one after the other without pause.
    pub fn burst(urls: &[Url], count: u64) -> Self {
        Self { urls: urls.to_vec(), count: Some(count), at_least: 0, pause: Duration::ZERO, interface: None }
    }

    /// Requests to each of `urls` every `pause`, until stopped.
    pub fn steady(urls: &[Url], pause: Duration) -> Self {
        Self { urls: urls.to_vec(), count: None, at_least: 0, pause, interface: None }
    }

    /// The same over one router alone.
    #[must_use]
    pub fn via(mut self, router: Router) -> Self {
        self.interface = Some(router.client_interface().into());
        self
    }

    fn command(&self, namespace: &Namespace, tool: &Path) -> Command {
        let mut command = namespace.command(tool);
        command.arg("load").args(["--pause-us", &self.pause.as_micros().to_string()]);
        for url in &self.urls {
            command.args(["--url", &url.to_string()]);
        }
        match self.count {
            Some(count) => command.args(["--count", &count.to_string()]),
            None => command.arg("--until-eof"),
        };
        if let Some(interface) = &self.interface {
            command.args(["--interface", interface]);
        }
        command
    }

    /// Makes the requests from inside a namespace and waits for the report.
    ///
    /// # Errors
    /// When the generator cannot run; failed requests are in the report.
    pub fn run_in(&self, namespace: &Namespace, tool: &Path) -> Result<Report> {
        let text = output_of(&mut self.command(namespace, tool))?;
        serde_json::from_str(&text).with_context(|| format!("unexpected report: {text}"))
    }

    /// Starts making the requests from inside a namespace; failures go to `log` as they happen.
    ///
    /// # Errors
    /// When the generator cannot be started.
    pub fn start_in(&self, namespace: &Namespace, tool: &Path, log: &Path) -> Result<Running> {
        let mut command = self.command(namespace, tool);
        let file = std::fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let child = command.spawn().context("cannot start the load generator")?;
        Ok(Running { child, log: log.to_owned() })
    }
}

/// A load that goes on until it is stopped, or dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Ends it and returns what it got.
    ///
    /// # Errors
    /// When the generator had died.
    pub fn stop(mut self) -> Result<Report> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.child.stdout.take().context("no standard output")?.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the load generator ended with {status}, see {}", self.log.display());
        }
        serde_json::from_str(&text).with_context(|| format!("unexpected report: {text}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself when its input does; a zombie is all that waiting prevents.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(stage: Stage, kind: io::ErrorKind) -> http::RequestError {
        http::RequestError { stage, source: kind.into() }
    }

    #[test]
    fn only_the_reset_of_an_established_connection_counts_as_moved() {
        assert!(is_moved(&error(Stage::Answer, io::ErrorKind::ConnectionReset)));
        assert!(is_moved(&error(Stage::Connect, io::ErrorKind::ConnectionReset)));
        assert!(!is_moved(&error(Stage::Connect, io::ErrorKind::ConnectionRefused)));
        assert!(!is_moved(&error(Stage::Answer, io::ErrorKind::TimedOut)));
    }

    #[test]
    fn every_request_that_finds_no_server_is_a_failure() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let report = run(&Load::burst(&[Url(address)], 3));
        assert_eq!((report.requests(), report.failed(), report.moved()), (3, 3, 0));
        let failure = &report.of(Url(address)).failures[0];
        assert_eq!((failure.stage, failure.established), (Stage::Connect, false));
        assert!(report.to_string().starts_with("3 requests, 3 failed"), "{report}");
    }
}
