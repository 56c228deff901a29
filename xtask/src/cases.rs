//! The catalogue of BGP cases, and which test proves each: `docs/reference/bgp-cases.md`.
//!
//! A test says by a comment right above its attribute what it proves, `// case: bgp-23, bgp-24`; an end-to-end case says it
//! right above its entry in the table of cases. The page is made of these comments and of [`catalogue`], committed, and compared by
//! the step `rules`.

mod catalogue;

use std::path::Path;

use anyhow::Result;

use crate::rules::{place, read, sources};
use catalogue::CATALOGUE;

/// The page.
pub(crate) const PAGE: &str = "docs/reference/bgp-cases.md";
/// Where tests are.
const FOLDERS: [&str; 2] = ["host/", "tests/"];
/// How a comment begins that names cases.
const MARK: &str = "// case:";
/// What such a comment stands above.
const ATTRIBUTES: [&str; 3] = ["#[test]", "#[tokio::test", "Case {"];

/// The layer of a test by a part of its path; the first that is found counts.
const LAYERS: [(&str, &str); 14] = [
    ("simulation", "simulation"),
    ("loopback", "loopback"),
    ("torture", "loopback"),
    ("frr", "lab: FRR"),
    ("bird", "lab: BIRD"),
    ("gobgp", "lab: GoBGP"),
    ("exabgp", "lab: ExaBGP"),
    ("openbgpd", "lab: OpenBGPD"),
    ("tests/e2e/", "lab: cluster"),
    // Both have FRR as their router.
    ("tests/lab/", "lab: FRR"),
    ("tests/benches/", "lab: FRR"),
    ("host/net/tests/", "lab: kernel"),
    ("host/bellhop/tests/", "process"),
    ("host/", "unit"),
];

/// In which order the page has the tests of a case; those of the lab come last.
const ORDER: [&str; 4] = ["unit", "simulation", "loopback", "process"];

/// One case of the catalogue.
#[derive(Debug)]
struct Case {
    /// `bgp-N`, or `peers-N` for a row of the acceptance tests of other load balancers.
    id: &'static str,
    /// The layers at which it has to be shown: whole names, or `lab` for any of the lab's.
    at: &'static [&'static str],
    /// What it proves.
    proves: &'static str,
    /// Why Bellhop decides otherwise, if it does: then no test proves it.
    otherwise: Option<&'static str>,
}

/// A test that says what it proves.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Test {
    layer: &'static str,
    /// Relative to the root.
    file: String,
    name: String,
    cases: Vec<String>,
}

/// Rewrites the page, unless a comment is wrong: then one sentence for each.
pub(crate) fn write(root: &Path) -> Result<Vec<String>> {
    let (tests, broken) = look(root)?;
    if broken.is_empty() {
        std::fs::write(root.join(PAGE), page(CATALOGUE, &tests))?;
    }
    Ok(broken)
}

/// One sentence for each comment that is wrong, and one if the page is not what the comments give.
pub(crate) fn broken(root: &Path) -> Result<Vec<String>> {
    let (tests, mut broken) = look(root)?;
    // A page that is missing differs too.
    let found = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    broken.extend(differs(&found, &page(CATALOGUE, &tests)));
    Ok(broken)
}

fn differs(found: &str, wanted: &str) -> Option<String> {
    let at = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let at = at.unwrap_or_else(|| found.lines().count().min(wanted.lines().count())) + 1;
    (found != wanted).then(|| {
        format!("{PAGE}:{at}: is not what the tests say of themselves; run `cargo run -p xtask -- cases`")
    })
}

/// The tests of the tree that name cases, sorted, and a sentence for each comment that is wrong.
fn look(root: &Path) -> Result<(Vec<Test>, Vec<String>)> {
    let (mut tests, mut broken) = (Vec::new(), Vec::new());
    for path in sources(root, &["rs"])? {
        let file = place(&path, root);
        if FOLDERS.iter().any(|folder| file.starts_with(folder)) {
            let (found, wrong) = scan(&file, &read(&path)?);
            tests.extend(found);
            broken.extend(wrong);
        }
    }
    tests.sort_by_key(|test| {
        let rank = ORDER.iter().position(|layer| *layer == test.layer).unwrap_or(ORDER.len());
        (rank, test.layer, test.file.clone(), test.name.clone())
    });
    broken.extend(contradictions(CATALOGUE, &tests));
    Ok((tests, broken))
}

/// The tests of a file that name cases, and a sentence for each comment that stands nowhere or names nothing.
fn scan(file: &str, text: &str) -> (Vec<Test>, Vec<String>) {
    let (mut tests, mut broken) = (Vec::new(), Vec::new());
    let mut named: Vec<String> = Vec::new();
    let mut lines = text.lines().map(str::trim).enumerate();
    while let Some((at, line)) = lines.next() {
        if let Some(list) = line.strip_prefix(MARK) {
            named.extend(list.split(',').map(|id| id.trim().to_owned()));
            continue;
        }
        if named.is_empty() {
            continue;
        }
        let cases = std::mem::take(&mut named);
        let stands_above_a_test = ATTRIBUTES.iter().any(|attribute| line.starts_with(attribute));
        match stands_above_a_test.then(|| lines.by_ref().find_map(|(_, line)| name(line))).flatten() {
            Some(name) => tests.push(Test { layer: layer(file), file: file.to_owned(), name, cases }),
            None => broken.push(format!("{file}:{at}: `{MARK}` stands right above no test")),
        }
    }
    if !named.is_empty() {
        broken.push(format!("{file}: `{MARK}` stands right above no test"));
    }
    (tests, broken)
}

