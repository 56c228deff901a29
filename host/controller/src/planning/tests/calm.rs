//! One leader, and a server that answers.

use bellhop_api::ConditionStatus;
use bellhop_api::conditions::{ALLOCATED, ANNOUNCED};

use super::*;

#[test]
fn each_service_costs_one_claim_and_one_status_and_a_restart_writes_neither() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench.api.put(service(&format!("s{number:03}")));
    }
    bench.settle();
    let writes = bench.writes();
    let count = |word: &str| writes.iter().filter(|write| write.starts_with(word)).count();
    assert_eq!((count("create"), count("status s"), count("update")), (200, 200, 0));
    assert_eq!(bench.api.claims.len(), 200);
    bench.restart();
    bench.wait(60);
    let writes: Vec<String> =
        bench.writes().into_iter().filter(|w| !w.starts_with("status AddressPool")).collect();
    // Nobody announces them, which is told once.
    assert_eq!(writes.iter().filter(|write| !write.ends_with("] not announced")).count(), 0, "{writes:?}");
    // What was told by those before is no news to those after.
    bench.restart();
    bench.wait(60);
    assert!(!bench.writes().iter().any(|write| write.contains("announced")));
    let events: Vec<_> = bench.replica.events.iter().map(|event| (event.reason, &event.regarding)).collect();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn whoever_waits_for_an_address_comes_before_what_is_said_of_announcements() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench.api.put(service(&format!("s{number:03}")));
    }
    // A server that takes five seconds for as many writes as are under way at a time.
    for _ in 0..30 {
        bench.replica.watch(bench.now, &bench.api, usize::MAX / 2);
        bench.replica.step(bench.now);
        for order in std::mem::take(&mut bench.replica.orders) {
            let result = bench.api.execute(&order.write);
            bench.replica.planner.take(bench.now, Input::Finished(order.id, result));
        }
        bench.now += Duration::from_secs(5);
    }
    let writes = bench.writes();
    let announced = writes.iter().position(|write| write.ends_with("] not announced")).unwrap();
    let claimed = writes.iter().rposition(|write| write.starts_with("create")).unwrap();
    assert!(claimed < announced, "claim {claimed} was made after {announced} told of an announcement");
}

#[test]
fn services_are_served_in_the_order_of_their_age_and_those_that_hold_addresses_before_them() {
    let mut bench = Bench::new();
    bench.api.put_pool(pool("a", "203.0.113.0-203.0.113.1"));
    for name in ["z-oldest", "m", "a-youngest"] {
        bench.api.put(service(name));
    }
    bench.settle();
    assert_eq!(bench.status("z-oldest"), [ip("203.0.113.0")]);
    assert_eq!(bench.status("m"), [ip("203.0.113.1")]);
    assert_eq!(
        bench.condition("a-youngest", ALLOCATED).unwrap(),
        (ConditionStatus::False, "PoolExhausted".into())
    );
    let reasons: Vec<&str> = bench.replica.events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == "AllocationFailed").count(), 1);
    assert_eq!(reasons.iter().filter(|reason| **reason == "Allocated").count(), 2);
    bench.api.delete("z-oldest");
    bench.settle();
    assert_eq!(bench.status("a-youngest"), [ip("203.0.113.0")]);
}

#[test]
fn a_service_that_stops_being_ours_loses_its_status_first_and_then_its_claim_and_nothing_twice() {
    let mut bench = Bench::new();
    bench.api.put(service("shop"));
    bench.settle();
    bench.writes();
    bench.api.put(Service { wants_address: false, ..service("shop") });
    bench.settle();
    assert_eq!(bench.writes()[..2], ["status shop []", "release 203.0.113.0"]);
    bench.wait(30);
    assert!(!bench.writes().iter().any(|write| write.contains("shop")));
}

#[test]
fn a_service_of_another_controller_is_never_written() {
    let mut bench = Bench::new();
    bench.api.put(Service { wants_address: false, ..service("theirs") });
    bench.api.steal("theirs", &[ip("198.51.100.1")]);
    bench.wait(30);
    assert!(!bench.writes().iter().any(|write| write.contains("theirs")));
    assert_eq!(bench.status("theirs"), [ip("198.51.100.1")]);
}

#[test]
fn a_status_that_somebody_else_wrote_is_corrected_to_what_the_claims_say() {
    let mut bench = Bench::new();
    bench.api.put(service("shop"));
    bench.settle();
    bench.api.steal("shop", &[ip("203.0.113.99")]);
    bench.settle();
    assert_eq!(bench.status("shop"), [ip("203.0.113.0")]);
    assert_eq!(bench.api.claims.len(), 1);
}

