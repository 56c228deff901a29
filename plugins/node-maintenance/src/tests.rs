use super::*;
use bellhop_policy::{Service, Taint, TopologyCount, pairs};

fn decide(config: &str, node: &Node, summary: &Summary) -> Decision<Verdict> {
    let settings = Plugin::settings(config).unwrap();
    super::node(&settings, &NodeRequest { service: &Service::default(), summary, node }).unwrap()
}

/// Whether one rule with these conditions matches.
fn holds(when: &str, node: &Node) -> bool {
    let config = format!(r#"{{"rules": [{{"when": {when}, "then": "Exclude"}}]}}"#);
    decide(&config, node, &Summary::default()).answer.is_some()
}

fn labelled(key: &str, value: &str) -> Node {
    Node { labels: pairs([(key, value)]), ..Node::default() }
}

#[test]
fn without_settings_the_maintenance_label_counts() {
    let answer = |value| decide("{}", &labelled(MAINTENANCE, value), &Summary::default()).answer;
    assert_eq!(answer("drain"), Some(Verdict::Draining("label bellhop.dev/maintenance is drain".into())));
    assert_eq!(
        answer("exclude"),
        Some(Verdict::Ineligible("label bellhop.dev/maintenance is exclude".into()))
    );
    assert_eq!(answer("later"), None);
    assert_eq!(decide("{}", &Node::default(), &Summary::default()), Decision::use_default());
}

#[test]
fn an_empty_table_decides_nothing() {
    assert_eq!(decide(r#"{"rules": []}"#, &labelled(MAINTENANCE, "drain"), &Summary::default()).answer, None);
}

#[test]
fn the_first_match_decides() {
    let config = r#"{"rules": [
        {"when": {"labels": {"keep": "*"}}, "then": "UseDefault"},
        {"name": "edge", "when": {}, "then": "Weight", "weight": 7},
        {"when": {}, "then": "Drain"}
    ]}"#;
    let decision = decide(config, &Node::default(), &Summary::default());
    assert_eq!((decision.answer, decision.note.as_deref()), (Some(Verdict::Eligible(7)), Some("rule edge")));
    let kept = decide(config, &labelled("keep", ""), &Summary::default());
    assert_eq!((kept.answer, kept.note.as_deref()), (None, Some("rule rules[0]")));
}

#[test]
fn a_reason_is_the_rules_name_unless_one_is_given() {
    let drain = |extra: &str| {
        let config = format!(r#"{{"rules": [{{"name": "n", "when": {{}}, "then": "Drain"{extra}}}]}}"#);
        decide(&config, &Node::default(), &Summary::default()).answer
    };
    assert_eq!(drain(""), Some(Verdict::Draining("rule n".into())));
    assert_eq!(drain(r#", "reason": "kernel update""#), Some(Verdict::Draining("kernel update".into())));
}

#[test]
fn every_condition_must_hold() {
    let taint = Taint {
        key: "node.kubernetes.io/out-of-service".into(),
        value: "nodeshutdown".into(),
        effect: "NoExecute".into(),
    };
    let node = Node {
        labels: pairs([("rack", "r1"), (ZONE, "a")]),
        annotations: pairs([("note", "x")]),
        taints: vec![taint],
        unschedulable: true,
        ready: Readiness::Unknown,
        ..Node::default()
    };
    for (when, expected) in [
        (r#"{}"#, true),
        (r#"{"labels": {"rack": "r1"}, "cordoned": true}"#, true),
        (r#"{"labels": {"rack": "r1"}, "cordoned": false}"#, false),
        (r#"{"labels": {"rack": "r2"}}"#, false),
        (r#"{"annotations": {"note": "*"}}"#, true),
        (r#"{"annotations": {"absent": "*"}}"#, false),
        (r#"{"taint": {"key": "node.kubernetes.io/out-of-service"}}"#, true),
        (r#"{"taint": {"key": "node.kubernetes.io/out-of-service", "effect": "NoSchedule"}}"#, false),
        (
            r#"{"taint": {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}}"#,
            true,
        ),
        (r#"{"taint": {"key": "other"}}"#, false),
        (r#"{"health": ["NotReady", "Unknown"]}"#, true),
        (r#"{"health": ["Ready"]}"#, false),
        (r#"{"zones": ["b", "a"]}"#, true),
        (r#"{"zones": ["b"]}"#, false),
    ] {
        assert_eq!(holds(when, &node), expected, "{when}");
    }
}

#[test]
fn a_zone_counts_as_down_below_the_percentage_and_not_at_it() {
    let count = |ready| TopologyCount { key: ZONE.into(), value: "a".into(), total: 4, ready };
    let summary = |ready| Summary { total: 4, ready, unschedulable: 0, topology: vec![count(ready)] };
    let config = r#"{"rules": [{"when": {"zoneReadyBelowPercent": 50}, "then": "Exclude"}]}"#;
    let node = labelled(ZONE, "a");
    assert!(decide(config, &node, &summary(1)).answer.is_some());
    assert!(decide(config, &node, &summary(2)).answer.is_none());
    assert!(
        decide(config, &Node::default(), &summary(0)).answer.is_none(),
        "a node without a zone is in none"
    );
    assert!(
        decide(config, &labelled(ZONE, "b"), &summary(0)).answer.is_none(),
        "a zone that nobody counted is not down"
    );
}

#[test]
fn settings_that_contradict_themselves_are_refused_with_their_place() {
    let error = |rule: &str| Plugin::settings(&format!(r#"{{"rules": [{rule}]}}"#)).err().unwrap();
    assert_eq!(
        error(r#"{"when": {}, "then": "Weight"}"#),
        "config.rules[0].weight: is missing, expected a weight beside then: Weight"
    );
    assert_eq!(
        error(r#"{"when": {}, "then": "Drain", "weight": 5}"#),
        "config.rules[0].weight: is 5, expected only beside then: Weight"
    );
    assert!(error(r#"{"when": {}, "then": "Weight", "weight": 5, "reason": "x"}"#).contains("reason"));
    assert_eq!(
        error(r#"{"when": {}, "then": "drain"}"#),
        "config.rules[0].then: is \"drain\", expected one of Drain, Exclude, Weight, UseDefault"
    );
    assert!(error(r#"{"when": {"zoneReadyBelowPercent": 0}, "then": "Drain"}"#).contains("from 1 to 100"));
}
