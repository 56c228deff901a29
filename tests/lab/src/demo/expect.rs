//! What several steps wait for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::Demo;
use crate::http::Url;
use crate::load::{Load, Report, Running};
use crate::observe::bgp::{self, Family, Neighbor, Path, Table};
use crate::observe::kernel::{Recording, bgp_routes};
use crate::plan::{Node, Router};

/// Everything that both routers hold, by router and prefix.
pub(crate) type Tables = BTreeMap<Router, Table>;

impl Demo {
    /// Waits until every address is forwarded to exactly these nodes by both routers, in bgpd and in the kernel.
    pub(crate) fn wait_for_next_hops(
        &mut self,
        what: &str,
        addresses: &[IpAddr],
        nodes: &[Node],
        deadline: Duration,
    ) -> Result<()> {
        let lab = self.lab.clone();
        self.transcript.wait(what, deadline, || {
            for router in Router::ALL {
                let kernel = bgp_routes(&lab.router(router)).map_err(|error| format!("{error:#}"))?;
                for address in addresses {
                    let used = bgp::nodes_in_use(&lab.frr(router), *address)
                        .map_err(|error| format!("{error:#}"))?;
                    let installed = kernel.get(&address.to_string()).cloned().unwrap_or_default();
                    let wanted: Vec<_> = nodes.iter().map(|node| next_hop(*node, *address)).collect();
                    if used != nodes || installed != wanted {
                        let used = names(&used);
                        return Err(format!(
                            "{address} at {}: bgpd forwards to [{used}], the kernel to {installed:?}",
                            router.name()
                        ));
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Waits until the paths of `node` to every address, at both routers, satisfy `holds` (`None`: no path).
    pub(crate) fn wait_for_paths_of(
        &mut self,
        what: &str,
        addresses: &[IpAddr],
        node: Node,
        holds: impl Fn(Option<&Path>) -> bool,
    ) -> Result<()> {
        let lab = self.lab.clone();
        self.transcript.wait(what, super::DEADLINE, || {
            for router in Router::ALL {
                for address in addresses {
                    let paths =
                        bgp::paths(&lab.frr(router), *address).map_err(|error| format!("{error:#}"))?;
                    let path = paths.iter().find(|path| path.node() == Some(node));
                    if !holds(path) {
                        return Err(format!("{address} at {}: {path:?}", router.name()));
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// What both routers hold now.
    pub(crate) fn tables(&self) -> Result<Tables> {
        let mut tables = Tables::new();
        for router in Router::ALL {
            let mut table = Table::new();
            for family in Family::ALL {
                table.extend(bgp::table(&self.lab.frr(router), family)?);
            }
            tables.insert(router, table);
        }
        Ok(tables)
    }

    /// The sessions as both routers see them.
    pub(crate) fn sessions(&self) -> Result<BTreeMap<(Router, Node), Neighbor>> {
        let mut sessions = BTreeMap::new();
        for router in Router::ALL {
            let neighbors = bgp::neighbors(&self.lab.frr(router))?;
            sessions.extend(neighbors.into_iter().map(|(node, neighbor)| ((router, node), neighbor)));
        }
        Ok(sessions)
    }

    /// Starts a recording of the kernel's route changes on both routers.
    pub(crate) fn record(&self, name: &str) -> Result<Recordings> {
        let start = |router: Router| {
            let file = self.lab.run().join(format!("{name}-{}-routes.log", router.name()));
            Recording::start(&self.lab.router(router), &file).map(|recording| (router, recording))
        };
        Router::ALL.into_iter().map(start).collect::<Result<_>>().map(Recordings)
    }

    /// Checks that neither router's kernel deleted a route to any of the addresses.
    pub(crate) fn no_route_was_deleted(
        &mut self,
        mut recordings: Recordings,
        addresses: &[IpAddr],
    ) -> Result<()> {
        let mut deleted = Vec::new();
        for (router, recording) in &mut recordings.0 {
            let events = recording.deletions_of(addresses)?;
            deleted.extend(events.into_iter().map(|event| format!("{}: {}", router.name(), event.line)));
        }
        self.transcript.that(
            "neither router's kernel deleted a route",
            deleted.is_empty(),
            format_args!("{} deletions: {}", deleted.len(), deleted.join("; ")),
        )?;
        Ok(())
    }

    /// Starts requests that go on until the end of the step.
    pub(crate) fn steady_load(&mut self, urls: &[Url]) -> Result<Running> {
        let load = Load::steady(urls, super::STEADY);
        load.start_in(&self.lab.client(), self.lab.tool(), &self.lab.run().join("load.log"))
    }

    /// Ends the requests and checks that none failed.
    pub(crate) fn no_request_failed(&mut self, load: Running, may_move: bool) -> Result<Report> {
        let report = load.stop()?;
        let holds = report.requests() > 0 && report.failed() == 0 && (may_move || report.moved() == 0);
        let what = format!("no request failed meanwhile ({report})");
        if holds {
            self.transcript.ok(what);
        } else {
            let expected = if may_move { "0 failed" } else { "0 failed, 0 moved" };
            return Err(self.transcript.failed("no request failed meanwhile", expected, &report).into());
        }
        Ok(report)
    }
}

/// Recordings of both routers.
#[derive(Debug)]
pub(crate) struct Recordings(Vec<(Router, Recording)>);

/// Under which next hop a node announces an address.
fn next_hop(node: Node, address: IpAddr) -> IpAddr {
    if address.is_ipv4() { node.ipv4().into() } else { node.ipv6().into() }
}

/// Names of nodes, separated by blanks.
pub(crate) fn names(nodes: &[Node]) -> String {
    nodes.iter().map(|node| node.name()).collect::<Vec<_>>().join(" ")
}
