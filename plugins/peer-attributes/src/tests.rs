use super::*;
use bellhop_policy::{Community, Node, Peer, Service, pairs};

fn request() -> RouteRequest {
    RouteRequest {
        service: Service { labels: pairs([("app", "web"), ("tier", "gold")]), ..Service::default() },
        node: Node { labels: pairs([("rack", "r1")]), ..Node::default() },
        peer: Peer { labels: pairs([("role", "transit")]), ..Peer::default() },
        pool: Some("public".into()),
        ..RouteRequest::default()
    }
}

fn decide(config: &str, request: &RouteRequest) -> Decision<Route> {
    route(&Plugin::settings(config).unwrap(), request).unwrap()
}

fn attributes(decision: Decision<Route>) -> Attributes {
    match decision.answer {
        Some(Route::Advertise(attributes)) => attributes,
        other => panic!("{other:?}"),
    }
}

const TABLE: &str = r#"{"mode": "MODE", "rules": [
    {"name": "other", "when": {"serviceLabels": {"app": "db"}}, "set": {"med": 1}},
    {"name": "gold", "when": {"serviceLabels": {"tier": "gold"}, "nodeLabels": {"rack": "*"}}, "set": {"communities": ["65000:1"], "med": 10}},
    {"name": "transit", "when": {"peerLabels": {"role": "transit"}}, "set": {"communities": ["65000:2"], "prepend": 3, "med": 20}}
]}"#;

#[test]
fn the_first_match_decides_alone() {
    let decision = decide(&TABLE.replace("MODE", "FirstMatch"), &request());
    assert_eq!(decision.note.as_deref(), Some("rule gold"));
    let attributes = attributes(decision);
    assert_eq!(
        (attributes.communities, attributes.med, attributes.prepend),
        (vec![Community(65000 << 16 | 1)], Some(10), 0)
    );
}

#[test]
fn merged_rules_add_lists_and_the_last_single_value_counts() {
    let decision = decide(&TABLE.replace("MODE", "Merge"), &request());
    assert_eq!(decision.note.as_deref(), Some("rules gold, transit"));
    let attributes = attributes(decision);
    assert_eq!(attributes.communities, [Community(65000 << 16 | 1), Community(65000 << 16 | 2)]);
    assert_eq!((attributes.med, attributes.prepend), (Some(20), 3));
}

#[test]
fn what_the_advertisement_gives_stays_unless_it_is_replaced() {
    let mut request = request();
    request.defaults.communities = vec![7];
    request.defaults.local_preference = Some(90);
    let kept = attributes(decide(r#"{"rules": [{"when": {}, "set": {"communities": ["0:8"]}}]}"#, &request));
    assert_eq!((kept.communities, kept.local_preference), (vec![Community(7), Community(8)], Some(90)));
    let config = r#"{"rules": [{"when": {}, "set": {"communities": ["0:8"], "replaceCommunities": true}}]}"#;
    assert_eq!(attributes(decide(config, &request)).communities, [Community(8)]);
}

#[test]
fn every_condition_must_hold() {
    for (when, holds) in [
        (r#"{}"#, true),
        (r#"{"session": "External"}"#, true),
        (r#"{"session": "Internal"}"#, false),
        (r#"{"serviceLabels": {"app": "web", "tier": "silver"}}"#, false),
        (r#"{"serviceLabels": {"absent": "*"}}"#, false),
        (r#"{"peerLabels": {"role": "*"}}"#, true),
        (r#"{"namespaceLabels": {"a": "b"}}"#, false),
        (r#"{"serviceAnnotations": {"a": "b"}}"#, false),
        (r#"{"nodeLabels": {"rack": "r2"}}"#, false),
        (r#"{"pools": ["private", "public"]}"#, true),
        (r#"{"pools": ["private"]}"#, false),
    ] {
        let config = format!(r#"{{"rules": [{{"when": {when}, "set": {{"med": 1}}}}]}}"#);
        assert_eq!(decide(&config, &request()).answer.is_some(), holds, "{when}");
    }
}

#[test]
fn a_route_is_withheld_with_the_rules_reason_also_when_rules_are_merged() {
    let config = r#"{"mode": "Merge", "rules": [{"when": {}, "set": {"med": 1}}, {"name": "inside", "when": {}, "set": {"withhold": "inside only"}}]}"#;
    let decision = decide(config, &request());
    assert_eq!(decision.answer, Some(Route::Withhold("inside only".into())));
    assert_eq!(decision.note.as_deref(), Some("rule inside"));
}

#[test]
fn settings_that_contradict_themselves_are_refused_with_their_place() {
    let error = |config: &str| Plugin::settings(config).err().unwrap();
    let both = error(r#"{"rules": [{"when": {}, "set": {"withhold": "no", "med": 1}}]}"#);
    assert!(both.starts_with("config.rules[0].set.withhold: stands beside attributes"), "{both}");
    let many = (0..65).map(|n| format!("\"0:{n}\"")).collect::<Vec<_>>().join(",");
    let many = error(&format!(r#"{{"rules": [{{"when": {{}}, "set": {{"communities": [{many}]}}}}]}}"#));
    assert_eq!(many, "config.rules[0].set.communities: has 65 entries, expected at most 64");
    assert_eq!(
        error(r#"{"rules": [{"when": {}, "set": {"prepend": 17}}]}"#),
        "config.rules[0].set.prepend: is 17, expected a whole number from 0 to 16"
    );
    assert_eq!(error("{}"), "config.rules: is missing, and it is required");
}
