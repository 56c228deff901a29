//! Whose a packet is, who may join, and who is due first.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::harness::{MILLI, config, packet, theirs};
use crate::timer::Jitter;
use crate::{
    Arrival, Discriminator, Emitted, Hops, Input, InsertError, Kind, MAX_SESSIONS, Output, Packet,
    ReconfigureError, Refusal, Role, SessionConfig, SessionConfigError, SessionKey, State, Table,
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key(local: &str, remote: &str, interface: u32) -> SessionKey {
    SessionKey { local: ip(local), remote: ip(remote), interface }
}

fn multihop() -> SessionConfig {
    SessionConfig { kind: Kind::MultiHop { min_ttl: 250 }, ..config() }
}

fn arrival(key: SessionKey, hops: Hops) -> Arrival {
    Arrival { local: key.local, remote: key.remote, interface: key.interface, ttl: 255, hops }
}

/// A first packet, which knows nobody.
fn first() -> [u8; 24] {
    Packet { your_discriminator: None, ..packet(State::Down) }.encode()
}

fn naming(discriminator: Discriminator) -> [u8; 24] {
    Packet { your_discriminator: Some(discriminator), ..packet(State::Down) }.encode()
}

struct Bench {
    table: Table,
    now: Instant,
    out: Vec<Emitted>,
}

impl Bench {
    fn new() -> Self {
        Self { table: Table::new(7), now: Instant::now(), out: Vec::new() }
    }

    fn insert(&mut self, key: SessionKey, config: SessionConfig) -> Discriminator {
        self.table.insert(self.now, key, config).expect("a session")
    }

    fn receive(&mut self, arrival: Arrival, payload: &[u8]) -> Result<Discriminator, Refusal> {
        self.table.receive(self.now, arrival, payload, &mut self.out)
    }
}

#[test]
fn a_packet_that_names_no_session_is_of_the_one_between_its_addresses() {
    let mut bench = Bench::new();
    let on_3 = key("fe80::1", "fe80::2", 3);
    let on_4 = key("fe80::1", "fe80::2", 4);
    let anywhere = key("192.0.2.1", "192.0.2.2", 0);
    let bound = key("192.0.2.1", "192.0.2.2", 3);
    let first_3 = bench.insert(on_3, config());
    let first_4 = bench.insert(on_4, config());
    let any = bench.insert(anywhere, config());
    let here = bench.insert(bound, config());
    let far = bench.insert(anywhere, multihop());
    let table = [
        (arrival(on_3, Hops::Single), Ok(first_3)),
        (arrival(on_4, Hops::Single), Ok(first_4)),
        (arrival(key("fe80::1", "fe80::2", 5), Hops::Single), Err(Refusal::UnknownNeighbour)),
        (arrival(bound, Hops::Single), Ok(here)),
        (arrival(key("192.0.2.1", "192.0.2.2", 9), Hops::Single), Ok(any)),
        (arrival(key("::ffff:192.0.2.1", "::ffff:192.0.2.2", 3), Hops::Single), Ok(here)),
        (arrival(key("192.0.2.1", "192.0.2.2", 9), Hops::Multi), Ok(far)),
        (arrival(key("192.0.2.1", "192.0.2.3", 3), Hops::Single), Err(Refusal::UnknownNeighbour)),
        (arrival(key("192.0.2.9", "192.0.2.2", 3), Hops::Single), Err(Refusal::UnknownNeighbour)),
    ];
    for (arrival, expected) in table {
        assert_eq!(bench.receive(arrival, &first()), expected, "{arrival:?}");
    }
    assert_eq!(bench.table.refused().of("unknown_neighbour"), 3);
    assert_eq!(bench.table.find(bound, Hops::Single), Some(here));
    assert_eq!(bench.table.find(key("192.0.2.1", "192.0.2.2", 77), Hops::Multi), Some(far));
    assert_eq!(bench.table.find(key("192.0.2.1", "192.0.2.2", 77), Hops::Single), None);
}

#[test]
fn a_packet_that_names_a_session_is_of_that_one_if_it_came_its_way() {
    let mut bench = Bench::new();
    let bound = key("192.0.2.1", "192.0.2.2", 3);
    let other = key("192.0.2.1", "192.0.2.4", 0);
    let named = bench.insert(bound, config());
    let second = bench.insert(other, config());
    assert_eq!(bench.receive(arrival(bound, Hops::Single), &naming(named)), Ok(named));
    assert_eq!(bench.table.session(named).unwrap().state(), State::Init);
    let mapped = key("::ffff:192.0.2.1", "::ffff:192.0.2.4", 8);
    assert_eq!(bench.receive(arrival(mapped, Hops::Single), &naming(second)), Ok(second));
    for (way, hops) in [
        (other, Hops::Single),
        (key("192.0.2.9", "192.0.2.2", 3), Hops::Single),
        (key("192.0.2.1", "192.0.2.2", 4), Hops::Single),
        (bound, Hops::Multi),
    ] {
        let result = bench.receive(arrival(way, hops), &naming(named));
        assert_eq!(result, Err(Refusal::ForeignPath(named)), "{way:?}");
    }
    let stranger = theirs();
    let result = bench.receive(arrival(bound, Hops::Single), &naming(stranger));
    assert_eq!(result, Err(Refusal::UnknownDiscriminator(stranger)));
    assert_eq!(bench.receive(arrival(bound, Hops::Single), &[0; 24]), Err(Refusal::Version(0)));
    let refused = bench.table.refused();
    assert_eq!(
        (refused.of("foreign_path"), refused.of("unknown_discriminator"), refused.of("version")),
        (4, 1, 1)
    );
}

#[test]
fn too_many_hops_are_counted_by_the_session() {
    let mut bench = Bench::new();
    let way = key("2001:db8::1", "2001:db8::2", 0);
    let session = bench.insert(way, multihop());
    let far = Arrival { ttl: 249, ..arrival(way, Hops::Multi) };
    let refusal = Refusal::Ttl { ttl: 249, least: 250 };
    assert_eq!(bench.receive(far, &naming(session)), Err(refusal));
    assert_eq!(bench.receive(far, &first()), Err(refusal));
    assert_eq!(bench.table.session(session).unwrap().counters().refused.of("ttl"), 2);
    assert_eq!((bench.table.refused().total(), bench.out.len()), (0, 1), "its own first packet alone");
}

#[test]
fn outputs_say_whose_they_are_and_where_they_go() {
    let mut bench = Bench::new();
    let way = key("2001:db8::1", "2001:db8::2", 5);
    let far = bench.insert(way, multihop());
    bench.table.tick(bench.now, &mut bench.out);
    let emitted = bench.out[0];
    assert_eq!((emitted.discriminator, emitted.key.remote, emitted.key.interface), (far, way.remote, 0));
    assert_eq!((emitted.hops.port(), Hops::Single.port()), (4784, 3784));
    let Output::Transmit(octets) = emitted.output else { panic!("{emitted:?}") };
    assert_eq!(Packet::decode(&octets).unwrap().my_discriminator, far);
}

#[test]
fn what_cannot_be_a_session_is_refused_in_words() {
    let mut bench = Bench::new();
    let good = key("192.0.2.1", "192.0.2.2", 3);
    let there = bench.insert(good, config());
    let table = [
        (good, config(), format!("session {there} is already between 192.0.2.1 and 192.0.2.2")),
        (
            key("192.0.2.1", "2001:db8::2", 3),
            config(),
            "local 192.0.2.1 and remote 2001:db8::2; both must be of one family".to_owned(),
        ),
        (
            key("0.0.0.0", "192.0.2.2", 3),
            config(),
            "local: 0.0.0.0 is no address of a host; use a unicast address".to_owned(),
        ),
        (
            key("192.0.2.1", "255.255.255.255", 3),
            config(),
            "remote: 255.255.255.255 is no address of a host; use a unicast address".to_owned(),
        ),
        (
            key("2001:db8::1", "ff02::1", 3),
            config(),
            "remote: ff02::1 is no address of a host; use a unicast address".to_owned(),
        ),
        (
            key("fe80::1", "fe80::2", 0),
            config(),
            "interface: 0 is any, but fe80::2 is link-local; name the interface, and use a single hop"
                .to_owned(),
        ),
        (
            key("fe80::1", "fe80::2", 3),
            multihop(),
            "interface: 0 is any, but fe80::2 is link-local; name the interface, and use a single hop"
                .to_owned(),
        ),
        (
            key("192.0.2.1", "192.0.2.7", 3),
            SessionConfig { detect_multiplier: 0, ..config() },
            "detect_multiplier: 0 is not allowed; use 1 to 255".to_owned(),
        ),
    ];
    for (key, config, text) in table {
        let error = bench.table.insert(bench.now, key, config).expect_err(&text);
        assert_eq!(error.to_string(), text);
        assert_eq!(bench.table.len(), 1);
    }
    let unknown = theirs();
    let error = bench.table.reconfigure(bench.now, unknown, config(), &mut bench.out).expect_err("unknown");
    assert_eq!(error, ReconfigureError::Unknown(unknown));
    let kind = SessionConfigError::Kind { is: Hops::Single, wanted: Hops::Multi };
    let error = bench.table.reconfigure(bench.now, there, multihop(), &mut bench.out).expect_err("a kind");
    assert_eq!(error, ReconfigureError::Config(kind));
    assert!(!bench.table.handle(bench.now, unknown, Input::Disable, &mut bench.out));
}

#[test]
fn discriminators_are_unique_random_and_not_zero_up_to_the_last_session() {
    let mut bench = Bench::new();
    let mut seen = BTreeSet::new();
    for number in 0..u32::try_from(MAX_SESSIONS).unwrap() {
        let remote = IpAddr::from((0x0A00_0001 + number).to_be_bytes());
        let key = SessionKey { local: ip("192.0.2.1"), remote, interface: 0 };
        assert!(seen.insert(bench.insert(key, config()).get()));
    }
    let spread = seen.iter().filter(|number| **number >= 1 << 31).count();
    assert!(seen.len() == MAX_SESSIONS && spread > MAX_SESSIONS / 3 && !seen.contains(&0));
    let error = bench.table.insert(bench.now, key("192.0.2.1", "192.0.2.2", 0), config());
    assert_eq!(error, Err(InsertError::Full));
    let mut other = Table::new(8);
    let elsewhere = other.insert(bench.now, key("192.0.2.1", "192.0.2.2", 0), config()).unwrap();
    assert!(!seen.contains(&elsewhere.get()), "another seed, other numbers");
    let gone = bench.table.sessions().next().unwrap().1.discriminator();
    assert!(bench.table.remove(gone).is_some() && bench.table.remove(gone).is_none());
    bench.insert(key("192.0.2.1", "192.0.2.2", 0), config());
}

#[test]
fn a_removed_session_is_neither_found_nor_due() {
    let mut bench = Bench::new();
    let way = key("192.0.2.1", "192.0.2.2", 3);
    let session = bench.insert(way, config());
    assert_eq!(bench.table.deadline(), Some(bench.now));
    let removed = bench.table.remove(session).expect("it was there");
    assert_eq!(removed.discriminator(), session);
    assert_eq!((bench.table.deadline(), bench.table.is_empty()), (None, true));
    assert_eq!(bench.receive(arrival(way, Hops::Single), &first()), Err(Refusal::UnknownNeighbour));
    let again = bench.insert(way, config());
    assert_ne!(again, session);
}

#[test]
fn the_first_deadline_is_always_that_of_some_session_and_a_tick_serves_all_that_are_due() {
    let mut random = Jitter::new(0x00BE_3BFD);
    let mut bench = Bench::new();
    let mut added = 0_u32;
    for _ in 0..20_000 {
        bench.now += Duration::from_micros(random.next() % 30_000);
        let known: Vec<_> =
            bench.table.sessions().map(|(key, session)| (key, session.discriminator())).collect();
        let some = known.get(usize::try_from(random.next() % 40).unwrap()).copied();
        match (random.next() % 12, some) {
            (0, _) if known.len() < 40 => {
                added += 1;
                let remote = IpAddr::from((0x0A00_0001 + added).to_be_bytes());
                let role = if added.is_multiple_of(3) { Role::Passive } else { Role::Active };
                let key = SessionKey { local: ip("192.0.2.1"), remote, interface: 1 };
                bench.insert(key, SessionConfig { role, ..config() });
            }
            (1, Some((_, session))) if random.next().is_multiple_of(4) => {
                bench.table.remove(session);
            }
            (2, Some((_, session))) => {
                let input = [Input::Disable, Input::Enable, Input::PathDown, Input::Forget];
                let input = input[usize::try_from(random.next() % 4).unwrap()];
                assert!(bench.table.handle(bench.now, session, input, &mut bench.out));
            }
            (3, Some((_, session))) => {
                let desired_min_tx = u32::try_from(50 + random.next() % 2000).unwrap() * MILLI;
                let config = SessionConfig { desired_min_tx, ..config() };
                bench.table.reconfigure(bench.now, session, config, &mut bench.out).unwrap();
            }
            (4..=8, Some((key, session))) => {
                let state = State::ALL[usize::try_from(random.next() % 4).unwrap()];
                let packet = Packet { your_discriminator: Some(session), ..packet(state) };
                let result = bench.receive(arrival(key, Hops::Single), &packet.encode());
                assert_eq!(result, Ok(session));
            }
            _ => {
                bench.table.tick(bench.now, &mut bench.out);
                assert!(bench.table.deadline().is_none_or(|deadline| deadline > bench.now));
            }
        }
        bench.out.clear();
        let first = bench.table.sessions().filter_map(|(_, session)| session.deadline()).min();
        assert_eq!(bench.table.deadline(), first);
    }
    assert!(added > 100, "{added} sessions");
}
