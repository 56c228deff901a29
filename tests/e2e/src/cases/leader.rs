//! Case 4: the leading controller is killed, paused and cut off while Services are made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_test_cluster::{Cut, Node, wait_for};

use crate::Site;
use crate::objects::{Service, ingress};
use crate::site::NAMESPACE;

/// Services that are made in each of the four parts; 500 in all.
const SERVICES: usize = 125;
/// All Services of the case have addresses: a few hundred writes on a machine that runs a whole cluster besides, after
/// a Lease has run out.
const ALLOCATED_BY: Duration = Duration::from_secs(120);
/// A Lease that is not renewed has run out, and another controller leads.
const OTHER_LEADER: Duration = Duration::from_secs(60);
/// Many addresses for many Services.
const POOL: &str = "apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {name: many}
spec: {addresses: [203.0.113.128/25, 198.51.100.128/25, 198.18.0.0/22]}
";

pub(super) fn leader_is_lost_in_every_way(site: &Site) -> Result<()> {
    site.namespace("leader")?;
    site.apply(POOL)?;
    let cluster = site.cluster()?;
    make_services(site, "first")?;

    let killed = leader(site)?;
    signal(site, killed.node, "KILL")?;
    make_services(site, "killed")?;

    let paused = leader(site)?;
    signal(site, paused.node, "STOP")?;
    make_services(site, "paused")?;
    let other = wait_for("another controller leads while one is paused", OTHER_LEADER, || {
        let now = leader(site).map_err(|error| format!("{error:#}"))?;
        if now.pod == paused.pod { Err(format!("{} still does", now.pod)) } else { Ok(now) }
    })?;
    signal(site, paused.node, "CONT")?;

    cluster.cut(other.node, Cut::PodsApi)?;
    make_services(site, "cut")?;
    wait_for("another controller leads while one is cut off", OTHER_LEADER, || {
        let now = leader(site).map_err(|error| format!("{error:#}"))?;
        if now.pod == other.pod { Err(format!("{} still does", now.pod)) } else { Ok(()) }
    })?;
    let addresses = wait_for("every Service has an address", ALLOCATED_BY, || allocated(site))?;
    cluster.mend(other.node)?;
    agree(site, &addresses)?;
    // The one that was cut off has a stale view and a Lease that is another's: nothing changes when it is back.
    let after = wait_for("every Service still has an address", ALLOCATED_BY, || allocated(site))?;
    ensure!(after == addresses, "addresses changed when the controller that was cut off came back");
    Ok(())
}

/// Makes Services as fast as the API takes them.
fn make_services(site: &Site, part: &str) -> Result<()> {
    let manifests: Vec<String> =
        (0..SERVICES).map(|number| Service::new("leader", &format!("{part}-{number}")).manifest()).collect();
    site.apply(&manifests.join("---\n"))
}

/// A controller.
#[derive(Debug)]
struct Leader {
    pod: String,
    node: Node,
}

/// The controller that holds the Lease.
fn leader(site: &Site) -> Result<Leader> {
    let lease = site.json(&["-n", NAMESPACE, "get", "lease", "bellhop-controller"])?;
    let pod = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
    let pod = pod.context("nobody holds the Lease")?.to_owned();
    let object = site.json(&["-n", NAMESPACE, "get", "pod", &pod])?;
    let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = Node::ALL.into_iter().find(|known| known.name() == node);
    Ok(Leader { pod, node: node.context("the leader runs on no node")? })
}

/// Sends a signal to the controller on a node; there is one on each at most.
fn signal(site: &Site, node: Node, signal: &str) -> Result<()> {
    let mut kill = site.cluster()?.on(node, "pkill");
    output_of(kill.args([&format!("-{signal}"), "-f", "^/?[a-z/]*bellhop controller"])).map(drop)
}

/// The address of every Service of the case, once all have one.
fn allocated(site: &Site) -> Result<BTreeMap<String, IpAddr>, String> {
    let services = site.json(&["-n", "leader", "get", "services"]).map_err(|error| format!("{error:#}"))?;
    let mut addresses = BTreeMap::new();
    let services = services["items"].as_array().cloned().unwrap_or_default();
    for service in &services {
        if let [address] = ingress(service)[..] {
            addresses.insert(service["metadata"]["name"].as_str().unwrap_or_default().to_owned(), address);
        }
    }
    if addresses.len() == 4 * SERVICES && services.len() == addresses.len() {
        Ok(addresses)
    } else {
        Err(format!("{} of {} have one", addresses.len(), services.len()))
    }
}

/// No address twice, and claims say what Services say.
fn agree(site: &Site, addresses: &BTreeMap<String, IpAddr>) -> Result<()> {
    let distinct: BTreeSet<_> = addresses.values().collect();
    ensure!(distinct.len() == addresses.len(), "some Services have the same address");
    let claims = site.json(&["get", "addressclaims"])?;
    let mut claimed = BTreeMap::new();
    for claim in claims["items"].as_array().into_iter().flatten() {
        let holders = claim["spec"]["holders"].as_array().cloned().unwrap_or_default();
        ensure!(holders.len() == 1, "claim {} has {} holders", claim["metadata"]["name"], holders.len());
        let address: IpAddr = claim["spec"]["address"].as_str().unwrap_or_default().parse()?;
        let holder = holders[0]["name"].as_str().unwrap_or_default().to_owned();
        ensure!(claimed.insert(holder.clone(), address).is_none(), "Service {holder} holds two claims");
    }
    ensure!(claimed == *addresses, "claims and Services differ");
    Ok(())
}
