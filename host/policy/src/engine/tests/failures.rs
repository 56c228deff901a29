//! What happens when a plugin fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_core::decision::{
    AddressChoice, AddressDecision, AddressRequest, Candidate, ConsultOutcome, Decided, Decisions, PoolFacts,
    RouteDecision, RouteRequest,
};
use bellhop_core::objects::{AddressPool, DecisionPolicy, FailurePolicy, Hook, Initial};
use bellhop_core::route::{Community, Family, RouteAttributes};

use crate::engine::Engine;
use crate::fake::{self, Fake};
use crate::guest::{GuestError, GuestRoute};

fn advertise(sha: char, value: u32) -> Arc<Fake> {
    Arc::new(Fake::new(sha).route(move |_| Ok(fake::said(GuestRoute::Advertise(fake::med(value)), "why"))))
}

fn trapping(sha: char) -> Arc<Fake> {
    let guest = Fake::new(sha).reads(|inputs| {
        inputs.service_identity = true;
        inputs.service_labels = ["n".to_owned()].into();
    });
    Arc::new(guest.route(|_| Err(fake::trap())))
}

fn policy(sha: char, failure: FailurePolicy, initial: Initial) -> Arc<DecisionPolicy> {
    let mut policy = fake::policy("p", Hook::Route, sha);
    policy.failure_policy = failure;
    policy.initial = initial;
    Arc::new(policy)
}

fn keep_last(sha: char) -> Arc<DecisionPolicy> {
    policy(sha, FailurePolicy::KeepLast, Initial::UseDefault)
}

fn request(namespace: &str, name: &str, label: &str) -> RouteRequest {
    fake::route(
        &fake::service(namespace, name, &[("n", label)]),
        &fake::node("n1", &[]),
        &fake::peer("p1", 64601),
    )
}

fn one(engine: &mut Engine, request: &RouteRequest) -> Decided<RouteDecision> {
    engine.routes(std::slice::from_ref(request)).remove(0)
}

fn med(decided: &Decided<RouteDecision>) -> Option<u32> {
    match &decided.answer {
        RouteDecision::Advertise(attributes) => attributes.med,
        RouteDecision::Withhold(_) => None,
    }
}

// case: bgp-64
#[test]
fn the_last_decision_is_kept_across_a_swap_to_a_failing_version() {
    let mut engine = Engine::new();
    engine.set(keep_last('a'), advertise('a', 7)).unwrap();
    let known = request("web", "shop", "x");
    one(&mut engine, &known);
    engine.set(keep_last('b'), trapping('b')).unwrap();
    // New objects of the same names: what is kept is kept for the place, not for the object.
    let edited = request("web", "shop", "edited");
    for request in [&known, &edited] {
        let decided = one(&mut engine, request);
        assert_eq!(med(&decided), Some(7));
        assert_eq!(decided.trail[0].outcome, ConsultOutcome::KeptLast);
        assert_eq!(decided.trail[0].digest, fake::digest('a'), "the digest of the version that decided");
        let note = decided.trail[0].note.as_deref();
        assert_eq!(note, Some("the module trapped: unreachable; the last decision is kept: why"));
    }
}

#[test]
fn a_place_without_a_last_decision_is_decided_by_the_last_good_version() {
    let mut engine = Engine::new();
    let good = advertise('a', 7);
    engine.set(keep_last('a'), good.clone()).unwrap();
    one(&mut engine, &request("web", "shop", "x"));
    engine.set(keep_last('b'), trapping('b')).unwrap();
    engine.set(keep_last('c'), trapping('c')).unwrap();
    let calls = good.calls();
    let decided = one(&mut engine, &request("web", "new", "x"));
    assert_eq!(med(&decided), Some(7), "version b never answered, so a is the last good one");
    assert!(
        decided.trail[0].note.as_deref().is_some_and(|note| note.contains("the last good version was asked"))
    );
    one(&mut engine, &request("web", "new", "x"));
    assert_eq!(good.calls(), calls + 1, "its answer is then the last decision");
}

#[test]
fn each_failure_policy_does_what_it_says_where_nothing_is_known() {
    use FailurePolicy::{KeepLast, UseDefault, Withhold};
    for (failure, initial, withheld) in [
        (KeepLast, Initial::UseDefault, false),
        (KeepLast, Initial::Withhold, true),
        (UseDefault, Initial::Withhold, false),
        (Withhold, Initial::UseDefault, true),
    ] {
        for loaded in [true, false] {
            let mut engine = Engine::new();
            if loaded {
                engine.set(policy('a', failure, initial), trapping('a')).unwrap();
            } else {
                engine.set_unavailable(policy('a', failure, initial));
            }
            let decided = one(&mut engine, &request("web", "shop", "x"));
            assert_eq!(
                matches!(decided.answer, RouteDecision::Withhold(_)),
                withheld,
                "{failure:?} {initial:?}"
            );
            let outcome =
                if withheld { ConsultOutcome::FailedWithhold } else { ConsultOutcome::FailedUseDefault };
            assert_eq!(decided.trail[0].outcome, outcome);
            assert_eq!(decided.trail[0].digest.is_empty(), !loaded);
        }
    }
}

