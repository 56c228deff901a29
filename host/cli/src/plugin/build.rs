//! Building a crate as a module: small, fast to start, and the same bytes wherever it is built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;
use serde::Deserialize;

use super::toolchain::{TARGET, Toolchain};

/// The guest's own stack: plenty for decisions, and small, because the host clears the memory of every instance.
const STACK_BYTES: u32 = 64 * 1024;
/// Memory that an instance starts with: data, stack and a heap that a typical decision never outgrows, so that it
/// costs the host no system call.
const MEMORY_BYTES: u32 = 256 * 1024;

/// What the compiler optimises for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Optimise {
    /// The shortest decisions.
    Speed,
    /// The smallest module.
    Size,
}

/// What to build, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// Folder of the crate.
    pub dir: &'a Path,
    /// This example of it instead of its library.
    pub example: Option<&'a str>,
    /// What the compiler optimises for.
    pub optimise: Optimise,
}

impl<'a> Wanted<'a> {
    /// The library of the crate in `dir`, for speed.
    pub fn plugin(dir: &'a Path) -> Self {
        Self { dir, example: None, optimise: Optimise::Speed }
    }
}

/// A module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// Name of the package.
    pub package: String,
    /// The module.
    pub bytes: Vec<u8>,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder cannot be looked at.
    #[error("{}: {source}", dir.display())]
    NoFolder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds no crate.
    #[error("{}: no crate here: {message}", dir.display())]
    NoCrate {
        /// The folder.
        dir: PathBuf,
        /// What cargo says.
        message: String,
    },
    /// cargo cannot be started.
    #[error("cannot start cargo: {0}")]
    Cargo(#[source] std::io::Error),
    /// The crate does not compile; cargo has said why.
    #[error("{package} does not build (cargo ended with {status})")]
    Failed {
        /// The package.
        package: String,
        /// How cargo ended.
        status: std::process::ExitStatus,
    },
    /// Nothing came out.
    #[error(
        "{package} builds, but to no module: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`"
    )]
    NoModule {
        /// The package.
        package: String,
    },
    /// The module cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What cargo says of a crate.
#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Builds the crate. Compiler output goes to standard error.
///
/// # Errors
/// Where there is no crate, it does not compile, or it makes no module.
pub fn build(toolchain: &Toolchain, wanted: &Wanted<'_>) -> Result<Built, BuildError> {
    let dir = wanted
        .dir
        .canonicalize()
        .map_err(|source| BuildError::NoFolder { dir: wanted.dir.to_owned(), source })?;
    let (found, package) = describe(toolchain, &dir)?;
    let mut command = toolchain.cargo(&dir);
    command.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    command.args(toolchain.build_arguments()).args(["--package", &package]);
    match wanted.example {
        Some(example) => command.args(["--example", example]),
        None => command.arg("--lib"),
    };
    command.env("CARGO_TARGET_DIR", found.target_directory.join("wasm"));
    for (name, value) in profile(wanted.optimise) {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, &found.workspace_root));
    let output = command.stderr(Stdio::inherit()).output().map_err(BuildError::Cargo)?;
    if !output.status.success() {
        return Err(BuildError::Failed { package, status: output.status });
    }
    let manifest = dir.join("Cargo.toml");
    let path = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact" && message.manifest_path == manifest)
        .flat_map(|message| message.filenames)
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    let Some(path) = path else { return Err(BuildError::NoModule { package }) };
    let bytes = std::fs::read(&path).map_err(|source| BuildError::Read { path, source })?;
    Ok(Built { package, bytes })
}

/// The crate in `dir`, and the name of its package.
fn describe(toolchain: &Toolchain, dir: &Path) -> Result<(CargoMetadata, String), BuildError> {
    let no_crate =
        |message: &str| BuildError::NoCrate { dir: dir.to_owned(), message: message.trim().to_owned() };
    let mut command = toolchain.cargo(dir);
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let output = command.output().map_err(BuildError::Cargo)?;
    if !output.status.success() {
        return Err(no_crate(&String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: CargoMetadata =
        serde_json::from_slice(&output.stdout).map_err(|error| no_crate(&error.to_string()))?;
    let manifest = dir.join("Cargo.toml");
    let package = metadata.packages.iter().find(|package| package.manifest_path == manifest);
    let name = package.ok_or_else(|| no_crate("there is no Cargo.toml with a [package]"))?.name.clone();
    Ok((metadata, name))
}

/// The release profile of a module, whatever the crate's own says.
fn profile(optimise: Optimise) -> [(&'static str, &'static str); 7] {
    let level = match optimise {
        Optimise::Speed => "3",
        Optimise::Size => "s",
    };
    [
        ("OPT_LEVEL", level),
        ("LTO", "fat"),
        ("CODEGEN_UNITS", "1"),
        ("PANIC", "abort"),
        ("DEBUG", "0"),
        // Names of functions stay: they are what makes a trap's backtrace readable.
        ("STRIP", "debuginfo"),
        ("INCREMENTAL", "false"),
    ]
}

/// Flags of the compiler: the layout of memory, and paths that do not tell where it was built.
fn flags(toolchain: &Toolchain, workspace: &Path) -> OsString {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut flags: Vec<OsString> = vec![
        format!("-Clink-arg=-zstack-size={STACK_BYTES}").into(),
        format!("-Clink-arg=--initial-memory={MEMORY_BYTES}").into(),
    ];
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    remap(workspace, "/plugin");
    remap(&toolchain.sysroot.join("lib/rustlib/src/rust"), "/rustc");
    if let Some(home) = home {
        remap(&home, "/cargo");
    }
    flags.join(OsString::from("\u{1f}").as_os_str())
}
