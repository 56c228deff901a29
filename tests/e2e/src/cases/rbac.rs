//! Case 8: the rights that the chart gives are enough, and one that is missing is named and stops nothing else.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_lab::command::finished;
use bellhop_test_cluster::{Node, wait_for};
use serde_json::{Value, json};

use super::catalogue::{documents, pool};
use super::metrics::{Scrape, scrape};
use crate::Site;
use crate::objects::Service;
use crate::site::{NAMESPACE, PODS, RELEASE, SOON, expect_condition};

/// The workloads of the chart, with the port that answers `/metrics`.
pub(super) const WORKLOADS: [(&str, &str, u16); 2] =
    [("controller", "deployment/bellhop-controller", 9475), ("speaker", "daemonset/bellhop-speaker", 9474)];
/// A write that was refused is tried again after a minute at most, a list after 15 seconds.
const TRIED_AGAIN: Duration = Duration::from_secs(90);
/// The ClusterRoleBinding of the user who may only look.
const READERS: &str = "bellhop-e2e-reader";

pub(super) fn nothing_is_denied(site: &Site) -> Result<()> {
    let before = denials(site)?;
    // New processes, so that what they ask for at their start counts too.
    site.kubectl(&["-n", NAMESPACE, "delete", "pods", "-l", "app.kubernetes.io/instance=bellhop"])?;
    for (_, workload, _) in WORKLOADS {
        site.rolled_out(NAMESPACE, workload)?;
    }
    site.backend("rights")?;
    site.apply(&documents(&[
        pool("e2e-rights", &["198.18.90.0/30"], "autoAssign: false"),
        Service { annotations: "bellhop.dev/pool: e2e-rights", ..Service::new("rights", "web") }.manifest(),
    ]))?;
    let address = site.addresses("rights", "web", 1)?[0];
    site.expect_route(address, &Node::ALL)?;
    site.service_condition("rights", "web", crate::objects::ANNOUNCED, "True")?;
    expect_pool_ready(site, "e2e-rights", SOON)?;
    site.kubectl(&["-n", "rights", "delete", "service", "web"])?;
    site.expect_route(address, &[])?;
    for (component, _, _) in WORKLOADS {
        let words = log(site, component)?;
        let denied: Vec<_> = words.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        ensure!(denied.is_empty(), "the {component} was denied something: {denied:#?}");
    }
    for Scrape { pod, metrics, .. } in scrape(site)? {
        let denied = metrics.lines().find(|line| line.contains("result=\"denied\"") && !line.ends_with(" 0"));
        ensure!(denied.is_none(), "{pod} was denied something: {denied:?}");
    }
    let after = denials(site)?;
    ensure!(after == before, "the API server denied requests for Bellhop's kinds: {before:?}, now {after:?}");
    Ok(())
}

/// How often the API server has denied requests for Bellhop's kinds, as it counts them itself.
fn denials(site: &Site) -> Result<Vec<String>> {
    let metrics = site.kubectl(&["get", "--raw", "/metrics"])?;
    let ours = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("code=\"403\"")
            && line.contains("group=\"bellhop.dev\"")
    };
    Ok(metrics.lines().filter(ours).map(str::to_owned).collect())
}

/// What the pods of a component have logged.
fn log(site: &Site, component: &str) -> Result<String> {
    let label = format!("app.kubernetes.io/component={component}");
    site.kubectl(&["-n", NAMESPACE, "logs", "-l", &label, "--tail=-1"])
}

pub(super) fn denied_verb_is_named(site: &Site) -> Result<()> {
    site.backend("denied")?;
    site.apply(&Service::new("denied", "before").manifest())?;
    let before = site.addresses("denied", "before", 1)?[0];
    site.expect_route(before, &Node::ALL)?;

    without_right(site, &["bellhop-controller"], "addresspools/status", || {
        site.apply(&pool("e2e-denied", &["198.18.91.0/30"], "autoAssign: false"))?;
        expect_logged(
            site,
            "controller",
            &["cannot patch addresspools/status", "must allow patch on addresspools/status"],
        )?;
        let annotations = "bellhop.dev/pool: e2e-denied";
        site.apply(&Service { annotations, ..Service::new("denied", "status") }.manifest())?;
        expect_served(site, "status")
    })?;
    expect_pool_ready(site, "e2e-denied", TRIED_AGAIN)?;

    // A whole kind, for processes that start without it: its objects known last stay in force.
    without_right(site, &["bellhop-controller", "bellhop-speaker"], "bgppeers", || {
        let speaker = speaker_of(site, Node::ALL[0])?;
        site.kubectl(&["-n", NAMESPACE, "delete", "pod", &speaker])?;
        site.kubectl(&["-n", NAMESPACE, "delete", "pods", "-l", "app.kubernetes.io/component=controller"])?;
        for component in ["controller", "speaker"] {
            expect_logged(site, component, &["cannot list bgppeers", "must allow list on bgppeers"])?;
        }
        site.apply(&Service::new("denied", "kind").manifest())?;
        expect_served(site, "kind")?;
        site.expect_route(before, &Node::ALL)
    })?;
    for (_, workload, _) in WORKLOADS {
        site.rolled_out(NAMESPACE, workload)?;
    }
    site.expect_route(before, &Node::ALL)
}

