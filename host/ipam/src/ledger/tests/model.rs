//! Random histories: what must hold after every plan, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bellhop_core::decision::{AddressChoice, AddressDecision};
use bellhop_core::labels::labels;
use bellhop_core::objects::{
    AddressClaim, AddressPool, AddressRange, FamilyPolicy, Port, Protocol, Service, TrafficPolicy,
};
use bellhop_core::{BuiltIn, Decisions, Delta, Family, ServiceKey, Touched};
use proptest::prelude::*;

use super::{Bench, Policy, node, pool, selector, service};
use crate::{Ledger, Mode, sharing};

/// One thing that happens. Small domains, so that histories collide.
#[derive(Clone, Debug)]
enum Event {
    Service(ServiceEdit),
    Remove(u8),
    Remake(u8),
    Pool { name: u8, v4: (u8, u8), v6: Option<u8>, exclude: bool, gated: bool, auto: bool },
    DropPool(u8),
    Node(Option<u8>),
    Namespace(bool),
    Reserve(u8),
    Restart,
    Mode(bool),
    Plan { fail: bool, policy: Option<u8> },
}

#[derive(Clone, Debug)]
struct ServiceEdit {
    name: u8,
    families: u8,
    request: Option<u8>,
    pool: Option<u8>,
    sharing: bool,
    local: bool,
    port: u8,
    label: bool,
    wants: bool,
}

fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, last))
}

fn v6(last: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)))
}

fn edit() -> impl Strategy<Value = ServiceEdit> {
    (
        0_u8..6,
        0_u8..4,
        prop::option::weighted(0.3, 0_u8..10),
        prop::option::weighted(0.2, 0_u8..3),
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.2),
        80_u8..83,
        any::<bool>(),
        prop::bool::weighted(0.9),
    )
        .prop_map(|(name, families, request, pool, sharing, local, port, label, wants)| ServiceEdit {
            name,
            families,
            request,
            pool,
            sharing,
            local,
            port,
            label,
            wants,
        })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => edit().prop_map(Event::Service),
        2 => (0_u8..6).prop_map(Event::Remove),
        1 => (0_u8..6).prop_map(Event::Remake),
        3 => (0_u8..3, (0_u8..8, 0_u8..4), prop::option::of(0_u8..4), any::<bool>(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(name, v4, v6, exclude, gated, auto)| Event::Pool { name, v4, v6, exclude, gated, auto }),
        1 => (0_u8..3).prop_map(Event::DropPool),
        1 => prop::option::of(0_u8..10).prop_map(Event::Node),
        1 => any::<bool>().prop_map(Event::Namespace),
        1 => (0_u8..10).prop_map(Event::Reserve),
        1 => Just(Event::Restart),
        1 => prop::bool::weighted(0.8).prop_map(Event::Mode),
        6 => (prop::bool::weighted(0.2), prop::option::weighted(0.2, 0_u8..10))
            .prop_map(|(fail, policy)| Event::Plan { fail, policy }),
    ]
}

fn service_of(edit: &ServiceEdit) -> Service {
    let (families, family_policy) = match edit.families {
        0 => (vec![Family::Ipv4], FamilyPolicy::SingleStack),
        1 => (vec![Family::Ipv6], FamilyPolicy::SingleStack),
        2 => (Family::ALL.to_vec(), FamilyPolicy::PreferDualStack),
        _ => (Family::ALL.to_vec(), FamilyPolicy::RequireDualStack),
    };
    Service {
        labels: labels(edit.label.then_some(("tier", "gold"))),
        created: i64::from(edit.name % 3),
        wants_address: edit.wants,
        families,
        family_policy,
        requested_addresses: edit.request.map(v4).into_iter().collect(),
        requested_pool: edit.pool.map(|pool| format!("pool-{pool}").into()),
        sharing_key: edit.sharing.then(|| "together".into()),
        traffic_policy: if edit.local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
        ports: vec![Port { protocol: Protocol::Tcp, port: u16::from(edit.port) }],
        ..service(&format!("s{}", edit.name))
    }
}

