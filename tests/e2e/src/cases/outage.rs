//! Case 5: the API server is away for three minutes.

use std::time::{Duration, Instant};

use anyhow::Result;
use bellhop_lab::command::output_of;
use bellhop_lab::observe::bgp;
use bellhop_test_cluster::{Machine, Node, Program, wait_for};

use crate::Site;
use crate::objects::Service;
use crate::site::{PODS, SOON};

/// How long the API server is away: longer than every Lease and node grace period.
const OUTAGE: Duration = Duration::from_secs(180);
/// A speaker that was killed is started by its kubelet and has its sessions again.
const SPEAKER_BACK: Duration = Duration::from_secs(60);

pub(super) fn api_is_away_for_three_minutes(site: &Site) -> Result<()> {
    site.backend("outage")?;
    let dual = Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("outage", "web") };
    site.apply(&dual.manifest())?;
    let addresses = site.addresses("outage", "web", 2)?;
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
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
    wait_for("the outage lasts three minutes", OUTAGE + SOON, || {
        if start.elapsed() >= OUTAGE { Ok(()) } else { Err(format!("{:?}", start.elapsed())) }
    })?;

    cluster.start(Machine::ControlPlane, Program::ApiServer)?;
    wait_for("the API answers again", SOON, || {
        site.kubectl(&["get", "--raw", "/readyz"]).map_err(|error| format!("{error:#}"))
    })?;
    // What is asked for now is done, by speakers and controllers that were never told to restart.
    site.apply(&Service::new("outage", "later").manifest())?;
    let later = site.addresses("outage", "later", 1)?;
    expect_endpoints(site, "outage", "later")?;
    site.expect_route(later[0], &Node::ALL)?;
    site.expect_answer(later[0])?;
    let passed = traffic.without_loss()?;
    println!("      {} requests, {} moved, 0 failed, 0 routes deleted", passed.requests, passed.moved);
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
