//! Addresses for many Services at once, beside a bare client that makes the same writes from the same database; and a
//! controller that starts where all of them stand.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::api::{Api, Written};
use super::counts::{Writes, processor_seconds};
use super::metallb;
use super::objects::{self, SERVICES, Service};
use super::programs::Program;
use super::site::{Site, Snapshot, wait_until};
use crate::process::{Memory, processor_time};
use crate::row::{Row, Unit, megabytes};

/// How many writes the bare client tries to have under way at a time, before it is measured; it keeps what was fastest.
const CONCURRENCIES: [usize; 3] = [8, 16, 32];
/// How often the bare client and the controller are measured in turn.
const ROUNDS: usize = 5;
/// From this many Services on once: what disturbs a run of half a minute for a moment does not show.
const LONG: u32 = 10_000;
/// The most Services that peers are measured with: MetalLB needs minutes for ten times as many.
const PEERS_MAX: u32 = 1_000;
/// With what Services are made, which is not measured.
pub(super) const MAKING: usize = 16;
/// The most that the controller may take of a bare client's time.
const RATIO_MAX: f64 = 1.25;
/// The most that a new leader may take to give the next Service its address.
const NEXT_MAX: Duration = Duration::from_secs(5);
/// How long anything may take that concerns all Services: six times what 10,000 need on two processors.
pub(super) const DEADLINE: Duration = Duration::from_secs(600);
/// How long nothing more must be written for counts to be final: longer than a controller waits for the first report on a
/// new Service before it says that no node announces it.
const QUIET: Duration = Duration::from_secs(20);

/// Services that stand, and whoever gave them addresses.
#[derive(Debug)]
pub struct Standing {
    /// The Services as they were made, by number.
    created: Vec<Written>,
    /// The database with them, before they had addresses.
    snapshot: Option<Snapshot>,
    /// What the bare client does best with.
    concurrency: Option<usize>,
    /// The controller.
    pub(super) controller: Option<Program>,
}

impl Standing {
    /// None.
    pub fn none() -> Self {
        Self { created: Vec::new(), snapshot: None, concurrency: None, controller: None }
    }

    /// How many.
    pub fn services(&self) -> u32 {
        self.created.len() as u32
    }
}

/// Makes Services until there are so many, without addresses, and measures how they get them.
///
/// # Errors
/// When they do not get them in time.
pub fn run(site: &Site, services: u32, before: Standing, rows: &mut Vec<Row>) -> Result<Standing> {
    let Standing { mut created, snapshot, concurrency, controller } = before;
    if let (Some(controller), Some(snapshot)) = (controller, snapshot) {
        controller.kill();
        site.restore(&snapshot)?;
    }
    let api = site.administrator()?;
    let have = created.len() as u32;
    created.extend(api.all(MAKING, (have..services).map(objects::service).collect())?);
    let snapshot = site.snapshot(&format!("services-{services}"))?;

    let concurrency = match concurrency {
        Some(known) => known,
        None => best_concurrency(site, &snapshot, &created)?,
    };
    let metallb = match metallb::folder().filter(|_| services <= PEERS_MAX) {
        None => None,
        Some(folder) => {
            let time = metallb::run(site, &folder, services, rows).context("MetalLB")?;
            site.restore(&snapshot)?;
            Some(time)
        }
    };
    let mut rounds = Rounds::default();
    for _ in 0..if services < LONG { ROUNDS } else { 1 } {
        if let Some(controller) = rounds.controller.take() {
            controller.kill();
            site.restore(&snapshot)?;
        }
        rounds.bare.push(bare_client(site, &created, concurrency).context("the bare client")?);
        site.restore(&snapshot)?;
        let (run, controller) = controller_run(site, services)?;
        rounds.controlled.push(run);
        rounds.controller = Some(controller);
    }
    let controller = rounds.controller.take().context("no round")?;
    let bare = rounds.rows(services, concurrency, rows);
    rows.extend(metallb.map(|time| metallb::over_bare_client(services, time, bare)));
    rows.extend(afterwards(site, services, &controller)?);

    Ok(Standing {
        created,
        snapshot: Some(snapshot),
        concurrency: Some(concurrency),
        controller: Some(controller),
    })
}

