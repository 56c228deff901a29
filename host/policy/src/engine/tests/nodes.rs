//! The `nodes` hook: per node, in bounded batches, never below the floor.

use std::sync::Arc;

use bellhop_core::decision::{ConsultOutcome, Decided, Decisions, NodeFacts, NodeVerdict, NodesRequest};
use bellhop_core::labels::labels;
use bellhop_core::objects::{DecisionPolicy, FailurePolicy, Hook, Readiness};
use proptest::prelude::*;

use crate::engine::Engine;
use crate::fake::{self, Fake};
use crate::guest::{GuestVerdict, NodeView};

/// Drains by label `drain`, cuts off by `off`, weighs by `weight`, traps on `bad`; else `use-default`.
fn by_labels(sha: char) -> Fake {
    let keys = ["drain", "off", "weight", "bad", "id"].map(str::to_owned);
    Fake::new(sha).reads(|inputs| inputs.node_labels = keys.into()).node(|view| {
        if value(view, "bad").is_some() {
            return Err(fake::trap());
        }
        Ok(match (value(view, "drain"), value(view, "off"), value(view, "weight")) {
            (Some(reason), _, _) => fake::said(GuestVerdict::Draining(reason.into()), "note"),
            (_, Some(reason), _) => fake::said(GuestVerdict::Ineligible(reason.into()), ""),
            (_, _, Some(weight)) => fake::said(GuestVerdict::Eligible(weight.parse().unwrap()), ""),
            _ => fake::use_default(),
        })
    })
}

fn value<'a>(view: &'a NodeView, key: &str) -> Option<&'a str> {
    view.labels.iter().find(|(name, _)| &**name == key).map(|(_, value)| &**value)
}

fn policy(name: &str, change: impl FnOnce(&mut DecisionPolicy)) -> Arc<DecisionPolicy> {
    let mut policy = fake::policy(name, Hook::Nodes, 'a');
    change(&mut policy);
    Arc::new(policy)
}

fn set(engine: &mut Engine, name: &str, guest: Fake, change: impl FnOnce(&mut DecisionPolicy)) -> Arc<Fake> {
    let guest = Arc::new(guest);
    engine.set(policy(name, change), guest.clone()).unwrap();
    guest
}

fn request(nodes: Vec<NodeFacts>) -> NodesRequest {
    fake::nodes(&fake::service("web", "shop", &[]), nodes)
}

fn one(engine: &mut Engine, nodes: Vec<NodeFacts>) -> Vec<Decided<NodeVerdict>> {
    engine.nodes(&[request(nodes)]).remove(0)
}

fn eligible(decided: &[Decided<NodeVerdict>]) -> usize {
    decided.iter().filter(|decided| matches!(decided.answer, NodeVerdict::Eligible(_))).count()
}

