//! `bellhop controller` against a real API server. Needs root and what `make setup` installs.
//!
//! Writes are counted by the API server itself (`apiserver_request_total`), not by who makes them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod skew;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use bellhop_test_cluster::{Cluster, Mode, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// For what a controller does at once, on a machine that does other work besides.
const SOON: Duration = Duration::from_secs(60);

/// Services of the first step.
const SERVICES: usize = 200;

/// What `look` finds, once it finds something.
fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    bellhop_test_cluster::wait_for(what, deadline, || look().ok_or_else(|| "not yet".to_owned())).unwrap()
}

/// A controller under the administrator's kubeconfig.
struct Controller(Child);

impl Controller {
    fn start(cluster: &Cluster, name: &str, port: u16) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_bellhop"))
            .args(["controller", "--name", name, "--listen", &format!("127.0.0.1:{port}")])
            .env("KUBECONFIG", cluster.kubeconfig())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// SIGTERM; it gives its Lease back.
    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn manifest(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "type": "LoadBalancer", "loadBalancerClass": class, "ports": [{ "port": 80 }] },
    })
}

fn apply(cluster: &Cluster, objects: &[Value]) {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.apply(&documents.join("\n---\n")).unwrap();
}

fn service(cluster: &Cluster, name: &str) -> Value {
    cluster.kubectl_json(&["get", "service", name, "-o", "json"]).unwrap()
}

fn address(cluster: &Cluster, name: &str) -> Option<String> {
    let service = service(cluster, name);
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
}

fn has_address(cluster: &Cluster, name: &str) -> String {
    wait_for(&format!("an address of {name}"), SOON, || address(cluster, name))
}

/// Requests of a kind that succeeded, as the API server counts them.
fn count(cluster: &Cluster, verb: &str, resource: &str, subresource: &str) -> u64 {
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]).unwrap();
    let labels = [
        format!("verb=\"{verb}\""),
        format!("resource=\"{resource}\""),
        format!("subresource=\"{subresource}\""),
        "code=\"20".to_owned(),
    ];
    let lines = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label.as_str())));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// Claims made, changed and deleted, and statuses written.
fn writes(cluster: &Cluster) -> [u64; 4] {
    [
        count(cluster, "POST", "addressclaims", ""),
        count(cluster, "PUT", "addressclaims", ""),
        count(cluster, "DELETE", "addressclaims", ""),
        count(cluster, "APPLY", "services", "status"),
    ]
}

fn services_with(cluster: &Cluster, what: impl Fn(&Value) -> bool) -> usize {
    let services: Value = cluster.kubectl_json(&["get", "services", "-o", "json"]).unwrap();
    services["items"].as_array().unwrap().iter().filter(|service| what(service)).count()
}

fn is_announced_or_not(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == "bellhop.dev/Announced"))
}

fn lacks_an_address(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array();
    let told =
        |condition: &Value| condition["type"] == "bellhop.dev/Allocated" && condition["status"] == "False";
    conditions.is_some_and(|all| all.iter().any(told))
}

fn crds(cluster: &Cluster) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    cluster.kubectl(&["apply", "--server-side", "-f", folder.to_str().unwrap()]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
}

#[test]
fn a_controller_allocates_restarts_adopts_and_hands_over() {
    let cluster = Cluster::up(&Options::new("ctl").mode(Mode::ControlPlane)).unwrap();
    crds(&cluster);
    cluster.kubectl(&["create", "namespace", "bellhop-system"]).unwrap();
    apply(&cluster, &[wrong_membership_key()]);
    let first = Controller::start(&cluster, "a", 19_475);
    services_before_their_pool_cost_two_writes_each_once_it_is_there(&cluster);
    first.stop();
    a_secret_of_somebody_else_is_not_written_over(&cluster);
    let second = restarted_it_writes_nothing_and_serves_the_next_service(&cluster);
    services_of_others_are_not_touched_and_types_may_change(&cluster);
    a_status_written_by_somebody_else_is_corrected(&cluster);
    a_membership_key_is_made_where_there_is_none(&cluster);
    a_peer_shows_its_sessions(&cluster);
    second.stop();
    what_changed_while_no_controller_ran_is_put_right(&cluster);
}

