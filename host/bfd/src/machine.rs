//! The session machine of one neighbour: RFC 5880 §6.8, asynchronous mode.
//!
//! # When packets go
//! Periodically, after 75 to 100 % of the interval that both sides agree on (§6.8.7). Between them at once: a change of
//! state or diagnostic, and the answer to a Poll. New timers go with the next periodic packet, with the P bit (§6.5).
//! An answer does not move the periodic packets; a change of state does, as the packet that tells it is like one.
//!
//! # Timers
//! What is *advertised* and what is in *effect* are two things (§6.8.3). While Up, sending more slowly and expecting
//! packets sooner take effect when a Final says that the neighbour knows; everything else takes effect at once. A
//! change that has to wait for a Final while an earlier Poll Sequence is under way is not even advertised before that
//! is over, as its Final could not be told from the earlier one's.
//!
//! # Silence
//! After the detection time without a packet the neighbour is forgotten with all that it said: in Init and Up the
//! session goes Down (§6.8.4), and in every state its discriminator is no longer sent (§6.8.1). That its intervals and
//! its Demand mode go too is not in the RFC; without that a neighbour that wanted no packets, restarted in the passive
//! role, would never be spoken to again.

mod change;
mod config;
mod poll;
mod reception;
mod transmission;

use std::time::{Duration, Instant};

pub use change::{Cause, StateChange};
pub use config::{Hops, INTERVALS, Kind, Role, SessionConfig, SessionConfigError};
use poll::Poll;

use crate::metrics::Counters;
use crate::timer::{Jitter, LATE_WAKE, Pace, SLOW};
use crate::wire::{Diagnostic, Discriminator, PACKET_LENGTH, Packet, State};

/// What the driver tells a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// A packet arrived.
    Received {
        /// The packet, decoded.
        packet: Packet,
        /// The TTL or Hop Limit that it arrived with.
        ttl: u8,
    },
    /// The time of [`Session::deadline`] has come, **and everything that arrived before `now` was handed in**. Only
    /// here is silence judged, so that a driver that did not run for a while first empties its sockets.
    Tick,
    /// Taken down by an administrator: AdminDown, until [`Input::Enable`] (RFC 5880 §6.8.16). Packets go on saying so;
    /// after [`Session::farewell`] the neighbour has heard it.
    Disable,
    /// No longer taken down by an administrator.
    Enable,
    /// Something other than BFD found the path down, as a link without carrier: Init or Up becomes Down with diagnostic
    /// Path Down. RFC 5880 §6.8.16 would allow AdminDown too, but that tells the neighbour that nothing failed. The
    /// session comes up again as soon as both sides hear each other.
    PathDown,
    /// Everything known of the neighbour is dropped, and Init or Up becomes Down: for a neighbour that is known to be
    /// another one now, or that starts anew.
    Forget,
}

/// What a session tells the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this packet now.
    Transmit([u8; PACKET_LENGTH]),
    /// The state changed.
    StateChanged(StateChange),
}

/// What the neighbour last said (RFC 5880 §6.8.1), kept for a detection time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Its discriminator.
    pub discriminator: Discriminator,
    /// Its state.
    pub state: State,
    /// Why it last left a state.
    pub diagnostic: Diagnostic,
    /// The interval at which it would like to send, microseconds.
    pub desired_min_tx: u32,
    /// The least interval that it can take, microseconds; 0: it wants no periodic packets.
    pub required_min_rx: u32,
    /// How many packets in a row this side may miss.
    pub detect_multiplier: u8,
    /// It asks for Demand mode (RFC 5880 §6.6).
    pub demand: bool,
    /// Its BFD survives a failure of its control plane (RFC 5882 §4.3).
    pub control_plane_independent: bool,
    /// When it said so.
    pub received: Instant,
}

impl Remote {
    fn of(packet: &Packet, received: Instant) -> Self {
        Self {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            detect_multiplier: packet.detect_multiplier,
            demand: packet.demand_bit,
            control_plane_independent: packet.control_plane_independent,
            received,
        }
    }
}

/// The intervals of both directions on this side, microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Intervals {
    /// `bfd.DesiredMinTxInterval`.
    tx: u32,
    /// `bfd.RequiredMinRxInterval`.
    rx: u32,
}

impl Intervals {
    /// What the configuration wants in a state (RFC 5880 §6.8.3: at least 1 s while not Up).
    fn wanted(config: &SessionConfig, state: State) -> Self {
        let tx = config::micros(config.desired_min_tx);
        let least = if state == State::Up { 0 } else { SLOW };
        Self { tx: tx.max(least), rx: config::micros(config.required_min_rx) }
    }
}

/// One neighbour. See the [crate] for how it is driven.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    discriminator: Discriminator,
    jitter: Jitter,
    state: State,
    /// `bfd.LocalDiag`.
    diagnostic: Diagnostic,
    /// `None`: `bfd.RemoteDiscr` is zero.
    remote: Option<Remote>,
    advertised: Intervals,
    in_effect: Intervals,
    poll: Poll,
    pace: Pace,
    /// The last packet, without the bits of the Poll Sequence.
    told: Option<Packet>,
    /// The deadline of which it was last judged whether the driver was late.
    judged: Option<Instant>,
    counters: Counters,
}

