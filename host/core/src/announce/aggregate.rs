//! Aggregates: one prefix announced in the place of the addresses in it.
//!
//! The Advertisement that decides for an address, a node and a peer says whether the address is announced by a shorter
//! prefix. Then the address *contributes* to that prefix for as long as it would be announced itself, so that an
//! aggregate comes with its first contributor and goes with its last.
//!
//! - An aggregate is never wider than the pool of its address: what lies outside belongs to somebody else. Where it
//!   would be, the address is announced by its host route, and the Advertisement has a problem that says so.
//! - With `externalTrafficPolicy: Local`, or where the Advertisement asks for exact routes, the host route is announced
//!   beside the aggregate, by the nodes alone that serve the address: the longer prefix decides where its traffic goes.
//! - The attributes are an Advertisement's and not a policy's, as policies decide on single addresses: of the
//!   Advertisements that contribute to one prefix the one of highest priority, equal ones by name. Different lengths are
//!   different prefixes, each with its own contributors.
//! - An aggregate carries GRACEFUL_SHUTDOWN once all that contribute to it drain.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::names::{ObjectName, ObjectRef};
use crate::objects::{AddressPool, Advertisement, TrafficPolicy};
use crate::problem::Problem;
use crate::route::{Family, RouteAttributes, host_route};
use crate::world::World;

use super::draft::drained;
use super::service_plan::{ServicePlan, selects_pool};
use super::standing::Standing;
use super::{Changes, Wanted};

/// Reason of [`problems`].
const OUTSIDE_POOL: &str = "AggregateOutsidePool";

/// How an address is aggregated towards one peer.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Aggregate {
    /// Not at all: it is announced by its host route.
    #[default]
    None,
    /// This prefix is asked for and reaches outside of the address's pool: it is announced by its host route.
    OutsidePool(IpNet),
    /// It contributes to an aggregate.
    Contributes(Contribution),
}

/// What an address gives to an aggregate.
#[derive(Clone, PartialEq, Debug)]
pub struct Contribution {
    /// The aggregate, shorter than a host route.
    pub prefix: IpNet,
    /// Whether the host route is announced beside it.
    pub exact: bool,
    /// `spec.priority` of the Advertisement.
    priority: i32,
    /// `spec.attributes` of the Advertisement.
    attributes: Arc<RouteAttributes>,
}

impl Aggregate {
    /// How `advertisement` has `address` of `pool` announced.
    pub(super) fn of(
        advertisement: &Advertisement,
        pool: Option<&AddressPool>,
        address: IpAddr,
        traffic_policy: TrafficPolicy,
    ) -> Self {
        let Some(prefix) = prefix(advertisement, address) else { return Self::None };
        if !pool.is_some_and(|pool| pool.covers(prefix)) {
            return Self::OutsidePool(prefix);
        }
        Self::Contributes(Contribution {
            prefix,
            exact: advertisement.aggregation.exact_routes || traffic_policy == TrafficPolicy::Local,
            priority: advertisement.priority,
            attributes: advertisement.attributes.clone(),
        })
    }

    /// Whether the address is announced by its host route.
    pub fn has_host_route(&self) -> bool {
        !matches!(self, Self::Contributes(contribution) if !contribution.exact)
    }
}

/// The prefix that `advertisement` asks for; `None` for a host route.
fn prefix(advertisement: &Advertisement, address: IpAddr) -> Option<IpNet> {
    let length = advertisement.aggregation.length(Family::of(address))?;
    let prefix = IpNet::new(address, length).ok()?.trunc();
    (prefix != host_route(address)).then_some(prefix)
}

/// Where contributions come from; the first in order gives the aggregate its attributes. While an edit is being planned,
/// one Advertisement stands here with both versions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Source {
    priority: Reverse<i32>,
    advertisement: ObjectName,
    attributes: Arc<RouteAttributes>,
}

/// How many addresses of Services contribute; one that Services share counts for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    all: usize,
    draining: usize,
}

type Contributors = BTreeMap<Source, Count>;

/// An announced aggregate, as tools show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnouncedAggregate<'a> {
    /// The Advertisement that gives it its attributes.
    pub advertisement: &'a ObjectName,
    /// How many addresses of Services contribute to it.
    pub contributors: usize,
}

/// The aggregates of a node, by prefix and peer.
#[derive(Debug, Default)]
pub(super) struct Aggregates {
    by_prefix: BTreeMap<IpNet, BTreeMap<ObjectName, Contributors>>,
    /// To be looked at by [`Aggregates::settle`].
    stale: BTreeSet<(IpNet, ObjectName)>,
}

