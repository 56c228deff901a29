//! Case 6: `helm upgrade` under traffic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bellhop_test_cluster::Node;

use crate::Site;
use crate::objects::Service;
use crate::site::{NAMESPACE, RELEASE};

/// Where the chart of the version before is, as `helm package` makes it.
const PREVIOUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/previous");

pub(super) fn upgrade_under_traffic(site: &Site) -> Result<()> {
    upgrade(site)
}

/// The image is today's either way, as there is none of the version before: what this shows is what the charts make of it,
/// today's programs with the rights, arguments and CRDs of before among it.
pub(super) fn upgrade_from_the_version_before(site: &Site) -> Result<()> {
    let cluster = site.cluster()?;
    cluster.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "180s"])?;
    // Uninstalling keeps them, and then they are today's.
    let crds = site.json(&["get", "customresourcedefinitions"])?;
    let crds = crds["items"].as_array().into_iter().flatten();
    let crds = crds.filter(|crd| crd["spec"]["group"] == "bellhop.dev");
    let crds: Vec<_> = crds.filter_map(|crd| crd["metadata"]["name"].as_str()).collect();
    site.kubectl(&[&["delete", "customresourcedefinitions", "--timeout=120s"][..], &crds].concat())?;

    let chart = previous()?;
    site.install_chart(&chart.to_string_lossy(), &[])?;
    site.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
    site.apply_base()?;
    let before = installed(site)?;
    upgrade(site)?;
    let after = installed(site)?;
    ensure!(before != after, "helm installed {after} twice");
    println!("      from {before} to {after}");
    Ok(())
}

/// Upgrades to today's chart under traffic.
fn upgrade(site: &Site) -> Result<()> {
    site.backend("upgrade")?;
    let dual = Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("upgrade", "web") };
    site.apply(&dual.manifest())?;
    let addresses = site.addresses("upgrade", "web", 2)?;
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
    }
    let before = pods(site)?;
    let traffic = site.traffic("upgrade", &addresses)?;
    // What another image does: every pod is replaced.
    site.install(&["speaker.podAnnotations.restarted=now", "controller.podAnnotations.restarted=now"])?;
    let passed = traffic.without_withdrawal(site)?;
    let after = pods(site)?;
    let stayed: Vec<_> = before.intersection(&after).collect();
    ensure!(stayed.is_empty(), "these pods were not replaced: {stayed:?}");
    println!("      {} requests, {} moved, 0 failed, 0 routes withdrawn", passed.requests, passed.moved);
    Ok(())
}

/// Names of Bellhop's pods.
fn pods(site: &Site) -> Result<BTreeSet<String>> {
    let pods = site.json(&["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/instance=bellhop"])?;
    let names = pods["items"].as_array().into_iter().flatten();
    Ok(names.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// The one package in [`PREVIOUS`].
fn previous() -> Result<PathBuf> {
    let mut found =
        std::fs::read_dir(PREVIOUS)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    ensure!(found.len() == 1, "{PREVIOUS} holds these packages, and must hold one: {found:?}");
    found.pop().with_context(|| format!("{} is empty", Path::new(PREVIOUS).display()))
}

/// Name and version of the chart that is installed.
fn installed(site: &Site) -> Result<String> {
    let list = site.cluster()?.helm(&["list", "--namespace", NAMESPACE, "-o", "json"])?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    Ok(list[0]["chart"].as_str().context("helm lists no chart")?.to_owned())
}
