//! Plugins as the demo installs them: a ConfigMap with the module, and a DecisionPolicy that points at it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
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

    /// A good module from a file.
    pub(super) fn module(name: &str, path: &Path) -> Result<Self> {
        let module = fs::read(path).with_context(|| format!("cannot read the module {}", path.display()))?;
        Self::unchecked(name, &module)
    }

    /// The file of a policy in the folder of manifests.
    pub(super) fn policy_file(policy: &str) -> String {
        format!("policies/{policy}.yaml")
    }

    fn config_map_file(&self) -> String {
        format!("policies/configmap-{}.yaml", self.config_map)
    }

    /// A policy's manifest, pointing at this module.
    fn fill(&self, template: &str) -> String {
        template.replace("${CONFIG_MAP}", &self.config_map).replace("${SHA256}", &self.sha256)
    }
}

impl Demo {
    /// Puts the three policies that are shipped with Bellhop into the manifests.
    pub(super) fn install_shipped_policies(&mut self) -> Result<()> {
        for policy in [ADDRESS_POLICY, NODES_POLICY, ROUTE_POLICY] {
            let module = self.inputs.programs.plugins.join(format!("{policy}.wasm"));
            let packed = Packed::module(policy, &module)?;
            self.install(policy, policy, &packed)?;
        }
        self.good_route_policy = self.manifests.read(&Packed::policy_file(ROUTE_POLICY))?;
        Ok(())
    }

    /// Writes the ConfigMap, then the DecisionPolicy made from `template` in `examples/demo/policies`.
    pub(super) fn install(&self, policy: &str, template: &str, packed: &Packed) -> Result<()> {
        self.manifests.write(&packed.config_map_file(), &packed.yaml)?;
        let path = self.inputs.examples.join("policies").join(format!("{template}.yaml"));
        let template =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.manifests.write(&Packed::policy_file(policy), &packed.fill(&template))
    }

    /// Writes the ConfigMap, and points the `route` policy at it without a change of its settings.
    pub(super) fn point_route_policy_at(&self, packed: &Packed, sha256: &str) -> Result<()> {
        self.manifests.write(&packed.config_map_file(), &packed.yaml)?;
        let lines = self.good_route_policy.lines().map(|line| match line.trim_start() {
            text if text.starts_with("configMap:") => format!("    configMap: {}\n", packed.config_map),
            text if text.starts_with("sha256:") => format!("    sha256: {sha256}\n"),
            _ => format!("{line}\n"),
        });
        self.manifests.write(&Packed::policy_file(ROUTE_POLICY), &lines.collect::<String>())
    }

    /// Puts the `route` policy back that was in force before an attack, and removes the attacker's ConfigMap.
    pub(super) fn restore_route_policy(&self, attack: &Packed) -> Result<()> {
        self.manifests.write(&Packed::policy_file(ROUTE_POLICY), &self.good_route_policy)?;
        self.manifests.remove(&attack.config_map_file())
    }
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
        let filled = packed.fill("    configMap: ${CONFIG_MAP}\n    sha256: ${SHA256}\n");
        assert!(filled.contains("configMap: policy-cd5d4935a48c\n") && !filled.contains('$'), "{filled}");
    }
}
