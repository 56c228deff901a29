//! What `cargo metadata` says, as far as the rules read it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The workspace: our packages, everyone else's, and the resolved graph between them.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Every package of the graph, ours and others'.
    pub packages: Vec<Package>,
    /// Package identities of our own.
    pub workspace_members: BTreeSet<String>,
    /// The graph; features are those of a build of the whole workspace.
    pub resolve: Resolve,
    /// Folder of the root `Cargo.toml`.
    pub workspace_root: PathBuf,
    /// Where cargo builds, `CARGO_TARGET_DIR` included.
    pub target_directory: PathBuf,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Name in its `Cargo.toml`.
    pub name: String,
    /// Cargo's identity of it, opaque.
    pub id: String,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// What its `Cargo.toml` says it is.
    pub description: Option<String>,
    /// Registries it may go to: `None` is any, an empty list is none.
    pub publish: Option<Vec<String>>,
    /// What it builds.
    pub targets: Vec<Target>,
}

/// One library, program or test of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// `lib`, `bin`, `test`, …
    pub kind: Vec<String>,
    /// The root source file.
    pub src_path: PathBuf,
}

/// The resolved dependency graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    /// One node for each package.
    pub nodes: Vec<Node>,
}

/// A package and what it depends on.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    /// The package.
    pub id: String,
    /// Its direct dependencies.
    pub deps: Vec<Arrow>,
}

/// One direct dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Arrow {
    /// The package depended on.
    pub pkg: String,
    /// The ways it is depended on.
    pub dep_kinds: Vec<Kind>,
}

/// A way to depend: `None` is an ordinary dependency, else `dev` or `build`.
#[derive(Debug, Deserialize)]
pub(crate) struct Kind {
    /// See the type.
    pub kind: Option<String>,
}

impl Arrow {
    /// True if it is there in a build of the package itself, not of its tests alone.
    pub(crate) fn is_built_in(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    }
}

impl Metadata {
    /// Asks cargo about the workspace around the current folder.
    pub(crate) fn load() -> Result<Metadata> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--locked"])
            .output()
            .context("start cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("read the answer of cargo metadata")
    }

    /// Our own packages, sorted by name.
    pub(crate) fn ours(&self) -> Vec<&Package> {
        let mut ours: Vec<_> =
            self.packages.iter().filter(|p| self.workspace_members.contains(&p.id)).collect();
        ours.sort_by(|a, b| a.name.cmp(&b.name));
        ours
    }

    /// Packages by identity.
    pub(crate) fn by_id(&self) -> HashMap<&str, &Package> {
        self.packages.iter().map(|package| (package.id.as_str(), package)).collect()
    }

    /// The graph by identity.
    pub(crate) fn graph(&self) -> HashMap<&str, &Node> {
        self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect()
    }
}

impl Package {
    /// The folder of its `Cargo.toml`.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }

    /// The folder relative to `root`, with forward slashes, for messages and tables.
    pub(crate) fn place(&self, root: &Path) -> String {
        self.folder().strip_prefix(root).unwrap_or(self.folder()).display().to_string()
    }

    /// True if its `Cargo.toml` forbids every registry.
    pub(crate) fn is_private(&self) -> bool {
        self.publish.as_ref().is_some_and(Vec::is_empty)
    }

    /// Root files of its libraries and programs.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Path> {
        let built = |kind: &String| ["lib", "rlib", "cdylib", "bin", "proc-macro"].contains(&kind.as_str());
        self.targets.iter().filter(move |t| t.kind.iter().any(built)).map(|t| t.src_path.as_path())
    }
}

/// The cargo that started us, so that `cargo +other run -p xtask` means the other one.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
