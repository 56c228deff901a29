//! What a BGPPeer's status says of its sessions.

use bellhop_api::BGPPeerStatus;
use bellhop_index::{Index, Options};

use super::*;

const MANIFESTS: &str = "
{apiVersion: v1, kind: Node, metadata: {name: a, labels: {rack: one}}}
---
{apiVersion: v1, kind: Node, metadata: {name: b, labels: {rack: one}}}
---
{apiVersion: v1, kind: Node, metadata: {name: without-speaker, labels: {rack: one}}}
---
{apiVersion: v1, kind: Node, metadata: {name: other, labels: {rack: two}}}
---
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {peerAddress: 192.0.2.1, peerASN: 64513, nodeSelector: {matchLabels: {rack: one}}}
";

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.api.put_manifests(Index::new(Options::default()).apply("m.yaml", MANIFESTS.as_bytes()));
    bench.settle();
    bench
}

fn up(bench: &mut Bench, node: &str) {
    bench.api.speaker(node, true, &[("router", "Established"), ("another", "Established")]);
}

/// Established sessions, and nodes that should have one.
fn status(bench: &Bench) -> (Option<i32>, Option<i32>) {
    match &bench.api.objects[&ObjectRef::cluster("BGPPeer", "router")].status {
        Status::Peer(status) => {
            let BGPPeerStatus { nodes, established, conditions } = &**status;
            assert_eq!(conditions[0].reason, "Ready");
            (*established, *nodes)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_shows_how_many_of_the_nodes_that_it_selects_have_a_session() {
    let mut bench = bench();
    up(&mut bench, "a");
    up(&mut bench, "other");
    bench.api.speaker("b", true, &[("router", "Active")]);
    bench.wait(6);
    assert_eq!(status(&bench), (Some(1), Some(2)));
    up(&mut bench, "b");
    bench.wait(6);
    assert_eq!(status(&bench), (Some(2), Some(2)));
    // Its Lease ran out: what it reported last is not so any more, and its node still should have a session.
    bench.api.speaker("a", false, &[("router", "Established")]);
    bench.wait(6);
    assert_eq!(status(&bench), (Some(1), Some(2)));
    bench.api.report("a", None);
    bench.wait(6);
    assert_eq!(status(&bench), (Some(1), Some(1)));
}

#[test]
fn sessions_that_come_and_go_cost_a_peer_one_write_in_five_seconds_and_what_stands_costs_none() {
    let mut bench = bench();
    up(&mut bench, "a");
    bench.wait(6);
    bench.writes();
    for _ in 0..4 {
        bench.api.speaker("a", true, &[("router", "Idle")]);
        bench.wait(1);
        up(&mut bench, "b");
        bench.wait(1);
        up(&mut bench, "a");
        bench.wait(1);
        bench.api.speaker("b", true, &[("router", "Connect")]);
        bench.wait(1);
    }
    let written = bench.writes().iter().filter(|write| *write == "status BGPPeer/router").count();
    assert!((1..=4).contains(&written), "{written} writes in 16 s");
    bench.wait(30);
    bench.writes();
    bench.restart();
    bench.wait(60);
    assert!(!bench.writes().contains(&"status BGPPeer/router".to_owned()));
    assert_eq!(status(&bench), (Some(1), Some(2)));
}

#[test]
fn a_node_that_a_peer_selects_from_now_on_is_counted() {
    let mut bench = bench();
    up(&mut bench, "other");
    bench.wait(6);
    assert_eq!(status(&bench), (Some(0), Some(0)));
    let manifest = "{apiVersion: v1, kind: Node, metadata: {name: other, labels: {rack: one}}}";
    bench.api.put_manifests(Index::new(Options::default()).apply("n.yaml", manifest.as_bytes()));
    bench.wait(6);
    assert_eq!(status(&bench), (Some(1), Some(1)));
}

const WATCHED: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {peerAddress: 192.0.2.1, peerASN: 64513, bfd: {profile: fast, strict: true}}
";

const PROFILE: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: BFDProfile
metadata: {name: fast}
spec: {transmitInterval: 100ms}
";

#[test]
fn a_peer_says_that_its_bfd_profile_is_not_there_and_says_so_no_more_once_it_is() {
    let ready = |bench: &Bench, kind: &str, name: &str| {
        let conditions = match &bench.api.objects[&ObjectRef::cluster(kind, name)].status {
            Status::Peer(status) => status.conditions.clone(),
            Status::Conditions(conditions) => conditions.clone(),
            other => panic!("{other:?}"),
        };
        format!("{:?} {}: {}", conditions[0].status, conditions[0].reason, conditions[0].message)
    };
    let mut bench = Bench::new();
    let mut index = Index::new(Options::default());
    bench.api.put_manifests(index.apply("peer.yaml", WATCHED.as_bytes()));
    bench.settle();
    assert_eq!(
        ready(&bench, "BGPPeer", "router"),
        "False UnknownProfile: spec.bfd.profile: \"fast\": no BFDProfile of this name is in force; correct the name or \
         make the BFDProfile; until then no session is opened"
    );
    bench.api.put_manifests(index.apply("profile.yaml", PROFILE.as_bytes()));
    bench.settle();
    assert_eq!(
        ready(&bench, "BGPPeer", "router"),
        "True Ready: valid and in force; spec.bfd beside spec.gracefulRestart: BFD ends with a speaker, so the router \
         withdraws when one restarts, or, where it checks for control plane failure, keeps sending to a node that died for \
         up to 120 s"
    );
    let without = WATCHED.replace("peerASN: 64513,", "peerASN: 64513, gracefulRestart: {enabled: false},");
    bench.api.put_manifests(index.apply("peer.yaml", without.as_bytes()));
    bench.settle();
    assert_eq!(ready(&bench, "BGPPeer", "router"), "True Ready: valid and in force");
    assert_eq!(ready(&bench, "BFDProfile", "fast"), "True Ready: valid and in force");
    bench.api.put_manifests(index.delete("profile.yaml"));
    bench.settle();
    assert!(ready(&bench, "BGPPeer", "router").starts_with("False UnknownProfile"));
}
