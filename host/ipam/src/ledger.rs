//! The ledger: follows the World, and plans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::Decisions;
use bellhop_core::flat::FlatSet;
use bellhop_core::names::Uid;
use bellhop_core::objects::{AddressClaim, AddressPool, AddressRange, Service};
use bellhop_core::{Family, ObjectName, ServiceKey, Touched, World};

use crate::history::History;
use crate::plan::{Allocation, ClaimChange, LedgerPlan, Mode};
use crate::pools::{Occupancy, Pools};

/// Most times that one plan looks at a Service, as others change what it waits for; after that it is the next plan's.
/// Requests that chase each other's addresses in a ring cannot keep a plan from ending.
const LOOKS_MAX: usize = 8;

mod adopt;
mod choose;
mod request;
mod settle;
#[cfg(test)]
mod tests;

/// Who holds which address, and what is free.
///
/// It keeps its own copy of the claims, so that it knows what a delta changed, and indexes of what waits for what, so
/// that the cost of an event depends on the event and on what waits for it, not on how many Services there are.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pools: Pools,
    claims: Claims,
    /// The mode of the plan before; `None` before the first.
    mode: Option<Mode>,
    outcomes: BTreeMap<ServiceKey, Arc<Allocation>>,
    waits: Waits,
    /// Services with proposed changes that the World may not have taken over yet.
    unsettled: BTreeSet<ServiceKey>,
    previous: BTreeMap<ServiceKey, Previous>,
    /// [`Ledger::one_per_family`] was asked for.
    one_per_family: bool,
}

/// What a Service was given by a claim that is lost now, or names another UID.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Previous {
    uid: Uid,
    addresses: Vec<IpAddr>,
}

/// The claims, what is known by them, and which addresses are never handed out.
#[derive(Clone, Debug, Default)]
struct Claims {
    by_address: BTreeMap<IpAddr, Arc<AddressClaim>>,
    /// Addresses by the key of a holder, whatever its UID.
    by_service: BTreeMap<ServiceKey, FlatSet<IpAddr>>,
    /// Addresses by namespace and sharing key of a holder.
    by_sharing_key: BTreeMap<SharingKey, FlatSet<IpAddr>>,
    history: History,
    /// Addresses of nodes and peers, and whose they are.
    owned: BTreeMap<IpAddr, String>,
    /// Addresses whose claim could not be made though the World has none.
    avoided: BTreeSet<IpAddr>,
}

/// Namespace and sharing key.
type SharingKey = (Arc<str>, Arc<str>);

impl Claims {
    fn is_barred(&self, address: IpAddr) -> bool {
        self.owned.contains_key(&address) || self.avoided.contains(&address)
    }
}

impl Occupancy for Claims {
    fn claimed(&self, range: &AddressRange) -> Vec<IpAddr> {
        self.by_address.range(range.first()..=range.last()).map(|(address, _)| *address).collect()
    }

    fn barred(&self, range: &AddressRange) -> Vec<IpAddr> {
        let owned = self.owned.range(range.first()..=range.last()).map(|(address, _)| *address);
        owned.chain(self.avoided.range(range.first()..=range.last()).copied()).collect()
    }

    fn released(&self, range: &AddressRange) -> Vec<(IpAddr, u64)> {
        self.history.within(range).filter(|(address, _)| !self.is_barred(*address)).collect()
    }
}

/// Something that a waiting Service waits for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Want {
    /// Any free address of the family.
    Family(Family),
    /// This address.
    Exact(IpAddr),
    /// A chance to share with others of its sharing key.
    Sharing(SharingKey),
}

/// Services that wait, and what for.
#[derive(Clone, Debug, Default)]
struct Waits {
    by_service: BTreeMap<ServiceKey, Vec<Want>>,
    by_want: BTreeMap<Want, BTreeSet<ServiceKey>>,
}

