//! Case 7: Services that are not ours, that change, that go, and what others do to them and to their claims.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bellhop_lab::observe::bgp::{UpdateLog, host_route};
use bellhop_test_cluster::{Node, wait_for};
use serde_json::Value;

use super::catalogue::{claim_name, expect_released, expect_unchanged};
use super::nodes::expect_for;
use crate::Site;
use crate::objects::{ALLOCATED, ANNOUNCED, Service, ingress};
use crate::site::{NAMESPACE, PODS, SOON, condition};

/// Both families.
const DUAL: &str = "ipFamilyPolicy: RequireDualStack";
/// How long there is no kind of claims: longer than a controller or a speaker needs to notice, and to try again a few times.
const KINDLESS: Duration = Duration::from_secs(30);
/// The controllers.
const CONTROLLERS: &str = "deployment/bellhop-controller";

pub(super) fn classes(site: &Site) -> Result<()> {
    site.namespace("classes")?;
    let foreign = Service { class: Some("example.com/other"), ..Service::new("classes", "foreign") };
    let unnamed = Service { class: None, ..Service::new("classes", "unnamed") };
    site.apply(&format!("{}---\n{}", foreign.manifest(), unnamed.manifest()))?;
    let theirs = r#"{"loadBalancer": {"ingress": [{"ip": "192.0.2.200"}]}}"#;
    site.cluster()?.patch_status("classes", "service/foreign", theirs)?;
    let foreign = site.service("classes", "foreign")?;
    site.apply(&Service::new("classes", "ours").manifest())?;
    let ours = site.addresses("classes", "ours", 1)?;
    ensure!(site.service("classes", "foreign")? == foreign, "the other load balancer's Service was written");
    let status = site.service("classes", "unnamed")?["status"].clone();
    ensure!(
        status == serde_json::json!({"loadBalancer": {}}),
        "a Service without a class was written: {status}"
    );

    // All speakers at once: nothing is announced here.
    let at_once = "speaker.updateStrategy.rollingUpdate.maxUnavailable=3";
    site.install(&["classless=true", at_once])?;
    let unnamed = site.addresses("classes", "unnamed", 1)?;
    ensure!(site.service("classes", "foreign")? == foreign, "class-less mode took the other's Service");
    expect_unchanged(site, "classes", "ours", &ours)?;

    // Back: Bellhop lets go of what it serves no more, so that another load balancer can take it.
    site.install(&[at_once])?;
    expect_not_ours(site, "classes", "unnamed")?;
    expect_released(site, unnamed[0])?;
    expect_unchanged(site, "classes", "ours", &ours)
}

pub(super) fn type_changes(site: &Site) -> Result<()> {
    site.backend("types")?;
    site.apply(&Service { spec: DUAL, ..Service::new("types", "web") }.manifest())?;
    let away = [
        r#"{"spec": {"type": "ClusterIP", "loadBalancerClass": null}}"#,
        r#"{"spec": {"type": "NodePort", "loadBalancerClass": null}}"#,
        r#"{"spec": {"type": "ExternalName", "externalName": "example.com", "loadBalancerClass": null,
            "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null}}"#,
    ];
    let back = r#"{"spec": {"type": "LoadBalancer", "loadBalancerClass": "bellhop.dev/bellhop",
        "externalName": null, "ipFamilyPolicy": "RequireDualStack"}}"#;
    let patch =
        |to: &str| site.kubectl(&["-n", "types", "patch", "service", "web", "--type=merge", "-p", to]);
    for to in away {
        let addresses = site.addresses("types", "web", 2)?;
        addresses.iter().try_for_each(|address| site.expect_route(*address, &Node::ALL))?;
        patch(to)?;
        for address in addresses {
            site.expect_route(address, &[]).with_context(|| format!("after {to}"))?;
            expect_released(site, address).with_context(|| format!("after {to}"))?;
        }
        expect_not_ours(site, "types", "web").with_context(|| format!("after {to}"))?;
        patch(back)?;
    }
    let addresses = site.addresses("types", "web", 2)?;
    addresses.iter().try_for_each(|address| site.expect_answer(*address).map(drop))
}

