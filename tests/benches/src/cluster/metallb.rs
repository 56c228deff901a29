//! MetalLB's controller at the same task, on the same API server, from the same database.
//!
//! Its program is built from its published module and its CRDs are those of that version. It runs with the
//! administrator's rights, without its webhooks, and takes the Services by the class that they have.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::allocation::{DEADLINE, quiet};
use super::counts::Writes;
use super::objects::{SERVICES, Service};
use super::site::Site;
use crate::process::{Memory, processor_time};
use crate::row::{Row, Unit, megabytes};

/// Where its program and its CRDs are.
const FOLDER: &str = "BELLHOP_METALLB";
/// What is measured; named in the rows.
pub(super) const VERSION: &str = "0.16.1";

/// Its folder as `make bench` names it; `None` where the benches run by themselves.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Has it give addresses to the Services that stand without any; how long that took, in seconds.
///
/// # Errors
/// When it does not come up, or they do not get them in time.
pub fn run(site: &Site, folder: &Path, services: u32, rows: &mut Vec<Row>) -> Result<f64> {
    let program = folder.join("controller");
    ensure!(program.exists(), "{} does not exist: `make bench` builds it", program.display());
    site.install_metallb(&folder.join("crds")).context("install what MetalLB needs")?;

    let api = site.administrator()?;
    let before = Writes::of(&api)?;
    let mut observation = api.observe::<Service>(SERVICES, Service::with_address)?;
    let begin = SystemTime::now();
    let mut controller = site.start_metallb(&program)?;
    let end = observation.wait_for_program(&api, services as usize, DEADLINE, &mut controller)?;
    let (time, processor) = (end.duration_since(begin)?, processor_time(controller.pid())?);
    let memory = Memory::of(controller.pid())?;
    let writes = quiet(&api)?.since(&before);
    eprintln!(
        "  {services} Services, MetalLB {VERSION}, until all have addresses: {time:.1?}; writes: {writes}"
    );
    let status = (writes.to("services/status") + writes.to("services")) as f64;
    let seconds = time.as_secs_f64();
    rows.extend([
        row(services, "from its start until all have addresses", Unit::Seconds, seconds),
        row(services, "writes of Services", Unit::Count, status),
        row(services, "processor time", Unit::Seconds, processor.as_secs_f64()),
        row(services, "resident memory", Unit::Megabytes, megabytes(memory.resident)),
    ]);
    Ok(seconds)
}

/// What it took of the bare client's time, both in seconds.
pub fn over_bare_client(services: u32, metallb: f64, bare: f64) -> Row {
    row(services, "over bare client", Unit::Ratio, metallb / bare)
}

fn row(services: u32, what: &str, unit: Unit, figure: f64) -> Row {
    Row::one("cluster", format!("{services} Services, MetalLB {VERSION}: {what}"), unit, figure)
}
