//! Case 3: a route never leads the data path, neither of a new Service nor of a node that boots.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_test_cluster::{Node, Program, wait_for};

use super::nodes::{
    SHORT_RESTART, both_policies, container, expect_for, expect_no_endpoint, expect_no_share,
};
use crate::Site;
use crate::knock::{Knocked, Nowhere};
use crate::objects::Service;
use crate::site::{PODS, SOON};

/// Services that are made one after another, and as many at once.
const SERVICES: u16 = 30;
/// Between two connections to an address that is asked alone.
const ALONE: Duration = Duration::from_millis(5);
/// The same where all are asked: some three hundred connections in a second.
const TOGETHER: Duration = Duration::from_millis(100);
/// How long an address is asked after every node announces it.
const AFTER: Duration = Duration::from_secs(1);
/// Where kube-proxy answers for its health.
const PROXY_HEALTH_PORT: u16 = 10256;
/// How long a node whose kube-proxy is stopped is looked at: longer than a node waits for one that is not there.
const FROZEN: Duration = Duration::from_secs(30);

pub(super) fn routes_never_lead_the_data_path(site: &Site) -> Result<()> {
    site.backend("early")?;
    let nowhere = site.nowhere()?;
    let mut knocked = Knocked::default();
    for number in 0..SERVICES {
        knocked += asked_from_before(site, &nowhere, &[number], ALONE)?;
    }
    let rest: Vec<u16> = (SERVICES..2 * SERVICES).collect();
    knocked += asked_from_before(site, &nowhere, &rest, TOGETHER)?;
    let Knocked { early, answered, moved } = knocked;
    println!(
        "      {early} connections before there was a route; after it {answered}, {moved} moved, 0 failed"
    );
    Ok(())
}

/// Makes Services of these numbers, at once, and asks for their addresses from before that until all nodes announce them.
fn asked_from_before(site: &Site, nowhere: &Nowhere, numbers: &[u16], pause: Duration) -> Result<Knocked> {
    let addresses: Vec<IpAddr> = numbers.iter().map(|number| address(*number)).collect();
    let manifests: Vec<String> = numbers.iter().map(|number| manifest(*number)).collect();
    site.knock(nowhere, &addresses, pause, || {
        site.apply(&manifests.join("---\n"))?;
        for address in &addresses {
            site.expect_route(*address, &Node::ALL)?;
        }
        std::thread::sleep(AFTER);
        Ok(())
    })
    .with_context(|| format!("Services {numbers:?}"))
}

/// The address that a Service asks for, so that it is known before the Service: of both families in turn.
fn address(number: u16) -> IpAddr {
    match number % 2 {
        0 => IpAddr::from([203, 0, 113, u8::try_from(10 + number).unwrap_or(u8::MAX)]),
        _ => IpAddr::from([0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x10 + number]),
    }
}

/// The traffic policies take turns with every second Service.
fn manifest(number: u16) -> String {
    let family = if number.is_multiple_of(2) { "IPv4" } else { "IPv6" };
    let policy = if (number / 2).is_multiple_of(2) { "Cluster" } else { "Local" };
    let spec = format!("ipFamilies: [{family}], externalTrafficPolicy: {policy}");
    let annotations = format!("bellhop.dev/addresses: '{}'", address(number));
    let name = format!("early-{number}");
    Service { spec: &spec, annotations: &annotations, ..Service::new("early", &name) }.manifest()
}

pub(super) fn reboot_with_a_frozen_proxy(site: &Site) -> Result<()> {
    site.apply(SHORT_RESTART)?;
    let (everywhere, local) = both_policies(site, "frozen")?;
    let (cluster, [first, victim, third]) = (site.cluster()?, Node::ALL);
    site.frr()?.bgpd("clear bgp *")?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    let before = container(site, victim)?;
    cluster.kill_node(victim)?;
    for address in [everywhere, local] {
        site.expect_route(address, &[first, third])?;
    }
    expect_no_endpoint(site, "frozen", &[victim])?;
    expect_no_share(site, everywhere)?;

    let traffic = site.traffic("frozen", &[everywhere, local])?;
    cluster.boot_node(victim)?;
    // Long before the kubelet starts the speaker.
    wait_for("kube-proxy of the node that booted listens", SOON, || {
        listens(site, victim).map_err(|error| format!("{error:#}"))
    })?;
    cluster.freeze(victim, Program::KubeProxy)?;
    let now = container(site, victim);
    ensure!(now.is_err() || now? == before, "the speaker was up before kube-proxy could be stopped");
    wait_for("the speaker of the node that booted runs", PODS, || {
        let now = container(site, victim).map_err(|error| format!("{error:#}"))?;
        if now == before { Err(format!("as {now} still")) } else { Ok(()) }
    })?;
    expect_for(FROZEN, "nothing is announced while kube-proxy is stopped", || {
        for address in [everywhere, local] {
            let nodes = site.next_hops(address)?;
            ensure!(!nodes.contains(&victim), "{address} by {nodes:?}");
        }
        Ok(())
    })?;
    cluster.thaw(victim, Program::KubeProxy)?;
    for address in [everywhere, local] {
        wait_for(&format!("{address} is back on the node"), PODS, || {
            let nodes = site.next_hops(address).map_err(|error| format!("{error:#}"))?;
            if nodes == Node::ALL { Ok(()) } else { Err(format!("{nodes:?}")) }
        })?;
    }
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

/// Whether a node's kube-proxy listens on the port of its health.
fn listens(site: &Site, node: Node) -> Result<()> {
    let filter = format!("sport = :{PROXY_HEALTH_PORT}");
    let network = site.cluster()?.network_of(node);
    let sockets = output_of(network.command("ss").args(["-Hltn", &filter]))?;
    ensure!(!sockets.trim().is_empty(), "nothing listens on {PROXY_HEALTH_PORT}");
    Ok(())
}
