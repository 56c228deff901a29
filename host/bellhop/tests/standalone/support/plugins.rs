//! The committed guests, packed as ConfigMaps.

use std::path::Path;

use bellhop_cli::plugin::module;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// A module as it stands in a ConfigMap.
pub(crate) struct Packed {
    pub(crate) config_map: String,
    pub(crate) sha256: String,
    pub(crate) payload: Vec<u8>,
}

impl Packed {
    /// A committed guest, by its name.
    pub(crate) fn fixture(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/fixtures");
        let read = |suffix: &str| std::fs::read(folder.join(format!("{name}{suffix}"))).ok();
        match (read(".wasm"), read(".wasm.zst")) {
            (Some(bytes), _) => Self::module(name, &bytes),
            (None, Some(payload)) => {
                let bytes = zstd::decode_all(payload.as_slice()).expect("the fixture inflates");
                Self { config_map: name.into(), sha256: module::sha256(&bytes), payload }
            }
            (None, None) => {
                panic!("tests/guests/fixtures/{name}.wasm is not there: `make fixtures` makes it")
            }
        }
    }

    /// These bytes, compressed.
    pub(crate) fn module(name: &str, bytes: &[u8]) -> Self {
        let payload = module::compress(bytes).expect("it compresses");
        Self { config_map: name.into(), sha256: module::sha256(bytes), payload }
    }

    /// Its payload cut in two, as an upload that broke off.
    pub(crate) fn truncated(mut self) -> Self {
        self.payload.truncate(self.payload.len() / 2);
        self
    }

    /// Named by another digest than its own.
    pub(crate) fn with_sha256(mut self, sha256: &str) -> Self {
        self.sha256 = sha256.into();
        self
    }

    /// The ConfigMap, as JSON.
    pub(crate) fn object(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
            "metadata": {"name": self.config_map, "namespace": "bellhop-system"},
            "binaryData": {"module.wasm.zst": ByteString(self.payload.clone())},
        })
        .to_string()
    }

    /// A DecisionPolicy that names it, as JSON; `spec` is added to its spec.
    pub(crate) fn policy(&self, name: &str, hook: &str, spec: Value) -> String {
        let mut policy = json!({
            "apiVersion": "bellhop.dev/v1alpha1", "kind": "DecisionPolicy", "metadata": {"name": name},
            "spec": {"hook": hook, "plugin": {"configMap": self.config_map, "sha256": self.sha256}},
        });
        if let (Value::Object(target), Value::Object(more)) = (&mut policy["spec"], spec) {
            target.extend(more);
        }
        policy.to_string()
    }
}
