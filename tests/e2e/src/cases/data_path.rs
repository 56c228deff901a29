//! Case 3: what reaches an announced address beside its Service's ports.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::finished;
use bellhop_lab::trace;
use bellhop_test_cluster::network::{REQUEST_TIMEOUT, inside};
use bellhop_test_cluster::{Node, wait_for};

use crate::Site;
use crate::objects::Service;
use crate::routes::hop;
use crate::site::SOON;

/// A port that no Service has and nothing on the nodes listens on.
const CLOSED_PORT: u16 = 81;
/// The kubelet's, on every address of a node.
const KUBELET_PORT: u16 = 10250;
/// Client, router, node: a closed port's way ends there.
const WAY: u32 = 2;

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

fn is_answered(site: &Site, address: IpAddr) -> Result<bool> {
    let mut ping = site.cluster()?.client().command("ping");
    Ok(finished(ping.args(["-c", "1", "-W", "1"]).arg(address.to_string()))?.status.success())
}

/// What becomes of a connection of the client.
fn connect(site: &Site, target: SocketAddr) -> Result<std::io::Result<()>> {
    inside(&site.cluster()?.client(), || TcpStream::connect_timeout(&target, REQUEST_TIMEOUT).map(drop))
}
