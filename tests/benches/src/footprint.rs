//! What `bellhop standalone` without policies keeps in memory, and how large the programs are.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bellhop_lab::wait::wait_for;

use crate::change::{Programs, Standalone, base_manifests, service_manifest};
use crate::process::Memory;
use crate::row::{Row, Unit, megabytes};
use crate::wire::Wire;

/// How long a process may take to be ready.
const DEADLINE: Duration = Duration::from_secs(20);
/// After it is ready: long enough for what a start leaves behind to be freed.
const REST: Duration = Duration::from_secs(2);

/// Measures.
///
/// # Errors
/// Without root or FRR, or when a program is missing.
pub fn run(programs: &Programs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for services in [0, 3] {
        let wire = Wire::up(&format!("idle{services}"))?;
        let manifests = wire.folder().join("manifests");
        std::fs::create_dir_all(&manifests)?;
        std::fs::write(manifests.join("base.yaml"), base_manifests())?;
        for number in 0..services {
            std::fs::write(manifests.join(format!("service-{number}.yaml")), service_manifest(number))?;
        }
        let process = Standalone::start(programs, &wire, &manifests)?;
        wait_for("all routes are in FRR", DEADLINE, || {
            let seen = wire.prefixes().map_err(|error| format!("{error:#}"))?;
            let log = std::fs::read_to_string(process.log()).unwrap_or_default();
            let ready = seen.v4 == u64::from(services) && log.contains("session established");
            if ready { Ok(()) } else { Err(format!("{seen:?}")) }
        })?;
        std::thread::sleep(REST);
        let memory = megabytes(Memory::of(process.pid())?.resident);
        let what = format!("standalone without policies, {services} Services: resident memory");
        rows.push(Row::of("footprint", what, Unit::Megabytes, vec![memory]));
    }
    for program in [&programs.bellhop, &programs.compiler] {
        rows.push(size(program)?);
    }
    Ok(rows)
}

fn size(program: &Path) -> Result<Row> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let bytes =
        std::fs::metadata(program).with_context(|| format!("cannot look at {}", program.display()))?.len();
    Ok(Row::of("footprint", format!("size of {name}"), Unit::Megabytes, vec![megabytes(bytes)]))
}
