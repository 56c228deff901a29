//! The program under test: one `bellhop standalone` on each node, and its tools.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::{finished, output_of};
use crate::lab::{Lab, spawn_logged};
use crate::netns::kill;
use crate::plan::Node;
use crate::report::Status;
use crate::wait::{Unmet, wait_for};

/// How long a node's process may take from start to its first answer.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long it may take to end after SIGTERM; it may announce a shutdown first.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Where the programs are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    /// `bellhop`.
    pub bellhop: PathBuf,
    /// `bellhop-compiler`.
    pub compiler: PathBuf,
    /// The shipped policies as modules, `NAME.wasm`.
    pub plugins: PathBuf,
}

impl Programs {
    /// From `BELLHOP_BIN`, `BELLHOP_COMPILER` and `BELLHOP_PLUGINS`, as `make test` sets them.
    ///
    /// # Errors
    /// When one is not set.
    pub fn from_environment() -> Result<Self> {
        let path = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).with_context(|| {
                format!("{name} is not set: `make test` sets it, or give the path of what `make demo` built")
            })
        };
        Ok(Self {
            bellhop: path("BELLHOP_BIN")?,
            compiler: path("BELLHOP_COMPILER")?,
            plugins: path("BELLHOP_PLUGINS")?,
        })
    }

    /// Checks that all is there before a lab is set up for it.
    ///
    /// # Errors
    /// With the first path where nothing is.
    pub fn check(&self) -> Result<()> {
        for path in [&self.bellhop, &self.compiler, &self.plugins] {
            ensure!(path.exists(), "{} does not exist: `make demo` builds it", path.display());
        }
        Ok(())
    }
}

/// The processes of one lab. They share a folder of manifests and a state directory.
#[derive(Debug)]
pub struct Bellhop {
    lab: Lab,
    programs: Programs,
    manifests: PathBuf,
    running: BTreeMap<Node, Child>,
}

impl Bellhop {
    /// No process yet.
    pub fn new(lab: Lab, programs: Programs, manifests: impl Into<PathBuf>) -> Self {
        Self { lab, programs, manifests: manifests.into(), running: BTreeMap::new() }
    }

    /// The shared state directory: claims, snapshots of what is in force.
    pub fn state(&self) -> PathBuf {
        self.lab.run().join("state")
    }

    /// Where a node's process answers its tools.
    pub fn socket(&self, node: Node) -> PathBuf {
        self.lab.run().join(format!("{}.sock", node.name()))
    }

    /// Log of a node's process, over all its lives.
    pub fn log(&self, node: Node) -> PathBuf {
        self.lab.run().join(format!("{}-bellhop.log", node.name()))
    }

    /// Starts a node's process and waits until it answers its tools.
    ///
    /// # Errors
    /// When it runs already, ends at once, or does not answer in time; with the end of its log.
    pub fn start(&mut self, node: Node) -> Result<()> {
        self.start_with(node, &[])
    }

    /// The same with further arguments of `bellhop standalone`.
    ///
    /// # Errors
    /// As [`Bellhop::start`].
    pub fn start_with(&mut self, node: Node, further: &[&str]) -> Result<()> {
        ensure!(!self.running.contains_key(&node), "bellhop runs on {} already", node.name());
        std::fs::create_dir_all(self.state())?;
        let mut command = self.lab.node(node).detached(&self.programs.bellhop);
        command.arg("standalone").arg("--manifests").arg(&self.manifests).arg("--state").arg(self.state());
        command.args(["--node", &node.name(), "--allocate"]).arg("--socket").arg(self.socket(node));
        command.arg("--compiler").arg(&self.programs.compiler).args(further);
        let child = spawn_logged(&mut command, &self.log(node))?;
        self.running.insert(node, child);
        self.wait_for_answer(node).with_context(|| format!("bellhop on {} does not start", node.name()))
    }

