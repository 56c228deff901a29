//! Rows 60 to 64, 67, 68, 70 and 71: from which nodes an address is announced, and that it answers.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use bellhop_lab::http::Url;
use bellhop_lab::load::Load;
use bellhop_test_cluster::{Node, wait_for};

use super::{documents, pool, pool_of, row};
use crate::Site;
use crate::objects::Service;
use crate::routes::{PORT, url};
use crate::site::SOON;

/// The families that Services ask for: name of the Service, fields of `spec`, addresses.
const FAMILIES: [(&str, &str, usize); 3] = [
    ("v4", "ipFamilies: [IPv4]", 1),
    ("v6", "ipFamilies: [IPv6]", 1),
    ("dual", "ipFamilyPolicy: RequireDualStack", 2),
];
/// Requests to each address of a Service whose nodes all answer.
const REQUESTS: u64 = 60;

pub(in crate::cases) fn cluster_policy_and_asked_addresses(site: &Site) -> Result<()> {
    site.backend("reach")?;
    for (number, (name, spec, count)) in ["60", "61", "62"].into_iter().zip(FAMILIES) {
        row(
            number,
            &format!("externalTrafficPolicy Cluster, {name}: every node announces, and answers"),
            || {
                site.apply(&Service { spec, ..Service::new("reach", name) }.manifest())?;
                let addresses = site.addresses("reach", name, count)?;
                addresses.iter().try_for_each(|address| site.expect_route(*address, &Node::ALL))?;
                expect_answers(site, &addresses)
            },
        )?;
    }
    let asked = [
        ("63", "an address asked for by annotation", "203.0.113.77", "ipFamilies: [IPv4]"),
        (
            "64",
            "two addresses asked for by annotation",
            "203.0.113.78,2001:db8:53::78",
            "ipFamilyPolicy: RequireDualStack",
        ),
    ];
    for (number, what, asked, spec) in asked {
        row(number, what, || {
            let wanted: Vec<IpAddr> = asked.split(',').map(str::parse).collect::<Result<_, _>>()?;
            let name = format!("asked-{number}");
            let annotations = format!("bellhop.dev/addresses: {asked:?}");
            let service = Service { spec, annotations: &annotations, ..Service::new("reach", &name) };
            site.apply(&service.manifest())?;
            let addresses = site.addresses("reach", &name, wanted.len())?;
            ensure!(addresses == wanted, "it has {addresses:?}");
            expect_answers(site, &addresses)
        })?;
    }
    Ok(())
}

