//! Case 3: nodes that fall silent, boot, are excluded and go; speakers that are stopped.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_lab::observe::bgp;
use bellhop_lab::observe::kernel::{self, Change, Event};
use bellhop_test_cluster::{Node, Program, wait_for};

use crate::Site;
use crate::machines::{EXCLUDE_LABEL, NO_LOGIN, SPEAKERS, TO_BE_DELETED};
use crate::objects::Service;
use crate::routes::{hop, url};
use crate::site::{NAMESPACE, PODS, SOON};

/// How long a node that has booted without kube-proxy is looked at: a speaker that asks nobody announces in the first
/// second.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// The router of every case, with a short restart time: that long it keeps the routes of a node that lost its power, as those
/// of a speaker that restarts (RFC 4724 §4.2; FRR does so also when the hold time has run out).
pub(super) const SHORT_RESTART: &str = "apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router, labels: {bellhop.dev/base: 'true'}}
spec: {peerAddress: 192.0.2.1, peerASN: 64512, holdTime: 9s, connectRetryTime: 1s, gracefulRestart: {restartTime: 5s}}
";

pub(super) fn kubelets_fall_silent(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "silent")?;
    let cluster = site.cluster()?;
    let mut recording = cluster.record_routes("silent")?;

    // One: pods of its node are not ready, says the control plane, and the others have some.
    let traffic = site.traffic("silent", &[everywhere])?;
    let [first, second, third] = Node::ALL;
    cluster.stop(second, Program::Kubelet)?;
    site.expect_ready(second, "Unknown")?;
    site.expect_route(local, &[first, third])?;
    site.expect_route(everywhere, &Node::ALL)?;
    traffic.without_withdrawal(site)?;

    // All, as after an outage of the control plane: the facts are gone, and whoever announces goes on.
    cluster.stop(first, Program::Kubelet)?;
    cluster.stop(third, Program::Kubelet)?;
    for node in Node::ALL {
        site.expect_ready(node, "Unknown")?;
    }
    expect_no_endpoint(site, "silent", &Node::ALL)?;
    expect_for(LOOK, "silence of all nodes withdraws nothing more", || {
        let (cluster_nodes, local_nodes) = (site.next_hops(everywhere)?, site.next_hops(local)?);
        ensure!(cluster_nodes == Node::ALL, "{everywhere} by {cluster_nodes:?}");
        // At most a third of three, which is the hash's choice.
        ensure!(local_nodes.len() >= 2, "{local} by {local_nodes:?}");
        Ok(())
    })?;
    let deletions = recording.deletions_of(&[everywhere, local])?;
    ensure!(deletions.is_empty(), "the router's kernel deleted routes: {deletions:#?}");

    nodes_return(site, "silent", [everywhere, local], || {
        Node::ALL.iter().try_for_each(|node| site.start_program(*node, Program::Kubelet))
    })
}

/// Kubelets that were all silent are heard again after `work`. Their nodes are Ready before their pods are: until these are
/// too, nothing more goes than had gone. Judged by every change that the router's kernel saw, and not by looking now and then.
pub(super) fn nodes_return(
    site: &Site,
    namespace: &str,
    addresses: [IpAddr; 2],
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let cluster = site.cluster()?;
    let mut announced = Vec::new();
    for address in addresses {
        announced.push((address, bgp_gateways(site, address)?));
    }
    let mut recording = cluster.record_routes("silent-return")?;
    let start = Instant::now();
    work()?;
    let lost = all_unready_while_ready(site, namespace)?;
    expect_all_endpoints(site, namespace)?;
    for address in addresses {
        site.expect_route(address, &Node::ALL)?;
        site.expect_answer(address)?;
    }
    let returned = start.elapsed();
    expect_for(LOOK, "what came back stays", || {
        for address in addresses {
            let nodes = site.next_hops(address)?;
            ensure!(nodes == Node::ALL, "{address} by {nodes:?}");
        }
        Ok(())
    })?;
    let events = recording.events()?;
    let mut changes = 0;
    for (address, mut before) in announced {
        for event in events.iter().filter(|event| event.destination == address.to_string()) {
            let after = event.gateways();
            let gone = before.difference(&after).count();
            ensure!(
                event.change == Change::Set && gone <= before.len() / 3,
                "{address} lost {gone} of {} announcers at once: {}",
                before.len(),
                event.line
            );
            before = after;
            changes += 1;
        }
    }
    println!(
        "      back after {:.1} s, {lost} looks at a Ready node with a pod that was not; {changes} changes of routes, none lost",
        returned.as_secs_f64()
    );
    Ok(())
}

