//! Advertisements that name what is not there.

use bellhop_index::{Index, Options};

use super::*;

const ADVERTISEMENT: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: Advertisement
metadata: {name: both}
spec: {pools: [a, later], peers: [router]}
";

const POOL: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {name: later}
spec: {addresses: [198.51.100.0/24]}
";

const PEER: &str = "
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {peerAddress: 192.0.2.1, peerASN: 64513}
";

fn put(bench: &mut Bench, manifest: &str) {
    bench.api.put_manifests(Index::new(Options::default()).apply("m.yaml", manifest.as_bytes()));
    bench.settle();
}

/// The condition Ready as `status reason: message`.
fn ready(bench: &Bench) -> String {
    let Status::Conditions(conditions) =
        &bench.api.objects[&ObjectRef::cluster("Advertisement", "both")].status
    else {
        panic!("it has conditions")
    };
    let ready = &conditions[0];
    format!("{:?} {}: {}", ready.status, ready.reason, ready.message)
}

/// Reasons of the Events about it.
fn events(bench: &Bench) -> Vec<&str> {
    let about = bench.replica.events.iter().filter(|event| &*event.regarding.kind == "Advertisement");
    about.map(|event| event.reason).collect()
}

#[test]
fn an_advertisement_says_which_of_its_names_nothing_has_and_says_so_no_more_once_they_are_there() {
    let mut bench = Bench::new();
    put(&mut bench, ADVERTISEMENT);
    assert_eq!(
        ready(&bench),
        "False UnknownPool: spec.pools[1]: \"later\": no AddressPool of this name is in force; correct the name or make \
         the AddressPool; what else is named is announced; spec.peers[0]: \"router\": no BGPPeer of this name is in \
         force; correct the name or make the BGPPeer; what else is named is announced"
    );
    put(&mut bench, POOL);
    assert!(ready(&bench).starts_with("False UnknownPeer: spec.peers[0]: \"router\": "), "{}", ready(&bench));
    put(&mut bench, PEER);
    assert_eq!(ready(&bench), "True Ready: valid and in force");
    // Twice False is one transition.
    assert_eq!(events(&bench), ["Refused", "Ready"]);
    bench.restart();
    bench.wait(10);
    assert!(events(&bench).is_empty());
    assert!(!bench.writes().iter().any(|write| write.contains("Advertisement")));
}

#[test]
fn an_advertisement_that_comes_last_is_in_force_at_once() {
    let mut bench = Bench::new();
    for manifest in [PEER, POOL, ADVERTISEMENT] {
        put(&mut bench, manifest);
    }
    assert_eq!(ready(&bench), "True Ready: valid and in force");
    assert!(events(&bench).iter().all(|reason| *reason != "Refused"));
    bench.api.put_pool_gone("later");
    bench.settle();
    assert!(ready(&bench).starts_with("False UnknownPool"), "{}", ready(&bench));
}