fn best_concurrency(site: &Site, snapshot: &Snapshot, created: &[Written]) -> Result<usize> {
    let mut best: Option<(Duration, usize)> = None;
    for concurrency in CONCURRENCIES {
        let time = bare_client(site, created, concurrency).context("the bare client")?.time;
        site.restore(snapshot)?;
        if best.is_none_or(|(least, _)| time < least) {
            best = Some((time, concurrency));
        }
    }
    Ok(best.context("no concurrency to try")?.1)
}

/// One measured run: from when whoever gives addresses could begin, until a watch showed the last.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Run {
    time: Duration,
    /// Of a controller, from its start to leading.
    leading: Duration,
    /// Processor time of the controller's process since it started.
    own: Duration,
    /// Processor time that the API server took meanwhile, in seconds.
    server: f64,
}

/// The bare client and the controller in turn, always from the same database.
#[derive(Debug, Default)]
struct Rounds {
    bare: Vec<Run>,
    controlled: Vec<Run>,
    /// The last controller, which runs on.
    controller: Option<Program>,
}

impl Rounds {
    /// Tells what was measured; returns the bare client's time, in seconds.
    fn rows(&self, services: u32, concurrency: usize, rows: &mut Vec<Row>) -> f64 {
        let row = |what: &str, unit, runs: &[Run], figure: fn(&Run) -> f64| {
            let what = format!("{services} Services: {what}");
            Row::of("cluster", what, unit, runs.iter().map(figure).collect())
        };
        let (bare, controlled) = (&self.bare, &self.controlled);
        let until_all = |who: &str| format!("{who} until all have addresses");
        let bare_client = format!("bare client, {concurrency} at a time,");
        let ratios = bare.iter().zip(controlled).map(|(bare, own)| own.time.div_duration_f64(bare.time));
        let ratios = Row::of(
            "cluster",
            format!("{services} Services: controller over bare client"),
            Unit::Ratio,
            ratios.collect(),
        );
        let time = |run: &Run| run.time.as_secs_f64();
        let bare_time = row(&until_all(&bare_client), Unit::Seconds, bare, time);
        let median = bare_time.median;
        rows.extend([
            bare_time,
            row(&until_all("controller, from leading and ready"), Unit::Seconds, controlled, time),
            ratios.at_most(RATIO_MAX),
            row("controller, from its start to leading", Unit::Seconds, controlled, |run| {
                run.leading.as_secs_f64()
            }),
            row("processor time of the controller", Unit::Seconds, controlled, |run| run.own.as_secs_f64()),
            row("processor time of the API server, bare client", Unit::Seconds, bare, |run| run.server),
            row("processor time of the API server, controller", Unit::Seconds, controlled, |run| run.server),
        ]);
        median
    }
}

/// Has the bare client give every Service its address; how long until a watch shows the last.
fn bare_client(site: &Site, created: &[Written], concurrency: usize) -> Result<Run> {
    let (api, administrator) = (site.as_controller()?, site.administrator()?);
    let chains =
        created.iter().zip(0..).map(|(service, number)| objects::allocation(number, service)).collect();
    let mut observation = api.observe::<Service>(SERVICES, Service::with_address)?;
    let before = processor_seconds(&administrator)?;
    let begin = SystemTime::now();
    api.chains(concurrency, chains)?;
    let end = observation.wait(&api, created.len(), DEADLINE)?;
    let run = Run {
        time: end.duration_since(begin)?,
        leading: Duration::ZERO,
        own: Duration::ZERO,
        server: processor_seconds(&administrator)? - before,
    };
    eprintln!("  {} Services, bare client, {concurrency} at a time: {:.2?}", created.len(), run.time);
    Ok(run)
}

