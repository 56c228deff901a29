//! One session with a scripted neighbour.

use std::time::{Duration, Instant};

use crate::{
    Cause, Diagnostic, Discriminator, Input, Kind, Output, Packet, Role, Session, SessionConfig, State,
    StateChange,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLI: Duration = Duration::from_millis(1);

pub(super) fn ours() -> Discriminator {
    Discriminator::new(0x1111_1111).unwrap()
}

pub(super) fn theirs() -> Discriminator {
    Discriminator::new(0x2222_2222).unwrap()
}

/// 300 ms both ways, three packets, one hop.
pub(crate) fn config() -> SessionConfig {
    SessionConfig {
        role: Role::Active,
        desired_min_tx: 300 * MILLI,
        required_min_rx: 300 * MILLI,
        detect_multiplier: 3,
        kind: Kind::SingleHop,
    }
}

/// A packet of the neighbour, which wants the same as [`config`] and knows this side.
pub(super) fn packet(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NoDiagnostic,
        state,
        poll_bit: false,
        final_bit: false,
        control_plane_independent: false,
        demand_bit: false,
        detect_multiplier: 3,
        my_discriminator: theirs(),
        your_discriminator: Some(ours()),
        desired_min_tx: 300_000,
        required_min_rx: 300_000,
        required_min_echo_rx: 0,
    }
}

/// A session, its clock, and what it said.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) outputs: Vec<Output>,
}

impl Bench {
    pub(super) fn new(config: SessionConfig) -> Self {
        let now = Instant::now();
        let session = Session::new(now, config, ours(), 1).expect("a good configuration");
        Self { session, now, outputs: Vec::new() }
    }

    /// A session in a state, by way of what a neighbour says; what was said on the way is forgotten.
    pub(super) fn in_state(config: SessionConfig, state: State) -> Self {
        let mut bench = Self::new(config);
        match state {
            State::AdminDown => bench.input(Input::Disable),
            State::Down => bench.input(Input::Tick),
            State::Init => bench.hear(packet(State::Down)),
            State::Up => {
                bench.hear(packet(State::Down));
                bench.hear(packet(State::Up));
            }
        }
        assert_eq!(bench.session.state(), state);
        bench.outputs.clear();
        bench
    }

    /// A session that is Up and whose timers are agreed on: its first Poll Sequence is over.
    pub(super) fn settled(config: SessionConfig) -> Self {
        let mut bench = Self::in_state(config, State::Up);
        bench.hear(Packet { final_bit: true, ..packet(State::Up) });
        bench.hear(packet(State::Up));
        assert!(!bench.session.is_polling());
        bench.outputs.clear();
        bench
    }

    pub(super) fn input(&mut self, input: Input) {
        self.session.handle(self.now, input, &mut self.outputs);
    }

    pub(super) fn hear(&mut self, packet: Packet) {
        self.input(Input::Received { packet, ttl: 255 });
    }

    pub(super) fn reconfigure(&mut self, config: SessionConfig) {
        self.session.reconfigure(self.now, config, &mut self.outputs).expect("a good configuration");
    }

    /// Lets time pass, with a tick at every deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
            assert!(
                self.session.deadline().is_none_or(|next| next > self.now),
                "nothing is due after a tick"
            );
        }
        self.now = until;
    }

    /// Lets time pass while the neighbour says this, at the end and every `interval` before.
    pub(super) fn pass_hearing(&mut self, time: Duration, interval: Duration, packet: Packet) {
        let until = self.now + time;
        while self.now < until {
            self.pass(interval.min(until - self.now));
            self.hear(packet);
        }
    }

    /// What was sent since the last look, decoded; other outputs are kept.
    pub(super) fn sent(&mut self) -> Vec<Packet> {
        let (sent, kept): (Vec<_>, Vec<_>) =
            self.outputs.drain(..).partition(|output| matches!(output, Output::Transmit(_)));
        self.outputs = kept;
        sent.iter()
            .filter_map(|output| match output {
                Output::Transmit(octets) => Some(Packet::decode(octets).expect("a good packet")),
                Output::StateChanged(_) => None,
            })
            .collect()
    }

    /// Changes of state since the last look; other outputs are forgotten.
    pub(super) fn changes(&mut self) -> Vec<StateChange> {
        self.outputs
            .drain(..)
            .filter_map(|output| match output {
                Output::StateChanged(change) => Some(change),
                Output::Transmit(_) => None,
            })
            .collect()
    }

    /// The only change of state since the last look.
    pub(super) fn change(&mut self) -> StateChange {
        let changes = self.changes();
        assert_eq!(changes.len(), 1, "{changes:?}");
        changes[0]
    }
}

/// One of every cause.
pub(super) const CAUSES: [Cause; 8] = [
    Cause::Handshake,
    Cause::DetectionExpired { late: Duration::ZERO },
    Cause::RemoteDown,
    Cause::RemoteAdminDown,
    Cause::Disabled,
    Cause::Enabled,
    Cause::PathDown,
    Cause::Forgotten,
];
