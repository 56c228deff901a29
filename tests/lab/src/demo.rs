//! The main job in eight steps, each checked from outside: FRR's tables, the kernel's routes, what the client received.
//!
//! [`Demo`] holds a lab, the processes in it and a transcript; each step is a method, to be called in order. `lab demo` runs
//! them all, and so do the tests, in a lab of their own.

mod drain;
mod endpoints;
mod expect;
mod explain;
mod hostile;
mod plugins;
mod restart;
mod routes;
mod upgrade;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bellhop::{Bellhop, Programs, tail};
use crate::http::Url;
use crate::lab::{Guard, Lab};
use crate::manifests::Manifests;
use crate::plan::{Node, Router};
use crate::transcript::Transcript;

/// How long anything may take that follows an edit of a manifest. Far above what it takes; a slow machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How long the first routes may take: three processes compile three plugins each, in the development profile.
pub(crate) const FIRST_ROUTES: Duration = Duration::from_secs(180);
/// Pause between two requests of the steady load to one address.
pub(crate) const STEADY: Duration = Duration::from_millis(10);
/// Lines of each log that a failure shows.
const TAIL: usize = 15;

/// A Service of the demo, with the addresses it is to get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DemoService {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// The Service whose addresses the `address` policy chooses.
pub const WEB: DemoService = service("shop", "web", 80, 0x80);
/// The Service whose addresses the built-in rule chooses: the first free ones.
pub const API: DemoService = service("shop", "api", 10, 0x10);
/// The Service with `externalTrafficPolicy: Local`, which asks for its addresses.
pub const STREAM: DemoService = service("media", "stream", 50, 0x50);

const fn service(namespace: &'static str, name: &'static str, ipv4: u8, ipv6: u16) -> DemoService {
    DemoService {
        namespace,
        name,
        ipv4: Ipv4Addr::new(203, 0, 113, ipv4),
        ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, ipv6),
    }
}

impl DemoService {
    /// Both addresses, IPv4 first.
    pub const fn addresses(self) -> [IpAddr; 2] {
        [IpAddr::V4(self.ipv4), IpAddr::V6(self.ipv6)]
    }

    /// Both URLs.
    pub fn urls(self) -> [Url; 2] {
        self.addresses().map(Url::of)
    }
}

/// The addresses of several Services.
pub(crate) fn addresses_of(services: &[DemoService]) -> Vec<IpAddr> {
    services.iter().flat_map(|service| service.addresses()).collect()
}

/// The URLs of several Services.
pub(crate) fn urls_of(services: &[DemoService]) -> Vec<Url> {
    services.iter().flat_map(|service| service.urls()).collect()
}

/// What the demo is run with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inputs {
    /// The programs under test.
    pub programs: Programs,
    /// Folder with `manifests/`, which is copied before it is edited, and `policies/` with the policies' settings.
    pub examples: PathBuf,
    /// Modules of hostile guests, `NAME.wasm`.
    pub guests: PathBuf,
}

impl Inputs {
    /// With the manifests and guests of this source tree.
    pub fn new(programs: Programs) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap_or(root);
        Self { programs, examples: root.join("examples/demo"), guests: root.join("tests/guests/fixtures") }
    }
}

/// A lab with Bellhop in it.
#[derive(Debug)]
pub struct Demo {
    /// The lab.
    pub lab: Lab,
    /// The processes.
    pub bellhop: Bellhop,
    /// What they read.
    pub manifests: Manifests,
    /// The record.
    pub transcript: Transcript,
    inputs: Inputs,
    /// Of the `route` policy as it is in force, to come back to after each attack.
    good_route_policy: String,
}

