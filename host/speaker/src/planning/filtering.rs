//! What the packet filter is to let pass: the announced addresses with their Services' ports.
//!
//! It follows the plans: a prefix is looked at again when its routes or its Service's ports change, so that a change
//! costs what it touches. What is withdrawn stays filtered for a while, as routers may still send to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bellhop_core::announce::{Announcer, Changes, UNBIND_LINGER};
use bellhop_core::objects::{Node, Port};
use bellhop_core::route::host_route;
use bellhop_core::{Problem, ServiceKey, Touched, World};
use bellhop_net::nftables::FilterTable;
use ipnet::IpNet;
use tokio::sync::watch;

use crate::filter::FilterReport;

/// How long an address stays filtered after nothing announces it: longer than it stays bound, so that it is at no time
/// the host's own without a filter.
const LINGER: Duration = UNBIND_LINGER.saturating_add(Duration::from_secs(1));

/// The wanted table, and what may have changed of it.
#[derive(Debug)]
pub(super) struct Filtering {
    wanted: watch::Sender<Option<FilterTable>>,
    /// Prefixes to be looked at.
    stale: BTreeSet<IpNet>,
    /// Services whose addresses are to be looked at.
    services: BTreeSet<ServiceKey>,
    /// Prefixes that nothing announces any more, and when they leave the table.
    leaving: BTreeMap<IpNet, Instant>,
    /// The same in the order of time; entries that `leaving` does not have any more mean nothing.
    queue: VecDeque<(Instant, IpNet)>,
    echo_reply: bool,
    /// `None` before the driver has told anything: an earlier process may have left a table.
    report: Option<FilterReport>,
}

impl Filtering {
    pub(super) fn new(wanted: watch::Sender<Option<FilterTable>>) -> Self {
        Self {
            wanted,
            stale: BTreeSet::new(),
            services: BTreeSet::new(),
            leaving: BTreeMap::new(),
            queue: VecDeque::new(),
            echo_reply: false,
            report: None,
        }
    }

    /// Takes over what deltas touched: a Service's ports may be others.
    pub(super) fn note(&mut self, touched: &Touched) {
        self.services.extend(touched.services.iter().cloned());
    }

    /// Takes over what a slice of planning changed.
    pub(super) fn note_changes(&mut self, changes: &Changes) {
        self.stale.extend(changes.routes.iter().map(|change| change.prefix));
        let addresses = changes.bind.iter().chain(&changes.unbind).chain(&changes.served);
        self.stale.extend(addresses.map(|address| host_route(*address)));
    }

    pub(super) fn set_echo_reply(&mut self, echo_reply: bool) {
        self.echo_reply = echo_reply;
    }

    pub(super) fn set_report(&mut self, report: FilterReport) {
        self.report = Some(report);
    }

    /// What is wrong with the node's data path.
    pub(super) fn problems(&self) -> &[Problem] {
        self.report.as_ref().map_or(&[], |report| &report.problems)
    }

    /// Addresses that the kernel filters.
    pub(super) fn filtered(&self) -> usize {
        self.report.as_ref().map_or(0, |report| report.addresses)
    }

