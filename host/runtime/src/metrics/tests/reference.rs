//! `docs/reference/metrics.md` is what the table gives.

use std::fmt::Write;
use std::path::PathBuf;

use super::*;

const HEAD: &str = "<!-- Generated from host/runtime; run its tests with BELLHOP_WRITE_METRICS=1 to write it again. -->

# Metrics

What Bellhop exposes on `/metrics`, by form. How to scrape it, and the alerts and the dashboard over it, are in
[observability](../observability.md).

Values without a unit in their name are numbers. A metric that has nothing to say yet is not exposed. Histograms have the
buckets ";

/// The page, from the table alone.
fn page() -> String {
    let buckets: Vec<String> = BUCKETS.iter().map(f64::to_string).collect();
    let mut page = format!("{HEAD}{} (seconds).\n", buckets.join(", "));
    let mut group = "";
    for declared in TABLE {
        if declared.group != group {
            group = declared.group;
            let forms: Vec<&str> = declared.forms.iter().map(|form| form.as_str()).collect();
            let _ = write!(page, "\n## {group}\n\nOf {}.\n\n", forms.join(", "));
            page += "| metric | type | labels | what it says |\n|---|---|---|---|\n";
        }
        let labels: Vec<String> = declared.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}. |",
            declared.name,
            declared.kind.as_str(),
            labels.join(", "),
            declared.help
        );
    }
    page += "\n## Labels\n\n| label | values |\n|---|---|\n";
    let mut seen = BTreeSet::new();
    for label in TABLE.iter().flat_map(|declared| declared.labels) {
        let values = match label.values {
            Domain::OneOf(values) => {
                values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
            }
            Domain::Described(words) => words.to_owned(),
        };
        if seen.insert((label.name, values.clone())) {
            let _ = writeln!(page, "| `{}` | {values} |", label.name);
        }
    }
    page
}

#[test]
fn the_committed_reference_of_metrics_is_the_generated_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("BELLHOP_WRITE_METRICS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page(),
        "docs/reference/metrics.md is not what the table gives; run `BELLHOP_WRITE_METRICS=1 cargo test -p bellhop-runtime`"
    );
}
