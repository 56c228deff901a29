//! The table against the tests, and as a page: `docs/reference/interop.md`, which `make interop` writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::netns::said;
use crate::router::Program;
use crate::table::{SCENARIOS, Scenario};

/// Set by `make interop`: a file with a line for each test, `frr::NAME ok` or `frr::NAME FAILED`. The page is then written.
const RESULTS: &str = "BELLHOP_INTEROP_RESULTS";

const HEAD: &str = "<!-- Generated from host/speaker/tests/bgp_interop; `make interop` writes it again. -->

# Interoperation: five implementations of BGP

Bellhop's speaker against five implementations of BGP as Debian 12 has them. Each cell of the table is a test in \
`host/speaker/tests/bgp_interop`,
in two network namespaces of its own with the real program in one of them; `make test` runs all of them, `make interop` them alone.
";

/// What begins the line of the page with the versions; they change with Debian's updates.
const VERSIONS: &str = "| version |";

fn page_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/interop.md")
}

fn version(program: Program) -> String {
    said(Command::new("dpkg-query").args(["-W", "-f", "${Version}", program.package()]))
}

/// A row of cells, one for each implementation.
fn row(first: &str, cell: impl Fn(Program) -> String) -> String {
    let cells: String = Program::ALL.iter().map(|program| format!(" {} |", cell(*program))).collect();
    format!("| {first} |{cells}\n")
}

/// The table with these words in its cells, and the reasons below it.
fn matrix(cell: impl Fn(&Scenario, Program) -> &'static str) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    let mut rows = String::new();
    for scenario in SCENARIOS {
        let lacking = Program::ALL.iter().filter_map(|program| scenario.lacks(*program));
        for why in lacking {
            if !reasons.contains(&why) {
                reasons.push(why);
            }
        }
        rows += &row(scenario.shows, |program| match scenario.lacks(program) {
            Some(why) => {
                let number = reasons.iter().position(|reason| *reason == why).unwrap() + 1;
                format!("not applicable ({number})")
            }
            None => cell(scenario, program).to_owned(),
        });
    }
    let mut table = row("", |program| program.title().to_owned());
    table += "|---|---|---|---|---|---|\n";
    table += &row(VERSIONS.trim_matches(['|', ' ']), version);
    table += &rows;
    table += "\nNot applicable, because:\n\n";
    for (number, why) in reasons.iter().enumerate() {
        table += &format!("{}. {why}.\n", number + 1);
    }
    table
}

fn page() -> String {
    format!("{HEAD}\n{}", matrix(|_, _| "ok"))
}

#[test]
fn every_cell_of_the_table_has_a_test_or_a_reason() {
    let listed = said(Command::new(std::env::current_exe().unwrap()).arg("--list"));
    let mut tests: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| !name.starts_with("page::"))
        .collect();
    let all =
        Program::ALL.iter().flat_map(|program| SCENARIOS.iter().map(move |scenario| (scenario, *program)));
    let mut cells: Vec<String> = all
        .filter(|(scenario, program)| scenario.lacks(*program).is_none())
        .map(|(scenario, program)| format!("{}::{}", program.module(), scenario.test))
        .collect();
    tests.sort_unstable();
    cells.sort_unstable();
    assert_eq!(tests, cells);
}

#[test]
fn the_page_is_what_the_table_says() {
    if let Some(results) = std::env::var_os(RESULTS) {
        return write(&std::fs::read_to_string(results).unwrap());
    }
    let without_versions = |page: &str| -> Vec<String> {
        page.lines().filter(|line| !line.starts_with(VERSIONS)).map(str::to_owned).collect()
    };
    let found = std::fs::read_to_string(page_file()).unwrap_or_default();
    let told = "docs/reference/interop.md is not what the table says; run `make interop`";
    assert_eq!(without_versions(&found), without_versions(&page()), "{told}");
}

/// Shows what came out, and writes the page where that is what it says.
fn write(results: &str) {
    let results: BTreeMap<&str, &str> = results.lines().filter_map(|line| line.split_once(' ')).collect();
    let outcome = |scenario: &Scenario, program: Program| {
        let name = format!("{}::{}", program.module(), scenario.test);
        match results.get(name.as_str()) {
            Some(&"ok") => "ok",
            Some(_) => "FAILED",
            None => "not run",
        }
    };
    let shown = matrix(outcome);
    println!("{shown}");
    assert_eq!(shown, matrix(|_, _| "ok"), "not every cell is ok; the page stays as it is");
    std::fs::write(page_file(), page()).unwrap();
}
