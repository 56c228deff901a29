//! Case 6: `helm upgrade` under traffic.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bellhop_test_cluster::Node;

use crate::Site;
use crate::objects::Service;
use crate::site::NAMESPACE;

pub(super) fn upgrade_under_traffic(site: &Site) -> Result<()> {
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
    // What a new version does: every pod is replaced.
    site.install(&["speaker.podAnnotations.restarted=now", "controller.podAnnotations.restarted=now"])?;
    let passed = traffic.without_loss()?;
    let after = pods(site)?;
    let stayed: Vec<_> = before.intersection(&after).collect();
    ensure!(stayed.is_empty(), "these pods were not replaced: {stayed:?}");
    println!("      {} requests, {} moved, 0 failed, 0 routes deleted", passed.requests, passed.moved);
    Ok(())
}

/// Names of Bellhop's pods.
fn pods(site: &Site) -> Result<BTreeSet<String>> {
    let pods = site.json(&["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/instance=bellhop"])?;
    let names = pods["items"].as_array().into_iter().flatten();
    Ok(names.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
}
