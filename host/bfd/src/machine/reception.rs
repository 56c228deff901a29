//! What packets and silence do to a session: RFC 5880 §6.8.4 and §6.8.6.

use std::time::Instant;

use super::{Cause, Output, Remote, Session, StateChange};
use crate::error::Refusal;
use crate::wire::{Packet, State};

/// What the state in a packet makes of this side's, and why; `None`: nothing (RFC 5880 §6.2, §6.8.6).
fn next(local: State, received: State) -> Option<(State, Cause)> {
    match (local, received) {
        (State::AdminDown, _)
        | (State::Down, State::AdminDown | State::Up)
        | (State::Init, State::Down)
        | (State::Up, State::Init | State::Up) => None,
        (State::Init | State::Up, State::AdminDown) => Some((State::Down, Cause::RemoteAdminDown)),
        (State::Down, State::Down) => Some((State::Init, Cause::Handshake)),
        (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
            Some((State::Up, Cause::Handshake))
        }
        (State::Up, State::Down) => Some((State::Down, Cause::RemoteDown)),
    }
}

impl Session {
    /// Takes a packet of this session, in the order of RFC 5880 §6.8.6. [`Session::settle`] must follow.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        packet: &Packet,
        ttl: u8,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.admit(packet, ttl) {
            self.counters.refused.count(refusal.category());
            return Err(refusal);
        }
        self.counters.packets_received += 1;
        self.counters.polls_received += u64::from(packet.poll_bit);
        self.remote = Some(Remote::of(packet, now));
        if !packet.final_bit {
            self.poll.unasked(now);
        } else if self.poll.answered(now) {
            self.counters.polls_completed += 1;
            self.in_effect = self.advertised;
        }
        if self.state == State::AdminDown {
            // Discarded here by §6.8.6, before its P bit is looked at.
            return Ok(());
        }
        if let Some((to, cause)) = next(self.state, packet.state) {
            self.enter(to, cause, out);
        }
        if packet.poll_bit {
            self.answer(out);
        }
        Ok(())
    }

    /// The checks that need the session. The table has found it by its discriminator, or by addresses where that was 0.
    fn admit(&self, packet: &Packet, ttl: u8) -> Result<(), Refusal> {
        match packet.your_discriminator {
            Some(yours) if yours != self.discriminator => return Err(Refusal::UnknownDiscriminator(yours)),
            _ => {}
        }
        let least = self.config.kind.least_ttl();
        if ttl < least { Err(Refusal::Ttl { ttl, least }) } else { Ok(()) }
    }

    /// When the neighbour was silent for the detection time; in every state, as its discriminator ages in every one.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        Some(self.remote.as_ref()?.received + self.detection_time()?)
    }

    /// The neighbour was silent for too long, if it was.
    pub(super) fn judge_silence(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(silent_at) = self.silent_at().filter(|silent_at| *silent_at <= now) {
            self.fail(Cause::DetectionExpired { late: now.saturating_duration_since(silent_at) }, out);
            self.forget();
        }
    }

    /// Init or Up becomes Down; other states stay.
    pub(super) fn fail(&mut self, cause: Cause, out: &mut Vec<Output>) {
        if matches!(self.state, State::Init | State::Up) {
            self.enter(State::Down, cause, out);
        }
    }

    /// Everything known of the neighbour goes, and with it whom a Poll could ask.
    pub(super) fn forget(&mut self) {
        self.remote = None;
        self.poll.cancel();
    }

    pub(super) fn enter(&mut self, to: State, cause: Cause, out: &mut Vec<Output>) {
        let from = std::mem::replace(&mut self.state, to);
        self.diagnostic = cause.diagnostic(to).unwrap_or(self.diagnostic);
        if to == State::Up {
            self.counters.ups += 1;
        }
        if from == State::Up {
            self.counters.downs.count(cause.category());
        }
        let remote_diagnostic = self.remote.as_ref().map(|remote| remote.diagnostic).unwrap_or_default();
        let diagnostic = self.diagnostic;
        out.push(Output::StateChanged(StateChange { from, to, cause, diagnostic, remote_diagnostic }));
    }
}
