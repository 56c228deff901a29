//! What happens on connections: opening, collisions, messages, timers, and what is sent.

use std::time::Instant;

use bellhop_core::Family;
use bytes::{Bytes, BytesMut};

use super::connection::{Addresses, Connection, Phase, RefreshState};
use super::{ConnectionId, Direction, Event, Output, Peer, negotiation};
use crate::error::DownReason;
use crate::rib::Written;
use crate::timer;
use crate::wire::attributes::{Encoder, NextHop};
use crate::wire::{self, Malformed, Message, Notification, Open, Refresh, cease, update};

impl Peer {
    pub(super) fn opened(
        &mut self,
        now: Instant,
        id: ConnectionId,
        addresses: Addresses,
        out: &mut Vec<Output>,
    ) {
        // Unknown: it was given up while the driver's report was under way.
        let Some(index) = self.index(id) else { return };
        let direction = self.connections[index].direction;
        let refusal = if !self.started {
            Some((cease::REJECTED, DownReason::Stopped))
        } else if self.settled_elsewhere(now, index) {
            Some((cease::COLLISION, DownReason::Collision))
        } else {
            None
        };
        let connection = &mut self.connections[index];
        connection.addresses = Some(addresses);
        connection.phase = Phase::OpenSent;
        connection.hold = Some(now + timer::OPEN_HOLD);
        if let Some((subcode, reason)) = refusal {
            self.close(now, index, Some(Notification::new(wire::CEASE, subcode)), reason, out);
            return;
        }
        let open =
            negotiation::open(&self.config, self.offer, self.restarting, self.forwarding_preserved).encode();
        connection.control.push_back(open);
        if direction == Direction::Accepted {
            // A neighbour that dials anew has lost the connection it dialled before.
            self.close_where(now, out, |other| {
                other.id != id && other.direction == Direction::Accepted && other.phase != Phase::Established
            });
            // It is here already: do not dial as well, unless it turns out to be silent.
            let later = now + timer::connect_delay(&mut self.jitter, u32::MAX, timer::COLLISION_WAIT);
            self.dial_at = Some(self.dial_at.map_or(later, |at| at.max(later)));
        }
    }

    /// A new connection has no chance: another one is confirmed in the other direction, or established and the
    /// neighbour cannot have restarted.
    fn settled_elsewhere(&self, now: Instant, index: usize) -> bool {
        let direction = self.connections[index].direction;
        self.connections.iter().enumerate().any(|(other, connection)| {
            other != index
                && match connection.phase {
                    Phase::Established => !replaceable(connection, now),
                    Phase::OpenConfirm => connection.direction != direction,
                    _ => false,
                }
        })
    }

    pub(super) fn lost(&mut self, now: Instant, id: ConnectionId, reason: DownReason, out: &mut Vec<Output>) {
        if let Some(index) = self.index(id) {
            self.close(now, index, None, reason, out);
        }
    }

    pub(super) fn received(&mut self, now: Instant, id: ConnectionId, data: &[u8], out: &mut Vec<Output>) {
        let Some(index) = self.index(id) else { return };
        self.counters.octets_received += data.len() as u64;
        self.connections[index].incoming.extend_from_slice(data);
        while let Some(index) = self.index(id) {
            if self.config.trace {
                let message = wire::peek_message(&self.connections[index].incoming);
                out.extend(message.map(|message| Output::Event(Event::MessageReceived(message))));
            }
            match wire::next_message(&mut self.connections[index].incoming) {
                Ok(None) => return,
                Ok(Some(message)) => {
                    self.counters.messages_received += 1;
                    self.message(now, index, message, out);
                }
                Err(Malformed::Answer(notification)) => self.reject(now, index, notification, out),
                Err(Malformed::Silently) => self.close(
                    now,
                    index,
                    None,
                    DownReason::Transport("malformed NOTIFICATION received".into()),
                    out,
                ),
            }
        }
    }