impl Waits {
    fn set(&mut self, key: &ServiceKey, wants: Vec<Want>) {
        for want in self.by_service.remove(key).into_iter().flatten() {
            if let Some(services) = self.by_want.get_mut(&want) {
                services.remove(key);
                if services.is_empty() {
                    self.by_want.remove(&want);
                }
            }
        }
        if wants.is_empty() {
            return;
        }
        for want in &wants {
            self.by_want.entry(want.clone()).or_default().insert(key.clone());
        }
        self.by_service.insert(key.clone(), wants);
    }

    fn on(&self, want: &Want) -> impl Iterator<Item = &ServiceKey> {
        self.by_want.get(want).into_iter().flatten()
    }
}

/// How a claim stood before a change, so that it can be put back.
#[derive(Clone, Debug)]
struct Undo {
    claim: Option<Arc<AddressClaim>>,
    /// Its place in the order of releases, where it had none.
    released: Option<u64>,
}

impl Ledger {
    /// A ledger that knows nothing; its first plan reads the World whole.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with another rule: of several addresses of one family that a Service holds without having asked for them
    /// by name, it keeps one. Where several processes may allocate, one after the other without knowing all that the one
    /// before still has under way, two of them may have claimed an address for the same Service. It keeps the one that its
    /// status lists ([`Ledger::set_previous`]), else the lowest.
    #[must_use]
    pub fn one_per_family(self) -> Self {
        Self { one_per_family: true, ..self }
    }

    /// How each Service stands that wants an address, as of the last plan.
    pub fn outcomes(&self) -> &BTreeMap<ServiceKey, Arc<Allocation>> {
        &self.outcomes
    }

    /// The version of a pool that is in force; `None` where it overlaps another one and no earlier version was right.
    pub fn pool(&self, name: &str) -> Option<&Arc<AddressPool>> {
        self.pools.of_name(name).map(crate::pools::Pool::spec)
    }

    /// The pool in force that may hand out `address`.
    pub fn pool_of(&self, address: IpAddr) -> Option<ObjectName> {
        self.pools.covering(address).map(|pool| pool.spec().name.clone())
    }

    /// Tells the ledger that a claim of this address exists though the World shows none (a file that nobody can read,
    /// an object of a version unknown): it is not proposed again until a claim of it is seen and has gone.
    pub fn avoid(&mut self, address: IpAddr) {
        if self.claims.by_address.contains_key(&address) {
            return;
        }
        self.pools.take(address, self.claims.history.order(address));
        self.claims.avoided.insert(address);
    }

