//! What every `Cargo.toml` and every crate's root file must say.

use crate::metadata::Package;

/// Folders whose crates may be published one day: what a plugin's author depends on.
const PUBLIC: &[&str] = &["plugin-sdk"];

/// Broken rules of one package's `Cargo.toml`, found at `place`.
pub(crate) fn broken(package: &Package, place: &str, manifest: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if !PUBLIC.contains(&place) && !package.is_private() {
        broken.push(format!("{place}/Cargo.toml: crate {} lacks `publish = false`", package.name));
    }
    let description = package.description.as_deref().unwrap_or("").trim();
    if description.is_empty() || description == concat!("TO", "DO") {
        broken.push(format!(
            "{place}/Cargo.toml: description is {description:?}; say what the crate is in a sentence"
        ));
    }
    if !inherits_lints(manifest) {
        broken.push(format!("{place}/Cargo.toml: lacks `[lints]` with `workspace = true`"));
    }
    broken
}

/// True if the manifest takes the workspace's lints.
fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .is_some_and(|line| line == "workspace = true")
}

/// A root file must open with what the crate is. Other public items are rustc's `missing_docs`.
pub(crate) fn undocumented(file: &str, source: &str) -> Option<String> {
    let mut lines = source.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.find(|line| !line.starts_with("// ") && !line.starts_with("#!"))?;
    let text = first.strip_prefix("//!").map(str::trim).unwrap_or_default();
    (text.is_empty() || text == concat!("Place", "holder."))
        .then(|| format!("{file}: does not open with `//!` and what the crate is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";

    fn package(description: Option<&str>, publish: Option<Vec<String>>) -> Package {
        Package {
            name: "a".into(),
            id: "a".into(),
            manifest_path: "/w/host/a/Cargo.toml".into(),
            description: description.map(str::to_owned),
            publish,
            targets: Vec::new(),
        }
    }

    #[test]
    fn a_private_described_linted_crate_is_fine() {
        assert_eq!(broken(&package(Some("The a."), Some(vec![])), "host/a", GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_host_crate_that_may_be_published_is_refused() {
        assert_eq!(
            broken(&package(Some("The a."), None), "host/a", GOOD),
            ["host/a/Cargo.toml: crate a lacks `publish = false`"]
        );
        assert!(broken(&package(Some("The SDK."), None), "plugin-sdk", GOOD).is_empty());
    }

    #[test]
    fn a_crate_without_a_description_is_refused() {
        for description in [None, Some(""), Some(concat!("TO", "DO"))] {
            let broken = broken(&package(description, Some(vec![])), "host/a", GOOD);
            assert_eq!(broken.len(), 1, "{broken:?}");
        }
    }

    #[test]
    fn a_crate_with_lints_of_its_own_is_refused() {
        for manifest in ["[package]\nname = \"a\"\n", "[lints]\n\n[lints.rust]\nworkspace = true\n"] {
            let broken = broken(&package(Some("The a."), Some(vec![])), "host/a", manifest);
            assert_eq!(broken, ["host/a/Cargo.toml: lacks `[lints]` with `workspace = true`"]);
        }
    }

    #[test]
    fn a_root_file_opens_with_what_the_crate_is() {
        assert_eq!(undocumented("lib.rs", "//! The a.\nfn f() {}"), None);
        assert_eq!(undocumented("lib.rs", "#![forbid(unsafe_code)]\n\n//! The a.\n"), None);
        assert!(undocumented("lib.rs", "fn f() {}").is_some());
        assert!(undocumented("lib.rs", concat!("//! Place", "holder.\n")).is_some());
    }
}
