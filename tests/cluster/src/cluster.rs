//! Coming up, going down, and where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bellhop_lab::command::output_of;

/// The folder of the scripts.
const SCRIPTS: &str = env!("CARGO_MANIFEST_DIR");
/// What up.sh writes before the path of the administrator's kubeconfig, which is in the folder of the cluster's state.
const KUBECONFIG_LINE: &str = "export KUBECONFIG=";

/// How much of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Control plane and three nodes.
    #[default]
    Whole,
    /// The control plane alone, without nodes and in half the memory (340 MiB), for tests of the API.
    ControlPlane,
}

impl Mode {
    /// As the scripts call it.
    const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::ControlPlane => "cp",
        }
    }
}

/// Which cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// What tells its namespaces and folders from those of other clusters: 1 to 24 lowercase letters, digits or dashes. Test programs
    /// may run at the same time, so each needs one of its own.
    pub prefix: String,
    /// How much of it.
    pub mode: Mode,
    /// Takes the cluster of this prefix that stands, if it is of this mode and answers, as its last user left it.
    pub reuse: bool,
    /// Leaves it standing when it is dropped.
    pub keep: bool,
}

impl Options {
    /// A whole cluster of this prefix. With the environment variable `KEEP` (anything but empty or `0`) it is reused and kept, for
    /// those who run a test again and again; otherwise it is new and removed.
    pub fn new(prefix: impl Into<String>) -> Self {
        let keep = std::env::var_os("KEEP").is_some_and(|value| !value.is_empty() && value != "0");
        Self { prefix: prefix.into(), mode: Mode::Whole, reuse: keep, keep }
    }

    /// The same with another mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
}

/// A cluster that stands. Removed when dropped, unless it is to be kept ([`Options::keep`]); after a failed test its logs are kept in
/// the folder for temporary files, and their place is printed.
#[derive(Debug)]
pub struct Cluster {
    prefix: String,
    state: PathBuf,
    keep: bool,
}

impl Cluster {
    /// Brings it up: all components answer, all nodes are Ready, pods can be created. Builds what is missing, which takes minutes.
    ///
    /// # Errors
    /// Without root or what `make setup` installs, or with the ends of the logs of what did not come up.
    pub fn up(options: &Options) -> Result<Self> {
        let mut command = script(&options.prefix, "up.sh");
        if options.reuse {
            command.arg("--reuse");
        }
        let said = output_of(command.arg(options.mode.word()))?;
        let kubeconfig = said
            .lines()
            .find_map(|line| line.strip_prefix(KUBECONFIG_LINE))
            .with_context(|| format!("up.sh does not say `{KUBECONFIG_LINE}…`: {said}"))?;
        let state = Path::new(kubeconfig).parent().context("a kubeconfig without a folder")?.to_owned();
        Ok(Self { prefix: options.prefix.clone(), state, keep: options.keep })
    }

    /// Removes it now.
    ///
    /// # Errors
    /// With everything that could not be removed.
    pub fn down(mut self) -> Result<()> {
        self.keep = true;
        Self::remove(&self.prefix)
    }

    /// Removes the cluster of a prefix, however far it came up; does nothing where there is none.
    ///
    /// # Errors
    /// With everything that could not be removed.
    pub fn remove(prefix: &str) -> Result<()> {
        output_of(&mut script(prefix, "down.sh")).map(drop)
    }

    /// Its prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Folder of its state: `kubeconfig`, `pki`, a folder for each machine.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Folder of its logs: `MACHINE-PROGRAM.log`.
    pub fn logs(&self) -> PathBuf {
        self.state.join("log")
    }

    /// One of the scripts, to be run for this cluster.
    pub(crate) fn script(&self, name: &str) -> Command {
        script(&self.prefix, name)
    }

    /// Imports images (tars as `ctr images import` takes them) into every node, and into those that boot later.
    ///
    /// # Errors
    /// With what containerd says.
    pub fn load_image(&self, tar: &Path) -> Result<()> {
        output_of(self.script("load.sh").arg(tar)).map(drop)
    }
}

fn script(prefix: &str, name: &str) -> Command {
    let mut command = Command::new(Path::new(SCRIPTS).join(name));
    command.env("BELLHOP_CLUSTER", prefix);
    command
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let mut command = self.script("down.sh");
        if std::thread::panicking() {
            let logs = std::env::temp_dir().join(format!("bellhop-cluster-{}-logs", self.prefix));
            eprintln!("the logs of cluster {} are kept in {}", self.prefix, logs.display());
            command.env("BELLHOP_CLUSTER_LOGS", logs);
        }
        if let Err(error) = output_of(&mut command) {
            eprintln!("{error:#}");
        }
    }
}
