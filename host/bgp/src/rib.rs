//! Adj-RIB-Out: what a neighbour should have, what it has, and the shortest way from one to the other.
//!
//! Each prefix has a `want` and a `sent`, both an interned attribute set; the difference is kept as two indexes (to
//! withdraw; to announce, by attribute set), so that a flush never looks at what is settled, routes with equal
//! attributes share UPDATEs, and a flap that ends where it began leaves nothing to send. What the neighbour has in another
//! form goes before what is new to it, as only the latter counts against a limit of prefixes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bellhop_core::{Family, RouteAttributes};
use bytes::BytesMut;
use ipnet::IpNet;

use crate::error::{Refusal, RefusalReason, RefusedRoutes};
use crate::wire::attributes::{Encoded, Encoder};
use crate::wire::update;

/// An interned attribute set; small, so that a route costs little.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct SetId(u32);

/// Interned attribute sets, each with the number of slots that refer to it and its encodings for the session.
#[derive(Default, Debug)]
struct Interner {
    ids: HashMap<Arc<RouteAttributes>, SetId>,
    sets: Vec<Option<Set>>,
    free: Vec<SetId>,
}

#[derive(Debug)]
struct Set {
    attributes: Arc<RouteAttributes>,
    references: u32,
    encoded: [Option<Result<Encoded, RefusalReason>>; 2],
}

impl Interner {
    /// The set's identity, with one more reference to it.
    fn acquire(&mut self, attributes: Arc<RouteAttributes>) -> SetId {
        let attributes = normalised(attributes);
        if let Some(&id) = self.ids.get(&attributes) {
            self.retain(id);
            return id;
        }
        let set = Set { attributes: attributes.clone(), references: 1, encoded: [None, None] };
        let id = match self.free.pop() {
            Some(id) => {
                self.sets[id.0 as usize] = Some(set);
                id
            }
            None => {
                self.sets.push(Some(set));
                // Four billion attribute sets do not fit any memory.
                SetId(u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.ids.insert(attributes, id);
        id
    }

    fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id.0 as usize)?.as_ref()
    }

    fn set_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.sets.get_mut(id.0 as usize)?.as_mut()
    }

    fn retain(&mut self, id: SetId) {
        if let Some(set) = self.set_mut(id) {
            set.references += 1;
        }
    }

    fn release(&mut self, id: SetId) {
        let Some(set) = self.set_mut(id) else { return };
        set.references -= 1;
        if set.references == 0 {
            let attributes = set.attributes.clone();
            self.ids.remove(&attributes);
            self.sets[id.0 as usize] = None;
            self.free.push(id);
        }
    }

    /// Encodes a set for a family unless it is; the refusal is returned the first time only.
    fn prepare(&mut self, id: SetId, family: Family, encoder: &Encoder) -> Option<Refusal> {
        let set = self.set_mut(id)?;
        let place = &mut set.encoded[family as usize];
        if place.is_some() {
            return None;
        }
        let encoded = encoder.encode(&set.attributes, family);
        let refusal = encoded.as_ref().err().map(|&reason| Refusal { family, reason });
        *place = Some(encoded);
        refusal
    }

    fn forget_encodings(&mut self) {
        for set in self.sets.iter_mut().flatten() {
            set.encoded = [None, None];
        }
    }

    fn encoded(&self, id: SetId, family: Family) -> Option<&Result<Encoded, RefusalReason>> {
        self.set(id)?.encoded[family as usize].as_ref()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.ids.len()
    }
}

/// The attributes with sorted lists without duplicates; no copy where they are so already.
fn normalised(attributes: Arc<RouteAttributes>) -> Arc<RouteAttributes> {
    fn ascends<T: Ord>(list: &[T]) -> bool {
        list.is_sorted_by(|a, b| a < b)
    }
    if ascends(&attributes.communities)
        && ascends(&attributes.large_communities)
        && ascends(&attributes.extended_communities)
    {
        attributes
    } else {
        Arc::new(Arc::unwrap_or_clone(attributes).normalised())
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    want: Option<SetId>,
    sent: Option<SetId>,
    /// Sent, and to be sent again: for a route refresh or a changed next hop.
    stale: bool,
}

/// What a slot asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    Withdraw,
    /// The neighbour does not have it.
    First(SetId),
    /// The neighbour has it otherwise, or is to have it once more.
    Again(SetId),
}

