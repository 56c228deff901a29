//! What the tokens of Bellhop's pods may do, asked of a real API server. Needs root, for a control plane of its own; no
//! node runs: the pods that the tokens are for stand in the API alone.

#![allow(clippy::unwrap_used, reason = "in a test, whatever fails fails it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bellhop_chart_tests::{NAMESPACE, RELEASE, chart, run};
use bellhop_test_cluster::{Cluster, Mode, Options, wait_for};
use serde_json::{Value, json};

/// For what the API server and its controllers do at once, on a machine that does other work besides.
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

fn installed(prefix: &str) -> Cluster {
    let cluster = Cluster::up(&Options::new(prefix).mode(Mode::ControlPlane)).unwrap();
    cluster.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
    let chart = chart().display().to_string();
    cluster.helm(&["install", RELEASE, &chart, "--namespace", NAMESPACE]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).unwrap();
    cluster
}

/// A kubeconfig with the token that the kubelet of a node would mount into a pod of a service account.
fn token_of_pod(cluster: &Cluster, account: &str, node: &str) -> PathBuf {
    let pod = format!("{account}-{node}");
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}).to_string())
        .unwrap();
    cluster
        .apply(
            &json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": NAMESPACE},
                "spec": {"nodeName": node, "serviceAccountName": account,
                    "containers": [{"name": "speaker", "image": "localhost/bellhop:dev"}]},
            })
            .to_string(),
        )
        .unwrap();
    let uid =
        cluster.kubectl(&["-n", NAMESPACE, "get", "pod", &pod, "-o", "jsonpath={.metadata.uid}"]).unwrap();
    let token = cluster
        .kubectl(&[
            "-n",
            NAMESPACE,
            "create",
            "token",
            account,
            "--bound-object-kind=Pod",
            &format!("--bound-object-name={pod}"),
            &format!("--bound-object-uid={uid}"),
        ])
        .unwrap();
    let mut config: Value = cluster.kubectl_json(&["config", "view", "--raw"]).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = cluster.state().join(format!("kubeconfig-{pod}"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// Creates an object with the rights of a kubeconfig; what the API server says when it refuses.
fn create(cluster: &Cluster, kubeconfig: &Path, object: &Value) -> Result<String, String> {
    let file = cluster.state().join("object.json");
    std::fs::write(&file, object.to_string()).unwrap();
    cluster
        .kubectl_as(kubeconfig, &["create", "-f", &file.display().to_string()])
        .map_err(|error| error.to_string())
}

/// The API server enforces a policy a moment after it has stored it. Until then a token that is bound by it may write the
/// state of a node that is not its own.
fn wait_until_enforced(cluster: &Cluster, kubeconfig: &Path) {
    wait_for("the policy to be enforced", SOON, || {
        match create(cluster, kubeconfig, &speaker_state("nobody")) {
            Ok(_) => {
                cluster.kubectl(&["delete", "speakerstate", "nobody"]).unwrap();
                Err("a state that is not its own was taken".into())
            }
            Err(_) => Ok(()),
        }
    })
    .unwrap();
}

/// What the API server answers to a request with the rights of a kubeconfig. Not by kubectl, which wants to read first what
/// a speaker may only write.
fn request(
    cluster: &Cluster,
    kubeconfig: &Path,
    method: &str,
    content_type: &str,
    path: &str,
    body: &Value,
) -> Value {
    let config: Value = serde_json::from_str(&std::fs::read_to_string(kubeconfig).unwrap()).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let token = config["users"][0]["user"]["token"].as_str().unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30", "--request", method, "--data"])
        .arg(body.to_string())
        .args(["--header", &format!("Content-Type: {content_type}")])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .arg("--cacert")
        .arg(cluster.state().join("pki/ca.crt"))
        .arg(format!("{server}{path}"));
    serde_json::from_str(&run(&mut curl).unwrap()).unwrap()
}

const MERGE_PATCH: &str = "application/merge-patch+json";

fn patch_state(cluster: &Cluster, kubeconfig: &Path, node: &str) -> Value {
    let path = format!("/apis/bellhop.dev/v1alpha1/speakerstates/{node}/status");
    request(cluster, kubeconfig, "PATCH", MERGE_PATCH, &path, &json!({"status": {}}))
}

/// Takes over a Lease that is there, as it stands there, by the whole object.
fn replace_lease(cluster: &Cluster, kubeconfig: &Path, name: &str) -> Value {
    let mut lease: Value = cluster.kubectl_json(&["-n", NAMESPACE, "get", "lease", name]).unwrap();
    lease["spec"]["holderIdentity"] = "thief".into();
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{name}");
    request(cluster, kubeconfig, "PUT", "application/json", &path, &lease)
}

/// Gives a Lease that is there another holder, by that field alone.
fn patch_lease(cluster: &Cluster, kubeconfig: &Path, name: &str) -> Value {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{name}");
    let patch = json!({"spec": {"holderIdentity": "thief"}});
    request(cluster, kubeconfig, "PATCH", MERGE_PATCH, &path, &patch)
}

fn speaker_state(node: &str) -> Value {
    json!({"apiVersion": "bellhop.dev/v1alpha1", "kind": "SpeakerState", "metadata": {"name": node}, "spec": {}})
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": 40},
    })
}

