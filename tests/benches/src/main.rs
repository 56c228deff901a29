//! Measures and tells: `benches` runs every bench, `benches NAME...` the named ones; `cluster-short` is `cluster` with a
//! tenth of the Services, and runs when it is named.
//!
//! Prints a table and writes the same as JSON to `bench-results/benches.json` (or `BELLHOP_BENCH_RESULTS`). Exit code 1
//! where a bench could not run; a figure beyond its limit is marked MISSED and is no failure.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use bellhop_benches::change::Programs;
use bellhop_benches::row::{Row, Table, write_json};
use bellhop_benches::{bulk, change, cluster, decision, footprint, rivals, speaker};

/// The benches, in the order in which they run.
const BENCHES: [&str; 7] = ["decision", "bulk", "rivals", "change", "footprint", "cluster", CLUSTER_SHORT];
/// A shorter form of another one, which runs only when it is named.
const CLUSTER_SHORT: &str = "cluster-short";

/// Where the JSON goes.
const RESULTS: &str = "bench-results/benches.json";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [command, state] if command == speaker::COMMAND => speaker::serve(Path::new(state)).map(|()| true),
        [command] if command == rivals::task::COMMAND => rivals::task::serve().map(|()| true),
        names => measure(names),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benches of these names, all without any. True when every one could run.
fn measure(names: &[String]) -> Result<bool> {
    if let Some(name) = names.iter().find(|name| !BENCHES.contains(&name.as_str())) {
        bail!("no bench \"{name}\"; there are {}", BENCHES.join(", "));
    }
    let this = std::env::current_exe()?;
    let mut rows = Vec::new();
    let mut all_ran = true;
    let wanted = |bench: &&str| match names {
        [] => *bench != CLUSTER_SHORT,
        names => names.iter().any(|name| name == bench),
    };
    for name in BENCHES.into_iter().filter(wanted) {
        eprintln!("{name} ...");
        match bench(name, &this) {
            Ok(more) => rows.extend(more),
            Err(error) => {
                eprintln!("{name} could not run: {error:#}");
                all_ran = false;
            }
        }
    }
    print!("{}", Table(&rows));
    let path = std::env::var_os("BELLHOP_BENCH_RESULTS").map_or_else(|| RESULTS.into(), PathBuf::from);
    write_json(&path, &rows)?;
    println!("written to {}", path.display());
    Ok(all_ran)
}

fn bench(name: &str, this: &Path) -> Result<Vec<Row>> {
    match name {
        "bulk" => bulk::run(this),
        "rivals" => rivals::run(this),
        "decision" => decision::run(&Programs::beside(this)?.compiler),
        "change" => change::run(&Programs::beside(this)?),
        "cluster" => cluster::run(&Programs::beside(this)?, cluster::Scale::WHOLE),
        CLUSTER_SHORT => cluster::run(&Programs::beside(this)?, cluster::Scale::SHORT),
        _ => footprint::run(&Programs::beside(this)?),
    }
}
