//! Which packets go when, and with which timers: RFC 5880 §6.8.2, §6.8.3 and §6.8.7.

use std::time::Instant;

use super::{Intervals, Output, Role, Session};
use crate::wire::{Packet, State};

impl Session {
    /// Brings timers and transmission up to date after an input; in a tick, periodic packets go that are due.
    pub(crate) fn settle(&mut self, now: Instant, tick: bool, out: &mut Vec<Output>) {
        self.adopt_intervals();
        self.pace.set(now, self.periodic());
        let due = tick && self.pace.due().is_some_and(|due| due <= now);
        if due || self.has_news() {
            self.transmit(now, out);
        }
    }

    /// Answers a Poll: at once, without respect to the periodic packets, to state or to Demand mode (§6.8.7).
    pub(super) fn answer(&mut self, out: &mut Vec<Output>) {
        self.adopt_intervals();
        self.counters.finals_sent += 1;
        self.send(Packet { final_bit: true, ..self.contents() }, out);
    }

    /// The interval of periodic packets, microseconds, before jitter (§6.8.2).
    pub(super) fn interval(&self) -> u32 {
        // `bfd.RemoteMinRxInterval` is 1 at first.
        self.in_effect.tx.max(self.remote.as_ref().map_or(1, |remote| remote.required_min_rx))
    }

    /// The same, or `None` where packets must not go periodically (§6.8.7).
    pub(super) fn periodic(&self) -> Option<u32> {
        let wanted = self.remote.as_ref().is_none_or(|remote| {
            let demand_mode = remote.demand && self.state == State::Up && remote.state == State::Up;
            remote.required_min_rx != 0 && (!demand_mode || self.poll.is_running())
        });
        (wanted && self.may_speak()).then(|| self.interval())
    }

    /// A passive side that knows of nobody sends nothing at all (§6.8.7).
    fn may_speak(&self) -> bool {
        self.config.role == Role::Active || self.remote.is_some()
    }

    /// Something that the neighbour should learn before the next periodic packet (§6.8.7). That is a change of state,
    /// its diagnostic, and that the neighbour is heard; other timers wait for the next periodic packet, as a Poll must
    /// not make packets of its own where such go (§6.5).
    fn has_news(&self) -> bool {
        let contents = self.contents();
        let differs = self.told.is_none_or(|told| {
            told.state != contents.state
                || told.diagnostic != contents.diagnostic
                || (told.your_discriminator != contents.your_discriminator && self.remote.is_some())
                || (told != contents && self.pace.due().is_none())
        });
        differs && self.may_speak()
    }

    /// Moves the advertised intervals to the wanted ones, and those in effect as far as they may go (§6.8.3).
    fn adopt_intervals(&mut self) {
        let wanted = Intervals::wanted(&self.config, self.state);
        let up = self.state == State::Up;
        if wanted != self.advertised {
            let waits_for_final = wanted.tx > self.advertised.tx || wanted.rx < self.advertised.rx;
            if !up || !waits_for_final || self.poll.is_open() {
                self.advertised = wanted;
                if self.remote.is_some() {
                    self.poll.request();
                }
            }
        }
        self.in_effect = if up {
            Intervals {
                tx: self.in_effect.tx.min(self.advertised.tx),
                rx: self.in_effect.rx.max(self.advertised.rx),
            }
        } else {
            self.advertised
        };
    }

    /// A periodic packet, or one like it.
    fn transmit(&mut self, now: Instant, out: &mut Vec<Output>) {
        let poll_bit = self.poll.is_running();
        self.send(Packet { poll_bit, ..self.contents() }, out);
        if poll_bit {
            self.poll.sent(now);
            self.counters.polls_sent += 1;
        }
        let share = self.jitter.share(self.config.detect_multiplier);
        self.pace.sent(now, share);
    }

    fn send(&mut self, packet: Packet, out: &mut Vec<Output>) {
        self.counters.packets_sent += 1;
        self.told = Some(Packet { poll_bit: false, final_bit: false, ..packet });
        out.push(Output::Transmit(packet.encode()));
    }

    /// What a packet says now, without the bits of the Poll Sequence (§6.8.7).
    fn contents(&self) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll_bit: false,
            final_bit: false,
            control_plane_independent: false,
            demand_bit: false,
            detect_multiplier: self.config.detect_multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.as_ref().map(|remote| remote.discriminator),
            desired_min_tx: self.advertised.tx,
            required_min_rx: self.advertised.rx,
            required_min_echo_rx: 0,
        }
    }
}
