//! Traffic that goes on while something is done to the installation, and the proof that nobody noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_lab::load::{Failure, Load, Report};
use bellhop_lab::observe::bgp::{UpdateLog, host_route};
use bellhop_lab::observe::kernel::{Change, Event, Recording, bgp_routes};
use bellhop_test_cluster::network::Requests;
use bellhop_test_cluster::{Cluster, wait_for};

use crate::moved::Changes;
use crate::routes::url;
use crate::site::{SOON, Site};

/// Between two requests to the same address: some fifty in a second, each over a connection of its own.
const PAUSE: Duration = Duration::from_millis(20);
/// Fewer requests than these prove nothing: traffic goes on until they were made.
const ENOUGH: u64 = 100;

/// Next hops in the router's kernel, by address.
type NextHops = BTreeMap<IpAddr, BTreeSet<IpAddr>>;

/// Requests to some addresses, and a recording of the router's routes.
#[derive(Debug)]
pub struct Traffic {
    before: NextHops,
    requests: Requests,
    recording: Recording,
    heard: UpdateLog,
}

/// What went on meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Requests made.
    pub requests: u64,
    /// Connections that a rehash of the router's next hops moved to another node, see [`crate::moved`].
    pub moved: u64,
}

impl Site {
    /// Starts traffic to addresses that answer already.
    ///
    /// # Errors
    /// When the client or the router is not there.
    pub fn traffic(&self, name: &str, addresses: &[IpAddr]) -> Result<Traffic> {
        let cluster = self.cluster()?;
        let urls: Vec<_> = addresses.iter().map(|address| url(*address)).collect();
        let heard = UpdateLog::start(self.frr()?.clone())?;
        let before = next_hops(cluster, addresses)?;
        let recording = cluster.record_routes(name)?;
        let at_least = ENOUGH.div_ceil(urls.len().max(1) as u64);
        let requests = cluster.requests(Load { at_least, ..Load::steady(&urls, PAUSE) })?;
        Ok(Traffic { before, requests, recording, heard })
    }
}

impl Traffic {
    /// Ends it; the router must not have lost a route for an instant, and no request may have failed.
    ///
    /// # Errors
    /// With every deletion and failure.
    pub fn without_loss(self) -> Result<Passed> {
        let deleted = |event: &&Event| event.change == Change::Deleted;
        self.end(|_, own| {
            let deletions: Vec<_> = own.iter().filter(deleted).collect();
            ensure!(deletions.is_empty(), "the router's kernel deleted routes: {deletions:#?}");
            Ok(())
        })
    }

    /// Ends it; no node may have withdrawn one of the addresses or lost its place among the router's next hops for an instant,
    /// all of them are next hops still, and no request may have failed.
    ///
    /// # Errors
    /// With every withdrawal, next hop that was lost, and failure.
    pub fn without_withdrawal(self, site: &Site) -> Result<Passed> {
        let addresses: Vec<_> = self.before.keys().copied().collect();
        let passed = self.end(|traffic, own| {
            let withdrawn = traffic.heard.withdrawals()?;
            let ours = |line: &&String| addresses.iter().any(|address| line.contains(&host_route(*address)));
            let withdrawn: Vec<_> = withdrawn.iter().filter(ours).collect();
            ensure!(withdrawn.is_empty(), "routes were withdrawn: {withdrawn:#?}");
            let lost = lost(&traffic.before, own);
            ensure!(lost.is_empty(), "next hops were lost: {lost:#?}");
            let before = &traffic.before;
            wait_for("the router reaches the addresses as before", SOON, || {
                let now = site.cluster().and_then(|cluster| next_hops(cluster, &addresses));
                let now = now.map_err(|error| format!("{error:#}"))?;
                if now == *before { Ok(()) } else { Err(format!("by {now:?}, before by {before:?}")) }
            })?;
            Ok(())
        })?;
        Ok(passed)
    }

    /// Ends it; no request may have failed, and routes may have changed.
    ///
    /// # Errors
    /// With the failures.
    pub fn without_failure(self) -> Result<Passed> {
        self.end(|_, _| Ok(()))
    }

    /// Ends it; `routes` judges the router's changes of the routes to these addresses, and then no request may have failed.
    fn end(mut self, routes: impl FnOnce(&Self, &[Event]) -> Result<()>) -> Result<Passed> {
        // Routes first, so that what the router does later is nobody's excuse; of requests, those that were open then too.
        let mut events = self.recording.events()?;
        events.retain(|event| self.before.keys().any(|address| address.to_string() == event.destination));
        routes(&self, &events)?;
        let report = self.requests.stop()?;
        passed(&report, self.before.keys().copied(), &Changes::of(&self.recording.events()?)?)
    }
}

