//! What every long-running form of Bellhop has: a log, a runtime, an exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::logging::{self, LogFormat};

/// Worker threads of the runtime: sockets and timers only; planning and plugins have threads of their own.
const RUNTIME_THREADS: usize = 2;

#[derive(Args, Clone, Debug)]
pub(crate) struct Process {
    /// What is logged, in the form of RUST_LOG.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

impl Process {
    /// Runs what `start` returns until it ends; 0 after a stop that was asked for, 2 when it could not start.
    pub(crate) fn run<F>(&self, start: impl FnOnce() -> anyhow::Result<F>) -> ExitCode
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        if let Err(message) = logging::start(&self.log, self.log_format) {
            bellhop_cli::output::stderr(&format!("bellhop: {message}\n"));
            return ExitCode::from(2);
        }
        let ran = start().and_then(|future| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(RUNTIME_THREADS)
                .enable_all()
                .build()?;
            runtime.block_on(future)
        });
        match ran {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::from(2)
            }
        }
    }
}

/// The plugin compiler: the one that was named, else `bellhop-compiler` beside this program.
pub(crate) fn compiler(named: Option<PathBuf>) -> io::Result<PathBuf> {
    match named {
        Some(path) => Ok(path),
        None => Ok(std::env::current_exe()?.with_file_name("bellhop-compiler")),
    }
}
