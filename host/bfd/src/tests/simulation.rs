//! Two tables with a session each in virtual time: every packet really encoded and decoded, latency, and faults.
//!
//! Each node is driven as the crate says: whatever wakes it, one look at the clock, everything in the socket, then the
//! tick. A stalled node does none of it, while its socket fills. A failure prints its seed; `simulate(seed, scenario)`
//! repeats it exactly.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::harness::{MILLI, SECOND};
use crate::timer::Jitter;
use crate::{
    Arrival, Cause, Discriminator, Emitted, Hops, Input, Kind, Output, Packet, Role, Session, SessionConfig,
    SessionKey, State, StateChange, Table,
};

const SEEDS: u64 = 300;
/// Things start to happen then. Both are up, as less time to receive takes effect at once before that (RFC 5880 §6.8.3)
/// and so, a round trip before coming up, before the neighbour knows.
const BEGIN: Duration = Duration::from_secs(4);
/// Chaos ends then.
const HEALED: Duration = Duration::from_secs(30);
/// The longest detection time here is 5 s, and a handshake at one packet a second takes 4 s more.
const STABLE: Duration = Duration::from_secs(45);
const END: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Scenario {
    /// One way, in microseconds: at least, and the most on top. In order where there is no chaos.
    latency: (u64, u64),
    /// Both change their timers again and again.
    reconfigure: bool,
    /// Both are disabled and enabled again and again.
    administer: bool,
    /// Thirty seconds of loss, reordering and stalls.
    chaos: bool,
    /// Node 0 stalls for longer than its own detection time.
    stall: bool,
    /// What a driver must not do: the tick comes before the socket is read.
    tick_first: bool,
    /// What goes from a node is lost after 20 s.
    cut: [bool; 2],
    roles: [Role; 2],
}

const CALM: Scenario = Scenario {
    latency: (1000, 2000),
    reconfigure: false,
    administer: false,
    chaos: false,
    stall: false,
    tick_first: false,
    cut: [false; 2],
    roles: [Role::Active; 2],
};

enum Happening {
    Arrive(usize, [u8; 24]),
    Stall(usize, Duration),
    Wake(usize),
    Reconfigure(usize, SessionConfig),
    Administer(usize, Input),
}

struct Node {
    table: Table,
    session: Discriminator,
    socket: VecDeque<[u8; 24]>,
    stalled_until: Option<Instant>,
    /// When the last packet was sent that was no answer.
    spoke: Option<Instant>,
    /// The last packet sent, of any kind.
    said: Option<Packet>,
    /// When the last packet was handed in, and which.
    heard: Option<(Instant, Packet)>,
    polls_heard: u64,
    finals_said: u64,
    changes: Vec<(Instant, StateChange)>,
}

struct Simulation {
    now: Instant,
    start: Instant,
    random: Jitter,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    nodes: [Node; 2],
    /// Nothing arrives before what was sent before it.
    last: [Instant; 2],
    scenario: Scenario,
}

fn key(node: usize) -> SessionKey {
    let address = |node: usize| IpAddr::from([192, 0, 2, 1 + u8::try_from(node).unwrap()]);
    SessionKey { local: address(node), remote: address(1 - node), interface: 2 }
}

impl Simulation {
    fn new(seed: u64, scenario: Scenario) -> Self {
        let start = Instant::now();
        let mut random = Jitter::new(seed);
        let nodes = [0, 1].map(|node| {
            let mut table = Table::new(random.next());
            let config = some_config(node, &mut random, scenario);
            let created = start + Duration::from_micros(random.next() % 1_500_000);
            let session = table.insert(created, key(node), config).unwrap();
            Node {
                table,
                session,
                socket: VecDeque::new(),
                stalled_until: Some(created),
                spoke: None,
                said: None,
                heard: None,
                polls_heard: 0,
                finals_said: 0,
                changes: Vec::new(),
            }
        });
        let wakes = nodes.each_ref().map(|node| node.stalled_until);
        let mut simulation = Self {
            now: start,
            start,
            random,
            queue: BTreeMap::new(),
            sequence: 0,
            nodes,
            last: [start; 2],
            scenario,
        };
        for (node, wake) in wakes.into_iter().enumerate() {
            simulation.at(wake.unwrap(), Happening::Wake(node));
        }
        simulation.plan();
        simulation
    }

