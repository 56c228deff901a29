//! Addresses for many Services at once, beside a bare client that makes the same writes from the same database; and a
//! controller that starts where all of them stand.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::api::{Api, Written};
use super::counts::Writes;
use super::metallb;
use super::objects::{self, SERVICES, Service};
use super::programs::Program;
use super::site::{Site, Snapshot, wait_until};
use crate::process::{Memory, processor_time};
use crate::row::{Row, Unit, megabytes};

/// How many writes the bare client tries to have under way at a time, on the first run; it keeps what was fastest.
const CONCURRENCIES: [usize; 3] = [8, 16, 32];
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

    let mut bare: Option<(Duration, usize)> = None;
    for concurrency in concurrency.map_or(CONCURRENCIES.to_vec(), |one| vec![one]) {
        let time = bare_client(site, &created, concurrency).context("the bare client")?;
        eprintln!("  {services} Services, bare client, {concurrency} at a time: {time:.1?}");
        if bare.is_none_or(|(best, _)| time < best) {
            bare = Some((time, concurrency));
        }
        site.restore(&snapshot)?;
    }
    let (bare, concurrency) = bare.context("no run of the bare client")?;
    let row =
        |what: &str, unit, figure| Row::one("cluster", format!("{services} Services: {what}"), unit, figure);
    rows.push(row(
        &format!("bare client, {concurrency} at a time, until all have addresses"),
        Unit::Seconds,
        bare.as_secs_f64(),
    ));
    if let (true, Some(metallb)) = (services <= PEERS_MAX, metallb::folder()) {
        metallb::run(site, &metallb, services, bare, rows).context("MetalLB")?;
        site.restore(&snapshot)?;
    }
    let controller = controller_run(site, services, bare, rows)?;
    Ok(Standing {
        created,
        snapshot: Some(snapshot),
        concurrency: Some(concurrency),
        controller: Some(controller),
    })
}

/// Has the bare client give every Service its address; how long until a watch shows the last.
fn bare_client(site: &Site, created: &[Written], concurrency: usize) -> Result<Duration> {
    let api = site.as_controller()?;
    let chains =
        created.iter().zip(0..).map(|(service, number)| objects::allocation(number, service)).collect();
    let mut observation = api.observe::<Service>(SERVICES, Service::with_address)?;
    let begin = SystemTime::now();
    api.chains(concurrency, chains)?;
    let end = observation.wait(&api, created.len(), DEADLINE)?;
    Ok(end.duration_since(begin)?)
}

fn controller_run(site: &Site, services: u32, bare: Duration, rows: &mut Vec<Row>) -> Result<Program> {
    let row =
        |what: &str, unit, figure| Row::one("cluster", format!("{services} Services: {what}"), unit, figure);
    let api = site.administrator()?;
    let before = Writes::of(&api)?;
    let mut observation = api.observe::<Service>(SERVICES, Service::with_address)?;
    let begin = SystemTime::now();
    let mut controller = site.start_controller()?;
    let ready = site.wait_until_ready(&mut controller)?;
    let leads = site.wait_for_leader(&api, &mut controller)?;
    let end = observation.wait_for_program(&api, services as usize, DEADLINE, &mut controller)?;
    let (time, processor) = (end.duration_since(ready.max(leads))?, processor_time(controller.pid())?);
    let at_end = Writes::of(&api)?.since(&before);
    eprintln!("  {services} Services, controller, until all have addresses: {time:.1?}; writes: {at_end}");
    let all = quiet(&api)?.since(&before);
    eprintln!("  {services} Services, controller, all writes: {all}");
    let memory = Memory::of(controller.pid())?;
    rows.extend([
        row("controller, from leading and ready until all have addresses", Unit::Seconds, time.as_secs_f64()),
        row("controller over bare client", Unit::Ratio, time.as_secs_f64() / bare.as_secs_f64())
            .at_most(RATIO_MAX),
        row(
            "controller, from its start to leading",
            Unit::Seconds,
            leads.duration_since(begin)?.as_secs_f64(),
        ),
        row("writes of claims", Unit::Count, all.to("addressclaims") as f64).at_most(services.into()),
        row("writes of Services until all have addresses", Unit::Count, at_end.to("services/status") as f64),
        row("writes of Services, Announced among them", Unit::Count, all.to("services/status") as f64)
            .at_most((2 * services).into()),
        row("Events", Unit::Count, all.to("events") as f64),
        row("processor time of the controller", Unit::Seconds, processor.as_secs_f64()),
        row("resident memory of the controller", Unit::Megabytes, megabytes(memory.resident)),
        row("its peak", Unit::Megabytes, megabytes(memory.peak)),
    ]);
    Ok(controller)
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
