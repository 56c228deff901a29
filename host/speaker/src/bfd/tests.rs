//! Sessions whose packets cannot be sent, with a socket that the kernel refuses: to broadcast, nobody allowed it.

use std::net::Ipv4Addr;

use bellhop_bfd::{Diagnostic, Packet, TTL};

use super::*;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const REFUSED: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

fn config() -> SessionConfig {
    let interval = Duration::from_secs(1);
    SessionConfig {
        role: Role::Active,
        desired_min_tx: interval,
        required_min_rx: interval,
        detect_multiplier: 3,
        kind: Kind::SingleHop,
    }
}

fn sender(to: IpAddr) -> Sender {
    Sender::open(LOCAL, to, Hops::Single.port(), 0, SOURCE_PORTS, *SOURCE_PORTS.start()).unwrap()
}

/// A driver with one session, which cannot send.
struct Bench {
    driver: Driver,
    paths: watch::Receiver<Paths>,
    session: Discriminator,
    now: Instant,
    out: Vec<Emitted>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let (publisher, paths) = watch::channel(Paths::default());
        let mut table = Table::new(1);
        let key = SessionKey { local: LOCAL, remote: REMOTE, interface: 0 };
        let session = table.insert(now, key, config()).unwrap();
        let target = Target { remote: REMOTE, local: Some(LOCAL), interface: None, config: config() };
        let watched = Watched {
            target,
            session: Some(Session { discriminator: session, sender: sender(REFUSED) }),
            error: None,
            status: PathStatus::default(),
        };
        let driver = Driver {
            table,
            seed: 1,
            heartbeat: None,
            targets: BTreeMap::from([("router".into(), watched)]),
            names: BTreeMap::from([(session, "router".into())]),
            leaving: Vec::new(),
            receivers: Vec::new(),
            waker: Waker::new().unwrap(),
            retry_at: None,
            publisher,
        };
        Self { driver, paths, session, now, out: Vec::new() }
    }

    /// The neighbour says that it is in this state, and what follows from it is carried out.
    fn hear(&mut self, state: State) {
        let packet = Packet {
            diagnostic: Diagnostic::NoDiagnostic,
            state,
            poll_bit: false,
            final_bit: false,
            control_plane_independent: false,
            demand_bit: false,
            detect_multiplier: 3,
            my_discriminator: Discriminator::new(7).unwrap(),
            your_discriminator: Some(self.session),
            desired_min_tx: 300_000,
            required_min_rx: 300_000,
            required_min_echo_rx: 0,
        };
        let arrival = Arrival { local: LOCAL, remote: REMOTE, interface: 1, ttl: TTL, hops: Hops::Single };
        let heard = self.driver.table.receive(self.now, arrival, &packet.encode(), &mut self.out);
        assert_eq!(heard, Ok(self.session));
        self.driver.carry_out(&mut self.out);
    }

    /// Sends the packet that is due next.
    fn send_next(&mut self) {
        self.now = self.driver.table.deadline().unwrap();
        self.driver.table.tick(self.now, &mut self.out);
        self.driver.carry_out(&mut self.out);
    }

    fn status(&mut self) -> PathStatus {
        self.driver.publish();
        self.paths.borrow()["router"].clone()
    }
}

#[test]
fn a_packet_that_cannot_be_sent_keeps_a_session_that_is_up_and_says_why() {
    let mut bench = Bench::new();
    bench.hear(State::Down);
    bench.hear(State::Up);
    bench.send_next();
    let status = bench.status();
    assert_eq!((status.state, status.path), ("Up", Path::Up));
    let reason = status.reason.unwrap();
    assert!(reason.starts_with("sending to 127.0.0.9: "), "{reason}");
    let retry = bench.driver.retry_at.expect("it is looked at again");
    // Meanwhile the neighbour is heard.
    bench.now = retry;
    bench.hear(State::Up);
    bench.driver.open_missing(bench.now, &mut bench.out);
    assert_eq!(bench.driver.table.len(), 1);
    assert_eq!(bench.driver.table.session(bench.session).map(bellhop_bfd::Session::state), Some(State::Up));
    let status = bench.status();
    assert_eq!((status.state, status.failures), ("Up", 0));
    // The way is back.
    let watched = bench.driver.targets.get_mut("router").unwrap();
    watched.session.as_mut().unwrap().sender = sender(REMOTE);
    bench.hear(State::Up);
    bench.send_next();
    assert_eq!(bench.status().reason, None);
}

#[test]
fn a_session_that_cannot_send_and_is_not_up_is_made_anew() {
    let mut bench = Bench::new();
    bench.send_next();
    let reason = bench.status().reason.unwrap();
    assert!(reason.starts_with("sending to 127.0.0.9: "), "{reason}");
    let retry = bench.driver.retry_at.expect("it is looked at again");
    // Another one, or none where the port of BFD is taken here.
    bench.driver.open_missing(retry, &mut bench.out);
    assert!(bench.driver.table.session(bench.session).is_none());
    assert!(!bench.driver.names.contains_key(&bench.session));
}
