//! `bellhop speaker`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bellhop_speaker::cluster::Options;
use clap::Args;

use crate::process::{self, Process};

#[derive(Args, Debug)]
pub(crate) struct Speaker {
    /// Name of this node, as its Node object has it.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Bellhop's own namespace.
    #[arg(long, default_value = "bellhop-system", value_name = "NAME")]
    namespace: String,
    /// The DaemonSet that this speaker's pod comes from: where it still wants this node on SIGTERM, the routes are left
    /// standing for the next process.
    #[arg(long, default_value = "bellhop-speaker", value_name = "NAME")]
    daemonset: String,
    /// Serve Services without a loadBalancerClass, too.
    #[arg(long)]
    classless: bool,
    /// A folder of the node: restart marks, and the objects known last, for a start while the API server is away.
    #[arg(long, default_value = "/var/lib/bellhop", value_name = "DIR")]
    state: PathBuf,
    /// Where `bellhop status` and the other tools ask.
    #[arg(long, default_value = bellhop_cli::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The plugin compiler; by default `bellhop-compiler` beside this program.
    #[arg(long, value_name = "PATH")]
    compiler: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, default_value = "0.0.0.0:9474", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where the host's /run can be seen, or what `watch-shutdown` copies of it: a shutdown of the host is seen there before
    /// anybody else tells of it.
    #[arg(long, value_name = "DIR")]
    host_run: Option<PathBuf>,
    /// Seconds from SIGTERM to SIGKILL (terminationGracePeriodSeconds of the pod): a drain wait that does not fit is told.
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u32>,
    #[command(flatten)]
    process: Process,
}

impl Speaker {
    /// Runs until a signal; 0 after a stop that was asked for, 2 when it could not start.
    pub(crate) fn run(self) -> ExitCode {
        let process = self.process.clone();
        process.run(|| {
            let options = Options {
                node: self.node.into(),
                namespace: self.namespace,
                daemon_set: self.daemonset,
                classless: self.classless,
                state: self.state,
                socket: self.socket,
                compiler: process::compiler(self.compiler)?,
                listen: self.listen,
                host_run: self.host_run,
                grace_period: self.grace_period.map(|seconds| Duration::from_secs(seconds.into())),
            };
            Ok(bellhop_speaker::cluster::run(options))
        })
    }
}
