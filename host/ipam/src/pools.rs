//! The pools in force, and what is free in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::FamilyUsage;
use bellhop_core::labels::Labels;
use bellhop_core::objects::{AddressPool, AddressRange, Service};
use bellhop_core::{Family, ObjectName, ObjectRef, Problem};

use crate::ranges::{RangeSet, address, number};

/// Whether an address is in use, and when it was released; what [`Pools`] has to know of every address of a range when
/// a pool comes into force.
pub(crate) trait Occupancy {
    /// Addresses of the range that have a claim.
    fn claimed(&self, range: &AddressRange) -> Vec<IpAddr>;
    /// Addresses of the range that are never handed out, claimed or not.
    fn barred(&self, range: &AddressRange) -> Vec<IpAddr>;
    /// Addresses of the range, neither claimed nor barred, that were released, with their place in the order of releases.
    fn released(&self, range: &AddressRange) -> Vec<(IpAddr, u64)>;
}

/// Free addresses of one pool in one family.
#[derive(Clone, Debug, Default)]
struct Space {
    /// The family is among the pool's ranges.
    present: bool,
    /// Free and never used.
    never: RangeSet,
    /// Free and used before, by the order of their releases.
    released: BTreeMap<u64, u128>,
    /// Addresses with a claim.
    used: u64,
}

impl Space {
    fn free(&self) -> u64 {
        u64::try_from(self.never.len().saturating_add(self.released.len() as u128)).unwrap_or(u64::MAX)
    }
}

/// A pool in force.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    spec: Arc<AddressPool>,
    v4: Space,
    v6: Space,
}

impl Pool {
    fn new(spec: Arc<AddressPool>, occupancy: &dyn Occupancy) -> Self {
        let mut pool = Self { spec: spec.clone(), v4: Space::default(), v6: Space::default() };
        for range in &spec.ranges {
            let space = pool.space_mut(range.family());
            space.present = true;
            space.never.insert(number(range.first()), number(range.last()));
        }
        for range in &spec.exclude {
            pool.space_mut(range.family()).never.remove(number(range.first()), number(range.last()));
        }
        for range in &spec.ranges {
            let space = pool.space_mut(range.family());
            for (address, order) in occupancy.released(range) {
                if space.never.contains(number(address)) {
                    space.never.remove(number(address), number(address));
                    space.released.insert(order, number(address));
                }
            }
            for address in occupancy.barred(range) {
                space.never.remove(number(address), number(address));
            }
            for address in occupancy.claimed(range) {
                space.never.remove(number(address), number(address));
                space.used += u64::from(spec.contains(address));
            }
        }
        pool
    }

    fn space(&self, family: Family) -> &Space {
        match family {
            Family::Ipv4 => &self.v4,
            Family::Ipv6 => &self.v6,
        }
    }

    fn space_mut(&mut self, family: Family) -> &mut Space {
        match family {
            Family::Ipv4 => &mut self.v4,
            Family::Ipv6 => &mut self.v6,
        }
    }

    /// The pool's projection.
    pub(crate) fn spec(&self) -> &Arc<AddressPool> {
        &self.spec
    }

    /// Free addresses in the order in which they are handed out, each with its rank: 0 for never used, else its place
    /// in the order of releases from 1.
    pub(crate) fn free(&self, family: Family) -> impl Iterator<Item = (IpAddr, u32)> {
        let space = self.space(family);
        let released = space.released.values().zip(1..).map(|(number, rank)| (*number, rank));
        space
            .never
            .iter()
            .map(|number| (number, 0))
            .chain(released)
            .map(move |(n, rank)| (address(family, n), rank))
    }

    /// True when some address of the family is free.
    pub(crate) fn has_free(&self, family: Family) -> bool {
        self.free(family).next().is_some()
    }

    /// Usage in each family that the pool has.
    pub(crate) fn usage(&self) -> Vec<FamilyUsage> {
        Family::ALL
            .into_iter()
            .filter(|family| self.space(*family).present)
            .map(|family| {
                let space = self.space(family);
                FamilyUsage { family, used: space.used, free: space.free() }
            })
            .collect()
    }

