//! `make interop`: the speaker against other implementations of BGP, as a table and as `docs/reference/interop.md`.
//!
//! The test program knows the table and writes the page; here its tests are run and their outcomes handed to it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::artefacts::ALL_BUT_THE_COMPILER;
use crate::step::Session;
use crate::suites;

/// The test program.
const TESTS: &str = "bgp_interop";
/// Its test that shows the table, and writes the page where every cell is as it should be.
const PAGE: &str = "page::the_page_is_what_the_table_says";
/// The file with the outcomes, for that test.
const RESULTS: &str = "BELLHOP_INTEROP_RESULTS";

/// Runs the tests and shows the table.
pub(crate) fn run() -> Result<ExitCode> {
    let mut session = Session::new()?;
    let selection = [ALL_BUT_THE_COMPILER, &["--test", TESTS]].concat();
    let built = suites::build(&mut session, &selection)?;
    let suite = built.first().with_context(|| format!("there is no test program {TESTS}"))?;

    let mut outcomes = String::new();
    session.run_with(suite.command().args(["--skip", "page::"]), |line| {
        if let Some(outcome) = outcome(line) {
            outcomes.push_str(&outcome);
        }
        true
    })?;
    let results = session.metadata.target_directory.join("interop-results");
    std::fs::write(&results, outcomes).with_context(|| format!("write {}", results.display()))?;
    let mut page = suite.command();
    page.args(["--exact", PAGE, "--nocapture"]).env(RESULTS, &results);
    let status = page.status().context("run the test of the page")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `NAME ok` or `NAME FAILED` of a line in which libtest says how a test went.
fn outcome(line: &str) -> Option<String> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    matches!(outcome, "ok" | "FAILED").then(|| format!("{name} {outcome}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_tests_have_an_outcome() {
        assert_eq!(outcome("test bird::it_works ... ok").as_deref(), Some("bird::it_works ok\n"));
        assert_eq!(outcome("test bird::it_works ... FAILED").as_deref(), Some("bird::it_works FAILED\n"));
        assert_eq!(outcome("test result: FAILED. 1 passed; 1 failed"), None);
        assert_eq!(outcome("running 67 tests"), None);
    }
}