fn services_before_their_pool_cost_two_writes_each_once_it_is_there(cluster: &Cluster) {
    let services: Vec<Value> =
        (0..SERVICES).map(|number| manifest(&format!("s{number:03}"), "bellhop.dev/bellhop")).collect();
    apply(cluster, &services);
    wait_for("all Services to be told that there is no pool", 2 * SOON, || {
        (services_with(cluster, lacks_an_address) == SERVICES).then_some(())
    });
    let before = writes(cluster);
    assert_eq!(before, [0, 0, 0, SERVICES as u64]);
    let pool = json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "AddressPool",
        "metadata": { "name": "public" },
        "spec": { "addresses": ["198.51.100.0/23"] },
    });
    apply(cluster, &[pool]);
    // One more write tells that nobody announces them.
    wait_for("all Services to be told of", 2 * SOON, || {
        (services_with(cluster, is_announced_or_not) == SERVICES).then_some(())
    });
    let addresses: std::collections::BTreeSet<_> =
        (0..SERVICES).map(|number| address(cluster, &format!("s{number:03}")).unwrap()).collect();
    assert_eq!(addresses.len(), SERVICES);
    let services = SERVICES as u64;
    let [made, changed, released, statuses] = writes(cluster);
    assert_eq!([made, changed, released, statuses - before[3]], [services, 0, 0, 2 * services]);
}

/// A Secret of the name that the controller gives its own, and of another type.
fn wrong_membership_key() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "example.com/other",
        "metadata": { "name": "bellhop-membership", "namespace": "bellhop-system" },
        "stringData": { "password": "x" },
    })
}

fn membership_key(cluster: &Cluster) -> Option<Value> {
    let secret = ["get", "secret", "bellhop-membership", "-n", "bellhop-system", "-o", "json"];
    cluster.kubectl_json(&secret).ok()
}

fn a_secret_of_somebody_else_is_not_written_over(cluster: &Cluster) {
    let secret = membership_key(cluster).unwrap();
    assert_eq!(
        (&secret["type"], &secret["data"]),
        (&json!("example.com/other"), &json!({ "password": "eA==" }))
    );
    cluster.kubectl(&["delete", "secret", "bellhop-membership", "-n", "bellhop-system"]).unwrap();
}

fn a_membership_key_is_made_where_there_is_none(cluster: &Cluster) {
    let secret = wait_for("a membership key", SOON, || membership_key(cluster));
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret["data"]["key"].as_str().map(str::len), Some(44), "32 bytes as base64");
}

fn a_peer_shows_its_sessions(cluster: &Cluster) {
    let of = |kind: &str, name: &str, spec: Value| {
        let api = "bellhop.dev/v1alpha1";
        json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name }, "spec": spec })
    };
    let peer = of("BGPPeer", "router", json!({ "peerAddress": "192.0.2.1", "peerASN": 64513 }));
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "bellhop-speaker-n1", "namespace": "bellhop-system",
            "labels": { "bellhop.dev/lease": "speaker" },
        },
        "spec": { "holderIdentity": "n1", "leaseDurationSeconds": 40 },
    });
    let node = |name: &str| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    apply(cluster, &[node("n1"), node("n2"), peer, lease, of("SpeakerState", "n1", json!({}))]);
    apply(cluster, &[of("SpeakerState", "n2", json!({}))]);
    let sessions = |node: &str, state: &str| {
        let sessions = json!([{ "peer": "router", "address": "192.0.2.1", "state": state }]);
        let patch = json!({ "status": { "announcedCount": 0, "exceptionCount": 0, "sessions": sessions } });
        let arguments = ["patch", "speakerstate", node, "--subresource=status", "--type=merge", "-p"];
        cluster.kubectl(&[&arguments[..], &[&patch.to_string()]].concat()).unwrap();
    };
    let shows = |established: u32, nodes: u32| {
        wait_for(&format!("{established} of {nodes} sessions"), SOON, || {
            let peer: Value = cluster.kubectl_json(&["get", "bgppeer", "router", "-o", "json"]).unwrap();
            let status = &peer["status"];
            (status["established"] == established && status["nodes"] == nodes).then_some(())
        });
    };
    sessions("n1", "Established");
    // It has no Lease: what it reports is of a speaker that is gone.
    sessions("n2", "Established");
    shows(1, 2);
    sessions("n1", "Active");
    shows(0, 2);
}