#[test]
fn a_speaker_writes_for_its_own_node_and_a_stolen_token_for_no_other() {
    let cluster = installed("chart-token");
    let policies: Value = cluster.kubectl_json(&["get", "validatingadmissionpolicies"]).unwrap();
    let name = policies["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    wait_for("the types of the policy's expressions to be checked", SOON, || {
        let policy: Value = cluster.kubectl_json(&["get", "validatingadmissionpolicy", &name]).unwrap();
        let checked = &policy["status"]["typeChecking"];
        assert_eq!(checked["expressionWarnings"], Value::Null, "{checked}");
        if checked.is_null() { Err("not checked yet".into()) } else { Ok(()) }
    })
    .unwrap();

    let one = token_of_pod(&cluster, "bellhop-speaker", "node-1");
    let two = token_of_pod(&cluster, "bellhop-speaker", "node-2");
    wait_until_enforced(&cluster, &two);

    create(&cluster, &one, &speaker_state("node-1")).unwrap();
    create(&cluster, &one, &lease("bellhop-speaker-node-1")).unwrap();
    create(&cluster, &two, &speaker_state("node-2")).unwrap();

    for (object, wanted) in [
        (speaker_state("node-3"), "the speaker of node node-1 may write node-1 only, not node-3"),
        (
            lease("bellhop-speaker-node-3"),
            "may write bellhop-speaker-node-1 only, not bellhop-speaker-node-3",
        ),
        (lease("bellhop-controller"), "may write bellhop-speaker-node-1 only, not bellhop-controller"),
    ] {
        let error = create(&cluster, &one, &object).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
    assert_eq!(patch_state(&cluster, &one, "node-1")["kind"], "SpeakerState");
    let refusal = patch_state(&cluster, &one, "node-2");
    assert_eq!(refusal["reason"], "Forbidden");
    let words = refusal["message"].as_str().unwrap();
    assert!(words.contains("may write node-1 only, not node-2"), "{words}");

    // What stands there already: the Lease of another node, whose speaker would look dead or alive by it, and the leader's.
    create(&cluster, &two, &lease("bellhop-speaker-node-2")).unwrap();
    cluster.apply(&lease("bellhop-controller").to_string()).unwrap();
    let own = replace_lease(&cluster, &one, "bellhop-speaker-node-1");
    assert_eq!(own["spec"]["holderIdentity"], "thief", "{own}");
    for name in ["bellhop-speaker-node-2", "bellhop-controller"] {
        let refusal = replace_lease(&cluster, &one, name);
        let words = refusal["message"].as_str().unwrap_or_default();
        let wanted = format!("may write bellhop-speaker-node-1 only, not {name}");
        assert!(refusal["reason"] == "Forbidden" && words.contains(&wanted), "{name}: {refusal}");
        // By RBAC, before any policy is asked.
        assert_eq!(patch_lease(&cluster, &one, name)["reason"], "Forbidden", "{name}");
        let stands: Value = cluster.kubectl_json(&["-n", NAMESPACE, "get", "lease", name]).unwrap();
        assert_eq!(stands["spec"]["holderIdentity"], "x", "{name}");
    }
}

