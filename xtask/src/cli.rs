//! Arguments, and which function does what they ask.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::artefacts::{
    self, ALL_BUT_THE_COMPILER, Artefacts, build_cluster, build_peers, build_plugins, build_programs,
};
use crate::metadata::{Metadata, cargo};
use crate::rules::{place, read, sources, words};
use crate::step::{self, Session};
use crate::{cases, e2e, fuzz, image, interop, lengths, plan};

/// What the tool can do.
pub(crate) const USAGE: &str = "\
usage: cargo run -p xtask -- COMMAND

  check            format, lints, documentation, rules and tests of the default members
  test             everything: check for all crates, plugins, compiler, lab (needs root)
  rules            the rules about the source tree alone (arrows, manifests, unsafe code, words)
  demo [--keep]    build what the lab needs and run the demo in it (needs root)
  demo-down        remove what a kept demo left
  cluster [cp]     bring up the test cluster, or its control plane alone, and build what it lacks (needs root)
  cluster-down     remove it
  e2e [CASE...]    build what is missing and run the end-to-end cases (needs root); --list, --short, --keep-going
  interop          run the speaker against FRR, BIRD, GoBGP, ExaBGP and OpenBGPD, and write docs/reference/interop.md (needs root)
  bench [NAME...]  build in the release profile and run the benches, or those named (needs root)
  image            build the OCI image into target/image; --release, --name NAME:TAG, --out FILE, --programs FOLDER
                   (take the programs from there instead of building them)
  plugins          build the shipped plugins as WebAssembly modules
  fixtures         rebuild the committed WebAssembly fixtures of the tests
  crds             rewrite crds/, the chart's copy of it and docs/kinds from the types
  fuzz             run libFuzzer on the protocol machines, FUZZ_SECONDS (60) each, and print what came of it
  cases            rewrite docs/reference/bgp-cases.md from what tests say of themselves
  lengths          report the lengths of the source files
  gaps             list the known gaps written down in the source";

/// Does what the arguments ask. `Err` is a failure of the tool, a failed check is an exit code.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["check"] => steps(plan::check()),
        ["test"] => steps(plan::test()),
        ["rules"] => {
            let broken = plan::broken_rules(&Session::new()?)?;
            broken.iter().for_each(|sentence| println!("{sentence}"));
            Ok(exit(broken.is_empty()))
        }
        ["demo"] => demo(&["demo"]),
        ["demo", "--keep"] => demo(&["demo", "--keep"]),
        ["demo-down"] => {
            let mut session = Session::new()?;
            let build = ["build", "--quiet", "--locked", "--bin", "lab"];
            session.run(Command::new(cargo()).args(build).args(ALL_BUT_THE_COMPILER))?;
            let lab = Artefacts::of(&session, false).program("lab");
            session.run(Command::new(lab).arg("down"))?;
            Ok(ExitCode::SUCCESS)
        }
        ["cluster"] => cluster("up.sh", &[]),
        ["cluster", "cp"] => cluster("up.sh", &["cp"]),
        ["cluster-down"] => cluster("down.sh", &[]),
        ["e2e", options @ ..] => e2e::run(options),
        ["interop"] => interop::run(),
        ["bench", names @ ..] => bench(names),
        ["image", options @ ..] => image::run(options),
        ["plugins"] => {
            let mut session = Session::new()?;
            let artefacts = Artefacts::of(&session, false);
            build_programs(&mut session, false)?;
            build_plugins(&mut session, &artefacts)?;
            Ok(ExitCode::SUCCESS)
        }
        ["fixtures"] => {
            Session::new()?.run(Command::new(cargo()).args([
                "run",
                "--locked",
                "-p",
                "bellhop-test-guests",
                "--",
                "build",
            ]))?;
            Ok(ExitCode::SUCCESS)
        }
        ["crds"] => {
            let mut session = Session::new()?;
            let mut command = Command::new(cargo());
            command.args(["test", "--locked", "--quiet", "-p", "bellhop-api", "committed"]);
            session.run(command.env("BELLHOP_WRITE_CRDS", "1"))?;
            Ok(ExitCode::SUCCESS)
        }
        ["fuzz"] => Ok(exit(fuzz::run()?)),
        ["cases"] => {
            let broken = cases::write(&Metadata::load()?.workspace_root)?;
            broken.iter().for_each(|sentence| println!("{sentence}"));
            Ok(exit(broken.is_empty()))
        }
        ["lengths"] => {
            print!("{}", lengths::report(&Metadata::load()?)?);
            Ok(ExitCode::SUCCESS)
        }
        ["gaps"] => gaps(),
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("no command {:?}\n{USAGE}", other.join(" ")),
    }
}