pub(super) fn deleted_while_controllers_are_away(site: &Site) -> Result<()> {
    site.backend("away")?;
    for name in ["stays", "goes", "renewed"] {
        site.apply(&Service::new("away", name).manifest())?;
    }
    let address = |name: &str| Ok::<IpAddr, anyhow::Error>(site.addresses("away", name, 1)?[0]);
    let (stays, goes, renewed) = (address("stays")?, address("goes")?, address("renewed")?);
    for address in [stays, goes, renewed] {
        site.expect_route(address, &Node::ALL)?;
    }
    let proof = without_controllers(site, || {
        site.kubectl(&["-n", "away", "delete", "service", "goes", "renewed"])?;
        // Under its old name, and yet another Service: the claim names the UID of the old one.
        site.apply(&Service::new("away", "renewed").manifest())?;
        site.apply(&Service::new("away", "new").manifest())?;
        // Speakers need nobody to withdraw.
        site.expect_route(goes, &[])?;
        site.expect_route(renewed, &[])?;
        site.expect_route(stays, &Node::ALL)?;
        ensure!(
            ingress(&site.service("away", "renewed")?).is_empty(),
            "a new Service has an address by its name"
        );
        site.kubectl(&["get", "addressclaim", &claim_name(goes)]).map(drop)
    });
    proof?;
    expect_holder(site, goes, "goes", false)?;
    for name in ["renewed", "new"] {
        site.expect_route(address(name)?, &Node::ALL)?;
    }
    expect_unchanged(site, "away", "stays", &[stays])
}

/// Waits until the claim of an address names a Service of this name as holder, or does not.
fn expect_holder(site: &Site, address: IpAddr, service: &str, holds: bool) -> Result<()> {
    let name = claim_name(address);
    wait_for(&format!("Service {service} holds {name}: {holds}"), SOON, || {
        let found = site.json(&["get", "addressclaims"]).map_err(|error| format!("{error:#}"))?;
        let claims = found["items"].as_array().into_iter().flatten();
        let mut holders = claims
            .filter(|claim| claim["metadata"]["name"] == name.as_str())
            .flat_map(|claim| claim["spec"]["holders"].as_array().cloned().unwrap_or_default());
        let found = holders.any(|holder| holder["name"] == service);
        if found == holds { Ok(()) } else { Err(format!("{found}")) }
    })?;
    Ok(())
}

pub(super) fn namespace_is_deleted(site: &Site) -> Result<()> {
    site.backend("gone")?;
    let mut addresses = Vec::new();
    for name in ["one", "two", "three"] {
        site.apply(&Service { spec: DUAL, ..Service::new("gone", name) }.manifest())?;
    }
    for name in ["one", "two", "three"] {
        addresses.extend(site.addresses("gone", name, 2)?);
        expect_no_finalizer(&site.service("gone", name)?)?;
    }
    addresses.iter().try_for_each(|address| site.expect_route(*address, &Node::ALL))?;
    let timeout = format!("--timeout={}s", PODS.as_secs());
    site.kubectl(&["delete", "namespace", "gone", &timeout])?;
    for address in addresses {
        site.expect_route(address, &[])?;
        expect_released(site, address)?;
    }
    Ok(())
}

/// An object can go without Bellhop.
pub(super) fn expect_no_finalizer(object: &Value) -> Result<()> {
    let finalizers = &object["metadata"]["finalizers"];
    ensure!(finalizers.is_null(), "{} has finalizers: {finalizers}", object["metadata"]["name"]);
    Ok(())
}

