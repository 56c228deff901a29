//! Bellhop's BGP task beside four other announcers, each with the same session to the same FRR: 11,000 routes of one
//! attribute set and of 1,000, and one more route while 11,000 stand.
//!
//! Each is asked in the quickest way that it has: BIRD by a new configuration, GoBGP by a stream of routes (its `mrt inject`), ExaBGP
//! by the text API with many prefixes in a command, FRR by `vtysh -f`. What is prepared before the clock starts is files.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
pub mod task;

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bellhop_core::route::Family;
use bellhop_lab::observe::bgp::neighbors;
use bellhop_lab::wait::wait_for;

use crate::bulk::{DEADLINE, V4, V6};
use crate::row::{Row, Unit, milliseconds};
use crate::wire::{NODE, Wire};
use crate::world::address;

/// Most UPDATEs of ours for the bulk of one set: as many as its prefixes fill.
pub const ONE_SET_UPDATES_MAX: u64 = 18;
/// Sets of the bulk of many, so that each has 10 prefixes of IPv4 and one of IPv6.
pub const SETS: u32 = 1_000;
/// Most UPDATEs of ours for it: one for each set and family.
pub const SETS_UPDATES_MAX: u64 = 2 * SETS as u64;

/// How often each bulk is measured, each time with a new router and a new announcer.
const ROUNDS: usize = 3;
/// Routes that come one at a time while the bulk stands.
const ONE_MORE: u32 = 20;
/// Between one more and the next, so that each finds everybody idle.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the router must have received nothing before it is asked for more.
const QUIET: Duration = Duration::from_millis(300);
/// How long the session may take to come up.
const SESSION_DEADLINE: Duration = Duration::from_secs(30);

/// Routes to announce together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Numbers of the IPv4 routes.
    pub v4: Range<u32>,
    /// Numbers of the IPv6 routes.
    pub v6: Range<u32>,
    /// How many attribute sets they have, in turn: the MED tells them apart.
    pub sets: u32,
}

/// One route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Its address, which is announced as a host route.
    pub address: IpAddr,
    /// Its MED.
    pub med: u32,
}

impl Route {
    fn prefix(self) -> String {
        format!("{}/{}", self.address, if self.address.is_ipv4() { 32 } else { 128 })
    }
}

impl Batch {
    /// The bulk, with so many attribute sets.
    pub fn bulk(sets: u32) -> Self {
        Self { v4: 0..V4, v6: 0..V6, sets }
    }

    /// Its routes, IPv4 first.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        let sets = self.sets;
        let of =
            move |family| move |number| Route { address: address(family, number), med: 1 + number % sets };
        self.v4.clone().map(of(Family::Ipv4)).chain(self.v6.clone().map(of(Family::Ipv6)))
    }

    /// The routes of each set and family.
    fn groups(&self) -> Vec<(Route, Vec<Route>)> {
        let mut groups = std::collections::BTreeMap::new();
        for route in self.routes() {
            let group: &mut Vec<Route> = groups.entry((route.address.is_ipv6(), route.med)).or_default();
            group.push(route);
        }
        groups.into_values().map(|routes| (routes[0], routes)).collect()
    }
}

/// An announcer whose session with the router is up.
pub trait Rival: Sized {
    /// Its name.
    const NAME: &'static str;
    /// It can announce many attribute sets within minutes.
    const MANY_SETS: bool = true;

    /// Starts it in the node's namespace, without routes.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(benches: &Path, wire: &Wire) -> Result<Self>;

    /// Announces routes beside those of before; returns when that began.
    ///
    /// # Errors
    /// When it does not take them.
    fn announce(&mut self, wire: &Wire, batch: &Batch) -> Result<Instant>;
}

/// A process that ends with the value.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was measured of one of them.
struct Figures {
    name: &'static str,
    one_set: (Vec<Duration>, Vec<f64>),
    many_sets: (Vec<Duration>, Vec<f64>),
    more: Vec<Duration>,
}

