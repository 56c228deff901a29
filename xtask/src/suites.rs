//! Test programs: found in what cargo says while it builds them, run one by one.
//!
//! Cargo builds all of them in one go, with one set of features, and this tool runs them itself. `cargo test -p` once
//! for each part would choose other features for shared dependencies and build those again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::metadata::cargo;
use crate::step::Session;
use crate::tally::{Reader, Tally};

/// A test program whose tests mostly wait for timers of routers: more of them run at once than there are processors.
const WAITS: &str = "bellhop-speaker::bgp_interop";
/// How many. Each has its own namespaces; more of them would make a small machine late for BFD.
const WAITERS: &str = "8";

/// One test program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suite {
    /// The package it belongs to.
    pub package: String,
    /// `package` for unit tests, `package::name` for an integration test.
    pub name: String,
    /// The program.
    pub executable: PathBuf,
    /// The package's folder, where cargo would run it.
    pub folder: PathBuf,
}

impl Suite {
    /// The program as cargo would run it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO", cargo());
        if self.name == WAITS {
            command.env("RUST_TEST_THREADS", WAITERS);
        }
        command
    }
}

/// A message of `cargo --message-format json`, as far as it matters.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    manifest_path: Option<PathBuf>,
    target: Option<MessageTarget>,
    profile: Option<MessageProfile>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct MessageTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MessageProfile {
    test: bool,
}

/// Builds the test programs of the packages that `selection` names (as arguments of cargo).
pub(crate) fn build(session: &mut Session, selection: &[&str]) -> Result<Vec<Suite>> {
    let names: HashMap<String, String> =
        session.metadata.ours().into_iter().map(|p| (p.id.clone(), p.name.clone())).collect();
    let mut command = Command::new(cargo());
    command
        .args(["test", "--locked", "--no-run", "--message-format", "json-render-diagnostics"])
        .args(selection);
    let mut suites = Vec::new();
    let status = session.run_with(&mut command, |line| {
        if !line.starts_with("{\"reason\":") {
            return true;
        }
        suites.extend(suite(line, &names));
        false
    })?;
    if !status.success() {
        bail!("the tests do not build: cargo ended with {status}");
    }
    suites.sort_by(|a: &Suite, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(suites)
}

/// The test program that a message of cargo announces, if it does.
fn suite(line: &str, names: &HashMap<String, String>) -> Option<Suite> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let package = names.get(&message.package_id?)?.clone();
    let name = match target.kind.iter().any(|kind| kind == "test") {
        true => format!("{package}::{}", target.name),
        false => package.clone(),
    };
    let folder = message.manifest_path?.parent()?.to_owned();
    Some(Suite { package, name, executable: message.executable?, folder })
}

/// Runs test programs one after the other and sums what they say.
pub(crate) fn run(session: &mut Session, suites: &[Suite], environment: &[(&str, PathBuf)]) -> Result<Tally> {
    let mut total = Tally::default();
    for suite in suites {
        session.say(&format!("--- {}", suite.name));
        let mut command = suite.command();
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        total.add(count(session, &mut command, &suite.name));
    }
    Ok(total)
}

/// Runs a program that reports as cargo's test harness does.
pub(crate) fn run_program(session: &mut Session, command: &mut Command) -> Result<Tally> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(count(session, command, &name))
}

/// Runs a test program and counts what it says; one that does not start or ends badly has failed.
fn count(session: &mut Session, command: &mut Command, name: &str) -> Tally {
    let mut reader = Reader::new(name);
    let ended = session.run_with(command, |line| {
        reader.line(line);
        // Passed tests are in the count; what is shown is what somebody has to look at.
        !(line.starts_with("test ") && line.ends_with(" ... ok") || line.is_empty())
    });
    let (success, how) = match ended {
        Ok(status) => (status.success(), status.to_string()),
        Err(error) => (false, format!("{error:#}")),
    };
    reader.finish(success, &how)
}

/// Runs the documentation's examples of the packages that `selection` names.
pub(crate) fn run_doc_tests(session: &mut Session, selection: &[&str]) -> Result<Tally> {
    let mut command = Command::new(cargo());
    command.args(["test", "--locked", "--doc"]).args(selection);
    let mut reader = Reader::new("documentation");
    let status = session.run_with(&mut command, |line| {
        reader.line(line);
        true
    });
    let status = status.context("run the documentation's examples")?;
    Ok(reader.finish(status.success(), &status.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HashMap<String, String> {
        HashMap::from([("path+file:///w/host/bgp#0.1.0".to_owned(), "bellhop-bgp".to_owned())])
    }

    fn message(kind: &str, name: &str, test: bool) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/host/bgp#0.1.0",
               "manifest_path":"/w/host/bgp/Cargo.toml","target":{{"name":"{name}","kind":["{kind}"]}},
               "profile":{{"test":{test}}},"executable":"/t/debug/deps/{name}-1"}}"#
        )
    }

    #[test]
    fn unit_tests_are_named_after_the_package_and_others_after_their_file() {
        let unit = suite(&message("lib", "bellhop_bgp", true), &names()).expect("a suite");
        assert_eq!(unit.name, "bellhop-bgp");
        assert_eq!(unit.folder, PathBuf::from("/w/host/bgp"));
        let other = suite(&message("test", "simulation", true), &names()).expect("a suite");
        assert_eq!(other.name, "bellhop-bgp::simulation");
    }

    #[test]
    fn programs_that_are_not_tests_and_packages_that_are_not_ours_are_left_alone() {
        assert_eq!(suite(&message("bin", "bellhop_bgp", false), &names()), None);
        assert_eq!(suite(&message("lib", "bellhop_bgp", true), &HashMap::new()), None);
        assert_eq!(suite(r#"{"reason":"build-finished","success":true}"#, &names()), None);
    }
}
