//! Services' status: what it should say, compared with what it says.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bellhop_api::conditions::{ALLOCATED, ANNOUNCED};
use bellhop_api::{Condition, ConditionStatus, Reason};
use bellhop_core::{ObjectRef, ServiceKey};
use bellhop_ipam::Allocation;
use bellhop_kubernetes::{Event, EventKind, WriteError};
use serde_json::{Value, json};

use super::{ANNOUNCED_INTERVAL, Planner, ServiceSeen};
use crate::conditions::{Told, of_type};
use crate::write::{Answer, Write};

/// Reason of the Event that an address was given up.
pub(super) const RELEASED: Reason = Reason::ClaimReleased;

/// How long after this process came to lead a Service is not said to be announced no more: as long as a speaker's Lease
/// lasts, since whether it is renewed is not known before.
const LEASES_KNOWN: Duration = Duration::from_secs(45);

/// How long a Service that just got its address is not said to be announced nowhere: speakers report every 5 s, in large
/// clusters less often.
const FIRST_REPORT: Duration = Duration::from_secs(15);

/// A status on its way.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Sent {
    /// How the status stands once it is written.
    seen: ServiceSeen,
    event: Option<Event>,
}

/// What a Service's status should be.
enum Wish {
    /// Something has to come about first.
    Wait,
    /// Nothing of ours.
    Nothing,
    /// These addresses, and whether that is all that it asks for.
    Status(Vec<IpAddr>, Told),
}

/// True where a status has something that only this controller writes.
pub(super) fn is_ours(conditions: &[Condition]) -> bool {
    [ALLOCATED, ANNOUNCED].iter().any(|type_| of_type(conditions, type_).is_some())
}

impl Planner {
    /// The next Service whose status is to be written.
    pub(super) fn next_service(&mut self, now: Instant) -> Option<(ServiceKey, Sent, Write)> {
        while let Some(key) = self.services.next(now) {
            let wish = self.wish(&key);
            if matches!(wish, Wish::Nothing) {
                self.waiting.forget(&key);
            }
            let Some((sent, status)) = self.service_status(&key, wish) else { continue };
            let Some(known) = self.services.of(&key) else { continue };
            let object = ObjectRef::namespaced("Service", &key);
            let write = Write::Status { object, at: known.condition(), status };
            self.services.sent(&key);
            return Some((key, sent, write));
        }
        None
    }

    /// What is to be written; `None` where everything stands as it should, or nothing can be said yet.
    fn service_status(&self, key: &ServiceKey, wish: Wish) -> Option<(Sent, Value)> {
        let known = self.services.of(key)?;
        let before = &known.seen;
        let (ingress, allocated) = match wish {
            Wish::Wait => return None,
            Wish::Nothing if is_ours(&before.conditions) => {
                let seen = ServiceSeen { ingress: Vec::new(), conditions: Vec::new() };
                return Some((Sent { seen, event: None }, json!({})));
            }
            Wish::Nothing => return None,
            Wish::Status(ingress, allocated) => (ingress, allocated),
        };
        let mut conditions =
            vec![allocated.condition(ALLOCATED, known.generation, &before.conditions, &self.now_text)];
        if !ingress.is_empty() {
            let announced =
                self.announced.get(key).cloned().map(|told| {
                    told.condition(ANNOUNCED, known.generation, &before.conditions, &self.now_text)
                });
            conditions.extend(announced.or_else(|| of_type(&before.conditions, ANNOUNCED).cloned()));
        }
        let seen = ServiceSeen { ingress, conditions };
        let same = [ALLOCATED, ANNOUNCED]
            .iter()
            .all(|type_| of_type(&seen.conditions, type_) == of_type(&before.conditions, type_));
        if same && seen.ingress == before.ingress {
            return None;
        }
        let ingress: Vec<Value> =
            seen.ingress.iter().map(|address| json!({ "ip": address, "ipMode": "VIP" })).collect();
        let status = json!({ "loadBalancer": { "ingress": ingress }, "conditions": seen.conditions });
        let event = self.allocation_event(key, before, &seen);
        Some((Sent { seen, event }, status))
    }

