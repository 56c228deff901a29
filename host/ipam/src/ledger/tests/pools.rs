//! Which version of a pool is in force, and its usage.

use super::*;

#[test]
fn a_pool_that_overlaps_one_in_force_is_refused_whole_and_its_last_good_version_stays() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"]), pool("b", &["198.51.100.1"])]);
    bench.settle();
    bench.set_pool(pool("b", &["198.51.100.2", "203.0.113.9-203.0.113.20"]));
    bench.set(Service { requested_pool: Some("b".into()), ..service("shop") });
    let plan = bench.settle();
    let text = plan.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for word in [
        "AddressPool/b",
        "spec.addresses[1]",
        "203.0.113.9-203.0.113.20",
        "AddressPool/a",
        "OverlappingRange",
    ] {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
    assert_eq!(plan.problems.len(), 1);
    assert_eq!(bench.held("shop"), [ip("198.51.100.1")], "from the last good version");
    bench.set_pool(pool("a", &["203.0.113.1-203.0.113.8"]));
    assert_eq!(bench.settle().problems, [], "what it overlapped has gone, so it is in force");
    bench.set(Service { requested_addresses: ips(&["203.0.113.20"]), ..service("other") });
    bench.settle();
    assert_eq!(bench.held("other"), [ip("203.0.113.20")]);
}

#[test]
fn of_two_new_pools_that_overlap_the_first_by_name_is_in_force_and_the_rest_goes_on() {
    let mut bench = Bench::new(&[
        pool("b", &["203.0.113.1-203.0.113.9"]),
        pool("a", &["203.0.113.9"]),
        pool("c", &["192.0.2.1"]),
    ]);
    let plan = bench.settle();
    assert_eq!(plan.problems.len(), 1);
    assert_eq!(&*plan.problems[0].object.name, "b");
    assert_eq!(plan.pools.keys().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "c"]);
}

#[test]
fn ranges_that_two_pools_exchange_in_one_edit_are_taken_together() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1"]), pool("b", &["198.51.100.1"])]);
    bench.settle();
    bench.set_pool(pool("a", &["198.51.100.1"]));
    bench.set_pool(pool("b", &["203.0.113.1"]));
    assert_eq!(bench.settle().problems, []);
    assert_eq!(bench.ledger.pool_of(ip("203.0.113.1")).as_deref(), Some("b"));
}

#[test]
fn usage_counts_claims_exclusions_and_saturates_for_ipv6() {
    let mut bench = Bench::new(&[AddressPool {
        exclude: vec![range("203.0.113.0-203.0.113.9")],
        ..pool("a", &["203.0.113.0-203.0.113.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
    }]);
    bench.set(dual("shop", FamilyPolicy::RequireDualStack));
    bench.settle();
    let plan = bench.propose(&mut BuiltIn);
    let usage: Vec<_> = plan.pools["a"].iter().map(|usage| (usage.family, usage.used, usage.free)).collect();
    assert_eq!(usage, [(Family::Ipv4, 1, 245), (Family::Ipv6, 1, u64::MAX)]);
}

#[test]
fn a_full_pool_serves_again_as_soon_as_it_grows() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1"])]);
    bench.set(service("a"));
    bench.set(service("b"));
    bench.settle();
    bench.set_pool(pool("a", &["203.0.113.1-203.0.113.2"]));
    bench.settle();
    assert_eq!(bench.held("b"), [ip("203.0.113.2")]);
}
