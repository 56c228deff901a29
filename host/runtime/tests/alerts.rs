//! The chart's alerts and dashboard against the metrics that there are, and the alerts against promtool (Debian's package
//! `prometheus`).

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bellhop_runtime::metrics::{Kind, TABLE};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every alert of the rule file.
fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("charts/bellhop/files/alerts.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// Names of metrics that an expression may use: histograms by their parts.
fn exposed() -> BTreeSet<String> {
    TABLE
        .iter()
        .flat_map(|declared| match declared.kind {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", declared.name)).to_vec()
            }
            Kind::Counter | Kind::Gauge => vec![declared.name.to_owned()],
        })
        .collect()
}

/// What looks like a metric of ours in an expression.
fn used(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("bellhop_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Every label that an expression names in braces exists on one of the metrics of its expression, or comes from scraping.
fn unknown_labels(expression: &str) -> Vec<String> {
    let scraped = ["job", "node", "instance", "pod", "component", "le", "version"];
    let ours: BTreeSet<&str> = TABLE
        .iter()
        .filter(|declared| used(expression).iter().any(|name| name.starts_with(declared.name)))
        .flat_map(|declared| declared.labels.iter().map(|label| label.name))
        .collect();
    let selectors = expression.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let groupings = expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')'));
    let names =
        selectors.flat_map(|(inside, _)| inside.split(", ").map(|one| one.split(['=', '!']).next().unwrap()));
    let grouped = groupings.flat_map(|(inside, _)| inside.split(", "));
    let all: BTreeSet<&str> = names.chain(grouped).collect();
    all.into_iter()
        .filter(|name| !scraped.contains(name) && !ours.contains(name))
        .map(str::to_owned)
        .collect()
}

fn panels(dashboard: &Value) -> Vec<Value> {
    dashboard["panels"].as_array().unwrap().clone()
}

#[test]
fn every_metric_in_an_alert_exists_with_its_labels() {
    let exposed = exposed();
    for alert in alerts() {
        let (name, expression) = (text(&alert, "alert"), text(&alert, "expr"));
        let unknown: Vec<_> = used(expression).difference(&exposed).cloned().collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        assert_eq!(unknown_labels(expression), [""; 0], "{name}: {expression}");
    }
}

#[test]
fn every_alert_says_what_to_do_in_a_section_of_troubleshooting_and_is_tested() {
    let (page, tests) = (read("docs/troubleshooting.md"), read("host/runtime/tests/alerts/alerts.test.yaml"));
    let list = read("docs/observability.md");
    for alert in alerts() {
        let name = text(&alert, "alert");
        let url = format!("https://bellhop.dev/docs/troubleshooting#{}", name.to_lowercase());
        assert_eq!(text(&alert["annotations"], "runbook_url"), url);
        assert!(
            page.lines().any(|line| line == format!("### {name}")),
            "docs/troubleshooting.md lacks ### {name}"
        );
        assert!(list.contains(name), "docs/observability.md does not list {name}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "alerts.test.yaml does not test {name}");
        assert!(["warning", "critical"].contains(&text(&alert["labels"], "severity")), "{name}");
        assert!(!text(&alert["annotations"], "summary").is_empty(), "{name}");
    }
}

#[test]
fn every_metric_on_the_dashboard_exists_and_every_panel_has_its_place() {
    let dashboard: Value = serde_json::from_str(&read("charts/bellhop/files/dashboard.json")).unwrap();
    let exposed = exposed();
    let (mut ids, mut places, mut shown) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = text(&panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let place = &panel["gridPos"];
        let (x, width) = (place["x"].as_u64().unwrap(), place["w"].as_u64().unwrap());
        assert!(x + width <= 24 && places.insert((place["y"].as_u64(), x)), "{title}: {place}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = text(target, "expr");
            let used = used(expression);
            let unknown: Vec<_> = used.difference(&exposed).collect();
            assert!(unknown.is_empty(), "{title}: {unknown:?}");
            assert_eq!(unknown_labels(expression), [""; 0], "{title}: {expression}");
            shown.extend(used);
        }
    }
    assert!(shown.len() > 25, "the dashboard shows {} metrics", shown.len());
}

/// promtool, which must be there: `make setup` installs it.
fn promtool(arguments: &[&str]) {
    let output =
        Command::new("promtool").args(arguments).current_dir(root()).output().unwrap_or_else(|error| {
            panic!("promtool (Debian: prometheus; `make setup`) does not start: {error}")
        });
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "promtool {}: {}{}", arguments.join(" "), said[0], said[1]);
}

#[test]
fn promtool_accepts_the_rules() {
    promtool(&["check", "rules", "charts/bellhop/files/alerts.yaml"]);
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    promtool(&["test", "rules", "host/runtime/tests/alerts/alerts.test.yaml"]);
}

#[test]
fn promtool_can_parse_every_expression_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read("charts/bellhop/files/dashboard.json")).unwrap();
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            // As Grafana fills its variables in.
            let expression = text(target, "expr")
                .replace("$__rate_interval", "4m")
                .replace("$job", ".*")
                .replace("$node", ".*");
            let quoted = serde_json::to_string(&expression).unwrap();
            rules += &format!(
                "  - record: dashboard:p{}:{}\n    expr: {quoted}\n",
                panel["id"],
                text(target, "refId")
            );
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    promtool(&["check", "rules", &file.path().to_string_lossy()]);
}
