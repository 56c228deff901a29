//! The steps of `make check` and of `make test`.
//!
//! | step | check | test | needs |
//! |---|---|---|---|
//! | `fmt` | x | x | |
//! | `rules` | x | x | |
//! | `deny` | if installed | x | cargo-deny |
//! | `components` | | x | Go |
//! | `clippy` | default members | workspace | |
//! | `doc` | default members | workspace | |
//! | `build` | | x | |
//! | `plugins` | | x | a WASM toolchain |
//! | `fixtures` | | x | a WASM toolchain |
//! | `test-build`, `test` | default members | workspace | |
//! | `test-doc` | default members | workspace | |
//! | `compiler` | | x | |
//! | `lab` | | x | root, FRR |
//! | `cluster` | | x | root, containerd, FRR |
//! | `crds` | | x | the same |
//! | `image` | | x | Debian's packages |
//! | `chart` | | x | root, containerd |
//! | `e2e` | | x | root, containerd, FRR |
//!
//! The time limits are about five times what a machine with two cores needs, and only keep CI from hanging.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::artefacts::{
    ALL_BUT_THE_COMPILER, Artefacts, THE_COMPILER, build_cluster, build_plugins, build_programs,
};
use crate::metadata::cargo;
use crate::step::{Session, Step};
use crate::{arrows, e2e, image, rules, suites};

/// The packages whose tests need root and the real network; each has a step of its own.
const LAB: &str = "bellhop-lab";
/// As [`LAB`], and containers.
const CLUSTER: &str = "bellhop-test-cluster";
/// The package whose tests ask an API server of the test cluster about the CRDs, and by the tools.
const CRDS: &str = "bellhop-crd-tests";
/// As [`LAB`], with helm and control planes.
const CHART: &str = "bellhop-chart-tests";

/// All that needs no root, no lab, no Cranelift and no WebAssembly toolchain.
pub(crate) fn check() -> Vec<Step> {
    let mut steps = vec![fmt(), tree()];
    if let Some(program) = cargo_deny() {
        steps.push(deny(program));
    }
    steps.extend([
        clippy(&[]),
        Step::check("test-build", 15, |session| {
            session.suites = suites::build(session, &[])?;
            Ok(())
        }),
        Step::tests("test", 10, |session| {
            let found = session.suites.clone();
            suites::run(session, &found, &[]).map(Some)
        })
        .needs(&["test-build"]),
        doc_tests(&[]),
        doc(&[]),
    ]);
    steps
}

/// Everything.
pub(crate) fn test() -> Vec<Step> {
    vec![
        fmt(),
        tree(),
        match cargo_deny() {
            Some(program) => deny(program),
            None => Step::check("deny", 1, |_| bail!("cargo-deny is not installed; `make setup` does it")),
        },
        // Alone, before cargo: either takes both of a small machine's cores.
        Step::check("components", 50, build_cluster),
        clippy(&["--workspace"]),
        doc(&["--workspace"]),
        Step::check("build", 30, |session| build_programs(session, false)),
        Step::check("plugins", 15, |session| {
            let artefacts = Artefacts::of(session, false);
            build_plugins(session, &artefacts)
        })
        .needs(&["build"]),
        Step::check("fixtures", 20, |session| {
            // The committed modules against a rebuild, and the SDK's bindings against the contract.
            for arguments in [&["check"][..], &["bindings", "--check"]] {
                let mut command = Command::new(cargo());
                command
                    .args(["run", "--locked", "--quiet", "-p", "bellhop-test-guests", "--"])
                    .args(arguments);
                session.run(&mut command)?;
            }
            Ok(())
        })
        .needs(&["plugins"]),
        Step::check("test-build", 30, |session| {
            session.suites = suites::build(session, ALL_BUT_THE_COMPILER)?;
            Ok(())
        }),
        Step::tests("test", 20, |session| {
            let environment = Artefacts::of(session, false).environment();
            let own_step = [LAB, CLUSTER, CRDS, CHART];
            let elsewhere = |suite: &&suites::Suite| own_step.contains(&suite.package.as_str());
            let host: Vec<_> = session.suites.iter().filter(|suite| !elsewhere(suite)).cloned().collect();
            suites::run(session, &host, &environment).map(Some)
        })
        .needs(&["build", "plugins", "test-build"]),
        doc_tests(ALL_BUT_THE_COMPILER),
        Step::tests("compiler", 20, |session| {
            let environment = Artefacts::of(session, false).environment();
            let compiler = suites::build(session, THE_COMPILER)?;
            suites::run(session, &compiler, &environment).map(Some)
        })
        .needs(&["build"]),
        Step::tests("lab", 30, |session| {
            let environment = Artefacts::of(session, false).environment();
            let lab: Vec<_> = session.suites.iter().filter(|suite| suite.package == LAB).cloned().collect();
            suites::run(session, &lab, &environment).map(Some)
        })
        .needs(&["build", "plugins", "test-build"]),
        Step::tests("cluster", 10, |session| {
            let found: Vec<_> =
                session.suites.iter().filter(|suite| suite.package == CLUSTER).cloned().collect();
            suites::run(session, &found, &[]).map(Some)
        })
        .needs(&["components", "test-build"]),
        Step::tests("crds", 5, |session| {
            let environment = Artefacts::of(session, false).environment();
            let found: Vec<_> =
                session.suites.iter().filter(|suite| suite.package == CRDS).cloned().collect();
            suites::run(session, &found, &environment).map(Some)
        })
        .needs(&["build", "components", "test-build"]),
        Step::tests("chart", 10, |session| {
            let found: Vec<_> =
                session.suites.iter().filter(|suite| suite.package == CHART).cloned().collect();
            suites::run(session, &found, &[]).map(Some)
        })
        .needs(&["components", "test-build"]),
        Step::check("image", 5, |session| {
            let programs = Artefacts::of(session, false).programs;
            image::run(&["--programs", &programs.to_string_lossy()]).map(drop)
        })
        .needs(&["build"]),
        Step::tests("e2e", 20, |session| {
            let mut command = e2e::cases(session);
            suites::run_program(session, command.arg("--short")).map(Some)
        })
        .needs(&["components", "image", "plugins"]),
    ]
}