#[test]
fn claims_that_are_deleted_while_their_services_stand_are_made_again_for_the_same_addresses() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.api.put(service(name));
    }
    bench.settle();
    let before: Vec<_> = ["a", "b", "c"].map(|name| bench.status(name)).to_vec();
    bench.api.delete("a");
    bench.settle();
    bench.api.put(service("new"));
    for address in ["203.0.113.1", "203.0.113.2"] {
        bench.api.set_claim(ip(address), None);
    }
    bench.wait(30);
    assert_eq!([bench.status("b"), bench.status("c")], before[1..]);
    assert!(
        bench.api.claims.contains_key(&ip("203.0.113.1"))
            && bench.api.claims.contains_key(&ip("203.0.113.2"))
    );
}

#[test]
fn while_lost_claims_cannot_be_made_again_services_keep_their_status_and_the_server_is_asked_ever_less() {
    // The kind is deleted: first it is on its way out and takes no more claims, then it is gone.
    for gone in [false, true] {
        let mut bench = Bench::new();
        for name in ["a", "b"] {
            bench.api.put(service(name));
        }
        bench.settle();
        let before: Vec<_> = ["a", "b"].map(|name| bench.status(name)).to_vec();
        bench.api.lacks_claims = gone;
        bench.api.refuses_claims =
            Some("create not allowed while custom resource definition is terminating".into());
        for address in ["203.0.113.0", "203.0.113.1"] {
            bench.api.set_claim(ip(address), None);
        }
        bench.api.put(service("new"));
        bench.wait(120);
        assert_eq!(["a", "b"].map(|name| bench.status(name)).to_vec(), before, "{gone}");
        assert!(bench.api.refusals < 60, "{} in two minutes", bench.api.refusals);
        (bench.api.lacks_claims, bench.api.refuses_claims) = (false, None);
        bench.wait(90);
        assert_eq!(["a", "b"].map(|name| bench.status(name)).to_vec(), before, "{gone}");
        assert_eq!(bench.status("new"), [ip("203.0.113.2")]);
        assert_eq!(bench.api.claims.len(), 3);
    }
}

#[test]
fn a_claim_restored_from_a_backup_is_given_the_uid_of_the_service_that_has_its_address() {
    let mut bench = Bench::new();
    bench.api.put(service("shop"));
    bench.settle();
    bench.api.set_claim(ip("203.0.113.0"), Some(("shop", "uid-of-the-backup")));
    bench.api.set_claim(ip("203.0.113.9"), Some(("long-gone", "uid-of-the-backup")));
    bench.restart();
    bench.settle();
    assert!(bench.writes().iter().all(|write| !write.starts_with("status shop")));
    assert_eq!(bench.status("shop"), [ip("203.0.113.0")]);
    let uid = bench.api.services[&key("shop")].service.uid.clone();
    assert_eq!(bench.api.claims[&ip("203.0.113.0")].claim.holders[0].uid, uid);
    assert!(!bench.api.claims.contains_key(&ip("203.0.113.9")));
}

#[test]
fn what_was_deleted_while_no_controller_ran_is_released_and_what_lives_is_not() {
    let mut bench = Bench::new();
    bench.api.put(service("gone"));
    bench.api.put(service("stays"));
    bench.settle();
    bench.api.delete("gone");
    bench.restart();
    bench.settle();
    assert_eq!(bench.writes().iter().filter(|write| write.starts_with("release")).count(), 1);
    assert_eq!(bench.status("stays"), [ip("203.0.113.1")]);
}

#[test]
fn a_claim_is_not_released_while_a_live_read_finds_its_service_that_the_watch_has_lost() {
    let mut bench = Bench::new();
    bench.api.put(service("shop"));
    bench.settle();
    // The watch says that it is gone, and it is not.
    bench.api.log.push(Entry::Service(key("shop"), None));
    bench.wait(60);
    assert!(bench.api.claims.contains_key(&ip("203.0.113.0")));
}

#[test]
fn a_claim_is_not_released_while_a_live_read_finds_its_address_in_the_status_of_a_service_that_lives() {
    let mut bench = Bench::new();
    bench.api.put(service("shop"));
    bench.settle();
    // A surplus claim, which this controller would release; and a status that another one wrote, which its watch has not
    // shown yet.
    let uid = bench.api.services[&key("shop")].service.uid.clone();
    let shown = bench.api.log.len();
    let revision = bench.api.next();
    let object = bench.api.services.get_mut(&key("shop")).unwrap();
    object.ingress.push(ip("203.0.113.9"));
    object.resource_version = revision;
    assert_eq!(bench.api.log.len(), shown, "the watch shows nothing of it");
    bench.api.set_claim(ip("203.0.113.9"), Some(("shop", &uid)));
    bench.wait(60);
    assert!(bench.api.claims.contains_key(&ip("203.0.113.9")));
    let object = bench.api.services[&key("shop")].clone();
    bench.api.log.push(Entry::Service(key("shop"), Some(object)));
    bench.wait(60);
    assert_eq!(bench.api.claims.len(), 1, "the watch shows what is so: one is released, after the status");
    assert_eq!(bench.status("shop"), bench.api.claims.keys().copied().collect::<Vec<_>>());
}