    /// Tells the ledger which addresses a Service was given before, by evidence other than a claim: its own status, where
    /// Bellhop wrote that. They are adopted where claims were lost (their kind was deleted), or restored from a backup and
    /// name the UID that the Service had when the backup was made. Nothing is taken from a holder for it, and no pool is
    /// gone around. An empty list forgets; what is told of another UID than the Service has counts for nothing.
    ///
    /// The Service is looked at by the next plan.
    pub fn set_previous(&mut self, service: &ServiceKey, uid: &Uid, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            self.previous.remove(service);
            return;
        }
        let previous = Previous { uid: uid.clone(), addresses: addresses.to_vec() };
        if self.previous.get(service) != Some(&previous) {
            self.previous.insert(service.clone(), previous);
            self.unsettled.insert(service.clone());
        }
    }

    /// What is to be changed so that every Service has what it wants, as far as the World now allows.
    ///
    /// `touched` is what changed since the plan before: nothing else is looked at, but for what waits for it and for
    /// proposals that did not come about. Nothing is planned before the World is whole. `decisions` is asked at most
    /// once for each Service, one after the other, as each question shows what the answers before it left free.
    pub fn plan(
        &mut self,
        world: &World,
        touched: &Touched,
        mode: Mode,
        decisions: &mut dyn Decisions,
    ) -> LedgerPlan {
        if !world.synced() {
            return LedgerPlan::default();
        }
        let mut queue = self.follow(world, touched, mode);
        let mut round = Round::new(self, world, mode, decisions);
        let mut outcomes = BTreeMap::new();
        let mut looked: BTreeMap<ServiceKey, usize> = BTreeMap::new();
        while let Some(turn) = queue.pop_first() {
            match round.settle(&turn.service) {
                Some(outcome) => {
                    let outcome = Arc::new(outcome);
                    outcomes.insert(turn.service.clone(), outcome.clone());
                    round.ledger.outcomes.insert(turn.service.clone(), outcome);
                }
                None => {
                    outcomes.remove(&turn.service);
                }
            }
            *looked.entry(turn.service.clone()).or_default() += 1;
            let changed = std::mem::take(&mut round.changed);
            let mut woken: BTreeSet<_> =
                changed.iter().flat_map(|address| round.ledger.waiting_for(*address)).collect();
            woken.remove(&turn.service);
            let (again, later) =
                woken.into_iter().partition(|key| looked.get(key).is_none_or(|n| *n < LOOKS_MAX));
            queue.extend(round.ledger.in_order(world, again));
            let later: BTreeSet<ServiceKey> = later;
            round.ledger.unsettled.extend(later);
        }
        let Round { undo, gone, .. } = round;
        let changes = self.undo(undo);
        LedgerPlan {
            changes,
            outcomes,
            gone,
            problems: self.pools.problems(),
            pools: self.pools.iter().map(|pool| (pool.spec().name.clone(), pool.usage())).collect(),
        }
    }

    /// Takes over what changed in the World, and says which Services are to be looked at, in which order: those gone,
    /// those that hold addresses, those that held some before, those that wait; each by age.
    fn follow(&mut self, world: &World, touched: &Touched, mode: Mode) -> BTreeSet<Turn> {
        let whole = self.mode != Some(mode) || touched.synced;
        self.mode = Some(mode);
        let mut keys: BTreeSet<ServiceKey> = std::mem::take(&mut self.unsettled);
        let mut wake_all = touched.policies || (touched.addresses && touched.every_service);

        if whole || touched.peers {
            for address in self.follow_owned(world) {
                keys.extend(self.holders_of(address));
                wake_all = true;
            }
        }
        if whole || touched.addresses {
            let moved = self.pools.follow(world.pools(), &self.claims);
            wake_all |= !moved.is_empty();
            for range in &moved {
                let held = self.claims.by_address.range(range.first()..=range.last());
                keys.extend(held.flat_map(|(_, claim)| &claim.holders).map(|holder| holder.service.clone()));
            }
        }
        let changed: Vec<IpAddr> = if whole {
            self.claims.by_address.keys().chain(world.claims().keys()).copied().collect()
        } else {
            touched.claims.iter().copied().collect()
        };
        for address in changed {
            let claim = world.claims().get(&address).cloned();
            if claim.as_ref() == self.claims.by_address.get(&address) {
                continue;
            }
            keys.extend(self.holders_of(address));
            self.take_over(address, claim);
            keys.extend(self.holders_of(address));
            keys.extend(self.waiting_for(address));
        }
        if whole {
            keys.extend(
                world
                    .services()
                    .keys()
                    .chain(self.outcomes.keys())
                    .chain(self.claims.by_service.keys())
                    .cloned(),
            );
        }
        for key in &touched.services {
            // Whoever shares what this one holds, or waits for it, looks again: the terms may hold no longer, or now.
            for address in self.claims.by_service.get(key).into_iter().flatten() {
                keys.extend(self.holders_of(*address));
                keys.extend(self.waiting_for(*address));
            }
            keys.insert(key.clone());
        }
        if wake_all {
            keys.extend(self.waits.by_service.keys().cloned());
        }
        self.in_order(world, keys)
    }

    /// Puts Services in the order in which they are looked at.
    fn in_order(&self, world: &World, keys: BTreeSet<ServiceKey>) -> BTreeSet<Turn> {
        let turn = |key: ServiceKey| {
            let service =
                world.services().get(&key).filter(|service| service.wants_address && !service.deleting);
            let class = match service {
                None => Class::Gone,
                Some(_) if self.claims.by_service.contains_key(&key) => Class::Holds,
                Some(_) if self.previous.contains_key(&key) => Class::Held,
                Some(_) => Class::Waits,
            };
            Turn { class, created: service.map_or(0, |service| service.created), service: key }
        };
        keys.into_iter().map(turn).collect()
    }

    /// Services that wait for this address, as it is now: for itself, for any free one, or to share it.
    fn waiting_for(&self, address: IpAddr) -> BTreeSet<ServiceKey> {
        let mut wants = vec![Want::Exact(address)];
        if self.claims.by_address.contains_key(&address) {
            wants.extend(self.sharing_keys(address).into_iter().map(Want::Sharing));
        } else {
            wants.push(Want::Family(Family::of(address)));
        }
        wants.iter().flat_map(|want| self.waits.on(want).cloned()).collect()
    }

    fn holders_of(&self, address: IpAddr) -> Vec<ServiceKey> {
        let claim = self.claims.by_address.get(&address);
        claim.into_iter().flat_map(|claim| &claim.holders).map(|holder| holder.service.clone()).collect()
    }

    fn sharing_keys(&self, address: IpAddr) -> BTreeSet<SharingKey> {
        let claim = self.claims.by_address.get(&address);
        claim.into_iter().flat_map(|claim| &claim.holders).filter_map(sharing_key).collect()
    }

    /// Follows the addresses of nodes and peers; those that came or went.
    fn follow_owned(&mut self, world: &World) -> Vec<IpAddr> {
        let nodes = world
            .nodes()
            .values()
            .flat_map(|node| node.addresses.iter().map(|address| (*address, format!("Node/{}", node.name))));
        let peers = world
            .peers()
            .values()
            .filter_map(|peer| Some((peer.neighbour.address()?, format!("BGPPeer/{}", peer.name))));
        let owned: BTreeMap<IpAddr, String> = peers.chain(nodes).collect();
        let before = std::mem::replace(&mut self.claims.owned, owned);
        let mut changed = Vec::new();
        for address in before.keys().filter(|address| !self.claims.owned.contains_key(*address)) {
            if !self.claims.by_address.contains_key(address) && !self.claims.avoided.contains(address) {
                self.pools.give(*address, self.claims.history.order(*address));
            }
            changed.push(*address);
        }
        for (address, owner) in &self.claims.owned {
            if before.get(address) != Some(owner) {
                self.pools.take(*address, self.claims.history.order(*address));
                changed.push(*address);
            }
        }
        changed
    }

    /// Takes over how the World has a claim.
    fn take_over(&mut self, address: IpAddr, claim: Option<Arc<AddressClaim>>) {
        self.claims.avoided.remove(&address);
        let released = match (&claim, self.claims.by_address.contains_key(&address)) {
            (None, true) => {
                let (order, forgotten) = self.claims.history.release(address);
                if let Some(forgotten) = forgotten
                    && !self.claims.is_barred(forgotten)
                {
                    self.pools.take(forgotten, None);
                    self.pools.give(forgotten, None);
                }
                Some(order)
            }
            _ => None,
        };
        self.put(address, claim, released);
    }

    /// Sets or removes a claim and keeps every index true. `released` is the place in the order of releases that a
    /// removed one has from now on. Returns what was there before.
    fn put(&mut self, address: IpAddr, claim: Option<Arc<AddressClaim>>, released: Option<u64>) -> Undo {
        let before = match claim.clone() {
            Some(claim) => self.claims.by_address.insert(address, claim),
            None => self.claims.by_address.remove(&address),
        };
        for holder in before.iter().flat_map(|claim| &claim.holders) {
            unlink(&mut self.claims.by_service, &holder.service, address);
            if let Some(key) = sharing_key(holder) {
                unlink(&mut self.claims.by_sharing_key, &key, address);
            }
        }
        for holder in claim.iter().flat_map(|claim| &claim.holders) {
            self.claims.by_service.entry(holder.service.clone()).or_default().insert(address);
            if let Some(key) = sharing_key(holder) {
                self.claims.by_sharing_key.entry(key).or_default().insert(address);
            }
        }
        let mut undo = Undo { claim: before, released: None };
        match (undo.claim.is_some(), claim.is_some()) {
            (false, true) => {
                undo.released = self.claims.history.forget(address);
                self.pools.take(address, undo.released);
                self.pools.count(address, true);
            }
            (true, false) => {
                if let Some(order) = released {
                    self.claims.history.restore(address, order);
                }
                if !self.claims.is_barred(address) {
                    self.pools.give(address, released);
                }
                self.pools.count(address, false);
            }
            _ => {}
        }
        undo
    }

    /// Puts every claim back as the World has it, and says what the plan made of it.
    fn undo(&mut self, undo: BTreeMap<IpAddr, Undo>) -> Vec<ClaimChange> {
        let (mut creates, mut updates, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for (address, Undo { claim: before, released }) in undo {
            let planned = self.put(address, before.clone(), released).claim;
            let affected = before.iter().chain(&planned).flat_map(|claim| &claim.holders);
            let affected: Vec<_> = affected.map(|holder| holder.service.clone()).collect();
            match (before, planned) {
                (before, planned) if before == planned => continue,
                (None, Some(claim)) => creates.push(ClaimChange::Create(Arc::unwrap_or_clone(claim))),
                (_, Some(claim)) => updates.push(ClaimChange::Update(Arc::unwrap_or_clone(claim))),
                (_, None) => releases.push(ClaimChange::Release(address)),
            }
            self.unsettled.extend(affected);
        }
        creates.into_iter().chain(updates).chain(releases).collect()
    }
}