fn steps(steps: Vec<step::Step>) -> Result<ExitCode> {
    Ok(exit(step::run(steps, &mut Session::new()?)?))
}

fn exit(fine: bool) -> ExitCode {
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds what the lab needs, then becomes the lab: its transcript is the demo.
fn demo(args: &[&str]) -> Result<ExitCode> {
    let mut session = Session::new()?;
    let artefacts = Artefacts::of(&session, false);
    build_programs(&mut session, false)?;
    build_plugins(&mut session, &artefacts)?;
    let mut command = Command::new(artefacts.program("lab"));
    command.args(args);
    command.arg("--bellhop").arg(artefacts.program("bellhop"));
    command.arg("--compiler").arg(artefacts.program("bellhop-compiler"));
    command.arg("--plugins").arg(&artefacts.plugins);
    let status = command.status()?;
    Ok(exit(status.success()))
}

/// Runs a script of the test cluster, which says itself what it does.
fn cluster(script: &str, args: &[&str]) -> Result<ExitCode> {
    let scripts = Metadata::load()?.workspace_root.join(artefacts::CLUSTER_SCRIPTS);
    let status = Command::new(scripts.join(script)).args(args).status()?;
    Ok(exit(status.success()))
}

/// Builds in the release profile and runs the benches, which print a table and write JSON.
fn bench(names: &[&str]) -> Result<ExitCode> {
    let mut session = Session::new()?;
    let artefacts = Artefacts::of(&session, true);
    build_cluster(&mut session)?;
    build_programs(&mut session, true)?;
    build_plugins(&mut session, &artefacts)?;
    let peers = build_peers(&session)?;
    let mut command = Command::new(artefacts.program("benches"));
    command.args(names).envs(artefacts.environment()).env("BELLHOP_METALLB", peers.join("metallb"));
    let status = command.status()?;
    Ok(exit(status.success()))
}

/// Lists every known gap with its place.
fn gaps() -> Result<ExitCode> {
    let metadata = Metadata::load()?;
    let root = &metadata.workspace_root;
    for file in sources(root, &["rs"])? {
        for (at, line) in read(&file)?.lines().enumerate().filter(|(_, line)| line.contains(words::GAP)) {
            println!("{}:{}: {}", place(&file, root), at + 1, line.trim());
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_exist_is_answered_with_those_that_do() {
        let error = run(&["tset".to_owned()]).expect_err("there is no such command");
        assert!(error.to_string().starts_with("no command \"tset\""), "{error}");
        assert!(error.to_string().contains("cargo run -p xtask -- COMMAND"), "{error}");
    }

    #[test]
    fn every_target_of_the_makefile_that_calls_this_tool_calls_a_command_of_it() {
        let makefile = include_str!("../../Makefile");
        let called = makefile.lines().filter_map(|line| line.strip_prefix("\t@$(XTASK) "));
        for command in called.filter_map(|call| call.split(' ').next()) {
            assert!(
                USAGE.lines().any(|line| line.split_whitespace().next() == Some(command)),
                "the Makefile calls {command}, which the usage does not list"
            );
        }
    }
}
