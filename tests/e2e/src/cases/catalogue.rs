//! Cases 9: what users of other load balancers rely on, by the rows of the catalogue of MetalLB's end-to-end tests.
//!
//! The number in a name is the row. Where a row contradicts a rule of ours, the case shows what Bellhop does, and the
//! words of the case say so.

pub(super) mod assignment;
pub(super) mod reachability;
pub(super) mod selectors;

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use bellhop_test_cluster::wait_for;

use crate::Site;
use crate::objects::ingress;
use crate::site::{CASE_LABEL, SOON};

/// An AddressPool of a case, on a user's cluster removed by [`Site::reset`]. `more` is the rest of its `spec` in YAML's
/// flow style; there it has to keep Services of others away: `autoAssign: false`, or a selector.
pub(super) fn pool(name: &str, addresses: &[&str], more: &str) -> String {
    let (key, value) = CASE_LABEL.split_once('=').unwrap_or((CASE_LABEL, ""));
    let addresses: Vec<String> = addresses.iter().map(|address| format!("{address:?}")).collect();
    format!(
        "apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {{name: {name}, labels: {{{key}: {value}}}}}
spec: {{addresses: [{}], {more}}}
",
        addresses.join(", ")
    )
}

/// Several documents as one.
pub(super) fn documents(documents: &[String]) -> String {
    documents.join("---\n")
}

/// One row of a case that proves several: its error names it.
pub(super) fn row(number: &str, what: &str, proof: impl FnOnce() -> Result<()>) -> Result<()> {
    proof().with_context(|| format!("row {number}: {what}"))?;
    println!("      row {number}: {what}");
    Ok(())
}

/// Waits until a claim stands for the address; returns its pool, which is what MetalLB writes into the annotation
/// `ip-allocated-from-pool`.
pub(super) fn pool_of(site: &Site, address: IpAddr) -> Result<String> {
    let claim = site.json(&["get", "addressclaim", &claim_name(address)])?;
    Ok(claim["spec"]["pool"].as_str().context("the claim names no pool")?.to_owned())
}

/// Name of the claim of an address.
pub(super) fn claim_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:04x}")).join("-"),
    }
}

/// Waits until nobody holds the address any more.
pub(super) fn expect_released(site: &Site, address: IpAddr) -> Result<()> {
    let name = claim_name(address);
    wait_for(&format!("the claim {name} is gone"), SOON, || {
        let found = site.kubectl(&["get", "addressclaim", &name, "--ignore-not-found", "-o", "yaml"]);
        match found {
            Ok(text) if text.trim().is_empty() => Ok(()),
            Ok(text) => Err(text),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    Ok(())
}

/// A Service has these addresses at this moment.
pub(super) fn expect_unchanged(site: &Site, namespace: &str, name: &str, addresses: &[IpAddr]) -> Result<()> {
    let found = ingress(&site.service(namespace, name)?);
    ensure!(found == addresses, "{namespace}/{name} has {found:?}, no more {addresses:?}");
    Ok(())
}