fn sharing_key(holder: &bellhop_core::objects::Holder) -> Option<SharingKey> {
    Some((holder.service.namespace.clone(), holder.sharing_key.clone()?))
}

/// Removes `address` from the set at `key`, and the set with its last address.
fn unlink<K: Ord>(map: &mut BTreeMap<K, FlatSet<IpAddr>>, key: &K, address: IpAddr) {
    if let Some(set) = map.get_mut(key) {
        set.remove(&address);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

/// When a Service is looked at: those gone first, as they make room, then those that hold, then those that held before
/// their claims were lost, then those that wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Class {
    Gone,
    Holds,
    Held,
    Waits,
}

/// A Service in the order of a plan: by class, then age, then key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Turn {
    class: Class,
    created: i64,
    service: ServiceKey,
}

/// One plan in the making: the ledger with proposed changes in it, which are taken back at its end.
struct Round<'a> {
    ledger: &'a mut Ledger,
    world: &'a World,
    mode: Mode,
    decisions: &'a mut dyn Decisions,
    /// How the claims stood that the plan changes.
    undo: BTreeMap<IpAddr, Undo>,
    /// How they stood before the Service that is being settled, in the order of its changes.
    journal: Vec<(IpAddr, Undo)>,
    /// Addresses whose claims changed, and nobody woken for yet.
    changed: Vec<IpAddr>,
    gone: Vec<ServiceKey>,
}

