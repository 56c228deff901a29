//! Rows 13 to 16 and 39 to 42: which address a Service has, and for how long.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellhop_test_cluster::wait_for;

use super::{documents, expect_released, expect_unchanged, pool, pool_of, row};
use crate::Site;
use crate::objects::{ALLOCATED, Service, ingress};
use crate::site::{NAMESPACE, PODS, condition};

/// As many restarts as MetalLB's case makes.
const RESTARTS: usize = 5;
/// A controller that was replaced leads, has listed everything and has written its first status.
const LEADS_AND_ALLOCATES: Duration = Duration::from_secs(90);

pub(in crate::cases) fn named_pools(site: &Site) -> Result<()> {
    site.namespace("named")?;
    // Only whoever asks for the pool by its name may have of it here: the selector keeps a user's Services away.
    let ours = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: named}}";
    site.apply(&documents(&[
        pool("e2e-auto", &["198.18.64.0/30", "2001:db8:e2e:1::/126"], &format!("autoAssign: true, {ours}")),
        pool("e2e-asked", &["198.18.64.4/30", "2001:db8:e2e:2::/126"], &format!("autoAssign: false, {ours}")),
    ]))?;
    let rows = [
        ("13", "e2e-auto", "IPv4", "autoAssign, IPv4"),
        ("14", "e2e-auto", "IPv6", "autoAssign, IPv6"),
        ("15", "e2e-asked", "IPv4", "no autoAssign, IPv4"),
        ("16", "e2e-asked", "IPv6", "no autoAssign, IPv6"),
    ];
    let mut held = Vec::new();
    for (number, pool, family, what) in rows {
        row(number, &format!("a pool asked for by name, {what}"), || {
            let name = format!("row-{number}");
            let spec = format!("ipFamilies: [{family}]");
            let annotations = format!("bellhop.dev/pool: {pool}");
            let service = Service { spec: &spec, annotations: &annotations, ..Service::new("named", &name) };
            site.apply(&service.manifest())?;
            let addresses = site.addresses("named", &name, 1)?;
            let from = pool_of(site, addresses[0])?;
            ensure!(from == pool, "{} is from {from}", addresses[0]);
            held.push((name, addresses));
            Ok(())
        })?;
    }
    row("13 to 16", "addresses stay while pools are added", || {
        site.apply(&pool("e2e-added", &["198.18.64.8/30"], &format!("priority: 1000, {ours}")))?;
        // A Service that is served after it shows that the new pool was seen.
        site.apply(&Service::new("named", "after").manifest())?;
        let after = site.addresses("named", "after", 1)?;
        ensure!(pool_of(site, after[0])? == "e2e-added", "{} is of another pool", after[0]);
        held.iter().try_for_each(|(name, addresses)| expect_unchanged(site, "named", name, addresses))
    })
}

pub(in crate::cases) fn foreign_class(site: &Site) -> Result<()> {
    site.namespace("foreign")?;
    let foreign = Service { class: Some("example.com/other"), ..Service::new("foreign", "foreign") };
    site.apply(&foreign.manifest())?;
    // Made after it and served: the controller has seen the other one.
    site.apply(&pool("e2e-foreign", &["198.18.65.0/30"], "autoAssign: false"))?;
    let ours = Service { annotations: "bellhop.dev/pool: e2e-foreign", ..Service::new("foreign", "ours") };
    site.apply(&ours.manifest())?;
    site.addresses("foreign", "ours", 1)?;
    let service = site.service("foreign", "foreign")?;
    ensure!(ingress(&service).is_empty(), "it has {:?}", ingress(&service));
    ensure!(condition(&service, ALLOCATED).is_none(), "its status was written: {}", service["status"]);
    Ok(())
}

