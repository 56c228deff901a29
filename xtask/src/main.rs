//! The project's own build tool; `make` calls it. See [`cli::USAGE`] for its commands.
//!
//! It does three things: it runs the steps of `make check` and `make test` and counts what passed ([`step`],
//! [`plan`]), it proves the rules that documents state about the source tree ([`arrows`], [`rules`], [`cases`]), and it builds
//! what cargo alone does not build in one go: the binaries and WebAssembly modules that the lab needs ([`artefacts`]),
//! the image ([`image`]) and the fuzzers ([`fuzz`]).

#![forbid(unsafe_code)]

mod arrows;
mod artefacts;
mod cases;
mod cli;
mod e2e;
mod fuzz;
mod image;
mod interop;
mod lengths;
mod metadata;
mod plan;
mod rules;
mod step;
mod suites;
mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    cli::run(&args).unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