    fn wait_for_answer(&mut self, node: Node) -> Result<()> {
        let answered = wait_for(&format!("bellhop on {} answers", node.name()), START_DEADLINE, || {
            if let Some(status) = self.ended(node) {
                // Nothing will answer any more: the deadline need not pass.
                return Ok(Err(status));
            }
            self.tool(node, &["status"]).map(|_| Ok(())).map_err(|error| format!("{error:#}"))
        });
        let error = match answered {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(status)) => format!("it ended: {status}"),
            Err(unmet) => unmet.to_string(),
        };
        bail!("{error}\n{}", self.log_tail(node, 20))
    }

    /// How a node's process ended, if it did.
    fn ended(&mut self, node: Node) -> Option<std::process::ExitStatus> {
        self.running.get_mut(&node).and_then(|child| child.try_wait().ok().flatten())
    }

    /// Process ID on a node.
    pub fn pid(&self, node: Node) -> Option<u32> {
        self.running.get(&node).map(Child::id)
    }

    /// Ends a node's process by SIGKILL, which it cannot notice.
    ///
    /// # Errors
    /// When none runs, or it had ended before.
    pub fn kill(&mut self, node: Node) -> Result<()> {
        let mut child =
            self.running.remove(&node).with_context(|| format!("no bellhop on {}", node.name()))?;
        child.kill()?;
        let status = child.wait()?;
        ensure!(status.signal() == Some(9), "bellhop on {} had ended before: {status}", node.name());
        Ok(())
    }

    /// Asks a node's process to end (SIGTERM), and waits for it.
    ///
    /// # Errors
    /// When none runs, or it does not end in time.
    pub fn stop(&mut self, node: Node) -> Result<()> {
        let mut child =
            self.running.remove(&node).with_context(|| format!("no bellhop on {}", node.name()))?;
        kill("TERM", &[child.id()]);
        let ended: Result<(), Unmet> =
            wait_for("bellhop ends after SIGTERM", STOP_DEADLINE, || match child.try_wait() {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("it still runs".into()),
                Err(error) => Err(error.to_string()),
            });
        Ok(ended?)
    }

    /// Output of a tool (`status`, `routes`, `explain …`) that talks to a node's process; exit code 0 or 1 (where what was
    /// asked does not hold, for example because some object has a problem).
    ///
    /// # Errors
    /// On any other exit code.
    pub fn tool(&self, node: Node, arguments: &[&str]) -> Result<String> {
        let output = self.tool_output(node, arguments)?;
        match output.status.code() {
            Some(0 | 1) if output.stderr.is_empty() || !output.stdout.is_empty() => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            _ => bail!(
                "`bellhop {}` for {} ended with {}: {}",
                arguments.join(" "),
                node.name(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        }
    }

    fn tool_output(&self, node: Node, arguments: &[&str]) -> Result<Output> {
        let mut command = std::process::Command::new(&self.programs.bellhop);
        finished(command.args(arguments).arg("--socket").arg(self.socket(node)))
    }

    /// The same with `-o json`, decoded.
    ///
    /// # Errors
    /// When the tool fails or its output is no JSON.
    pub fn tool_json(&self, node: Node, arguments: &[&str]) -> Result<Value> {
        let text = self.tool(node, &[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("`bellhop {} -o json` is no JSON: {text}", arguments.join(" ")))
    }

    /// What a node's process says of its state.
    ///
    /// # Errors
    /// As [`Bellhop::tool_json`], or when it says it in an unknown form.
    pub fn status(&self, node: Node) -> Result<Status> {
        serde_json::from_value(self.tool_json(node, &["status"])?)
            .context("unexpected form of `bellhop status -o json`")
    }

    /// Output of a tool that needs no running process, for example `plugin pack`.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, arguments: &[&std::ffi::OsStr]) -> Result<String> {
        output_of(std::process::Command::new(&self.programs.bellhop).args(arguments))
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, node: Node, lines: usize) -> String {
        tail(&self.log(node), lines)
    }

    /// Everything in a node's log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log_text(&self, node: Node) -> Result<String> {
        let path = self.log(node);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }
}

/// The last lines of a file, with its name above.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("({error})"));
    let all: Vec<_> = text.lines().collect();
    let shown = &all[all.len().saturating_sub(lines)..];
    format!("--- {} (last {} lines of {})\n{}", path.display(), shown.len(), all.len(), shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_file_is_its_last_lines_with_its_name() {
        let path = std::env::temp_dir().join(format!("bellhop-lab-tail-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let text = tail(&path, 2);
        std::fs::remove_file(&path).unwrap();
        assert!(text.ends_with("two\nthree") && text.contains("last 2 lines of 3"), "{text}");
        assert!(tail(&path, 2).contains("No such file"));
    }
}
