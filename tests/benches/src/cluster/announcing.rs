//! From Services to routes on the router: Services that come at a steady pace, a speaker that does nothing, and one that starts again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bellhop_lab::frr::Frr;
use bellhop_lab::observe::bgp::{Neighbor, neighbors};
use bellhop_lab::observe::kernel::{Change, Recording};
use serde::Deserialize;

use super::Scale;
use super::allocation::{DEADLINE, MAKING, Standing, quiet};
use super::api::Api;
use super::counts::Writes;
use super::objects;
use super::programs::Program;
use super::site::{NODE, Site, wait_until};
use crate::process::{Memory, processor_time};
use crate::row::{Row, Unit, megabytes, milliseconds, percentile_99};
use crate::wire::{prefixes, visible};

/// EndpointSlices of each Service that stands.
const SLICES: u32 = 2;
/// Between two Services whose way to the router is measured: ten times what each takes of the processors.
const PACE: Duration = Duration::from_millis(100);
/// How long a session, or one more route, may take.
const SOON: Duration = Duration::from_secs(60);
/// The most that a speaker may keep resident.
const MEMORY_MAX_MB: f64 = 120.0;
/// The most processor time that a speaker may use when nothing happens.
const IDLE_MAX_PERCENT: f64 = 0.5;
/// The most UPDATEs that a full table may take; see [`crate::bulk::UPDATES_MAX`].
const UPDATES_MAX: u64 = crate::bulk::UPDATES_MAX;

/// Services that come at a steady pace where there is no other one.
///
/// # Errors
/// When a route does not come.
pub fn idle(site: &Site, count: u32) -> Result<Vec<Row>> {
    let api = site.administrator()?;
    let mut controller = site.start_controller()?;
    let mut speaker = site.start_speaker()?;
    site.wait_for_leader(&api, &mut controller)?;
    wait_for_session(site.frr(), &mut speaker, 0)?;
    let times = paced(site, &api, 0, count).with_context(|| both_logs(&controller, &speaker))?;
    speaker.kill();
    controller.kill();
    Ok(single_rows("no other Service", &times))
}

fn both_logs(controller: &Program, speaker: &Program) -> String {
    format!("controller:\n{}\nspeaker:\n{}", controller.log_end(), speaker.log_end())
}

/// Makes Services from this number on, one every [`PACE`]; how long each took to its route, from before its creation was
/// sent. The router counts routes and does not say which: the first route is taken to be the first Service's, and so on.
fn paced(site: &Site, api: &Api, first: u32, count: u32) -> Result<Vec<Duration>> {
    let numbers = first..first + count;
    api.all(MAKING, numbers.clone().map(|number| objects::slice(number, 0)).collect())?;
    let standing = prefixes(site.frr())?.v4;
    let begin = Instant::now();
    let (frr, total) = (site.frr().clone(), standing + u64::from(count));
    let router = std::thread::spawn(move || -> Result<Vec<Duration>> {
        let mut seen = Vec::new();
        for wanted in standing + 1..=total {
            seen.push(visible(&frr, begin, PACE * count + SOON, |now| now.v4 >= wanted)?);
        }
        Ok(seen)
    });
    let mut made = Vec::new();
    for (number, turn) in numbers.zip(0..) {
        std::thread::sleep((PACE * turn).saturating_sub(begin.elapsed()));
        made.push(begin.elapsed());
        api.write(objects::service(number))?;
    }
    let seen = router.join().map_err(|_| anyhow!("the thread that looks at the router panicked"))??;
    Ok(seen.into_iter().zip(made).map(|(seen, made)| seen.saturating_sub(made)).collect())
}

fn single_rows(state: &str, times: &[Duration]) -> Vec<Row> {
    let samples = milliseconds(times);
    let worst = percentile_99(&samples);
    vec![
        Row::of(
            "cluster",
            format!("{state}: Service created to its route in FRR"),
            Unit::Milliseconds,
            samples,
        ),
        Row::one("cluster", format!("{state}: the same, 99th percentile"), Unit::Milliseconds, worst),
    ]
}

/// What is measured while Services stand that have their addresses.
///
/// # Errors
/// When something does not come about in time.
pub fn standing(site: &Site, mut standing: Standing, scale: Scale) -> Result<Vec<Row>> {
    let services = *scale.services.last().context("no Services to stand")?;
    let state = format!("{services} Services standing");
    let row = |what: &str, unit, figure| Row::one("cluster", format!("{state}: {what}"), unit, figure);
    let api = site.administrator()?;
    let slices = (0..services).flat_map(|number| (0..SLICES).map(move |part| objects::slice(number, part)));
    api.all(MAKING, slices.collect())?;
    let mut controller = standing.controller.take().context("no controller runs")?;

    let before = Writes::of(&api)?;
    let begin = Instant::now();
    let mut speaker = site.start_speaker()?;
    visible(site.frr(), begin, DEADLINE, |seen| seen.v4 == u64::from(services))
        .with_context(|| both_logs(&controller, &speaker))?;
    let mut rows =
        vec![row("speaker started: all routes in FRR", Unit::Seconds, begin.elapsed().as_secs_f64())];
    let announced = quiet(&api)?.since(&before);
    eprintln!("  {state}, announced: writes: {announced}");
    rows.push(
        row("writes of Services for Announced", Unit::Count, announced.to("services/status") as f64)
            .at_most(f64::from(services) + 1.0),
    );

    rows.extend(doing_nothing(&state, &api, [&controller, &speaker], scale.idle)?);
    speaker = restart(site, &state, services, speaker, &mut rows)?;
    let first = standing.services();
    let times = paced(site, &api, first, scale.singles).with_context(|| both_logs(&controller, &speaker))?;
    rows.extend(single_rows(&state, &times));
    controller.expect_running()?;
    Ok(rows)
}

