//! Case 3: one prefix announced in the place of the addresses in it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use bellhop_lab::observe::bgp::{Family, host_route, table};
use bellhop_lab::observe::kernel::bgp_routes;
use bellhop_lab::trace;
use bellhop_test_cluster::network::inside;
use bellhop_test_cluster::{Node, wait_for};

use super::data_path::{CLOSED_PORT, KUBELET_PORT, WAY, connect, is_answered};
use crate::Site;
use crate::objects::Service;
use crate::routes::hop;
use crate::site::{SOON, expect_condition};

/// The pool of the case and, as it is whole, its aggregates.
const AGGREGATES: [&str; 2] = ["203.0.113.128/28", "2001:db8:53:1::/64"];
/// Their last addresses, which no Service gets here.
const UNUSED: [&str; 2] = ["203.0.113.143", "2001:db8:53:1:ffff:ffff:ffff:ffff"];
/// Of the pool for the Services of the case.
const OF_POOL: &str = "bellhop.dev/pool: block";

pub(super) fn aggregate(site: &Site) -> Result<()> {
    site.backend("block")?;
    site.namespace("near")?;
    let near = Node::ALL[1];
    site.deployment("near", 1, &format!("nodeSelector: {{kubernetes.io/hostname: {}}}", near.name()))?;
    let [ipv4, ipv6] = AGGREGATES;
    site.apply(&format!(
        "{{apiVersion: bellhop.dev/v1alpha1, kind: AddressPool, metadata: {{name: block}}, spec: {{addresses: [{ipv4}, \"{ipv6}\"]}}}}\n"
    ))?;
    advertise(site, 28)?;
    for name in ["one", "two"] {
        let dual = Service {
            spec: "ipFamilyPolicy: RequireDualStack",
            annotations: OF_POOL,
            ..Service::new("block", name)
        };
        site.apply(&dual.manifest())?;
    }
    let mut addresses = site.addresses("block", "one", 2)?;
    addresses.extend(site.addresses("block", "two", 2)?);
    expect_heard(site, &AGGREGATES)?;
    for address in &addresses {
        site.expect_answer(*address)?;
    }
    expect_refused(site)?;
    told(site)?;
    let local = local_has_its_host_routes(site, near)?;

    // Each but the last leaves the aggregates alone.
    site.kubectl(&["-n", "near", "delete", "service", "web"])?;
    expect_heard(site, &AGGREGATES)?;
    site.kubectl(&["-n", "block", "delete", "service", "one"])?;
    wait_for("the first Service's claims are released", SOON, || {
        let claims =
            site.kubectl(&["get", "addressclaims", "-o", "name"]).map_err(|error| format!("{error:#}"))?;
        let left = claims.lines().count();
        if left == 2 { Ok(()) } else { Err(format!("{left} claims stand")) }
    })?;
    expect_heard(site, &AGGREGATES)?;
    ensure!(connect(site, SocketAddr::new(local, KUBELET_PORT))?.is_err(), "{local} is nobody's any more");
    reaches_outside(site)?;
    site.kubectl(&["-n", "block", "delete", "service", "two"])?;
    expect_heard(site, &[])
}

/// Announces the pool by prefixes, IPv4 ones of this length.
fn advertise(site: &Site, ipv4_length: u8) -> Result<()> {
    site.apply(&format!(
        "{{apiVersion: bellhop.dev/v1alpha1, kind: Advertisement, metadata: {{name: in-one}}, spec: {{priority: 10, pools: [block], \
         attributes: {{communities: [\"64513:9\"]}}, aggregation: {{ipv4Length: {ipv4_length}, ipv6Length: 64}}}}}}\n"
    ))
}

