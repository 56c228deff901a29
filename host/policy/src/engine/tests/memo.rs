//! What is asked twice and what is not.

use std::sync::Arc;

use bellhop_core::decision::{Decisions, RouteDecision, RouteRequest};
use bellhop_core::objects::Hook;
use proptest::prelude::*;

use crate::engine::Engine;
use crate::fake::{self, Fake};
use crate::guest::{GuestRoute, RouteQuestion};
use crate::runner::Runner;

/// Tells tiers apart, traps on tier `bad`, leaves tier `none` to the next one.
fn by_tier(sha: char) -> Fake {
    Fake::new(sha).reads(|inputs| inputs.service_labels = ["tier".to_owned()].into()).route(|question| {
        match tier(question) {
            Some("bad") => Err(fake::trap()),
            Some("none") | None => Ok(fake::use_default()),
            Some(tier) => Ok(fake::said(GuestRoute::Advertise(fake::med(tier.len() as u32 + 10)), "")),
        }
    })
}

fn tier(question: &RouteQuestion) -> Option<&str> {
    question.service.labels.first().map(|(_, value)| &**value)
}

fn engine(guest: &Arc<Fake>) -> Engine {
    let mut engine = Engine::new();
    engine.set(Arc::new(fake::policy("p", Hook::Route, 'a')), guest.clone()).unwrap();
    engine
}

fn request(name: &str, tier: &str) -> RouteRequest {
    fake::route(
        &fake::service("web", name, &[("tier", tier), ("other", name)]),
        &fake::node("n1", &[]),
        &fake::peer("p1", 64601),
    )
}

#[test]
fn alike_services_share_one_decision() {
    let guest = Arc::new(by_tier('a'));
    let mut engine = engine(&guest);
    let batch: Vec<RouteRequest> =
        (0..100).map(|index| request(&format!("s{index}"), ["gold", "tin"][index % 2])).collect();
    let decided = engine.routes(&batch);
    assert_eq!(guest.calls(), 2, "equal questions of one batch are asked once");
    assert_eq!(engine.routes(&batch), decided);
    assert_eq!(guest.calls(), 2);
    let counters = engine.counters("p").unwrap();
    assert_eq!((counters.calls, counters.memo_hits, counters.fuel_max), (2, 100, 1000));
    let fresh: Vec<RouteRequest> = (0..100).map(|index| request(&format!("new{index}"), "gold")).collect();
    engine.routes(&fresh);
    assert_eq!(guest.calls(), 2, "new objects with equal projections are no new question");
}

#[test]
fn whatever_is_shown_is_part_of_the_key_and_nothing_else_is() {
    let guest = Arc::new(by_tier('a').reads(|inputs| {
        inputs.address = true;
        inputs.pool = true;
        inputs.session = true;
        inputs.local_endpoints = true;
    }));
    let mut engine = engine(&guest);
    let mut base = request("s", "gold");
    let mut expected = 0;
    let mut ask = |request: &RouteRequest, new: bool, what: &str| {
        expected += u64::from(new);
        engine.routes(std::slice::from_ref(request));
        assert_eq!(guest.calls(), expected, "{what}");
    };
    ask(&base, true, "first");
    base.address = [203, 0, 113, 8].into();
    ask(&base, true, "address");
    base.pool = Some("other".into());
    ask(&base, true, "pool");
    base.local_asn = 1;
    ask(&base, true, "local ASN");
    base.node.local_endpoints = 9;
    ask(&base, true, "local endpoints");
    base.defaults = Arc::new(fake::med(2));
    ask(&base, true, "defaults");
    base.defaults = Arc::new(fake::med(2));
    ask(&base, false, "equal defaults in another place");
    base.node =
        fake::node_with("n2", base.node.node.labels.clone(), bellhop_core::objects::Readiness::NotReady);
    base.node.local_endpoints = 9;
    ask(&base, false, "another node, of which nothing is declared");
}

#[test]
fn a_deterministic_failure_is_remembered_and_a_fault_of_the_machine_is_not() {
    let trapping = Arc::new(Fake::new('a').route(|_| Err(fake::trap())));
    let mut failing = engine(&trapping);
    let broken =
        Arc::new(Fake::new('a').route(|_| Err(crate::guest::GuestError::Infrastructure("slow".into()))));
    let mut machine = engine(&broken);
    for _ in 0..10 {
        failing.routes(&[request("s", "gold")]);
        machine.routes(&[request("s", "gold")]);
    }
    assert_eq!((trapping.calls(), broken.calls()), (1, 10));
    assert_eq!(failing.counters("p").unwrap().failures["Trap"], 1);
    assert_eq!(machine.counters("p").unwrap().failures["Infrastructure"], 10);
}