fn restarted_it_writes_nothing_and_serves_the_next_service(cluster: &Cluster) -> Controller {
    let before = writes(cluster);
    let controller = Controller::start(cluster, "b", 19_475);
    apply(cluster, &[manifest("next", "bellhop.dev/bellhop")]);
    has_address(cluster, "next");
    let [creates, updates, releases, _] = before;
    let after = writes(cluster);
    assert_eq!(after[..3], [creates + 1, updates, releases]);
    assert!(after[3] - before[3] <= 2, "{before:?} {after:?}");
    controller
}

fn services_of_others_are_not_touched_and_types_may_change(cluster: &Cluster) {
    apply(cluster, &[manifest("theirs", "example.com/other"), manifest("changes", "bellhop.dev/bellhop")]);
    let held = has_address(cluster, "changes");
    let patch = r#"{"spec":{"type":"ClusterIP","loadBalancerClass":null}}"#;
    cluster.kubectl(&["patch", "service", "changes", "-p", patch]).unwrap();
    wait_for("the status to be cleared and the claim to be released", SOON, || {
        let released = cluster.kubectl(&["get", "addressclaim", &held]).is_err();
        (released && address(cluster, "changes").is_none()).then_some(())
    });
    assert!(!is_announced_or_not(&service(cluster, "changes")));
    let managed =
        cluster.kubectl(&["get", "service", "theirs", "--show-managed-fields", "-o", "json"]).unwrap();
    assert!(!managed.contains("bellhop-controller"), "{managed}");
}

fn a_status_written_by_somebody_else_is_corrected(cluster: &Cluster) {
    let held = has_address(cluster, "s000");
    let stolen = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.66"}]}}}"#;
    cluster
        .kubectl(&["patch", "service", "s000", "--subresource=status", "--type=merge", "-p", stolen])
        .unwrap();
    wait_for("the status to be corrected", SOON, || {
        (address(cluster, "s000").as_ref() == Some(&held)).then_some(())
    });
}

fn what_changed_while_no_controller_ran_is_put_right(cluster: &Cluster) {
    let addresses: Vec<(String, String)> =
        ["s001", "s002", "s003"].map(|name| (name.to_owned(), has_address(cluster, name))).to_vec();
    let gone: Ipv4Addr = has_address(cluster, "s004").parse().unwrap();
    cluster.kubectl(&["delete", "service", "s004"]).unwrap();
    // As from a backup: the claim names the UID that the Service had then.
    let (_, restored) = &addresses[0];
    let patch = r#"[{"op":"replace","path":"/spec/holders/0/uid","value":"of-the-backup"}]"#;
    cluster.kubectl(&["patch", "addressclaim", restored, "--type=json", "-p", patch]).unwrap();
    let first = Controller::start(cluster, "c", 19_475);
    wait_for("the claim of the Service that is gone to be released", SOON, || {
        cluster.kubectl(&["get", "addressclaim", &gone.to_string()]).is_err().then_some(())
    });
    wait_for("the restored claim to be adopted", SOON, || {
        let claim: Value = cluster.kubectl_json(&["get", "addressclaim", restored, "-o", "json"]).unwrap();
        let uid = service(cluster, "s001")["metadata"]["uid"].clone();
        (claim["spec"]["holders"][0]["uid"] == uid).then_some(())
    });
    first.stop();
    cluster.kubectl(&["delete", "crd", "addressclaims.bellhop.dev"]).unwrap();
    crds(cluster);
    let second = Controller::start(cluster, "d", 19_475);
    let third = Controller::start(cluster, "e", 19_476);
    for (name, before) in &addresses {
        wait_for("the claim to be made again", SOON, || {
            cluster.kubectl(&["get", "addressclaim", before]).ok()
        });
        assert_eq!(address(cluster, name).as_ref(), Some(before));
    }
    second.stop();
    apply(cluster, &[manifest("after-handover", "bellhop.dev/bellhop")]);
    has_address(cluster, "after-handover");
    third.stop();
}