    /// True unless the driver has told that nothing is filtered.
    pub(super) fn may_stand(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.addresses > 0)
    }

    /// When [`Filtering::update`] has to be called without any event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// Brings the wanted table to what the plans say now.
    pub(super) fn update(&mut self, now: Instant, announcer: &Announcer, world: &World, node: Option<&Node>) {
        let mut stale = std::mem::take(&mut self.stale);
        for key in std::mem::take(&mut self.services) {
            let plan = announcer.service(&key);
            stale.extend(
                plan.iter().flat_map(|plan| plan.addresses.keys()).map(|address| host_route(*address)),
            );
        }
        while let Some((at, prefix)) = self.queue.front().copied().filter(|(at, _)| *at <= now) {
            self.queue.pop_front();
            if self.leaving.get(&prefix) == Some(&at) {
                stale.insert(prefix);
            }
        }
        let (leaving, queue, echo_reply) = (&mut self.leaving, &mut self.queue, self.echo_reply);
        self.wanted.send_if_modified(|wanted| {
            let first = wanted.is_none();
            let table = wanted.get_or_insert_default();
            let mut changed = first || std::mem::replace(&mut table.echo_reply, echo_reply) != echo_reply;
            table.echo_reply = echo_reply;
            // An aggregate that comes or goes says of every address in it whether packets for it may arrive.
            let aggregates = stale.iter().filter(|prefix| {
                address_of(**prefix).is_none()
                    && holds(table, **prefix) != needed(announcer, world, node, **prefix).is_some()
            });
            let within: Vec<IpNet> =
                aggregates.flat_map(|prefix| announcer.addresses_in(*prefix)).map(host_route).collect();
            stale.extend(within);
            for prefix in stale {
                let needed = needed(announcer, world, node, prefix);
                if needed.is_some() {
                    leaving.remove(&prefix);
                } else if leaving.get(&prefix).is_none_or(|at| *at > now) {
                    if holds(table, prefix) && !leaving.contains_key(&prefix) {
                        leaving.insert(prefix, now + LINGER);
                        queue.push_back((now + LINGER, prefix));
                    }
                    continue;
                } else {
                    leaving.remove(&prefix);
                }
                changed |= set(table, prefix, needed);
            }
            changed
        });
    }

    /// Wants nothing to be filtered any more.
    pub(super) fn end(&self) {
        self.wanted.send_replace(Some(FilterTable::default()));
    }
}

/// The address of a host route.
fn address_of(prefix: IpNet) -> Option<IpAddr> {
    (prefix.prefix_len() == prefix.max_prefix_len()).then(|| prefix.addr())
}

/// The ports that are to pass to a prefix that this node announces or binds; none where it is an aggregate. `None`
/// where nothing is to be filtered.
///
/// Of an address in an announced aggregate the ports of all its Services pass, also of those that this node does not
/// announce: their traffic may arrive here, from routers by the aggregate and from this node's Pods in any case, and
/// whether it can be served is kube-proxy's to say.
fn needed(
    announcer: &Announcer,
    world: &World,
    node: Option<&Node>,
    prefix: IpNet,
) -> Option<BTreeSet<Port>> {
    let Some(address) = address_of(prefix) else {
        let announced = announcer.wanted().values().any(|routes| routes.contains_key(&prefix));
        return announced.then(BTreeSet::new);
    };
    // Whoever announces a node's own address must not lose the way to the node by it.
    if node.is_some_and(|node| node.addresses.contains(&address)) {
        return None;
    }
    let in_aggregate = announcer.in_aggregate(address);
    let mut ports: Option<BTreeSet<Port>> = None;
    for key in announcer.services_of(address) {
        if in_aggregate || announcer.service(key).is_some_and(|plan| plan.serves(address)) {
            let service = world.services().get(key);
            ports.get_or_insert_default().extend(service.iter().flat_map(|service| &service.ports));
        }
    }
    ports
}

fn holds(table: &FilterTable, prefix: IpNet) -> bool {
    match address_of(prefix) {
        Some(address) => table.addresses.contains_key(&address),
        None => table.aggregates.contains(&prefix),
    }
}

/// Sets what the table says of a prefix; true where that changed it.
fn set(table: &mut FilterTable, prefix: IpNet, ports: Option<BTreeSet<Port>>) -> bool {
    match (address_of(prefix), ports) {
        (Some(address), Some(ports)) => {
            if table.addresses.get(&address) == Some(&ports) {
                return false;
            }
            table.addresses.insert(address, ports);
            true
        }
        (Some(address), None) => table.addresses.remove(&address).is_some(),
        (None, Some(_)) => table.aggregates.insert(prefix),
        (None, None) => table.aggregates.remove(&prefix),
    }
}

#[cfg(test)]
mod tests;
