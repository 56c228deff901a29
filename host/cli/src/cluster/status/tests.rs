use bellhop_core::report::{AllocationRole, PeerRow, Phase};
use bellhop_core::{ObjectRef, Problem};
use serde_json::{Value, json};

use super::*;
use crate::cluster::speakers::Speaker;

const PLACE: (&str, &str) = ("https://192.0.2.9:6443", "bellhop-system");

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn ready(status: &str, reason: &str, message: &str) -> Value {
    json!([{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": ""}])
}

fn api(kind: &str, name: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": "bellhop.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec, "status": status})
}

fn objects() -> Objects {
    let state = |node: &str| {
        object(api(
            "SpeakerState",
            node,
            json!({}),
            json!({
                "phase": "Ready", "version": "0.1.0", "sessionsUp": "1/2", "announcedCount": 12, "exceptionCount": 1,
                "sessions": [{"peer": "router-b", "address": "192.0.2.2", "state": "Active", "lastError": "refused"}],
                "exceptions": [{
                    "namespace": "web", "name": "shop", "address": "203.0.113.7", "reason": "NoEndpoints",
                    "message": "no endpoint takes traffic",
                }],
            }),
        ))
    };
    Objects {
        pools: vec![
            object(api(
                "AddressPool",
                "public",
                json!({"addresses": ["203.0.113.0/24", "2001:db8::/64"]}),
                json!({
                    "ipv4": PoolUsage::new(256, 1), "ipv6": PoolUsage::new(1 << 64, 0),
                    "conditions": ready("True", "Ready", ""),
                }),
            )),
            object(api(
                "AddressPool",
                "stale",
                json!({"addresses": ["203.0.113.9-203.0.113.8"]}),
                json!({"conditions": ready("False", "InvalidRange", "spec.addresses[0]: is inverted")}),
            )),
        ],
        states: vec![state("node-1"), state("node-2")],
        services: vec![object(json!({
            "metadata": {"namespace": "web", "name": "shop"},
            "spec": {"type": "LoadBalancer", "loadBalancerClass": "bellhop.dev/bellhop"},
            "status": {
                "loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]},
                "conditions": [
                    {"type": "bellhop.dev/Allocated", "status": "True", "reason": "Allocated", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "bellhop.dev/Announced", "status": "False", "reason": "NoEndpoints",
                     "message": "no node has an endpoint", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                ],
            },
        }))],
        ..Objects::default()
    }
}

fn speaker(node: &str) -> Speaker {
    Speaker { node: node.into(), pod: format!("bellhop-speaker-{node}"), not_ready: None }
}

fn live(node: &str) -> Status {
    let peer = PeerRow {
        name: "router-a".into(),
        address: Some("192.0.2.1".parse().unwrap()),
        router_id: None,
        hold_time: 9,
        capabilities: Vec::new(),
        messages_sent: 3,
        messages_received: 3,
        peer_asn: 64496,
        local_asn: 64500,
        state: "Established".into(),
        up_seconds: Some(5),
        families: Vec::new(),
        wanted: 1,
        sent: 1,
        updates_sent: 1,
        last_error: None,
        bfd: None,
    };
    Status {
        node: node.into(),
        version: "0.2.0".into(),
        phase: Phase::Ready,
        allocation: AllocationRole::Controller,
        peers: vec![peer],
        services: Vec::new(),
        pools: Vec::new(),
        policies: Vec::new(),
        problems: Vec::new(),
    }
}

#[test]
fn what_a_speaker_says_now_counts_more_than_what_it_reported() {
    let answers = vec![
        (speaker("node-1"), Ok(live("node-1"))),
        (speaker("node-2"), Err(AskError::Silent("pod x did not answer within 10 s".into()))),
        (speaker("node-3"), Ok(live("node-3"))),
    ];
    let status = merge(PLACE, &objects(), &Running::default(), answers);
    let rows: Vec<_> = status
        .nodes
        .iter()
        .map(|row| {
            (row.node.as_str(), row.sessions.as_deref(), row.addresses, row.live, row.trouble.is_some())
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("node-1", Some("1/1"), Some(12), true, false),
            ("node-2", Some("1/2"), Some(12), false, true),
            ("node-3", Some("1/1"), None, true, false),
        ]
    );
    let text = table(&status, None);
    assert!(text.contains("\nNode/node-2: pod x did not answer within 10 s (NoSpeaker)\n"), "{text}");
    // The session that was down when node-1 reported is up now, and of node-2 nobody knows better.
    let sessions = status.problems.iter().filter(|problem| problem.reason == "NoSession");
    assert_eq!(sessions.filter_map(|problem| problem.node.as_deref()).collect::<Vec<_>>(), ["node-2"]);
}

#[test]
fn a_session_that_is_down_now_is_a_problem() {
    let mut down = live("node-1");
    down.peers[0].state = "Connect".into();
    down.peers[0].last_error = Some("refused".into());
    let answers = vec![(speaker("node-1"), Ok(down))];
    let status = merge(PLACE, &Objects::default(), &Running::default(), answers);
    let text = table(&status, None);
    assert!(
        text.contains("\nBGPPeer/router-a on node-1: Connect; last error: refused (NoSession)\n"),
        "{text}"
    );
}

#[test]
fn what_somebody_decided_for_a_node_is_noted_and_nothing_is_wrong() {
    let told = |reason: &str| {
        let exception = json!({"namespace": "web", "name": "shop", "address": "203.0.113.7", "reason": reason, "message": "m"});
        let state =
            api("SpeakerState", "node-1", json!({}), json!({"phase": "Ready", "exceptions": [exception]}));
        let objects = Objects { states: vec![object(state)], ..Objects::default() };
        let status = merge(PLACE, &objects, &Running::default(), Vec::new());
        (status.problems.len(), status.notes.len(), table(&status, None))
    };
    // Every cluster of kubeadm excludes its control plane by a label.
    for reason in ["NodeExcluded", "NoAdvertisement", "NoPeer", "Ineligible", "WithheldByPolicy"] {
        let (problems, notes, text) = told(reason);
        assert_eq!((problems, notes), (0, 1), "{text}");
        let line = format!("\nNOTES\nService/web/shop on node-1: 203.0.113.7: m ({reason})\n");
        assert!(text.contains(&line), "{text}");
    }
    for reason in ["NotBound", "NoSession", "NoASN", "NoEndpoints"] {
        let (problems, notes, text) = told(reason);
        assert_eq!((problems, notes), (1, 0), "{text}");
    }
}

#[test]
fn bellhop_itself_is_looked_at_with_the_rest() {
    let running = Running { leases: Some(BTreeMap::new()), ..Running::default() };
    let status = merge(PLACE, &Objects::default(), &running, Vec::new());
    let [problem] = status.problems.as_slice() else { panic!("{:?}", status.problems) };
    assert_eq!(problem.reason, "NoLeader");
}

#[test]
fn what_is_wrong_with_a_node_itself_is_told() {
    let node = ObjectRef::cluster("Node", "node-1");
    let problem =
        Problem::new(node, "StrictArpMissing", "", "arp_ignore=0", "run kube-proxy with --ipvs-strict-arp");
    let elsewhere =
        Problem::new(ObjectRef::cluster("AddressPool", "stale"), "InvalidRange", "", "", "is inverted");
    let status = Status { problems: vec![problem, elsewhere], ..live("node-1") };
    let merged =
        merge(PLACE, &Objects::default(), &Running::default(), vec![(speaker("node-1"), Ok(status))]);
    let [told] = merged.problems.as_slice() else { panic!("{:?}", merged.problems) };
    assert_eq!((told.node.as_deref(), told.reason.as_str()), (Some("node-1"), "StrictArpMissing"));
    assert!(told.message.contains("--ipvs-strict-arp"), "{}", told.message);
}

#[test]
fn a_user_who_may_not_exec_is_told_once_and_sees_the_rest() {
    let forbidden = || Err(AskError::Forbidden("User \"u\" cannot create resource \"pods/exec\"".into()));
    let answers = vec![(speaker("node-1"), forbidden()), (speaker("node-2"), forbidden())];
    let status = merge(PLACE, &objects(), &Running::default(), answers);
    assert_eq!(
        status.not_shown,
        ["what speakers say at this moment: User \"u\" cannot create resource \"pods/exec\""]
    );
    assert_eq!(status.nodes.len(), 2);
    assert!(status.nodes.iter().all(|row| row.trouble.is_none() && row.phase.as_deref() == Some("Ready")));
}

#[test]
fn a_kind_that_may_not_be_listed_is_not_said_to_be_absent() {
    let mut objects = Objects { hidden: ["AddressPool".into()].into(), ..Objects::default() };
    objects.not_shown.push("addresspools.bellhop.dev is forbidden".into());
    let text = table(&merge(PLACE, &objects, &Running::default(), Vec::new()), None);
    assert!(text.contains("POOLS\nnot shown, see below\n"), "{text}");
    assert!(text.ends_with("NOT SHOWN\naddresspools.bellhop.dev is forbidden\n"), "{text}");
}

#[test]
fn the_whole_table_of_a_cluster() {
    let text = table(&merge(PLACE, &objects(), &Running::default(), Vec::new()), None);
    let expected = "\
Cluster https://192.0.2.9:6443

NODES
NODE    SPEAKER  SESSIONS  ADDRESSES  EXCEPTIONS  VERSION  SEEN
node-1  Ready    1/2       12         1           0.1.0    last report
node-2  Ready    1/2       12         1           0.1.0    last report

SERVICES
SERVICE   ADDRESSES    ALLOCATED  ANNOUNCED
web/shop  203.0.113.7  True       False NoEndpoints

POOLS
NAME    ADDRESSES                USED/FREE    READY
public  203.0.113.0/24           IPv4 1/255   True
        2001:db8::/64            IPv6 0/many
stale   203.0.113.9-203.0.113.8  -            False InvalidRange

POLICIES
no DecisionPolicy: built-in decisions

PROBLEMS
AddressPool/stale: spec.addresses[0]: is inverted (InvalidRange)
BGPPeer/router-b on node-1: Active; last error: refused (NoSession)
BGPPeer/router-b on node-2: Active; last error: refused (NoSession)
Service/web/shop: no node has an endpoint (NoEndpoints)
Service/web/shop on node-1: 203.0.113.7: no endpoint takes traffic (NoEndpoints)
Service/web/shop on node-2: 203.0.113.7: no endpoint takes traffic (NoEndpoints)
";
    assert_eq!(text, expected);
}