/// Memory, processor time and writes while nothing happens.
fn doing_nothing(state: &str, api: &Api, programs: [&Program; 2], idle: Duration) -> Result<Vec<Row>> {
    let row = |what: &str, unit, figure| Row::one("cluster", format!("{state}: {what}"), unit, figure);
    let used = || -> Result<Vec<Duration>> {
        programs.iter().map(|program| processor_time(program.pid())).collect()
    };
    let writes = Writes::of(api)?;
    let (begin, before) = (Instant::now(), used()?);
    std::thread::sleep(idle);
    let (time, after) = (begin.elapsed(), used()?);
    let writes = Writes::of(api)?.since(&writes);
    eprintln!("  {state}, nothing happens for {time:.0?}: writes: {writes}");
    let percent = |index: usize| (after[index] - before[index]).as_secs_f64() / time.as_secs_f64() * 100.0;
    let memory = Memory::of(programs[1].pid())?;
    Ok(vec![
        row("resident memory of the speaker", Unit::Megabytes, megabytes(memory.resident))
            .at_most(MEMORY_MAX_MB),
        row("its peak", Unit::Megabytes, megabytes(memory.peak)),
        row("speaker when nothing happens", Unit::CorePercent, percent(1)).at_most(IDLE_MAX_PERCENT),
        row("controller when nothing happens", Unit::CorePercent, percent(0)),
        row(
            &format!("writes but for Leases in {:.0} s", time.as_secs_f64()),
            Unit::Count,
            writes.but_to(&["leases"]) as f64,
        )
        .at_most(0.0),
        row("renewals of Leases meanwhile", Unit::Count, writes.to("leases") as f64),
    ])
}

/// Stops the speaker cleanly and starts it.
fn restart(
    site: &Site,
    state: &str,
    services: u32,
    speaker: Program,
    rows: &mut Vec<Row>,
) -> Result<Program> {
    let row = |what: &str, unit, figure| {
        Row::one("cluster", format!("{state}: speaker restarted: {what}"), unit, figure)
    };
    let mut recording = Recording::start(&site.router(), &site.logs().join("bench-routes.log"))?;
    let before = neighbor(site.frr())?;
    speaker.stop()?;
    let begin = Instant::now();
    let mut speaker = site.start_speaker()?;
    wait_for_session(site.frr(), &mut speaker, before.connections_established)?;
    let established = begin.elapsed();
    wait_until("the router has the End-of-RIB", SOON, || {
        speaker.expect_running()?;
        Ok(end_of_rib(site.frr())?.then_some(()))
    })
    .with_context(|| speaker.log_end())?;
    let full = begin.elapsed();
    let routes = prefixes(site.frr())?.v4;
    ensure!(routes == u64::from(services), "{routes} of {services} routes after the End-of-RIB");
    let updates = neighbor(site.frr())?.message_stats.updates_recv - before.message_stats.updates_recv;
    let deleted = recording.events()?.iter().filter(|event| event.change == Change::Deleted).count();
    rows.extend([
        row("until the session is up", Unit::Seconds, established.as_secs_f64()),
        row("until the table is full", Unit::Seconds, full.as_secs_f64()),
        row("UPDATEs", Unit::Count, updates as f64).at_most(UPDATES_MAX as f64),
        row("routes deleted in the router's kernel", Unit::Count, deleted as f64).at_most(0.0),
    ]);
    Ok(speaker)
}

fn neighbor(frr: &Frr) -> Result<Neighbor> {
    neighbors(frr)?.remove(&NODE).context("the router does not know the node")
}

/// Waits for a session after so many earlier ones.
fn wait_for_session(frr: &Frr, speaker: &mut Program, earlier: u64) -> Result<()> {
    wait_until("a session with the router", SOON, || {
        speaker.expect_running()?;
        let neighbor = neighbor(frr)?;
        Ok((neighbor.is_established() && neighbor.connections_established > earlier).then_some(()))
    })
    .with_context(|| speaker.log_end())
}

/// True when the node has said on its session that everything was sent (RFC 4724 §2), for IPv4.
fn end_of_rib(frr: &Frr) -> Result<bool> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Peer {
        graceful_restart_info: Info,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Info {
        end_of_rib_recv: BTreeMap<String, bool>,
    }
    let peers: BTreeMap<String, Peer> = frr.bgpd_json(&format!("show bgp neighbors {} json", NODE.ipv4()))?;
    let mut markers = peers.values().map(|peer| &peer.graceful_restart_info.end_of_rib_recv);
    Ok(markers.any(|families| families.get("ipv4Unicast").copied().unwrap_or_default()))
}
