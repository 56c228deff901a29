//! 11,000 routes with one attribute set into FRR, one more at a time while they stand, and other attributes for all.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bellhop_lab::observe::kernel::bgp_routes;
use bellhop_lab::wait::wait_for;

use crate::row::{Row, Unit, megabytes, milliseconds};
use crate::speaker::Speaker;
use crate::wire::{Prefixes, Wire};

/// IPv4 routes of the bulk.
pub const V4: u32 = 10_000;
/// IPv6 routes of the bulk.
pub const V6: u32 = 1_000;
/// Most UPDATEs that the bulk may take. 4,096 bytes hold some 800 IPv4 or 230 IPv6 prefixes, so at least 18 it does.
pub const UPDATES_MAX: u64 = 25;
/// Services that come one at a time while the bulk stands.
pub const ONE_MORE: u32 = 20;

/// How long the router may take to show what it was sent.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between one more Service and the next, so that each finds everybody idle.
const PAUSE: Duration = Duration::from_millis(50);
/// Times that the bulk is measured, each with a new router and a new speaker.
const ROUNDS: usize = 3;

#[derive(Default)]
struct Samples {
    bulk: Vec<Duration>,
    updates: Vec<f64>,
    memory: Vec<f64>,
    peak: Vec<f64>,
    more: Vec<Duration>,
    changed: Vec<Duration>,
    changed_updates: Vec<f64>,
    gone: Vec<Duration>,
}

/// Measures.
///
/// # Errors
/// Without root or FRR, or when routes do not arrive.
pub fn run(benches: &Path) -> Result<Vec<Row>> {
    let mut samples = Samples::default();
    for round in 0..ROUNDS {
        one_round(benches, round, &mut samples)?;
    }
    let row = |what: &str, unit, samples| Row::of("bulk", what, unit, samples);
    let routes = format!("{V4} IPv4 and {V6} IPv6 routes");
    Ok(vec![
        row(&format!("{routes}: all visible in FRR"), Unit::Milliseconds, milliseconds(&samples.bulk)),
        row(&format!("{routes}: UPDATEs"), Unit::Count, samples.updates).at_most(UPDATES_MAX as f64),
        row(&format!("{routes}: memory above the idle process"), Unit::Megabytes, samples.memory)
            .at_most(30.0),
        row(&format!("{routes}: its peak above the idle process"), Unit::Megabytes, samples.peak),
        row(
            "one more Service while they stand: visible in FRR",
            Unit::Milliseconds,
            milliseconds(&samples.more),
        )
        .at_most(10.0),
        row(
            "one Service goes while they stand: gone from FRR",
            Unit::Milliseconds,
            milliseconds(&samples.gone),
        ),
        row(
            "other attributes for all: all changed in FRR",
            Unit::Milliseconds,
            milliseconds(&samples.changed),
        ),
        row("other attributes for all: UPDATEs", Unit::Count, samples.changed_updates),
    ])
}

fn one_round(benches: &Path, round: usize, samples: &mut Samples) -> Result<()> {
    let wire = Wire::up(&format!("bulk{round}"))?;
    let mut speaker = Speaker::start(benches, wire.node(), &wire.folder().join("state"))?;
    let idle = speaker.memory()?.resident;
    let before = speaker.sent()?;

    speaker.prepare(0..V4, 0..V6)?;
    let begin = speaker.apply()?;
    let all = |v4: u32| move |seen: &Prefixes| seen.v4 == u64::from(v4) && seen.v6 == u64::from(V6);
    samples.bulk.push(wire.visible(begin, DEADLINE, all(V4))?);
    samples.updates.push((speaker.sent()?.updates - before.updates) as f64);
    let memory = speaker.memory()?;
    samples.memory.push(megabytes(memory.resident.saturating_sub(idle)));
    samples.peak.push(megabytes(memory.peak.saturating_sub(idle)));

    // The router still installs the bulk in its kernel; one more is measured once that is over.
    wait_until_installed(&wire)?;
    for number in V4..V4 + ONE_MORE {
        speaker.prepare(number..number + 1, 0..0)?;
        std::thread::sleep(PAUSE);
        let begin = speaker.apply()?;
        samples.more.push(wire.visible(begin, DEADLINE, all(number + 1))?);
    }
    for number in (V4..V4 + ONE_MORE).rev() {
        std::thread::sleep(PAUSE);
        let begin = speaker.remove(number..number + 1)?;
        samples.gone.push(wire.visible(begin, DEADLINE, all(number))?);
    }

    let (sent, seen) = (speaker.sent()?.updates, wire.prefixes()?.v4_version);
    let begin = speaker.attributes(2)?;
    let changed = |now: &Prefixes| now.v4_version >= seen + u64::from(V4);
    samples.changed.push(wire.visible(begin, DEADLINE, changed)?);
    std::thread::sleep(PAUSE);
    samples.changed_updates.push((speaker.sent()?.updates - sent) as f64);
    Ok(())
}

/// Waits until the router's kernel has every route of the bulk.
fn wait_until_installed(wire: &Wire) -> Result<()> {
    wait_for("the router's kernel has all routes", DEADLINE, || {
        let count = bgp_routes(wire.router()).map_err(|error| format!("{error:#}"))?.len();
        if count == (V4 + V6) as usize { Ok(()) } else { Err(format!("{count} routes")) }
    })?;
    Ok(())
}
