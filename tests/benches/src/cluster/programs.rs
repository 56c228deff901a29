//! The controller and a speaker as processes, with the rights that the chart gives their service accounts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bellhop_lab::netns::kill;
use bellhop_lab::wait::wait_for;

/// How long a program may take to stop cleanly: as long as the chart gives a controller's pod.
const STOP: Duration = Duration::from_secs(30);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a command, with both its outputs appended to a log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log, if it has ended by itself.
    ///
    /// # Errors
    /// When it has.
    pub fn expect_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the {} ended with {status}:\n{}", self.name, self.log_end()),
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Stops it by SIGTERM, and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        kill("TERM", &[self.pid()]);
        wait_for(&format!("the {} ends", self.name), STOP, || match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("it runs".into()),
            Err(error) => Err(error.to_string()),
        })?;
        Ok(())
    }

    /// Kills it by SIGKILL, and waits until it has ended.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
