//! Network namespaces, as iproute2 names them in `/run/netns`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::command::{output_of, shown};
use crate::wait::wait_for;

/// How long the processes of a namespace may take to be gone after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// A named network namespace. Dropping the value leaves the namespace alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of this name, which may or may not exist.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where iproute2 mounts it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Creates it, with its loopback interface up.
    ///
    /// # Errors
    /// When it exists already or the kernel refuses.
    pub fn create(&self) -> Result<()> {
        output_of(Command::new("ip").args(["netns", "add", &self.name]))?;
        self.ip_batch("link set lo up")
    }

    /// True while it exists.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// A command that will run `program` inside. The process that is started becomes `program` itself, so that its
    /// process id can be signalled.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// A command that will run `program` inside, in a session of its own: neither Ctrl-C nor a closing terminal reaches it.
    pub fn detached(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setsid");
        command.args(["ip", "netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs lines of `ip` commands (without the leading `ip`) inside, all or up to the first that fails.
    ///
    /// # Errors
    /// With the line number and the kernel's words, as `ip -batch` gives them.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shown(&command)))?;
        child.stdin.take().context("no standard input")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "in namespace {}: {}; the lines were:\n{lines}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// The answer of `ip -j ARGS` inside, decoded.
    ///
    /// # Errors
    /// When the command fails or answers with other JSON than expected.
    pub fn ip_json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let text = output_of(Command::new("ip").args(["-n", &self.name, "-j"]).args(args))?;
        // `ip -j` writes nothing at all for an empty table of some kinds.
        let text = if text.trim().is_empty() { "[]" } else { &text };
        serde_json::from_str(text)
            .with_context(|| format!("unexpected JSON of `ip -j {}`: {text}", args.join(" ")))
    }

    /// Sets kernel parameters (`net.…` with dots) inside.
    ///
    /// # Errors
    /// When one is unknown to this kernel or refuses the value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        let pairs = settings.iter().map(|(key, value)| format!("{key}={value}"));
        output_of(self.command("sysctl").arg("-qw").args(pairs)).map(drop)
    }

    /// The processes whose network namespace this is.
    ///
    /// # Errors
    /// When the namespace does not exist.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let text = output_of(Command::new("ip").args(["netns", "pids", &self.name]))?;
        Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }

    /// Kills every process inside and deletes the namespace with its interfaces. Does nothing where there is none.
    ///
    /// # Errors
    /// When a process survives SIGKILL or the namespace cannot be deleted.
    pub fn remove(&self) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        // A plain file is what a crash between creating and mounting leaves; it has no processes to ask for.
        if self.pids().is_ok() {
            wait_for(&format!("the processes of namespace {} are gone", self.name), KILL_DEADLINE, || {
                let pids = self.pids().map_err(|error| error.to_string())?;
                if pids.is_empty() {
                    return Ok(());
                }
                kill("KILL", &pids);
                Err(format!("still there: {pids:?}"))
            })?;
        }
        output_of(Command::new("ip").args(["netns", "delete", &self.name])).map(drop)
    }
}

/// Sends a signal to processes; one that is gone already is no failure.
pub fn kill(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let mut command = Command::new("kill");
    command.args(["-s", signal]).args(pids).stderr(Stdio::null());
    // The caller waits for the effect; whether a process ended a moment earlier by itself makes no difference.
    let _ = command.status();
}
