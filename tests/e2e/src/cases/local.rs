//! Case 3: pods that move, come and go.

use std::net::IpAddr;

use anyhow::Result;
use bellhop_test_cluster::{Node, wait_for};

use crate::Site;
use crate::objects::{ANNOUNCED, Service};
use crate::site::PODS;

/// Pods of a backend on nodes of their own.
const APART: &str = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
                     [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";

pub(super) fn pod_moves(site: &Site) -> Result<()> {
    site.namespace("moves")?;
    let [first, second, third] = Node::ALL;
    site.deployment("moves", 1, &on(first))?;
    let local = Service {
        spec: "externalTrafficPolicy: Local, ipFamilyPolicy: RequireDualStack",
        ..Service::new("moves", "web")
    };
    site.apply(&local.manifest())?;
    let addresses = site.addresses("moves", "web", 2)?;
    expect_at(site, &addresses, first)?;
    let traffic = site.traffic("moves", &addresses)?;
    for node in [second, third, first] {
        site.deployment("moves", 1, &on(node))?;
        expect_at(site, &addresses, node)?;
        // With the next move the pod there would drain beside the one before, and the router take either for as good.
        expect_pods(site, "moves", 1)?;
    }
    let passed = traffic.without_failure()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

pub(super) fn scales_to_zero_and_back(site: &Site) -> Result<()> {
    site.namespace("scale")?;
    site.deployment("scale", 2, APART)?;
    site.apply(&Service::new("scale", "web").manifest())?;
    let address = site.addresses("scale", "web", 1)?;
    site.expect_route(address[0], &Node::ALL)?;
    site.expect_answer(address[0])?;
    site.service_condition("scale", "web", ANNOUNCED, "True")?;
    site.deployment("scale", 0, APART)?;
    site.expect_route(address[0], &[])?;
    site.service_condition("scale", "web", ANNOUNCED, "False")?;
    site.deployment("scale", 2, APART)?;
    // The same address: it was withdrawn, and never let go of.
    anyhow::ensure!(site.addresses("scale", "web", 1)? == address, "another address than {address:?}");
    site.expect_route(address[0], &Node::ALL)?;
    site.expect_answer(address[0]).map(drop)
}

pub(super) fn cordon_and_drain(site: &Site) -> Result<()> {
    site.backend("everywhere")?;
    site.namespace("drained")?;
    site.deployment("drained", 2, APART)?;
    site.apply(&Service::new("everywhere", "web").manifest())?;
    let local = Service { spec: "externalTrafficPolicy: Local", ..Service::new("drained", "web") };
    site.apply(&local.manifest())?;
    let everywhere = site.addresses("everywhere", "web", 1)?[0];
    let drained = site.addresses("drained", "web", 1)?[0];
    let nodes = pod_nodes(site, "drained")?;
    for (address, nodes) in [(everywhere, &Node::ALL[..]), (drained, &nodes)] {
        site.expect_route(address, nodes)?;
        site.expect_answer(address)?;
    }

    let traffic = site.traffic("drain", &[everywhere, drained])?;
    let victim = nodes[0].name();
    site.kubectl(&["cordon", &victim])?;
    site.kubectl(&[
        "drain",
        &victim,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=90s",
    ])?;
    site.rolled_out("drained", "deployment/web")?;
    let after = pod_nodes(site, "drained")?;
    anyhow::ensure!(!after.contains(&nodes[0]), "a pod is on {victim} still");
    site.expect_route(drained, &after)?;
    // A cordon is a matter of policies: where pods and kube-proxy go on, the node goes on.
    site.expect_route(everywhere, &Node::ALL)?;
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

/// Places pods on a node.
fn on(node: Node) -> String {
    format!("nodeSelector: {{kubernetes.io/hostname: {}}}", node.name())
}

/// Waits until the router reaches the addresses by this node alone, and its pod answers.
fn expect_at(site: &Site, addresses: &[IpAddr], node: Node) -> Result<()> {
    for address in addresses {
        site.expect_route(*address, &[node])?;
        let answer = site.expect_answer(*address)?;
        anyhow::ensure!(answer.ends_with(&node.name()), "{address} is answered by {answer}");
    }
    Ok(())
}

/// Waits until so many pods of a backend are left, those that terminate among them.
fn expect_pods(site: &Site, namespace: &str, count: usize) -> Result<()> {
    wait_for(&format!("{count} pods are left in {namespace}"), PODS, || {
        let pods = site.json(&["-n", namespace, "get", "pods", "-l", "app=web"]);
        let pods = pods.map_err(|error| format!("{error:#}"))?;
        match pods["items"].as_array().map_or(0, Vec::len) {
            left if left == count => Ok(()),
            left => Err(format!("{left} are")),
        }
    })?;
    Ok(())
}

/// The nodes of the pods of a backend that are not about to go.
fn pod_nodes(site: &Site, namespace: &str) -> Result<Vec<Node>> {
    let pods = site.json(&["-n", namespace, "get", "pods", "-l", "app=web"])?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = pods
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["spec"]["nodeName"].as_str())
        .collect();
    Ok(Node::ALL.into_iter().filter(|node| names.contains(&&*node.name())).collect())
}
