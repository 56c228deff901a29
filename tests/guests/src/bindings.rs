//! The SDK's generated files: Rust bindings of the contract, and one `component-type` section for each world.
//!
//! The bindings cover all hooks in one file; each hook's own macro exports it. The sections are separate, so that a
//! module claims only the worlds whose hooks it has: `ComponentEncoder` unions them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use wit_bindgen_core::{Files, WorldGenerator};

/// The worlds that a module may claim: name of the file, package, world.
const WORLDS: [(&str, &str, &str); 4] = [
    ("base", "policy-base", "policy"),
    ("address", "policy-address", "address-policy"),
    ("nodes", "policy-nodes", "nodes-policy"),
    ("route", "policy-route", "route-policy"),
];

/// Where the generator starts the macro for a type that has all hooks.
const ALL_HOOKS: &str = "/// Generates `#[unsafe(no_mangle)]` functions to export";

/// The files under the SDK's `src/`, by path, as the contract in `sdk/wit` asks for them.
pub fn generate(sdk: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let wit = sdk.join("wit");
    let mut files = vec![(sdk.join("src/bindings.rs"), rust(&wit)?.into_bytes())];
    for (name, package, world) in WORLDS {
        files.push((sdk.join(format!("src/bindings/{name}.component-type")), section(&wit, package, world)?));
    }
    Ok(files)
}

/// The Rust bindings of world `all-hooks`.
fn rust(wit: &Path) -> Result<String> {
    let mut resolve = wit_bindgen_core::wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(wit).with_context(|| format!("read {}", wit.display()))?;
    let world = resolve.select_world(&[package], Some("all-hooks")).context("find world all-hooks")?;
    let options = wit_bindgen_rust::Opts {
        runtime_path: Some("crate::rt".into()),
        generate_all: true,
        pub_export_macro: true,
        default_bindings_module: Some("$crate::bindings".into()),
        export_macro_name: Some("export_all_hooks".into()),
        disable_custom_section_link_helpers: true,
        additional_derive_attributes: vec!["PartialEq".into(), "Eq".into()],
        format: true,
        ..wit_bindgen_rust::Opts::default()
    };
    let mut files = Files::default();
    options
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| anyhow!("generate bindings: {error:#}"))?;
    let (_, bytes) = files.iter().next().context("the generator made no file")?;
    let text = std::str::from_utf8(bytes).context("the generated bindings are no text")?;
    // What follows exports all hooks at once and claims the types of all; `plugin!` does both hook by hook.
    let (bindings, _) =
        text.split_once(ALL_HOOKS).context("the generated bindings have no macro for all hooks")?;
    Ok(bindings.to_owned())
}

/// The content of the `component-type` section of one world.
fn section(wit: &Path, package: &str, world: &str) -> Result<Vec<u8>> {
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(wit).with_context(|| format!("read {}", wit.display()))?;
    let (package_id, _) = resolve
        .packages
        .iter()
        .find(|(_, p)| p.name.namespace == "bellhop" && p.name.name == package)
        .with_context(|| format!("find package bellhop:{package}"))?;
    let world =
        resolve.select_world(&[package_id], Some(world)).with_context(|| format!("find world {world}"))?;
    wit_component::metadata::encode(&resolve, world, wit_component::StringEncoding::UTF8, None)
        .with_context(|| format!("encode the type of bellhop:{package}"))
}

/// Writes the generated files, or with `check` only compares them.
pub fn run(sdk: &Path, check: bool) -> Result<()> {
    for (path, bytes) in generate(sdk)? {
        if !check {
            std::fs::write(&path, &bytes).with_context(|| format!("write {}", path.display()))?;
        } else if std::fs::read(&path).with_context(|| format!("read {}", path.display()))? != bytes {
            bail!(
                "{} is not what the contract gives; run `cargo run -p bellhop-test-guests -- bindings`",
                path.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdks_bindings_are_those_of_the_contract() {
        run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-sdk"), true).unwrap();
    }
}