fn controller_run(site: &Site, services: u32) -> Result<(Run, Program)> {
    let api = site.administrator()?;
    let mut observation = api.observe::<Service>(SERVICES, Service::with_address)?;
    let begin = SystemTime::now();
    let mut controller = site.start_controller()?;
    let ready = site.wait_until_ready(&mut controller)?;
    let leads = site.wait_for_leader(&api, &mut controller)?;
    let before = processor_seconds(&api)?;
    let end = observation.wait_for_program(&api, services as usize, DEADLINE, &mut controller)?;
    let run = Run {
        time: end.duration_since(ready.max(leads))?,
        leading: leads.duration_since(begin)?,
        own: processor_time(controller.pid())?,
        server: processor_seconds(&api)? - before,
    };
    eprintln!("  {services} Services, controller, until all have addresses: {:.2?}", run.time);
    Ok((run, controller))
}

/// What a controller has written since the API server's start, once it has nothing more to write; and its memory.
fn afterwards(site: &Site, services: u32, controller: &Program) -> Result<Vec<Row>> {
    let row =
        |what: &str, unit, figure| Row::one("cluster", format!("{services} Services: {what}"), unit, figure);
    let all = quiet(&site.administrator()?)?;
    eprintln!("  {services} Services, controller, all writes: {all}");
    let memory = Memory::of(controller.pid())?;
    Ok(vec![
        row("writes of claims", Unit::Count, all.to("addressclaims") as f64).at_most(services.into()),
        row("writes of Services, Announced among them", Unit::Count, all.to("services/status") as f64)
            .at_most((2 * services).into()),
        row("Events", Unit::Count, all.to("events") as f64),
        row("resident memory of the controller", Unit::Megabytes, megabytes(memory.resident)),
        row("its peak", Unit::Megabytes, megabytes(memory.peak)),
    ])
}

/// Waits until nothing but Leases is written any more; what was written until then.
///
/// # Errors
/// When there is no end of it.
pub(super) fn quiet(api: &Api) -> Result<Writes> {
    let news = |writes: &Writes| writes.but_to(&["leases"]);
    let mut last = (Writes::of(api)?, SystemTime::now());
    wait_until("nothing is written any more", DEADLINE, || {
        std::thread::sleep(Duration::from_secs(1));
        let now = Writes::of(api)?;
        if news(&now) != news(&last.0) {
            last = (now, SystemTime::now());
            return Ok(None);
        }
        Ok((last.1.elapsed()? >= QUIET).then_some(now))
    })
}

/// Kills the controller and starts one, where all Services have their addresses.
///
/// # Errors
/// When no controller comes to lead, or a new Service gets no address.
pub fn restart(site: &Site, standing: &mut Standing, rows: &mut Vec<Row>) -> Result<()> {
    let services = standing.services();
    let row = |what: &str, unit, figure| {
        Row::one("cluster", format!("{services} Services standing: {what}"), unit, figure)
    };
    let api = site.administrator()?;
    let before = Writes::of(&api)?;
    let mut observation = api.observe::<Service>(SERVICES, Service::with_address)?;
    standing.controller.take().context("no controller runs")?.kill();
    let mut controller = site.start_controller()?;
    let new = api.write(objects::service(services))?;
    let leads = site.wait_for_leader(&api, &mut controller)?;
    let address =
        observation.wait_for(&api, &new.metadata.name, DEADLINE).with_context(|| controller.log_end())?;
    let writes = quiet(&api)?.since(&before);
    eprintln!("  {services} Services standing, controller killed and started: writes: {writes}");
    // Of the new Service: its claim, and as many writes of its status as were seen.
    let own = observation.count_of(&new.metadata.name);
    ensure!(own > 0, "the new Service has its address without a write");
    let others =
        writes.to("services/status").saturating_sub(own) + writes.to("addressclaims").saturating_sub(1);
    let next = address.duration_since(leads).unwrap_or_default();
    rows.extend([
        row("controller killed and started: writes to Services and claims", Unit::Count, others as f64)
            .at_most(0.0),
        row("new leader: until the next Service has its address", Unit::Seconds, next.as_secs_f64())
            .at_most(NEXT_MAX.as_secs_f64()),
    ]);
    standing.created.push(new);
    standing.controller = Some(controller);
    Ok(())
}
