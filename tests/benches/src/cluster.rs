//! What the cluster form costs, on a real API server: allocation beside a bare client, a controller's start, a route's
//! way to the router, a speaker's memory and idleness, and its restart.
//!
//! ```text
//! bare client (this process) ─┐                                      ┌─ FRR, routes recorded
//! bellhop controller ─────────┼─► kube-apiserver ─► etcd (tmpfs)     │  (router's namespace)
//! bellhop speaker ────────────┘   requests counted by itself         │
//!   in node-1's namespace ───────────────────── BGP ─────────────────┘
//! ```
//!
//! The real programs under the chart's own service accounts, judged from outside: by the API server's counters, a watch,
//! the router. Only the node is none: its Service endpoints are made by hand, and no kubelet or kube-proxy takes processor
//! time from what is measured.

use std::time::Duration;

use anyhow::Result;

use crate::change::Programs;
use crate::row::Row;

pub mod allocation;
pub mod announcing;
pub mod api;
pub mod counts;
pub mod metallb;
pub mod objects;
pub mod programs;
pub mod site;

use allocation::Standing;
use site::Site;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// Services of the runs that allocate, from the smallest; those of the last stay for what follows.
    pub services: &'static [u32],
    /// Services that come at a steady pace, for the time to their routes.
    pub singles: u32,
    /// How long a speaker is watched doing nothing.
    pub idle: Duration,
}

impl Scale {
    /// What `make bench` measures; some ten minutes on two processors.
    pub const WHOLE: Self = Self { services: &[1_000, 10_000], singles: 200, idle: Duration::from_secs(60) };
    /// The same with a tenth of the Services; some two minutes.
    pub const SHORT: Self = Self { services: &[1_000], singles: 50, idle: Duration::from_secs(20) };
}

/// Measures.
///
/// # Errors
/// Without root or what `make setup` installs, or when something does not come about in time.
pub fn run(programs: &Programs, scale: Scale) -> Result<Vec<Row>> {
    let site = Site::up(programs)?;
    let empty = site.snapshot("empty")?;
    let mut rows = announcing::idle(&site, scale.singles)?;
    site.restore(&empty)?;

    let mut standing = Standing::none();
    for services in scale.services {
        standing = allocation::run(&site, *services, standing, &mut rows)?;
    }
    allocation::restart(&site, &mut standing, &mut rows)?;
    rows.extend(announcing::standing(&site, standing, scale)?);
    Ok(rows)
}
