//! A watch that is wrong.

use bellhop_test_cluster::Cluster;
use serde_json::{Value, json};

use crate::proxy::Proxy;
use crate::{Controller, has_address, wait_for};

/// A Service that stands, and that the watch tells the end of.
const SERVICE: &str = "s07";

pub(crate) fn a_service_that_only_the_watch_takes_for_gone_keeps_its_claim(
    cluster: &Cluster,
    proxy: &Proxy,
    controller: &Controller,
) {
    let held = has_address(cluster, SERVICE);
    let claim = || -> Value { cluster.kubectl_json(&["get", "addressclaim", &held, "-o", "json"]).unwrap() };
    let before = claim();
    let service: Value = cluster.kubectl_json(&["get", "service", SERVICE, "-o", "json"]).unwrap();
    let read = format!("/services/{SERVICE} ");
    let reads = proxy.seen(&["GET ", &read]);
    proxy.tell(&["/api/v1/services?", "watch=true"], &json!({ "type": "DELETED", "object": service }));
    wait_for("word of the claim that is kept", || {
        let log = controller.log();
        log.lines().any(|line| line.contains("claim kept") && line.contains(&held)).then_some(())
    });
    assert!(proxy.seen(&["GET ", &read]) > reads, "the Service was not read from the API server");
    assert_eq!(proxy.seen(&["DELETE ", &format!("/addressclaims/{held}")]), 0);
    let identity = |claim: &Value| (claim["metadata"]["uid"].clone(), claim["spec"].clone());
    assert_eq!(identity(&claim()), identity(&before));
    // The watch shows it again with its next change, and nothing has become of it.
    cluster.kubectl(&["label", "service", SERVICE, "seen=again"]).unwrap();
    assert_eq!(has_address(cluster, SERVICE), held);
    assert_eq!(identity(&claim()), identity(&before));
}
