//! Case 1: `helm install` as in the README, and what a user sees then; the page of the first Service.

use anyhow::{Context, Result, ensure};
use bellhop_lab::load::Load;
use bellhop_test_cluster::Node;

use crate::Site;
use crate::objects::{ANNOUNCED, BACKEND_IMAGE, Service};
use crate::routes::url;
use crate::site::fenced;

/// Requests that a burst makes to each address.
const REQUESTS: u64 = 100;

pub(super) fn install_and_serve(site: &Site) -> Result<()> {
    if !site.is_as_the_readme_says() {
        site.uninstall()?;
        site.install_as_the_readme_says()?;
        site.apply_base()?;
    }
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

/// The page's objects.
const FIRST_BELLHOP: &str = include_str!("../../../../examples/first-service/bellhop.yaml");
const FIRST_SERVICE: &str = include_str!("../../../../examples/first-service/service.yaml");

/// The page, and the section with the router's configuration.
const PAGE: (&str, &str) = (include_str!("../../../../docs/first-service.md"), "\n## On bare metal\n");

/// docs/first-service.md, but for its workload's image, which nothing here could pull. Its addresses and AS numbers are those of
/// the test cluster.
pub(super) fn first_service_as_the_page_says(site: &Site) -> Result<()> {
    let (page, section) = PAGE;
    let router = fenced(page, section, "text").context("the page does not configure a router")?;
    let frr = site.frr()?;
    let lines: Vec<_> = router.lines().collect();
    let result = frr.replace_bgp(&lines).context("the page's router").and_then(|()| first_service(site));
    // Whatever came of it, for the cases that follow.
    frr.restore_bgp()?;
    result
}

fn first_service(site: &Site) -> Result<()> {
    for kind in ["advertisements", "bgppeers", "addresspools", "speakerconfigs"] {
        site.kubectl(&["delete", kind, "--all"])?;
    }
    let image = "image: nginx\n";
    ensure!(FIRST_SERVICE.contains(image), "the page's workload has another image");
    let ours = format!("image: {BACKEND_IMAGE}\n          args: [serve, -port, \"80\"]\n");
    // The other way round than on the page: the order does not matter.
    site.apply(&FIRST_SERVICE.replace(image, &ours))?;
    site.apply(FIRST_BELLHOP)?;
    let addresses = site.addresses("default", "hello", 2)?;
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
    }
    site.kubectl(&["-n", "default", "delete", "service/hello", "deployment/hello"])?;
    for address in &addresses {
        site.expect_route(*address, &[])?;
    }
    site.kubectl(&[
        "delete",
        "-f",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/first-service/bellhop.yaml"),
    ])
    .map(drop)
}