fn fmt() -> Step {
    Step::check("fmt", 2, |session| session.run(Command::new(cargo()).args(["fmt", "--all", "--check"])))
}

/// The rules about the source tree: arrows, manifests, unsafe code, words, the page of BGP cases.
fn tree() -> Step {
    Step::check("rules", 2, |session| {
        let broken = broken_rules(session)?;
        broken.iter().for_each(|sentence| session.say(sentence));
        match broken.len() {
            0 => Ok(()),
            count => bail!("{count} broken rules"),
        }
    })
}

/// One sentence for each rule that the tree breaks.
pub(crate) fn broken_rules(session: &Session) -> Result<Vec<String>> {
    let mut broken = arrows::broken(&session.metadata);
    broken.extend(arrows::cranelift_outside_the_compiler(&session.metadata)?);
    broken.extend(rules::broken(&session.metadata)?);
    Ok(broken)
}

fn deny(program: PathBuf) -> Step {
    Step::check("deny", 5, move |session| {
        let mut command = Command::new(program);
        command.args(["--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
        session.run(&mut command)
    })
}

/// cargo-deny as `make setup` installed it, else one on the path.
fn cargo_deny() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(".tools/bin").to_owned();
    std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("cargo-deny"))
        .find(|program| program.is_file())
        .and_then(|program| program.canonicalize().ok())
}

fn clippy(selection: &'static [&'static str]) -> Step {
    Step::check("clippy", 30, move |session| {
        let mut command = Command::new(cargo());
        command
            .args(["clippy", "--locked", "--keep-going", "--all-targets"])
            .args(selection)
            .args(["--", "-D", "warnings"]);
        session.run(&mut command)
    })
}

fn doc(selection: &'static [&'static str]) -> Step {
    Step::check("doc", 15, move |session| {
        let mut command = Command::new(cargo());
        command
            .args(["doc", "--locked", "--keep-going", "--no-deps"])
            .args(selection)
            .env("RUSTDOCFLAGS", "-D warnings");
        session.run(&mut command)
    })
}

fn doc_tests(selection: &'static [&'static str]) -> Step {
    Step::tests("test-doc", 10, move |session| suites::run_doc_tests(session, selection).map(Some))
        .needs(&["test-build"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_names_a_step_that_runs_before() {
        for steps in [check(), test()] {
            let mut before: Vec<&str> = Vec::new();
            for step in &steps {
                for need in step.needed() {
                    assert!(
                        before.contains(need),
                        "step {} needs {need}, which does not run before it",
                        step.name()
                    );
                }
                assert!(!before.contains(&step.name()), "two steps are called {}", step.name());
                before.push(step.name());
            }
        }
    }

    #[test]
    fn everything_that_check_looks_at_test_looks_at_too() {
        let all = test();
        for step in check() {
            assert!(
                all.iter().any(|other| other.name() == step.name()),
                "make test lacks step {}",
                step.name()
            );
        }
    }
}
