//! Case 8: what is scraped, and what the chart's alerts and dashboard make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::finished;
use bellhop_test_cluster::Node;
use serde_json::{Value, json};

use super::policies;
use super::rbac::WORKLOADS;
use crate::Site;
use crate::objects::Service;
use crate::site::NAMESPACE;

/// The rules of the chart's PrometheusRule.
const ALERTS: (&str, &str) = (
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/bellhop/files/alerts.yaml"),
    include_str!("../../../../charts/bellhop/files/alerts.yaml"),
);
/// The chart's dashboard.
const DASHBOARD: &str = include_str!("../../../../charts/bellhop/files/dashboard.json");
/// What a healthy installation has nothing to say of, and so does not expose.
const UNSAID: [&str; 3] =
    ["bellhop_policy_failures_total", "bellhop_services_not_announced", "bellhop_services_waiting"];
/// Minutes that the scrapes are made to last: longer than the longest `for` of an alert after the longest range of a rate.
const MINUTES: u32 = 60;

/// `/metrics` of a pod.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) pod: String,
    pub(super) node: String,
    pub(super) component: &'static str,
    pub(super) metrics: String,
}

/// `/metrics` of every pod of Bellhop, through the API server.
pub(super) fn scrape(site: &Site) -> Result<Vec<Scrape>> {
    let mut scraped = Vec::new();
    for (component, _, port) in WORKLOADS {
        let label = format!("app.kubernetes.io/component={component}");
        let pods = site.json(&["-n", NAMESPACE, "get", "pods", "-l", &label])?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (name, node) = (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]));
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:{port}/proxy/metrics");
            let metrics = site.kubectl(&["get", "--raw", &path])?;
            scraped.push(Scrape { pod: name, node, component, metrics });
        }
    }
    Ok(scraped)
}

pub(super) fn metrics_are_well_formed(site: &Site) -> Result<()> {
    let scraped = scrape(site)?;
    ensure!(scraped.len() >= 2, "only {} pods answered", scraped.len());
    for Scrape { pod, metrics, .. } in scraped {
        ensure!(metrics.contains("bellhop_build_info{"), "{pod} says: {metrics}");
        let mut promtool = Command::new("promtool");
        promtool
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = promtool.spawn().context("cannot start promtool; `make setup` installs it")?;
        // Whatever it does not read it complains about itself.
        let _ = child.stdin.take().context("no standard input")?.write_all(metrics.as_bytes());
        let output = child.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && words.trim().is_empty(), "{pod}: {words}");
    }
    Ok(())
}

pub(super) fn no_alert_fires(site: &Site) -> Result<()> {
    site.apply(&policies::pack(site, policies::POLICY, policies::SETTINGS)?)?;
    policies::expect_active(site, policies::POLICY)?;
    site.backend("alerts")?;
    served(site, "first")?;
    let first = scrape(site)?;
    served(site, "second")?;
    let second = scrape(site)?;

    let exposed: BTreeSet<&str> =
        second.iter().flat_map(|scrape| samples(&scrape.metrics)).map(|(series, _)| name(series)).collect();
    let named: BTreeSet<&str> = metrics_in(ALERTS.1).chain(metrics_in(DASHBOARD)).collect();
    let missing: Vec<_> = named.difference(&exposed).copied().collect();
    ensure!(missing == UNSAID, "alerts and dashboard name what no pod exposes: {missing:?}, not {UNSAID:?}");

    let series = lasting(&first, &second)?;
    let words = fires(&series)?;
    ensure!(words.is_none(), "an alert fires on a healthy installation: {words:?}");
    // The labels are those that the alerts ask for: where something is wrong, one does.
    let mut broken = series;
    for (series, values) in &mut broken {
        if name(series) == "bellhop_bgp_session_up" {
            *values = format!("0x{MINUTES}");
        }
    }
    let words = fires(&broken)?;
    let told = words.as_ref().is_some_and(|words| words.contains("BellhopSessionDown"));
    ensure!(told, "without a session no alert fires: {words:?}");
    Ok(())
}

/// A Service with its address, its route from every node, and an answer.
fn served(site: &Site, name: &str) -> Result<()> {
    site.apply(&Service::new("alerts", name).manifest())?;
    let address = site.addresses("alerts", name, 1)?[0];
    site.expect_route(address, &Node::ALL)?;
    site.service_condition("alerts", name, crate::objects::ANNOUNCED, "True")?;
    site.expect_answer(address).map(drop)
}

/// Two scrapes as series of promtool's that last [`MINUTES`], with the labels that Prometheus adds by the chart's monitors:
/// gauges as they were at last, counters growing in each minute by what they grew between the two.
fn lasting(first: &[Scrape], second: &[Scrape]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for Scrape { pod, node, component, metrics } in second {
        let labels = format!(
            "job=\"bellhop\",instance=\"{pod}\",pod=\"{pod}\",node=\"{node}\",component=\"{component}\""
        );
        let before =
            first.iter().find(|scrape| scrape.pod == *pod).context("a pod came between two scrapes")?;
        let before: BTreeMap<&str, f64> = samples(&before.metrics).collect();
        all.push((format!("up{{{labels}}}"), format!("1x{MINUTES}")));
        for (series, value) in samples(metrics) {
            let name = name(series);
            let labelled = match series.split_once('{') {
                Some((_, rest)) => format!("{name}{{{labels},{rest}"),
                None => format!("{name}{{{labels}}}"),
            };
            let gauge = metrics.contains(&format!("# TYPE {name} gauge\n"));
            // One that was not there has come to its value from nothing.
            let growth = if gauge { 0.0 } else { value - before.get(series).copied().unwrap_or(0.0) };
            ensure!(growth >= 0.0, "{series} of {pod} shrank by {}", -growth);
            all.push((labelled, format!("{value}+{growth}x{MINUTES}")));
        }
    }
    Ok(all)
}

/// What promtool says where an alert fires at the end of the series; `None` where none does.
fn fires(series: &[(String, String)]) -> Result<Option<String>> {
    let alerts = ALERTS.1.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let tests: Vec<Value> = alerts
        .map(|name| json!({"eval_time": format!("{MINUTES}m"), "alertname": name, "exp_alerts": []}))
        .collect();
    ensure!(!tests.is_empty(), "{} has no alerts", ALERTS.0);
    let input: Vec<Value> =
        series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let test = json!({"interval": "1m", "input_series": input, "alert_rule_test": tests});
    let file = json!({"rule_files": [ALERTS.0], "evaluation_interval": "1m", "tests": [test]});
    let path = std::env::temp_dir().join(format!("bellhop-e2e-alerts-{}.yaml", std::process::id()));
    std::fs::write(&path, file.to_string())?;
    let output = finished(Command::new("promtool").args(["test", "rules"]).arg(&path))?;
    std::fs::remove_file(&path)?;
    let words =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(None),
        _ if words.contains("alertname:") => Ok(Some(words)),
        code => anyhow::bail!("promtool ended with {code:?}: {words}"),
    }
}

/// The samples of an exposition, by series; those without a number are left out.
fn samples(metrics: &str) -> impl Iterator<Item = (&str, f64)> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).filter_map(|(series, value)| {
        let value: f64 = value.parse().ok()?;
        value.is_finite().then_some((series, value))
    })
}

/// The name in a series.
fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// What looks like a metric of ours in a text.
fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("bellhop_") || word.starts_with("process_"))
}