    /// Lays down what will happen to the nodes.
    fn plan(&mut self) {
        let scenario = self.scenario;
        // Timers change often where nothing else disturbs, so that changes meet each other's Poll Sequences.
        let until = if scenario.chaos { HEALED } else { Duration::from_secs(40) };
        for node in 0..2 {
            if scenario.reconfigure {
                for _ in 0..60 {
                    let config = some_config(node, &mut self.random, scenario);
                    let when = self.moment(until);
                    self.at(when, Happening::Reconfigure(node, config));
                    if self.chance(30) {
                        // And both at once.
                        let config = some_config(1 - node, &mut self.random, scenario);
                        self.at(when, Happening::Reconfigure(1 - node, config));
                    }
                }
            }
            if scenario.administer {
                for _ in 0..15 {
                    let off = self.moment(until);
                    let on = off + Duration::from_micros(self.random.next() % 4_000_000);
                    self.at(off, Happening::Administer(node, Input::Disable));
                    self.at(on, Happening::Administer(node, Input::Enable));
                }
                // A stall may have brought the last two into the wrong order.
                let when = self.start + until + 4500 * MILLI;
                self.at(when, Happening::Administer(node, Input::Enable));
            }
            if scenario.chaos {
                for _ in 0..8 {
                    let time = Duration::from_micros(self.random.next() % 4_000_000);
                    let when = self.moment(until);
                    self.at(when, Happening::Stall(node, time));
                }
            }
        }
        if scenario.stall {
            for round in 0..8 {
                let time = Duration::from_micros(500_000 + self.random.next() % 1_000_000);
                self.at(self.start + 10 * SECOND + round * 3 * SECOND, Happening::Stall(0, time));
            }
        }
    }

    fn moment(&mut self, until: Duration) -> Instant {
        let micros = u64::try_from((until - BEGIN).as_micros()).unwrap();
        self.start + BEGIN + Duration::from_micros(self.random.next() % micros)
    }

