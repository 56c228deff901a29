//! The CRDs in `crds/`, judged by a real API server and by kubectl. Needs root and what `make setup` installs, for the control plane
//! that it brings up.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

#[path = "crds/refused.rs"]
mod refused;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bellhop_test_cluster::{Cluster, Mode, Options};
use serde_json::{Value, json};

/// Plurals of all kinds, in the order in which kubectl is asked for them.
const KINDS: [&str; 8] = [
    "addresspools",
    "addressclaims",
    "bgppeers",
    "bfdprofiles",
    "advertisements",
    "speakerconfigs",
    "decisionpolicies",
    "speakerstates",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An API server with the CRDs, and a folder for manifests.
struct Server {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Server {
    fn up() -> Self {
        let cluster = Cluster::up(&Options::new("crds-test").mode(Mode::ControlPlane)).unwrap();
        for entry in fs::read_dir(root().join("crds")).unwrap() {
            cluster.apply(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        }
        let established: Vec<String> = KINDS.iter().map(|kind| format!("crd/{kind}.bellhop.dev")).collect();
        let mut args = vec!["wait", "--for=condition=Established", "--timeout=30s"];
        args.extend(established.iter().map(String::as_str));
        cluster.kubectl(&args).unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap() }
    }

    /// What kubectl says to a manifest: standard output, or what it fails with.
    fn tell(&self, args: &[&str], manifest: &str) -> Result<String, String> {
        let path = self.folder.path().join("manifest.yaml");
        fs::write(&path, manifest).unwrap();
        let args = [args, &["-f", path.to_str().unwrap()]].concat();
        self.cluster.kubectl(&args).map_err(|error| error.to_string())
    }

    fn check(&self, manifest: &str) -> Result<String, String> {
        self.tell(&["create", "--dry-run=server"], manifest)
    }

    fn read(&self, object: &str) -> Value {
        self.cluster.kubectl_json(&["get", object]).unwrap()
    }
}

fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: bellhop.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}")
}

#[test]
fn the_api_server_takes_refuses_and_shows_objects_as_their_users_expect() {
    let server = Server::up();
    every_rule_is_broken_by_a_case_and_says_what_would_be_right(&server);
    what_is_right_is_taken(&server);
    what_the_documentation_and_the_demo_show_is_taken(&server);
    a_field_that_does_not_exist_is_an_error_or_a_warning(&server);
    defaults_are_filled_in(&server);
    an_address_and_a_hook_never_change(&server);
    status_and_spec_are_written_apart(&server);
    kubectl_get_answers_the_first_question(&server);
    kubectl_explain_tells_purpose_example_defaults_and_bounds(&server);
}

fn every_rule_is_broken_by_a_case_and_says_what_would_be_right(server: &Server) {
    // All at once: kubectl goes on after an error and says one line for each object with one error.
    let documents: Vec<_> =
        refused::CASES.iter().map(|(kind, name, spec, _)| manifest(kind, name, spec)).collect();
    let said = server.check(&documents.join("\n---\n")).unwrap_err();
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut untested = rules();
    for (index, (kind, name, spec, expected)) in refused::CASES.iter().enumerate() {
        let wanted = format!("{kind}.bellhop.dev \"{name}\" is invalid: {expected}");
        let line = said.get(index).copied().unwrap_or_default();
        assert!(line.ends_with(&wanted), "{kind} {spec}\nwanted: {wanted}\nsaid:   {line}");
        untested.retain(|message| !expected.ends_with(message.as_str()));
    }
    assert_eq!(said.len(), refused::CASES.len(), "{said:#?}");
    // Said of updates, below.
    untested.retain(|message| !message.contains("never changes"));
    assert_eq!(untested, BTreeSet::new(), "rules that no case breaks");
}