#[test]
fn a_speaker_gives_its_lease_to_no_owner_but_its_node() {
    let cluster = installed("chart-owner");
    let one = token_of_pod(&cluster, "bellhop-speaker", "node-1");
    let owned = |kind: &str, name: &str| {
        let mut lease = lease("bellhop-speaker-node-1");
        lease["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "0"}]);
        lease
    };
    wait_until_enforced(&cluster, &one);
    let error = create(&cluster, &one, &owned("Node", "node-2")).unwrap_err();
    assert!(
        error.contains("the only owner that the speaker of node node-1 may name is Node node-1"),
        "{error}"
    );
    assert!(create(&cluster, &one, &owned("Pod", "node-1")).is_err());
    create(&cluster, &one, &owned("Node", "node-1")).unwrap();
}

#[test]
fn a_token_that_was_issued_for_no_pod_writes_nothing() {
    let cluster = installed("chart-loose");
    let loose = cluster.service_account(NAMESPACE, "bellhop-speaker").unwrap();
    wait_until_enforced(&cluster, &loose);
    for object in [speaker_state("node-1"), lease("bellhop-speaker-node-1")] {
        let error = create(&cluster, &loose, &object).unwrap_err();
        assert!(error.contains("this token was issued for no node"), "{error}");
    }
}

#[test]
fn the_rights_end_where_the_reference_says() {
    let cluster = installed("chart-rights");
    let may = |account: &str, question: &[&str]| {
        let identity = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
        let mut command = cluster.kubectl_command();
        command.args(["auth", "can-i", "--quiet", &identity]).args(question);
        // With its output taken, for it warns of what is no matter here.
        command.output().unwrap().status.success()
    };
    for (account, question) in [
        ("bellhop-controller", &["create", "addressclaims.bellhop.dev"][..]),
        ("bellhop-controller", &["patch", "services", "--subresource=status", "--all-namespaces"]),
        ("bellhop-controller", &["update", "leases/bellhop-controller", "-n", NAMESPACE]),
        ("bellhop-speaker", &["patch", "speakerstates", "--subresource=status"]),
        ("bellhop-speaker", &["get", "secrets", "-n", NAMESPACE]),
        ("bellhop-speaker", &["get", "daemonsets/bellhop-speaker", "-n", NAMESPACE]),
    ] {
        assert!(may(account, question), "{account} may not {question:?}");
    }
    for (account, question) in [
        ("bellhop-controller", &["get", "secrets", "-n", "default"][..]),
        ("bellhop-controller", &["list", "secrets", "-n", NAMESPACE]),
        ("bellhop-controller", &["get", "secrets/password-of-a-peer", "-n", NAMESPACE]),
        ("bellhop-controller", &["update", "leases/bellhop-speaker-node-1", "-n", NAMESPACE]),
        ("bellhop-controller", &["update", "services", "--all-namespaces"]),
        ("bellhop-controller", &["update", "addresspools.bellhop.dev"]),
        ("bellhop-controller", &["create", "pods", "-n", NAMESPACE]),
        ("bellhop-speaker", &["patch", "services", "--subresource=status", "--all-namespaces"]),
        ("bellhop-speaker", &["create", "addressclaims.bellhop.dev"]),
        ("bellhop-speaker", &["patch", "addressclaims.bellhop.dev", "--subresource=status"]),
        ("bellhop-speaker", &["patch", "nodes"]),
        ("bellhop-speaker", &["get", "configmaps", "-n", "default"]),
        ("bellhop-speaker", &["list", "secrets", "-n", NAMESPACE]),
        ("bellhop-speaker", &["create", "events.events.k8s.io", "--all-namespaces"]),
        ("bellhop-speaker", &["patch", "leases", "-n", NAMESPACE]),
        ("bellhop-speaker", &["delete", "daemonsets/bellhop-speaker", "-n", NAMESPACE]),
        ("bellhop-speaker", &["get", "daemonsets/other", "-n", NAMESPACE]),
    ] {
        assert!(!may(account, question), "{account} may {question:?}");
    }
}