fn pool_of(
    name: u8,
    first: u8,
    length: u8,
    six: Option<u8>,
    exclude: bool,
    gated: bool,
    auto: bool,
) -> AddressPool {
    let mut ranges = vec![AddressRange::new(v4(first), v4(first + length)).unwrap()];
    ranges.extend(six.map(|last| AddressRange::new(v6(last), v6(last + 1)).unwrap()));
    AddressPool {
        ranges,
        exclude: exclude.then(|| AddressRange::new(v4(first), v4(first)).unwrap()).into_iter().collect(),
        auto_assign: auto,
        namespace_selector: gated.then(|| selector("open", "yes")),
        ..pool(&format!("pool-{name}"), &[])
    }
}

/// Who holds what, by what the World says.
fn holdings(bench: &Bench) -> BTreeMap<ServiceKey, BTreeSet<IpAddr>> {
    let mut held: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (address, claim) in bench.world.claims() {
        for holder in &claim.holders {
            let live = bench.world.services().get(&holder.service).is_some_and(|live| live.uid == holder.uid);
            if live {
                held.entry(holder.service.clone()).or_default().insert(*address);
            }
        }
    }
    held
}

/// No address has holders that may not share it, no holder is gone, nothing barred was handed out.
fn assert_valid(bench: &Bench) {
    for (address, claim) in bench.world.claims() {
        let live: Vec<_> =
            claim.holders.iter().map(|holder| &bench.world.services()[&holder.service]).collect();
        for (at, one) in live.iter().enumerate() {
            assert!(one.wants_address, "{} holds {address} and wants none", one.key);
            for other in &live[..at] {
                sharing::terms(*address, one, other)
                    .unwrap_or_else(|why| panic!("{address}: {} {} {why}", one.key, other.key));
            }
        }
    }
    for (key, outcome) in bench.ledger.outcomes() {
        let held = holdings(bench).remove(key).unwrap_or_default();
        assert_eq!(outcome.addresses.iter().copied().collect::<BTreeSet<_>>(), held, "{key}");
        assert!(
            !outcome.addresses.is_empty() || outcome.waiting.is_some(),
            "{key} has nothing and no reason"
        );
    }
}

/// The free counts and lists of every pool are what a plain walk over the pool finds.
fn assert_free_is_true(bench: &Bench) {
    for pool in bench.ledger.pools.iter() {
        for family in Family::ALL {
            let listed: BTreeSet<IpAddr> = pool.free(family).map(|(address, _)| address).collect();
            let walked: BTreeSet<IpAddr> = (0..=20)
                .map(|last| if family == Family::Ipv4 { v4(last) } else { v6(last) })
                .filter(|address| {
                    pool.spec().contains(*address) && !bench.world.claims().contains_key(address)
                })
                .filter(|address| !bench.world.nodes().values().any(|node| node.addresses.contains(address)))
                .collect();
            assert_eq!(listed, walked, "{}", pool.spec().name);
            let usage = pool.usage().into_iter().find(|usage| usage.family == family);
            assert_eq!(usage.map_or(0, |usage| usage.free), walked.len() as u64);
        }
    }
}

/// Services whose own edit since the plan before allows that an address goes.
#[derive(Default)]
struct Excused(BTreeSet<ServiceKey>);

