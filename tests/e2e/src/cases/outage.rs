//! Case 5: the API server is away for three minutes; every node is cut off from it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_lab::observe::bgp;
use bellhop_test_cluster::{Cut, Machine, Node, Program, wait_for};

use super::nodes::{both_policies, expect_no_endpoint, nodes_return};
use super::policies;
use crate::Site;
use crate::objects::Service;
use crate::routes::url;
use crate::site::{PODS, SOON};

/// How long the API server is away: longer than every Lease and node grace period.
const OUTAGE: Duration = Duration::from_secs(180);
/// A speaker that was killed is started by its kubelet and has its sessions again.
const SPEAKER_BACK: Duration = Duration::from_secs(60);
/// Of the pool, and nobody's.
const ASKED_FOR: &str = "203.0.113.90";

/// What the router hears from every node: of the base objects, and of the policy.
const COMMUNITIES: [&str; 2] = ["64513:1", "64513:100"];

pub(super) fn api_is_away_for_three_minutes(site: &Site) -> Result<()> {
    site.apply(&policies::pack(site, policies::POLICY, policies::SETTINGS)?)?;
    policies::expect_active(site, policies::POLICY)?;
    let (everywhere, local) = both_policies(site, "outage")?;
    let dual = Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("outage", "dual") };
    site.apply(&dual.manifest())?;
    let mut addresses = site.addresses("outage", "dual", 2)?;
    addresses.extend([everywhere, local]);
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
        policies::expect_communities(site, *address, &COMMUNITIES)?;
    }
    let cluster = site.cluster()?;
    let traffic = site.traffic("outage", &addresses)?;
    cluster.stop(Machine::ControlPlane, Program::ApiServer)?;
    let start = Instant::now();

    let frr = site.frr()?;
    let victim = Node::ALL[1];
    let before = bgp::neighbors(frr)?.remove(&victim);
    output_of(cluster.on(victim, "pkill").args(["-KILL", "-f", "^/?[a-z/]*bellhop speaker"]))?;
    wait_for("the speaker that was killed has a new session, without the API", SPEAKER_BACK, || {
        let now = bgp::neighbors(frr).map_err(|error| format!("{error:#}"))?.remove(&victim);
        match (&before, &now) {
            (Some(before), Some(now)) if now.is_established() && !now.is_same_session(before) => Ok(()),
            _ => Err(format!("{now:?}")),
        }
    })?;
    // By the policy's module, which it has from its node alone.
    for address in &addresses {
        wait_for(&format!("{victim:?} announces {address} anew, as the policy says"), SOON, || {
            let paths = site.paths(*address).map_err(|error| format!("{error:#}"))?;
            let own = paths.iter().find(|path| path.node() == Some(victim));
            let anew = own.is_some_and(|path| !path.stale && path.communities == COMMUNITIES);
            if anew { Ok(()) } else { Err(format!("{own:?}")) }
        })?;
    }
    wait_for("the outage lasts three minutes", OUTAGE + SOON, || {
        if start.elapsed() >= OUTAGE { Ok(()) } else { Err(format!("{:?}", start.elapsed())) }
    })?;
    for address in &addresses {
        policies::expect_communities(site, *address, &COMMUNITIES)?;
    }
    let passed = traffic.without_withdrawal(site)?;
    println!("      {} requests, {} moved, 0 failed, 0 routes withdrawn", passed.requests, passed.moved);

    // From now on routes count alone: where kubelets are slow to say that they are there, the control plane takes their nodes
    // for Unknown and kube-proxy refuses what comes for their pods.
    let mut recording = cluster.record_routes("outage-over")?;
    cluster.start(Machine::ControlPlane, Program::ApiServer)?;
    wait_for("the API answers again", SOON, || {
        site.kubectl(&["get", "--raw", "/readyz"]).map_err(|error| format!("{error:#}"))
    })?;
    // What is asked for now is done, by speakers and controllers that were never told to restart.
    site.apply(&Service::new("outage", "later").manifest())?;
    let later = site.addresses("outage", "later", 1)?;
    expect_endpoints(site, "outage", "later")?;
    site.expect_route(later[0], &Node::ALL)?;
    // kube-proxy's watches wait for up to a minute, too.
    wait_for("the client gets an answer from the new Service", PODS, || {
        cluster.get(&cluster.client(), url(later[0])).map(drop).map_err(|error| format!("{error:#}"))
    })?;
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
    }
    let deletions = recording.deletions_of(&addresses)?;
    ensure!(deletions.is_empty(), "the router's kernel deleted routes: {deletions:#?}");
    Ok(())
}

/// The API server goes on, so that something can be asked of it meanwhile, and no node hears of that. For it the nodes are what
/// they are after an outage that their Leases did not outlive: all Unknown, and none of their pods ready.
pub(super) fn every_node_is_cut_off(site: &Site) -> Result<()> {
    let (everywhere, local) = both_policies(site, "cut")?;
    for name in ["goes", "changes"] {
        site.apply(&Service::new("cut", name).manifest())?;
    }
    let goes = site.addresses("cut", "goes", 1)?[0];
    let changes = site.addresses("cut", "changes", 1)?[0];
    for address in [goes, changes] {
        site.expect_route(address, &Node::ALL)?;
        site.expect_answer(address)?;
    }
    let cluster = site.cluster()?;
    let traffic = site.traffic("cut", &[everywhere, local, goes, changes])?;
    for node in Node::ALL {
        cluster.cut(node, Cut::Api)?;
    }
    site.kubectl(&["-n", "cut", "delete", "service", "goes"])?;
    let annotations = format!("bellhop.dev/addresses: {ASKED_FOR}");
    site.apply(&Service { annotations: &annotations, ..Service::new("cut", "changes") }.manifest())?;
    site.apply(&Service::new("cut", "comes").manifest())?;
    for node in Node::ALL {
        site.expect_ready(node, "Unknown")?;
    }
    expect_no_endpoint(site, "cut", &Node::ALL)?;
    let passed = traffic.without_withdrawal(site)?;
    println!("      {} requests, {} moved, 0 failed, 0 routes withdrawn", passed.requests, passed.moved);

    // Now they hear of it all at once: what was asked for, and that the facts are gone.
    nodes_return(site, "cut", [everywhere, local], || {
        Node::ALL.iter().try_for_each(|node| cluster.mend(*node))
    })?;
    site.expect_route(goes, &[])?;
    site.expect_route(changes, &[])?;
    let asked_for: IpAddr = ASKED_FOR.parse()?;
    let comes = site.addresses("cut", "comes", 1)?[0];
    for address in [asked_for, comes] {
        site.expect_route(address, &Node::ALL)?;
        site.expect_answer(address)?;
    }
    Ok(())
}

/// Waits until a Service has an endpoint on every node. Kubernetes' controller of endpoints comes back at its own pace: after
/// three minutes its watches wait for up to a minute, and nothing can be announced before it has looked at the Service.
fn expect_endpoints(site: &Site, namespace: &str, service: &str) -> Result<()> {
    let label = format!("kubernetes.io/service-name={service}");
    let look = || -> Result<usize> {
        let slices = site.json(&["-n", namespace, "get", "endpointslices", "-l", &label])?;
        let slices = slices["items"].as_array().into_iter().flatten();
        let endpoints = slices.filter_map(|slice| slice["endpoints"].as_array()).flatten();
        Ok(endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count())
    };
    wait_for(&format!("{service} has an endpoint on every node"), PODS, || {
        match look().map_err(|error| format!("{error:#}"))? {
            count if count == Node::ALL.len() => Ok(()),
            count => Err(format!("{count} are ready")),
        }
    })?;
    Ok(())
}
