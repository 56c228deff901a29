//! `bellhop controller`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bellhop_controller::run::Options;
use clap::Args;

use crate::process::{self, Process};

#[derive(Args, Debug)]
pub(crate) struct Controller {
    /// Bellhop's own namespace: plugins' ConfigMaps, the controller's copies of them, Leases.
    #[arg(long, default_value = "bellhop-system", value_name = "NAME")]
    namespace: String,
    /// What tells this replica from the others, as the name of its pod.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Serve Services without a loadBalancerClass, too.
    #[arg(long)]
    classless: bool,
    /// The plugin compiler; by default `bellhop-compiler` beside this program.
    #[arg(long, value_name = "PATH")]
    compiler: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, default_value = "0.0.0.0:9475", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    #[command(flatten)]
    process: Process,
}

impl Controller {
    /// Runs until a signal; 0 after a stop that was asked for, 2 when it could not start.
    pub(crate) fn run(self) -> ExitCode {
        let process = self.process.clone();
        process.run(|| {
            let options = Options {
                namespace: self.namespace,
                name: self.name,
                classless: self.classless,
                compiler: process::compiler(self.compiler)?,
                listen: self.listen,
            };
            Ok(bellhop_controller::run::run(options))
        })
    }
}
