//! One router with FRR and one node, in two network namespaces with one link: the least that a route needs.
//!
//! Addresses and names are those of the lab's plan (`router-a`, `node-1`), so that the lab's FRR and its observers serve
//! here too.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bellhop_lab::frr::Frr;
use bellhop_lab::lab::require_root;
use bellhop_lab::netns::Namespace;
use bellhop_lab::observe::bgp::Messages;
use bellhop_lab::{Node, Router};
use serde::Deserialize;

/// Between two looks at the router: short against what is measured, long enough that bgpd is not kept from its work.
const LOOK: Duration = Duration::from_micros(500);

/// The router.
pub const ROUTER: Router = Router::A;
/// The node.
pub const NODE: Node = Node::ALL[0];

/// The two namespaces; gone when dropped, with every process in them.
#[derive(Debug)]
pub struct Wire {
    router: Namespace,
    node: Namespace,
    folder: PathBuf,
    frr: Frr,
}

/// How many prefixes the router has from the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prefixes {
    /// IPv4.
    pub v4: u64,
    /// IPv6.
    pub v6: u64,
    /// Changes of the IPv4 table since bgpd started: one for each route that came, changed or went.
    pub v4_version: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Summary {
    ipv4_unicast: FamilySummary,
    ipv6_unicast: FamilySummary,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FamilySummary {
    table_version: u64,
    peers: std::collections::BTreeMap<IpAddr, PeerSummary>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PeerSummary {
    pfx_rcd: u64,
}

impl FamilySummary {
    fn prefixes(&self) -> u64 {
        self.peers.get(&IpAddr::V4(NODE.ipv4())).map_or(0, |peer| peer.pfx_rcd)
    }
}

impl Wire {
    /// Sets it up. Several stand side by side.
    ///
    /// # Errors
    /// Without root, without iproute2 or FRR.
    pub fn up(name: &str) -> Result<Self> {
        require_root()?;
        let tag = format!("bench-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&tag);
        let router = Namespace::named(format!("{tag}-r"));
        let node = Namespace::named(format!("{tag}-n"));
        let frr = Frr::new(ROUTER, router.clone(), folder.join("frr"));
        let wire = Self { router, node, folder, frr };
        wire.build().context("cannot set up the namespaces of the bench")?;
        Ok(wire)
    }

    fn build(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        self.router.create()?;
        self.node.create()?;
        self.router
            .ip_batch(&format!("link add fabric type veth peer name fabric netns {}", self.node.name()))?;
        let ends = [(&self.router, ROUTER.ipv4(), ROUTER.ipv6()), (&self.node, NODE.ipv4(), NODE.ipv6())];
        for (namespace, v4, v6) in ends {
            namespace.ip_batch(&format!(
                "link set fabric up\naddress add {v4}/24 dev fabric\naddress add {v6}/64 dev fabric nodad\n"
            ))?;
        }
        self.frr.start()
    }

    /// The router's namespace.
    pub fn router(&self) -> &Namespace {
        &self.router
    }

    /// The node's namespace.
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    /// The router's FRR.
    pub fn frr(&self) -> &Frr {
        &self.frr
    }

    /// A folder that goes with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many prefixes the router has from the node, by its own count.
    ///
    /// # Errors
    /// When bgpd does not answer.
    pub fn prefixes(&self) -> Result<Prefixes> {
        prefixes(&self.frr)
    }

    /// Messages that the router counted on its session with the node.
    ///
    /// # Errors
    /// When bgpd does not answer, or there is no session.
    pub fn messages(&self) -> Result<Messages> {
        let neighbors = bellhop_lab::observe::bgp::neighbors(&self.frr)?;
        Ok(neighbors.get(&NODE).context("the router does not know the node")?.message_stats)
    }

    /// Looks at the router's counts until they are as wanted, and says how long after `begin` that was.
    ///
    /// # Errors
    /// When they are not within `deadline`.
    pub fn visible(
        &self,
        begin: Instant,
        deadline: Duration,
        wanted: impl Fn(&Prefixes) -> bool,
    ) -> Result<Duration> {
        visible(&self.frr, begin, deadline, wanted)
    }
}

/// How many prefixes a router has from the node, by its own count.
///
/// # Errors
/// When bgpd does not answer.
pub fn prefixes(frr: &Frr) -> Result<Prefixes> {
    let summary: Summary = frr.bgpd_json("show bgp summary json")?;
    Ok(Prefixes {
        v4: summary.ipv4_unicast.prefixes(),
        v6: summary.ipv6_unicast.prefixes(),
        v4_version: summary.ipv4_unicast.table_version,
    })
}

/// As [`Wire::visible`], of any router.
///
/// # Errors
/// When the counts are not as wanted within `deadline`.
pub fn visible(
    frr: &Frr,
    begin: Instant,
    deadline: Duration,
    wanted: impl Fn(&Prefixes) -> bool,
) -> Result<Duration> {
    loop {
        let prefixes = prefixes(frr)?;
        let after = begin.elapsed();
        if wanted(&prefixes) {
            return Ok(after);
        }
        if after > deadline {
            bail!("the router has {prefixes:?} after {after:.1?}, which is not what was waited for");
        }
        std::thread::sleep(LOOK);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for namespace in [&self.router, &self.node] {
            if let Err(error) = namespace.remove() {
                eprintln!("{}: {error:#}", namespace.name());
            }
        }
        // What is left of it is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