pub(super) fn reboot(site: &Site) -> Result<()> {
    site.apply(SHORT_RESTART)?;
    let (everywhere, local) = both_policies(site, "boot")?;
    let (cluster, [first, victim, third]) = (site.cluster()?, Node::ALL);
    // The restart time is told when a session opens.
    site.frr()?.bgpd("clear bgp *")?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    let before = container(site, victim)?;
    // Held over the boot.
    cluster.stop(victim, Program::KubeProxy)?;
    cluster.kill_node(victim)?;
    for address in [everywhere, local] {
        site.expect_route(address, &[first, third])?;
    }
    // Until then the other nodes' kube-proxies hand its pods a share.
    expect_no_endpoint(site, "boot", &[victim])?;
    expect_no_share(site, everywhere)?;

    let traffic = site.traffic("boot", &[everywhere, local])?;
    cluster.boot_node(victim)?;
    wait_for("the speaker of the node that booted runs", PODS, || {
        let now = container(site, victim).map_err(|error| format!("{error:#}"))?;
        if now == before { Err(format!("as {now} still")) } else { Ok(()) }
    })?;
    expect_for(LOOK, "nothing is announced before kube-proxy is there", || {
        for address in [everywhere, local] {
            let nodes = site.next_hops(address)?;
            ensure!(!nodes.contains(&victim), "{address} by {nodes:?}");
        }
        Ok(())
    })?;
    site.start_program(victim, Program::KubeProxy)?;
    for address in [everywhere, local] {
        wait_for(&format!("{address} is back on the node"), PODS, || {
            let nodes = site.next_hops(address).map_err(|error| format!("{error:#}"))?;
            if nodes == Node::ALL { Ok(()) } else { Err(format!("{nodes:?}")) }
        })?;
    }
    let session = bgp::neighbors(site.frr()?)?.remove(&victim).context("no session")?;
    ensure!(!session.graceful_restart_info.r_bit, "a node that booted says that its speaker restarted");
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

pub(super) fn node_deleted(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "gone")?;
    let [first, second, victim] = Node::ALL;
    let traffic = site.traffic("gone", &[everywhere, local])?;
    site.kubectl(&["delete", "node", &victim.name(), "--wait=false"])?;
    for address in [everywhere, local] {
        site.expect_shutting_down(address, &[victim])?;
    }
    for address in [everywhere, local] {
        site.expect_route(address, &[first, second])?;
    }
    wait_for("what its speaker told goes with the Node", SOON, || {
        let found = site.kubectl(&["get", "speakerstate", &victim.name(), "--ignore-not-found"]);
        match found.map_err(|error| format!("{error:#}"))?.trim() {
            "" => Ok(()),
            found => Err(found.to_owned()),
        }
    })?;
    site.join(victim)?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

/// kube-proxy answers 503 on `/healthz` for a node with this taint (KEP-3836), and cloud load balancers leave it by that.
pub(super) fn node_about_to_be_deleted(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "leaving")?;
    let [first, second, victim] = Node::ALL;
    let traffic = site.traffic("leaving", &[everywhere, local])?;
    site.kubectl(&["taint", "node", &victim.name(), &format!("{TO_BE_DELETED}=soon:NoSchedule")])?;
    for address in [everywhere, local] {
        site.expect_shutting_down(address, &[victim])?;
    }
    for address in [everywhere, local] {
        site.expect_route(address, &[first, second])?;
    }
    // The autoscaler thought better of it.
    site.kubectl(&["taint", "node", &victim.name(), &format!("{TO_BE_DELETED}-")])?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

pub(super) fn exclude_label(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "excluded")?;
    let [victim, second, third] = Node::ALL;
    let traffic = site.traffic("excluded", &[everywhere, local])?;
    site.kubectl(&["label", "node", &victim.name(), &format!("{EXCLUDE_LABEL}=")])?;
    for address in [everywhere, local] {
        site.expect_route(address, &[second, third])?;
    }
    // By a setting it is ignored, as control-plane nodes of kubeadm need it.
    site.apply(
        "{apiVersion: bellhop.dev/v1alpha1, kind: SpeakerConfig, metadata: {name: ignores}, \
         spec: {priority: 10, ignoreExcludeLabel: true}}",
    )?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    site.kubectl(&["delete", "speakerconfig", "ignores"])?;
    for address in [everywhere, local] {
        site.expect_route(address, &[second, third])?;
    }
    site.kubectl(&["label", "node", &victim.name(), &format!("{EXCLUDE_LABEL}-")])?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    traffic.without_loss().map(drop)
}