impl<'a> Round<'a> {
    fn new(ledger: &'a mut Ledger, world: &'a World, mode: Mode, decisions: &'a mut dyn Decisions) -> Self {
        Self {
            ledger,
            world,
            mode,
            decisions,
            undo: BTreeMap::new(),
            journal: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
        }
    }

    fn claim(&self, address: IpAddr) -> Option<&Arc<AddressClaim>> {
        self.ledger.claims.by_address.get(&address)
    }

    /// Proposes a claim in the place of the one that is there; one without holders is to be released.
    fn propose(&mut self, claim: AddressClaim) {
        let address = claim.address;
        self.changed.push(address);
        let undo = if claim.holders.is_empty() {
            let order = self.ledger.claims.history.next();
            self.ledger.put(address, None, Some(order))
        } else {
            self.ledger.put(address, Some(Arc::new(claim)), None)
        };
        self.undo.entry(address).or_insert_with(|| undo.clone());
        self.journal.push((address, undo));
    }

    /// Takes back what was proposed since the journal had this length.
    fn take_back(&mut self, length: usize) {
        while self.journal.len() > length {
            if let Some((address, undo)) = self.journal.pop() {
                self.ledger.put(address, undo.claim, undo.released);
            }
        }
    }

    /// The Service of this key that wants an address.
    fn service(&self, key: &ServiceKey) -> Option<&'a Arc<Service>> {
        let world: &'a World = self.world;
        world.services().get(key).filter(|service| service.wants_address && !service.deleting)
    }
}
