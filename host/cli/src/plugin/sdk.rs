//! The SDK's source and the template, carried in the binary: the SDK is on no registry, and an author needs no clone
//! of this repository.

/// Files of the SDK, by their path in its folder.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../../plugin-sdk/", $path)) as &[u8])),*]
    };
}

/// What a vendored SDK consists of beside its `Cargo.toml`; a test compares it with the folder.
pub(crate) const FILES: &[(&str, &[u8])] = files![
    "src/address.rs",
    "src/bindings.rs",
    "src/bindings/address.component-type",
    "src/bindings/base.component-type",
    "src/bindings/nodes.component-type",
    "src/bindings/route.component-type",
    "src/constant.rs",
    "src/decision.rs",
    "src/facts.rs",
    "src/heap.rs",
    "src/host.rs",
    "src/json.rs",
    "src/lib.rs",
    "src/nodes.rs",
    "src/plugin.rs",
    "src/route.rs",
    "src/route/community.rs",
    "src/rt.rs",
    "src/settings.rs",
    "src/settings/tests.rs",
    "wit/deps/policy-address/address.wit",
    "wit/deps/policy-base/base.wit",
    "wit/deps/policy-nodes/nodes.wit",
    "wit/deps/policy-route/route.wit",
    "wit/worlds.wit",
];

/// The template's files, by their name in `plugin-sdk/template`.
pub(crate) const TEMPLATE: &[(&str, &[u8])] = files![
    "template/Cargo.toml.in",
    "template/README.md.in",
    "template/address-test.rs.in",
    "template/address.rs.in",
    "template/gitignore.in",
    "template/nodes-test.rs.in",
    "template/nodes.rs.in",
    "template/route-test.rs.in",
    "template/route.rs.in",
    "template/vendor.toml.in",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn walk(root: &Path, dir: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, into);
            } else {
                into.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn the_binary_carries_every_file_of_the_sdk() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-sdk");
        let mut there = BTreeSet::new();
        for folder in ["src", "wit", "template"] {
            walk(&sdk, &sdk.join(folder), &mut there);
        }
        let carried: BTreeSet<String> =
            FILES.iter().chain(TEMPLATE).map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there, carried);
    }
}