    fn at(&mut self, when: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((when, self.sequence), happening);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.next() % 100 < percent
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn is_chaotic(&self) -> bool {
        self.scenario.chaos && self.elapsed() < HEALED
    }

    fn session(&self, node: usize) -> &Session {
        self.nodes[node].table.session(self.nodes[node].session).unwrap()
    }

    /// One round of a node's driver.
    fn round(&mut self, node: usize) {
        if self.nodes[node].stalled_until.is_some_and(|until| until > self.now) {
            return;
        }
        if self.scenario.tick_first {
            self.tick(node);
        }
        while let Some(octets) = self.nodes[node].socket.pop_front() {
            let packet = Packet::decode(&octets).unwrap();
            let SessionKey { local, remote, interface } = key(node);
            let arrival = Arrival { local, remote, interface, ttl: 255, hops: Hops::Single };
            let mut out = Vec::new();
            let result = self.nodes[node].table.receive(self.now, arrival, &octets, &mut out);
            assert_eq!(result, Ok(self.nodes[node].session));
            self.nodes[node].heard = Some((self.now, packet));
            self.nodes[node].polls_heard += u64::from(packet.poll_bit);
            self.carry_out(node, out);
        }
        self.tick(node);
    }

    fn tick(&mut self, node: usize) {
        let mut out = Vec::new();
        self.nodes[node].table.tick(self.now, &mut out);
        assert!(self.nodes[node].table.deadline().is_none_or(|deadline| deadline > self.now));
        self.carry_out(node, out);
    }

    fn carry_out(&mut self, node: usize, out: Vec<Emitted>) {
        for emitted in out {
            match emitted.output {
                Output::Transmit(octets) => self.send(node, octets),
                Output::StateChanged(change) => self.judge(node, change),
            }
        }
    }

    fn send(&mut self, from: usize, octets: [u8; 24]) {
        let packet = Packet::decode(&octets).unwrap();
        self.check_sent(from, packet);
        let to = 1 - from;
        let cut = self.scenario.cut[from] && self.elapsed() >= 20 * SECOND;
        if cut || (self.is_chaotic() && self.chance(30)) {
            return;
        }
        let (least, spread) = self.scenario.latency;
        let mut when = self.now + Duration::from_micros(least + self.random.next() % spread);
        if self.is_chaotic() {
            when += Duration::from_micros(self.random.next() % 400_000);
        } else {
            when = when.max(self.last[to]);
        }
        self.last[to] = self.last[to].max(when);
        self.at(when, Happening::Arrive(to, octets));
    }

    /// Rules that every packet keeps, judged from the octets alone.
    fn check_sent(&mut self, from: usize, packet: Packet) {
        assert!(!(packet.poll_bit && packet.final_bit), "P and F together");
        assert!(!packet.demand_bit && !packet.control_plane_independent);
        assert!(packet.state == State::Up || packet.desired_min_tx >= 1_000_000, "{packet:?}");
        let node = &mut self.nodes[from];
        let said = node.said.replace(packet);
        if packet.final_bit {
            node.finals_said += 1;
            assert!(node.finals_said <= node.polls_heard, "more Finals than Polls");
            return;
        }
        // What tells nothing that the last packet did not tell is periodic.
        let repeats = said.is_some_and(|said| Packet { final_bit: false, ..said } == packet);
        if let Some(when) = node.spoke.filter(|_| repeats && !packet.poll_bit) {
            let gap = self.now - when;
            let least = Duration::from_micros(u64::from(packet.desired_min_tx) * 3 / 4);
            assert!(gap >= least, "{packet:?} again after {gap:?}");
        }
        node.spoke = Some(self.now);
    }

    /// A change of state must have a reason that the simulation sees too.
    fn judge(&mut self, node: usize, change: StateChange) {
        self.nodes[node].changes.push((self.now, change));
        let elapsed = self.elapsed();
        if let Cause::DetectionExpired { .. } = change.cause {
            let Node { heard, said, .. } = &self.nodes[node];
            let (when, packet) = heard.expect("something was heard, else nothing expires");
            // Not before its time by what either side last told the other.
            let needed = self.session(node).config().required_min_rx;
            let told = said.map_or(needed, |said| Duration::from_micros(said.required_min_rx.into()));
            let wish = Duration::from_micros(packet.desired_min_tx.into());
            let detection = u32::from(packet.detect_multiplier) * needed.min(told).max(wish);
            assert!(self.now - when >= detection, "{change} after {:?}, not {detection:?}", self.now - when);
        }
        let calm = !(self.scenario.chaos || self.scenario.tick_first) || elapsed > STABLE;
        let cut = self.scenario.cut != [false; 2] && elapsed >= 20 * SECOND;
        let wrong = calm && !cut && change.is_failure();
        assert!(!wrong, "a failure in a network without faults, after {elapsed:?}: {change}");
        let asked = self.scenario.administer && elapsed < STABLE;
        let fell = calm && !cut && !asked && change.from == State::Up;
        assert!(!fell, "down without a reason, after {elapsed:?}: {change}");
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        let mut out = Vec::new();
        match happening {
            Happening::Arrive(node, octets) => {
                self.nodes[node].socket.push_back(octets);
                self.round(node);
            }
            Happening::Stall(node, time) => {
                let until = self.nodes[node].stalled_until.map_or(now + time, |old| old.max(now + time));
                self.nodes[node].stalled_until = Some(until);
                self.at(until, Happening::Wake(node));
            }
            Happening::Wake(node) => self.round(node),
            Happening::Reconfigure(node, _) | Happening::Administer(node, _)
                if self.nodes[node].stalled_until.is_some_and(|until| until > now) =>
            {
                let until = self.nodes[node].stalled_until.unwrap_or(now);
                self.at(until, happening);
            }
            Happening::Reconfigure(node, config) => {
                let session = self.nodes[node].session;
                self.nodes[node].table.reconfigure(now, session, config, &mut out).unwrap();
                self.carry_out(node, out);
            }
            Happening::Administer(node, input) => {
                let session = self.nodes[node].session;
                assert!(self.nodes[node].table.handle(now, session, input, &mut out));
                self.carry_out(node, out);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.start + time;
        loop {
            let queued = self.queue.keys().next().map(|(when, _)| *when);
            let deadlines = [0, 1].map(|node| {
                let awake = self.nodes[node].stalled_until.is_none_or(|until| until <= self.now);
                self.nodes[node].table.deadline().filter(|_| awake).map(|deadline| (deadline, node))
            });
            let deadline = deadlines.into_iter().flatten().min();
            let next = queued.into_iter().chain(deadline.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            match deadline.filter(|(at, _)| queued.is_none_or(|queued| *at <= queued)) {
                Some((_, node)) => self.round(node),
                None => {
                    if let Some((_, happening)) = self.queue.pop_first() {
                        self.happen(happening);
                    }
                }
            }
        }
        self.now = end;
    }

    /// Both are Up and agree on everything.
    fn check_agreement(&self) {
        for node in [0, 1] {
            let (session, peer) = (self.session(node), self.session(1 - node));
            assert_eq!(session.state(), State::Up, "node {node}");
            assert!(!session.is_polling(), "node {node} still polls: {session:?}");
            let (ours, theirs) = (session.config(), peer.config());
            assert_eq!(session.transmit_interval(), ours.desired_min_tx.max(theirs.required_min_rx));
            let interval = ours.required_min_rx.max(theirs.desired_min_tx);
            assert_eq!(session.detection_time(), Some(u32::from(theirs.detect_multiplier) * interval));
            assert_eq!(session.farewell(), peer.detection_time().unwrap());
            let Node { polls_heard, finals_said, .. } = &self.nodes[node];
            assert!(self.scenario.administer || polls_heard == finals_said, "every Poll is answered");
        }
    }

    fn first_fall(&self, node: usize) -> Option<(Instant, StateChange)> {
        self.nodes[node].changes.iter().find(|(_, change)| change.from == State::Up).copied()
    }
}

fn some_config(node: usize, random: &mut Jitter, scenario: Scenario) -> SessionConfig {
    let pick = |random: &mut Jitter, from: &[u64]| from[usize::try_from(random.next() % 4).unwrap()];
    let intervals = [50, 100, 300, 1000];
    let config = SessionConfig {
        role: scenario.roles[node],
        desired_min_tx: Duration::from_millis(pick(random, &intervals)),
        required_min_rx: Duration::from_millis(pick(random, &intervals)),
        detect_multiplier: u8::try_from(pick(random, &[1, 2, 3, 5])).unwrap(),
        kind: Kind::SingleHop,
    };
    if scenario.stall {
        // Node 0 is patiently waited for and must itself be quick.
        let detect_multiplier = if node == 0 { 20 } else { 2 };
        return SessionConfig {
            desired_min_tx: 100 * MILLI,
            required_min_rx: 100 * MILLI,
            detect_multiplier,
            ..config
        };
    }
    config
}

fn simulate(seed: u64, scenario: Scenario) -> Simulation {
    let mut simulation = Simulation::new(seed, scenario);
    simulation.run(END);
    simulation
}

/// Runs every seed, puts each to a check, and names the seed that fails. Returns how often a session left Up.
fn simulate_all(scenario: Scenario, check: impl Fn(&Simulation) + std::panic::RefUnwindSafe) -> u64 {
    let mut falls = 0;
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| {
            let simulation = simulate(seed, scenario);
            check(&simulation);
            [0, 1].map(|node| simulation.session(node).counters().downs.total()).iter().sum::<u64>()
        });
        match result {
            Ok(more) => falls += more,
            Err(panic) => {
                eprintln!("seed {seed} fails in {scenario:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    falls
}

#[test]
fn two_active_sessions_come_up_agree_and_never_go_down_while_packets_come_in_time() {
    simulate_all(CALM, |simulation| {
        simulation.check_agreement();
        for node in &simulation.nodes {
            assert_eq!(node.changes.iter().filter(|(_, change)| change.to == State::Up).count(), 1);
            let (when, _) = node.changes.last().unwrap();
            assert!(*when - simulation.start < 3 * SECOND, "up within a packet of the later one");
        }
    });
}

#[test]
fn an_active_and_a_passive_session_come_up() {
    for roles in [[Role::Active, Role::Passive], [Role::Passive, Role::Active]] {
        simulate_all(Scenario { roles, ..CALM }, Simulation::check_agreement);
    }
}

#[test]
fn two_passive_sessions_never_say_a_word() {
    simulate_all(Scenario { roles: [Role::Passive; 2], ..CALM }, |simulation| {
        for node in [0, 1] {
            assert_eq!(simulation.session(node).state(), State::Down);
            assert_eq!(simulation.session(node).counters().packets_sent, 0);
        }
    });
}

#[test]
fn timers_changed_by_both_at_any_time_never_take_a_session_down_and_are_agreed_on_in_the_end() {
    simulate_all(Scenario { reconfigure: true, ..CALM }, |simulation| {
        simulation.check_agreement();
        assert!(simulation.session(0).counters().polls_completed > 5);
    });
}

#[test]
fn timers_are_changed_in_safety_too_where_a_round_trip_takes_many_intervals() {
    let far = Scenario { latency: (200_000, 2000), reconfigure: true, ..CALM };
    simulate_all(far, Simulation::check_agreement);
}

#[test]
fn what_administrators_do_is_never_a_failure_on_either_side() {
    simulate_all(Scenario { administer: true, reconfigure: true, ..CALM }, |simulation| {
        simulation.check_agreement();
        let falls = simulation.session(0).counters().downs.of("remote_admin_down")
            + simulation.session(1).counters().downs.of("remote_admin_down");
        assert!(falls > 0);
    });
}

#[test]
fn after_loss_reordering_and_stalls_both_come_up_and_agree() {
    let falls = simulate_all(Scenario { chaos: true, ..CALM }, Simulation::check_agreement);
    assert!(falls > 10 * SEEDS, "chaos is none with {falls} falls");
}

#[test]
fn after_chaos_with_changes_of_everything_both_come_up_and_agree() {
    let chaos = Scenario { chaos: true, reconfigure: true, administer: true, ..CALM };
    simulate_all(chaos, Simulation::check_agreement);
    simulate_all(Scenario { roles: [Role::Passive, Role::Active], ..chaos }, Simulation::check_agreement);
}

// case: bgp-74
#[test]
fn a_cut_is_detected_after_the_detection_time_and_at_most_an_interval_before() {
    for cut in [[true, true], [true, false], [false, true]] {
        simulate_all(Scenario { cut, ..CALM }, |simulation| {
            for node in [0, 1] {
                let peer = 1 - node;
                let (when, change) = simulation.first_fall(node).expect("it fell");
                if !cut[peer] {
                    // Its own packets are lost alone: the other side says so.
                    assert_eq!((change.cause, change.is_failure()), (Cause::RemoteDown, true));
                    continue;
                }
                assert_eq!(change.cause, Cause::DetectionExpired { late: Duration::ZERO });
                let (ours, theirs) = (simulation.session(node).config(), simulation.session(peer).config());
                let interval = ours.required_min_rx.max(theirs.desired_min_tx);
                let detection = u32::from(theirs.detect_multiplier) * interval;
                let took = when - simulation.start - 20 * SECOND;
                let latency = 3 * MILLI;
                assert!(took <= detection + latency, "{took:?}, detection time {detection:?}");
                assert!(took + interval >= detection, "{took:?}, detection time {detection:?}");
            }
        });
    }
}

#[test]
fn a_stall_longer_than_the_detection_time_takes_nothing_down_as_the_socket_is_read_first() {
    simulate_all(Scenario { stall: true, ..CALM }, |simulation| {
        simulation.check_agreement();
        let counters = simulation.session(0).counters();
        assert!(counters.late_wakes >= 8 && counters.late_wake_micros_max >= 400_000, "{counters:?}");
        assert_eq!(simulation.session(1).counters().late_wakes, 0);
    });
}

#[test]
fn a_driver_that_judges_before_it_reads_would_lose_the_session_and_know_that_it_was_late() {
    let mut simulation = Simulation::new(1, Scenario { stall: true, tick_first: true, ..CALM });
    simulation.run(END);
    let (_, change) = simulation.first_fall(0).expect("the order is for something");
    assert!(matches!(change.cause, Cause::DetectionExpired { late } if late > 100 * MILLI), "{change}");
    assert!(simulation.session(0).counters().late_wakes >= 1);
}
