//! The speaker as a process of its own, to be killed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bellhop_speaker::bgp::{BgpHandle, GracefulRestart, PeerConfig};

use crate::router::ASN;
use crate::speaker::{attributes, bfd, config, peer, routes};

/// Set in such a process: whether it has BFD.
const ROLE: &str = "BELLHOP_TEST_SPEAKER";

/// How many routes of each family it announces.
pub(crate) const V4: u32 = 20;
pub(crate) const V6: u32 = 5;

/// Its peer. The next process has the same.
pub(crate) fn restartable(with_bfd: bool) -> PeerConfig {
    let graceful = GracefulRestart {
        restart_time: Duration::from_secs(10),
        forwarding_preserved: true,
        notification: false,
    };
    PeerConfig {
        graceful_restart: Some(graceful),
        bfd: with_bfd.then(|| bfd(100, false)),
        hold_time: Duration::from_secs(90),
        ..peer(ASN)
    }
}

/// This process is such a speaker.
pub(crate) fn is_speaker() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Speaks until it is killed.
pub(crate) fn speak() {
    let with_bfd = std::env::var(ROLE).is_ok_and(|role| role == "bfd");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bgp = BgpHandle::start();
        bgp.configure(config(restartable(with_bfd))).await;
        bgp.routes(routes(V4, V6, Some(&attributes(1)))).await;
        bgp.ready().await;
        std::future::pending::<()>().await;
    });
}

/// A speaker's process; killed when dropped.
pub(crate) struct Speaker {
    child: Child,
}

impl Speaker {
    /// Starts one from within a test, by starting that test again.
    pub(crate) fn start(test: &str, with_bfd: bool) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, if with_bfd { "bfd" } else { "" })
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// By SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.kill();
    }
}
