//! Steps 1 and 2: addresses, routes, traffic, attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;

use super::{API, DEADLINE, Demo, DemoService, FIRST_ROUTES, WEB, addresses_of, urls_of};
use crate::load::Load;
use crate::observe::bgp::{self, Neighbor, Path};
use crate::plan::{CLUSTER_ASN, Node, Router};

/// Requests to each address.
const REQUESTS: u64 = 300;

impl Demo {
    /// Step 1: two dual-stack Services get their addresses; both routers forward to three nodes; the client reaches all.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn services_get_addresses_and_traffic(&mut self) -> Result<()> {
        self.transcript.step(1, "Two dual-stack Services get addresses, routes and traffic");
        let services = [WEB, API];
        let addresses = addresses_of(&services);
        let lab = self.lab.clone();
        self.transcript.wait("both routers have sessions with all three nodes", FIRST_ROUTES, || {
            for router in Router::ALL {
                let neighbors = bgp::neighbors(&lab.frr(router)).map_err(|error| format!("{error:#}"))?;
                let down: Vec<_> =
                    neighbors.iter().filter(|(_, neighbor)| !neighbor.is_established()).collect();
                if !down.is_empty() {
                    let shown =
                        |(node, neighbor): &(&Node, &Neighbor)| format!("{} {}", node.name(), neighbor.state);
                    let down: Vec<_> = down.iter().map(shown).collect();
                    return Err(format!("{}: {}", router.name(), down.join(", ")));
                }
            }
            Ok(())
        })?;
        self.check_addresses(WEB, "the address policy chose")?;
        self.check_addresses(API, "the built-in rule chose")?;
        self.wait_for_next_hops(
            "both routers hold /32 and /128 routes of both Services with three next hops",
            &addresses,
            &Node::ALL,
            DEADLINE,
        )?;
        self.transcript
            .act(format_args!("client: {REQUESTS} requests to each of {} addresses", addresses.len()));
        let report =
            Load::burst(&urls_of(&services), REQUESTS).run_in(&self.lab.client(), self.lab.tool())?;
        self.transcript.that("every request was answered", report.failed() == 0, &report)?;
        let everyone: BTreeSet<String> = Node::ALL.into_iter().map(Node::name).collect();
        for url in urls_of(&services) {
            let tally = report.of(url);
            let seen: BTreeSet<String> = tally.answers.keys().cloned().collect();
            let counts = |counts: &BTreeMap<String, u64>| -> String {
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
            };
            let what = format!("{url}: {}; over {}", counts(&tally.answers), counts(&tally.routers));
            let over_both = tally.routers.keys().eq(Router::ALL.iter().map(|router| router.name()));
            self.transcript.that(&what, seen == everyone && over_both, format_args!("{tally:?}"))?;
        }
        Ok(())
    }

    /// The addresses a Service holds, as every node's process says.
    fn check_addresses(&mut self, service: DemoService, how: &str) -> Result<()> {
        let what =
            format!("{how} {} and {} for {}/{}", service.ipv4, service.ipv6, service.namespace, service.name);
        let expected: BTreeSet<IpAddr> = service.addresses().into();
        let bellhop = &self.bellhop;
        self.transcript.wait(&what, DEADLINE, || {
            for node in Node::ALL {
                let status = bellhop.status(node).map_err(|error| format!("{error:#}"))?;
                let held =
                    status.service(service.namespace, service.name).map(|service| service.addresses.clone());
                if held.iter().flatten().copied().collect::<BTreeSet<_>>() != expected {
                    return Err(format!("{} says {held:?}", node.name()));
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Step 2: each router sees its own communities, large communities, MED, AS path and local preference.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn routers_see_different_attributes(&mut self) -> Result<()> {
        self.transcript.step(2, "Each router gets its own attributes, from labels of Service, node and peer");
        for service in [WEB, API] {
            for router in Router::ALL {
                for address in service.addresses() {
                    let paths = bgp::paths(&self.lab.frr(router), address)?;
                    let seen: Vec<_> = paths.iter().map(Attributes::of).collect();
                    let expected: Vec<_> =
                        Node::ALL.map(|node| Attributes::expected(service, router, node)).into();
                    let what = format!("{address} at {}: {}", router.name(), expected[0]);
                    self.transcript.equal(&what, &expected, &seen)?;
                }
            }
        }
        Ok(())
    }
}

/// What a router sees of a path's attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attributes {
    pub(crate) communities: Vec<String>,
    pub(crate) large_communities: Vec<String>,
    pub(crate) med: Option<u32>,
    pub(crate) as_path: Vec<u32>,
    pub(crate) local_preference: Option<u32>,
}

impl Attributes {
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            communities: path.communities.clone(),
            large_communities: path.large_communities.clone(),
            med: path.med,
            as_path: path.as_path.clone(),
            local_preference: path.local_preference,
        }
    }

    /// What the table in `examples/demo/policies/peer-attributes.yaml` says.
    pub(crate) fn expected(service: DemoService, router: Router, node: Node) -> Self {
        let gold = service == WEB;
        let zone = if node == Node::ALL[0] { 1 } else { 2 };
        match router {
            Router::A => Self {
                communities: communities(&[
                    "64500:1",
                    "64500:100",
                    if gold { "64500:110" } else { "64500:120" },
                ]),
                large_communities: vec![format!("64500:10:{zone}")],
                med: Some(if gold { 10 } else { 50 }),
                as_path: vec![CLUSTER_ASN; if gold { 1 } else { 2 }],
                local_preference: None,
            },
            Router::B => Self {
                communities: communities(&["64500:1", "64500:200"]),
                large_communities: vec![format!("64500:20:{zone}")],
                med: None,
                as_path: Vec::new(),
                local_preference: Some(if gold { 300 } else { 150 }),
            },
        }
    }
}

fn communities(all: &[&str]) -> Vec<String> {
    all.iter().map(|community| (*community).to_owned()).collect()
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.communities.join(" "), self.large_communities.join(" "))?;
        if let Some(med) = self.med {
            write!(f, ", MED {med}")?;
        }
        if let Some(preference) = self.local_preference {
            write!(f, ", local preference {preference}")?;
        }
        let path: Vec<_> = self.as_path.iter().map(u32::to_string).collect();
        write!(f, ", AS path [{}]", path.join(" "))
    }
}