/// A Service gets an address, every node announces it, and it answers.
fn expect_served(site: &Site, name: &str) -> Result<()> {
    let address = site.addresses("denied", name, 1)?[0];
    site.expect_route(address, &Node::ALL)?;
    site.expect_answer(address).map(drop)
}

/// Does something while these ClusterRoles lack a resource; they have it again afterwards, whatever came of it.
fn without_right(
    site: &Site,
    roles: &[&str],
    resource: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut whole = Vec::new();
    for role in roles {
        let rules = site.json(&["get", "clusterrole", role])?["rules"].clone();
        let mut less = rules.clone();
        for rule in less.as_array_mut().into_iter().flatten() {
            if let Some(resources) = rule["resources"].as_array_mut() {
                resources.retain(|known| known != resource);
            }
        }
        ensure!(less != rules, "ClusterRole {role} has no {resource}");
        whole.push((role, rules));
        set_rules(site, role, &less)?;
    }
    let result = work();
    for (role, rules) in whole {
        set_rules(site, role, &rules)?;
    }
    result
}

fn set_rules(site: &Site, role: &str, rules: &Value) -> Result<()> {
    let patch = json!({ "rules": rules }).to_string();
    site.kubectl(&["patch", "clusterrole", role, "--type=merge", "-p", &patch]).map(drop)
}

/// Waits until a line of a component's log has all of these words.
fn expect_logged(site: &Site, component: &str, words: &[&str]) -> Result<()> {
    wait_for(&format!("the {component} logs {words:?}"), SOON, || {
        let log = log(site, component).map_err(|error| format!("{error:#}"))?;
        let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err(log.lines().rev().take(5).collect::<Vec<_>>().join("\n")) }
    })?;
    Ok(())
}

fn expect_pool_ready(site: &Site, name: &str, deadline: Duration) -> Result<()> {
    wait_for(&format!("the pool {name} is Ready"), deadline, || {
        let pool = site.json(&["get", "addresspool", name]).map_err(|error| format!("{error:#}"))?;
        expect_condition(&pool, "Ready", "True").map_err(|error| format!("{error:#}"))
    })?;
    Ok(())
}

fn speaker_of(site: &Site, node: Node) -> Result<String> {
    let field = format!("--field-selector=spec.nodeName={}", node.name());
    let label = "app.kubernetes.io/component=speaker";
    let name = site.kubectl(&["-n", NAMESPACE, "get", "pods", "-l", label, &field, "-o", "name"])?;
    Ok(name.trim().trim_start_matches("pod/").to_owned())
}

pub(super) fn helm_test(site: &Site) -> Result<()> {
    expect_tested(site)?;
    let (_, controllers, _) = WORKLOADS[0];
    let before = site.json(&["-n", NAMESPACE, "get", controllers])?["spec"]["replicas"].to_string();
    site.kubectl(&["-n", NAMESPACE, "scale", controllers, "--replicas=0"])?;
    let failed = expect_failed_without_leader(site);
    site.kubectl(&["-n", NAMESPACE, "scale", controllers, &format!("--replicas={before}")])?;
    failed?;
    site.rolled_out(NAMESPACE, controllers)?;
    expect_tested(site)
}

/// The chart's test asks again for a minute, as speakers that have just started have not reported, and waits for its image.
const TEST_TIMEOUT: &str = "--timeout=180s";

fn expect_tested(site: &Site) -> Result<()> {
    let said = site.cluster()?.helm(&["test", RELEASE, "--namespace", NAMESPACE, TEST_TIMEOUT])?;
    ensure!(said.contains("Succeeded"), "{said}");
    Ok(())
}

