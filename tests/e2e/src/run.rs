//! The command line: which cases, where, and what came of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;

use crate::cases::{self, Case};
use crate::site::{Place, Site};

/// Runs end-to-end cases.
#[derive(Parser, Debug)]
pub struct Arguments {
    /// Names, or beginnings of names, of the cases to run; all of the set without any.
    cases: Vec<String>,
    /// Only the cases that `make test` runs.
    #[arg(long)]
    short: bool,
    /// List the cases and run none.
    #[arg(long)]
    list: bool,
    /// Run on this cluster, by the kubeconfig of an administrator, in place of the project's own: only the cases that
    /// break no node and look at no router. Bellhop must be installed there.
    #[arg(long, env = "BELLHOP_E2E_KUBECONFIG", value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Run on the project's own cluster as if it were such a cluster. The run of all cases ends with that.
    #[arg(long, conflicts_with = "kubeconfig")]
    as_users: bool,
    /// Prefix of the test cluster, so that several can stand side by side.
    #[arg(long, default_value = "e2e")]
    prefix: String,
    /// The image, as `make image` writes it.
    #[arg(long, env = "BELLHOP_IMAGE", value_name = "TAR")]
    image: Option<PathBuf>,
    /// The `bellhop` program, which is also `kubectl bellhop`.
    #[arg(long, env = "BELLHOP_BIN", value_name = "PATH")]
    program: Option<PathBuf>,
    /// Folder of the policies that are shipped, as ConfigMaps and modules.
    #[arg(long, env = "BELLHOP_PLUGINS", value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Go on with the other cases after one that fails.
    #[arg(long)]
    keep_going: bool,
}

/// What came of a case.
#[derive(Debug)]
struct Outcome {
    case: &'static Case,
    took: Duration,
    error: Option<anyhow::Error>,
}

impl Arguments {
    /// Runs the cases; success only if every one held.
    pub fn run(self) -> ExitCode {
        let chosen = match self.chosen() {
            Ok(chosen) => chosen,
            Err(error) => {
                eprintln!("e2e: {error:#}");
                return ExitCode::from(2);
            }
        };
        if self.list {
            for case in chosen {
                println!("{:<40} {}", case.name, case.proves);
            }
            return ExitCode::SUCCESS;
        }
        match self.run_cases(&chosen) {
            Ok(outcomes) => report(&outcomes),
            Err(error) => {
                eprintln!("e2e: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    /// The cases that were asked for, in the order of the table.
    fn chosen(&self) -> Result<Vec<&'static Case>> {
        for name in &self.cases {
            anyhow::ensure!(
                cases::ALL.iter().any(|case| case.name.starts_with(name.as_str())),
                "there is no case {name:?}; --list shows all"
            );
        }
        let named = |case: &&Case| {
            self.cases.is_empty() || self.cases.iter().any(|name| case.name.starts_with(name.as_str()))
        };
        let users = self.as_users || self.kubeconfig.is_some();
        let here = |case: &&Case| !users || !case.needs_test_cluster;
        Ok(cases::ALL.iter().filter(named).filter(|case| !self.short || case.short).filter(here).collect())
    }

    fn run_cases(&self, chosen: &[&'static Case]) -> Result<Vec<Outcome>> {
        if let Some(kubeconfig) = &self.kubeconfig {
            return self.run_at_users(kubeconfig.clone(), "kubectl".into(), chosen);
        }
        let place = Place::TestCluster { prefix: self.prefix.clone(), image: self.image.clone() };
        let site = Site::open(place, self.program.clone(), self.plugins.clone())?;
        let at_users = |cases: &[_]| {
            println!("e2e: by the kubeconfig alone, as on a cluster of the user's");
            self.run_at_users(site.kubeconfig(), site.cluster()?.program("kubectl"), cases)
        };
        if self.as_users {
            // Bellhop is installed there.
            site.reset()?;
            return at_users(chosen);
        }
        let mut outcomes = self.run_at(&site, chosen);
        let all_held = outcomes.iter().all(|outcome| outcome.error.is_none());
        if !self.short && self.cases.is_empty() && (all_held || self.keep_going) {
            site.reset()?;
            let any: Vec<_> = chosen.iter().copied().filter(|case| !case.needs_test_cluster).collect();
            outcomes.extend(at_users(&any)?);
        }
        Ok(outcomes)
    }

    fn run_at_users(
        &self,
        kubeconfig: PathBuf,
        kubectl: PathBuf,
        chosen: &[&'static Case],
    ) -> Result<Vec<Outcome>> {
        let place = Place::Users { kubeconfig, kubectl };
        let site = Site::open(place, self.program.clone(), self.plugins.clone())?;
        let outcomes = self.run_at(&site, chosen);
        // Nothing of the last case stays in a cluster of the user's.
        site.reset()?;
        Ok(outcomes)
    }

    fn run_at(&self, site: &Site, chosen: &[&'static Case]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for &case in chosen {
            println!("e2e: {}: {}", case.name, case.proves);
            let start = Instant::now();
            let result = site.reset().and_then(|()| (case.run)(site));
            let took = start.elapsed();
            if let Err(error) = &result {
                println!("e2e: {} FAILED after {:.1} s: {error:#}", case.name, took.as_secs_f64());
                site.explain_failure(case.name);
            }
            let failed = result.is_err();
            outcomes.push(Outcome { case, took, error: result.err() });
            if failed && !self.keep_going {
                break;
            }
        }
        outcomes
    }
}

/// The table at the end.
fn report(outcomes: &[Outcome]) -> ExitCode {
    println!("\n{:<40} {:>8}  result", "case", "seconds");
    for Outcome { case, took, error } in outcomes {
        let result = if error.is_none() { "ok" } else { "FAILED" };
        println!("{:<40} {:>8.1}  {result}", case.name, took.as_secs_f64());
    }
    let failed = outcomes.iter().filter(|outcome| outcome.error.is_some()).count();
    // In the words of cargo's test harness, which the summary of `make test` counts.
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out",
        if failed == 0 { "ok" } else { "FAILED" },
        outcomes.len() - failed
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
