//! What no schema can see: ranges that are upside down or overlap, two names for one router, names that nothing has.

use bellhop_test_cluster::Cluster;
use serde_json::{Value, json};

use crate::{apply, condition, has_address, manifest, wait_for};

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "bellhop.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// Waits until the condition Ready of an object begins and goes on with these.
fn says(cluster: &Cluster, object: [&str; 2], begin: &str, part: &str) {
    wait_for(&format!("{object:?} to say {begin} {part}"), || {
        let told = condition(cluster, &object, "Ready")?;
        (told.starts_with(begin) && told.contains(part)).then_some(())
    });
}

pub(crate) fn what_contradicts_itself_or_another_says_so_and_heals_and_the_rest_stays(cluster: &Cluster) {
    let peer = |name: &str| object("BGPPeer", name, json!({ "peerAddress": "192.0.2.1", "peerASN": 64513 }));
    let named = json!({ "pools": ["public", "later"], "peers": ["router"] });
    apply(cluster, &[peer("router"), object("Advertisement", "named", named)]);
    // Which of two was there first is known only once it is in force.
    says(cluster, ["bgppeer", "router"], "True Ready", "");
    apply(
        cluster,
        &[
            object("AddressPool", "upside-down", json!({ "addresses": ["192.0.2.20-192.0.2.10"] })),
            object("AddressPool", "overlaps", json!({ "addresses": ["198.51.100.128/25"] })),
            peer("router-again"),
        ],
    );
    says(cluster, ["addresspool", "upside-down"], "False InvalidRange", "192.0.2.20-192.0.2.10");
    says(cluster, ["addresspool", "overlaps"], "False OverlappingRange", "AddressPool/public");
    says(cluster, ["bgppeer", "router-again"], "False DuplicatePeer", "BGPPeer/router");
    says(cluster, ["advertisement", "named"], "False UnknownPool", "spec.pools[1]: \"later\"");
    // None of them took anything from those that were there.
    says(cluster, ["addresspool", "public"], "True Ready", "");
    says(cluster, ["bgppeer", "router"], "True Ready", "");
    apply(cluster, &[manifest("beside-contradictions")]);
    has_address(cluster, "beside-contradictions");

    let later = json!({ "addresses": ["192.0.2.128/26"] });
    apply(cluster, &[object("AddressPool", "later", later)]);
    says(cluster, ["advertisement", "named"], "True Ready", "");
    cluster.kubectl(&["delete", "bgppeer", "router"]).unwrap();
    says(cluster, ["bgppeer", "router-again"], "True Ready", "");
    says(cluster, ["advertisement", "named"], "False UnknownPeer", "spec.peers[0]: \"router\"");
    cluster.kubectl(&["delete", "addresspool", "upside-down", "overlaps", "later"]).unwrap();
    cluster.kubectl(&["delete", "bgppeer", "router-again"]).unwrap();
    cluster.kubectl(&["delete", "advertisement", "named"]).unwrap();
}