/// Waits until every request of a burst to each address is answered: of a new Service the routes may be there up to two
/// seconds before the last kube-proxy has its rules.
fn expect_answers(site: &Site, addresses: &[IpAddr]) -> Result<()> {
    let cluster = site.cluster()?;
    let urls: Vec<_> = addresses.iter().map(|address| url(*address)).collect();
    wait_for(&format!("every request to {addresses:?} is answered"), SOON, || {
        let report = cluster.requests(Load::burst(&urls, REQUESTS)).and_then(|requests| requests.stop());
        match report {
            Ok(report) if report.failed() == 0 && report.requests() == REQUESTS * urls.len() as u64 => Ok(()),
            Ok(report) => Err(report.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    Ok(())
}

pub(in crate::cases) fn network_unavailable(site: &Site) -> Result<()> {
    let [first, broken, last] = Node::ALL;
    site.backend("network")?;
    site.apply(&Service { spec: FAMILIES[2].1, ..Service::new("network", "web") }.manifest())?;
    let addresses = site.addresses("network", "web", 2)?;
    addresses.iter().try_for_each(|address| site.expect_route(*address, &Node::ALL))?;
    let proof = set_network_unavailable(site, broken, "True").and_then(|()| {
        addresses.iter().try_for_each(|address| site.expect_route(*address, &[first, last]))?;
        expect_answers(site, &addresses)
    });
    // The next case needs the node, whatever came of this one.
    set_network_unavailable(site, broken, "False")?;
    proof?;
    addresses.iter().try_for_each(|address| site.expect_route(*address, &Node::ALL))
}

/// What a cloud's or a network plugin's controller writes when a node has no routes (`status.conditions`).
fn set_network_unavailable(site: &Site, node: Node, status: &str) -> Result<()> {
    let patch = format!(
        r#"{{"status": {{"conditions": [{{"type": "NetworkUnavailable", "status": "{status}", "reason": "Case"}}]}}}}"#
    );
    let args =
        ["patch", "node", &node.name(), "--subresource=status", "--type=strategic", "-p", patch.as_str()];
    site.kubectl(&args).map(drop)
}

pub(in crate::cases) fn local_policy_follows_pods(site: &Site) -> Result<()> {
    let [first, _, last] = Node::ALL;
    site.namespace("local")?;
    backend_on(site, first)?;
    let mut all = Vec::new();
    for (name, spec, count) in FAMILIES {
        let spec = format!("externalTrafficPolicy: Local, {spec}");
        site.apply(&Service { spec: &spec, ..Service::new("local", name) }.manifest())?;
        all.extend(site.addresses("local", name, count)?);
    }
    for node in [first, last, first] {
        backend_on(site, node)?;
        for address in &all {
            site.expect_route(*address, &[node])?;
            let name = node.name();
            wait_for(&format!("{address} is answered by {name}"), SOON, || {
                let words = site.expect_answer(*address).map_err(|error| format!("{error:#}"))?;
                if words.contains(&name) { Ok(()) } else { Err(words) }
            })?;
        }
    }
    Ok(())
}

/// Makes a backend of one pod on one node, or moves it there.
fn backend_on(site: &Site, node: Node) -> Result<()> {
    site.deployment("local", 1, &format!("nodeSelector: {{kubernetes.io/hostname: {}}}", node.name()))
}

pub(in crate::cases) fn shared_address(site: &Site) -> Result<()> {
    site.backend("shared")?;
    let annotations = "bellhop.dev/sharing-key: web, bellhop.dev/addresses: 203.0.113.79";
    let ports = [("plain", PORT), ("other", 8081)];
    for (name, port) in ports {
        site.apply(&Service { annotations, port, ..Service::new("shared", name) }.manifest())?;
    }
    let plain = site.addresses("shared", "plain", 1)?;
    ensure!(site.addresses("shared", "other", 1)? == plain, "they do not share one address");
    site.expect_route(plain[0], &Node::ALL)?;
    let cluster = site.cluster()?;
    for (name, port) in ports {
        let (client, url) = (cluster.client(), Url(SocketAddr::new(plain[0], port)));
        wait_for(&format!("{name} answers on {url}"), SOON, || {
            cluster.get(&client, url).map(drop).map_err(|error| format!("{error:#}"))
        })?;
    }
    // One of them goes: the address stays for the other.
    site.kubectl(&["-n", "shared", "delete", "service", "plain"])?;
    site.expect_route(plain[0], &Node::ALL)?;
    ensure!(site.addresses("shared", "other", 1)? == plain, "the one that stays has another address");
    let report = cluster.requests(Load::burst(&[Url(SocketAddr::new(plain[0], 8081))], REQUESTS))?.stop()?;
    ensure!(report.failed() == 0, "{report}");
    Ok(())
}

pub(in crate::cases) fn pools_by_range_and_cidr(site: &Site) -> Result<()> {
    site.backend("ranges")?;
    let (range, cidr) = (
        ["198.18.80.10-198.18.80.12", "2001:db8:e2e:80::10-2001:db8:e2e:80::12"],
        ["198.18.81.0/30", "2001:db8:e2e:81::/126"],
    );
    let pools = [
        ("range-v4", &range[..1], FAMILIES[0]),
        ("range-v6", &range[1..], FAMILIES[1]),
        (
            "range-dual",
            &["198.18.82.10-198.18.82.12", "2001:db8:e2e:82::10-2001:db8:e2e:82::12"][..],
            FAMILIES[2],
        ),
        ("cidr-v4", &cidr[..1], FAMILIES[0]),
        ("cidr-v6", &cidr[1..], FAMILIES[1]),
        ("cidr-dual", &["198.18.83.0/30", "2001:db8:e2e:83::/126"][..], FAMILIES[2]),
    ];
    let manifests: Vec<String> = pools
        .iter()
        .flat_map(|(name, addresses, (_, spec, _))| {
            let annotations = format!("bellhop.dev/pool: e2e-{name}");
            let service = Service { spec, annotations: &annotations, ..Service::new("ranges", name) };
            [pool(&format!("e2e-{name}"), addresses, "autoAssign: false"), service.manifest()]
        })
        .collect();
    site.apply(&documents(&manifests))?;
    for (name, _, (_, _, count)) in pools {
        row("71", &format!("a pool by {name}"), || {
            let addresses = site.addresses("ranges", name, count)?;
            for address in &addresses {
                let from = pool_of(site, *address)?;
                ensure!(from == format!("e2e-{name}"), "{address} is of {from}");
                site.expect_route(*address, &Node::ALL)?;
                site.expect_answer(*address)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