    /// Closes with a NOTIFICATION that says what was wrong.
    fn reject(&mut self, now: Instant, index: usize, notification: Notification, out: &mut Vec<Output>) {
        let reason = DownReason::Sent(notification.clone());
        self.close(now, index, Some(notification), reason, out);
    }

    fn message(&mut self, now: Instant, index: usize, message: Message, out: &mut Vec<Output>) {
        let connection = &mut self.connections[index];
        // RFC 6608: the subcode tells the state, the data the type of the message that has no place in it.
        let unexpected = |subcode| Notification::with_data(5, subcode, vec![message.kind()]);
        match (connection.phase, &message) {
            (_, Message::Notification(notification)) => self.notified(now, index, notification.clone(), out),
            (Phase::OpenSent, Message::Open(open)) => self.open_received(now, index, open, out),
            (Phase::Held { until, .. }, Message::Keepalive) => {
                connection.phase = Phase::Held { confirmed: true, until };
            }
            (Phase::OpenConfirm, Message::Keepalive) => self.establish(now, index, out),
            (Phase::Opening | Phase::OpenSent, _) => self.reject(now, index, unexpected(1), out),
            (Phase::Held { .. } | Phase::OpenConfirm, _) => self.reject(now, index, unexpected(2), out),
            (Phase::Established, Message::Open(_)) => self.reject(now, index, unexpected(3), out),
            (Phase::Established, _) => {
                connection.hold = connection.hold_interval.map(|interval| now + interval);
                match message {
                    Message::Update(frame) => self.update_received(now, index, &frame, out),
                    Message::RouteRefresh(family, Refresh::Request) => {
                        self.refresh_requested(index, family, out)
                    }
                    // Nothing is kept of what the neighbour announces, so its own refresh has nothing to clear.
                    _ => {}
                }
            }
        }
    }

    fn notified(&mut self, now: Instant, index: usize, notification: Notification, out: &mut Vec<Output>) {
        if notification.code == 2
            && self.connections[index].phase != Phase::Established
            && let Some(offer) = self.offer.reduced(notification.subcode)
        {
            self.offer = offer;
            out.push(Output::Event(Event::CapabilitiesReduced));
        }
        let collision = notification.code == wire::CEASE
            && notification.subcode == cease::COLLISION
            && self.connections[index].phase != Phase::Established
            && self.connections.len() > 1;
        let reason = if collision { DownReason::Collision } else { DownReason::Received(notification) };
        self.close(now, index, None, reason, out);
    }

    fn open_received(&mut self, now: Instant, index: usize, open: &Open, out: &mut Vec<Output>) {
        let negotiated = match negotiation::negotiate(&self.config, self.offer, open) {
            Ok(negotiated) => negotiated,
            Err(notification) => return self.reject(now, index, notification, out),
        };
        if self.settled_elsewhere(now, index) {
            let notification = Notification::new(wire::CEASE, cease::COLLISION);
            return self.close(now, index, Some(notification), DownReason::Collision, out);
        }
        let nonzero = |interval: std::time::Duration| Some(interval).filter(|interval| !interval.is_zero());
        let wait =
            nonzero(negotiated.hold_time / 3).map_or(timer::COLLISION_WAIT, |t| t.min(timer::COLLISION_WAIT));
        let connection = &mut self.connections[index];
        let id = connection.id;
        connection.hold_interval = nonzero(negotiated.hold_time);
        connection.keepalive_interval = nonzero(negotiated.keepalive_time);
        connection.negotiated = Some(negotiated);
        connection.phase = Phase::Held { confirmed: false, until: now + wait };
        let dialled_wins = (self.config.router_id, self.config.local_asn) > (open.router_id, open.asn);
        let wins = (connection.direction == Direction::Dialled) == dialled_wins;
        if let Some(old) = self.established() {
            self.close(now, old, None, DownReason::Replaced, out);
        }
        if wins {
            self.close_where(now, out, |other| other.id != id);
        }
        self.confirm_held(now, out);
    }

