//! `kubectl bellhop` against a real API server, as users with different rights. Needs root, what `make setup` installs, and the
//! program in `BELLHOP_BIN`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bellhop_test_cluster::{Cluster, Mode, Options};
use serde_json::Value;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: web}
spec: {type: LoadBalancer, loadBalancerClass: bellhop.dev/bellhop, ports: [{port: 443}]}
";

/// A pod as the chart makes it, on a node that is away.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: bellhop-speaker-x
  namespace: bellhop-system
  labels: {app.kubernetes.io/part-of: bellhop, app.kubernetes.io/component: speaker}
spec:
  nodeName: node-1
  containers: [{name: speaker, image: example.invalid/bellhop}]
";

/// A DaemonSet without a node to run on.
const DAEMON_SET: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: bellhop-speaker, namespace: bellhop-system}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec: {containers: [{name: speaker, image: example.invalid/bellhop}]}
";

fn program() -> PathBuf {
    std::env::var_os("BELLHOP_BIN").expect("BELLHOP_BIN is to name the program bellhop").into()
}

/// What a call of the tool came to.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn bellhop(kubeconfig: &Path, args: &[&str]) -> Outcome {
    let output = Command::new(program()).args(args).env("KUBECONFIG", kubeconfig).output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn kubectl_bellhop_shows_what_its_user_may_see_and_says_what_not() {
    let cluster = Cluster::up(&Options::new("kubectl-test").mode(Mode::ControlPlane)).unwrap();
    a_cluster_without_the_crds_is_named_as_such(&cluster);
    fill(&cluster);
    an_administrator_sees_everything(&cluster);
    a_reader_without_exec_sees_the_rest_and_is_told_what_not(&cluster);
    what_keeps_a_tool_from_asking_is_said_in_one_line(&cluster);
    what_does_not_exist_or_is_wrong_ends_with_1(&cluster);
    it_is_a_plugin_of_kubectl(&cluster);
    a_drain_ends_when_the_daemon_set_is_gone(&cluster);
}

