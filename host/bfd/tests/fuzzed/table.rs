//! Any packets, by any way, at any time, to a table of two sessions.
//!
//! A record is an octet of choices, one of time, and a packet; the last packet may be shorter.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bellhop_bfd::{
    Arrival, Discriminator, Emitted, Hops, Input, Kind, Output, PACKET_LENGTH, Packet, Role, SessionConfig,
    SessionKey, State, Table,
};

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const REMOTES: [IpAddr; 3] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 4)),
];

fn config(role: Role, kind: Kind) -> SessionConfig {
    let interval = Duration::from_millis(300);
    SessionConfig { role, desired_min_tx: interval, required_min_rx: interval, detect_multiplier: 3, kind }
}

/// Panics where the table does what it must not.
pub fn judge(octets: &[u8]) {
    let mut now = Instant::now();
    let begin = now;
    let mut table = Table::new(1);
    let key = |remote| SessionKey { local: LOCAL, remote, interface: 0 };
    let one_hop = config(Role::Active, Kind::SingleHop);
    let several = config(Role::Passive, Kind::MultiHop { min_ttl: 250 });
    let ours: [Discriminator; 2] = [(REMOTES[0], one_hop), (REMOTES[1], several)]
        .map(|(remote, config)| table.insert(now, key(remote), config).expect("a good session"));
    let mut out: Vec<Emitted> = Vec::new();
    let (mut packets, mut sent) = (0_u64, 0_u64);
    for record in octets.chunks(2 + PACKET_LENGTH) {
        let [choice, time, payload @ ..] = record else { break };
        now += Duration::from_millis(u64::from(*time));
        let session = usize::from(choice & 1);
        if choice & 0xF0 == 0xF0 {
            let input =
                [Input::Disable, Input::Enable, Input::PathDown, Input::Forget][usize::from(choice >> 1 & 3)];
            assert!(table.handle(now, ours[session], input, &mut out));
        } else {
            packets += 1;
            let mut payload = payload.to_vec();
            // So that packets are for a session, unless they are to name another.
            if choice & 2 == 0 && payload.len() >= 12 {
                payload[8..12].copy_from_slice(&ours[session].get().to_be_bytes());
            }
            let arrival = Arrival {
                local: LOCAL,
                remote: REMOTES[if choice & 4 == 0 { session } else { 2 }],
                interface: u32::from(choice >> 6),
                ttl: if choice & 8 == 0 { 255 } else { 251 },
                hops: if (choice & 16 == 0) == (session == 0) { Hops::Single } else { Hops::Multi },
            };
            receive(&mut table, now, arrival, &payload, &mut out);
        }
        sent += transmitted(&out);
        out.clear();
        table.tick(now, &mut out);
        sent += transmitted(&out);
        for emitted in &out {
            if let Output::StateChanged(change) = emitted.output {
                assert_eq!(change.to, State::Down, "silence brings nothing up");
            }
        }
        out.clear();
        assert!(table.deadline().is_none_or(|deadline| deadline > now), "due again at once");
    }
    assert_eq!(table.len(), 2);
    let mut counted = table.refused().total();
    for discriminator in ours {
        let counters = table.session(discriminator).expect("the session").counters();
        counted += counters.packets_received + counters.refused.total();
    }
    assert_eq!(counted, packets, "each packet is counted once");
    // One for each packet or input, and 225 ms between those that nobody asked for.
    let elapsed = u64::try_from((now - begin).as_millis()).expect("little time");
    let records = octets.len().div_ceil(2 + PACKET_LENGTH) as u64;
    assert!(sent <= 3 * records + 2 * (elapsed / 225) + 4, "{sent} packets in {elapsed} ms");
}

fn receive(table: &mut Table, now: Instant, arrival: Arrival, payload: &[u8], out: &mut Vec<Emitted>) {
    let states = |table: &Table| table.sessions().map(|(_, session)| session.state()).collect::<Vec<_>>();
    let decoded = Packet::decode(payload);
    if let Ok(packet) = &decoded {
        let again = packet.encode();
        assert_eq!(again[..3], payload[..3]);
        assert_eq!(again[4..], payload[4..PACKET_LENGTH]);
    }
    let before = states(table);
    match table.receive(now, arrival, payload, out) {
        Err(_) => {
            assert_eq!(states(table), before, "a packet that is refused changes no state");
            assert!(out.iter().all(|emitted| matches!(emitted.output, Output::Transmit(_))));
        }
        Ok(discriminator) => {
            let packet = decoded.expect("only what is a packet is taken");
            let session = table.session(discriminator).expect("whose it was");
            assert!(packet.your_discriminator.is_none_or(|yours| yours == discriminator));
            assert!(arrival.ttl == 255 || arrival.hops == Hops::Multi, "another hop's packet");
            let place = table.sessions().position(|(_, other)| other.discriminator() == discriminator);
            let was = before[place.expect("in the table")];
            assert_eq!(session.state(), next(was, packet.state), "from {was:?} by {:?}", packet.state);
        }
    }
    let at_once = transmitted(out);
    assert!(at_once <= 1, "{at_once} answers to one packet");
}

/// The state after a packet, by RFC 5880 §6.8.6.
fn next(ours: State, theirs: State) -> State {
    match (ours, theirs) {
        (State::AdminDown, _) => State::AdminDown,
        (_, State::AdminDown) => State::Down,
        (State::Down, State::Down) => State::Init,
        (State::Down, State::Init) => State::Up,
        (State::Down, State::Up) => State::Down,
        (State::Init, State::Init | State::Up) => State::Up,
        (State::Init, State::Down) => State::Init,
        (State::Up, State::Down) => State::Down,
        (State::Up, State::Init | State::Up) => State::Up,
    }
}

fn transmitted(out: &[Emitted]) -> u64 {
    out.iter().filter(|emitted| matches!(emitted.output, Output::Transmit(_))).count() as u64
}