#[test]
fn an_admission_that_refuses_claims_is_told_on_the_service_and_the_rest_goes_on() {
    let mut bench = Bench::new();
    bench.api.put(service("first"));
    bench.settle();
    bench.api.refuses_claims = Some("quota exceeded".into());
    bench.api.put(service("shop"));
    bench.wait(2);
    assert_eq!(
        bench.condition("shop", ALLOCATED).unwrap(),
        (ConditionStatus::False, "ClaimNotWritten".into())
    );
    bench.api.put(Service { wants_address: false, ..service("first") });
    bench.settle();
    assert_eq!(bench.status("first"), [] as [IpAddr; 0]);
    bench.api.refuses_claims = None;
    bench.wait(90);
    assert_eq!(bench.condition("shop", ALLOCATED).unwrap().0, ConditionStatus::True);
}

#[test]
fn announced_is_one_more_write_between_no_node_and_the_first_one_and_back() {
    let mut bench = Bench::new();
    for name in ["a", "b"] {
        bench.api.put(service(name));
    }
    bench.settle();
    bench.writes();
    let both = [ip("203.0.113.0"), ip("203.0.113.1")];
    for node in ["n1", "n2", "n3"] {
        bench.api.report(node, Some(&both));
    }
    bench.wait(10);
    let told = |writes: &[String]| writes.iter().filter(|write| write.ends_with("announced")).count();
    assert_eq!(told(&bench.writes()), 2);
    bench.api.report("n1", Some(&both[..1]));
    bench.api.report("n2", None);
    bench.wait(50);
    assert_eq!(told(&bench.writes()), 0);
    bench.api.report("n3", Some(&both[1..]));
    bench.api.report("n1", Some(&[]));
    bench.wait(10);
    assert_eq!(bench.condition("a", ANNOUNCED).unwrap(), (ConditionStatus::False, "NotAnnounced".into()));
    assert_eq!(told(&bench.writes()), 1);
}

#[test]
fn a_restart_does_not_say_that_announced_services_are_not_before_leases_can_be_known() {
    let mut bench = Bench::new();
    bench.api.put(service("shop"));
    bench.settle();
    bench.api.report("n1", Some(&[ip("203.0.113.0")]));
    bench.wait(5);
    assert_eq!(bench.condition("shop", ANNOUNCED).unwrap().0, ConditionStatus::True);
    bench.api.speakers.clear();
    bench.restart();
    bench.wait(30);
    assert_eq!(bench.condition("shop", ANNOUNCED).unwrap().0, ConditionStatus::True);
    bench.wait(30);
    assert_eq!(bench.condition("shop", ANNOUNCED).unwrap(), (ConditionStatus::False, "NoSpeaker".into()));
}

#[test]
fn a_standby_writes_nothing_and_goes_on_where_the_leader_was() {
    let mut bench = Bench::new();
    bench.replica.lead(bench.now, false);
    bench.api.put(service("shop"));
    bench.settle();
    assert_eq!(bench.status("shop"), [] as [IpAddr; 0]);
    bench.replica.lead(bench.now, true);
    bench.settle();
    assert_eq!(bench.status("shop"), [ip("203.0.113.0")]);
}

#[test]
fn a_pools_numbers_are_written_once_in_five_seconds_at_most() {
    let mut bench = Bench::new();
    bench.wait(10);
    bench.writes();
    for number in 0..20 {
        bench.api.put(service(&format!("s{number}")));
        bench.settle();
    }
    let pools = |writes: &[String]| writes.iter().filter(|write| write.contains("AddressPool")).count();
    assert_eq!(pools(&bench.writes()), 1);
    bench.wait(6);
    assert_eq!(pools(&bench.writes()), 1);
    bench.wait(20);
    assert_eq!(pools(&bench.writes()), 0);
}

#[test]
fn a_service_has_waited_from_when_it_was_seen_without_an_address_until_its_status_is_written() {
    let mut bench = Bench::new();
    bench.api.put_pool(pool("a", "203.0.113.0-203.0.113.0"));
    bench.api.put(service("served"));
    bench.settle();
    assert_eq!(bench.replica.planner.take_waits(), [Duration::ZERO]);
    bench.api.put(service("waits"));
    bench.api.put(service("gone"));
    bench.api.put(service("changes-its-mind"));
    bench.settle();
    bench.wait(7);
    bench.api.delete("gone");
    bench.api.put(Service { wants_address: false, ..service("changes-its-mind") });
    bench.settle();
    assert_eq!(bench.replica.planner.take_waits(), [] as [Duration; 0]);
    bench.api.put_pool(pool("a", "203.0.113.0-203.0.113.255"));
    bench.settle();
    assert_eq!(bench.replica.planner.take_waits(), [Duration::from_secs(7)]);
    bench.api.put(service("changes-its-mind"));
    bench.wait(1);
    assert_eq!(bench.replica.planner.take_waits(), [Duration::ZERO]);
    // Who holds an address already waits for nothing.
    bench.restart();
    bench.wait(1);
    assert_eq!(bench.replica.planner.take_waits(), [] as [Duration; 0]);
}