fn many(count: usize, pairs: impl Fn(usize) -> Vec<(&'static str, String)>) -> Vec<NodeFacts> {
    (0..count)
        .map(|index| {
            let id = ("id", index.to_string());
            let labels = labels(pairs(index).into_iter().chain([id]));
            fake::node_with(&format!("n{index:04}"), labels, Readiness::Ready)
        })
        .collect()
}

#[test]
fn the_chain_resolves_per_node() {
    let mut engine = Engine::new();
    set(&mut engine, "a", by_labels('a'), |_| {});
    let everywhere = |_: &NodeView| Ok(fake::said(GuestVerdict::Eligible(5), ""));
    set(&mut engine, "b", Fake::new('a').node(everywhere), |_| {});
    let nodes = vec![
        fake::node("n1", &[("drain", "reboot")]),
        fake::node("n2", &[]),
        fake::node("n3", &[("weight", "7")]),
    ];
    let decided = one(&mut engine, nodes);
    let answers: Vec<&NodeVerdict> = decided.iter().map(|decided| &decided.answer).collect();
    assert_eq!(
        answers,
        [&NodeVerdict::Draining("reboot".into()), &NodeVerdict::Eligible(5), &NodeVerdict::Eligible(7)]
    );
    let asked: Vec<usize> = decided.iter().map(|decided| decided.trail.len()).collect();
    assert_eq!(asked, [1, 2, 1]);
    assert_eq!(decided[0].trail[0].note.as_deref(), Some("note"));
}

#[test]
fn no_call_has_more_than_256_nodes_and_alike_nodes_are_asked_about_once() {
    let mut engine = Engine::new();
    let guest = set(&mut engine, "a", by_labels('a'), |_| {});
    one(&mut engine, many(600, |_| vec![]));
    let sizes: Vec<usize> =
        guest.asked.lock().unwrap().iter().map(|asked| asked["nodes"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [256, 256, 88]);
    let alike: Vec<NodeFacts> =
        (0..600).map(|index| fake::node(&format!("m{index}"), &[("weight", "9")])).collect();
    one(&mut engine, alike);
    assert_eq!(guest.calls(), 4);
}

#[test]
fn a_node_that_makes_the_module_fail_changes_no_verdict_of_another() {
    let mut engine = Engine::new();
    let guest =
        set(&mut engine, "a", by_labels('a'), |policy| policy.failure_policy = FailurePolicy::UseDefault);
    let nodes = many(600, |index| match index {
        17 => vec![("bad", "yes".into())],
        _ => vec![("weight", index.to_string())],
    });
    let decided = one(&mut engine, nodes.clone());
    for (index, decided) in decided.iter().enumerate() {
        if index == 17 {
            assert_eq!(decided.answer, NodeVerdict::DEFAULT);
            assert_eq!(decided.trail[0].outcome, ConsultOutcome::FailedUseDefault);
        } else {
            assert_eq!(decided.answer, NodeVerdict::Eligible(index as u32));
        }
    }
    assert_eq!(guest.calls(), 3 + 16, "halving finds one node among 256 in 16 calls");
    one(&mut engine, nodes);
    assert_eq!(guest.calls(), 3 + 16);
}

#[test]
fn many_nodes_that_make_the_module_fail_still_cost_no_other_node_its_verdict() {
    let mut engine = Engine::new();
    set(&mut engine, "a", by_labels('a'), |policy| policy.failure_policy = FailurePolicy::UseDefault);
    let bad = |index: usize| index >= 16 && index.is_multiple_of(5);
    let decided = one(
        &mut engine,
        many(
            256,
            |index| if bad(index) { vec![("bad", "yes".into())] } else { vec![("weight", "7".into())] },
        ),
    );
    for (index, decided) in decided.iter().enumerate() {
        assert_eq!(decided.answer == NodeVerdict::Eligible(7), !bad(index), "node {index}");
    }
}

#[test]
fn a_module_that_fails_on_every_node_costs_a_bounded_number_of_calls() {
    let mut engine = Engine::new();
    let guest = set(
        &mut engine,
        "a",
        Fake::new('a').reads(|inputs| inputs.node_identity = true).node(|_| Err(fake::trap())),
        |_| {},
    );
    let decided = one(&mut engine, many(256, |_| vec![]));
    assert_eq!(eligible(&decided), 256);
    assert!(guest.calls() <= 31, "{} calls", guest.calls());
}

#[test]
fn a_policy_never_leaves_fewer_nodes_than_the_minimum_and_the_trail_says_so() {
    for (min, expected) in [(0, 1), (1, 1), (3, 3), (99, 5)] {
        let mut engine = Engine::new();
        set(&mut engine, "a", by_labels('a'), |policy| policy.min_eligible = min);
        let decided = one(&mut engine, many(5, |_| vec![("off", "cold".into())]));
        assert_eq!(eligible(&decided), expected);
        let kept = decided.iter().find(|decided| decided.answer == NodeVerdict::DEFAULT).unwrap();
        let note = kept.trail[0].note.as_deref().unwrap();
        let says = format!("kept eligible by minEligible {}; the policy said ineligible: cold", min.max(1));
        assert_eq!(note, says);
    }
}

#[test]
fn the_minimum_holds_over_the_whole_chain() {
    let mut engine = Engine::new();
    let half = |parity: usize| {
        move |view: &NodeView| {
            let id: usize = value(view, "id").unwrap().parse().unwrap();
            Ok(if id % 2 == parity {
                fake::said(GuestVerdict::Draining("half".into()), "")
            } else {
                fake::use_default()
            })
        }
    };
    let reads = |guest: Fake| guest.reads(|inputs| inputs.node_labels = ["id".to_owned()].into());
    set(&mut engine, "a", reads(Fake::new('a').node(half(0))), |_| {});
    set(&mut engine, "b", reads(Fake::new('a').node(half(1))), |_| {});
    assert_eq!(eligible(&one(&mut engine, many(8, |_| vec![]))), 1);
}

#[test]
fn an_operator_who_chose_withhold_gets_it() {
    let mut engine = Engine::new();
    engine.set_unavailable(policy("a", |policy| policy.failure_policy = FailurePolicy::Withhold));
    let decided = one(&mut engine, many(3, |_| vec![]));
    assert_eq!(eligible(&decided), 0);
    assert_eq!(decided[0].trail[0].outcome, ConsultOutcome::FailedWithhold);
}

fn by_readiness(sha: char) -> Fake {
    Fake::new(sha)
        .reads(|inputs| {
            inputs.node_conditions = true;
            inputs.node_taints = true;
            inputs.node_labels = ["off".to_owned()].into();
        })
        .node(|view| {
            Ok(match (view.ready, value(view, "off")) {
                (_, Some(reason)) => fake::said(GuestVerdict::Ineligible(reason.into()), ""),
                (Readiness::Ready, _) => fake::use_default(),
                _ => fake::said(GuestVerdict::Ineligible("not ready".into()), ""),
            })
        })
}

fn unready(count: usize, of: usize, pairs: &[(&str, &str)]) -> Vec<NodeFacts> {
    (0..of)
        .map(|index| {
            let ready = if index < count { Readiness::Unknown } else { Readiness::Ready };
            let labels = if index < count { labels(pairs.iter().copied()) } else { labels::<&str, &str>([]) };
            fake::node_with(&format!("n{index}"), labels, ready)
        })
        .collect()
}

#[test]
fn readiness_alone_takes_at_most_a_third_of_the_nodes_at_once() {
    for (count, of, left) in [(1, 9, 8), (3, 9, 6), (4, 9, 6), (9, 9, 6), (1, 3, 2), (2, 2, 2)] {
        let mut engine = Engine::new();
        set(&mut engine, "a", by_readiness('a'), |_| {});
        let decided = one(&mut engine, unready(count, of, &[]));
        assert_eq!(eligible(&decided), left, "{count} of {of} not ready");
    }
    let mut engine = Engine::new();
    set(&mut engine, "a", by_readiness('a'), |_| {});
    let decided = one(&mut engine, unready(9, 9, &[]));
    let note =
        decided.iter().find(|decided| decided.answer == NodeVerdict::DEFAULT).unwrap().trail[0].note.clone();
    assert!(note.unwrap().contains("readiness alone takes at most 1 in 3"));
}

#[test]
fn the_third_is_shared_by_all_policies_of_the_chain() {
    let mut engine = Engine::new();
    // The first takes what is Unknown, the second what is NotReady: three each, of nine.
    for (name, bad) in [("a", Readiness::Unknown), ("b", Readiness::NotReady)] {
        let guest = Fake::new('a').reads(|inputs| inputs.node_conditions = true).node(move |view| {
            Ok(if view.ready == bad {
                fake::said(GuestVerdict::Ineligible("not ready".into()), "")
            } else {
                fake::use_default()
            })
        });
        set(&mut engine, name, guest, |_| {});
    }
    let nodes: Vec<NodeFacts> = (0..9)
        .map(|index| {
            let ready = [Readiness::Unknown, Readiness::NotReady, Readiness::Ready][index % 3];
            fake::node_with(&format!("n{index}"), labels::<&str, &str>([]), ready)
        })
        .collect();
    assert_eq!(eligible(&one(&mut engine, nodes)), 6);
}

#[test]
fn a_node_that_is_out_for_another_reason_too_does_not_count_as_lost_to_readiness() {
    let mut engine = Engine::new();
    set(&mut engine, "a", by_readiness('a'), |_| {});
    assert_eq!(eligible(&one(&mut engine, unready(6, 9, &[("off", "sold")]))), 3);
}

#[test]
fn the_summary_counts_all_nodes_whatever_the_size_of_the_batch() {
    let mut engine = Engine::new();
    let guest = set(
        &mut engine,
        "a",
        by_labels('a').reads(|inputs| inputs.topology_keys = ["zone".to_owned()].into()),
        |_| {},
    );
    one(&mut engine, many(300, |index| vec![("zone", ["a", "b", "b"][index % 3].into())]));
    for asked in guest.asked.lock().unwrap().iter() {
        assert_eq!(
            asked["summary"],
            serde_json::json!({
                "total": 300, "ready": 300, "unschedulable": 0,
                "topology": [["zone", "a", 100, 100], ["zone", "b", 200, 200]],
            })
        );
    }
}

#[test]
fn the_last_verdict_of_each_node_is_kept_across_a_swap() {
    let mut engine = Engine::new();
    set(&mut engine, "a", by_labels('a'), |_| {});
    let nodes = || vec![fake::node("n1", &[("drain", "reboot")]), fake::node("n2", &[("weight", "7")])];
    one(&mut engine, nodes());
    let failing = Arc::new(Fake::new('b').node(|_| Err(fake::trap())));
    engine.set(policy("a", |policy| policy.sha256 = fake::digest('b')), failing).unwrap();
    let decided = one(&mut engine, nodes());
    assert_eq!(decided[0].answer, NodeVerdict::Draining("reboot".into()));
    assert_eq!(decided[1].answer, NodeVerdict::Eligible(7));
    assert!(decided.iter().all(|decided| decided.trail[0].outcome == ConsultOutcome::KeptLast));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_verdict_depends_on_no_other_service_of_the_batch_and_some_node_stays(
        services in prop::collection::vec(prop::collection::vec(0usize..5, 1..17), 1..6),
    ) {
        let batch: Vec<NodesRequest> = services
            .iter()
            .enumerate()
            .map(|(index, kinds)| {
                let kinds = kinds.clone();
                let nodes = many(kinds.len(), move |node| match kinds[node] {
                    0 => vec![("drain", "x".into())],
                    1 => vec![("off", "x".into())],
                    2 => vec![("weight", "3".into())],
                    3 => vec![("bad", "x".into())],
                    _ => vec![],
                });
                fake::nodes(&fake::service("web", &format!("s{index}"), &[]), nodes)
            })
            .collect();
        let fresh = || {
            let mut engine = Engine::new();
            set(&mut engine, "a", by_labels('a').reads(|inputs| inputs.service_identity = true), |_| {});
            engine
        };
        let whole = fresh().nodes(&batch);
        let reversed: Vec<NodesRequest> = batch.iter().rev().cloned().collect();
        let mut turned = fresh().nodes(&reversed);
        turned.reverse();
        prop_assert_eq!(&whole, &turned);
        for (request, verdicts) in batch.iter().zip(&whole) {
            let alone = fresh().nodes(std::slice::from_ref(request)).remove(0);
            prop_assert_eq!(verdicts, &alone);
            prop_assert!(eligible(verdicts) >= 1);
        }
    }
}
