//! `make e2e`: the end-to-end cases, with what they need.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::artefacts::{Artefacts, build_cluster, build_plugins, build_programs};
use crate::image;
use crate::step::Session;

/// Builds what is missing and runs the cases; `args` are those of `bellhop-e2e`.
pub(crate) fn run(args: &[&str]) -> Result<ExitCode> {
    let mut session = Session::new()?;
    let artefacts = Artefacts::of(&session, false);
    if !args.contains(&"--kubeconfig") {
        build_cluster(&mut session)?;
    }
    build_programs(&mut session, false)?;
    build_plugins(&mut session, &artefacts)?;
    image::run(&[])?;
    let status = cases(&session).args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program that runs the cases, told where everything is.
pub(crate) fn cases(session: &Session) -> Command {
    let artefacts = Artefacts::of(session, false);
    let mut command = Command::new(artefacts.program("bellhop-e2e"));
    command.envs(artefacts.environment()).env("BELLHOP_IMAGE", image::file(session));
    command
}