    /// Confirms a held connection once no other is under way that could win over it.
    fn confirm_held(&mut self, now: Instant, out: &mut Vec<Output>) {
        let [connection] = self.connections.as_mut_slice() else { return };
        if !self.started {
            return;
        }
        let Phase::Held { confirmed, .. } = connection.phase else { return };
        connection.control.push_back(wire::keepalive());
        connection.phase = Phase::OpenConfirm;
        connection.hold = Some(now + connection.hold_interval.unwrap_or(timer::OPEN_HOLD));
        if confirmed {
            self.establish(now, 0, out);
        }
    }

    fn establish(&mut self, now: Instant, index: usize, out: &mut Vec<Output>) {
        let keepalive = self.connections[index].keepalive_interval.map(|i| now + self.jitter.keepalive(i));
        let Some(encoder) = self.encoder(index) else { return };
        let connection = &mut self.connections[index];
        let Some(negotiated) = connection.negotiated.clone() else { return };
        connection.phase = Phase::Established;
        connection.established_at = Some(now);
        connection.hold = connection.hold_interval.map(|interval| now + interval);
        connection.keepalive = keepalive;
        for family in &negotiated.families {
            connection.end_of_rib[*family as usize] = true;
        }
        self.counters.established += 1;
        self.dial_failures = 0;
        self.last_error = None;
        out.push(Output::Event(Event::Established(negotiated)));
        let refusals = self.rib.open(encoder);
        out.extend(refusals.into_iter().map(|refusal| Output::Event(Event::Refused(refusal))));
    }

    /// How attributes are encoded on this connection; `None` before its OPEN was accepted.
    pub(super) fn encoder(&self, index: usize) -> Option<Encoder> {
        let connection = &self.connections[index];
        let negotiated = connection.negotiated.as_ref()?;
        let own = connection.addresses;
        let configured = self.config.next_hops;
        let v6 = configured.v6.map(NextHop::V6).or_else(|| own?.v6());
        let v4 = configured.v4.map(NextHop::V4);
        // Asked for, so it goes over what the interface would give.
        let v4 = v4.or(v6.filter(|_| negotiated.extended_next_hop)).or_else(|| own?.v4());
        Some(Encoder {
            local_asn: self.config.local_asn,
            internal: self.config.is_internal(),
            four_octet: negotiated.four_octet,
            families: negotiated.families.clone(),
            next_hop_v4: v4,
            next_hop_v6: v6,
            extended_next_hop: negotiated.extended_next_hop,
            only_to_customer: self.config.role.is_some_and(|own| own.role.marks_only_to_customer()),
        })
    }

    fn update_received(&mut self, now: Instant, index: usize, frame: &Bytes, out: &mut Vec<Output>) {
        let four_octet = self.connections[index].negotiated.as_ref().is_some_and(|n| n.four_octet);
        match update::inspect(frame, four_octet, self.config.is_internal()) {
            Ok(inspected) => {
                self.counters.updates_received += 1;
                self.counters.prefixes_received += inspected.announced;
                self.counters.treated_as_withdraw += u64::from(inspected.treated_as_withdraw);
                self.counters.attributes_discarded += inspected.discarded;
                out.extend(inspected.end_of_rib.map(|family| Output::Event(Event::EndOfRibReceived(family))));
            }
            Err(notification) => self.reject(now, index, notification, out),
        }
    }