impl Demo {
    /// Copies the manifests into a lab that stands, packs the plugins into them, and starts Bellhop on every node.
    ///
    /// # Errors
    /// When something of it is missing or fails.
    pub fn start(lab: Lab, inputs: Inputs, transcript: Transcript) -> Result<Self> {
        inputs.programs.check()?;
        let manifests = Manifests::copy(&inputs.examples.join("manifests"), lab.run().join("manifests"))?;
        let bellhop = Bellhop::new(lab.clone(), inputs.programs.clone(), manifests.folder());
        let mut demo = Self { lab, bellhop, manifests, transcript, inputs, good_route_policy: String::new() };
        demo.install_shipped_policies()?;
        for node in Node::ALL {
            demo.bellhop.start(node)?;
        }
        Ok(demo)
    }

    /// All steps in order, up to the first that fails.
    ///
    /// # Errors
    /// With the check that failed; the transcript shows it too.
    pub fn run(&mut self) -> Result<()> {
        for step in Self::STEPS {
            step(self)?;
        }
        Ok(())
    }

    /// The steps, each relying on those before it.
    pub const STEPS: [fn(&mut Self) -> Result<()>; 8] = [
        Self::services_get_addresses_and_traffic,
        Self::routers_see_different_attributes,
        Self::a_label_drains_a_node,
        Self::local_follows_the_endpoints,
        Self::a_new_plugin_version_is_an_update,
        Self::hostile_plugins_are_contained,
        Self::a_killed_process_costs_nothing,
        Self::the_tools_tell_why,
    ];

    /// The ends of all logs, for the reader of a failure.
    pub fn log_tails(&self) -> String {
        let nodes = Node::ALL.into_iter().map(|node| self.bellhop.log_tail(node, TAIL));
        let routers =
            Router::ALL.into_iter().map(|router| tail(&self.lab.frr(router).folder().join("bgpd.log"), TAIL));
        nodes.chain(routers).collect::<Vec<_>>().join("\n")
    }

    /// How to look around in a lab that is kept.
    pub fn guide(&self) -> String {
        let run = self.lab.run();
        let run = run.display();
        let prefix = self.lab.prefix();
        let bellhop = self.inputs.programs.bellhop.display();
        let tool = self.lab.tool().display();
        let web = WEB.urls();
        format!(
            "The lab stays up. To look around:
  routers     vtysh --vty_socket {run}/router-a -c 'show bgp ipv4 unicast {v4}'
              vtysh --vty_socket {run}/router-b -c 'show bgp summary'
              ip -n {prefix}-router-a route; ip -n {prefix}-router-a -6 route
  client      {tool} exec {prefix} client -- curl -s {url4}
              {tool} exec {prefix} client -- {tool} load --url '{url6}' --count 300
  bellhop     {bellhop} status --socket {run}/node-1.sock
              {bellhop} routes --socket {run}/node-1.sock
              {bellhop} explain service/shop/web --socket {run}/node-1.sock
  logs        tail -f {run}/node-1-bellhop.log
  manifests   edit {run}/manifests/nodes/node-3.yaml (all three nodes read this folder), for example add the label
              {label}: \"true\" and watch its routes drain
  members     {tool} status
To remove it: make demo-down",
            v4 = WEB.ipv4,
            url4 = web[0],
            url6 = web[1],
            label = drain::LABEL,
        )
    }
}

/// Sets up a lab, runs the demo in it, removes it (unless `keep`), and says how it went.
///
/// # Errors
/// When the lab cannot be set up or removed, or a check fails.
pub fn run(lab: &Lab, inputs: Inputs, keep: bool) -> Result<()> {
    inputs.programs.check()?;
    let guard = Guard::up(lab.clone())?;
    let mut transcript = Transcript::to_stdout();
    transcript
        .act(format_args!("lab {}: two FRR routers, three nodes, a client, IPv4 and IPv6", lab.prefix()));
    let mut demo = match Demo::start(lab.clone(), inputs, transcript) {
        Ok(demo) => demo,
        Err(error) => {
            if keep {
                guard.keep();
            }
            return Err(error).context("the demo does not start");
        }
    };
    let verdict = demo.run();
    demo.transcript.end(&verdict);
    if verdict.is_err() {
        println!("\n{}", demo.log_tails());
    }
    if keep {
        println!("\n{}", demo.guide());
        guard.keep();
    } else {
        guard.down()?;
    }
    verdict
}
