//! Router and client: FRR, the routes that it installs, and requests from behind it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bellhop_lab::Router;
use bellhop_lab::frr::Frr;
use bellhop_lab::http::{self, Reply, Url};
use bellhop_lab::load::{self, Load, Report};
use bellhop_lab::netns::Namespace;
use bellhop_lab::observe::kernel::Recording;
use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cluster::Cluster;
use crate::machine::Machine;

/// AS number of the router, unless a test chooses another (RFC 6996 §5, private use).
pub const ROUTER_ASN: u32 = 64512;
/// AS number that the router expects of the nodes, unless a test chooses another.
pub const NODES_ASN: u32 = 64513;
/// Address of the router, to which nodes dial.
pub const ROUTER_IPV4: Ipv4Addr = Router::A.ipv4();
/// Address of the client, which backends see when a Service keeps it (`externalTrafficPolicy: Local`).
pub const CLIENT_IPV4: Ipv4Addr = Router::A.client_link_ipv4().1;
/// How long one request may take at each of its stages; see [`load::REQUEST_TIMEOUT`].
pub const REQUEST_TIMEOUT: Duration = load::REQUEST_TIMEOUT;

impl Cluster {
    /// Network namespace of the router, the place for BGP peers.
    pub fn router(&self) -> Namespace {
        self.namespace("router")
    }

    /// Network namespace of the client, which has the router for everything.
    pub fn client(&self) -> Namespace {
        self.namespace("client")
    }

    /// Network namespace of a machine.
    pub fn network_of(&self, machine: impl Into<Machine>) -> Namespace {
        self.namespace(&machine.into().name())
    }

    fn namespace(&self, member: &str) -> Namespace {
        Namespace::named(format!("{}-{member}", self.prefix()))
    }

    /// FRR of the router, whether it runs or not; [`bellhop_lab::observe::bgp`] reads its tables.
    pub fn frr(&self) -> Frr {
        Frr::new(Router::A, self.router(), self.state().join("frr")).with_asns(ROUTER_ASN, NODES_ASN)
    }

    /// FRR of the router, running from now until the cluster goes down: AS numbers [`ROUTER_ASN`] and [`NODES_ASN`], a neighbour for
    /// each node, both families, and the policy of the lab's routers. [`Frr::configure_bgpd`] changes it.
    ///
    /// # Errors
    /// As [`Frr::start`].
    pub fn start_frr(&self) -> Result<Frr> {
        let frr = self.frr();
        // In a cluster that was kept it runs already.
        if frr.bgpd("show version").is_err() {
            frr.start()?;
        }
        Ok(frr)
    }

    /// Starts to record the changes of the router's routes; [`Recording::deletions_of`] tells whether an announcement had a gap.
    ///
    /// # Errors
    /// As [`Recording::start`].
    pub fn record_routes(&self, name: &str) -> Result<Recording> {
        Recording::start(&self.router(), &self.logs().join(format!("{name}-routes.log")))
    }

    /// Asks a server once from a namespace, over a connection of its own.
    ///
    /// # Errors
    /// When the request fails, see [`http::RequestError`]; it is the cause of the error.
    pub fn get(&self, from: &Namespace, url: Url) -> Result<Reply> {
        let reply = inside(from, move || http::get(url, None, REQUEST_TIMEOUT))?;
        reply.with_context(|| format!("asking {url} from {}", from.name()))
    }

    /// Starts to make requests from the client, until [`Requests::stop`].
    ///
    /// # Errors
    /// When the client's namespace is not there.
    pub fn requests(&self, load: Load) -> Result<Requests> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let network = open(&self.client())?;
        let thread = std::thread::spawn(move || {
            enter(&network)?;
            Ok(load::run_until(&load, &stopped))
        });
        Ok(Requests { stop, thread: Some(thread) })
    }
}

/// Requests that go on until they are stopped, or dropped.
#[derive(Debug)]
pub struct Requests {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Report>>>,
}

impl Requests {
    /// Ends them and returns what they got. A load with a count ends by itself, and this waits for it.
    ///
    /// # Errors
    /// When they could not be made at all; failed requests are in the report.
    pub fn stop(mut self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped twice")?;
        thread.join().map_err(|_| anyhow!("the thread of the requests panicked"))?
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Does something in a network namespace: on a thread of its own, because a thread that has entered one stays there.
///
/// # Errors
/// When the namespace is not there, or `work` panics.
pub fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T> {
    let network = open(namespace)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(&network)?;
            Ok(work())
        });
        thread.join().map_err(|_| anyhow!("panicked in {}", namespace.name()))?
    })
}

fn open(namespace: &Namespace) -> Result<File> {
    File::open(namespace.path()).with_context(|| format!("there is no namespace {}", namespace.name()))
}

/// Moves this thread, and those that it starts, into a network namespace.
fn enter(network: &File) -> Result<()> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a network namespace")
}
