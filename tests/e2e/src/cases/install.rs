//! Case 1: `helm install` as in the README, and what a user sees then.

use anyhow::{Result, ensure};
use bellhop_lab::load::Load;
use bellhop_test_cluster::Node;

use crate::Site;
use crate::objects::{ANNOUNCED, Service};
use crate::routes::url;

/// Requests that a burst makes to each address.
const REQUESTS: u64 = 100;

pub(super) fn install_and_serve(site: &Site) -> Result<()> {
    site.backend("shop")?;
    site.apply(&Service::new("shop", "web").manifest())?;
    let dual = Service { spec: "ipFamilyPolicy: RequireDualStack", ..Service::new("shop", "dual") };
    site.apply(&dual.manifest())?;
    let mut addresses = site.addresses("shop", "web", 1)?;
    let both = site.addresses("shop", "dual", 2)?;
    ensure!(both[0].is_ipv4() && both[1].is_ipv6(), "the families are in the Service's order: {both:?}");
    addresses.extend(both);
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
    }
    for name in ["web", "dual"] {
        site.service_condition("shop", name, ANNOUNCED, "True")?;
    }
    let urls: Vec<_> = addresses.iter().map(|address| url(*address)).collect();
    let report = site.cluster()?.requests(Load::burst(&urls, REQUESTS))?.stop()?;
    ensure!(report.failed() == 0 && report.requests() == REQUESTS * urls.len() as u64, "{report}");
    Ok(())
}
