//! `fixtures/manifest.json`: what the committed modules are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a module is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Loads and answers.
    Good,
    /// A policy that is shipped with Bellhop.
    Shipped,
    /// Loads, and misbehaves when it is called.
    Hostile,
    /// Must not load.
    Broken,
}

/// One module.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fixture {
    /// Its name; the file is `NAME.wasm`, or `NAME.wasm.zst` where the module is large and says little.
    pub name: String,
    /// The file.
    pub file: String,
    /// What it is there for.
    pub kind: Kind,
    /// What it is.
    pub what: String,
    /// sha256 of the uncompressed module.
    pub sha256: String,
    /// Its bytes, uncompressed.
    pub size: usize,
    /// What `rustc --version` said of the compiler that built it; absent for those that no compiler builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<String>,
}

/// The folder of the modules.
pub fn folder(root: &Path) -> PathBuf {
    root.join("tests/guests/fixtures")
}

/// Reads the manifest.
pub fn read(root: &Path) -> Result<Vec<Fixture>> {
    let path = folder(root).join("manifest.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// Writes the manifest, sorted by kind and name.
pub fn write(root: &Path, mut fixtures: Vec<Fixture>) -> Result<()> {
    fixtures.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let path = folder(root).join("manifest.json");
    let text = serde_json::to_string_pretty(&fixtures).context("write the manifest")? + "\n";
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

impl Fixture {
    /// The module, uncompressed.
    pub fn bytes(&self, root: &Path) -> Result<Vec<u8>> {
        let path = folder(root).join(&self.file);
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        if self.file.ends_with(".zst") {
            return zstd::stream::decode_all(bytes.as_slice())
                .with_context(|| format!("inflate {}", path.display()));
        }
        Ok(bytes)
    }
}