/// Message of every rule of `crds/`; selectors and the like have the same ones in every kind.
fn rules() -> BTreeSet<String> {
    fn collect(schema: &Value, found: &mut BTreeSet<String>) {
        if let Some(rules) = schema.get("x-kubernetes-validations").and_then(Value::as_array) {
            found.extend(rules.iter().map(|rule| rule["message"].as_str().unwrap().to_owned()));
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("crds")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        collect(&crd, &mut found);
    }
    assert!(found.len() > 25, "{found:?}");
    found
}

fn what_is_right_is_taken(server: &Server) {
    let peer = "peerAddress: 192.0.2.1, peerASN: 64496";
    for (kind, name, spec) in [
        (
            "AddressPool",
            "p",
            "{addresses: [203.0.113.10 - 203.0.113.20, 203.0.113.7, '2001:db8::-2001:db8::f']}",
        ),
        ("AddressPool", "p", "{addresses: [10.0.0.0/8], serviceSelector: {}, namespaceSelector: null}"),
        (
            "AddressPool",
            "p",
            "{addresses: [10.0.0.0/8], serviceSelector: {matchLabels: {example.com/a.b_c: ''}}}",
        ),
        ("AddressClaim", "2001-0db8-0000-0000-0000-0000-0000-0007", "{address: '2001:db8::7'}"),
        ("BGPPeer", "r", &format!("{{{peer}, holdTime: 0s, keepaliveTime: 30s}}")),
        ("BGPPeer", "r", &format!("{{{peer}, holdTime: 1.5m, localASN: null, sourceAddress: 192.0.2.9}}")),
        (
            "BGPPeer",
            "r",
            "{peerAddress: 'fe80::1', sourceInterface: eth0, peerASN: 4294967294, gracefulRestart: {restartTime: 4095s}}",
        ),
        ("BGPPeer", "r", "{peerRange: {prefix: 192.0.2.0/24}, dynamicASN: external, redirectPort: 179}"),
        ("BGPPeer", "r", "{peerRange: {prefix: '2001:db8::/64', maxSessions: 1000}, peerASN: 64496}"),
        ("BGPPeer", "r", "{peerInterface: eth1, dynamicASN: external, bfd: {profile: fast}}"),
        ("BGPPeer", "r", &format!("{{{peer}, ttlSecurity: 254, passwordSecret: router-a.password}}")),
        ("Advertisement", "a", "{}"),
        ("Advertisement", "a", "{pools: [], poolSelector: {matchLabels: {reach: internet}}}"),
        (
            "Advertisement",
            "a",
            "{attributes: {communities: ['0:65535', no-peer], largeCommunities: ['4294967295:0:1']}}",
        ),
        ("Advertisement", "a", "{aggregation: {ipv4Length: 24}}"),
        (
            "Advertisement",
            "a",
            "{maxNodes: 4, attributes: {linkBandwidthMbps: 10000, extendedCommunities: ['rt:64512:100', 'soo:192.0.2.1:7', \
             'rt:4200000000:65535', '0x0002fc0000000064']}}",
        ),
        (
            "BFDProfile",
            "fast",
            "{transmitInterval: 50ms, receiveInterval: 60s, detectMultiplier: 255, minimumTTL: 1}",
        ),
        ("BFDProfile", "default", "{}"),
        (
            "BGPPeer",
            "r",
            "{peerAddress: 192.0.2.1, dynamicASN: external, role: {name: customer, strict: true}, prefixLimit: 100, \
             extendedNextHop: true, sourceInterface: bond0.100, bfd: {profile: fast, strict: true}, logMessages: true, \
             gracefulRestart: {notifications: true}}",
        ),
        ("Advertisement", "a", "{aggregation: {ipv4Length: 1, ipv6Length: 128, exactRoutes: true}}"),
        (
            "SpeakerConfig",
            "s",
            "{routerID: null, listen: {port: 1179, addresses: ['::1']}, drain: {wait: 0s}}",
        ),
        ("SpeakerState", "node-1", "{}"),
    ] {
        server.check(&manifest(kind, name, spec)).unwrap_or_else(|said| panic!("{kind} {spec}: {said}"));
    }
}

fn what_the_documentation_and_the_demo_show_is_taken(server: &Server) {
    for namespace in ["shop", "media"] {
        server.cluster.kubectl(&["create", "namespace", namespace]).unwrap();
    }
    let demo = root().join("examples/demo/manifests");
    server.cluster.kubectl(&["apply", "--dry-run=server", "-R", "-f", demo.to_str().unwrap()]).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root().join("docs/kinds")).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        for block in page.split("```yaml\n").skip(1) {
            let manifest = block.split("```").next().unwrap();
            server.check(manifest).unwrap_or_else(|said| panic!("{}: {said}", path.display()));
            count += 1;
        }
    }
    assert!(
        count >= 6,
        "docs/kinds shows {count} manifests, and is to show one for each kind that users write"
    );
}

