//! `bellhop-e2e`: runs the end-to-end cases.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    bellhop_e2e::run::Arguments::parse().run()
}