impl Aggregates {
    /// A plan is in force from now on.
    pub(super) fn add(&mut self, plan: &ServicePlan) {
        let draining = usize::from(matches!(plan.standing, Standing::Draining(_)));
        for (peer, advertisement, contribution) in plan.contributions() {
            let peers = self.by_prefix.entry(contribution.prefix).or_default();
            let contributors = peers.entry(peer.clone()).or_default();
            let count = contributors.entry(source(advertisement, contribution)).or_default();
            count.all += 1;
            count.draining += draining;
            self.stale.insert((contribution.prefix, peer.clone()));
        }
    }

    /// A plan that was added is so no longer.
    pub(super) fn remove(&mut self, plan: &ServicePlan) {
        let draining = usize::from(matches!(plan.standing, Standing::Draining(_)));
        for (peer, advertisement, contribution) in plan.contributions() {
            let Some(peers) = self.by_prefix.get_mut(&contribution.prefix) else { continue };
            let Some(contributors) = peers.get_mut(peer) else { continue };
            let source = source(advertisement, contribution);
            if let Some(count) = contributors.get_mut(&source) {
                count.all -= 1;
                count.draining -= draining;
                if count.all == 0 {
                    contributors.remove(&source);
                }
            }
            if contributors.is_empty() {
                peers.remove(peer);
            }
            if peers.is_empty() {
                self.by_prefix.remove(&contribution.prefix);
            }
            self.stale.insert((contribution.prefix, peer.clone()));
        }
    }

    /// Brings the wanted aggregates up to date. Once for a slice, so that one which loses its last contributor and gets
    /// another in the same slice stays.
    pub(super) fn settle(&mut self, wanted: &mut Wanted, changes: &mut Changes) {
        for (prefix, peer) in std::mem::take(&mut self.stale) {
            let contributors = self.by_prefix.get(&prefix).and_then(|peers| peers.get(&peer));
            wanted.set(&peer, prefix, contributors.and_then(effective), changes);
        }
    }

    /// True where an announced aggregate contains `address`.
    pub(super) fn cover(&self, address: IpAddr) -> bool {
        let host = host_route(address).prefix_len();
        let prefixes = (0..host).filter_map(|length| IpNet::new(address, length).ok());
        !self.by_prefix.is_empty()
            && prefixes.into_iter().any(|prefix| self.by_prefix.contains_key(&prefix.trunc()))
    }

    pub(super) fn get(&self, peer: &str, prefix: IpNet) -> Option<AnnouncedAggregate<'_>> {
        let contributors = self.by_prefix.get(&prefix)?.get(peer)?;
        let (source, _) = deciding(contributors)?;
        let all = contributors.values().map(|count| count.all).sum();
        Some(AnnouncedAggregate { advertisement: &source.advertisement, contributors: all })
    }
}

fn source(advertisement: &ObjectName, contribution: &Contribution) -> Source {
    Source {
        priority: Reverse(contribution.priority),
        advertisement: advertisement.clone(),
        attributes: contribution.attributes.clone(),
    }
}

/// The source that gives the attributes, and whether all that contribute drain. One with addresses that stay goes before
/// those that have only draining ones.
fn deciding(contributors: &Contributors) -> Option<(&Source, bool)> {
    let staying = contributors.iter().find(|(_, count)| count.all > count.draining);
    let (source, _) = staying.or_else(|| contributors.first_key_value())?;
    Some((source, staying.is_none()))
}

fn effective(contributors: &Contributors) -> Option<Arc<RouteAttributes>> {
    let (source, draining) = deciding(contributors)?;
    Some(if draining { Arc::new(drained(&source.attributes)) } else { source.attributes.clone() })
}

/// What is wrong with `advertisement` beside the pools that it selects: lengths whose aggregates would reach outside of
/// them. The addresses concerned are announced by their host routes.
pub fn problems(world: &World, advertisement: &Advertisement) -> Vec<Problem> {
    let mut problems = Vec::new();
    let pools =
        world.pools().values().filter(|pool| selects_pool(advertisement, Some(&pool.name), Some(pool)));
    for pool in pools {
        for (family, field) in
            [(Family::Ipv4, "spec.aggregation.ipv4Length"), (Family::Ipv6, "spec.aggregation.ipv6Length")]
        {
            let ranges = pool.ranges.iter().filter(|range| range.family() == family);
            let mut outside = ranges
                .flat_map(|range| [range.first(), range.last()])
                .filter_map(|end| Some((end, prefix(advertisement, end)?)))
                .filter(|(_, prefix)| !pool.covers(*prefix));
            let Some((address, prefix)) = outside.next() else { continue };
            let message = format!(
                "{prefix} with {address} reaches outside of the ranges of AddressPool {}, so that such addresses are announced \
                 by their host routes; name whole prefixes of this length in the pool and exclude what is not to be \
                 handed out, or use a longer length",
                pool.name
            );
            let object = ObjectRef::cluster("Advertisement", advertisement.name.clone());
            problems.push(Problem::new(
                object,
                OUTSIDE_POOL,
                field,
                prefix.prefix_len().to_string(),
                message,
            ));
        }
    }
    problems
}
