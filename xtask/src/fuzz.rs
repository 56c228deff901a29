//! `make fuzz`: libFuzzer on the protocol machines, and a table of what came of it.
//!
//! The fuzzers are a workspace of their own, built by the same toolchain as all else: what libFuzzer needs of the compiler is
//! LLVM's coverage pass, which is no nightly feature. A sanitizer of addresses is left out, as the machines forbid unsafe code.
//!
//! What a run learns stays below the target folder and is where the next one begins. What breaks a rule is written to the same
//! place; once mended it belongs into the corpus beside the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::metadata::cargo;
use crate::step::Session;

/// A fuzzer, and the corpus that is committed and run by the tests.
const FUZZERS: [(&str, &str); 3] = [
    ("bgp_machine", "host/bgp/tests/fuzzed/corpus/machine"),
    ("bgp_negotiation", "host/bgp/tests/fuzzed/corpus/negotiation"),
    ("bfd_table", "host/bfd/tests/fuzzed/corpus/table"),
];

/// The workspace of the fuzzers.
const WORKSPACE: &str = "fuzz";

/// How long each runs where `FUZZ_SECONDS` does not say otherwise.
const SECONDS: u64 = 60;

/// LLVM's coverage as libFuzzer reads it.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// libFuzzer's own bounds: longest input, seconds for one, and memory of all in MB.
const BOUNDS: [&str; 3] = ["-max_len=9000", "-timeout=10", "-rss_limit_mb=512"];

/// What a fuzzer said of its run.
#[derive(Debug, PartialEq, Eq, Default)]
struct Report {
    runs: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    /// Inputs of which each reaches what no other does.
    corpus: u64,
    /// Files with an input that broke a rule.
    crashes: Vec<String>,
}

impl Report {
    fn line(&mut self, line: &str) {
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or_default();
        }
        if let Some(file) = line.split_once("Test unit written to ").map(|(_, file)| file) {
            self.crashes.push(file.trim().to_owned());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |key: &str| {
            let at = words.iter().position(|word| *word == key)?;
            words.get(at + 1)?.split('/').next()?.parse().ok()
        };
        if line.starts_with('#') {
            self.coverage = after("cov:").unwrap_or(self.coverage);
            self.corpus = after("corp:").unwrap_or(self.corpus);
        }
    }
}

/// Builds and runs every fuzzer; true where none found anything.
pub(crate) fn run() -> Result<bool> {
    let mut session = Session::new()?;
    let seconds = match std::env::var("FUZZ_SECONDS") {
        Ok(text) => text.parse().with_context(|| format!("FUZZ_SECONDS={text:?} is no number of seconds"))?,
        Err(_) => SECONDS,
    };
    let root = session.metadata.workspace_root.clone();
    let target = session.metadata.target_directory.join("fuzz");
    let programs = build(&mut session, &root, &target)?;
    let mut reports = Vec::new();
    for (name, corpus) in FUZZERS {
        let learnt = target.join("learnt").join(name);
        let crashes = target.join("crashes").join(name);
        for folder in [&learnt, &crashes] {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let mut command = Command::new(programs.join(name));
        command.arg(&learnt).arg(root.join(corpus)).args(BOUNDS);
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/", crashes.display()));
        let mut report = Report::default();
        let status = session.run_with(&mut command, |line| {
            report.line(line);
            line.contains("panicked at") || line.starts_with("SUMMARY")
        })?;
        if !status.success() && report.crashes.is_empty() {
            report.crashes.push(format!("{name} ended with {status}"));
        }
        reports.push((name, report));
    }
    session.say(&table(&reports));
    Ok(reports.iter().all(|(_, report)| report.crashes.is_empty()))
}

/// Builds the fuzzers; the answer is the folder of the programs.
fn build(session: &mut Session, root: &Path, target: &Path) -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args(["build", "--release", "--locked"]).current_dir(root.join(WORKSPACE));
    // Named, so that build scripts and macros, which are of this machine too, are built without coverage.
    let triple = host()?;
    command.args(["--target", &triple]).arg("--target-dir").arg(target);
    command.env("RUSTFLAGS", COVERAGE.join(" "));
    session.run(&mut command)?;
    Ok(target.join(triple).join("release"))
}

/// The triple of this machine.
fn host() -> Result<String> {
    let told = Command::new("rustc").arg("-vV").output().context("run rustc -vV")?;
    let told = String::from_utf8_lossy(&told.stdout);
    let host =
        told.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV tells no host")?;
    Ok(host.to_owned())
}

fn table(reports: &[(&str, Report)]) -> String {
    let mut lines =
        vec![format!("{:<18}{:>12}{:>10}{:>8}{:>9}", "fuzzer", "runs", "coverage", "corpus", "crashes")];
    for (name, report) in reports {
        let Report { runs, coverage, corpus, crashes } = report;
        lines.push(format!("{name:<18}{runs:>12}{coverage:>10}{corpus:>8}{:>9}", crashes.len()));
        lines.extend(crashes.iter().map(|file| format!("  {file}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_what_libfuzzer_says() {
        let mut report = Report::default();
        for line in [
            "#2\tINITED cov: 120 ft: 200 corp: 3/90b exec/s: 0 rss: 40Mb",
            "#4096\tNEW    cov: 512 ft: 900 corp: 41/2Kb lim: 60 exec/s: 2048 rss: 41Mb L: 33/60 MS: 1 CopyPart-",
            "artifact_prefix='/t/'; Test unit written to /t/crash-0a",
            "stat::number_of_executed_units: 4097",
        ] {
            report.line(line);
        }
        let crashes = vec!["/t/crash-0a".to_owned()];
        assert_eq!(report, Report { runs: 4097, coverage: 512, corpus: 41, crashes });
        let shown = table(&[("bgp_machine", report)]);
        assert!(
            shown.ends_with("bgp_machine               4097       512      41        1\n  /t/crash-0a"),
            "{shown}"
        );
    }

    #[test]
    fn every_corpus_is_there_and_has_inputs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
        for (name, corpus) in FUZZERS {
            let files = std::fs::read_dir(root.join(corpus)).expect("a corpus").count();
            assert!(files >= 10, "{name} begins with {files} inputs");
            assert!(root.join(WORKSPACE).join(format!("src/bin/{name}.rs")).exists(), "{name} is no fuzzer");
        }
    }
}
