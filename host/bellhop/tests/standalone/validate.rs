//! `bellhop validate`: a folder looked at without running anything.

use crate::support::manifests::service;
use crate::support::process::{Site, run};

#[test]
fn a_good_folder_is_told_to_be_right() {
    let site = Site::good();
    let (status, printed, said) = run(&["validate", &site.manifests.path().to_string_lossy()]);
    assert_eq!(status.code(), Some(0), "{printed}{said}");
    assert!(printed.contains("nothing is wrong"), "{printed}");
}

#[test]
fn every_problem_is_printed_and_the_exit_code_is_1() {
    let site = Site::good();
    site.manifests.write("broken.yaml", "kind: [\n");
    let outside = "annotations: {bellhop.dev/addresses: 198.18.0.1}";
    site.manifests.write("outside.yaml", service("outside", "", outside));
    let second = "apiVersion: bellhop.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: second}\n\
                  spec: {addresses: [203.0.113.90-203.0.113.120]}\n";
    site.manifests.write("second.yaml", second);
    let missing = format!(
        "apiVersion: bellhop.dev/v1alpha1\nkind: DecisionPolicy\nmetadata: {{name: attributes}}\n\
         spec: {{hook: Route, plugin: {{configMap: nowhere, sha256: \"{}\"}}}}\n",
        "1".repeat(64)
    );
    site.manifests.write("policy.yaml", missing);
    let folder = site.manifests.path().to_string_lossy().into_owned();
    let (status, printed, said) = run(&["validate", &folder]);
    assert_eq!(status.code(), Some(1), "{printed}{said}");
    for part in [
        "broken.yaml: line 1",
        "Service/shop/outside: metadata.annotations[bellhop.dev/addresses]: \"198.18.0.1\"",
        "AddressPool/second: spec.addresses[0]: \"203.0.113.90-203.0.113.120\"",
        "DecisionPolicy/attributes: spec.plugin.configMap: \"nowhere\"",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    let (status, json, _) = run(&["validate", &folder, "-o", "json"]);
    assert_eq!(status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(4), "{json}");
}

#[test]
fn a_folder_that_is_not_there_is_wrong_usage() {
    let (status, printed, said) = run(&["validate", "/nowhere/at/all"]);
    assert_eq!(status.code(), Some(2), "{printed}{said}");
    assert!(said.contains("/nowhere/at/all"), "{said}");
}
