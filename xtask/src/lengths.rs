//! How long the source files are: a report, not a rule.
//!
//! CONTRIBUTING.md asks for a median of 150 to 250 lines, nine in ten under 600, and a second look at 800.

use anyhow::Result;

use crate::metadata::Metadata;
use crate::rules::{place, read, sources};

/// Files longer than this are listed.
const LOOK_TWICE: usize = 600;

/// The report on every Rust file of the tree.
pub(crate) fn report(metadata: &Metadata) -> Result<String> {
    let root = metadata.workspace_root.as_path();
    let mut lengths = Vec::new();
    for file in sources(root, &["rs"])? {
        lengths.push((read(&file)?.lines().count(), place(&file, root)));
    }
    Ok(describe(lengths))
}

/// Median, ninth decile and the long ones of `(lines, file)`.
fn describe(mut lengths: Vec<(usize, String)>) -> String {
    lengths.sort();
    let at =
        |tenths: usize| lengths.get((lengths.len().max(1) - 1) * tenths / 10).map_or(0, |(lines, _)| *lines);
    let total: usize = lengths.iter().map(|(lines, _)| lines).sum();
    let mut report = format!(
        "{} Rust files, {total} lines; median {}, nine in ten up to {}\n",
        lengths.len(),
        at(5),
        at(9)
    );
    for (lines, file) in lengths.iter().rev().take_while(|(lines, _)| *lines > LOOK_TWICE) {
        report.push_str(&format!("{lines:>6}  {file}\n"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_listed_longest_first() {
        let lengths = [(10, "a"), (700, "b"), (200, "c"), (900, "d"), (600, "e")];
        let report = describe(lengths.map(|(lines, file)| (lines, file.to_owned())).to_vec());
        assert_eq!(
            report,
            "5 Rust files, 2410 lines; median 600, nine in ten up to 700\n   900  d\n   700  b\n"
        );
    }

    #[test]
    fn an_empty_tree_has_a_report() {
        assert_eq!(describe(Vec::new()), "0 Rust files, 0 lines; median 0, nine in ten up to 0\n");
    }
}