/// Nobody leads, and the Lease of who did last has run out, as after a crash.
fn expect_failed_without_leader(site: &Site) -> Result<()> {
    let label = "app.kubernetes.io/component=controller";
    site.kubectl(&["-n", NAMESPACE, "wait", "--for=delete", "pods", "-l", label, "--timeout=60s"])?;
    let ran_out = json!({"spec": {"holderIdentity": "gone", "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let lease = ["-n", NAMESPACE, "patch", "lease", "bellhop-controller", "--type=merge", "-p"];
    site.kubectl(&[&lease[..], &[&ran_out.to_string()]].concat())?;
    let said = site.cluster()?.helm(&["test", RELEASE, "--namespace", NAMESPACE, TEST_TIMEOUT]);
    ensure!(said.is_err(), "it passes without a controller: {said:?}");
    let log = site.kubectl(&["-n", NAMESPACE, "logs", "bellhop-test"])?;
    ensure!(log.contains("no controller leads: the Lease ran out (NoLeader)"), "{log}");
    // And nothing else is wrong: not that the speakers could not be seen.
    ensure!(!log.contains("NoSpeaker"), "{log}");
    Ok(())
}

pub(super) fn kubectl_bellhop(site: &Site) -> Result<()> {
    site.backend("tools")?;
    site.apply(&Service::new("tools", "web").manifest())?;
    let address = site.addresses("tools", "web", 1)?[0];
    site.expect_route(address, &Node::ALL)?;
    site.service_condition("tools", "web", crate::objects::ANNOUNCED, "True")?;

    let admin = Tool { site, kubeconfig: site.kubeconfig() };
    admin.shows_service(address)?;
    let routes = admin.succeeds(&["routes"])?;
    let of_all = Node::ALL.iter().all(|node| routes.contains(&node.name()));
    ensure!(of_all && routes.contains(&address.to_string()) && routes.contains("64513:1"), "{routes}");
    let explained: Value =
        serde_json::from_str(&admin.succeeds(&["explain", "service/tools/web", "-o", "json"])?)?;
    ensure!(explained["notShown"] == json!([]), "something is not shown to an administrator: {explained}");
    let nodes = explained["nodes"].as_array().map_or(0, Vec::len);
    ensure!(nodes == Node::ALL.len(), "{nodes} nodes explain themselves: {explained}");

    // Kubernetes' own role for those who may see everything but Secrets, and do nothing; the chart adds our kinds to it.
    let reader = Tool { site, kubeconfig: reader(site, "tools")? };
    reader.shows_service(address)?;
    let explained: Value =
        serde_json::from_str(&reader.succeeds(&["explain", "service/tools/web", "-o", "json"])?)?;
    // Exec over a WebSocket is a GET for the API server; either verb is what the user lacks.
    let not_shown = explained["notShown"].to_string();
    let named = ["get", "create"].iter().any(|verb| not_shown.contains(&format!("cannot {verb} resource")));
    ensure!(named && not_shown.contains("pods/exec"), "it does not say what is missing: {explained}");
    let refused = reader.runs(&["routes"])?;
    let words =
        format!("{}{}", String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
    ensure!(!refused.status.success(), "routes cannot be known without exec: {words}");
    ensure!(words.contains("pods/exec"), "it does not say what is missing: {words}");
    site.kubectl(&["delete", "clusterrolebinding", READERS]).map(drop)
}

/// A kubeconfig of a ServiceAccount that may `view`, and nothing else.
fn reader(site: &Site, namespace: &str) -> Result<PathBuf> {
    site.kubectl(&["-n", namespace, "create", "serviceaccount", "reader"])?;
    site.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {READERS}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
subjects: [{{kind: ServiceAccount, namespace: {namespace}, name: reader}}]
"
    ))?;
    site.cluster()?.service_account(namespace, "reader")
}

/// `kubectl bellhop` of a user.
struct Tool<'a> {
    site: &'a Site,
    kubeconfig: PathBuf,
}

impl Tool<'_> {
    fn runs(&self, args: &[&str]) -> Result<Output> {
        let program: &Path = self.site.program()?;
        finished(Command::new(program).args(args).env("KUBECONFIG", &self.kubeconfig))
    }

    fn succeeds(&self, args: &[&str]) -> Result<String> {
        let output = self.runs(args)?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`{}` ended with {}: {words}{complaint}",
            args.join(" "),
            output.status
        );
        Ok(words)
    }

    /// Every tool that needs no exec shows the Service, its address, the pool and the nodes.
    fn shows_service(&self, address: IpAddr) -> Result<()> {
        let address = address.to_string();
        let status = wait_for("status finds nothing wrong", PODS, || {
            self.succeeds(&["status"]).map_err(|error| format!("{error:#}"))
        })?;
        let of_all = Node::ALL.iter().all(|node| status.contains(&node.name()));
        ensure!(of_all && status.contains("public") && status.contains(&address), "{status}");
        let explained = self.succeeds(&["explain", "service/tools/web"])?;
        ensure!(explained.contains(&address) && explained.contains("node-3"), "{explained}");
        self.succeeds(&["validate"]).map(drop)
    }
}