#[test]
fn a_policy_without_a_version_is_not_asked_about_what_it_does_not_match() {
    let mut engine = Engine::new();
    let mut spec = (*policy('a', FailurePolicy::Withhold, Initial::Withhold)).clone();
    spec.service_selector = Some(bellhop_core::labels::Selector {
        requirements: vec![bellhop_core::labels::Requirement {
            key: "n".into(),
            operator: bellhop_core::labels::Operator::In(vec!["y".into()]),
        }],
    });
    engine.set_unavailable(Arc::new(spec));
    let decided = engine.routes(&[request("web", "shop", "x"), request("web", "shop", "y")]);
    assert_eq!(med(&decided[0]), Some(1));
    assert!(
        matches!(&decided[1].answer, RouteDecision::Withhold(reason) if reason.contains("DecisionPolicy/p"))
    );
}

#[test]
fn a_version_in_force_stays_when_its_policy_becomes_unavailable() {
    let mut engine = Engine::new();
    engine.set(keep_last('a'), advertise('a', 7)).unwrap();
    engine.set_unavailable(keep_last('b'));
    assert_eq!(med(&one(&mut engine, &request("web", "shop", "x"))), Some(7));
}

#[test]
fn an_invalid_answer_is_a_failure_that_names_the_field() {
    let mut engine = Engine::new();
    let communities =
        RouteAttributes { communities: (0..10_000).map(Community).collect(), ..Default::default() };
    let guest = Fake::new('a').route(move |_| Ok(fake::said(GuestRoute::Advertise(communities.clone()), "")));
    engine.set(keep_last('a'), Arc::new(guest)).unwrap();
    let decided = one(&mut engine, &request("web", "shop", "x"));
    assert_eq!(med(&decided), Some(1));
    let note = decided.trail[0].note.as_deref().unwrap_or_default();
    assert!(note.contains("invalid answer: communities: 10000 different values, at most 64"), "{note}");
    assert_eq!(engine.counters("p").unwrap().failures["InvalidAnswer"], 1);
}

#[test]
fn a_service_that_makes_a_policy_fail_is_not_asked_about_for_a_while_and_others_are() {
    let mut engine = Engine::new();
    let now = Instant::now();
    engine.set_now(now);
    let guest = Arc::new(
        Fake::new('a')
            .reads(|inputs| {
                inputs.service_identity = true;
                inputs.service_labels = ["n".to_owned()].into();
            })
            .route(|question| match &question.service.identity {
                Some((_, name)) if &**name == "bad" => Err(GuestError::OutOfFuel { limit: 1 }),
                _ => Ok(fake::said(GuestRoute::Advertise(fake::med(7)), "")),
            }),
    );
    engine.set(keep_last('a'), guest.clone()).unwrap();
    for label in 0..10 {
        one(&mut engine, &request("web", "bad", &label.to_string()));
        assert_eq!(med(&one(&mut engine, &request("web", "good", &label.to_string()))), Some(7));
    }
    assert_eq!(guest.calls(), 3 + 10);
    assert_eq!(engine.counters("p").unwrap().held_back, 7);
    let decided = one(&mut engine, &request("web", "bad", "11"));
    assert_eq!(decided.trail[0].note.as_deref(), Some("not asked: it failed too often lately"));
    engine.set_now(now + Duration::from_secs(30));
    one(&mut engine, &request("web", "bad", "12"));
    assert_eq!(guest.calls(), 14, "one batch is let through");
    one(&mut engine, &request("web", "bad", "13"));
    assert_eq!(guest.calls(), 14);
}

#[test]
fn a_failing_question_counts_for_every_service_that_asked_it() {
    let mut engine = Engine::new();
    engine.set_now(Instant::now());
    let guest = Fake::new('a').reads(|inputs| inputs.service_labels = ["n".to_owned()].into());
    let guest = Arc::new(guest.route(|_| Err(fake::trap())));
    engine.set(keep_last('a'), guest.clone()).unwrap();
    for label in ["a", "b", "c"] {
        engine.routes(&[request("web", "one", label), request("web", "two", label)]);
    }
    assert_eq!(guest.calls(), 3);
    one(&mut engine, &request("web", "one", "d"));
    one(&mut engine, &request("web", "two", "e"));
    assert_eq!(guest.calls(), 3, "both are held back");
    one(&mut engine, &request("web", "three", "f"));
    assert_eq!(guest.calls(), 4);
}