/// Waits until the router hears these prefixes of the pool and no other, each from every node, and its kernel uses all.
fn expect_heard(site: &Site, prefixes: &[&str]) -> Result<()> {
    let router = site.cluster()?.router();
    let wanted: BTreeSet<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    wait_for(&format!("the router has {prefixes:?} from every node"), SOON, || {
        let heard = heard(site).map_err(|error| format!("{error:#}"))?;
        if heard != wanted {
            return Err(format!("{heard:?}"));
        }
        let kernel = bgp_routes(&router).map_err(|error| format!("{error:#}"))?;
        for prefix in prefixes {
            let network = prefix.split('/').next().unwrap_or(prefix);
            let inside: IpAddr = network.parse().map_err(|error| format!("{network}: {error}"))?;
            // The kernel shows a host route as the address alone.
            let key = if host_route(inside) == *prefix { network } else { prefix };
            let hops: BTreeSet<IpAddr> = kernel.get(key).into_iter().flatten().copied().collect();
            if hops != Node::ALL.iter().map(|node| hop(*node, inside)).collect() {
                return Err(format!("{prefix} by {hops:?}"));
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// The prefixes in the pool that the router hears.
fn heard(site: &Site) -> Result<BTreeSet<String>> {
    let mut heard = BTreeSet::new();
    for family in Family::ALL {
        let table = table(site.frr()?, family)?;
        heard.extend(table.into_iter().filter(|(_, paths)| !paths.is_empty()).map(|(prefix, _)| prefix));
    }
    heard.retain(|prefix| prefix.starts_with("203.0.113.1") || prefix.starts_with("2001:db8:53:1:"));
    Ok(heard)
}

/// What is for an address that no Service has ends at the node that the router sends it to.
fn expect_refused(site: &Site) -> Result<()> {
    let client = site.cluster()?.client();
    for unused in UNUSED {
        let unused: IpAddr = unused.parse()?;
        let closed = SocketAddr::new(unused, CLOSED_PORT);
        let hops = inside(&client, || trace::hops(closed))??;
        ensure!(hops == Some(WAY), "{closed} is refused after {hops:?} hops, not {WAY}");
        for port in [CLOSED_PORT, KUBELET_PORT] {
            let target = SocketAddr::new(unused, port);
            match connect(site, target)? {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                other => anyhow::bail!("{target} is not refused: {other:?}"),
            }
        }
        ensure!(!is_answered(site, unused)?, "{unused} answers ping");
    }
    Ok(())
}

/// The tools and SpeakerState show the aggregate and where it comes from.
fn told(site: &Site) -> Result<()> {
    let routes = site.bellhop(&["routes"])?;
    let rows: Vec<&str> = routes.lines().filter(|line| line.contains(AGGREGATES[0])).collect();
    ensure!(rows.len() == Node::ALL.len(), "{routes}");
    ensure!(
        rows.iter().all(|row| row.contains("2 addresses (Advertisement in-one)") && row.contains("64513:9")),
        "{routes}"
    );
    let explained = site.bellhop(&["explain", "service/block/one"])?;
    ensure!(explained.contains(&format!("aggregate {} community 64513:9", AGGREGATES[0])), "{explained}");
    let name = Node::ALL[0].name();
    wait_for("SpeakerState has the aggregates", SOON, || {
        let state = site.json(&["get", "speakerstate", &name]).map_err(|error| format!("{error:#}"))?;
        let found = &state["status"]["aggregates"];
        if *found == serde_json::json!(AGGREGATES) { Ok(()) } else { Err(found.to_string()) }
    })?;
    Ok(())
}

/// A Service with `externalTrafficPolicy: Local` is reached at its node, by host routes beside the aggregates. Returns its
/// IPv4 address.
fn local_has_its_host_routes(site: &Site, near: Node) -> Result<IpAddr> {
    let local = Service {
        spec: "externalTrafficPolicy: Local, ipFamilyPolicy: RequireDualStack",
        annotations: OF_POOL,
        ..Service::new("near", "web")
    };
    site.apply(&local.manifest())?;
    let addresses = site.addresses("near", "web", 2)?;
    for address in &addresses {
        site.expect_route(*address, &[near])?;
        let said = site.expect_answer(*address)?;
        ensure!(said.contains(&near.name()), "{said} answers, and the pod is on {}", near.name());
    }
    let mut wanted: BTreeSet<String> = addresses.iter().map(|address| host_route(*address)).collect();
    wanted.extend(AGGREGATES.map(str::to_owned));
    let heard = heard(site)?;
    ensure!(heard == wanted, "{heard:?}, not {wanted:?}");
    Ok(addresses[0])
}

/// An aggregate that would reach outside of the pool gives way to host routes, and the Advertisement says so.
fn reaches_outside(site: &Site) -> Result<()> {
    let address = site.addresses("block", "two", 2)?[0];
    advertise(site, 27)?;
    let host_route = host_route(address);
    expect_heard(site, &[&host_route, AGGREGATES[1]])?;
    wait_for("the Advertisement says that its aggregate does not fit", SOON, || {
        let object = site.json(&["get", "advertisement", "in-one"]).map_err(|error| format!("{error:#}"))?;
        let said = expect_condition(&object, "Ready", "False").map_err(|error| format!("{error:#}"))?;
        let right = ["AggregateOutsidePool", "spec.aggregation.ipv4Length", "203.0.113.128/27"];
        if right.iter().all(|part| said.contains(part)) { Ok(()) } else { Err(said) }
    })?;
    site.expect_answer(address)?;
    advertise(site, 28)?;
    expect_heard(site, &AGGREGATES)
}
