//! Addresses and pools that Services ask for by name.

use super::*;

fn asks(name: &str, addresses: &[&str]) -> Service {
    Service { requested_addresses: ips(addresses), ..service(name) }
}

#[test]
fn a_request_that_cannot_be_granted_says_why_in_words_and_names_the_value() {
    let pools = [
        AddressPool { exclude: vec![range("203.0.113.3")], ..pool("a", &["203.0.113.1-203.0.113.9"]) },
        AddressPool { service_selector: Some(selector("tier", "gold")), ..pool("gold", &["198.51.100.1"]) },
    ];
    let cases: [(Service, &[&str]); 9] = [
        (
            asks("s", &["192.0.2.1"]),
            &["AddressOutsidePools", "192.0.2.1", "bellhop.dev/addresses", "a, gold"],
        ),
        (asks("s", &["203.0.113.3"]), &["AddressExcluded", "203.0.113.3", "AddressPool/a"]),
        (asks("s", &["203.0.113.4"]), &["AddressExcluded", "Node/n"]),
        (asks("s", &["203.0.113.1"]), &["AddressTaken", "203.0.113.1", "Service/web/holder"]),
        (asks("s", &["203.0.113.5"]), &["AddressTaken", "reserved", "AddressClaim"]),
        (asks("s", &["198.51.100.1"]), &["PoolNotAllowed", "AddressPool/gold", "serviceSelector"]),
        (asks("s", &["2001:db8::1"]), &["FamilyUnavailable", "IPv6", "wants IPv4 only"]),
        (
            Service { requested_pool: Some("gold".into()), ..asks("s", &["203.0.113.2"]) },
            &["ConflictingFields", "AddressPool/a", "gold"],
        ),
        (
            Service { requested_pool: Some("nowhere".into()), ..service("s") },
            &["UnknownPool", "nowhere", "bellhop.dev/pool"],
        ),
    ];
    for (service, words) in cases {
        let mut bench = Bench::new(&pools);
        bench.apply(Delta::Node("n".into(), Some(Arc::new(node("n", "203.0.113.4")))));
        bench.claim(AddressClaim {
            address: ip("203.0.113.5"),
            pool: None,
            holders: Vec::new(),
            decided_by: None,
        });
        bench.set(asks("holder", &["203.0.113.1"]));
        bench.settle();
        bench.set(service);
        bench.settle();
        assert_eq!(bench.held("s"), ips(&[]), "{words:?}");
        bench.assert_waits("s", words);
        bench.assert_waits("s", &["Service/web/s"]);
    }
}

#[test]
fn a_request_is_granted_from_a_pool_that_is_not_assigned_by_itself_and_later_when_it_becomes_free() {
    let mut bench =
        Bench::new(&[AddressPool { auto_assign: false, ..pool("a", &["203.0.113.1-203.0.113.9"]) }]);
    bench.set(asks("first", &["203.0.113.7"]));
    bench.settle();
    bench.set(asks("second", &["203.0.113.7"]));
    bench.settle();
    bench.assert_waits("second", &["AddressTaken", "Service/web/first"]);
    bench.remove("first");
    bench.settle();
    assert_eq!(bench.held("second"), [ip("203.0.113.7")]);
}

#[test]
fn a_request_for_one_family_leaves_the_other_to_the_pools() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9", "2001:db8::1-2001:db8::9"])]);
    bench.set(Service {
        requested_addresses: ips(&["203.0.113.7"]),
        ..dual("shop", FamilyPolicy::RequireDualStack)
    });
    bench.settle();
    assert_eq!(bench.held("shop"), ips(&["203.0.113.7", "2001:db8::1"]));
}

#[test]
fn requiring_both_families_a_service_takes_nothing_while_one_request_is_refused() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    let requested_addresses = ips(&["203.0.113.7", "2001:db8::7"]);
    bench.set(Service { requested_addresses, ..dual("shop", FamilyPolicy::RequireDualStack) });
    bench.settle();
    assert_eq!(bench.held("shop"), ips(&[]));
    bench.assert_waits("shop", &["AddressOutsidePools", "2001:db8::7"]);
}

#[test]
fn a_changed_request_moves_the_service_once_it_can_be_granted_and_not_before() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(asks("shop", &["203.0.113.1"]));
    bench.set(asks("other", &["203.0.113.2"]));
    bench.settle();
    bench.set(asks("shop", &["203.0.113.2"]));
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")], "it keeps what it has");
    bench.assert_waits("shop", &["AddressTaken", "Service/web/other"]);
    bench.remove("other");
    let plan = bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.2")]);
    assert!(
        matches!(plan.changes.last(), Some(ClaimChange::Release(_))),
        "given up last: {:?}",
        plan.changes
    );
}

#[test]
fn a_service_that_comes_to_ask_for_a_pool_moves_there_but_a_range_that_changes_pools_moves_nobody() {
    let mut bench =
        Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"]), pool("b", &["198.51.100.1-198.51.100.9"])]);
    bench.set(service("shop"));
    bench.settle();
    bench.set(Service { requested_pool: Some("b".into()), ..service("shop") });
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("198.51.100.1")]);
    bench.set_pool(pool("b", &["192.0.2.1"]));
    bench.set_pool(pool("c", &["198.51.100.1-198.51.100.9"]));
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("198.51.100.1")]);
}