impl Slot {
    fn pending(self) -> Pending {
        match (self.want, self.sent) {
            (None, None) => Pending::Nothing,
            (None, Some(_)) => Pending::Withdraw,
            (Some(want), sent) if sent == Some(want) && !self.stale => Pending::Nothing,
            (Some(want), None) => Pending::First(want),
            (Some(want), Some(_)) => Pending::Again(want),
        }
    }
}

/// What an UPDATE did, and to how many prefixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Written {
    Withdrawn(usize),
    Announced(usize),
}

/// The Adj-RIB-Out of one peer. It outlives sessions: what is wanted stays, what was sent is forgotten.
#[derive(Default, Debug)]
pub(crate) struct AdjRibOut {
    slots: BTreeMap<IpNet, Slot>,
    sets: Interner,
    withdraw: [BTreeSet<IpNet>; 2],
    again: [Groups; 2],
    first: [Groups; 2],
    wanted: [usize; 2],
    sent: [usize; 2],
    /// Most prefixes of a family that the neighbour may have.
    limit: Option<u32>,
    encoder: Option<Encoder>,
}

/// Prefixes by attribute set.
type Groups = BTreeMap<SetId, BTreeSet<IpNet>>;

impl AdjRibOut {
    /// Wants a prefix with these attributes, or not at all. The refusal tells, once per session and attribute set,
    /// that the session cannot carry it.
    pub(crate) fn set(&mut self, prefix: IpNet, attributes: Option<Arc<RouteAttributes>>) -> Option<Refusal> {
        let prefix = prefix.trunc();
        let want = attributes.map(|attributes| self.sets.acquire(attributes));
        let mut slot = self.slots.get(&prefix).copied().unwrap_or_default();
        let before = slot.pending();
        let family = Family::of_net(prefix);
        let wanted = &mut self.wanted[family as usize];
        let was_over = self.limit.is_some_and(|limit| *wanted > limit as usize);
        match (slot.want, want) {
            (None, Some(_)) => *wanted += 1,
            (Some(_), None) => *wanted -= 1,
            _ => {}
        }
        if let Some(old) = std::mem::replace(&mut slot.want, want) {
            self.sets.release(old);
        }
        let after = slot.pending();
        self.store(prefix, slot);
        if before == after {
            return None;
        }
        self.unindex(prefix, before);
        self.index(prefix, after).or_else(|| self.over_limit(family).filter(|_| !was_over))
    }

    /// Takes another limit, and tells what it holds back. What the neighbour has stays, also above it.
    pub(crate) fn limit(&mut self, limit: Option<u32>) -> Vec<Refusal> {
        if std::mem::replace(&mut self.limit, limit) == limit {
            return Vec::new();
        }
        Family::ALL.into_iter().filter_map(|family| self.over_limit(family)).collect()
    }

    fn over_limit(&self, family: Family) -> Option<Refusal> {
        let limit = self.limit.filter(|limit| self.wanted[family as usize] > *limit as usize)?;
        self.encoder.as_ref()?;
        Some(Refusal { family, reason: RefusalReason::LimitReached(limit) })
    }

    /// How many prefixes of a family the neighbour may still be given.
    fn room(&self, family: Family) -> usize {
        self.limit.map_or(usize::MAX, |limit| (limit as usize).saturating_sub(self.sent[family as usize]))
    }

    /// Every prefix wanted.
    pub(crate) fn wanted_prefixes(&self) -> Vec<IpNet> {
        self.slots.iter().filter(|(_, slot)| slot.want.is_some()).map(|(prefix, _)| *prefix).collect()
    }

    /// A session begins: everything wanted is to be sent, encoded for it.
    pub(crate) fn open(&mut self, encoder: Encoder) -> Vec<Refusal> {
        debug_assert_eq!(self.sent, [0; 2]);
        self.sets.forget_encodings();
        self.encoder = Some(encoder);
        let mut refusals = self.prepare_all();
        refusals.extend(Family::ALL.into_iter().filter_map(|family| self.over_limit(family)));
        refusals
    }