    fn refresh_requested(&mut self, index: usize, family: Family, out: &mut Vec<Output>) {
        let connection = &mut self.connections[index];
        if connection.negotiated.as_ref().is_some_and(|n| n.route_refresh && n.families.contains(&family)) {
            connection.refresh[family as usize] = RefreshState::Requested;
            out.push(Output::Event(Event::RefreshRequested(family)));
        }
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let send_hold = self.send_hold();
        let ids: Vec<ConnectionId> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            let Some(index) = self.index(id) else { continue };
            let connection = &mut self.connections[index];
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if due(connection.blocked_since.map(|since| since + send_hold)) {
                let notification = Notification::new(wire::SEND_HOLD_EXPIRED, 0);
                self.close(now, index, Some(notification), DownReason::SendHold(send_hold.as_secs()), out);
            } else if due(connection.hold) {
                if connection.phase == Phase::Opening {
                    let timeout = DownReason::Timeout(timer::CONNECT_TIMEOUT.as_secs());
                    self.close(now, index, None, timeout, out);
                } else {
                    self.reject(now, index, Notification::new(4, 0), out);
                }
            } else if let Phase::Held { until, .. } = connection.phase
                && until <= now
            {
                self.close_where(now, out, |other| other.id != id);
                self.confirm_held(now, out);
            } else if due(connection.keepalive) {
                connection.keepalive = None;
                if connection.control.is_empty() {
                    connection.control.push_back(wire::keepalive());
                }
            }
        }
    }

    /// Closes every connection of which `which` is true, as losers of a collision.
    fn close_where(&mut self, now: Instant, out: &mut Vec<Output>, which: impl Fn(&Connection) -> bool) {
        while let Some(index) = self.connections.iter().position(&which) {
            let notification = Notification::new(wire::CEASE, cease::COLLISION);
            self.close(now, index, Some(notification), DownReason::Collision, out);
        }
    }

    /// Forgets a connection, tells the driver, and sets when to try again.
    pub(super) fn close(
        &mut self,
        now: Instant,
        index: usize,
        notification: Option<Notification>,
        reason: DownReason,
        out: &mut Vec<Output>,
    ) {
        let connection = self.connections.remove(index);
        let farewell = match notification.filter(|_| connection.spoke()) {
            Some(notification) => {
                let mut farewell = BytesMut::new();
                connection.control.iter().for_each(|message| farewell.extend_from_slice(message));
                farewell.extend_from_slice(&notification.encode());
                farewell.freeze()
            }
            None => Bytes::new(),
        };
        let reset = matches!(reason, DownReason::SendHold(_));
        out.push(Output::Close { id: connection.id, farewell, reset });
        self.plan_retry(now, &connection, &reason);
        if connection.phase == Phase::Established {
            self.rib.close();
            self.counters.downs += 1;
            out.push(Output::Event(Event::Down(reason.clone())));
        } else if reason == DownReason::Collision {
            self.counters.collisions += 1;
        } else if reason != DownReason::Stopped {
            out.push(Output::Event(Event::AttemptFailed(reason.clone())));
        }
        if !matches!(reason, DownReason::Collision | DownReason::Replaced | DownReason::Stopped) {
            self.last_error = Some(reason);
        }
        self.confirm_held(now, out);
    }

    fn plan_retry(&mut self, now: Instant, lost: &Connection, reason: &DownReason) {
        if matches!(reason, DownReason::Stopped | DownReason::Replaced) || !self.started {
            return;
        }
        if *reason == DownReason::Collision {
            // The winner goes on; should it fail, its own loss plans the next dial. Where none is left, for example
            // as the neighbour closed it meanwhile, try again soon.
            self.dial_at = Some(now + timer::hold_down(&mut self.jitter, 1));
        } else if lost.phase == Phase::Opening && lost.direction == Direction::Dialled {
            self.counters.dial_failures += 1;
            self.dial_failures = self.dial_failures.saturating_add(1);
            let delay = timer::connect_delay(&mut self.jitter, self.dial_failures, self.config.connect_retry);
            self.dial_at = Some(now + delay);
        } else {
            if lost.established_at.is_some_and(|at| now.saturating_duration_since(at) >= timer::STABLE) {
                self.session_failures = 0;
            }
            self.session_failures = self.session_failures.saturating_add(1);
            self.dial_at = Some(now + timer::hold_down(&mut self.jitter, self.session_failures));
        }
    }

    /// Whether `transmit` would write something.
    pub(super) fn has_pending(&self, index: usize) -> bool {
        let connection = &self.connections[index];
        if !connection.control.is_empty() {
            return true;
        }
        connection.phase == Phase::Established
            && self.complete
            && Family::ALL.iter().any(|&family| {
                connection.end_of_rib[family as usize]
                    || connection.refresh[family as usize] != RefreshState::None
                    || !self.rib.is_settled(family)
            })
    }

    /// Notes since when something waits to be fetched, for the send hold timer (RFC 9687).
    pub(super) fn watch_backlog(&mut self, now: Instant) {
        for index in 0..self.connections.len() {
            let pending = self.has_pending(index);
            let blocked = &mut self.connections[index].blocked_since;
            *blocked = if pending { Some(blocked.unwrap_or(now)) } else { None };
        }
    }

    /// Writes the next message: control messages, then withdrawals, then each family's announcements and markers.
    pub(super) fn transmit_one(&mut self, index: usize, buf: &mut BytesMut) -> bool {
        if let Some(message) = self.connections[index].control.pop_front() {
            buf.extend_from_slice(&message);
            return true;
        }
        if self.connections[index].phase != Phase::Established || !self.complete {
            return false;
        }
        if Family::ALL.iter().any(|&family| self.withdraw_some(family, buf)) {
            return true;
        }
        Family::ALL.iter().any(|&family| self.announce_some(index, family, buf))
    }

    fn withdraw_some(&mut self, family: Family, buf: &mut BytesMut) -> bool {
        let Some(Written::Withdrawn(count)) = self.rib.write_withdrawal(family, buf) else { return false };
        self.counters.updates_sent += 1;
        self.counters.prefixes_withdrawn += count as u64;
        true
    }

    fn announce_some(&mut self, index: usize, family: Family, buf: &mut BytesMut) -> bool {
        let connection = &mut self.connections[index];
        let enhanced = connection.negotiated.as_ref().is_some_and(|n| n.enhanced_refresh);
        // The initial announcement ends first: a refresh asked for during it is answered after its End-of-RIB
        // (RFC 7313 §4.1).
        let end_of_rib = connection.end_of_rib[family as usize];
        if connection.refresh[family as usize] == RefreshState::Requested && !end_of_rib {
            connection.refresh[family as usize] = RefreshState::Sending;
            self.rib.refresh(family);
            self.counters.refreshes_answered += 1;
            if enhanced {
                buf.extend_from_slice(&wire::route_refresh(family, Refresh::Begin));
                return true;
            }
        }
        if let Some(Written::Announced(count)) = self.rib.write_announcement(family, buf) {
            self.counters.updates_sent += 1;
            self.counters.prefixes_announced += count as u64;
            return true;
        }
        let connection = &mut self.connections[index];
        if end_of_rib {
            update::end_of_rib(family, buf);
            connection.end_of_rib[family as usize] = false;
            let incomplete = connection.end_of_rib.contains(&true);
            self.restarting &= incomplete;
            // What the neighbour holds from now on is this process's, whose data path goes on between sessions.
            self.forwarding_preserved |= !incomplete;
            self.counters.updates_sent += 1;
            self.counters.end_of_ribs_sent += 1;
            return true;
        }
        if std::mem::take(&mut connection.refresh[family as usize]) == RefreshState::Sending && enhanced {
            buf.extend_from_slice(&wire::route_refresh(family, Refresh::End));
            return true;
        }
        false
    }
}

/// An established session may give way to a new connection: its neighbour announced graceful restart, and the
/// collision that may have come with its beginning is over.
fn replaceable(connection: &Connection, now: Instant) -> bool {
    connection.negotiated.as_ref().is_some_and(|negotiated| negotiated.graceful_restart)
        && connection
            .established_at
            .is_some_and(|at| now.saturating_duration_since(at) >= timer::COLLISION_TAIL)
}
