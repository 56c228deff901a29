//! Case 3: what reaches an announced address beside its Service's ports.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::{finished, output_of};
use bellhop_lab::trace;
use bellhop_test_cluster::network::{REQUEST_TIMEOUT, inside};
use bellhop_test_cluster::{Node, wait_for};
use serde_json::Value;

use crate::Site;
use crate::objects::Service;
use crate::routes::hop;
use crate::site::{PODS, SOON};

/// A port that no Service has and nothing on the nodes listens on.
pub(super) const CLOSED_PORT: u16 = 81;
/// The kubelet's, on every address of a node.
pub(super) const KUBELET_PORT: u16 = 10250;
/// The interface of kube-proxy's IPVS mode.
const IPVS_INTERFACE: &str = "kube-ipvs0";
/// Of the pool, and no Service's.
const IPVS_ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 98);
/// The router's interface to the nodes.
const FABRIC: &str = "fabric";
/// Client, router, node: a closed port's way ends there.
pub(super) const WAY: u32 = 2;

pub(super) fn closed_and_host_ports(site: &Site) -> Result<()> {
    site.backend("ports")?;
    let dual = Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("ports", "web") };
    site.apply(&dual.manifest())?;
    let addresses = site.addresses("ports", "web", 2)?;
    let client = site.cluster()?.client();
    for address in addresses {
        site.expect_route(address, &Node::ALL)?;
        site.expect_answer(address)?;
        let closed = SocketAddr::new(address, CLOSED_PORT);
        let hops = inside(&client, || trace::hops(closed))??;
        ensure!(hops == Some(WAY), "{closed} is refused after {hops:?} hops, not {WAY}");

        let own = SocketAddr::new(hop(Node::ALL[0], address), KUBELET_PORT);
        connect(site, own)?.with_context(|| format!("{own}, the kubelet by its node's own address"))?;
        for port in [CLOSED_PORT, KUBELET_PORT] {
            let target = SocketAddr::new(address, port);
            match connect(site, target)? {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                other => anyhow::bail!("{target} is not refused: {other:?}"),
            }
        }
    }
    Ok(())
}

pub(super) fn echo_by_setting(site: &Site) -> Result<()> {
    site.backend("echo")?;
    let dual = Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("echo", "web") };
    site.apply(&dual.manifest())?;
    let addresses = site.addresses("echo", "web", 2)?;
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
    }
    expect_ping(site, &addresses, false)?;
    for echo in [true, false] {
        site.apply(&format!(
            "{{apiVersion: bellhop.dev/v1alpha1, kind: SpeakerConfig, metadata: {{name: echo}}, \
             spec: {{priority: 10, echoReply: {echo}}}}}"
        ))?;
        expect_ping(site, &addresses, echo)?;
        for address in &addresses {
            site.expect_answer(*address)?;
        }
    }
    Ok(())
}

/// Waits until every address answers the client's echo requests, or none does.
fn expect_ping(site: &Site, addresses: &[IpAddr], answers: bool) -> Result<()> {
    for address in addresses {
        wait_for(&format!("{address} answers ping: {answers}"), SOON, || {
            let found = is_answered(site, *address).map_err(|error| format!("{error:#}"))?;
            if found == answers { Ok(()) } else { Err(found.to_string()) }
        })?;
    }
    Ok(())
}

pub(super) fn is_answered(site: &Site, address: IpAddr) -> Result<bool> {
    let mut ping = site.cluster()?.client().command("ping");
    Ok(finished(ping.args(["-c", "1", "-W", "1"]).arg(address.to_string()))?.status.success())
}

pub(super) fn ipvs_without_strict_arp(site: &Site) -> Result<()> {
    site.backend("arp")?;
    let victim = Node::ALL[1];
    for node in Node::ALL {
        let mode = proxy_mode(site, node)?;
        ensure!(mode == "nftables", "kube-proxy of {} runs in mode {mode}", node.name());
        expect_strict_arp_missing(site, node, false)?;
    }
    let network = site.cluster()?.network_of(victim);
    // What kube-proxy does in IPVS mode, which needs a kernel with ip_vs: every Service's address on an interface of its own.
    // A bridge stands for its dummy interface, for the same reason.
    network.ip_batch(&format!(
        "link add {IPVS_INTERFACE} type bridge\naddress add {IPVS_ADDRESS}/32 dev {IPVS_INTERFACE}\n\
         link set {IPVS_INTERFACE} up"
    ))?;
    let proof = strict_arp_is_told(site, victim);
    network.ip_batch(&format!("link delete {IPVS_INTERFACE}"))?;
    set_strict_arp(site, victim, false)?;
    proof?;
    expect_strict_arp_missing(site, victim, false)
}