/// The name of a test, if the line gives it: that of its function, or of an entry of the end-to-end cases.
fn name(line: &str) -> Option<String> {
    let function = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
    let entry = line.strip_prefix("name: \"").and_then(|rest| rest.split_once('"'));
    function.or(entry).map(|(name, _)| name.to_owned())
}

fn layer(file: &str) -> &'static str {
    LAYERS.iter().find(|(part, _)| file.contains(part)).map_or("lab", |(_, layer)| layer)
}

/// One sentence for each name that is in no catalogue, and for each case that is decided otherwise and proven all the same.
fn contradictions(catalogue: &[(&str, &[Case])], tests: &[Test]) -> Vec<String> {
    let known = |id: &str| catalogue.iter().flat_map(|(_, cases)| *cases).find(|case| case.id == id);
    let mut broken = Vec::new();
    for test in tests {
        for id in &test.cases {
            let told = format!("{}: {} says that it proves {id:?}", test.file, test.name);
            match known(id) {
                None => {
                    broken.push(format!("{told}, and there is no such case in xtask/src/cases/catalogue.rs"))
                }
                Some(Case { otherwise: Some(_), .. }) => {
                    broken.push(format!(
                        "{told}, and xtask/src/cases/catalogue.rs that it is decided otherwise"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    broken
}

/// A test at this layer shows what has to be shown there.
fn reaches(layer: &str, wanted: &str) -> bool {
    layer == wanted || layer.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
}

/// How far a case is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Proven,
    /// Some test proves it, and not at every layer.
    Partly,
    Otherwise,
    Open,
}

const HEAD: &str = "<!-- Generated from the tests' comments; `cargo run -p xtask -- cases` writes it again. -->

# BGP: the cases, and the tests that prove them

What is expected of a BGP speaker that announces Services, case by case. `bgp-N` are the cases of the protocol, `peers-N` the
behaviours that MetalLB's own end-to-end tests cover, by their rows.

A test names its cases in a comment right above it, `// case: bgp-23, bgp-24`. `make check` fails where a comment names a case that
there is not, where a case that is decided otherwise has a test, and where this page is not what the comments say.

| layer | what is real |
|---|---|
| unit | nothing: the machine or the plan alone |
| simulation | nothing: two machines in virtual time, all octets really written and read |
| loopback | the driver and its sockets; the neighbour is scripted |
| process | the program, with files for an API |
| lab | the kernel, the router that is named, or a whole cluster (whose router is FRR) |
";

/// The page that a catalogue and tests make.
fn page(catalogue: &[(&str, &[Case])], tests: &[Test]) -> String {
    let mut body = String::new();
    let mut standings = Vec::new();
    for (title, cases) in catalogue {
        body.push_str(&format!(
            "\n## {title}\n\n| case | what it proves | layer | test |\n|---|---|---|---|\n"
        ));
        for case in *cases {
            let proofs: Vec<&Test> =
                tests.iter().filter(|test| test.cases.iter().any(|id| id == case.id)).collect();
            let (rows, standing) = rows(case, &proofs);
            body.push_str(&rows);
            standings.push((case.id, standing));
        }
    }
    let of = |wanted: Standing| -> Vec<&str> {
        standings.iter().filter(|(_, standing)| *standing == wanted).map(|(id, _)| *id).collect()
    };
    let mut page = HEAD.to_owned();
    page.push_str(&format!("\nOf {} cases {} are proven.\n", standings.len(), of(Standing::Proven).len()));
    for (what, standing) in [
        ("proven, but not at every layer", Standing::Partly),
        ("decided otherwise", Standing::Otherwise),
        ("open", Standing::Open),
    ] {
        let ids = of(standing);
        if !ids.is_empty() {
            page.push_str(&format!("\n{} {what}:\n{}.\n", ids.len(), folded(&ids)));
        }
    }
    page + &body
}

/// Names with commas, in lines that are not too long.
fn folded(names: &[&str]) -> String {
    let mut text = String::new();
    for (number, name) in names.iter().enumerate() {
        let line = text.lines().last().unwrap_or_default();
        if number > 0 {
            text.push_str(if line.len() + name.len() > 110 { ",\n" } else { ", " });
        }
        text.push_str(name);
    }
    text
}

/// The rows of one case: one for each test, and one for what is missing.
fn rows(case: &Case, proofs: &[&Test]) -> (String, Standing) {
    let Case { id, proves, .. } = case;
    if let Some(why) = case.otherwise {
        return (format!("| {id} | {proves} | decided otherwise | {why} |\n"), Standing::Otherwise);
    }
    let missing: Vec<&str> = case
        .at
        .iter()
        .filter(|wanted| !proofs.iter().any(|test| reaches(test.layer, wanted)))
        .copied()
        .collect();
    let mut cells: Vec<(&str, String)> =
        proofs.iter().map(|test| (test.layer, format!("[`{}`](../../{})", test.name, test.file))).collect();
    cells.extend(missing.iter().map(|layer| (*layer, "**open**".to_owned())));
    let mut rows = String::new();
    for (number, (layer, cell)) in cells.iter().enumerate() {
        let (id, proves) = if number == 0 { (*id, *proves) } else { ("", "") };
        rows.push_str(&format!("| {id} | {proves} | {layer} | {cell} |\n"));
    }
    let standing = match (proofs.is_empty(), missing.is_empty()) {
        (true, _) => Standing::Open,
        (false, true) => Standing::Proven,
        (false, false) => Standing::Partly,
    };
    (rows, standing)
}

#[cfg(test)]
mod tests;