#[test]
fn an_edited_object_is_asked_about_again_only_where_the_edit_can_be_seen() {
    let guest = Arc::new(by_tier('a'));
    let mut engine = engine(&guest);
    let mut request = request("s", "gold");
    engine.routes(std::slice::from_ref(&request));
    request.service = fake::service("web", "s", &[("tier", "gold"), ("other", "edited")]);
    engine.routes(std::slice::from_ref(&request));
    assert_eq!(guest.calls(), 1);
    request.service = fake::service("web", "s", &[("tier", "platinum")]);
    let decided = engine.routes(std::slice::from_ref(&request)).remove(0);
    assert_eq!(guest.calls(), 2);
    assert_eq!(decided.answer, RouteDecision::Advertise(Arc::new(fake::med(18))));
}

#[test]
fn objects_made_where_others_were_freed_are_never_taken_for_them() {
    let guest = Arc::new(by_tier('a'));
    let mut engine = engine(&guest);
    for round in 0..5000 {
        let tier = ["a", "bb", "ccc", "dddd"][round % 4];
        let decided = engine.routes(&[request("s", tier)]).remove(0);
        assert_eq!(decided.answer, RouteDecision::Advertise(Arc::new(fake::med(tier.len() as u32 + 10))));
    }
}

#[test]
fn the_same_version_set_again_keeps_its_memo_and_another_config_does_not() {
    let guest = Arc::new(by_tier('a'));
    let mut engine = engine(&guest);
    engine.routes(&[request("s", "gold")]);
    engine.set(Arc::new(fake::policy("p", Hook::Route, 'a')), guest.clone()).unwrap();
    engine.routes(&[request("s", "gold")]);
    assert_eq!(guest.calls(), 1);
    let mut other = fake::policy("p", Hook::Route, 'a');
    other.config = r#"{"x":1}"#.into();
    engine.set(Arc::new(other), guest.clone()).unwrap();
    engine.routes(&[request("s", "gold")]);
    assert_eq!(guest.calls(), 2);
}

#[test]
fn lines_that_plugins_log_are_held_for_the_operator_and_bounded() {
    let guest = Arc::new(by_tier('a'));
    let mut engine = engine(&guest);
    for index in 0..2000 {
        engine.routes(&[request("s", &format!("t{index}"))]);
    }
    let log = engine.take_log();
    assert_eq!(log.len(), 1024);
    assert_eq!((&*log[0].policy, log[0].level, log[0].text.as_str()), ("p", "info", "asked"));
    assert!(engine.take_log().is_empty());
}

/// Runs the calls of a batch on as many threads, last one first.
struct Threads;

impl Runner for Threads {
    fn run(&self, count: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for index in (0..count).rev() {
                scope.spawn(move || job(index));
            }
        });
    }
}

/// Loses every call.
struct Lost;

impl Runner for Lost {
    fn run(&self, _count: usize, _job: &(dyn Fn(usize) + Sync)) {}
}

#[test]
fn a_call_that_the_runner_lost_is_the_machines_fault() {
    let mut engine = Engine::with_runner(Arc::new(Lost));
    engine.set(Arc::new(fake::policy("p", Hook::Route, 'a')), Arc::new(by_tier('a'))).unwrap();
    let decided = engine.routes(&[request("s", "gold")]).remove(0);
    assert_eq!(decided.answer, RouteDecision::Advertise(Arc::new(fake::med(1))));
    assert_eq!(engine.counters("p").unwrap().failures["Infrastructure"], 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_answer_depends_on_its_batch_mates_their_order_or_the_threads(
        tiers in prop::collection::vec(0usize..5, 1..30),
        cut in 0usize..30,
    ) {
        let names = ["gold", "tin", "bad", "none", "platinum"];
        let batch: Vec<RouteRequest> = tiers
            .iter()
            .enumerate()
            .map(|(index, tier)| request(&format!("s{index}"), names[*tier]))
            .collect();
        let fresh = |runner: Arc<dyn Runner>| {
            let mut engine = Engine::with_runner(runner);
            engine.set(Arc::new(fake::policy("p", Hook::Route, 'a')), Arc::new(by_tier('a'))).unwrap();
            engine
        };
        let whole = fresh(Arc::new(Threads)).routes(&batch);
        let mut reversed: Vec<RouteRequest> = batch.iter().rev().cloned().collect();
        let mut turned = fresh(Arc::new(crate::Sequential)).routes(&reversed);
        turned.reverse();
        prop_assert_eq!(&whole, &turned);
        let mut parts = fresh(Arc::new(crate::Sequential));
        let cut = cut.min(batch.len());
        let mut split = parts.routes(&batch[..cut]);
        split.extend(parts.routes(&batch[cut..]));
        prop_assert_eq!(&whole, &split);
        reversed.truncate(1);
        let alone = fresh(Arc::new(crate::Sequential)).routes(&reversed);
        prop_assert_eq!(whole.last(), alone.first());
    }
}