fn run(events: &[Event], split: bool) -> Bench {
    let mut bench = Bench::new(&[pool_of(0, 0, 3, Some(0), false, false, true)]);
    let mut excused = Excused::default();
    let mut generation = 0;
    for event in events {
        match event {
            Event::Service(edit) => {
                let mut service = service_of(edit);
                if let Some(before) = bench.world.services().get(&service.key) {
                    service.uid = before.uid.clone();
                    // A label edit alone must move nothing.
                    let relabelled = Service { labels: service.labels.clone(), ..Service::clone(before) };
                    if relabelled != service {
                        excused.0.insert(service.key.clone());
                    }
                }
                bench.set(service);
            }
            Event::Remove(name) => {
                excused.0.insert(super::key(&format!("s{name}")));
                bench.remove(&format!("s{name}"));
            }
            Event::Remake(name) => {
                let key = super::key(&format!("s{name}"));
                if let Some(before) = bench.world.services().get(&key).cloned() {
                    generation += 1;
                    excused.0.insert(key);
                    bench.set(Service {
                        uid: format!("again-{generation}").into(),
                        ..Service::clone(&before)
                    });
                }
            }
            Event::Pool { name, v4: (first, length), v6, exclude, gated, auto } => {
                bench.set_pool(pool_of(*name, *first, *length, *v6, *exclude, *gated, *auto));
            }
            Event::DropPool(name) => bench.apply(Delta::Pool(format!("pool-{name}").into(), None)),
            Event::Node(address) => {
                let node = address.map(|last| Arc::new(node("n", &v4(last).to_string())));
                bench.apply(Delta::Node("n".into(), node));
            }
            Event::Namespace(open) => {
                let open: &[(&str, &str)] = if *open { &[("open", "yes")] } else { &[] };
                bench.namespace("web", open);
            }
            Event::Reserve(last) => {
                if !bench.world.claims().contains_key(&v4(*last)) {
                    let holders = Vec::new();
                    bench.claim(AddressClaim { address: v4(*last), pool: None, holders, decided_by: None });
                }
            }
            Event::Restart => {
                bench.ledger = Ledger::new();
                bench.touched = Touched::everything();
            }
            Event::Mode(allocate) => {
                bench.mode = if *allocate { Mode::Allocate } else { Mode::RequestedOnly }
            }
            Event::Plan { fail, policy } => {
                if *fail {
                    // Nothing of it comes about.
                    let _ = bench.propose(&mut BuiltIn);
                }
                plan(&mut bench, *policy, &mut excused);
            }
        }
        if split {
            plan(&mut bench, None, &mut excused);
        }
    }
    plan(&mut bench, None, &mut excused);
    bench
}

fn plan(bench: &mut Bench, policy: Option<u8>, excused: &mut Excused) {
    let before = holdings(bench);
    let answer = AddressDecision::Choose(vec![
        policy.map(|last| (Family::Ipv4, AddressChoice::Exact(v4(last)))).into_iter().collect(),
        vec![(Family::Ipv4, AddressChoice::Candidate(0))],
    ]);
    let mut scripted = Policy::new(answer);
    let decisions: &mut dyn Decisions = if policy.is_some() { &mut scripted } else { &mut BuiltIn };
    let plan = bench.propose(decisions);
    bench.carry_out(&plan);
    let again = bench.propose(decisions);
    assert_eq!(again.changes, [], "the plan after {:?}", plan.changes);
    assert_valid(bench);
    assert_free_is_true(bench);
    let after = holdings(bench);
    for (key, held) in before.iter().filter(|(key, _)| !excused.0.contains(*key)) {
        let now = after.get(key).cloned().unwrap_or_default();
        // A Service that asks for another address or pool may still be moving to it.
        let service = &bench.world.services()[key];
        let moving = !service.requested_addresses.is_empty() || service.requested_pool.is_some();
        assert!(moving || held.is_subset(&now), "{key} held {held:?} and has {now:?}");
    }
    excused.0.clear();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x0be1_1407),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_addresses_stay_where_they_are_and_are_never_held_by_two(
        events in prop::collection::vec(event(), 1..60),
    ) {
        run(&events, false);
    }

    #[test]
    fn any_split_of_a_history_ends_in_an_equally_valid_state(events in prop::collection::vec(event(), 1..40)) {
        run(&events, true);
    }
}
