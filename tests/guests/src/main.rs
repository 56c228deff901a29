//! Rebuilds and checks what is generated: the guest modules and the SDK's bindings.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bellhop_test_guests::{bindings, fixtures};
use clap::{Parser, Subcommand};

/// The tool.
#[derive(Parser, Debug)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Build the modules and write them and their manifest.
    Build {
        /// Only those whose name contains this.
        filter: Option<String>,
    },
    /// Compare the committed modules with the manifest, and with a rebuild where there is a toolchain.
    Check {
        /// Fail where there is no toolchain to rebuild with.
        #[arg(long)]
        rebuild: bool,
    },
    /// Write the SDK's bindings from its WIT files.
    Bindings {
        /// Write nothing; fail if they differ.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let result = match Cli::parse().command {
        Command::Build { filter } => fixtures::build(&root, filter.as_deref()),
        Command::Check { rebuild } => fixtures::check(&root, rebuild),
        Command::Bindings { check } => bindings::run(&root.join("plugin-sdk"), check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bellhop-test-guests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
