//! What the lab runs: the programs, and the plugins as WebAssembly modules.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::metadata::cargo;
use crate::step::Session;

/// Everything but the compiler. It is built apart from the rest, because in one build its features of wasmtime would
/// become the host's, and the host that the lab tests would not be the host that is shipped.
pub(crate) const ALL_BUT_THE_COMPILER: &[&str] = &["--workspace", "--exclude", "bellhop-compiler"];

/// The compiler alone.
pub(crate) const THE_COMPILER: &[&str] = &["-p", "bellhop-compiler"];

/// Folders of the policies that are shipped with Bellhop, and of those that the demo uses beside them.
pub(crate) const PLUGINS: &[&str] = &[
    "plugins/address-by-label",
    "plugins/node-maintenance",
    "plugins/peer-attributes",
    "examples/plugins/peer-attributes-next",
];

/// The folder of the test cluster's scripts.
pub(crate) const CLUSTER_SCRIPTS: &str = "tests/cluster";

/// Where things are that were built in one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artefacts {
    /// The programs.
    pub programs: PathBuf,
    /// The plugins' modules, `NAME.wasm`.
    pub plugins: PathBuf,
}

impl Artefacts {
    /// Those of the development profile, which tests and the demo share, or of the release profile.
    pub(crate) fn of(session: &Session, release: bool) -> Artefacts {
        let target = &session.metadata.target_directory;
        let programs = target.join(if release { "release" } else { "debug" });
        Artefacts { programs, plugins: target.join("plugins") }
    }

    /// A program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// What test programs find in their environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("BELLHOP_BIN", self.program("bellhop")),
            ("BELLHOP_COMPILER", self.program("bellhop-compiler")),
            ("BELLHOP_PLUGINS", self.plugins.clone()),
        ]
    }
}

/// Builds every program.
pub(crate) fn build_programs(session: &mut Session, release: bool) -> Result<()> {
    for selection in [ALL_BUT_THE_COMPILER, THE_COMPILER] {
        let mut command = Command::new(cargo());
        command.args(["build", "--locked", "--bins"]).args(selection);
        if release {
            command.arg("--release");
        }
        session.run(&mut command)?;
    }
    Ok(())
}

/// Builds what the test cluster runs, Kubernetes above all, where it is not there.
pub(crate) fn build_cluster(session: &mut Session) -> Result<()> {
    let script = session.metadata.workspace_root.join(CLUSTER_SCRIPTS).join("build.sh");
    session.run(&mut Command::new(script))
}

/// Builds the peers that benches run beside Bellhop, where they are not there; the folder where they are.
pub(crate) fn build_peers(session: &Session) -> Result<PathBuf> {
    let script = session.metadata.workspace_root.join("tests/benches/peers/build.sh");
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", script.display()))?;
    if !output.status.success() {
        bail!("{} ended with {}", script.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// Builds every plugin with the tool that its author would use.
pub(crate) fn build_plugins(session: &mut Session, artefacts: &Artefacts) -> Result<()> {
    std::fs::create_dir_all(&artefacts.plugins)
        .with_context(|| format!("make {}", artefacts.plugins.display()))?;
    let root = session.metadata.workspace_root.clone();
    for plugin in PLUGINS {
        let name = Path::new(plugin).file_name().unwrap_or_default().to_string_lossy();
        let module = artefacts.plugins.join(format!("{name}.wasm"));
        let mut command = Command::new(artefacts.program("bellhop"));
        command.args(["plugin", "build"]).arg(root.join(plugin)).arg("--out").arg(&module);
        session.run(&mut command)?;
        expect_module(&module)?;
    }
    Ok(())
}

/// A build tool that says it succeeded must have left a module.
fn expect_module(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    if !bytes.starts_with(b"\0asm") {
        bail!("{} is not a WebAssembly module: it does not start with \\0asm", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.wasm");
        assert!(expect_module(&path).is_err());
        std::fs::write(&path, "hello").expect("write");
        assert!(expect_module(&path).is_err());
        std::fs::write(&path, b"\0asm\x01\0\0\0").expect("write");
        assert!(expect_module(&path).is_ok());
    }
}
