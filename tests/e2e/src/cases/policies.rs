//! Case 2: a plugin is rolled out with kubectl, a bad one is rejected, and back is by pointing back; the policies that are
//! shipped.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bellhop_test_cluster::{Node, wait_for};
use serde_json::Value;

use super::nodes::both_policies;
use crate::Site;
use crate::machines::MAINTENANCE;
use crate::objects::Service;
use crate::site::{PODS, expect_condition};

/// The policy of route attributes.
pub(super) const POLICY: &str = "peer-attributes";
/// Its settings: two communities, by the peer that hears them.
pub(super) const SETTINGS: &str = "mode: Merge
rules:
- name: everyone
  when: {}
  set: {communities: [\"64513:100\"]}
";
/// Other settings of the same module.
const OTHER_SETTINGS: &str = "mode: Merge
rules:
- name: everyone
  when: {}
  set: {communities: [\"64513:200\"]}
";
/// Settings that the plugin refuses.
const BAD_SETTINGS: &str = "mode: Sideways
";

pub(super) fn plugin_is_rolled_out_rejected_and_taken_back(site: &Site) -> Result<()> {
    site.backend("policy")?;
    site.apply(&Service::new("policy", "web").manifest())?;
    let address = site.addresses("policy", "web", 1)?[0];
    site.expect_route(address, &Node::ALL)?;
    expect_communities(site, address, &["64513:1"])?;

    let good = pack(site, POLICY, SETTINGS)?;
    site.apply(&good)?;
    let active = expect_active(site, POLICY)?;
    expect_communities(site, address, &["64513:1", "64513:100"])?;

    // Another version: an edit reaches the routers without a session or a route going.
    let traffic = site.traffic("policy", &[address])?;
    site.apply(&pack(site, POLICY, OTHER_SETTINGS)?)?;
    expect_communities(site, address, &["64513:1", "64513:200"])?;

    // A bad one says why, and the good one stays in force.
    site.apply(&pack(site, POLICY, BAD_SETTINGS)?)?;
    let told = expect_policy_condition(site, POLICY, "Ready", "False")?;
    ensure!(
        told.contains("spec.config") && told.contains("Sideways"),
        "the condition does not say why: {told}"
    );
    expect_communities(site, address, &["64513:1", "64513:200"])?;
    site.kubectl(&[
        "-n",
        "bellhop-system",
        "rollout",
        "restart",
        "daemonset/bellhop-speaker",
        "deployment/bellhop-controller",
    ])?;
    for workload in ["daemonset/bellhop-speaker", "deployment/bellhop-controller"] {
        let timeout = format!("--timeout={}s", PODS.as_secs());
        site.kubectl(&["-n", "bellhop-system", "rollout", "status", workload, &timeout])?;
    }
    expect_communities(site, address, &["64513:1", "64513:200"])?;

    // Back by pointing back.
    site.apply(&good)?;
    expect_communities(site, address, &["64513:1", "64513:100"])?;
    ensure!(
        expect_active(site, POLICY)? == active,
        "another module is in force than the one that was pointed back to"
    );
    traffic.without_withdrawal(site)?;

    // The policy goes: the built-in answer counts again.
    site.kubectl(&["delete", "decisionpolicy", POLICY])?;
    expect_communities(site, address, &["64513:1"])
}

/// A policy's ConfigMap and DecisionPolicy, as its author packs them.
pub(super) fn pack(site: &Site, policy: &str, settings: &str) -> Result<String> {
    let file = std::env::temp_dir().join(format!("bellhop-e2e-settings-{}.yaml", std::process::id()));
    std::fs::write(&file, settings)?;
    let module = site.plugins()?.join(format!("{policy}.wasm"));
    let text = |path: &Path| path.to_string_lossy().into_owned();
    site.bellhop(&[
        "plugin",
        "pack",
        &text(&module),
        "--name",
        policy,
        "--policy-name",
        policy,
        "--config",
        &text(&file),
    ])
}

/// Waits until the policy is in force; returns the digest of its module.
pub(super) fn expect_active(site: &Site, policy: &str) -> Result<String> {
    expect_policy_condition(site, policy, "Ready", "True")?;
    let policy = site.json(&["get", "decisionpolicy", policy])?;
    Ok(policy["status"]["active"]["sha256"].as_str().context("no version is active")?.to_owned())
}

fn expect_policy_condition(site: &Site, name: &str, kind: &str, status: &str) -> Result<String> {
    Ok(wait_for(&format!("policy {name} is {kind}={status}"), PODS, || {
        let policy: Value =
            site.json(&["get", "decisionpolicy", name]).map_err(|error| format!("{error:#}"))?;
        let generation = &policy["metadata"]["generation"];
        let told = expect_condition(&policy, kind, status).map_err(|error| format!("{error:#}"))?;
        let observed = crate::site::condition(&policy, kind).map(|found| &found["observedGeneration"]);
        if observed == Some(generation) { Ok(told) } else { Err(format!("of another generation: {told}")) }
    })?)
}

/// Nodes by cordon and by a taint, as an administrator would have them.
const NODE_SETTINGS: &str = "rules:
- name: cordoned
  when: {cordoned: true}
  then: Drain
  reason: cordoned
- name: maintenance
  when: {taint: {key: example.com/maintenance, effect: NoSchedule}}
  then: Exclude
  reason: under maintenance
";
/// Addresses by their end.
const ADDRESS_SETTINGS: &str = "keys: {example.com/host: Suffix}
absent: UseDefault
";

/// The other two of the policies that are shipped, on the API's own Nodes and Services.
pub(super) fn nodes_and_addresses_by_policy(site: &Site) -> Result<()> {
    for (policy, settings) in [("node-maintenance", NODE_SETTINGS), ("address-by-label", ADDRESS_SETTINGS)] {
        site.apply(&pack(site, policy, settings)?)?;
        expect_active(site, policy)?;
    }
    let (everywhere, local) = both_policies(site, "shipped")?;
    let named = Service { labels: "example.com/host: '77'", ..Service::new("shipped", "named") };
    site.apply(&named.manifest())?;
    let address = site.addresses("shipped", "named", 1)?[0];
    ensure!(address == IpAddr::from([203, 0, 113, 77]), "{address} does not end as the label says");
    let addresses = [everywhere, local, address];
    site.expect_route(address, &Node::ALL)?;
    site.expect_answer(address)?;

    let traffic = site.traffic("shipped", &addresses)?;
    let [first, victim, third] = Node::ALL;
    site.kubectl(&["cordon", &victim.name()])?;
    for address in addresses {
        site.expect_shutting_down(address, &[victim])?;
    }
    for address in addresses {
        site.expect_route(address, &[first, third])?;
    }
    site.kubectl(&["uncordon", &victim.name()])?;
    for address in addresses {
        site.expect_route(address, &Node::ALL)?;
    }
    site.kubectl(&["taint", "node", &victim.name(), &format!("{MAINTENANCE}=now:NoSchedule")])?;
    for address in addresses {
        site.expect_route(address, &[first, third])?;
    }
    let explained = site.bellhop(&["explain", "service/shipped/named"])?;
    ensure!(explained.contains("under maintenance"), "explain does not say why: {explained}");
    site.kubectl(&["taint", "node", &victim.name(), &format!("{MAINTENANCE}-")])?;
    for address in addresses {
        site.expect_route(address, &Node::ALL)?;
    }
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed", passed.requests, passed.moved);
    Ok(())
}

/// Waits until every node announces the address with exactly these communities.
pub(super) fn expect_communities(site: &Site, address: IpAddr, communities: &[&str]) -> Result<()> {
    // Every node compiles the module for itself before it acts on it.
    wait_for(&format!("{address} has the communities {communities:?} from every node"), PODS, || {
        let paths = site.paths(address).map_err(|error| format!("{error:#}"))?;
        let right = paths.iter().filter(|path| path.communities == communities).count();
        if right == Node::ALL.len() && right == paths.len() { Ok(()) } else { Err(format!("{paths:?}")) }
    })?;
    Ok(())
}