impl Session {
    /// A session that is Down; an active one has its first packet due at `now`. `discriminator` must be unique among
    /// the sessions of this system, and `seed`, which feeds the jitter, should be.
    pub fn new(
        now: Instant,
        config: SessionConfig,
        discriminator: Discriminator,
        seed: u64,
    ) -> Result<Self, SessionConfigError> {
        config.check()?;
        let intervals = Intervals::wanted(&config, State::Down);
        let mut session = Self {
            config,
            discriminator,
            jitter: Jitter::new(seed),
            state: State::Down,
            diagnostic: Diagnostic::default(),
            remote: None,
            advertised: intervals,
            in_effect: intervals,
            poll: Poll::default(),
            pace: Pace::new(now),
            told: None,
            judged: None,
            counters: Counters::default(),
        };
        session.pace.set(now, session.periodic());
        Ok(session)
    }

    /// Takes one input and appends what follows from it. `now` never goes back.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.note_lateness(now);
        match input {
            // What is refused is counted; `Table::receive` tells it.
            Input::Received { packet, ttl } => self.receive(now, &packet, ttl, out).unwrap_or_default(),
            Input::Tick => self.judge_silence(now, out),
            Input::Disable if self.state != State::AdminDown => {
                self.enter(State::AdminDown, Cause::Disabled, out);
            }
            Input::Enable if self.state == State::AdminDown => self.enter(State::Down, Cause::Enabled, out),
            Input::Disable | Input::Enable => {}
            Input::PathDown => self.fail(Cause::PathDown, out),
            Input::Forget => {
                self.fail(Cause::Forgotten, out);
                self.forget();
            }
        }
        self.settle(now, input == Input::Tick, out);
    }

    /// When [`Input::Tick`] is due at the latest; `None` where nothing waits. After a tick it is later than that tick.
    pub fn deadline(&self) -> Option<Instant> {
        [self.pace.due(), self.silent_at()].into_iter().flatten().min()
    }

    /// Takes another configuration. While Up, new timers are agreed on with the neighbour and the session stays up
    /// (RFC 5880 §6.8.3); everything else takes effect at once. On an error nothing changed.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        config: SessionConfig,
        out: &mut Vec<Output>,
    ) -> Result<(), SessionConfigError> {
        config.check()?;
        let (is, wanted) = (self.config.kind.hops(), config.kind.hops());
        if is != wanted {
            return Err(SessionConfigError::Kind { is, wanted });
        }
        let multiplier = std::mem::replace(&mut self.config, config).detect_multiplier;
        if config.detect_multiplier == 1 && multiplier != 1 && self.told.is_some() {
            // An answer may tell the neighbour to expect every packet before the next one goes, whose jitter was drawn
            // for a greater multiplier. The other way round it stays: the neighbour expects that one still.
            let share = self.jitter.share(config.detect_multiplier);
            self.pace.redraw(now, share);
        }
        self.settle(now, false, out);
        Ok(())
    }

    /// The state (`bfd.SessionState`).
    pub fn state(&self) -> State {
        self.state
    }

    /// What the neighbour is told of the last change of state (`bfd.LocalDiag`).
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// This side's discriminator (`bfd.LocalDiscr`).
    pub fn discriminator(&self) -> Discriminator {
        self.discriminator
    }

    /// What the neighbour last said; `None` where it was never heard or is silent for longer than the detection time.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The configuration in force, or on its way to the neighbour.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The interval agreed on for packets of this side, before jitter (RFC 5880 §6.8.2).
    pub fn transmit_interval(&self) -> Duration {
        Duration::from_micros(self.interval().into())
    }

    /// After how long a silence the neighbour is taken for gone (RFC 5880 §6.8.4); `None` where it is not known.
    pub fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote.as_ref()?;
        let interval = self.in_effect.rx.max(remote.desired_min_tx);
        Some(Duration::from_micros(u64::from(remote.detect_multiplier) * u64::from(interval)))
    }

    /// After how long the neighbour takes this side for gone: for so long packets should go on after
    /// [`Input::Disable`], before the session is removed, so that the neighbour surely hears it (RFC 5880 §6.8.16).
    pub fn farewell(&self) -> Duration {
        let theirs = self.remote.as_ref().map_or(0, |remote| remote.required_min_rx);
        let interval = self.advertised.tx.max(theirs);
        Duration::from_micros(u64::from(self.config.detect_multiplier) * u64::from(interval))
    }

    /// A Poll Sequence is under way or about to be: the neighbour has yet to confirm this side's timers.
    pub fn is_polling(&self) -> bool {
        self.poll.is_pending() || self.advertised != Intervals::wanted(&self.config, self.state)
    }

    /// Counts a deadline that the driver missed by more than [`LATE_WAKE`]; each one once, whatever input comes first.
    pub(crate) fn note_lateness(&mut self, now: Instant) {
        let Some(deadline) = self.deadline().filter(|deadline| self.judged != Some(*deadline)) else {
            return;
        };
        let late = now.saturating_duration_since(deadline);
        if late > LATE_WAKE {
            let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            self.judged = Some(deadline);
            self.counters.late_wakes += 1;
            self.counters.late_wake_micros = self.counters.late_wake_micros.saturating_add(micros);
            self.counters.late_wake_micros_max = self.counters.late_wake_micros_max.max(micros);
        }
    }
}