#[test]
fn what_is_remembered_is_still_answered_while_the_breaker_is_open() {
    let mut engine = Engine::new();
    engine.set_now(Instant::now());
    let guest = Fake::new('a').reads(|inputs| inputs.service_labels = ["n".to_owned()].into());
    let guest = guest.route(|question| match question.service.labels.first() {
        Some((_, value)) if &**value == "good" => Ok(fake::said(GuestRoute::Advertise(fake::med(7)), "")),
        _ => Err(fake::trap()),
    });
    engine.set(policy('a', FailurePolicy::UseDefault, Initial::UseDefault), Arc::new(guest)).unwrap();
    one(&mut engine, &request("web", "shop", "good"));
    for label in ["a", "b", "c", "d"] {
        assert_eq!(med(&one(&mut engine, &request("web", "shop", label))), Some(1));
    }
    assert_eq!(engine.counters("p").unwrap().held_back, 1);
    assert_eq!(med(&one(&mut engine, &request("web", "shop", "good"))), Some(7));
}

#[test]
fn a_policy_that_fails_for_most_services_of_two_namespaces_is_not_asked_at_all() {
    let mut engine = Engine::new();
    engine.set_now(Instant::now());
    let guest = trapping('a');
    engine.set(keep_last('a'), guest.clone()).unwrap();
    let batch: Vec<RouteRequest> =
        (0..20).map(|index| request(["red", "blue"][index % 2], &format!("s{index}"), "x")).collect();
    engine.routes(&batch);
    assert_eq!(guest.calls(), 20);
    one(&mut engine, &request("green", "fresh", "x"));
    assert_eq!(guest.calls(), 20);
    engine.set(keep_last('b'), advertise('b', 7)).unwrap();
    assert_eq!(
        med(&one(&mut engine, &request("green", "fresh", "x"))),
        Some(7),
        "a new version starts clean"
    );
}

#[test]
fn a_swap_misses_no_decision() {
    let mut engine = Engine::new();
    engine.set(keep_last('a'), advertise('a', 10)).unwrap();
    for round in 0..50u32 {
        let sha = if round % 2 == 0 { 'b' } else { 'a' };
        let before = one(&mut engine, &request("web", "shop", "x"));
        assert_eq!(before.trail[0].outcome, ConsultOutcome::Decided);
        engine.set(keep_last(sha), advertise(sha, round + 100)).unwrap();
        assert_eq!(med(&one(&mut engine, &request("web", "shop", "x"))), Some(round + 100));
    }
}

fn address_request(candidates: &[[u8; 4]]) -> AddressRequest {
    AddressRequest {
        service: fake::service("web", "shop", &[("n", "x")]),
        families: vec![Family::Ipv4],
        pools: vec![PoolFacts {
            pool: Arc::new(AddressPool {
                name: "public".into(),
                labels: bellhop_core::labels::labels::<&str, &str>([]),
                ranges: Vec::new(),
                exclude: Vec::new(),
                auto_assign: true,
                priority: 0,
                namespace_selector: None,
                service_selector: None,
            }),
            usage: Vec::new(),
        }],
        candidates: candidates
            .iter()
            .map(|&address| Candidate { pool: 0, address: address.into(), release_rank: 0 })
            .collect(),
    }
}

#[test]
fn an_address_decision_is_kept_as_the_address_that_it_meant() {
    let mut engine = Engine::new();
    let spec = |sha| Arc::new(fake::policy("p", Hook::Address, sha));
    let second = AddressDecision::Choose(vec![vec![(Family::Ipv4, AddressChoice::Candidate(1))]]);
    let answer = second.clone();
    let guest = Fake::new('a').address(move |_| Ok(fake::said(answer.clone(), "")));
    engine.set(spec('a'), Arc::new(guest)).unwrap();
    let first = address_request(&[[192, 0, 2, 1], [192, 0, 2, 2]]);
    assert_eq!(engine.addresses(&[first])[0].answer, second);
    engine.set(spec('b'), Arc::new(Fake::new('b').address(|_| Err(fake::trap())))).unwrap();
    let kept = engine.addresses(&[address_request(&[[192, 0, 2, 8], [192, 0, 2, 9]])]).remove(0);
    let exact = AddressChoice::Exact([192, 0, 2, 2].into());
    assert_eq!(kept.answer, AddressDecision::Choose(vec![vec![(Family::Ipv4, exact)]]));
    assert_eq!(kept.trail[0].outcome, ConsultOutcome::KeptLast);
}

#[test]
fn an_address_policy_that_fails_and_withholds_rejects_with_its_name() {
    let mut engine = Engine::new();
    let mut spec = fake::policy("p", Hook::Address, 'a');
    spec.failure_policy = FailurePolicy::Withhold;
    engine.set(Arc::new(spec), Arc::new(Fake::new('a').address(|_| Err(fake::trap())))).unwrap();
    let decided = engine.addresses(&[address_request(&[])]).remove(0);
    assert!(
        matches!(&decided.answer, AddressDecision::Reject(reason) if reason.contains("DecisionPolicy/p"))
    );
}