fn a_cluster_without_the_crds_is_named_as_such(cluster: &Cluster) {
    let outcome = bellhop(&cluster.kubeconfig(), &["status"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("Bellhop's CRDs are not installed there"), "{outcome:?}");
}

fn fill(cluster: &Cluster) {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    for entry in fs::read_dir(&crds).unwrap() {
        cluster.apply(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
    }
    let crds = [
        "addresspools",
        "addressclaims",
        "bgppeers",
        "bfdprofiles",
        "advertisements",
        "speakerconfigs",
        "decisionpolicies",
        "speakerstates",
    ]
    .map(|kind| format!("crd/{kind}.bellhop.dev"));
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    wait.extend(crds.iter().map(String::as_str));
    cluster.kubectl(&wait).unwrap();
    for namespace in ["web", "bellhop-system"] {
        cluster.kubectl(&["create", "namespace", namespace]).unwrap();
    }
    cluster.apply(include_str!("crds/objects.yaml")).unwrap();
    for line in include_str!("crds/statuses.txt").lines().filter(|line| !line.starts_with('#')) {
        let (object, status) = line.split_once(' ').unwrap();
        cluster.patch_status("default", object, status).unwrap();
    }
    cluster.apply(SERVICE).unwrap();
    // Pods are refused until their namespace's account is there.
    bellhop_test_cluster::wait_for("a pod can be made", std::time::Duration::from_secs(30), || {
        cluster.apply(POD).map(drop).map_err(|error| error.to_string())
    })
    .unwrap();
    cluster.patch_status("bellhop-system", "pod/bellhop-speaker-x", r#"{"phase": "Running"}"#).unwrap();
}

fn an_administrator_sees_everything(cluster: &Cluster) {
    let outcome = bellhop(&cluster.kubeconfig(), &["status"]);
    // An inverted range, no controller, and a speaker that neither lives nor answers.
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for line in [
        r#"AddressPool/stale: spec.addresses[0]: "203.0.113.90-203.0.113.80": is inverted; write 203.0.113.80-203.0.113.90 (InvalidRange)"#,
        "Lease/bellhop-system/bellhop-controller: no controller leads: the Lease is not there (NoLeader)",
        "Node/node-1: its speaker does not live: its Lease is not there (NoSpeaker)",
        "node-1  Ready    1/2       12         1           0.1.0    no answer",
        "web/shop  -          -          -",
        "stale   203.0.113.90-203.0.113.80  -             False InvalidRange",
        "peer-attributes  Route  0         190d8e5e7d4e  -          Active  True",
    ] {
        assert!(outcome.stdout.lines().any(|found| found == line), "{line}\n{}", outcome.stdout);
    }
    assert!(!outcome.stdout.contains("NOT SHOWN"), "{}", outcome.stdout);
    let explained = bellhop(&cluster.kubeconfig(), &["explain", "service/web/shop", "-o", "json"]).json();
    assert_eq!(explained["claims"][0]["address"], "203.0.113.7");
    assert_eq!(explained["claims"][0]["holds"], false, "the claim names another UID");
    let yaml = bellhop(&cluster.kubeconfig(), &["policy", "show", "peer-attributes", "-o", "yaml"]);
    let shown: Value = serde_saphyr::from_str(&yaml.stdout).unwrap();
    assert_eq!(shown["activeVersion"]["version"], "1.2.0");
}

fn a_reader_without_exec_sees_the_rest_and_is_told_what_not(cluster: &Cluster) {
    let kinds = "services,addressclaims.bellhop.dev,bgppeers.bellhop.dev,bfdprofiles.bellhop.dev,advertisements.bellhop.dev,\
                 speakerconfigs.bellhop.dev,decisionpolicies.bellhop.dev,speakerstates.bellhop.dev";
    for args in [
        "create serviceaccount reader",
        &format!("create clusterrole reader --verb=get,list --resource={kinds}"),
        "create clusterrolebinding reader --clusterrole=reader --serviceaccount=default:reader",
        "-n bellhop-system create role pods --verb=list --resource=pods",
        "-n bellhop-system create rolebinding pods --role=pods --serviceaccount=default:reader",
    ] {
        cluster.kubectl(&args.split(' ').collect::<Vec<_>>()).unwrap();
    }
    let reader = cluster.service_account("default", "reader").unwrap();
    let outcome = bellhop(&reader, &["status", "-o", "json"]);
    // The range that is wrong, the Leases and the DaemonSet are hidden from him, and he sees nothing wrong.
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let status = outcome.json();
    assert_eq!(status["problems"], serde_json::json!([]));
    let not_shown: Vec<&str> =
        status["notShown"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let [pools, leases, daemon_sets, speakers] = not_shown[..] else { panic!("{not_shown:#?}") };
    assert!(leases.contains(r#"cannot list resource "leases""#), "{leases}");
    assert!(daemon_sets.contains(r#"cannot list resource "daemonsets""#), "{daemon_sets}");
    assert!(pools.contains(r#"cannot list resource "addresspools" in API group "bellhop.dev""#), "{pools}");
    assert!(
        speakers.contains(r#"resource "pods/exec""#) && speakers.contains("bellhop-system"),
        "{speakers}"
    );
    assert_eq!(status["nodes"][0]["sessions"], "1/2");
    assert_eq!(status["policies"][0]["active"], "190d8e5e7d4e");

    let routes = bellhop(&reader, &["routes"]);
    assert_eq!(routes.code, Some(2), "{routes:?}");
    assert!(routes.stderr.contains(r#"resource "pods/exec""#), "{routes:?}");
    let explained = bellhop(&reader, &["explain", "service/web/shop"]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    assert!(explained.stdout.contains(r#"cannot list resource "events""#), "{explained:?}");
}

fn what_keeps_a_tool_from_asking_is_said_in_one_line(cluster: &Cluster) {
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let altered = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let server =
        cluster.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]).unwrap();
    let nobody = altered("nobody", &text.replace(&server, "https://127.0.0.1:1"));
    let reader = fs::read_to_string(cluster.service_account("default", "reader").unwrap()).unwrap();
    let mut expired: Value = serde_json::from_str(&reader).unwrap();
    expired["users"][0]["user"]["token"] = "expired".into();
    let expired = altered("expired", &expired.to_string());
    let good = cluster.kubeconfig();
    for (kubeconfig, args, wanted) in [
        (&nobody, &["status"][..], "the server https://127.0.0.1:1 cannot be reached: Connection refused"),
        (&expired, &["status"], "does not accept the credentials of the kubeconfig (401 Unauthorized)"),
        (&good, &["status", "--context", "prod"], "there is no context \"prod\"; there are "),
        (&folder.path().join("none"), &["policy", "list"], "none"),
        (
            &good,
            &["routes", "--node", "node-9"],
            "node node-9: no speaker's pod runs there in namespace bellhop-system",
        ),
    ] {
        let outcome = bellhop(kubeconfig, args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.starts_with("bellhop: ") && outcome.stderr.contains(wanted),
            "{wanted}\n{outcome:?}"
        );
    }
}

fn what_does_not_exist_or_is_wrong_ends_with_1(cluster: &Cluster) {
    for (args, wanted) in [
        (&["explain", "service/web/none"][..], "there is no Service none in namespace web"),
        (&["policy", "show", "none"], "there is no DecisionPolicy none"),
        (&["validate"], "is inverted; write 203.0.113.80-203.0.113.90 (InvalidRange)"),
    ] {
        let outcome = bellhop(&cluster.kubeconfig(), args);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains(wanted), "{wanted}\n{outcome:?}");
    }
}

fn it_is_a_plugin_of_kubectl(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    symlink(program(), folder.path().join("kubectl-bellhop")).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(cluster.program("kubectl"));
        command.args(args).env("PATH", folder.path()).env("KUBECONFIG", cluster.kubeconfig());
        command.output().unwrap()
    };
    let listed = run(&["bellhop", "policy", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("peer-attributes  Route"), "{listed:?}");
    let help = run(&["bellhop", "policy", "list", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: kubectl bellhop policy list"), "{help:?}");
}

fn a_drain_ends_when_the_daemon_set_is_gone(cluster: &Cluster) {
    cluster.apply(DAEMON_SET).unwrap();
    for wanted in ["is gone; its speakers have drained", "is not there"] {
        let outcome =
            bellhop(&cluster.kubeconfig(), &["drain", "--daemonset", "bellhop-speaker", "--timeout", "60s"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.stdout.contains(wanted), "{outcome:?}");
        let daemon_sets =
            cluster.kubectl(&["-n", "bellhop-system", "get", "daemonsets", "-o", "name"]).unwrap();
        assert_eq!(daemon_sets, "");
    }
}