fn a_field_that_does_not_exist_is_an_error_or_a_warning(server: &Server) {
    let typo = manifest("AddressPool", "p", "{addresses: [203.0.113.0/24], autoAsign: false}");
    let said = server.check(&typo).unwrap_err();
    assert!(said.contains(r#"unknown field "spec.autoAsign""#), "{said}");
    // A client that asks for no strictness, as one of a newer version may: the field is dropped, the rest is taken.
    let made =
        server.tell(&["create", "--dry-run=server", "--validate=ignore", "-o", "json"], &typo).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["spec"], json!({"addresses": ["203.0.113.0/24"], "autoAssign": true, "priority": 0}));
}

fn defaults_are_filled_in(server: &Server) {
    server.cluster.apply(include_str!("crds/objects.yaml")).unwrap();
    assert_eq!(
        server.read("bgppeer/router-a")["spec"],
        json!({
            "peerAddress": "192.0.2.1", "peerASN": 4_200_000_001_u64, "peerPort": 179, "passive": false,
            "holdTime": "90s", "connectRetryTime": "10s", "families": ["IPv4", "IPv6"],
            "gracefulRestart": {"enabled": true, "restartTime": "120s", "notifications": false},
            "extendedNextHop": false, "logMessages": false,
        })
    );
    let policy = server.read("decisionpolicy/peer-attributes");
    for (field, value) in [
        ("/spec/plugin/key", json!("module.wasm.zst")),
        ("/spec/failurePolicy", json!("KeepLast")),
        ("/spec/initial", json!("UseDefault")),
        ("/spec/priority", json!(0)),
    ] {
        assert_eq!(policy.pointer(field), Some(&value), "{field}");
    }
}

fn an_address_and_a_hook_never_change(server: &Server) {
    let patch = |object: &str, patch: &str| {
        let args = ["patch", object, "--type=merge", "-p", patch];
        server.cluster.kubectl(&args).unwrap_err().to_string()
    };
    let said = patch("addressclaim/203.0.113.7", r#"{"spec":{"address":"203.0.113.8"}}"#);
    let wanted = "spec.address: Invalid value: \"203.0.113.8\": the address of a claim never changes; create another claim";
    assert!(said.contains(wanted), "{said}");
    let said = patch("decisionpolicy/peer-attributes", r#"{"spec":{"hook":"Nodes"}}"#);
    let wanted = "spec.hook: Invalid value: the hook of a policy never changes; create another policy";
    assert!(said.contains(wanted), "{said}");
}

fn status_and_spec_are_written_apart(server: &Server) {
    let patch = |subresource: &[&str], patch: &str| {
        let args = [&["patch", "addresspool/public", "--type=merge", "-p", patch], subresource].concat();
        server.cluster.kubectl(&args).unwrap();
        server.read("addresspool/public")
    };
    let usage = r#"{"capacity": 256, "used": 1, "free": 255}"#;
    let pool = patch(&[], &format!(r#"{{"status": {{"ipv4": {usage}}}, "spec": {{"priority": 5}}}}"#));
    assert_eq!((&pool["status"], &pool["spec"]["priority"]), (&Value::Null, &json!(5)));
    let status = format!(r#"{{"status": {{"ipv4": {usage}}}, "spec": {{"priority": 7}}}}"#);
    let pool = patch(&["--subresource=status"], &status);
    assert_eq!((&pool["status"]["ipv4"]["used"], &pool["spec"]["priority"]), (&json!(1), &json!(5)));
    assert_eq!(pool["metadata"]["generation"], json!(2), "a status is no new generation");
}

fn kubectl_get_answers_the_first_question(server: &Server) {
    for line in include_str!("crds/statuses.txt").lines().filter(|line| !line.starts_with('#')) {
        let (object, status) = line.split_once(' ').unwrap();
        server.cluster.patch_status("default", object, status).unwrap();
    }
    let mut shown = String::new();
    for kind in KINDS {
        let table = server.cluster.kubectl(&["get", kind, "--sort-by=.metadata.name"]).unwrap();
        shown += &format!("$ kubectl get {kind}\n{}\n", without_ages(&table));
    }
    let path = root().join("tests/crds/tests/crds/columns.txt");
    if std::env::var_os("BELLHOP_WRITE_CRDS").is_some() {
        fs::write(&path, &shown).unwrap();
    }
    let wanted = fs::read_to_string(path).unwrap();
    assert_eq!(shown, wanted, "kubectl shows something else than columns.txt:\n{shown}");
}

/// A table whose last column, the age, is cut off.
fn without_ages(table: &str) -> String {
    let cut = table.lines().next().unwrap().rfind("AGE").unwrap();
    table.lines().map(|line| format!("{}\n", line[..cut].trim_end())).collect()
}

fn kubectl_explain_tells_purpose_example_defaults_and_bounds(server: &Server) {
    let explain = |path: &str| server.cluster.kubectl(&["explain", path]).unwrap();
    for kind in KINDS {
        let text = explain(kind);
        assert!(
            kind == "speakerstates" || text.contains("\n        kind: "),
            "{kind} has no example:\n{text}"
        );
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(!text.contains("Auto-generated") && longest < Some(140), "{kind}:\n{text}");
    }
    for (path, wanted) in [
        ("bgppeers.spec.holdTime", "Default: 90s."),
        ("bgppeers.spec.peerPort", "Default: 179. From 1 to 65535."),
        ("addresspools.spec.addresses", "At most 64 entries."),
        ("decisionpolicies.spec.failurePolicy", "- KeepLast: the last decision"),
        ("addresspools.status.ipv4.free", "addresses that no AddressClaim names"),
    ] {
        let text = explain(path);
        assert!(text.contains(wanted), "{path}:\n{text}");
    }
}
