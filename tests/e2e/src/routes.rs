//! What the router has, and what clients get.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use bellhop_lab::http::Url;
use bellhop_lab::observe::bgp::{self, Path};
use bellhop_lab::observe::kernel::bgp_routes;
use bellhop_test_cluster::{Node, wait_for};

use crate::site::{SOON, Site};

/// The port of a case's Service, unless it names another.
pub const PORT: u16 = 80;

impl Site {
    /// Waits until the router's kernel has a route to `address` with exactly these nodes as next hops; none for no route.
    ///
    /// # Errors
    /// With what it has instead.
    pub fn expect_route(&self, address: IpAddr, nodes: &[Node]) -> Result<()> {
        let router = self.cluster()?.router();
        let wanted: BTreeSet<IpAddr> = nodes.iter().map(|node| hop(*node, address)).collect();
        wait_for(&format!("the router reaches {address} by {wanted:?}"), SOON, || {
            let routes = bgp_routes(&router).map_err(|error| format!("{error:#}"))?;
            let found: BTreeSet<IpAddr> =
                routes.get(&address.to_string()).into_iter().flatten().copied().collect();
            if found == wanted { Ok(()) } else { Err(format!("by {found:?}")) }
        })?;
        Ok(())
    }

    /// Waits until the router has paths from exactly these nodes and each of them says that it shuts down (RFC 8326).
    ///
    /// # Errors
    /// With the paths that it has instead.
    pub fn expect_shutting_down(&self, address: IpAddr, nodes: &[Node]) -> Result<()> {
        wait_for(&format!("{address} is shut down gracefully by {nodes:?}"), SOON, || {
            let paths = self.paths(address).map_err(|error| format!("{error:#}"))?;
            let leaving: Vec<_> = paths.iter().filter(|path| path.is_shutting_down()).collect();
            let found: Vec<_> = leaving.iter().filter_map(|path| path.node()).collect();
            if found == nodes { Ok(()) } else { Err(format!("{paths:?}")) }
        })?;
        Ok(())
    }

    /// The paths that FRR has for a host route.
    ///
    /// # Errors
    /// When FRR does not answer.
    pub fn paths(&self, address: IpAddr) -> Result<Vec<Path>> {
        bgp::paths(self.frr()?, address)
    }

    /// Waits until the client gets an answer from `address`; returns its words.
    ///
    /// # Errors
    /// With why it gets none.
    pub fn expect_answer(&self, address: IpAddr) -> Result<String> {
        let cluster = self.cluster()?;
        let (client, url) = (cluster.client(), url(address));
        Ok(wait_for(&format!("the client gets an answer from {address}"), SOON, || {
            cluster.get(&client, url).map(|reply| reply.body).map_err(|error| format!("{error:#}"))
        })?)
    }
}

/// A node's address of the family of `address`, as it stands in the router's routes.
pub fn hop(node: Node, address: IpAddr) -> IpAddr {
    if address.is_ipv4() { node.ipv4().into() } else { node.ipv6().into() }
}

/// Where a Service answers.
pub fn url(address: IpAddr) -> Url {
    Url(SocketAddr::new(address, PORT))
}
