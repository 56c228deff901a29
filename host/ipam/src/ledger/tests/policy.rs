//! The `address` decision, asked and checked.

use bellhop_core::decision::Alternative;

use super::*;
use crate::Step;

fn choose(alternatives: Vec<Vec<(Family, AddressChoice)>>) -> Policy {
    Policy::new(AddressDecision::Choose(alternatives))
}

#[test]
fn a_policy_is_asked_once_with_at_most_sixteen_candidates_for_each_pool_and_family() {
    let mut bench = Bench::new(&[
        pool("a", &["203.0.113.0-203.0.113.255", "2001:db8::-2001:db8::ffff"]),
        pool("b", &["198.51.100.1-198.51.100.3"]),
    ]);
    bench.set(dual("shop", FamilyPolicy::RequireDualStack));
    let mut policy = choose(vec![vec![
        (Family::Ipv4, AddressChoice::Candidate(3)),
        (Family::Ipv6, AddressChoice::Pool("a".into())),
    ]]);
    bench.settle_with(&mut policy);
    assert_eq!(policy.asked.len(), 1);
    let asked = &policy.asked[0];
    assert_eq!(asked.candidates.len(), 16 + 16 + 3);
    assert_eq!(asked.families, [Family::Ipv4, Family::Ipv6]);
    assert!(
        asked.candidates.iter().all(|candidate| asked.pools[candidate.pool].pool.contains(candidate.address))
    );
    assert_eq!(bench.held("shop"), ips(&["203.0.113.3", "2001:db8::"]));
    let claim = &bench.world.claims()[&ip("203.0.113.3")];
    let by = claim.decided_by.as_ref().unwrap();
    assert_eq!((&*by.policy, &*by.digest, by.note.as_deref()), ("by-label", "ab12", Some("suffix .7")));
}

#[test]
fn released_addresses_are_offered_last_with_their_rank() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.3"])]);
    bench.set(service("a"));
    bench.set(service("b"));
    bench.settle();
    bench.remove("b");
    bench.settle();
    bench.remove("a");
    bench.settle();
    let mut policy = choose(vec![vec![(Family::Ipv4, AddressChoice::Candidate(0))]]);
    bench.set(service("c"));
    bench.settle_with(&mut policy);
    let offered: Vec<_> = policy.asked[0].candidates.iter().map(|c| (c.address, c.release_rank)).collect();
    assert_eq!(offered, [(ip("203.0.113.3"), 0), (ip("203.0.113.2"), 1), (ip("203.0.113.1"), 2)]);
}

#[test]
fn alternatives_are_tried_in_order_and_the_first_that_can_be_had_whole_is_taken() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(Service { requested_addresses: ips(&["203.0.113.2"]), ..service("holder") });
    bench.settle();
    bench.set(service("shop"));
    bench.settle_with(&mut Policy::exactly(&["192.0.2.1", "203.0.113.2", "203.0.113.5"]));
    assert_eq!(bench.held("shop"), [ip("203.0.113.5")]);
    let told: Vec<_> =
        bench.ledger.outcomes()[&key("shop")].decided.iter().map(ToString::to_string).collect();
    let told = told.join("\n");
    for words in [
        "pool a: offered",
        "policy by-label",
        "alternative 1: 192.0.2.1 is outside every pool",
        "alternative 2: 203.0.113.2 is held by Service/web/holder",
        "takes 203.0.113.5 of pool a, chosen by the policy",
    ] {
        assert!(told.contains(words), "{told:?} lacks {words:?}");
    }
}

#[test]
fn an_answer_that_cannot_be_had_names_policy_and_reason_and_moves_nothing_else() {
    use AddressChoice::{Candidate, Exact, Pool};
    let four = |choice| vec![vec![(Family::Ipv4, choice)]];
    let cases: [(Vec<Alternative>, &str); 10] = [
        (four(Exact(ip("192.0.2.1"))), "192.0.2.1 is outside every pool"),
        (four(Exact(ip("198.51.100.1"))), "which the Service may not use"),
        (four(Exact(ip("203.0.113.1"))), "203.0.113.1 is held by Service/web/holder"),
        (four(Exact(ip("203.0.113.4"))), "203.0.113.4 is an address of Node/n"),
        (four(Exact(ip("2001:db8::1"))), "2001:db8::1 is no IPv4 address"),
        (four(Candidate(99)), "candidate 99 is none of the 8 on offer"),
        (four(Pool("nowhere".into())), "pool nowhere is none that the Service may use"),
        (
            vec![vec![(Family::Ipv6, Exact(ip("2001:db8::1")))]],
            "names an IPv6 address, which was not asked for",
        ),
        (vec![vec![]], "names no IPv4 address"),
        (vec![], "empty list"),
    ];
    for (answer, words) in cases {
        let mut bench = Bench::new(&[
            pool("a", &["203.0.113.1-203.0.113.10"]),
            AddressPool { auto_assign: false, ..pool("b", &["198.51.100.1"]) },
        ]);
        bench.apply(Delta::Node("n".into(), Some(Arc::new(node("n", "203.0.113.4")))));
        bench.set(Service { requested_addresses: ips(&["203.0.113.1"]), ..service("holder") });
        bench.settle();
        bench.set(service("shop"));
        bench.settle_with(&mut choose(answer));
        assert_eq!(bench.held("shop"), ips(&[]), "{words}");
        bench.assert_waits("shop", &["InvalidAnswer", "DecisionPolicy/by-label", words]);
        assert_eq!(bench.held("holder"), [ip("203.0.113.1")]);
    }
}

#[test]
fn a_rejection_is_told_with_the_policys_reason_and_asked_again_when_policies_change() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(service("shop"));
    bench.settle_with(&mut Policy::new(AddressDecision::Reject("no label team".into())));
    bench.assert_waits("shop", &["RejectedByPolicy", "DecisionPolicy/by-label", "no label team"]);
    bench.touched.policies = true;
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")]);
}

#[test]
fn each_question_shows_what_the_answers_before_left_free() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    for name in ["a", "b", "c"] {
        bench.set(service(name));
    }
    let mut policy = choose(vec![vec![(Family::Ipv4, AddressChoice::Candidate(0))]]);
    bench.settle_with(&mut policy);
    let held: Vec<_> = ["a", "b", "c"].iter().flat_map(|name| bench.held(name)).collect();
    assert_eq!(held, ips(&["203.0.113.1", "203.0.113.2", "203.0.113.3"]));
}

#[test]
fn a_service_that_asks_for_its_address_by_name_is_no_question_for_a_policy() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(Service { requested_addresses: ips(&["203.0.113.5"]), ..service("shop") });
    let mut policy = Policy::exactly(&["203.0.113.1"]);
    bench.settle_with(&mut policy);
    assert!(policy.asked.is_empty());
    let steps = &bench.ledger.outcomes()[&key("shop")].decided;
    assert!(matches!(steps.as_slice(), [Step::Chosen { .. }]), "{steps:?}");
}
