//! Who is asked, and what they are shown.

use std::sync::Arc;

use bellhop_core::decision::{ConsultOutcome, Decisions, RouteDecision};
use bellhop_core::labels::{Operator, Requirement, Selector};
use bellhop_core::objects::{DecisionPolicy, Hook};

use crate::engine::{Engine, SetError};
use crate::fake::{self, Fake};
use crate::guest::GuestRoute;

fn advertise(value: u32) -> Fake {
    Fake::new('a').route(move |_| Ok(fake::said(GuestRoute::Advertise(fake::med(value)), "so")))
}

fn set(engine: &mut Engine, name: &str, guest: Fake, change: impl FnOnce(&mut DecisionPolicy)) -> Arc<Fake> {
    let mut policy = fake::policy(name, Hook::Route, 'a');
    change(&mut policy);
    let guest = Arc::new(guest);
    engine.set(Arc::new(policy), guest.clone()).unwrap();
    guest
}

fn only(key: &str, value: &str) -> Option<Selector> {
    Some(Selector {
        requirements: vec![Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) }],
    })
}

fn request() -> bellhop_core::decision::RouteRequest {
    fake::route(
        &fake::service("web", "shop", &[("tier", "gold"), ("hidden", "yes")]),
        &fake::node("n1", &[("zone", "a")]),
        &fake::peer("p1", 64601),
    )
}

fn med(engine: &mut Engine) -> Option<u32> {
    match &engine.routes(&[request()])[0].answer {
        RouteDecision::Advertise(attributes) => attributes.med,
        RouteDecision::Withhold(reason) => panic!("withheld: {reason}"),
    }
}

#[test]
fn without_a_policy_the_advertisement_decides_and_nobody_is_named() {
    let decided = Engine::new().routes(&[request()]);
    assert_eq!(decided[0].answer, RouteDecision::Advertise(Arc::new(fake::med(1))));
    assert!(decided[0].trail.is_empty());
}

#[test]
fn the_highest_priority_is_asked_first_and_equal_ones_by_name() {
    let mut engine = Engine::new();
    set(&mut engine, "b", advertise(20), |_| {});
    assert_eq!(med(&mut engine), Some(20));
    set(&mut engine, "a", advertise(10), |_| {});
    assert_eq!(med(&mut engine), Some(10), "equal priority: by name");
    let last = set(&mut engine, "z", advertise(30), |policy| policy.priority = 1);
    assert_eq!(med(&mut engine), Some(30), "priority before name");
    let mut lower = fake::policy("z", Hook::Route, 'a');
    lower.priority = -1;
    engine.update_spec(Arc::new(lower));
    assert_eq!(med(&mut engine), Some(10), "a new priority moves it");
    assert_eq!(last.calls(), 1);
    engine.remove("a");
    engine.remove("b");
    assert_eq!(med(&mut engine), Some(30));
    engine.remove("z");
    assert_eq!(med(&mut engine), Some(1));
}

#[test]
fn the_first_that_does_not_say_use_default_decides_and_the_trail_names_all_that_were_asked() {
    let mut engine = Engine::new();
    set(&mut engine, "a", Fake::new('a'), |_| {});
    set(&mut engine, "b", Fake::new('a').route(|_| Err(fake::trap())), |_| {});
    set(&mut engine, "c", advertise(3), |_| {});
    let never = set(&mut engine, "d", advertise(4), |_| {});
    let decided = engine.routes(&[request()]).remove(0);
    assert_eq!(decided.answer, RouteDecision::Advertise(Arc::new(fake::med(3))));
    let trail: Vec<_> = decided
        .trail
        .iter()
        .map(|consulted| (&*consulted.policy, consulted.outcome, consulted.note.as_deref()))
        .collect();
    assert_eq!(
        trail,
        [
            ("a", ConsultOutcome::UseDefault, None),
            ("b", ConsultOutcome::FailedUseDefault, Some("the module trapped: unreachable")),
            ("c", ConsultOutcome::Decided, Some("so")),
        ]
    );
    assert!(decided.trail.iter().all(|consulted| consulted.digest == fake::digest('a')));
    assert_eq!(never.calls(), 0);
}

#[test]
fn a_policy_is_asked_only_about_what_it_matches() {
    type Change = fn(&mut DecisionPolicy);
    let misses: [Change; 4] = [
        |policy| policy.service_selector = only("tier", "silver"),
        |policy| policy.namespace_selector = only("team", "other"),
        |policy| policy.node_selector = only("zone", "b"),
        |policy| policy.peer_selector = only("rack", "p2"),
    ];
    for change in misses {
        let mut engine = Engine::new();
        set(&mut engine, "a", advertise(9), change);
        let decided = engine.routes(&[request()]).remove(0);
        assert_eq!(decided.answer, RouteDecision::Advertise(Arc::new(fake::med(1))));
        assert!(decided.trail.is_empty());
        engine.update_spec(Arc::new(fake::policy("a", Hook::Route, 'a')));
        assert_eq!(med(&mut engine), Some(9), "an edit of the match takes effect without a new module");
    }
    let mut engine = Engine::new();
    set(&mut engine, "a", advertise(9), |policy| {
        policy.service_selector = only("tier", "gold");
        policy.namespace_selector = only("team", "web");
        policy.node_selector = only("zone", "a");
        policy.peer_selector = only("rack", "p1");
    });
    assert_eq!(med(&mut engine), Some(9));
}

