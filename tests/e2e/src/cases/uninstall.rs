//! Case 7: `helm uninstall`, what it leaves, and what an installation after it finds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_test_cluster::{Node, wait_for};

use super::catalogue::{claim_name, expect_released, expect_unchanged};
use super::services::expect_no_finalizer;
use crate::Site;
use crate::objects::Service;
use crate::site::{NAMESPACE, PODS, RELEASE};

/// How often the router is looked at meanwhile: many times in the three seconds that the speakers wait after
/// GRACEFUL_SHUTDOWN.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn uninstall_and_install_again(site: &Site) -> Result<()> {
    site.backend("leaves")?;
    site.namespace("deleted")?;
    site.apply(
        &Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("leaves", "stays") }.manifest(),
    )?;
    site.apply(&Service::new("leaves", "goes").manifest())?;
    site.apply(&Service::new("deleted", "web").manifest())?;
    let stays = site.addresses("leaves", "stays", 2)?;
    let goes = site.addresses("leaves", "goes", 1)?[0];
    let deleted = site.addresses("deleted", "web", 1)?[0];
    for address in stays.iter().chain([&goes]) {
        site.expect_route(*address, &Node::ALL)?;
    }
    let before = claims(site)?;
    uninstall(site, &stays)?;

    let crds = site.json(&["get", "customresourcedefinitions"])?;
    let crds = crds["items"].as_array().cloned().unwrap_or_default();
    let ours: Vec<_> = crds.iter().filter(|crd| crd["spec"]["group"] == "bellhop.dev").collect();
    ensure!(ours.len() >= 7, "only {} CRDs are left", ours.len());
    ensure!(claims(site)? == before, "claims went with the installation");
    expect_unchanged(site, "leaves", "stays", &stays)?;
    let kinds = "services,addressclaims,addresspools,bgppeers,bfdprofiles,advertisements,speakerconfigs,speakerstates";
    for object in site.json(&["get", kinds, "-A"])?["items"].as_array().into_iter().flatten() {
        expect_no_finalizer(object)?;
    }
    // Nothing waits for a Bellhop that is not there.
    let timeout = format!("--timeout={}s", PODS.as_secs());
    site.kubectl(&["-n", "leaves", "delete", "service", "goes", &timeout])?;
    site.kubectl(&["delete", "namespace", "deleted", &timeout])?;

    site.install(&[])?;
    for address in [goes, deleted] {
        expect_released(site, address)?;
    }
    for address in &stays {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
        let claim = site.json(&["get", "addressclaim", &claim_name(*address)])?;
        let uid = claim["metadata"]["uid"].as_str().unwrap_or_default();
        ensure!(before.iter().any(|known| known == uid), "the claim of {address} was made anew");
    }
    expect_unchanged(site, "leaves", "stays", &stays)
}

/// Runs `helm uninstall` and watches the router: each node says GRACEFUL_SHUTDOWN (RFC 8326) for an address before it
/// withdraws it, and in the end no route is left.
fn uninstall(site: &Site, addresses: &[IpAddr]) -> Result<()> {
    let cluster = site.cluster()?;
    let args = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "180s"];
    let mut warned: BTreeSet<(IpAddr, Node)> = BTreeSet::new();
    std::thread::scope(|scope| {
        let helm = scope.spawn(|| cluster.helm(&args));
        while !helm.is_finished() {
            for address in addresses {
                let paths = site.paths(*address)?;
                let shutting_down = paths.iter().filter(|path| path.is_shutting_down());
                warned.extend(shutting_down.filter_map(|path| Some((*address, path.node()?))));
                for node in Node::ALL {
                    let there = paths.iter().any(|path| path.node() == Some(node));
                    ensure!(
                        there || warned.contains(&(*address, node)),
                        "{} withdrew {address} without GRACEFUL_SHUTDOWN",
                        node.name()
                    );
                }
            }
            std::thread::sleep(LOOK);
        }
        helm.join().map_err(|_| anyhow::anyhow!("helm's thread panicked"))?
    })?;
    ensure!(warned.len() == addresses.len() * Node::ALL.len(), "only these were warned of: {warned:?}");
    for address in addresses {
        site.expect_route(*address, &[])?;
    }
    wait_for("no pod of Bellhop is left", PODS, || {
        let pods = site.json(&["-n", NAMESPACE, "get", "pods"]).map_err(|error| format!("{error:#}"))?;
        match pods["items"].as_array().map_or(0, Vec::len) {
            0 => Ok(()),
            count => Err(format!("{count} are")),
        }
    })?;
    Ok(())
}

/// UIDs of the claims.
fn claims(site: &Site) -> Result<Vec<String>> {
    let claims = site.json(&["get", "addressclaims"])?;
    let claims = claims["items"].as_array().into_iter().flatten();
    Ok(claims.filter_map(|claim| claim["metadata"]["uid"].as_str().map(str::to_owned)).collect())
}