pub(super) fn speaker_pod_deleted(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "pod-gone")?;
    let (frr, victim) = (site.frr()?, Node::ALL[1]);
    let before = bgp::neighbors(frr)?.remove(&victim).context("no session")?;
    let traffic = site.traffic("pod-gone", &[everywhere, local])?;
    let pod = site.speaker(victim)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    site.kubectl(&["-n", NAMESPACE, "delete", "pod", name, "--wait=false"])?;
    let mut told = Vec::new();
    let after = wait_for("the next speaker has a session", PODS, || {
        let mut look = || -> Result<_> {
            told.extend(site.paths(everywhere)?.into_iter().filter(|path| path.is_shutting_down()));
            bgp::neighbors(frr)?.remove(&victim).context("no session")
        };
        let now = look().map_err(|error| format!("{error:#}"))?;
        if now.is_established() && !now.is_same_session(&before) { Ok(now) } else { Err(format!("{now:?}")) }
    })?;
    ensure!(told.is_empty(), "a speaker that comes back told routers to leave it: {told:?}");
    let restart = after.graceful_restart_info;
    ensure!(restart.has_restarted_forwarding(), "the next speaker says {restart:?}");
    for address in [everywhere, local] {
        wait_for(&format!("no path of {address} is stale"), SOON, || {
            let paths = site.paths(address).map_err(|error| format!("{error:#}"))?;
            let fresh = paths.iter().filter(|path| !path.stale).count();
            if fresh == Node::ALL.len() { Ok(()) } else { Err(format!("{paths:?}")) }
        })?;
        site.expect_route(address, &Node::ALL)?;
    }
    let passed = traffic.without_withdrawal(site)?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

/// The same as far as Kubernetes knows, on a node that systemd shuts down: nobody takes its routes over.
pub(super) fn node_shuts_down(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "shutdown")?;
    let (cluster, victim) = (site.cluster()?, Node::ALL[1]);
    let traffic = site.traffic("shutdown", &[everywhere, local])?;
    let mut recording = cluster.record_routes("shutdown-hops")?;
    output_of(cluster.on(victim, "touch").arg(NO_LOGIN))?;
    let pod = site.speaker(victim)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    site.kubectl(&["-n", NAMESPACE, "delete", "pod", name, "--wait=false"])?;
    for address in [everywhere, local] {
        site.expect_shutting_down(address, &[victim])?;
    }
    // By what the router saw: nothing but this test keeps the DaemonSet from making the next pod at once.
    for address in [everywhere, local] {
        wait_for(&format!("{victim:?} withdraws {address}"), SOON, || {
            let events = recording.events().map_err(|error| format!("{error:#}"))?;
            let left = |event: &&Event| {
                event.destination == address.to_string() && !event.gateways().contains(&hop(victim, address))
            };
            if events.iter().any(|event| left(&event)) { Ok(()) } else { Err(format!("{events:#?}")) }
        })?;
    }
    // The shutdown was called off (`shutdown -c`), and the next speaker announces.
    output_of(cluster.on(victim, "rm").arg(NO_LOGIN))?;
    site.rolled_out(NAMESPACE, "daemonset/bellhop-speaker")?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
    }
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

pub(super) fn daemon_set_deleted(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "set-gone")?;
    site.kubectl(&["-n", NAMESPACE, "delete", "daemonset", "-l", SPEAKERS, "--wait=false"])?;
    for address in [everywhere, local] {
        site.expect_shutting_down(address, &Node::ALL)?;
        // Warned, and not yet withdrawn.
        site.expect_answer(address)?;
    }
    for address in [everywhere, local] {
        site.expect_route(address, &[])?;
    }
    site.install(&[])?;
    for address in [everywhere, local] {
        site.expect_route(address, &Node::ALL)?;
        site.expect_answer(address)?;
    }
    Ok(())
}

/// A backend on every node and two Services before it, one of each traffic policy, which every node announces; their
/// addresses.
pub(super) fn both_policies(site: &Site, namespace: &str) -> Result<(IpAddr, IpAddr)> {
    site.backend(namespace)?;
    let local = Service { spec: "externalTrafficPolicy: Local", ..Service::new(namespace, "local") };
    site.apply(&format!("{}---\n{}", Service::new(namespace, "web").manifest(), local.manifest()))?;
    let addresses = (site.addresses(namespace, "web", 1)?[0], site.addresses(namespace, "local", 1)?[0]);
    for address in [addresses.0, addresses.1] {
        site.expect_route(address, &Node::ALL)?;
        site.expect_answer(address)?;
    }
    Ok(addresses)
}