#[test]
fn a_plugin_that_declares_nothing_is_shown_nothing() {
    let mut engine = Engine::new();
    let guest = set(&mut engine, "a", advertise(9), |_| {});
    engine.routes(&[request()]);
    let shown = guest.asked.lock().unwrap()[0].clone();
    let defaults = serde_json::json!({"med": 1});
    let expected = serde_json::json!({
        "service": {"identity": null, "labels": [], "annotations": [], "namespaceLabels": [], "trafficPolicy": "Cluster"},
        "family": "IPv4", "address": null, "pool": null,
        "node": {"name": null, "labels": [], "annotations": [], "taints": [], "unschedulable": false, "ready": "Ready", "localEndpoints": 0},
        "peer": {"name": null, "labels": [], "peerAsn": 0, "localAsn": 0},
        "defaults": defaults,
    });
    assert_eq!(shown, expected);
}

#[test]
fn a_plugin_is_shown_exactly_the_keys_that_it_and_its_config_declare() {
    let mut engine = Engine::new();
    let guest = advertise(9).reads(|inputs| {
        inputs.service_labels = ["tier".to_owned(), "absent".to_owned()].into();
        inputs.peer_identity = true;
        inputs.address = true;
        inputs.session = true;
        inputs.from_config = [("nodeLabels".to_owned(), "/rules/*/node".to_owned())].into();
    });
    let guest = set(&mut engine, "a", guest, |policy| {
        policy.config = r#"{"rules":[{"node":{"zone":"a"}},{"node":["rack"]},{}]}"#.into();
    });
    engine.routes(&[request()]);
    let shown = guest.asked.lock().unwrap()[0].clone();
    assert_eq!(shown["service"]["labels"], serde_json::json!([["tier", "gold"]]));
    assert_eq!(shown["service"]["identity"], serde_json::Value::Null);
    assert_eq!(shown["node"]["labels"], serde_json::json!([["zone", "a"]]));
    assert_eq!(shown["node"]["name"], serde_json::Value::Null);
    assert_eq!(
        shown["peer"],
        serde_json::json!({"name": "p1", "labels": [], "peerAsn": 64601, "localAsn": 64512})
    );
    assert_eq!(shown["address"], "203.0.113.7");
    assert_eq!(shown["pool"], serde_json::Value::Null);
}

#[test]
fn a_guest_that_does_not_fit_its_policy_is_refused_and_nothing_changes() {
    let mut engine = Engine::new();
    set(&mut engine, "a", advertise(9), |_| {});
    let policy = Arc::new(fake::policy("a", Hook::Route, 'b'));
    let other_hook = Arc::new(Fake::new('b').hooks([Hook::Nodes]));
    let other_digest = Arc::new(Fake::new('c'));
    let other_config = Arc::new(
        Fake::new('b')
            .reads(|inputs| inputs.from_config = [("nodeLabels".to_owned(), "/keys".to_owned())].into()),
    );
    assert!(matches!(engine.set(policy.clone(), other_hook), Err(SetError::Hook { .. })));
    assert!(matches!(engine.set(policy.clone(), other_digest), Err(SetError::Digest { .. })));
    let mut odd = (*policy).clone();
    odd.config = r#"{"keys":"zone"}"#.into();
    let error = engine.set(Arc::new(odd), other_config).unwrap_err().to_string();
    assert_eq!(
        error,
        "DecisionPolicy/a: spec.config/keys: found a string, but the module reads nodeLabels from it: a list of strings or a map"
    );
    assert_eq!(med(&mut engine), Some(9));
}

#[test]
fn a_policy_that_changes_its_hook_leaves_its_old_chain() {
    let mut engine = Engine::new();
    set(&mut engine, "a", advertise(9), |_| {});
    engine.update_spec(Arc::new(fake::policy("a", Hook::Nodes, 'a')));
    assert_eq!(med(&mut engine), Some(1));
    let policies: Vec<_> = engine.policies().collect();
    assert_eq!(policies, [(Hook::Nodes, &"a".into(), None)]);
}

#[test]
fn local_preference_is_dropped_towards_an_external_peer_and_the_trail_says_so() {
    let mut engine = Engine::new();
    let attributes = bellhop_core::RouteAttributes { local_preference: Some(200), ..fake::med(5) };
    let answer = attributes.clone();
    set(
        &mut engine,
        "a",
        Fake::new('a').route(move |_| Ok(fake::said(GuestRoute::Advertise(answer.clone()), "gold"))),
        |_| {},
    );
    let mut internal = request();
    internal.peer = fake::peer("p2", 64512);
    let decided = engine.routes(&[request(), internal]);
    assert_eq!(decided[0].answer, RouteDecision::Advertise(Arc::new(fake::med(5))));
    let note = decided[0].trail[0].note.as_deref();
    assert_eq!(note, Some("gold; local preference 200 is not sent to an external peer"));
    assert_eq!(decided[1].answer, RouteDecision::Advertise(Arc::new(attributes)));
    assert_eq!(decided[1].trail[0].note.as_deref(), Some("gold"));
}
