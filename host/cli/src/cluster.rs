//! Asking a cluster: objects are read from the API server, speakers are asked by exec into their pods.
//!
//! ```text
//! kubeconfig ─► connect ─► read (lists, a page at a time) ─────────────► Objects ─┐
//!                     ├──► running (Leases, DaemonSet) ────────────────► Running ─┤
//!                     └──► speakers (exec, 16 at a time, 10 s each) ─► answers ───┴─► status | explain | routes | policy
//! ```
//!
//! Nothing is written here but by `drain`. What the user may not see is told in one line and is no error: the rest is
//! shown. One object that cannot be read, or one pod that does not answer, is a line of its own.

pub mod connect;
pub mod drain;
pub mod explain;
pub mod policy;
pub mod read;
pub mod routes;
pub(crate) mod run;
pub mod running;
pub mod speakers;
pub mod status;
pub mod validate;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

pub use connect::{Cluster, ConnectError};

use crate::{DEFAULT_SOCKET, WRONG_USAGE, fail};

/// Namespace that Bellhop runs in unless it is told otherwise.
pub const DEFAULT_NAMESPACE: &str = "bellhop-system";

/// Which cluster is asked.
#[derive(Args, Clone, Debug)]
pub struct ClusterArguments {
    /// Kubeconfig file; by default what KUBECONFIG names, then ~/.kube/config, then the pod's own ServiceAccount.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace that Bellhop itself runs in.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    pub namespace: String,
}

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// One speaker, by its socket on this machine.
    Socket(PathBuf),
    /// A cluster, by its API server.
    Cluster,
}

/// What of the machine decides who is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Surroundings {
    /// `KUBECONFIG` is set, or `~/.kube/config` is there.
    kubeconfig: bool,
    /// A speaker's default socket is there.
    socket: bool,
    /// This is a pod with a ServiceAccount.
    pod: bool,
}

impl Surroundings {
    fn here() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Self {
            kubeconfig: set("KUBECONFIG") || home.is_some_and(|home| home.join(".kube/config").is_file()),
            socket: Path::new(DEFAULT_SOCKET).exists(),
            pod: set("KUBERNETES_SERVICE_HOST"),
        }
    }
}

impl ClusterArguments {
    /// Who is asked: the socket that is named; else the cluster of a kubeconfig; else the speaker on this machine; else
    /// the cluster that this pod is in.
    pub fn place(&self, socket: Option<&Path>) -> Place {
        self.place_in(socket, Surroundings::here())
    }

    fn place_in(&self, socket: Option<&Path>, here: Surroundings) -> Place {
        match socket {
            Some(socket) => Place::Socket(socket.into()),
            None if self.kubeconfig.is_some() || self.context.is_some() || here.kubeconfig => Place::Cluster,
            None if here.pod && !here.socket => Place::Cluster,
            None => Place::Socket(DEFAULT_SOCKET.into()),
        }
    }
}

/// Runs something that waits, on this thread.
pub(crate) fn wait<F: Future<Output = ExitCode>>(future: F) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => fail(WRONG_USAGE, &format!("cannot start: {error}")),
    }
}

/// What caused an error in the end: `Connection refused (os error 111)`, which says more than what it was wrapped in.
pub(crate) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_named_wins_then_a_kubeconfig_then_the_speaker_here_then_the_pods_cluster() {
        let nothing = Surroundings { kubeconfig: false, socket: false, pod: false };
        let plain = ClusterArguments { kubeconfig: None, context: None, namespace: DEFAULT_NAMESPACE.into() };
        let named = ClusterArguments { context: Some("prod".into()), ..plain.clone() };
        let default = Place::Socket(DEFAULT_SOCKET.into());
        let everything = Surroundings { kubeconfig: true, socket: true, pod: true };
        for (arguments, socket, here, expected) in [
            (&plain, Some(Path::new("/x")), everything, Place::Socket("/x".into())),
            (&plain, None, everything, Place::Cluster),
            (&named, None, nothing, Place::Cluster),
            (&plain, None, Surroundings { socket: true, pod: true, ..nothing }, default.clone()),
            (&plain, None, Surroundings { pod: true, ..nothing }, Place::Cluster),
            (&plain, None, nothing, default),
        ] {
            assert_eq!(arguments.place_in(socket, here), expected, "{socket:?} {here:?}");
        }
    }
}
