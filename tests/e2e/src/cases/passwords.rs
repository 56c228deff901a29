//! Case 9: sessions with a password from a Secret.

use anyhow::{Result, ensure};
use bellhop_test_cluster::{Node, wait_for};

use crate::Site;
use crate::objects::Service;
use crate::site::{NAMESPACE, SOON, condition};

/// The Secret that the router's BGPPeer names.
const SECRET: &str = "router-password";

/// The router of every case, with a password.
const SIGNED: &str = "apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router, labels: {bellhop.dev/base: 'true'}}
spec: {peerAddress: 192.0.2.1, peerASN: 64512, holdTime: 9s, connectRetryTime: 1s, passwordSecret: router-password}
";

pub(super) fn peer_waits_for_its_secret(site: &Site) -> Result<()> {
    let outcome = waits(site);
    // The cases after this one have no password.
    site.kubectl(&["-n", NAMESPACE, "delete", "secret", SECRET, "--ignore-not-found"])?;
    site.kubectl(&["-n", "default", "delete", "secret", SECRET, "--ignore-not-found"])?;
    site.kubectl(&["delete", "bgppeer", "router", "--ignore-not-found"])?;
    site.frr()?.configure_bgpd(&["router bgp 64512", "no neighbor NODES password"])?;
    outcome
}

fn waits(site: &Site) -> Result<()> {
    site.backend("signed")?;
    site.apply(&Service::new("signed", "shop").manifest())?;
    let address = site.addresses("signed", "shop", 1)?[0];
    site.expect_route(address, &Node::ALL)?;

    // The peer before its Secret, and one of that name in another namespace.
    site.frr()?.configure_bgpd(&["router bgp 64512", "neighbor NODES password as-on-the-router"])?;
    site.kubectl(&["delete", "bgppeer", "router"])?;
    create(site, "default", "kubernetes.io/basic-auth", "password=as-on-the-router")?;
    site.apply(SIGNED)?;
    expect(site, "SecretMissing", "the Secret bellhop-system/router-password does not exist")?;
    site.expect_route(address, &[])?;

    create(site, NAMESPACE, "Opaque", "password=as-on-the-router")?;
    expect(site, "InvalidSecret", "has the type Opaque and must have the type kubernetes.io/basic-auth")?;
    create(site, NAMESPACE, "kubernetes.io/basic-auth", "username=x")?;
    expect(site, "InvalidSecret", "must have the key password")?;
    site.expect_route(address, &[])?;

    create(site, NAMESPACE, "kubernetes.io/basic-auth", "password=as-on-the-router")?;
    site.expect_route(address, &Node::ALL)?;
    expect(site, "Ready", "valid and in force")?;

    // Gone: the password known last stays in force, and its condition says so.
    site.kubectl(&["-n", NAMESPACE, "delete", "secret", SECRET])?;
    expect(site, "SecretMissing", "the password known last stays in force")?;
    site.expect_route(address, &Node::ALL)?;

    let shown = site.kubectl(&["get", "bgppeers,speakerstates,events", "-A", "-o", "yaml"])?;
    let logs = site.kubectl(&["-n", NAMESPACE, "logs", "-l", crate::machines::SPEAKERS, "--tail=-1"])?;
    ensure!(!shown.contains("as-on-the-router") && !logs.contains("as-on-the-router"), "a password is shown");
    Ok(())
}

/// Makes the Secret anew: its type cannot be changed.
fn create(site: &Site, namespace: &str, type_: &str, literal: &str) -> Result<()> {
    site.kubectl(&["-n", namespace, "delete", "secret", SECRET, "--ignore-not-found"])?;
    let (type_, literal) = (format!("--type={type_}"), format!("--from-literal={literal}"));
    site.kubectl(&["-n", namespace, "create", "secret", "generic", SECRET, &type_, &literal]).map(drop)
}

/// Waits until the BGPPeer's condition has this reason, and these words in its message.
fn expect(site: &Site, reason: &str, words: &str) -> Result<()> {
    wait_for(&format!("the BGPPeer says {reason}: {words}"), SOON, || {
        let peer = site.json(&["get", "bgppeer", "router"]).map_err(|error| format!("{error:#}"))?;
        let ready = condition(&peer, "Ready").ok_or("no condition")?;
        let said = ready["message"].as_str().is_some_and(|message| message.contains(words));
        if ready["reason"] == reason && said { Ok(()) } else { Err(ready.to_string()) }
    })?;
    Ok(())
}