/// Measures.
///
/// # Errors
/// Without root, FRR or one of the others, or when routes do not arrive.
pub fn run(benches: &Path) -> Result<Vec<Row>> {
    let ours = figures_of::<task::Task>(benches)?;
    let others = [
        figures_of::<bird::Bird>(benches)?,
        figures_of::<gobgp::GoBgp>(benches)?,
        figures_of::<exabgp::ExaBgp>(benches)?,
        figures_of::<frr::Frr>(benches)?,
    ];
    let mut rows = Vec::new();
    for figures in std::iter::once(&ours).chain(&others) {
        let is_ours = figures.name == ours.name;
        let asked = |row: Row, most: f64| if is_ours { row.at_most(most) } else { row };
        let row = |what: &str, unit, samples: &[f64]| {
            (!samples.is_empty())
                .then(|| Row::of("rivals", format!("{}: {what}", figures.name), unit, samples.to_vec()))
        };
        let (time, updates) = &figures.one_set;
        rows.extend(
            row("one set, all in FRR", Unit::Milliseconds, &milliseconds(time)).map(|row| asked(row, 100.0)),
        );
        rows.extend(
            row("one set, UPDATEs", Unit::Count, updates).map(|row| asked(row, ONE_SET_UPDATES_MAX as f64)),
        );
        let (time, updates) = &figures.many_sets;
        rows.extend(row("1,000 sets, all in FRR", Unit::Milliseconds, &milliseconds(time)));
        rows.extend(
            row("1,000 sets, UPDATEs", Unit::Count, updates).map(|row| asked(row, SETS_UPDATES_MAX as f64)),
        );
        rows.extend(
            row("one more, in FRR", Unit::Milliseconds, &milliseconds(&figures.more))
                .map(|row| asked(row, 5.0)),
        );
    }
    type Of = fn(&Figures) -> &[Duration];
    let kinds: [(&str, Of); 3] = [
        ("one set", |figures| &figures.one_set.0),
        ("1,000 sets", |figures| &figures.many_sets.0),
        ("one more", |figures| &figures.more),
    ];
    for (what, of) in kinds {
        let best = others.iter().filter_map(|other| median(of(other))).min();
        if let (Some(ours), Some(best)) = (median(of(&ours)), best) {
            let ratio = ours.as_secs_f64() / best.as_secs_f64();
            let what = format!("{what}: our time over the quickest other's");
            rows.push(Row::one("rivals", what, Unit::Ratio, ratio).at_most(1.0));
        }
    }
    Ok(rows)
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied()
}

fn figures_of<R: Rival>(benches: &Path) -> Result<Figures> {
    figures::<R>(benches).with_context(|| R::NAME)
}

fn figures<R: Rival>(benches: &Path) -> Result<Figures> {
    let mut figures = Figures {
        name: R::NAME,
        one_set: Default::default(),
        many_sets: Default::default(),
        more: Vec::new(),
    };
    for round in 0..ROUNDS {
        let (wire, mut rival) = up::<R>(benches, &format!("one{round}"))?;
        bulk(&wire, &mut rival, 1, &mut figures.one_set)?;
        if round == 0 {
            for number in V4..V4 + ONE_MORE {
                std::thread::sleep(PAUSE);
                let begin = rival.announce(&wire, &Batch { v4: number..number + 1, v6: 0..0, sets: 1 })?;
                figures.more.push(wire.visible(begin, DEADLINE, |seen| seen.v4 == u64::from(number + 1))?);
            }
        }
    }
    for round in 0..ROUNDS * usize::from(R::MANY_SETS) {
        let (wire, mut rival) = up::<R>(benches, &format!("many{round}"))?;
        bulk(&wire, &mut rival, SETS, &mut figures.many_sets)?;
    }
    Ok(figures)
}

/// A new router and a new announcer, with a session between them and no route.
///
/// # Errors
/// When no session comes up.
pub fn up<R: Rival>(benches: &Path, name: &str) -> Result<(Wire, R)> {
    let wire = Wire::up(&format!("{}-{name}", R::NAME.to_lowercase()))?;
    let rival = R::start(benches, &wire)?;
    wait_for(&format!("a session with {}", R::NAME), SESSION_DEADLINE, || {
        let neighbors = neighbors(wire.frr()).map_err(|error| format!("{error:#}"))?;
        let state = neighbors.get(&NODE).map(|node| node.state.clone()).unwrap_or_default();
        if state == "Established" { Ok(()) } else { Err(state) }
    })?;
    quiet(&wire)?;
    Ok((wire, rival))
}

/// Waits until the router has received nothing for a while, and returns how many UPDATEs it has received so far.
///
/// # Errors
/// When bgpd does not answer.
pub fn quiet(wire: &Wire) -> Result<u64> {
    loop {
        let before = wire.messages()?.updates_recv;
        std::thread::sleep(QUIET);
        if wire.messages()?.updates_recv == before {
            return Ok(before);
        }
    }
}

fn bulk<R: Rival>(
    wire: &Wire,
    rival: &mut R,
    sets: u32,
    (times, updates): &mut (Vec<Duration>, Vec<f64>),
) -> Result<()> {
    let before = quiet(wire)?;
    let begin = rival.announce(wire, &Batch::bulk(sets))?;
    times.push(wire.visible(begin, DEADLINE, |seen| (seen.v4, seen.v6) == (V4.into(), V6.into()))?);
    updates.push((quiet(wire)? - before) as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_of_many_sets_has_eleven_routes_of_each() {
        let batch = Batch::bulk(SETS);
        assert_eq!(batch.routes().count(), (V4 + V6) as usize);
        let groups = batch.groups();
        assert_eq!(groups.len(), 2 * SETS as usize);
        assert!(groups.iter().all(|(first, group)| group.iter().all(|route| route.med == first.med)));
    }
}
