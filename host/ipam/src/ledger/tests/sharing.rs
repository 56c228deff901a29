//! Several Services on one address.

use super::*;

fn sharer(name: &str, port: u16) -> Service {
    Service {
        sharing_key: Some("dns".into()),
        ports: vec![Port { protocol: Protocol::Udp, port }],
        ..service(name)
    }
}

#[test]
fn services_with_one_key_and_disjoint_ports_land_on_one_address() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(sharer("a", 53));
    bench.set(sharer("b", 853));
    bench.set(Service { ports: vec![Port { protocol: Protocol::Tcp, port: 53 }], ..sharer("c", 0) });
    bench.settle();
    for name in ["a", "b", "c"] {
        assert_eq!(bench.held(name), [ip("203.0.113.1")], "{name}");
    }
    bench.remove("a");
    bench.settle();
    assert_eq!(bench.held("b"), [ip("203.0.113.1")], "the others keep it");
    assert_eq!(bench.world.claims()[&ip("203.0.113.1")].holders.len(), 2);
}

#[test]
fn each_term_of_sharing_refuses_alone_and_in_words() {
    let asked = || Service { requested_addresses: ips(&["203.0.113.1"]), ..sharer("s", 853) };
    let cases: [(Service, &[&str]); 5] = [
        (Service { sharing_key: None, ..asked() }, &["AddressTaken", "sharing key"]),
        (Service { sharing_key: Some("web".into()), ..asked() }, &["SharingConflict", "\"dns\"", "\"web\""]),
        (
            Service { ports: sharer("s", 53).ports, ..asked() },
            &["SharingConflict", "UDP port 53", "disjoint"],
        ),
        (
            Service { traffic_policy: TrafficPolicy::Local, ..asked() },
            &["SharingConflict", "externalTrafficPolicy", "Local"],
        ),
        (
            Service { key: ServiceKey::new("other", "s"), ..asked() },
            &["AddressTaken", "namespace", "Service/web/holder"],
        ),
    ];
    for (service, words) in cases {
        let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
        bench.set(sharer("holder", 53));
        bench.settle();
        let key = service.key.clone();
        bench.set(service);
        bench.settle();
        let outcome = &bench.ledger.outcomes()[&key];
        let waiting = outcome.waiting.as_ref().expect("it waits").to_string();
        for word in words {
            assert!(waiting.contains(word), "{waiting:?} lacks {word:?}");
        }
    }
}

#[test]
fn whoever_breaks_the_terms_by_an_edit_loses_the_address_and_gets_it_back_when_they_hold_again() {
    let asked =
        |name: &str, port| Service { requested_addresses: ips(&["203.0.113.1"]), ..sharer(name, port) };
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(asked("a", 53));
    bench.set(asked("b", 853));
    bench.settle();
    bench.set(asked("a", 853));
    bench.settle();
    assert_eq!(
        (bench.held("a"), bench.held("b")),
        (vec![], ips(&["203.0.113.1"])),
        "a edited, so a loses, though older"
    );
    bench.assert_waits("a", &["SharingConflict", "port 853"]);
    bench.set(asked("b", 854));
    bench.settle();
    assert_eq!(bench.held("a"), ips(&["203.0.113.1"]));
}

#[test]
fn a_sole_holder_changes_its_ports_and_key_in_place() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(sharer("a", 53));
    bench.settle();
    bench.set(Service { sharing_key: Some("new".into()), ..sharer("a", 54) });
    let plan = bench.settle();
    assert!(matches!(plan.changes.as_slice(), [ClaimChange::Update(_)]), "{:?}", plan.changes);
    let claim = &bench.world.claims()[&ip("203.0.113.1")];
    assert_eq!((claim.holders[0].ports[0].port, claim.holders[0].sharing_key.as_deref()), (54, Some("new")));
}

#[test]
fn a_sharer_that_turns_to_local_loses_the_address_though_it_is_the_older_one() {
    let mut bench = Bench::new(&[pool("a", &["203.0.113.1-203.0.113.9"])]);
    bench.set(sharer("a", 53));
    bench.set(sharer("b", 853));
    bench.settle();
    bench.set(Service { traffic_policy: TrafficPolicy::Local, ..sharer("a", 53) });
    bench.settle();
    assert_eq!((bench.held("a"), bench.held("b")), (ips(&["203.0.113.2"]), ips(&["203.0.113.1"])));
}
