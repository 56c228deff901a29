//! Traffic that goes on while something is done to the installation, and the proof that nobody noticed.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_lab::load::Load;
use bellhop_lab::observe::kernel::Recording;
use bellhop_test_cluster::network::Requests;

use crate::routes::url;
use crate::site::Site;

/// Between two requests to the same address: some fifty in a second, each over a connection of its own.
const PAUSE: Duration = Duration::from_millis(20);
/// Fewer requests than these prove nothing: traffic goes on until they were made.
const ENOUGH: u64 = 100;

/// Requests to some addresses, and a recording of the router's routes.
#[derive(Debug)]
pub struct Traffic {
    addresses: Vec<IpAddr>,
    requests: Requests,
    recording: Recording,
}

/// What went on meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Requests made.
    pub requests: u64,
    /// Connections that a rehash of the router's next hops moved to another node, and that were made again.
    pub moved: u64,
}

impl Site {
    /// Starts traffic to addresses that answer already.
    ///
    /// # Errors
    /// When the client or the router is not there.
    pub fn traffic(&self, name: &str, addresses: &[IpAddr]) -> Result<Traffic> {
        let cluster = self.cluster()?;
        let urls: Vec<_> = addresses.iter().map(|address| url(*address)).collect();
        let recording = cluster.record_routes(name)?;
        let at_least = ENOUGH.div_ceil(urls.len().max(1) as u64);
        let requests = cluster.requests(Load { at_least, ..Load::steady(&urls, PAUSE) })?;
        Ok(Traffic { addresses: addresses.to_vec(), requests, recording })
    }
}

impl Traffic {
    /// Ends it; the router must not have lost a route for an instant, and no request may have failed.
    ///
    /// # Errors
    /// With every deletion and failure.
    pub fn without_loss(mut self) -> Result<Passed> {
        let deletions = self.recording.deletions_of(&self.addresses)?;
        let report = self.requests.stop()?;
        ensure!(deletions.is_empty(), "the router's kernel deleted routes: {deletions:#?}");
        ensure!(report.failed() == 0, "{report}");
        ensure!(report.requests() >= ENOUGH, "only {} requests were made", report.requests());
        Ok(Passed { requests: report.requests(), moved: report.moved() })
    }

    /// Ends it; no request may have failed, and routes may have changed.
    ///
    /// # Errors
    /// With the failures.
    pub fn without_failure(self) -> Result<Passed> {
        let report = self.requests.stop()?;
        ensure!(report.failed() == 0, "{report}");
        ensure!(report.requests() >= ENOUGH, "only {} requests were made", report.requests());
        Ok(Passed { requests: report.requests(), moved: report.moved() })
    }
}
