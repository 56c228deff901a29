//! The signals by which a process is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, from when this is made: neither ends the process any more.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens from now on; in a tokio runtime.
    ///
    /// # Errors
    /// When the kernel takes no handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them; several of a kind that come before it is waited for are one. May be cancelled.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_of_both_signals_is_a_request_to_stop() {
        let mut stops = StopSignals::listen().unwrap();
        for name in ["TERM", "INT"] {
            let process = std::process::id().to_string();
            let sent = std::process::Command::new("kill").args(["-s", name, &process]).status().unwrap();
            assert!(sent.success());
            tokio::time::timeout(std::time::Duration::from_secs(10), stops.next()).await.expect(name);
        }
    }
}
