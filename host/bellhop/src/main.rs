//! `bellhop`: arguments and wiring, nothing else.

#![forbid(unsafe_code)]

mod arguments;
mod controller;
mod logging;
mod process;
mod shutdown;
mod speaker;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Standalone(standalone) => standalone.run(),
        Command::Speaker(speaker) => speaker.run(),
        Command::Controller(controller) => controller.run(),
        Command::WatchShutdown(watch) => watch.run(),
        Command::Tool(tool) => bellhop_cli::run(tool),
    }
}