pub(super) fn status_of_somebody_else(site: &Site) -> Result<()> {
    site.backend("forged")?;
    for name in ["victim", "thief"] {
        site.apply(&Service::new("forged", name).manifest())?;
    }
    let foreign = Service { class: Some("example.com/other"), ..Service::new("forged", "foreign") };
    site.apply(&foreign.manifest())?;
    let victim = site.addresses("forged", "victim", 1)?;
    let thief = site.addresses("forged", "thief", 1)?;
    for address in [victim[0], thief[0]] {
        site.expect_route(address, &Node::ALL)?;
    }
    let heard = UpdateLog::start(site.frr()?.clone())?;
    // Free addresses of the pool, on a Service of ours and on one of somebody else's, and an address that is another's.
    let forged = ["203.0.113.98", "203.0.113.99"];
    let forge = |service: &str, address: &str| {
        let status = format!(r#"{{"loadBalancer": {{"ingress": [{{"ip": "{address}"}}]}}}}"#);
        site.cluster()?.patch_status("forged", &format!("service/{service}"), &status)
    };
    forge("foreign", forged[0])?;
    forge("thief", forged[1])?;
    expect_corrected(site, "thief", &thief)?;
    forge("thief", &victim[0].to_string())?;
    expect_corrected(site, "thief", &thief)?;
    // An emptied status, too.
    site.cluster()?.patch_status(
        "forged",
        "service/victim",
        r#"{"loadBalancer": null, "conditions": null}"#,
    )?;
    expect_corrected(site, "victim", &victim)?;
    // What comes later is announced: the speakers have seen the rest.
    site.apply(&Service::new("forged", "later").manifest())?;
    let later = site.addresses("forged", "later", 1)?[0];
    site.expect_route(later, &Node::ALL)?;
    let announced = heard.announcements()?;
    for address in forged {
        let route = host_route(address.parse()?);
        ensure!(
            !announced.iter().any(|line| line.contains(&route)),
            "{address} was announced: {announced:#?}"
        );
    }
    ensure!(announced.iter().any(|line| line.contains(&host_route(later))), "nothing was recorded");
    let withdrawn = heard.withdrawals()?;
    ensure!(withdrawn.is_empty(), "routes were withdrawn: {withdrawn:#?}");
    Ok(())
}

/// Waits until the controller has written again what the claims say.
fn expect_corrected(site: &Site, name: &str, addresses: &[IpAddr]) -> Result<()> {
    wait_for(&format!("the status of {name} is corrected"), SOON, || {
        let service = site.service("forged", name).map_err(|error| format!("{error:#}"))?;
        let found = ingress(&service);
        if found == addresses && condition(&service, ALLOCATED).is_some() {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })?;
    Ok(())
}

pub(super) fn claims_are_lost(site: &Site) -> Result<()> {
    site.backend("lost")?;
    for name in ["one", "two", "three"] {
        site.apply(&Service { spec: DUAL, ..Service::new("lost", name) }.manifest())?;
    }
    let mut held = Vec::new();
    for name in ["one", "two", "three"] {
        held.push((name, site.addresses("lost", name, 2)?));
    }
    let same = |when: &str| {
        for (name, addresses) in &held {
            for address in addresses {
                expect_holder(site, *address, name, true).with_context(|| when.to_owned())?;
                site.expect_route(*address, &Node::ALL).with_context(|| when.to_owned())?;
            }
            expect_unchanged(site, "lost", name, addresses).with_context(|| when.to_owned())?;
        }
        Ok::<(), anyhow::Error>(())
    };
    same("before")?;
    site.kubectl(&["delete", "addressclaims", "--all"])?;
    same("lost while the controllers watch")?;
    without_controllers(site, || {
        site.kubectl(&["delete", "addressclaims", "--all"])?;
        // It asks for an address that is held, though no claim says so: whoever held it before comes first.
        let annotations = format!("bellhop.dev/addresses: {}", held[0].1[0]);
        site.apply(&Service { annotations: &annotations, ..Service::new("lost", "new") }.manifest())
    })?;
    same("lost while no controller was there")?;
    site.service_condition("lost", "new", ALLOCATED, "False").map(drop)
}

pub(super) fn kind_of_claims_is_lost(site: &Site) -> Result<()> {
    site.backend("kindless")?;
    let names = ["one", "two", "three"];
    for name in names {
        site.apply(&Service { spec: DUAL, ..Service::new("kindless", name) }.manifest())?;
    }
    let mut held = Vec::new();
    for name in names {
        held.push((name, site.addresses("kindless", name, 2)?));
    }
    let addresses: Vec<IpAddr> = held.iter().flat_map(|(_, addresses)| addresses).copied().collect();
    for address in &addresses {
        site.expect_route(*address, &Node::ALL)?;
        site.expect_answer(*address)?;
    }
    let traffic = site.traffic("kindless", &addresses)?;

    // With the kind go the claims.
    let timeout = format!("--timeout={}s", PODS.as_secs());
    site.kubectl(&["delete", "customresourcedefinition", "addressclaims.bellhop.dev", &timeout])?;
    // It asks for an address that no claim holds now: whoever held it before comes first.
    let annotations = format!("bellhop.dev/addresses: {}", addresses[0]);
    site.apply(&Service { annotations: &annotations, ..Service::new("kindless", "new") }.manifest())?;
    expect_for(KINDLESS, "without a kind of claims everything stands", || {
        for (name, addresses) in &held {
            expect_unchanged(site, "kindless", name, addresses)?;
        }
        for address in &addresses {
            let nodes = site.next_hops(*address)?;
            ensure!(nodes == Node::ALL, "{address} by {nodes:?}");
        }
        Ok(())
    })?;

    // The chart brings it back.
    site.install(&[])?;
    for (name, addresses) in &held {
        for address in addresses {
            expect_held_again(site, *address, name)?;
        }
        expect_unchanged(site, "kindless", name, addresses)?;
    }
    site.service_condition("kindless", "new", ALLOCATED, "False")?;
    let passed = traffic.without_withdrawal(site)?;
    println!("      {} requests, {} moved, 0 failed, 0 routes withdrawn", passed.requests, passed.moved);
    Ok(())
}

/// Waits until a Service holds an address; longer than [`expect_holder`], as a controller that was refused for a while has
/// come to ask once a minute.
fn expect_held_again(site: &Site, address: IpAddr, service: &str) -> Result<()> {
    let name = claim_name(address);
    wait_for(&format!("Service {service} holds {name} again"), PODS, || {
        let claim = site.json(&["get", "addressclaim", &name]).map_err(|error| format!("{error:#}"))?;
        let holders = &claim["spec"]["holders"];
        if holders[0]["name"] == service { Ok(()) } else { Err(holders.to_string()) }
    })?;
    Ok(())
}

/// Does something while no controller runs; they are back afterwards, whatever came of it.
fn without_controllers(site: &Site, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let timeout = format!("--timeout={}s", PODS.as_secs());
    let label = "app.kubernetes.io/component=controller";
    site.kubectl(&["-n", NAMESPACE, "scale", CONTROLLERS, "--replicas=0"])?;
    let result = site
        .kubectl(&["-n", NAMESPACE, "wait", "--for=delete", "pods", "-l", label, &timeout])
        .and_then(|_| work());
    site.kubectl(&["-n", NAMESPACE, "scale", CONTROLLERS, "--replicas=2"])?;
    result?;
    site.rolled_out(NAMESPACE, CONTROLLERS)
}

/// Waits until a Service has nothing of Bellhop in its status.
fn expect_not_ours(site: &Site, namespace: &str, name: &str) -> Result<()> {
    wait_for(&format!("{namespace}/{name} has nothing of Bellhop"), SOON, || {
        let service = site.service(namespace, name).map_err(|error| format!("{error:#}"))?;
        let ours = [ALLOCATED, ANNOUNCED].iter().any(|kind| condition(&service, kind).is_some());
        if !ours && ingress(&service).is_empty() { Ok(()) } else { Err(service["status"].to_string()) }
    })?;
    Ok(())
}
