//! Claims that were lost, or restored from a backup, are made good before anything is chosen anew.

use super::*;

/// A pool of nine addresses and a Service whose status, by Bellhop's own writing, lists `addresses`.
fn bench(addresses: &[&str]) -> Bench {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(service("shop"));
    previous(&mut bench, "shop", addresses);
    bench
}

fn previous(bench: &mut Bench, name: &str, addresses: &[&str]) {
    bench.ledger.set_previous(&key(name), &format!("uid-{name}").into(), &ips(addresses));
}

fn claim_of(address: &str, name: &str, uid: &str) -> AddressClaim {
    let holder = bellhop_core::objects::Holder {
        service: key(name),
        uid: uid.into(),
        ports: service(name).ports,
        sharing_key: None,
    };
    AddressClaim { address: ip(address), pool: Some("a".into()), holders: vec![holder], decided_by: None }
}

#[test]
fn a_service_whose_claim_was_lost_gets_exactly_its_address_again_before_older_ones_that_wait() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.2"])]);
    bench.set(Service { created: 1, ..service("older") });
    bench.set(Service { created: 9, ..service("shop") });
    previous(&mut bench, "shop", &["203.0.113.1"]);
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")]);
    assert_eq!(bench.held("older"), [ip("203.0.113.2")]);
}

#[test]
fn a_claim_restored_from_a_backup_is_given_the_uid_that_the_service_has_now() {
    let mut bench = bench(&["203.0.113.7"]);
    bench.claim(claim_of("203.0.113.7", "shop", "uid-in-the-backup"));
    let plan = bench.settle();
    assert_eq!(plan.changes, [ClaimChange::Update(claim_of("203.0.113.7", "shop", "uid-shop"))]);
}

#[test]
fn a_service_made_anew_under_an_old_name_adopts_neither_claim_nor_address() {
    let mut bench = bench(&[]);
    bench.claim(claim_of("203.0.113.7", "shop", "uid-of-the-old-one"));
    bench.ledger.set_previous(&key("shop"), &"uid-of-the-old-one".into(), &ips(&["203.0.113.7"]));
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")]);
}

#[test]
fn nothing_is_adopted_that_the_service_could_not_have_by_asking_for_it() {
    type Edit = fn(&mut Bench);
    let edits: [(&str, Edit); 6] = [
        ("held by another", |bench| {
            bench.set(service("other"));
            bench.claim(claim_of("203.0.113.7", "other", "uid-other"));
        }),
        ("reserved", |bench| {
            bench.claim(AddressClaim { holders: Vec::new(), ..claim_of("203.0.113.7", "", "") });
        }),
        ("excluded", |bench| {
            let exclude = vec![range("203.0.113.7")];
            bench.set_pool(AddressPool { exclude, ..pool("a", &["203.0.113.1-203.0.113.9"]) });
        }),
        ("of a pool for others", |bench| {
            let namespace_selector = Some(selector("team", "blue"));
            bench.set_pool(pool("a", &["203.0.113.1-203.0.113.6"]));
            bench.set_pool(AddressPool { namespace_selector, ..pool("b", &["203.0.113.7"]) });
        }),
        ("a node's", |bench| bench.apply(Delta::Node("n".into(), Some(Arc::new(node("n", "203.0.113.7")))))),
        ("not asked for", |bench| {
            bench.set(Service { requested_addresses: ips(&["203.0.113.1"]), ..service("shop") });
        }),
    ];
    for (edit, apply) in edits {
        let mut bench = bench(&["203.0.113.7"]);
        apply(&mut bench);
        bench.settle();
        assert_eq!(bench.held("shop"), [ip("203.0.113.1")], "{edit}");
    }
}

#[test]
fn both_families_are_adopted_and_an_address_of_an_unwanted_family_is_not() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9", "2001:db8::1-2001:db8::9"])]);
    bench.set(dual("both", FamilyPolicy::RequireDualStack));
    bench.set(service("one"));
    previous(&mut bench, "both", &["203.0.113.5", "2001:db8::5"]);
    previous(&mut bench, "one", &["203.0.113.6", "2001:db8::6"]);
    bench.settle();
    assert_eq!(bench.held("both"), ips(&["203.0.113.5", "2001:db8::5"]));
    assert_eq!(bench.held("one"), ips(&["203.0.113.6"]));
}

#[test]
fn services_that_shared_an_address_share_it_again() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    for (name, port) in [("one", 80), ("two", 443)] {
        let ports = vec![Port { protocol: Protocol::Tcp, port }];
        bench.set(Service { sharing_key: Some("x".into()), ports, ..service(name) });
        previous(&mut bench, name, &["203.0.113.4"]);
    }
    bench.settle();
    assert_eq!((bench.held("one"), bench.held("two")), (ips(&["203.0.113.4"]), ips(&["203.0.113.4"])));
}

#[test]
fn a_claim_that_is_deleted_while_its_service_stands_is_made_again_once_the_ledger_is_told() {
    let mut bench = bench(&[]);
    bench.settle();
    previous(&mut bench, "shop", &["203.0.113.1"]);
    assert_eq!(bench.settle().changes, []);
    bench.apply(Delta::Claim(ip("203.0.113.1"), None));
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")]);
}

#[test]
fn of_two_addresses_claimed_at_a_time_a_service_keeps_the_one_that_its_status_lists() {
    for (listed, kept) in [(&["203.0.113.5"][..], "203.0.113.5"), (&[], "203.0.113.2")] {
        let mut bench = bench(listed);
        bench.ledger = std::mem::take(&mut bench.ledger).one_per_family();
        for address in ["203.0.113.2", "203.0.113.5"] {
            bench.claim(claim_of(address, "shop", "uid-shop"));
        }
        let plan = bench.propose(&mut BuiltIn);
        bench.carry_out(&plan);
        assert_eq!(bench.propose(&mut BuiltIn).changes, []);
        assert_eq!(bench.held("shop"), [ip(kept)]);
    }
}

#[test]
fn addresses_that_a_service_asks_for_by_name_are_no_surplus() {
    let mut bench = bench(&["203.0.113.1"]);
    bench.ledger = std::mem::take(&mut bench.ledger).one_per_family();
    let requested_addresses = ips(&["203.0.113.1", "203.0.113.2"]);
    bench.set(Service { requested_addresses: requested_addresses.clone(), ..service("shop") });
    let plan = bench.propose(&mut BuiltIn);
    bench.carry_out(&plan);
    assert_eq!(bench.held("shop"), requested_addresses);
}
