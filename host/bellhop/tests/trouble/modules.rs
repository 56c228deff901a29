//! ConfigMaps that hold no plugin, in every way that people bring about.

use std::path::Path;

use bellhop_test_cluster::Cluster;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{apply, condition, has_address, manifest, wait_for};

/// Bytes of the large one: near the most that the API server takes.
const LARGE: usize = 1_000_000;

/// Bytes that are nothing in particular.
fn garbage(length: usize) -> ByteString {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    ByteString((0..length).map(byte).collect())
}

fn config_map(name: &str, key: &str, bytes: &ByteString) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "bellhop-system" },
        "binaryData": { key: bytes },
    })
}

/// A plugin that answers, as the author built it.
fn plugin() -> ByteString {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/fixtures/good-address.wasm");
    ByteString(std::fs::read(path).unwrap())
}

fn policy(name: &str, bytes: Option<&ByteString>) -> Value {
    let digest: String = bytes.map_or_else(
        || "0".repeat(64),
        |bytes| Sha256::digest(&bytes.0).iter().map(|byte| format!("{byte:02x}")).collect(),
    );
    json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "DecisionPolicy", "metadata": { "name": name },
        "spec": { "hook": "Address", "plugin": { "configMap": name, "sha256": digest } },
    })
}

pub(crate) fn each_bad_config_map_is_told_on_its_policy_and_disturbs_nothing(cluster: &Cluster) {
    let key = "module.wasm.zst";
    let contents =
        [("other-key", 16), ("empty", 0), ("garbage", 4096), ("large", LARGE), ("other-digest", 64)];
    let contents = contents.map(|(name, length)| (name, garbage(length)));
    let key_of = |name: &str| if name == "other-key" { "module.wasm" } else { key };
    apply(cluster, &contents.each_ref().map(|(name, bytes)| config_map(name, key_of(name), bytes)));
    // What each is told: its reason, and what has to stand in the message.
    let told = [
        ("absent", "ConfigMapMissing", "absent"),
        ("other-key", "KeyMissing", key),
        ("empty", "Malformed", ""),
        ("garbage", "Malformed", "does not begin as WebAssembly"),
        ("large", "Malformed", "does not begin as WebAssembly"),
        ("other-digest", "DigestMismatch", "spec.plugin.sha256"),
    ];
    let plugin = plugin();
    let bytes = |name: &str| match name {
        "absent" => Some(&plugin),
        "other-digest" => None,
        name => contents.iter().find(|(of, _)| *of == name).map(|(_, bytes)| bytes),
    };
    apply(cluster, &told.map(|(name, ..)| policy(name, bytes(name))));
    for (name, reason, part) in told {
        let mut last = None;
        wait_for(&format!("word of {name}"), || {
            let now = condition(cluster, &["decisionpolicy", name], "Ready");
            if now != last {
                println!("{name}: {now:?}");
                last.clone_from(&now);
            }
            now.filter(|told| told.starts_with(&format!("False {reason}: ")) && told.contains(part))
        });
    }
    // The ConfigMap may come after its policy.
    let module = ByteString(zstd::encode_all(plugin.0.as_slice(), 0).unwrap());
    apply(cluster, &[config_map("absent", key, &module)]);
    wait_for("the policy that came before its ConfigMap to be in force", || {
        let told = condition(cluster, &["decisionpolicy", "absent"], "Ready");
        told.filter(|told| told.starts_with("True "))
    });
    apply(cluster, &[manifest("undisturbed")]);
    has_address(cluster, "undisturbed");
    let names = told.map(|(name, ..)| name);
    cluster.kubectl(&[&["delete", "decisionpolicy"], &names[..]].concat()).unwrap();
}