/// The kernel answers ARP for an address of kube-proxy's, and Bellhop says so, until strict ARP keeps it from that.
fn strict_arp_is_told(site: &Site, victim: Node) -> Result<()> {
    for (number, strict) in [false, true, false].into_iter().enumerate() {
        set_strict_arp(site, victim, strict)?;
        let answered = is_resolved(site, IPVS_ADDRESS)?;
        ensure!(answered != strict, "with strict ARP {strict} the node answers ARP: {answered}");
        // The settings are looked at once a minute, and whenever the packet filter changes.
        site.apply(&Service::new("arp", &format!("web-{number}")).manifest())?;
        expect_strict_arp_missing(site, victim, !strict)?;
    }
    Ok(())
}

/// As `--ipvs-strict-arp` of kube-proxy, and without it.
fn set_strict_arp(site: &Site, node: Node, strict: bool) -> Result<()> {
    let [ignore, announce] = if strict { ["1", "2"] } else { ["0", "0"] };
    site.cluster()?
        .network_of(node)
        .sysctl(&[("net.ipv4.conf.all.arp_ignore", ignore), ("net.ipv4.conf.all.arp_announce", announce)])
}

/// What a node's kube-proxy says of itself (`/proxyMode` on its metrics address).
fn proxy_mode(site: &Site, node: Node) -> Result<String> {
    let network = site.cluster()?.network_of(node);
    output_of(network.command("curl").args(["-sf", "http://127.0.0.1:10249/proxyMode"]))
}

/// Whether somebody on the nodes' network answers ARP for an address, asked by the router.
fn is_resolved(site: &Site, address: Ipv4Addr) -> Result<bool> {
    let router = site.cluster()?.router();
    router.ip_batch(&format!("neigh flush to {address}\nroute replace {address}/32 dev {FABRIC}"))?;
    let mut ping = router.command("ping");
    let answered = finished(ping.args(["-c", "1", "-W", "2"]).arg(address.to_string()));
    let known: Vec<Value> = router.ip_json(&["neigh", "show", "to", &address.to_string()])?;
    router.ip_batch(&format!("route del {address}/32 dev {FABRIC}\nneigh flush to {address}"))?;
    answered?;
    Ok(known.iter().any(|neighbour| neighbour["lladdr"].is_string()))
}

/// Waits until a node's speaker says that its kernel answers ARP for Services' addresses, or does not.
fn expect_strict_arp_missing(site: &Site, node: Node, told: bool) -> Result<()> {
    wait_for(&format!("{} says StrictArpMissing: {told}", node.name()), PODS, || {
        let problems = problems_of(site, node).map_err(|error| format!("{error:#}"))?;
        let said = problems.iter().any(|problem| problem["reason"] == "StrictArpMissing");
        if said == told { Ok(()) } else { Err(format!("{problems:?}")) }
    })?;
    Ok(())
}

/// What `kubectl bellhop status` says is wrong with a node, live.
fn problems_of(site: &Site, node: Node) -> Result<Vec<Value>> {
    let mut status = Command::new(site.program()?);
    status.args(["status", "-o", "json"]).env("KUBECONFIG", site.kubeconfig());
    // It ends with 1 where something is wrong.
    let status: Value = serde_json::from_slice(&finished(&mut status)?.stdout)?;
    let nodes = status["nodes"].as_array().context("no nodes")?;
    let live = nodes.iter().any(|row| row["node"] == *node.name() && row["live"] == true);
    ensure!(live, "{} does not answer: {nodes:?}", node.name());
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    Ok(problems.into_iter().filter(|problem| problem["node"] == *node.name()).collect())
}

/// What becomes of a connection of the client.
pub(super) fn connect(site: &Site, target: SocketAddr) -> Result<std::io::Result<()>> {
    inside(&site.cluster()?.client(), || TcpStream::connect_timeout(&target, REQUEST_TIMEOUT).map(drop))
}
