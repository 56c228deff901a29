//! Which address a Service gets that leaves the choice to us.

use super::*;

#[test]
fn a_service_gets_the_lowest_address_of_its_family() {
    for (families, expected) in [
        (vec![Family::Ipv4], "203.0.113.0"),
        (vec![Family::Ipv6], "2001:db8::"),
        (vec![Family::Ipv6, Family::Ipv4], "2001:db8::"),
    ] {
        let mut bench = Bench::new(&[pool(
            "a",
            &["203.0.113.0-203.0.113.255", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"],
        )]);
        bench.set(Service { families, ..service("shop") });
        bench.settle();
        assert_eq!(
            bench.held("shop"),
            [ip(expected)],
            "single stack takes its first family, network addresses too"
        );
    }
}

#[test]
fn addresses_never_used_come_first_and_then_the_one_released_longest_ago() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.3"])]);
    for name in ["a", "b"] {
        bench.set(service(name));
    }
    bench.settle();
    for name in ["b", "a"] {
        bench.remove(name);
        bench.settle();
    }
    for (name, expected) in [("c", "203.0.113.3"), ("d", "203.0.113.2"), ("e", "203.0.113.1")] {
        bench.set(service(name));
        bench.settle();
        assert_eq!(bench.held(name), [ip(expected)], "{name}");
    }
}

#[test]
fn pools_are_tried_by_priority_and_then_by_name() {
    let mut bench = Bench::new(&[
        pool("b", &["203.0.113.2"]),
        pool("a", &["203.0.113.1"]),
        AddressPool { priority: 10, ..pool("c", &["203.0.113.3"]) },
        AddressPool { auto_assign: false, priority: 20, ..pool("d", &["203.0.113.4"]) },
    ]);
    for name in ["1", "2", "3", "4"] {
        bench.set(service(name));
    }
    bench.settle();
    let held: Vec<_> = ["1", "2", "3"].iter().flat_map(|name| bench.held(name)).collect();
    assert_eq!(held, ips(&["203.0.113.3", "203.0.113.1", "203.0.113.2"]));
    bench.assert_waits("4", &["Service/web/4", "PoolExhausted", "no IPv4 address is free"]);
}

#[test]
fn selectors_of_a_pool_decide_whom_it_admits_and_a_later_label_is_honoured() {
    let gated = AddressPool {
        namespace_selector: Some(selector("team", "blue")),
        service_selector: Some(selector("tier", "gold")),
        ..pool("a", &["203.0.113.1"])
    };
    let mut bench = Bench::new(&[gated]);
    bench.set(Service { labels: labels([("tier", "gold")]), ..service("shop") });
    bench.settle();
    bench.assert_waits("shop", &["NoMatchingPool"]);
    bench.namespace("web", &[("team", "blue")]);
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")]);
}

#[test]
fn services_that_wait_are_served_in_order_of_age() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1"])]);
    bench.set(service("holder"));
    bench.settle();
    bench.set(Service { created: 20, ..service("a-young") });
    bench.set(Service { created: 10, ..service("z-old") });
    bench.settle();
    bench.remove("holder");
    bench.set(Service { created: 30, ..service("b-younger") });
    let plan = bench.settle();
    assert_eq!(bench.held("z-old"), [ip("203.0.113.1")]);
    assert!(
        matches!(plan.changes.as_slice(), [ClaimChange::Update(_)]),
        "the claim passes on in one step: {:?}",
        plan.changes
    );
    bench.assert_waits("a-young", &["PoolExhausted"]);
    bench.assert_waits("b-younger", &["PoolExhausted"]);
}

#[test]
fn a_service_that_becomes_a_cluster_ip_frees_its_address_for_one_that_waits() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1"])]);
    bench.set(service("a"));
    bench.set(service("b"));
    bench.settle();
    bench.set(Service { wants_address: false, ..service("a") });
    let plan = bench.settle();
    assert_eq!(plan.gone, [key("a")]);
    assert_eq!(bench.held("b"), [ip("203.0.113.1")]);
}

#[test]
fn dual_stack_policies_take_what_they_can_or_must() {
    use FamilyPolicy::{PreferDualStack, RequireDualStack};
    let four = pool("four", &["203.0.113.1"]);
    let six = pool("six", &["2001:db8::1"]);
    let both = pool("zz-both", &["203.0.113.9", "2001:db8::9"]);
    let cases: [(&[AddressPool], FamilyPolicy, &[&str], &str); 7] = [
        (std::slice::from_ref(&four), PreferDualStack, &["203.0.113.1"], ""),
        (std::slice::from_ref(&six), PreferDualStack, &["2001:db8::1"], ""),
        (&[four.clone(), six.clone()], PreferDualStack, &["203.0.113.1", "2001:db8::1"], ""),
        (&[four.clone(), six.clone(), both], PreferDualStack, &["203.0.113.9", "2001:db8::9"], ""),
        (std::slice::from_ref(&four), RequireDualStack, &[], "FamilyUnavailable"),
        (&[four.clone(), six.clone()], RequireDualStack, &["203.0.113.1", "2001:db8::1"], ""),
        (&[], RequireDualStack, &[], "NoMatchingPool"),
    ];
    for (pools, policy, expected, reason) in cases {
        let mut bench = Bench::new(pools);
        bench.set(dual("shop", policy));
        bench.settle();
        assert_eq!(bench.held("shop"), ips(expected), "{policy:?}");
        bench.assert_waits("shop", &[reason]);
        assert_eq!(bench.waiting("shop").is_empty(), reason.is_empty());
    }
}