/// The container of the speaker that runs on a node.
pub(super) fn container(site: &Site, node: Node) -> Result<String> {
    let pod = site.speaker(node)?;
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(status["state"]["running"].is_object(), "{}", status["state"]);
    Ok(status["containerID"].as_str().context("it has no name")?.to_owned())
}

/// The next hops of an address in the router's kernel.
fn bgp_gateways(site: &Site, address: IpAddr) -> Result<BTreeSet<IpAddr>> {
    let routes = kernel::bgp_routes(&site.cluster()?.router())?;
    Ok(routes.get(&address.to_string()).into_iter().flatten().copied().collect())
}

/// Looks until every node is Ready again; how often one was while its endpoint was not.
fn all_unready_while_ready(site: &Site, namespace: &str) -> Result<usize> {
    let mut lost = 0;
    wait_for("all nodes are Ready", SOON, || {
        let mut look = || -> Result<usize> {
            let nodes = site.json(&["get", "nodes"])?;
            let nodes = nodes["items"].as_array().context("no list")?.clone();
            let is_ready = |node: &serde_json::Value| {
                let conditions = node["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
            };
            let ready: Vec<_> = nodes.iter().filter(|node| is_ready(node)).collect();
            let served = ready_endpoints(site, namespace)?;
            lost += ready.iter().filter(|node| !served.contains(&node["metadata"]["name"])).count();
            Ok(ready.len())
        };
        match look().map_err(|error| format!("{error:#}"))? {
            count if count == Node::ALL.len() => Ok(()),
            count => Err(format!("{count} are")),
        }
    })?;
    Ok(lost)
}

/// Waits until every node has a ready endpoint.
fn expect_all_endpoints(site: &Site, namespace: &str) -> Result<()> {
    wait_for("an endpoint is ready on every node", PODS, || {
        let served = ready_endpoints(site, namespace).map_err(|error| format!("{error:#}"))?;
        let missing =
            Node::ALL.iter().filter(|node| !served.iter().any(|name| *name == *node.name())).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} have none")) }
    })?;
    Ok(())
}

/// The node of each endpoint that is ready.
fn ready_endpoints(site: &Site, namespace: &str) -> Result<Vec<serde_json::Value>> {
    let slices = site.json(&["-n", namespace, "get", "endpointslices"])?;
    let slices = slices["items"].as_array().context("no list")?;
    let endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    Ok(ready.map(|endpoint| endpoint["nodeName"].clone()).collect())
}

/// Waits until no endpoint on these nodes is ready.
pub(super) fn expect_no_endpoint(site: &Site, namespace: &str, nodes: &[Node]) -> Result<()> {
    let look = || -> Result<usize> {
        let ready = ready_endpoints(site, namespace)?;
        Ok(ready.iter().filter(|name| nodes.iter().any(|node| **name == *node.name())).count())
    };
    wait_for(&format!("no endpoint on {nodes:?} is ready"), SOON, || {
        match look().map_err(|error| format!("{error:#}"))? {
            0 => Ok(()),
            count => Err(format!("{count} are")),
        }
    })?;
    Ok(())
}

/// Requests in a row after which no kube-proxy hands a share to a pod that is gone: of three pods, one that is would have been missed
/// by so many once in 200,000 times.
const IN_A_ROW: usize = 30;

/// Waits until kube-proxies hand nothing to pods of a Service that are gone from the API: each follows at its own pace, a second
/// later at the most where it has just changed something else.
pub(super) fn expect_no_share(site: &Site, address: IpAddr) -> Result<()> {
    let cluster = site.cluster()?;
    wait_for(&format!("{IN_A_ROW} requests to {address} in a row are answered"), SOON, || {
        (0..IN_A_ROW).try_for_each(|_| {
            cluster.get(&cluster.client(), url(address)).map(drop).map_err(|error| format!("{error:#}"))
        })
    })?;
    Ok(())
}

/// Looks for a while whether something goes on to hold.
pub(super) fn expect_for(duration: Duration, what: &str, holds: impl Fn() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < duration {
        holds().with_context(|| format!("{what}; not after {:.1} s", start.elapsed().as_secs_f64()))?;
    }
    Ok(())
}
