//! What a real API server makes of the chart. Needs root, for a control plane of its own; no node runs.

#![allow(clippy::unwrap_used, reason = "in a test, whatever fails fails it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bellhop_chart_tests::{NAMESPACE, RELEASE, Rendering, chart, renderings, root, run};
use bellhop_test_cluster::{Cluster, Mode, Options, wait_for};
use serde_json::{Value, json};

/// For what the API server and its controllers do at once, on a machine that does other work besides.
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

/// What the release may take of the 1 MiB that a Secret holds: half, so that the next kinds find room.
const RELEASE_BYTES: usize = 512 * 1024;

fn control_plane(prefix: &str) -> Cluster {
    let cluster = Cluster::up(&Options::new(prefix).mode(Mode::ControlPlane)).unwrap();
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string())
        .unwrap();
    cluster
}

fn helm(cluster: &Cluster, command: &str, chart: Option<&Path>, args: &[&str]) -> anyhow::Result<String> {
    let chart = chart.map(|chart| chart.display().to_string());
    let mut all = vec![command, RELEASE];
    all.extend(chart.as_deref());
    all.extend(["--namespace", NAMESPACE]);
    all.extend(args);
    cluster.helm(&all)
}

/// A CRD that takes anything, for a kind of the Prometheus operator.
fn stand_in(kind: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.monitoring.coreos.com"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"}},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
    .to_string()
}

#[test]
fn every_rendering_is_accepted_by_the_api_server() {
    let cluster = control_plane("chart-dry");
    let label = "pod-security.kubernetes.io/warn=restricted";
    cluster.kubectl(&["label", "namespace", NAMESPACE, label]).unwrap();
    for kind in ["PodMonitor", "ServiceMonitor", "PrometheusRule"] {
        cluster.apply(&stand_in(kind)).unwrap();
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for rendering in renderings().unwrap() {
        // A pod is refused whose account does not exist, and a dry run creates none.
        for object in rendering.objects().unwrap().iter().filter(|object| object.kind() == "ServiceAccount") {
            cluster.apply(&object.0.to_string()).unwrap();
        }
        let file = folder.path().join("rendering.yaml");
        std::fs::write(&file, rendering.text().unwrap()).unwrap();
        let mut command = cluster.kubectl_command();
        command.args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f"]).arg(&file);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", rendering.name());
        // Warnings are about fields that are going away, expressions that the type checker doubts, and pods that the strictest
        // level of Pod Security would forbid. That is the speaker's alone.
        let doubts: Vec<_> = said.lines().filter(|line| !line.contains("container \"speaker\"")).collect();
        assert_eq!(doubts, [""; 0], "{}", rendering.name());
    }
}

#[test]
fn an_upgrade_upgrades_the_crds_and_an_uninstall_keeps_them_with_every_object() {
    let cluster = control_plane("chart-life");
    helm(&cluster, "install", Some(&chart()), &[]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).unwrap();
    cluster.apply(&pool("public")).unwrap();

    let secrets: Value =
        cluster.kubectl_json(&["-n", NAMESPACE, "get", "secrets", "-l", "owner=helm"]).unwrap();
    let size = secrets["items"][0]["data"]["release"].as_str().unwrap().len();
    assert!(size < RELEASE_BYTES, "the release takes {size} bytes of a Secret");

    let next = next_version();
    helm(&cluster, "upgrade", Some(next.path()), &[]).unwrap();
    let explained = cluster.kubectl(&["explain", "addresspools.spec.addresses"]).unwrap();
    assert!(explained.contains("As the next version says"), "{explained}");

    // No node runs, so neither can the drain.
    let said = helm(&cluster, "uninstall", None, &["--no-hooks"]).unwrap();
    assert!(said.contains("addresspools.bellhop.dev"), "helm does not say what it kept: {said}");
    cluster.kubectl(&["get", "addresspool", "public"]).unwrap();
    let left = cluster.kubectl(&[
        "get",
        "clusterroles,clusterrolebindings,validatingadmissionpolicies",
        "-o",
        "name",
    ]);
    assert!(!left.unwrap().contains("bellhop"));
    wait_for("the objects of the release to go", SOON, || {
        let kinds = "deploy,ds,pdb,sa,role,rolebinding";
        let left = cluster.kubectl(&["-n", NAMESPACE, "get", kinds, "-o", "name"]).unwrap();
        if left.contains("bellhop") { Err(left) } else { Ok(()) }
    })
    .unwrap();

    helm(&cluster, "install", Some(&chart()), &[]).unwrap();
    cluster.kubectl(&["get", "addresspool", "public"]).unwrap();
}

#[test]
fn the_objects_of_the_documentation_are_accepted_as_they_stand() {
    let cluster = control_plane("chart-docs");
    let notes = helm(&cluster, "install", Some(&chart()), &[]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).unwrap();
    let examples: Vec<&str> =
        notes.split("<<'YAML'\n").skip(1).map(|rest| rest.split("     YAML\n").next().unwrap()).collect();
    assert_eq!(examples.len(), 2, "{notes}");
    for example in examples {
        let document: String =
            example.lines().map(|line| format!("{}\n", line.strip_prefix("     ").unwrap_or(line))).collect();
        cluster.apply(&document).unwrap();
    }
    let manifests = root().join("examples/demo/manifests");
    cluster.kubectl(&["apply", "-f", &manifests.join("namespaces.yaml").display().to_string()]).unwrap();
    let mut command = cluster.kubectl_command();
    command.args(["apply", "--dry-run=server", "--validate=strict", "--recursive", "-f"]).arg(&manifests);
    run(&mut command).unwrap();
}

fn pool(name: &str) -> String {
    json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "AddressPool", "metadata": {"name": name},
        "spec": {"addresses": ["203.0.113.0/24"]},
    })
    .to_string()
}

/// The chart with another version, and another description of a field.
fn next_version() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("cp").arg("-R").arg(format!("{}/.", chart().display())).arg(folder.path())).unwrap();
    let edit = |file: &str, from: &str, to: &str| {
        let path: PathBuf = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} lacks {from:?}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    edit("Chart.yaml", "\nversion: 0.", "\nversion: 1.");
    edit(
        "files/crds/bellhop.dev_addresspools.yaml",
        "The addresses: CIDRs",
        "As the next version says: CIDRs",
    );
    folder
}

#[test]
fn the_rendering_of_helm_install_is_that_of_helm_template() {
    let cluster = control_plane("chart-same");
    helm(&cluster, "install", Some(&chart()), &[]).unwrap();
    let manifest = cluster.helm(&["get", "manifest", RELEASE, "--namespace", NAMESPACE]).unwrap();
    let template = Rendering::new().arg("--no-hooks").text().unwrap();
    assert_eq!(manifest.trim(), template.trim());
}
