use serde_json::json;

use super::*;

const NAMESPACE: &str = "bellhop-system";

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn lease(name: &str, holder: &str, renewed: &str) -> Lease {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 40, "renewTime": renewed},
    }))
    .unwrap()
}

fn row(node: &str, phase: Option<&str>) -> NodeRow {
    NodeRow { node: node.into(), phase: phase.map(str::to_owned), ..NodeRow::default() }
}

fn pod(node: &str) -> Speaker {
    Speaker { node: node.into(), pod: format!("bellhop-speaker-{node}"), not_ready: None }
}

/// Two nodes of two, with a leader.
fn well() -> Running {
    let names = ["bellhop-controller", "bellhop-speaker-node-1", "bellhop-speaker-node-2"];
    Running {
        leases: Some(names.map(|name| (name.to_owned(), Life::Lives)).into()),
        wanted: Some([("bellhop-speaker".to_owned(), 2)].into()),
        pods: Some(vec![pod("node-1"), pod("node-2")]),
        not_shown: Vec::new(),
    }
}

fn rows() -> Vec<NodeRow> {
    vec![row("node-1", Some("Ready")), row("node-2", Some("Ready"))]
}

fn told(running: &Running, nodes: &[NodeRow]) -> Vec<String> {
    let troubles = troubles(NAMESPACE, running, nodes, true);
    troubles.iter().map(|one| format!("{}: {} ({})", one.object, one.message, one.reason)).collect()
}

fn with_lease(name: &str, life: Option<Life>) -> Running {
    let mut running = well();
    let leases = running.leases.as_mut().unwrap();
    match life {
        Some(life) => leases.insert(name.into(), life),
        None => leases.remove(name),
    };
    running
}

#[test]
fn where_all_runs_nothing_is_told() {
    assert_eq!(told(&well(), &rows()), [""; 0]);
}

#[test]
fn without_a_leader_that_lives_something_is_wrong() {
    for (life, why) in
        [(Some(Life::RanOut), "ran out"), (Some(Life::GivenBack), "was given back"), (None, "is not there")]
    {
        assert_eq!(
            told(&with_lease("bellhop-controller", life), &rows()),
            [format!(
                "Lease/bellhop-system/bellhop-controller: no controller leads: the Lease {why} (NoLeader)"
            )]
        );
    }
}

#[test]
fn a_node_whose_speaker_does_not_live_is_named_and_counted_once() {
    let running = with_lease("bellhop-speaker-node-2", Some(Life::RanOut));
    assert_eq!(
        told(&running, &rows()),
        ["Node/node-2: its speaker does not live: its Lease ran out (NoSpeaker)"]
    );
}

#[test]
fn a_node_that_is_to_have_a_speaker_and_has_no_pod_is_counted() {
    let mut running = with_lease("bellhop-speaker-node-2", None);
    running.pods = Some(vec![pod("node-1")]);
    assert_eq!(
        told(&running, &rows()[..1]),
        [
            "DaemonSet/bellhop-system/bellhop-speaker: 2 nodes are to have a speaker, 1 have one that lives (NoSpeaker)"
        ]
    );
}

#[test]
fn a_node_that_the_daemon_set_has_left_is_no_trouble() {
    let mut running = with_lease("bellhop-speaker-node-2", Some(Life::GivenBack));
    running.pods = Some(vec![pod("node-1")]);
    running.wanted = Some([("bellhop-speaker".to_owned(), 1)].into());
    let nodes = [row("node-1", Some("Ready")), row("node-2", Some("Draining"))];
    assert_eq!(told(&running, &nodes), [""; 0]);
}

#[test]
fn a_namespace_without_speakers_is_told() {
    let running = Running { pods: Some(Vec::new()), wanted: Some(BTreeMap::new()), ..well() };
    assert_eq!(
        told(&running, &[]),
        [
            "Namespace/bellhop-system: no speaker's pod is here (--namespace names another namespace) (NoSpeaker)"
        ]
    );
}

#[test]
fn a_speaker_that_gives_no_answer_is_not_ready_or_has_not_reported_is_told() {
    let silent = NodeRow { trouble: Some("pod x: broken off".into()), ..row("node-2", None) };
    for (second, wanted) in [
        (silent, "Node/node-2: pod x: broken off (NoSpeaker)"),
        (row("node-2", Some("Binding")), "Node/node-2: its speaker is not ready: Binding (Pending)"),
        (row("node-2", Some("Draining")), "Node/node-2: its speaker drains (Draining)"),
        (row("node-2", None), "Node/node-2: its speaker has not reported yet (Pending)"),
    ] {
        assert_eq!(told(&well(), &[row("node-1", Some("Ready")), second]), [wanted]);
    }
}

#[test]
fn what_a_user_may_not_see_is_no_trouble() {
    assert_eq!(told(&Running::default(), &rows()), [""; 0]);
    let nothing = [row("node-1", None)];
    assert_eq!(troubles(NAMESPACE, &Running::default(), &nothing, false), []);
    // What he may see is.
    let nodes = [row("node-1", Some("Reading"))];
    assert_eq!(
        told(&Running::default(), &nodes),
        ["Node/node-1: its speaker is not ready: Reading (Pending)"]
    );
}

#[test]
fn a_lease_lives_while_its_duration_lasts_and_one_without_a_holder_was_given_back() {
    for (renewed, holder, expected) in [
        ("2026-01-01T11:59:21.000000Z", "a", Some(Life::Lives)),
        ("2026-01-01T11:59:19.000000Z", "a", None),
        ("2026-01-01T12:00:04.000000Z", "a", Some(Life::Lives)),
        ("2026-01-01T12:00:06.000000Z", "a", None),
        ("2026-01-01T12:00:00.000000Z", "", Some(Life::GivenBack)),
    ] {
        assert_eq!(life(&lease("x", holder, renewed), now()), expected, "{renewed} {holder}");
    }
}

#[test]
fn a_lease_of_another_clock_lives_if_it_is_renewed_meanwhile_and_has_run_out_if_not() {
    let early = "2026-01-01T10:00:00.000000Z";
    let first = ["renewed", "dead", "given-back"].map(|name| lease(name, "a", early));
    let mut looks = Looks::first(first.to_vec(), now());
    assert!(looks.known.is_empty());
    looks.again(&first);
    assert_eq!(looks.doubtful.len(), 3, "nothing has changed");
    looks.again(&[
        lease("renewed", "a", "2026-01-01T10:00:10.000000Z"),
        lease("dead", "a", early),
        lease("given-back", "", "2026-01-01T10:00:10.000000Z"),
        lease("new", "a", early),
    ]);
    let expected = [("dead", Life::RanOut), ("given-back", Life::GivenBack), ("renewed", Life::Lives)];
    assert_eq!(looks.end(), expected.map(|(name, life)| (name.to_owned(), life)).into());
}