#[test]
fn the_second_family_is_added_when_a_pool_comes_to_have_it_and_the_first_stays() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(dual("shop", FamilyPolicy::PreferDualStack));
    bench.settle();
    bench.set_pool(pool("a", &["203.0.113.0-203.0.113.9", "2001:db8::1"]));
    bench.settle();
    assert_eq!(bench.held("shop"), ips(&["203.0.113.1", "2001:db8::1"]));
    bench.set(service("shop"));
    bench.settle();
    assert_eq!(bench.held("shop"), ips(&["203.0.113.1"]), "single stack again gives the second one up");
}

#[test]
fn without_allocation_only_addresses_asked_for_are_served_and_what_is_held_is_kept() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(service("held"));
    bench.settle();
    bench.mode = Mode::RequestedOnly;
    bench.set(service("new"));
    bench.set(Service { requested_addresses: ips(&["203.0.113.5"]), ..service("asks") });
    bench.set(Service { requested_pool: Some("a".into()), ..service("pool") });
    bench.settle();
    assert_eq!(bench.held("held"), [ip("203.0.113.1")]);
    assert_eq!(bench.held("asks"), [ip("203.0.113.5")]);
    for name in ["new", "pool"] {
        assert_eq!(bench.held(name), ips(&[]));
        bench.assert_waits(name, &["AllocationDisabled", "--allocate"]);
    }
}

#[test]
fn addresses_of_nodes_and_reservations_are_never_handed_out() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.3"])]);
    bench.apply(Delta::Node("n".into(), Some(Arc::new(node("n", "203.0.113.1")))));
    bench.claim(AddressClaim {
        address: ip("203.0.113.2"),
        pool: None,
        holders: Vec::new(),
        decided_by: None,
    });
    bench.set(service("a"));
    bench.set(service("b"));
    let plan = bench.settle();
    assert_eq!(bench.held("a"), [ip("203.0.113.3")]);
    bench.assert_waits("b", &["PoolExhausted"]);
    assert_eq!(
        (plan.pools["a"][0].used, plan.pools["a"][0].free),
        (1, 1),
        "as it was before the plan's changes"
    );
    bench.apply(Delta::Node("n".into(), None));
    bench.settle();
    assert_eq!(bench.held("b"), [ip("203.0.113.1")]);
}

#[test]
fn a_creation_that_fails_is_proposed_again_and_an_unreadable_claim_is_gone_around() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(service("shop"));
    let first = bench.propose(&mut BuiltIn);
    let second = bench.propose(&mut BuiltIn);
    assert_eq!(first.changes, second.changes);
    assert_eq!(first.changes[0].address(), ip("203.0.113.1"));
    bench.ledger.avoid(ip("203.0.113.1"));
    let third = bench.propose(&mut BuiltIn);
    assert_eq!(third.changes[0].address(), ip("203.0.113.2"));
    bench.carry_out(&third);
    assert_eq!(bench.propose(&mut BuiltIn).changes, []);
}

#[test]
fn nothing_is_planned_before_the_world_is_whole() {
    let mut world = World::default();
    let claim = AddressClaim { address: ip("203.0.113.1"), pool: None, holders: vec![], decided_by: None };
    let touched = world.apply(Delta::Claim(claim.address, Some(Arc::new(claim))));
    assert_eq!(Ledger::new().plan(&world, &touched, Mode::Allocate, &mut BuiltIn), LedgerPlan::default());
}

#[test]
fn one_more_service_costs_the_same_beside_ten_thousand() {
    // Looked-at Services are what costs; with 10,000 settled, one event looks at one.
    let mut bench =
        Bench::new(&[pool("a", &["10.0.0.0-10.0.255.255", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"])]);
    for number in 0..10_000 {
        bench.set(dual(&format!("s{number}"), FamilyPolicy::RequireDualStack));
    }
    let plan = bench.propose(&mut BuiltIn);
    assert_eq!(plan.changes.len(), 20_000);
    bench.carry_out(&plan);
    bench.propose(&mut BuiltIn);
    bench.set(dual("new", FamilyPolicy::RequireDualStack));
    let plan = bench.propose(&mut BuiltIn);
    assert_eq!((plan.changes.len(), plan.outcomes.len()), (2, 1));
    bench.carry_out(&plan);
    bench.remove("s5000");
    let plan = bench.propose(&mut BuiltIn);
    assert_eq!((plan.changes.len(), plan.gone.len()), (2, 1));
}