    /// The session is over: nothing counts as sent.
    pub(crate) fn close(&mut self) {
        self.encoder = None;
        self.sets.forget_encodings();
        let prefixes: Vec<(IpNet, Slot)> =
            self.slots.iter().filter(|(_, slot)| slot.sent.is_some()).map(|(p, s)| (*p, *s)).collect();
        for (prefix, mut slot) in prefixes {
            self.unindex(prefix, slot.pending());
            if let Some(sent) = slot.sent.take() {
                self.sets.release(sent);
            }
            slot.stale = false;
            self.store(prefix, slot);
            self.index(prefix, slot.pending());
        }
        self.sent = [0; 2];
    }

    /// The session goes on with another encoding, for example after a change of the next hop: everything is sent again.
    pub(crate) fn encode_anew(&mut self, encoder: Encoder) -> Vec<Refusal> {
        if self.encoder.as_ref() == Some(&encoder) {
            return Vec::new();
        }
        self.sets.forget_encodings();
        self.encoder = Some(encoder);
        for family in Family::ALL {
            self.refresh(family);
        }
        self.prepare_all()
    }

    /// Everything of a family is to be sent again (RFC 2918).
    pub(crate) fn refresh(&mut self, family: Family) {
        let prefixes: Vec<(IpNet, Slot)> = self
            .slots
            .iter()
            .filter(|(prefix, slot)| {
                Family::of_net(**prefix) == family && slot.want.is_some() && slot.sent.is_some()
            })
            .map(|(prefix, slot)| (*prefix, *slot))
            .collect();
        for (prefix, mut slot) in prefixes {
            self.unindex(prefix, slot.pending());
            slot.stale = true;
            self.store(prefix, slot);
            self.index(prefix, slot.pending());
        }
    }

    /// Nothing of this family can be sent now: all is sent, or refused.
    pub(crate) fn is_settled(&self, family: Family) -> bool {
        self.withdraw[family as usize].is_empty() && self.next_group(family).is_none()
    }

    /// Writes an UPDATE that withdraws as much of a family as fits.
    pub(crate) fn write_withdrawal(&mut self, family: Family, buf: &mut BytesMut) -> Option<Written> {
        let pending = &self.withdraw[family as usize];
        if self.encoder.is_none() || pending.is_empty() {
            return None;
        }
        let taken = update::withdraw(family, pending.iter().copied(), buf);
        for prefix in &taken {
            self.mark_sent(*prefix, None);
        }
        Some(Written::Withdrawn(taken.len()))
    }

    /// Writes an UPDATE that announces as much of a family's next attribute set as fits.
    pub(crate) fn write_announcement(&mut self, family: Family, buf: &mut BytesMut) -> Option<Written> {
        self.encoder.as_ref()?;
        let (id, encoded, prefixes, room) = self.next_group(family)?;
        let taken = update::announce(family, encoded, prefixes.iter().copied().take(room), buf);
        for prefix in &taken {
            self.mark_sent(*prefix, Some(id));
        }
        Some(Written::Announced(taken.len()))
    }