/// What went on; an error where a connection broke that no change of routes accounts for.
fn passed(report: &Report, addresses: impl Iterator<Item = IpAddr>, changes: &Changes) -> Result<Passed> {
    let mut moved = 0;
    for address in addresses {
        let tally = report.of(url(address));
        let broken: Vec<&Failure> = tally.moves.iter().chain(&tally.failures).collect();
        let failed: Vec<_> = broken.iter().filter(|one| !changes.moved(address, one)).collect();
        ensure!(failed.is_empty(), "{report}; no change of the route to {address} accounts for {failed:#?}");
        let count = tally.moved + tally.failed;
        ensure!(
            count == broken.len() as u64,
            "{report}; of {address} too many to tell when they broke: {count}"
        );
        moved += count;
    }
    ensure!(report.requests() >= ENOUGH, "only {} requests were made", report.requests());
    Ok(Passed { requests: report.requests(), moved })
}

/// The next hops of addresses in the router's kernel, at this moment.
fn next_hops(cluster: &Cluster, addresses: &[IpAddr]) -> Result<NextHops> {
    let routes = bgp_routes(&cluster.router())?;
    let of = |address: &IpAddr| routes.get(&address.to_string()).into_iter().flatten().copied().collect();
    Ok(addresses.iter().map(|address| (*address, of(address))).collect())
}

/// The changes after which an address had fewer of its next hops than before.
fn lost<'a>(before: &NextHops, events: &'a [Event]) -> Vec<&'a str> {
    let mut hops: BTreeMap<String, BTreeSet<IpAddr>> =
        before.iter().map(|(address, hops)| (address.to_string(), hops.clone())).collect();
    let mut lost = Vec::new();
    for event in events {
        let after = if event.change == Change::Set { event.gateways() } else { BTreeSet::new() };
        let before = hops.insert(event.destination.clone(), after.clone()).unwrap_or_default();
        if !before.is_subset(&after) {
            lost.push(event.line.as_str());
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bellhop_lab::http::{RequestError, Stage};
    use bellhop_lab::load::Tally;

    use super::*;

    const ADDRESS: &str = "203.0.113.10";

    fn event(change: Change, hops: &[&str]) -> Event {
        let vias: String =
            hops.iter().map(|hop| format!("\tnexthop via {hop} dev fabric weight 1 ")).collect();
        let (destination, at) = (ADDRESS.to_owned(), "2026-01-02T03:04:05.678901".to_owned());
        Event { at, change, destination, line: format!("{ADDRESS} nhid 9 proto bgp \\{vias}") }
    }

    #[test]
    fn a_next_hop_that_goes_is_lost_though_the_route_stays() {
        let three = ["192.0.2.11", "192.0.2.12", "192.0.2.13"];
        let before: NextHops =
            [(ADDRESS.parse().unwrap(), three.iter().map(|hop| hop.parse().unwrap()).collect())].into();
        let count = |events: &[Event]| lost(&before, events).len();
        assert_eq!(count(&[event(Change::Set, &three)]), 0);
        assert_eq!(count(&[event(Change::Set, &three[1..])]), 1);
        // Each loss counts, though the next hop comes back.
        assert_eq!(count(&[event(Change::Set, &three[1..]), event(Change::Set, &three)]), 1);
        assert_eq!(count(&[event(Change::Deleted, &[])]), 1);
    }

    #[test]
    fn a_connection_that_broke_while_no_route_changed_is_a_failure() {
        let address: IpAddr = ADDRESS.parse().unwrap();
        let error = RequestError { stage: Stage::Answer, source: std::io::ErrorKind::ConnectionReset.into() };
        let reset = Failure::now(SystemTime::now(), &error);
        let tally = |moved, moves| Tally { requests: ENOUGH, moved, moves, ..Tally::default() };
        let judged = |tally| {
            let report = Report([(url(address).to_string(), tally)].into());
            passed(&report, std::iter::once(address), &Changes::default())
        };
        assert_eq!(judged(tally(0, Vec::new())).unwrap(), Passed { requests: ENOUGH, moved: 0 });
        assert!(judged(tally(1, vec![reset])).is_err());
        assert!(judged(tally(1, Vec::new())).is_err(), "one that the report does not tell of");
    }
}