    fn wish(&self, key: &ServiceKey) -> Wish {
        let Some(known) = self.services.of(key) else { return Wish::Wait };
        let problems = self.world.problems().get(&ObjectRef::namespaced("Service", key));
        let wrong = problems.and_then(|problems| Told::wrong(problems));
        let Some(service) = self.world.services().get(key) else {
            // Its first version is wrong already; there was none that could stay in force. What it holds it keeps.
            let held = self.world.claims_of(&known.uid).map(|claim| claim.address);
            return match wrong {
                Some(told) => Wish::Status(held.collect(), told),
                None => Wish::Wait,
            };
        };
        if service.uid != known.uid {
            return Wish::Wait;
        }
        if !service.wants_address || service.deleting {
            return Wish::Nothing;
        }
        let Some(outcome) = self.ledger.outcomes().get(key) else { return Wish::Wait };
        let listed = known.seen.ingress.iter().filter(|address| !outcome.addresses.contains(address));
        if is_ours(&known.seen.conditions) && listed.copied().any(|address| self.claims.is_in_flight(address))
        {
            // Another controller may have claimed it for this Service; the answer on its way will tell.
            return Wish::Wait;
        }
        let confirmed = |address: &IpAddr| self.claims.confirmed(*address, &known.uid);
        let missing = outcome.addresses.iter().find(|address| !confirmed(address));
        let refused = missing.and_then(|address| Some((address, self.claims.refused(*address)?)));
        match (missing, refused) {
            (Some(_), None) => Wish::Wait,
            (_, Some((address, words))) => {
                let message = format!("the claim of {address} is refused: {words}");
                let told = Told::new(ConditionStatus::False, Reason::ClaimNotWritten.as_str(), message);
                // What it is served by stays while a claim that was lost cannot be made again.
                let stands = is_ours(&known.seen.conditions);
                let keeps = |a: &&IpAddr| confirmed(a) || (stands && known.seen.ingress.contains(a));
                Wish::Status(outcome.addresses.iter().filter(keeps).copied().collect(), told)
            }
            (None, None) => Wish::Status(outcome.addresses.clone(), wrong.unwrap_or_else(|| told(outcome))),
        }
    }

    /// The Event of an allocation that came about or failed; `None` where nothing changed.
    fn allocation_event(&self, key: &ServiceKey, before: &ServiceSeen, after: &ServiceSeen) -> Option<Event> {
        let (before, after) =
            (of_type(&before.conditions, ALLOCATED), of_type(&after.conditions, ALLOCATED)?);
        if before.is_some_and(|before| (before.status, &before.reason) == (after.status, &after.reason)) {
            return None;
        }
        let (kind, reason) = match after.status {
            ConditionStatus::True => (EventKind::Normal, Reason::Allocated),
            _ => (EventKind::Warning, Reason::AllocationFailed),
        };
        Some(self.service_event(key, kind, reason, after.message.clone()))
    }

    fn service_event(&self, key: &ServiceKey, kind: EventKind, reason: Reason, note: String) -> Event {
        Event {
            regarding: ObjectRef::namespaced("Service", key),
            uid: self.services.of(key).map(|known| known.uid.clone()),
            kind,
            reason: reason.as_str(),
            action: "Allocate",
            note,
        }
    }

    /// Records an Event of a Service that exists.
    pub(super) fn event_of_service(&mut self, key: &ServiceKey, reason: Reason, note: String) {
        if self.services.of(key).is_some() {
            let event = self.service_event(key, EventKind::Normal, reason, note);
            self.events.push(event);
        }
    }

