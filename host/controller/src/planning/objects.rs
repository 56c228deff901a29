//! Status of Bellhop's own objects: whether each is in force, and how much of a pool is used.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use bellhop_api::conditions::READY;
use bellhop_api::{
    AddressPoolStatus, Condition, ConditionStatus, DecisionPolicyStatus, POOL_RANGES_MAX, PoolUsage, Reason,
};
use bellhop_core::decision::FamilyUsage;
use bellhop_core::objects::AddressPool;
use bellhop_core::{Family, ObjectName, ObjectRef, Problem};
use bellhop_kubernetes::{Event, EventKind, Status, Version, WriteError};
use serde_json::{Value, json};

use super::{Planner, advertisements, peers, speaker_configs};
use crate::conditions::{Told, of_type};
use crate::sessions::PeerSessions;
use crate::write::{Answer, Write};

/// How often the numbers of one pool are written, at most.
const POOL_INTERVAL: Duration = Duration::from_secs(5);

/// What of a status matters.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Seen {
    pub(super) conditions: Vec<Condition>,
    /// Of a DecisionPolicy.
    pub(super) policy: Option<Box<DecisionPolicyStatus>>,
    /// Of a BGPPeer.
    pub(super) sessions: Option<PeerSessions>,
}

impl Seen {
    pub(super) fn of(version: &Version) -> Self {
        match &version.status {
            Status::Policy(status) => {
                let conditions = status.conditions.clone();
                Self { conditions, policy: Some(status.clone()), ..Self::default() }
            }
            Status::Peer(status) => {
                let conditions = status.conditions.clone();
                Self { conditions, sessions: peers::seen(status), ..Self::default() }
            }
            Status::Conditions(conditions) => Self { conditions: conditions.clone(), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// A status on its way.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Sent {
    /// How it stands once it is written.
    pub(super) seen: Seen,
    pub(super) pool: Option<AddressPoolStatus>,
    pub(super) event: Option<Event>,
}

impl Planner {
    /// Takes over how the pools stand.
    pub(super) fn take_pools(
        &mut self,
        pools: BTreeMap<ObjectName, Vec<FamilyUsage>>,
        problems: Vec<Problem>,
    ) {
        let changed = |name: &ObjectName| pools.get(name) != self.pools.get(name);
        let mut marked: Vec<ObjectRef> = pools
            .keys()
            .chain(self.pools.keys())
            .filter(|name| changed(name))
            .map(|name| ObjectRef::cluster("AddressPool", name.clone()))
            .collect();
        let mut by_object: BTreeMap<ObjectRef, Vec<Problem>> = BTreeMap::new();
        for problem in problems {
            by_object.entry(problem.object.clone()).or_default().push(problem);
        }
        if by_object != self.pool_problems {
            marked.extend(by_object.keys().chain(self.pool_problems.keys()).cloned());
            self.pool_problems = by_object;
        }
        self.pools = pools;
        for object in marked {
            self.objects.mark(&object);
        }
    }

    /// The next object whose status is to be written.
    pub(super) fn next_object(&mut self, now: Instant) -> Option<(ObjectRef, Sent, Write)> {
        while let Some(object) = self.objects.next(now) {
            let status = match &*object.kind {
                "AddressPool" => self.pool_status(now, &object),
                "AddressClaim" => self.claim_status(&object),
                "Advertisement" | "BFDProfile" | "SpeakerConfig" => self.ready_status(&object),
                "BGPPeer" => self.peer_status(&object),
                "DecisionPolicy" => self.policy_status(&object),
                _ => None,
            };
            let Some((sent, status)) = status else { continue };
            let Some(known) = self.objects.of(&object) else { continue };
            let write = Write::Status { object: object.clone(), at: known.condition(), status };
            self.objects.sent(&object);
            return Some((object, sent, write));
        }
        None
    }

    /// What is wrong with an object, by its source, by the ledger, and beside other objects.
    pub(super) fn problems_of(&self, object: &ObjectRef) -> Vec<Problem> {
        let problems = self.world.problems().get(object).into_iter().flatten();
        let mut problems: Vec<Problem> =
            problems.chain(self.pool_problems.get(object).into_iter().flatten()).cloned().collect();
        if &*object.kind == "BGPPeer" {
            let peer = self.world.peers().get(&object.name);
            problems.extend(peer.and_then(|peer| self.peer_troubles.of(peer, object)));
            problems.extend(peer.and_then(|peer| peers::unknown_profile(&self.world, peer)));
        }
        if &*object.kind == "Advertisement"
            && let Some(advertisement) = self.world.advertisements().get(&object.name)
        {
            problems.extend(advertisements::problems(&self.world, advertisement));
        }
        if &*object.kind == "SpeakerConfig"
            && let Some(config) = self.world.speaker_configs().get(&object.name)
        {
            problems.extend(speaker_configs::duplicate_router_id(&self.world, config));
        }
        problems
    }

    /// The condition Ready that an object should have, and the Event where it stops or begins to hold.
    pub(super) fn ready(&self, object: &ObjectRef) -> Option<(Condition, Option<Event>)> {
        let known = self.objects.of(object)?;
        let told = Told::wrong(&self.problems_of(object)).unwrap_or_else(|| {
            let peer = self.world.peers().get(&object.name).filter(|_| &*object.kind == "BGPPeer");
            let more = peer.and_then(|peer| peers::trade_off(peer)).unwrap_or_default();
            Told::new(ConditionStatus::True, Reason::Ready.as_str(), format!("valid and in force{more}"))
        });
        let before = of_type(&known.seen.conditions, READY);
        let condition = told.condition(READY, known.generation, &known.seen.conditions, &self.now_text);
        let moved = match before {
            Some(before) => before.status != condition.status,
            None => condition.status == ConditionStatus::False,
        };
        let event = moved.then(|| self.object_event(object, &condition));
        Some((condition, event))
    }

    fn object_event(&self, object: &ObjectRef, condition: &Condition) -> Event {
        let (kind, reason) = match condition.status {
            ConditionStatus::True => (EventKind::Normal, Reason::Ready),
            _ => (EventKind::Warning, Reason::Refused),
        };
        Event {
            regarding: object.clone(),
            uid: self.objects.of(object).map(|known| known.uid.clone()),
            kind,
            reason: reason.as_str(),
            action: "Check",
            note: condition.message.clone(),
        }
    }

    fn ready_status(&self, object: &ObjectRef) -> Option<(Sent, Value)> {
        let (ready, event) = self.ready(object)?;
        let known = self.objects.of(object)?;
        if of_type(&known.seen.conditions, READY) == Some(&ready) {
            return None;
        }
        let conditions = vec![ready];
        let status = json!({ "conditions": conditions });
        Some((Sent { seen: Seen { conditions, ..Seen::default() }, pool: None, event }, status))
    }

    /// Of a claim, only that it is wrong is written, and that it no longer is: one more write for each address would
    /// be as much as all others together.
    fn claim_status(&self, object: &ObjectRef) -> Option<(Sent, Value)> {
        let known = self.objects.of(object)?;
        if of_type(&known.seen.conditions, READY).is_none() && self.problems_of(object).is_empty() {
            return None;
        }
        self.ready_status(object)
    }

    fn pool_status(&mut self, now: Instant, object: &ObjectRef) -> Option<(Sent, Value)> {
        let (ready, event) = self.ready(object)?;
        let known = self.objects.of(object)?;
        let mut status = match self.ledger.pool(&object.name) {
            Some(pool) => usage(pool, self.pools.get(&object.name).map_or(&[], Vec::as_slice)),
            None => AddressPoolStatus::default(),
        };
        let same = of_type(&known.seen.conditions, READY) == Some(&ready);
        status.conditions = vec![ready];
        if let Some((before, at)) = self.written_pools.get(&object.name)
            && same
        {
            if *before == status {
                return None;
            }
            let due = *at + POOL_INTERVAL;
            if now < due {
                self.objects.mark_at(due, object);
                return None;
            }
        }
        self.written_pools.insert(object.name.clone(), (status.clone(), now));
        let value = serde_json::to_value(&status).ok()?;
        let seen = Seen { conditions: status.conditions.clone(), ..Seen::default() };
        Some((Sent { seen, pool: Some(status), event }, value))
    }

    pub(super) fn finished_object(
        &mut self,
        now: Instant,
        object: &ObjectRef,
        sent: Sent,
        result: Result<Answer, WriteError>,
    ) {
        match result {
            Ok(Answer::Stored(stored)) => {
                let before = self.objects.of(object).and_then(|known| known.seen.policy.clone());
                if self.objects.stored(object, &stored)
                    && let Some(seen) = self.objects.seen_mut(object)
                {
                    *seen = sent.seen.clone();
                }
                self.events.extend(sent.event);
                if let Some(after) = &sent.seen.policy {
                    self.version_written(object, before.as_deref(), after);
                }
            }
            Ok(_) => {}
            Err(error) => {
                if sent.pool.is_some() {
                    self.written_pools.remove(&object.name);
                }
                self.objects.failed(now, object, &error);
            }
        }
    }
}

/// Ranges and usage of a pool in force.
fn usage(pool: &AddressPool, usage: &[FamilyUsage]) -> AddressPoolStatus {
    let ranges = ranges_in_force(pool);
    let of = |family: Family| {
        let mut sizes = ranges.iter().filter(|(first, _)| Family::of(*first) == family);
        let capacity = sizes.by_ref().fold(None, |sum: Option<u128>, (first, last)| {
            let size = (number(*last) - number(*first)).saturating_add(1);
            Some(sum.unwrap_or(0).saturating_add(size))
        })?;
        let used = usage.iter().find(|usage| usage.family == family).map_or(0, |usage| usage.used);
        Some(PoolUsage::new(capacity, u128::from(used)))
    };
    let shown = ranges
        .iter()
        .take(POOL_RANGES_MAX)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    AddressPoolStatus {
        ranges: shown.collect(),
        ipv4: of(Family::Ipv4),
        ipv6: of(Family::Ipv6),
        conditions: Vec::new(),
    }
}

/// The ranges of a pool without what is excluded, sorted, joined where they touch.
fn ranges_in_force(pool: &AddressPool) -> Vec<(IpAddr, IpAddr)> {
    let mut shown: Vec<(IpAddr, IpAddr)> = Vec::new();
    for family in Family::ALL {
        let mut ranges: Vec<(u128, u128)> = pool
            .ranges
            .iter()
            .filter(|range| range.family() == family)
            .map(|range| (number(range.first()), number(range.last())))
            .collect();
        for exclude in pool.exclude.iter().filter(|range| range.family() == family) {
            let (first, last) = (number(exclude.first()), number(exclude.last()));
            ranges = ranges
                .into_iter()
                .flat_map(|(from, to)| {
                    let below = (from < first).then(|| (from, to.min(first.saturating_sub(1))));
                    let above = (to > last).then(|| (from.max(last.saturating_add(1)), to));
                    [below, above]
                })
                .flatten()
                .collect();
        }
        ranges.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::new();
        for (from, to) in ranges {
            match joined.last_mut() {
                Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
                _ => joined.push((from, to)),
            }
        }
        shown.extend(joined.into_iter().map(|(from, to)| (address(family, from), address(family, to))));
    }
    shown
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // Made from an IPv4 address by `number`.
        Family::Ipv4 => Ipv4Addr::from(number as u32).into(),
        Family::Ipv6 => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use bellhop_core::objects::AddressRange;

    use super::*;

    fn range(text: &str) -> AddressRange {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_pool_shows_its_ranges_without_what_is_excluded_and_joined_where_they_touch() {
        let pool = AddressPool {
            name: "a".into(),
            labels: Default::default(),
            ranges: [
                "203.0.113.8-203.0.113.15",
                "203.0.113.0-203.0.113.7",
                "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ]
            .map(range)
            .to_vec(),
            exclude: ["203.0.113.4-203.0.113.5", "203.0.113.15", "203.0.113.200", "::", "2001:db8::1"]
                .map(range)
                .to_vec(),
            auto_assign: true,
            priority: 0,
            namespace_selector: None,
            service_selector: None,
        };
        let used = FamilyUsage { family: Family::Ipv4, used: 3, free: 10 };
        let status = usage(&pool, &[used]);
        assert_eq!(
            status.ranges,
            [
                "203.0.113.0-203.0.113.3",
                "203.0.113.6-203.0.113.14",
                "::1-2001:db8::",
                "2001:db8::2-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            ]
        );
        assert_eq!(status.ipv4, Some(PoolUsage { capacity: 13, used: 3, free: 10 }));
        assert_eq!(status.ipv6, Some(PoolUsage::new(u128::MAX, 0)));
    }
}