    /// Prefixes wanted.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.iter().sum()
    }

    /// Prefixes the neighbour has.
    pub(crate) fn sent(&self) -> usize {
        self.sent.iter().sum()
    }

    /// What the neighbour has.
    pub(crate) fn routes_sent(&self) -> impl Iterator<Item = (IpNet, Arc<RouteAttributes>)> + '_ {
        self.slots
            .iter()
            .filter_map(|(prefix, slot)| Some((*prefix, self.sets.set(slot.sent?)?.attributes.clone())))
    }

    /// What is wanted.
    pub(crate) fn routes_wanted(&self) -> impl Iterator<Item = (IpNet, Arc<RouteAttributes>)> + '_ {
        self.slots
            .iter()
            .filter_map(|(prefix, slot)| Some((*prefix, self.sets.set(slot.want?)?.attributes.clone())))
    }

    /// What this session cannot carry.
    pub(crate) fn refused(&self) -> Vec<RefusedRoutes> {
        let mut refused: BTreeMap<Refusal, (usize, IpNet)> = BTreeMap::new();
        let mut count = |family, reason, prefixes: &BTreeSet<IpNet>| {
            let Some(&first) = prefixes.first() else { return };
            let (count, least) = refused.entry(Refusal { family, reason }).or_insert((0, first));
            *count += prefixes.len();
            *least = first.min(*least);
        };
        for family in Family::ALL {
            let (first, again) = (&self.first[family as usize], &self.again[family as usize]);
            for (id, prefixes) in first.iter().chain(again) {
                if let Some(Err(reason)) = self.sets.encoded(*id, family) {
                    count(family, *reason, prefixes);
                }
            }
            if let Some(limit) = self.limit.filter(|_| self.room(family) == 0) {
                let held_back =
                    first.iter().filter(|(id, _)| matches!(self.sets.encoded(**id, family), Some(Ok(_))));
                held_back
                    .for_each(|(_, prefixes)| count(family, RefusalReason::LimitReached(limit), prefixes));
            }
        }
        let routes = |(refusal, (prefixes, first))| RefusedRoutes { refusal, prefixes, first };
        refused.into_iter().map(routes).collect()
    }

    /// Attribute sets held.
    #[cfg(test)]
    pub(crate) fn attribute_sets(&self) -> usize {
        self.sets.len()
    }

    /// The first attribute set of a family with routes to announce that the session can carry, and how many of them may be
    /// announced.
    fn next_group(&self, family: Family) -> Option<(SetId, &Encoded, &BTreeSet<IpNet>, usize)> {
        let room = self.room(family);
        let again = self.again[family as usize].iter().map(|group| (group, usize::MAX));
        let first = self.first[family as usize].iter().map(|group| (group, room)).filter(|_| room > 0);
        again.chain(first).find_map(|((id, prefixes), room)| match self.sets.encoded(*id, family) {
            Some(Ok(encoded)) => Some((*id, encoded, prefixes, room)),
            _ => None,
        })
    }

    fn prepare_all(&mut self) -> Vec<Refusal> {
        let Some(encoder) = &self.encoder else { return Vec::new() };
        let mut refusals = BTreeSet::new();
        for family in Family::ALL {
            let [first, again] = [&self.first[family as usize], &self.again[family as usize]];
            for &id in first.keys().chain(again.keys()) {
                refusals.extend(self.sets.prepare(id, family, encoder));
            }
        }
        refusals.into_iter().collect()
    }

    fn mark_sent(&mut self, prefix: IpNet, set: Option<SetId>) {
        let Some(mut slot) = self.slots.get(&prefix).copied() else { return };
        self.unindex(prefix, slot.pending());
        let sent = &mut self.sent[Family::of_net(prefix) as usize];
        match (slot.sent, set) {
            (None, Some(_)) => *sent += 1,
            (Some(_), None) => *sent -= 1,
            _ => {}
        }
        if let Some(id) = set {
            self.sets.retain(id);
        }
        if let Some(old) = std::mem::replace(&mut slot.sent, set) {
            self.sets.release(old);
        }
        slot.stale = false;
        self.store(prefix, slot);
    }

    fn store(&mut self, prefix: IpNet, slot: Slot) {
        if slot.want.is_none() && slot.sent.is_none() {
            self.slots.remove(&prefix);
        } else {
            self.slots.insert(prefix, slot);
        }
    }

    fn unindex(&mut self, prefix: IpNet, pending: Pending) {
        let family = Family::of_net(prefix);
        let (id, groups) = match pending {
            Pending::Nothing => return,
            Pending::Withdraw => {
                self.withdraw[family as usize].remove(&prefix);
                return;
            }
            Pending::First(id) => (id, &mut self.first[family as usize]),
            Pending::Again(id) => (id, &mut self.again[family as usize]),
        };
        if let Some(group) = groups.get_mut(&id) {
            group.remove(&prefix);
            if group.is_empty() {
                groups.remove(&id);
            }
        }
    }

    fn index(&mut self, prefix: IpNet, pending: Pending) -> Option<Refusal> {
        let family = Family::of_net(prefix);
        let (id, groups) = match pending {
            Pending::Nothing => return None,
            Pending::Withdraw => {
                self.withdraw[family as usize].insert(prefix);
                return None;
            }
            Pending::First(id) => (id, &mut self.first[family as usize]),
            Pending::Again(id) => (id, &mut self.again[family as usize]),
        };
        groups.entry(id).or_default().insert(prefix);
        self.encoder.as_ref().and_then(|encoder| self.sets.prepare(id, family, encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::Jitter;
    use crate::wire::attributes::NextHop;

    fn encoder() -> Encoder {
        Encoder {
            local_asn: 64512,
            internal: false,
            four_octet: true,
            families: Family::ALL.to_vec(),
            next_hop_v4: Some(NextHop::V4("192.0.2.1".parse().unwrap())),
            next_hop_v6: Some(NextHop::V6("2001:db8::1".parse().unwrap())),
            extended_next_hop: false,
            only_to_customer: false,
        }
    }

    fn flush(rib: &mut AdjRibOut) {
        let mut buf = BytesMut::new();
        for family in Family::ALL {
            while rib.write_withdrawal(family, &mut buf).is_some() {}
            while rib.write_announcement(family, &mut buf).is_some() {}
        }
    }

    #[test]
    fn a_limit_holds_back_what_is_new_alone_and_withdrawals_make_room() {
        const LIMIT: u32 = 5;
        for seed in 0..200 {
            let mut random = Jitter::new(seed);
            let mut rib = AdjRibOut::default();
            assert_eq!(rib.limit(Some(LIMIT)), []);
            rib.open(encoder());
            let mut wanted = BTreeMap::new();
            for _ in 0..200 {
                let prefix: IpNet = format!("10.0.0.{}/32", random.next() % 12).parse().unwrap();
                let before = wanted.len();
                let refusal = if random.next().is_multiple_of(3) {
                    wanted.remove(&prefix);
                    rib.set(prefix, None)
                } else {
                    let med = u32::try_from(random.next() % 3).unwrap();
                    let attributes =
                        Arc::new(RouteAttributes { med: Some(med), ..RouteAttributes::default() });
                    wanted.insert(prefix, attributes.clone());
                    rib.set(prefix, Some(attributes))
                };
                let limit = LIMIT as usize;
                assert_eq!(refusal.is_some(), before == limit && wanted.len() == limit + 1, "seed {seed}");
                if random.next().is_multiple_of(2) {
                    flush(&mut rib);
                    assert_eq!(rib.sent(), wanted.len().min(limit), "seed {seed}");
                    assert!(rib.routes_sent().all(|(prefix, sent)| wanted.get(&prefix) == Some(&sent)));
                    let held_back: usize = rib.refused().iter().map(|routes| routes.prefixes).sum();
                    assert_eq!(held_back, wanted.len().saturating_sub(limit), "seed {seed}");
                }
            }
            rib.limit(None);
            flush(&mut rib);
            assert_eq!(rib.routes_sent().collect::<BTreeMap<_, _>>(), wanted, "seed {seed}");
            rib.limit(Some(1));
            flush(&mut rib);
            assert_eq!(rib.sent(), wanted.len(), "a lower limit withdraws nothing");
        }
    }

    // case: bgp-61
    #[test]
    fn any_history_ends_with_sent_equal_to_wanted_and_no_attribute_set_left_over() {
        for seed in 0..200 {
            let mut random = Jitter::new(seed);
            let mut rib = AdjRibOut::default();
            let mut model = BTreeMap::new();
            let mut open = false;
            for _ in 0..400 {
                let number = random.next() % 30;
                let prefix: IpNet = if number < 20 {
                    format!("10.0.0.{number}/32").parse().unwrap()
                } else {
                    format!("2001:db8::{number:x}/128").parse().unwrap()
                };
                match random.next() % 12 {
                    0 if !open => {
                        rib.open(encoder());
                        open = true;
                    }
                    1 if open => {
                        rib.close();
                        open = false;
                    }
                    2 => flush(&mut rib),
                    3 if open => rib.refresh(Family::Ipv4),
                    4..7 => {
                        rib.set(prefix, None);
                        model.remove(&prefix);
                    }
                    _ => {
                        let med = u32::try_from(random.next() % 4).unwrap();
                        let attributes =
                            Arc::new(RouteAttributes { med: Some(med), ..RouteAttributes::default() });
                        rib.set(prefix, Some(attributes.clone()));
                        model.insert(prefix, attributes);
                    }
                }
                assert_eq!(rib.wanted(), model.len(), "seed {seed}");
            }
            if !open {
                rib.open(encoder());
            }
            flush(&mut rib);
            assert!(Family::ALL.iter().all(|family| rib.is_settled(*family)), "seed {seed}");
            assert_eq!(rib.routes_sent().collect::<BTreeMap<_, _>>(), model, "seed {seed}");
            assert_eq!(rib.sent(), model.len(), "seed {seed}");
            for prefix in rib.wanted_prefixes() {
                rib.set(prefix, None);
            }
            flush(&mut rib);
            assert_eq!((rib.attribute_sets(), rib.slots.len(), rib.sent()), (0, 0, 0), "seed {seed}");
        }
    }
}