    pub(super) fn finished_service(
        &mut self,
        now: Instant,
        key: &ServiceKey,
        sent: Sent,
        result: Result<Answer, WriteError>,
    ) {
        match result {
            Ok(Answer::Stored(stored)) => {
                if !sent.seen.ingress.is_empty() {
                    self.waiting.served(now, key);
                }
                if self.services.stored(key, &stored) {
                    let nowhere = of_type(&sent.seen.conditions, ANNOUNCED).is_none();
                    if nowhere && !sent.seen.ingress.is_empty() {
                        self.expected.entry(key.clone()).or_insert(now);
                        self.compare_announcements(now);
                    }
                    if let Some(seen) = self.services.seen_mut(key) {
                        *seen = sent.seen;
                    }
                    self.announced.remove(key);
                }
                self.events.extend(sent.event);
                self.claims.unblock(key);
            }
            Ok(_) => {}
            Err(error) => {
                let new = self.services.of(key).is_some_and(|known| known.refused.is_none());
                self.services.failed(now, key, &error);
                if new && self.services.of(key).is_some_and(|known| known.refused.is_some()) {
                    let note = format!("its status cannot be written: {error}");
                    let event = self.service_event(key, EventKind::Warning, Reason::StatusNotWritten, note);
                    self.events.push(event);
                }
            }
        }
    }

    /// From when on it is known which speakers live; `None` for a standby.
    pub(super) fn leases_known(&self) -> Option<Instant> {
        self.leading_since.map(|since| since + LEASES_KNOWN)
    }

    /// Announcements changed: they are compared soon, with whatever else changes until then.
    pub(super) fn compare_announcements(&mut self, now: Instant) {
        self.announced_due.get_or_insert(now + ANNOUNCED_INTERVAL);
    }

    /// Compares what is announced with what Services' conditions say. Written is a change between no node and at least
    /// one, or of the reason why none does.
    pub(super) fn compare_announced(&mut self, now: Instant) {
        let leases_known = self.leases_known().is_some_and(|known| known <= now);
        let mut again = None;
        let mut changed = Vec::new();
        for (key, known) in self.services.iter() {
            if known.seen.ingress.is_empty() || of_type(&known.seen.conditions, ALLOCATED).is_none() {
                continue;
            }
            let Some(told) = self.announcements.told(key, &known.seen.ingress) else { continue };
            let before = of_type(&known.seen.conditions, ANNOUNCED);
            if before.is_some_and(|before| (before.status, &before.reason) == (told.status, &told.reason)) {
                self.announced.remove(key);
                continue;
            }
            if told.status == ConditionStatus::False {
                let since = *self.expected.entry(key.clone()).or_insert(now);
                let wait = match before {
                    None if now < since + FIRST_REPORT => Some(since + FIRST_REPORT),
                    Some(_) if !leases_known => Some(now + ANNOUNCED_INTERVAL),
                    _ => None,
                };
                if let Some(at) = wait {
                    again = Some(again.map_or(at, |again: Instant| again.min(at)));
                    continue;
                }
            }
            changed.push((key.clone(), told));
        }
        for (key, told) in changed {
            self.expected.remove(&key);
            self.announced.insert(key.clone(), told);
            self.services.mark(&key);
        }
        if let Some(at) = again {
            self.announced_due = Some(at.max(now + ANNOUNCED_INTERVAL));
        }
    }
}

/// What is to be said of an outcome whose addresses are all claimed.
fn told(outcome: &Allocation) -> Told {
    if let Some(problem) = &outcome.waiting {
        return Told::new(ConditionStatus::False, &problem.reason, problem.told());
    }
    let addresses: Vec<String> = outcome.addresses.iter().map(ToString::to_string).collect();
    let warnings: Vec<String> = outcome.warnings.iter().map(|warning| warning.told()).collect();
    let reason = outcome.warnings.first().map_or(Reason::Allocated.as_str(), |warning| &warning.reason);
    let mut message = format!("has {}", addresses.join(", "));
    for warning in warnings {
        message.push_str("; ");
        message.push_str(&warning);
    }
    Told::new(ConditionStatus::True, reason, message)
}