    /// Whether the pool's selectors admit a Service, or which of them does not.
    pub(crate) fn admits(&self, service: &Service, namespace_labels: &Labels) -> Result<(), String> {
        if self.spec.namespace_selector.as_ref().is_some_and(|selector| !selector.matches(namespace_labels)) {
            return Err(format!("its namespaceSelector does not match namespace {}", service.key.namespace));
        }
        if self.spec.service_selector.as_ref().is_some_and(|selector| !selector.matches(&service.labels)) {
            return Err("its serviceSelector does not match the Service's labels".into());
        }
        Ok(())
    }
}

/// Every pool in force. Their ranges are disjoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    in_force: BTreeMap<ObjectName, Pool>,
    /// The ranges of all pools in force, by their first address: last address and pool.
    ranges: BTreeMap<IpAddr, (IpAddr, ObjectName)>,
    /// Versions that are not in force because they overlap one that is, and why.
    refused: BTreeMap<ObjectName, (Arc<AddressPool>, Problem)>,
}

impl Pools {
    /// Follows the World's pools. The ranges that came into force or went out of it; empty when nothing changed.
    ///
    /// A version that overlaps a pool in force is refused whole, and the pool's last good version stays. A version
    /// refused earlier comes into force as soon as what it overlapped has gone; several edits that fit only together
    /// (ranges moved from one pool to another) are taken together.
    pub(crate) fn follow(
        &mut self,
        world: &BTreeMap<ObjectName, Arc<AddressPool>>,
        occupancy: &dyn Occupancy,
    ) -> Vec<AddressRange> {
        let mut moved = Vec::new();
        let gone: BTreeSet<_> = self
            .in_force
            .keys()
            .chain(self.refused.keys())
            .filter(|name| !world.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.refused.remove(&name);
            moved.extend(self.retire(&name).into_iter().flat_map(|spec| spec.ranges.clone()));
        }
        let mut pending: Vec<Arc<AddressPool>> = Vec::new();
        for (name, spec) in world {
            if self.in_force.get(name).is_some_and(|pool| pool.spec == *spec) {
                self.refused.remove(name);
            } else {
                pending.push(spec.clone());
            }
        }
        loop {
            let before = pending.len();
            pending.retain(|spec| {
                let fits = self.overlap(spec, &BTreeSet::from([spec.name.clone()])).is_none();
                if fits {
                    moved.extend(self.accept(spec.clone(), occupancy));
                }
                !fits
            });
            if pending.len() == before {
                break;
            }
        }
        let together: BTreeSet<_> = pending.iter().map(|spec| spec.name.clone()).collect();
        let fit = pending.iter().all(|spec| self.overlap(spec, &together).is_none())
            && pending.iter().enumerate().all(|(at, one)| {
                pending[..at]
                    .iter()
                    .all(|other| !one.ranges.iter().any(|a| other.ranges.iter().any(|b| a.overlaps(b))))
            });
        if fit {
            for name in &together {
                moved.extend(self.retire(name).into_iter().flat_map(|spec| spec.ranges.clone()));
            }
            for spec in pending.drain(..) {
                moved.extend(self.accept(spec, occupancy));
            }
        }
        for spec in pending {
            if let Some(problem) = self.overlap(&spec, &BTreeSet::from([spec.name.clone()])) {
                self.refused.insert(spec.name.clone(), (spec, problem));
            }
        }
        moved
    }

    /// Takes a version in force; the ranges of it and of the version before.
    fn accept(&mut self, spec: Arc<AddressPool>, occupancy: &dyn Occupancy) -> Vec<AddressRange> {
        let before = self.retire(&spec.name);
        self.refused.remove(&spec.name);
        for range in &spec.ranges {
            self.ranges.insert(range.first(), (range.last(), spec.name.clone()));
        }
        let moved =
            spec.ranges.iter().chain(before.iter().flat_map(|before| &before.ranges)).copied().collect();
        self.in_force.insert(spec.name.clone(), Pool::new(spec, occupancy));
        moved
    }

