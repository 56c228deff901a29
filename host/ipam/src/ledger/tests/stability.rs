//! A live address stays (invariant 2).

use super::*;

/// A Service that holds 203.0.113.1, settled.
fn live() -> Bench {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(service("shop"));
    bench.settle();
    assert_eq!(bench.held("shop"), [ip("203.0.113.1")]);
    bench
}

#[test]
fn no_edit_of_pools_labels_or_nodes_moves_a_live_address() {
    type Edit = fn(&mut Bench);
    let edits: [(&str, Edit, bool); 9] = [
        ("grown", |bench| bench.set_pool(pool("a", &["203.0.113.0-203.0.113.99"])), false),
        ("shrunk around it", |bench| bench.set_pool(pool("a", &["203.0.113.1"])), false),
        (
            "split",
            |bench| bench.set_pool(pool("a", &["203.0.113.5-203.0.113.9", "203.0.113.1-203.0.113.4"])),
            false,
        ),
        (
            "gated",
            |bench| {
                bench.set_pool(AddressPool {
                    namespace_selector: Some(selector("team", "blue")),
                    auto_assign: false,
                    ..pool("a", &["203.0.113.1-203.0.113.9"])
                });
            },
            false,
        ),
        (
            "a better pool",
            |bench| {
                bench.set_pool(AddressPool { priority: 100, ..pool("b", &["198.51.100.1"]) });
            },
            false,
        ),
        ("labelled", |bench| bench.set(Service { labels: labels([("x", "y")]), ..service("shop") }), false),
        ("moved away", |bench| bench.set_pool(pool("a", &["203.0.113.5-203.0.113.9"])), true),
        ("deleted", |bench| bench.apply(Delta::Pool("a".into(), None)), true),
        (
            "excluded",
            |bench| {
                bench.set_pool(AddressPool {
                    exclude: vec![range("203.0.113.1")],
                    ..pool("a", &["203.0.113.1-203.0.113.9"])
                });
            },
            true,
        ),
    ];
    for (edit, apply, marked) in edits {
        let mut bench = live();
        apply(&mut bench);
        let plan = bench.settle();
        assert_eq!(plan.changes, [], "{edit}");
        let outcome = &bench.ledger.outcomes()[&key("shop")];
        assert_eq!(outcome.addresses, [ip("203.0.113.1")], "{edit}");
        assert_eq!(outcome.warnings.len(), usize::from(marked), "{edit}: {:?}", outcome.warnings);
        assert_eq!(outcome.waiting, None, "{edit}");
    }
}

#[test]
fn a_node_that_comes_up_with_a_live_address_is_told_and_takes_nothing() {
    let mut bench = live();
    bench.apply(Delta::Node("n".into(), Some(Arc::new(node("n", "203.0.113.1")))));
    assert_eq!(bench.settle().changes, []);
    let warning = bench.ledger.outcomes()[&key("shop")].warnings[0].to_string();
    assert!(warning.contains("Node/n") && warning.contains("203.0.113.1"), "{warning}");
}

#[test]
fn a_restart_changes_no_claim_even_while_others_wait_and_whatever_policy_is_loaded() {
    let mut bench = live();
    bench.set(Service { created: -5, ..service("older-waits") });
    bench.ledger = Ledger::new();
    let mut policy = Policy::exactly(&["203.0.113.1"]);
    let plan = bench.ledger.plan(&bench.world, &Touched::everything(), Mode::Allocate, &mut policy);
    assert_eq!(plan.changes, []);
    assert_eq!(policy.asked.len(), 1, "only the Service that waits is asked about");
    assert_eq!(plan.outcomes[&key("shop")].addresses, [ip("203.0.113.1")]);
}

#[test]
fn a_service_made_anew_under_an_old_name_holds_nothing_of_the_old_one() {
    let mut bench = live();
    bench.set(Service { uid: "another".into(), ..service("shop") });
    bench.settle();
    let claims: Vec<_> = bench.world.claims().values().flat_map(|claim| &claim.holders).collect();
    assert_eq!(claims.len(), 1);
    assert_eq!(&*claims[0].uid, "another");
}

#[test]
fn an_admins_claim_that_names_a_service_gives_it_the_address() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(service("shop"));
    let holders = vec![super::super::settle::holder_of(&service("shop"))];
    bench.claim(AddressClaim {
        address: ip("203.0.113.7"),
        pool: Some("a".into()),
        holders,
        decided_by: None,
    });
    assert_eq!(bench.settle().changes, []);
    assert_eq!(bench.held("shop"), [ip("203.0.113.7")]);
}