pub(in crate::cases) fn freed_for_a_pending_service(site: &Site) -> Result<()> {
    site.namespace("pending")?;
    site.apply(&pool("e2e-single", &["198.18.66.1"], "autoAssign: false"))?;
    for name in ["first", "second", "third"] {
        let annotations = "bellhop.dev/pool: e2e-single";
        site.apply(&Service { annotations, ..Service::new("pending", name) }.manifest())?;
        if name == "first" {
            site.addresses("pending", name, 1)?;
        } else {
            let told = site.service_condition("pending", name, ALLOCATED, "False")?;
            ensure!(told.contains("e2e-single"), "it does not say which pool is full: {told}");
        }
    }
    let address = site.addresses("pending", "first", 1)?;
    row("40", "a type changed to ClusterIP frees the address for one that waits", || {
        let patch = r#"{"spec": {"type": "ClusterIP", "loadBalancerClass": null}}"#;
        site.kubectl(&["-n", "pending", "patch", "service", "first", "--type=merge", "-p", patch])?;
        let next = wait_for("the second or the third has the address", PODS, || holder(site, &address))?;
        expect_unchanged(site, "pending", &next, &address)?;
        let first = site.service("pending", "first")?;
        ensure!(ingress(&first).is_empty() && condition(&first, ALLOCATED).is_none(), "{}", first["status"]);
        Ok(())
    })?;
    row("41", "a deleted Service frees the address for one that waits", || {
        let holds = wait_for("one has the address", PODS, || holder(site, &address))?;
        let waits = if holds == "second" { "third" } else { "second" };
        site.kubectl(&["-n", "pending", "delete", "service", &holds])?;
        let found = site.addresses("pending", waits, 1)?;
        ensure!(found == address, "{waits} has {found:?}");
        site.kubectl(&["-n", "pending", "delete", "service", waits])?;
        expect_released(site, address[0])
    })
}

/// Which of the Services that waited has the address.
fn holder(site: &Site, address: &[IpAddr]) -> Result<String, String> {
    for name in ["second", "third"] {
        let service = site.service("pending", name).map_err(|error| format!("{error:#}"))?;
        if ingress(&service) == address {
            return Ok(name.into());
        }
    }
    Err("neither".into())
}

pub(in crate::cases) fn stable_over_restarts(site: &Site) -> Result<()> {
    site.namespace("restarts")?;
    site.apply(&pool("e2e-restarts", &["198.18.67.0/30"], "autoAssign: false"))?;
    site.apply(&pool("e2e-witness", &["198.18.68.0/28"], "autoAssign: false"))?;
    let asking = |name: &str, annotations: &str| {
        site.apply(&Service { annotations, ..Service::new("restarts", name) }.manifest())
    };
    let mut held = Vec::new();
    for name in ["one", "two", "three", "four"] {
        asking(name, "bellhop.dev/pool: e2e-restarts")?;
        held.push((name, site.addresses("restarts", name, 1)?));
    }
    for name in ["waits", "waits-too"] {
        asking(name, "bellhop.dev/pool: e2e-restarts")?;
        site.service_condition("restarts", name, ALLOCATED, "False")?;
    }
    for restart in 0..RESTARTS {
        let before = leader(site)?;
        let label = "app.kubernetes.io/component=controller";
        site.kubectl(&["-n", NAMESPACE, "delete", "pods", "-l", label, "--wait=false"])?;
        // What is asked for now only a new leader can give: it has made its first decisions then.
        let witness = format!("witness-{restart}");
        asking(&witness, "bellhop.dev/pool: e2e-witness")?;
        wait_for("another controller leads and allocates", LEADS_AND_ALLOCATES, || {
            let now = leader(site).map_err(|error| format!("{error:#}"))?;
            let service = site.service("restarts", &witness).map_err(|error| format!("{error:#}"))?;
            match ingress(&service).len() {
                1 if now != before => Ok(()),
                count => Err(format!("{now:?} leads after {before:?}; {count} addresses")),
            }
        })?;
        for (name, addresses) in &held {
            expect_unchanged(site, "restarts", name, addresses)?;
        }
        for name in ["waits", "waits-too"] {
            site.service_condition("restarts", name, ALLOCATED, "False")?;
        }
    }
    let timeout = format!("--timeout={}s", PODS.as_secs());
    site.kubectl(&["-n", NAMESPACE, "rollout", "status", "deployment/bellhop-controller", &timeout]).map(drop)
}

/// The pod that leads.
fn leader(site: &Site) -> Result<String> {
    let lease = site.json(&["-n", NAMESPACE, "get", "lease", "bellhop-controller"])?;
    Ok(lease["spec"]["holderIdentity"].as_str().context("nobody holds the Lease")?.to_owned())
}
