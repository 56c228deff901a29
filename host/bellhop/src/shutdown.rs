//! `bellhop watch-shutdown`: tells the speaker beside it that the host shuts down.
//!
//! systemd says so first in a file, `/run/nologin`. Beside it stand the sockets of the container runtime and of systemd, which a
//! process of root may use even where the folder is mounted read-only, and the speaker is root. So this process, of a user
//! without any right, looks there in its place, and makes and removes a file of the same name in a folder that both have.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bellhop_speaker::comes_back::NO_LOGIN;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::process::Process;

/// Time between two looks; the speaker, told to stop, looks for longer than that.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long it looks on after SIGTERM. Where the whole host stops, both processes are told to stop at once, and maybe before the
/// file is there.
const LOOK_ON: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(crate) struct WatchShutdown {
    /// Where the host's /run is mounted.
    #[arg(long, value_name = "DIR")]
    host_run: PathBuf,
    /// The folder that the speaker has as its --host-run.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    #[command(flatten)]
    process: Process,
}

impl WatchShutdown {
    /// Runs until a signal.
    pub(crate) fn run(self) -> ExitCode {
        let process = self.process.clone();
        process.run(|| Ok(watch(self.host_run, self.into)))
    }
}

async fn watch(host_run: PathBuf, into: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut end: Option<Instant> = None;
    let mut failed = false;
    while end.is_none_or(|end| Instant::now() < end) {
        let copied = copy(&host_run, &into);
        if let (Err(error), false) = (&copied, failed) {
            tracing::warn!(folder = %into.display(), %error, "cannot say whether the host shuts down");
        }
        failed = copied.is_err();
        tokio::select! {
            _ = terminate.recv() => end = end.or(Some(Instant::now() + LOOK_ON)),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    Ok(())
}

/// Makes the file where the host has its own, and removes it where it has none (any more).
fn copy(host_run: &Path, into: &Path) -> io::Result<()> {
    let (there, here) = (host_run.join(NO_LOGIN).try_exists()?, into.join(NO_LOGIN));
    match (there, here.try_exists()?) {
        (true, false) => std::fs::write(here, ""),
        (false, true) => std::fs::remove_file(here),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_while_the_host_has_its_own() {
        let (host, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let told = || {
            copy(host.path(), shared.path()).unwrap();
            shared.path().join("nologin").exists()
        };
        assert!(!told());
        std::fs::write(host.path().join("nologin"), "System is going down.\n").unwrap();
        assert!(told() && told());
        // `shutdown -c`.
        std::fs::remove_file(host.path().join("nologin")).unwrap();
        assert!(!told() && !told());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_no_end() {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("nologin"), "").unwrap();
        assert!(copy(host.path(), &host.path().join("none")).is_err());
    }
}
