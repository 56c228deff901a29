//! An admission that refuses what the controller writes about one Service.

use bellhop_test_cluster::Cluster;
use serde_json::{Value, json};

use crate::{address, apply, condition, has_address, manifest, wait_for};

/// A policy that refuses where `expression` is false, for one kind of write.
fn refusal(name: &str, group: &str, resource: &str, expression: &str) -> [Value; 2] {
    [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                    "resources": [resource],
                }] },
                "validations": [{ "expression": expression, "message": "the site forbids it" }],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        }),
    ]
}

/// What Events of warning say of a Service.
fn warnings(cluster: &Cluster, service: &str) -> String {
    let fields = format!("involvedObject.name={service},type=Warning");
    cluster.kubectl(&["get", "events", "--field-selector", &fields, "-o", "json"]).unwrap()
}

pub(crate) fn an_admission_that_refuses_one_service_is_told_there_and_the_rest_goes_on(cluster: &Cluster) {
    let status = "object.metadata.name != 'without-status'";
    let claim = "!object.spec.holders.exists(holder, holder.name == 'without-claim')";
    apply(cluster, &refusal("status", "", "services/status", status));
    apply(cluster, &refusal("claims", "bellhop.dev", "addressclaims", claim));
    // The API server takes a moment to enforce it: until it does, it takes a dry run.
    apply(
        cluster,
        &[json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "without-status", "namespace": "default" },
            "spec": { "ports": [{ "port": 80 }] },
        })],
    );
    let patch = r#"{"status":{"loadBalancer":{}}}"#;
    let dry =
        ["patch", "service", "without-status", "--subresource=status", "--type=merge", "--dry-run=server"];
    wait_for("the refusal of a status", || cluster.kubectl(&[&dry[..], &["-p", patch]].concat()).err());
    let probe = probe_claim();
    wait_for("the refusal of a claim", || {
        cluster.apply(&probe).err().or_else(|| {
            let _ = cluster.kubectl(&["delete", "addressclaim", "192.0.2.77", "--ignore-not-found"]);
            None
        })
    });

    apply(cluster, &[manifest("without-status"), manifest("without-claim"), manifest("the-rest")]);
    has_address(cluster, "the-rest");
    wait_for("word of the claim that is refused", || {
        let told = condition(cluster, &["service", "without-claim"], "bellhop.dev/Allocated")?;
        (told.starts_with("False ClaimNotWritten") && told.contains("the site forbids it")).then_some(())
    });
    wait_for("word of the status that is refused", || {
        let told = warnings(cluster, "without-status");
        (told.contains("StatusNotWritten") && told.contains("the site forbids it")).then_some(())
    });
    assert_eq!(address(cluster, "without-claim"), None);
    assert_eq!(address(cluster, "without-status"), None);

    for name in ["status", "claims"] {
        cluster
            .kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name])
            .unwrap();
    }
    has_address(cluster, "without-claim");
    has_address(cluster, "without-status");
}

/// A claim that the refusal is to strike.
fn probe_claim() -> String {
    json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "AddressClaim", "metadata": { "name": "192.0.2.77" },
        "spec": {
            "address": "192.0.2.77",
            "holders": [{ "namespace": "default", "name": "without-claim", "uid": "probe" }],
        },
    })
    .to_string()
}
