//! What can be given on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bellhop_cli::Tool;
use bellhop_speaker::standalone::Options;
use clap::{Args, Parser, Subcommand};

use crate::controller::Controller;
use crate::process::{self, Process};
use crate::shutdown::WatchShutdown;
use crate::speaker::Speaker;

/// A load balancer for Kubernetes Services on bare metal, with decisions made by sandboxed plugins.
#[derive(Parser, Debug)]
#[command(name = "bellhop", bin_name = bellhop_cli::called_as(), version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Allocate and announce on one node, fed by a watched folder of manifests; no API server.
    Standalone(Box<Standalone>),
    /// Announce from one node of a cluster what the controller has allocated.
    Speaker(Box<Speaker>),
    /// Allocate addresses in a cluster, write status, bring policies' versions into force; of several the one that leads does.
    Controller(Box<Controller>),
    /// Tell the speaker beside this process that the host shuts down.
    #[command(hide = true)]
    WatchShutdown(WatchShutdown),
    #[command(flatten)]
    Tool(Tool),
}

#[derive(Args, Debug)]
pub(crate) struct Standalone {
    /// Folder of manifests, read recursively and watched: Services, EndpointSlices, Nodes, Namespaces, ConfigMaps
    /// with plugins and Bellhop's own kinds.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// State directory: claims, the writer's lock, restart marks. Several nodes' processes may share it.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Name of this node, as its Node manifest has it.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Allocate addresses for Services that ask for none by name; of several processes that share a state directory
    /// the one that holds its lock does.
    #[arg(long)]
    allocate: bool,
    /// Where `bellhop status` and the other tools ask.
    #[arg(long, default_value = bellhop_cli::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Answer /metrics, /livez and /readyz over HTTP here, for example 127.0.0.1:9474; nowhere by default.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The plugin compiler; by default `bellhop-compiler` beside this program.
    #[arg(long, value_name = "PATH")]
    compiler: Option<PathBuf>,
    /// Only ConfigMaps of this namespace may carry plugins.
    #[arg(long, default_value = "bellhop-system", value_name = "NAME")]
    namespace: String,
    /// On SIGTERM leave the routes standing for the next process (for an upgrade) in place of withdrawing them.
    #[arg(long)]
    keep_routes_on_stop: bool,
    #[command(flatten)]
    process: Process,
}

impl Standalone {
    /// Runs until a signal; 0 after a stop that was asked for, 2 when it could not start.
    pub(crate) fn run(self) -> ExitCode {
        let process = self.process.clone();
        process.run(|| {
            let options = Options {
                manifests: self.manifests,
                state: self.state,
                node: self.node.into(),
                allocate: self.allocate,
                socket: self.socket,
                listen: self.listen,
                compiler: process::compiler(self.compiler)?,
                namespace: self.namespace,
                keep_routes_on_stop: self.keep_routes_on_stop,
            };
            Ok(bellhop_speaker::standalone::run(options))
        })
    }
}
