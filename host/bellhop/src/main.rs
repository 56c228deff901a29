//! `bellhop`: arguments and wiring, nothing else.

#![forbid(unsafe_code)]

mod arguments;
mod logging;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Standalone(standalone) => standalone.run(),
        Command::Tool(tool) => bellhop_cli::run(tool),
    }
}
