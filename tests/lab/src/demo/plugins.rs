//! Plugins as the demo installs them: a ConfigMap with the module, and a DecisionPolicy that points at it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::Demo;

/// The policy of hook Address.
pub(super) const ADDRESS_POLICY: &str = "address-by-label";
/// The policy of hook Nodes.
pub(super) const NODES_POLICY: &str = "node-maintenance";
/// The policy of hook Route.
pub(super) const ROUTE_POLICY: &str = "peer-attributes";

/// zstd's default: a policy's module shrinks to a third.
const COMPRESSION_LEVEL: i32 = 3;
/// Digits of the sha256 in a ConfigMap's name, so that each version has a name of its own.
const NAME_DIGITS: usize = 12;

/// A module as a ConfigMap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packed {
    /// Name of the ConfigMap.
    pub(super) config_map: String,
    /// sha256 of the uncompressed module, in hex.
    pub(super) sha256: String,
    /// The ConfigMap.
    pub(super) yaml: String,
}

impl Packed {
    /// Packs any bytes as `bellhop plugin pack` packs a good module. That tool looks at what it packs; who attacks does not
    /// use it.
    pub(super) fn unchecked(name: &str, module: &[u8]) -> Result<Self> {
        let digest = Sha256::digest(module);
        let sha256 = digest.iter().fold(String::new(), |mut text, byte| {
            // `write!` to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let config_map = format!("{name}-{}", &sha256[..NAME_DIGITS]);
        let data = base64(&zstd::bulk::compress(module, COMPRESSION_LEVEL)?);
        let yaml = format!(
            "apiVersion: v1
kind: ConfigMap
metadata:
  namespace: bellhop-system
  name: {config_map}
immutable: true
binaryData:
  module.wasm.zst: {data}
"
        );
        Ok(Self { config_map, sha256, yaml })
    }

    fn file(&self) -> String {
        format!("policies/configmap-{}.yaml", self.config_map)
    }
}

/// The file of a DecisionPolicy in the folder of manifests.
fn policy_file(policy: &str) -> String {
    format!("policies/{policy}.yaml")
}

impl Demo {
    /// Puts the three policies that are shipped with Bellhop into the manifests.
    pub(super) fn install_shipped_policies(&mut self) -> Result<()> {
        for policy in [ADDRESS_POLICY, NODES_POLICY, ROUTE_POLICY] {
            self.install(policy, policy, &[policy])?;
        }
        self.remember_route_policy()
    }

    /// Packs a module with `bellhop plugin pack` and writes its ConfigMap, then its DecisionPolicy, which takes the place of
    /// the one before. `settings` are files in `examples/demo/policies`, which follow each other in one document. Returns the
    /// name of the ConfigMap.
    pub(super) fn install(&self, policy: &str, module: &str, settings: &[&str]) -> Result<String> {
        let module = self.module(module);
        let settings = self.settings(policy, settings)?;
        let arguments = [
            OsStr::new("plugin"),
            OsStr::new("pack"),
            module.as_os_str(),
            OsStr::new("--name"),
            OsStr::new(policy),
            OsStr::new("--policy-name"),
            OsStr::new(policy),
            OsStr::new("--config"),
            settings.as_os_str(),
        ];
        let packed = self.bellhop.run(&arguments)?;
        let documents: Vec<_> =
            packed.split("---\n").filter(|document| !document.trim().is_empty()).collect();
        let [config_map, decision_policy] = documents.as_slice() else {
            bail!(
                "`bellhop plugin pack` printed {} documents, not a ConfigMap and a DecisionPolicy",
                documents.len()
            );
        };
        let name = value_of(decision_policy, "configMap").context("the DecisionPolicy names no ConfigMap")?;
        self.manifests.write(&format!("policies/configmap-{name}.yaml"), config_map)?;
        self.manifests.write(&policy_file(policy), decision_policy)?;
        Ok(name.to_owned())
    }

    /// A module that was built for the demo.
    pub(super) fn module(&self, name: &str) -> PathBuf {
        self.inputs.programs.plugins.join(format!("{name}.wasm"))
    }

    /// Writes the settings of a policy into one file outside the folder of manifests.
    fn settings(&self, policy: &str, files: &[&str]) -> Result<PathBuf> {
        let mut text = String::new();
        for file in files {
            let path = self.inputs.examples.join("policies").join(format!("{file}.yaml"));
            text += &fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        let path = self.lab.run().join(format!("{policy}-settings.yaml"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Keeps the `route` policy as it is now, to come back to after each attack.
    pub(super) fn remember_route_policy(&mut self) -> Result<()> {
        self.good_route_policy = self.manifests.read(&policy_file(ROUTE_POLICY))?;
        Ok(())
    }

    /// Writes the ConfigMap, and points the `route` policy at it: without settings where the module is not the one that they
    /// are for.
    pub(super) fn point_route_policy_at(
        &self,
        packed: &Packed,
        sha256: &str,
        with_settings: bool,
    ) -> Result<()> {
        self.manifests.write(&packed.file(), &packed.yaml)?;
        let policy = with_value(&self.good_route_policy, "configMap", &packed.config_map);
        let policy = with_value(&policy, "sha256", sha256);
        let policy = if with_settings { policy } else { without_block(&policy, "config") };
        self.manifests.write(&policy_file(ROUTE_POLICY), &policy)
    }

    /// Puts the `route` policy back that was in force before an attack, and removes the attacker's ConfigMap.
    pub(super) fn restore_route_policy(&self, attack: &Packed) -> Result<()> {
        self.manifests.write(&policy_file(ROUTE_POLICY), &self.good_route_policy)?;
        self.manifests.remove(&attack.file())
    }
}

/// The value of the first line `KEY: VALUE` of a YAML document, whatever its indentation.
pub(super) fn value_of<'a>(yaml: &'a str, key: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.trim_start().strip_prefix(key)?.strip_prefix(": ");
    yaml.lines().find_map(value).map(|value| value.trim_matches('"'))
}

/// The document with another value in every line `KEY: VALUE`.
fn with_value(yaml: &str, key: &str, value: &str) -> String {
    let lines = yaml.lines().map(|line| {
        let bare = line.trim_start();
        let is_it = bare.strip_prefix(key).is_some_and(|rest| rest.starts_with(": "));
        let indentation = &line[..line.len() - bare.len()];
        // Quoted, because a name or digest of digits alone would be a number.
        if is_it { format!("{indentation}{key}: \"{value}\"\n") } else { format!("{line}\n") }
    });
    lines.collect()
}

/// The document without the key `KEY:` of its `spec` and the lines below it that stand deeper.
fn without_block(yaml: &str, key: &str) -> String {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let start = format!("  {key}:");
    let mut inside = false;
    let kept = yaml.lines().filter(|line| {
        inside = line.strip_prefix(&start).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            || (inside && depth(line) > 2);
        !inside
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([0; 2].iter())
            .take(3)
            .fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_packed_module_is_named_by_its_content() {
        let packed = Packed::unchecked("policy", b"\0asm").unwrap();
        assert_eq!(packed.sha256, "cd5d4935a48c0672cb06407bb443bc0087aff947c6b864bac886982c73b3027f");
        assert_eq!(packed.config_map, "policy-cd5d4935a48c");
    }

    #[test]
    fn a_policy_is_pointed_elsewhere_without_a_change_of_its_settings() {
        let policy =
            "spec:\n  plugin:\n    configMap: old-1\n    sha256: 00aa\n  config:\n    sha256sum: x\n";
        assert_eq!(value_of(policy, "configMap"), Some("old-1"));
        let pointed = with_value(&with_value(policy, "configMap", "new-2"), "sha256", "11");
        assert_eq!(
            pointed,
            "spec:\n  plugin:\n    configMap: \"new-2\"\n    sha256: \"11\"\n  config:\n    sha256sum: x\n"
        );
        assert_eq!(value_of(&pointed, "configMap"), Some("new-2"));
        assert_eq!(
            without_block(&format!("{policy}  hook: Route\n"), "config"),
            "spec:\n  plugin:\n    configMap: old-1\n    sha256: 00aa\n  hook: Route\n"
        );
    }
}