    /// Takes a pool out of force; the version that was.
    fn retire(&mut self, name: &ObjectName) -> Option<Arc<AddressPool>> {
        let pool = self.in_force.remove(name)?;
        for range in &pool.spec.ranges {
            self.ranges.remove(&range.first());
        }
        Some(pool.spec)
    }

    /// The first overlap of a version with a pool in force other than those of `except`.
    fn overlap(&self, spec: &AddressPool, except: &BTreeSet<ObjectName>) -> Option<Problem> {
        for (index, range) in spec.ranges.iter().enumerate() {
            let below = self
                .ranges
                .range(..range.first())
                .next_back()
                .filter(|(_, (last, _))| *last >= range.first());
            let within = self.ranges.range(range.first()..=range.last());
            // Ranges in force are disjoint, so only the nearest one below can reach in.
            let other = below.into_iter().chain(within).find(|(_, (_, pool))| !except.contains(pool));
            if let Some((first, (last, pool))) = other {
                let shown =
                    AddressRange::new(*first, *last).map(|range| range.to_string()).unwrap_or_default();
                return Some(Problem::new(
                    ObjectRef::cluster("AddressPool", spec.name.clone()),
                    "OverlappingRange",
                    format!("spec.addresses[{index}]"),
                    range.to_string(),
                    format!(
                        "overlaps {shown} of AddressPool/{pool}, which is in force; {} until no address is in both",
                        if self.in_force.contains_key(&spec.name) {
                            "this pool's last good version stays in force"
                        } else {
                            "this pool stays out of force"
                        }
                    ),
                ));
            }
        }
        None
    }

    /// The pool in force of this name.
    pub(crate) fn of_name(&self, name: &str) -> Option<&Pool> {
        self.in_force.get(name)
    }

    /// The problem that keeps a pool's newest version out of force.
    pub(crate) fn refusal(&self, name: &str) -> Option<&Problem> {
        self.refused.get(name).map(|(_, problem)| problem)
    }

    /// The pool with a range that has this address, excluded or not.
    pub(crate) fn with_range(&self, address: IpAddr) -> Option<&Pool> {
        let (_, (last, name)) = self.ranges.range(..=address).next_back()?;
        (address <= *last && address.is_ipv4() == last.is_ipv4()).then(|| self.in_force.get(name)).flatten()
    }

    /// The pool that may hand out this address.
    pub(crate) fn covering(&self, address: IpAddr) -> Option<&Pool> {
        self.with_range(address).filter(|pool| pool.spec.contains(address))
    }

    /// Every pool in force, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.in_force.values()
    }

    /// What is wrong with pools.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.refused.values().map(|(_, problem)| problem.clone()).collect()
    }

    fn covering_mut(&mut self, address: IpAddr) -> Option<&mut Space> {
        let name = self.covering(address)?.spec.name.clone();
        Some(self.in_force.get_mut(&name)?.space_mut(Family::of(address)))
    }

    /// Counts a claim in or out.
    pub(crate) fn count(&mut self, address: IpAddr, claimed: bool) {
        if let Some(space) = self.covering_mut(address) {
            space.used = if claimed { space.used + 1 } else { space.used.saturating_sub(1) };
        }
    }

    /// Takes an address out of what is free; `released` is its place in the order of releases, where it has one.
    pub(crate) fn take(&mut self, address: IpAddr, released: Option<u64>) {
        if let Some(space) = self.covering_mut(address) {
            space.never.remove(number(address), number(address));
            if let Some(order) = released {
                space.released.remove(&order);
            }
        }
    }

    /// Makes an address free.
    pub(crate) fn give(&mut self, address: IpAddr, released: Option<u64>) {
        if let Some(space) = self.covering_mut(address) {
            match released {
                Some(order) => {
                    space.never.remove(number(address), number(address));
                    space.released.insert(order, number(address));
                }
                None => space.never.insert(number(address), number(address)),
            }
        }
    }
}
