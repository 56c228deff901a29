//! Rows 46 to 50: which pool serves which Service (`serviceAllocation` there, selectors and `priority` here).
//!
//! There the smallest number is tried first; here the highest priority is, as everywhere in Bellhop and in Kubernetes'
//! PriorityClasses. Two selectors of one pool must both hold, there as here.

use anyhow::{Result, ensure};

use super::{documents, pool, pool_of, row};
use crate::Site;
use crate::objects::Service;

/// Two namespaces with equal labels, one label that they do not share.
const LABELS: [(&str, &str); 2] = [("blue", "team=blue"), ("green", "team=green")];

pub(in crate::cases) fn pools_by_selector_and_priority(site: &Site) -> Result<()> {
    for (namespace, label) in LABELS {
        site.namespace(namespace)?;
        site.kubectl(&["label", "namespace", namespace, label])?;
    }
    row("46", "by namespace: priority 1000, then 990, then a pool without a priority", || {
        by_namespace_and_priority(site)
    })?;
    row("47", "by priority alone", || {
        // The label stands for "every Service" and keeps a user's own away.
        let every = "serviceSelector: {matchLabels: {row: r47}}";
        let pools = [
            pool("e2e-47-low", &["198.18.72.1"], &format!("priority: 990, {every}")),
            pool("e2e-47-high", &["198.18.72.2"], &format!("priority: 1000, {every}")),
        ];
        site.apply(&documents(&pools))?;
        expect_pool(site, "blue", "r47-a", "row: r47", "e2e-47-high")?;
        expect_pool(site, "green", "r47-b", "row: r47", "e2e-47-low")
    })?;
    row("48", "by namespace and its labels: both must hold", || {
        let both = "matchLabels: {kubernetes.io/metadata.name: blue, team: blue}";
        let neither = "matchLabels: {kubernetes.io/metadata.name: green, team: blue}";
        let pools = [
            pool("e2e-48", &["198.18.73.1"], &format!("priority: 980, namespaceSelector: {{{both}}}")),
            pool(
                "e2e-48-never",
                &["198.18.73.2"],
                &format!("priority: 1000, namespaceSelector: {{{neither}}}"),
            ),
        ];
        site.apply(&documents(&pools))?;
        expect_pool(site, "blue", "r48", "", "e2e-48")
    })?;
    row("49", "by a label of the Service", || {
        site.apply(&pool(
            "e2e-49",
            &["198.18.74.1"],
            "priority: 1000, serviceSelector: {matchLabels: {row: r49}}",
        ))?;
        expect_pool(site, "green", "r49", "row: r49", "e2e-49")
    })?;
    row("50", "by namespace and a label of the Service: both must hold", || {
        let both =
            "namespaceSelector: {matchLabels: {team: blue}}, serviceSelector: {matchLabels: {row: r50}}";
        let pools = [
            pool("e2e-50", &["198.18.75.1/32", "198.18.75.2/32"], &format!("priority: 1000, {both}")),
            pool(
                "e2e-50-rest",
                &["198.18.75.3/32"],
                "priority: 990, serviceSelector: {matchLabels: {row: r50}}",
            ),
        ];
        site.apply(&documents(&pools))?;
        expect_pool(site, "green", "r50-elsewhere", "row: r50", "e2e-50-rest")?;
        expect_pool(site, "blue", "r50", "row: r50", "e2e-50")
    })
}

fn by_namespace_and_priority(site: &Site) -> Result<()> {
    let blue = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: blue}}";
    let pools = [
        pool("e2e-46-none", &["198.18.71.3"], blue),
        pool("e2e-46-second", &["198.18.71.2"], &format!("priority: 990, {blue}")),
        pool("e2e-46-first", &["198.18.71.1"], &format!("priority: 1000, {blue}")),
    ];
    site.apply(&documents(&pools))?;
    expect_pool(site, "blue", "r46-a", "", "e2e-46-first")?;
    expect_pool(site, "blue", "r46-b", "", "e2e-46-second")?;
    if site.cluster().is_ok() {
        // It has no priority either, and which of the two comes next is not said.
        site.kubectl(&["delete", "addresspool", "public"])?;
        return expect_pool(site, "blue", "r46-c", "", "e2e-46-none");
    }
    // A user's pools may have none either, and stay.
    let from = made(site, "blue", "r46-c", "")?;
    ensure!(!["e2e-46-first", "e2e-46-second"].contains(&from.as_str()), "the third has one of {from}");
    Ok(())
}

/// Makes a Service; it must get its address of this pool.
fn expect_pool(site: &Site, namespace: &str, name: &str, labels: &str, wanted: &str) -> Result<()> {
    let from = made(site, namespace, name, labels)?;
    ensure!(from == wanted, "{namespace}/{name} has an address of {from}, not of {wanted}");
    Ok(())
}

/// Makes a Service; returns the pool of its address.
fn made(site: &Site, namespace: &str, name: &str, labels: &str) -> Result<String> {
    site.apply(&Service { labels, ..Service::new(namespace, name) }.manifest())?;
    let addresses = site.addresses(namespace, name, 1)?;
    pool_of(site, addresses[0])
}
