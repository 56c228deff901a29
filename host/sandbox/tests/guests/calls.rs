//! What a call gives, on one thread and on several.

use std::sync::{Arc, OnceLock};

use bellhop_policy_engine::guest::{Guest, GuestError, GuestRoute};
use bellhop_sandbox::{Limits, SandboxGuest, Workers, limits};

use crate::support::{RouteGuest, at, fixture, loaded, nodes_question, route_question, sha256};

fn reason() -> &'static SandboxGuest {
    static GUEST: OnceLock<SandboxGuest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let guest = RouteGuest::withholding(7).with(&format!("(data (i32.const {}) \"private\")", at::TEXT));
        loaded(&guest.module()).unwrap()
    })
}

#[test]
fn an_answer_comes_with_its_cost() {
    let called = reason().route(&route_question());
    assert_eq!(called.result.unwrap().answer, Some(GuestRoute::Withhold("private".into())));
    assert!((1..10_000).contains(&called.cost.fuel), "{:?}", called.cost);
    assert_eq!(called.cost.memory, 4 * 65536);
    assert!(called.cost.cpu_nanos > 0);
}

#[test]
fn use_default_is_no_answer() {
    let called = loaded(&RouteGuest::default().module()).unwrap().route(&route_question());
    assert_eq!(called.result.unwrap().answer, None);
}

#[test]
fn the_digest_and_the_metadata_are_those_of_the_module() {
    let module = RouteGuest::default().module();
    let guest = loaded(&module).unwrap();
    assert_eq!(**guest.digest(), *sha256(&module));
    assert_eq!(guest.metadata().name, "test");
}

#[test]
fn what_a_guest_leaves_behind_is_gone_in_the_next_call() {
    // Withholds with a text one byte longer each time, if memory survived.
    let guest = RouteGuest::doing(&format!(
        "(i32.store (i32.const 1500) (i32.add (i32.load (i32.const 1500)) (i32.const 1)))
         (i32.store (i32.const {answer}) (i32.const 2))
         (i32.store (i32.const {text}) (i32.const {at}))
         (i32.store (i32.const {length}) (i32.load (i32.const 1500)))",
        answer = at::ANSWER,
        text = at::PAYLOAD,
        at = at::TEXT,
        length = at::PAYLOAD + 4,
    ))
    .with(&format!("(data (i32.const {}) \"abcdef\")", at::TEXT));
    let guest = loaded(&guest.module()).unwrap();
    for _ in 0..100 {
        let answer = guest.route(&route_question()).result.unwrap().answer;
        assert_eq!(answer, Some(GuestRoute::Withhold("a".into())));
    }
}

#[test]
fn the_same_question_has_the_same_answer_and_fuel_twice_and_on_four_threads() {
    let guest = loaded(&fixture("good-route")).unwrap();
    let question = route_question();
    let once = guest.route(&question);
    let expected = (once.result.unwrap(), once.cost.fuel);
    let questions = vec![question; 400];
    for threads in [1, 4] {
        let answers = Workers::new(threads).run(&questions, |question| {
            let called = guest.route(question);
            (called.result.unwrap(), called.cost.fuel)
        });
        assert!(answers.iter().all(|answer| *answer == expected));
    }
}

#[test]
fn more_calls_at_once_than_the_pool_has_room_for_workers_still_all_succeed() {
    let guest = reason();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert!(guest.route(&route_question()).result.is_ok());
                }
            });
        }
    });
}

#[test]
fn a_failing_guest_fails_alone_while_another_answers_beside_it() {
    let hostile = loaded(&fixture("endless-loop")).unwrap();
    std::thread::scope(|scope| {
        let failing = scope.spawn(|| hostile.route(&route_question()).result);
        for _ in 0..100 {
            assert!(reason().route(&route_question()).result.is_ok());
        }
        let error = failing.join().unwrap().unwrap_err();
        assert_eq!(error, GuestError::OutOfFuel { limit: limits::FUEL_PER_CALL });
    });
}

#[test]
fn a_hook_that_a_module_has_not_is_an_error_of_the_call() {
    let error = reason().nodes(&nodes_question(3)).result.unwrap_err();
    assert!(error.to_string().contains("the plugin test has no hook Nodes"), "{error}");
}

#[test]
fn an_error_that_a_guest_returns_is_its_own_words() {
    let guest = RouteGuest::answering(&[(at::RESULT, 1), (at::RESULT + 8, at::TEXT), (at::RESULT + 12, 4)])
        .with(&format!("(data (i32.const {}) \"oops\")", at::TEXT));
    let error = loaded(&guest.module()).unwrap().route(&route_question()).result.unwrap_err();
    assert_eq!(error, GuestError::Policy("oops".to_owned()));
}

#[test]
fn another_config_needs_no_other_compile() {
    let guest = reason().with_config(Arc::from(r#"{"a":1}"#), Limits { fuel: Some(1_000_000), memory: None });
    assert_eq!(&**guest.config(), r#"{"a":1}"#);
    assert_eq!(guest.limits().fuel, Some(1_000_000));
    assert!(guest.configure().result.is_ok());
    assert!(guest.route(&route_question()).result.is_ok());
}
