//! What Bellhop counts and measures of itself, for Prometheus.
//!
//! [`Metrics`] has one field per metric; all of them are declared in one place, the table of `table.rs`, from which the
//! page `docs/reference/metrics.md` is generated. A process makes one of them for its [`Form`] and shares it by `Arc`.
//!
//! There are two ways to a value:
//! - what *happens* is recorded where it happens: [`Counts`], [`Timing`]. Recording takes an
//!   atomic operation, and a read lock where there are labels, so it may be done on any thread and in any task;
//! - what *is* belongs to an owner, who writes it whole when somebody asks: [`Value`], [`Values`]. What is gone in the
//!   meantime is gone from the next scrape too. [`crate::http`] asks the owners before it answers a scrape.
//!
//! Labels are closed sets and names of cluster-scoped objects (pools, peers, policies), never Services, addresses or
//! error texts: the number of series is bounded by what operators configure. The pure crates know nothing of metrics;
//! their counters are values that the loops copy here.
//!
//! ```text
//! loops, drivers ──record──► Metrics ◄──measure── owners (planner), /proc
//!                               └─render─► text 0.0.4 or OpenMetrics ─► http
//! ```

mod api_server;
mod exposition;
mod instruments;
mod labels;
mod process;
mod table;

pub use exposition::Exposition;
pub use instruments::{AsCounter, AsGauge, BUCKETS, Counts, Kind, Timing, Value, Values};
pub use labels::*;
pub use table::{Declared, Form, Metrics, TABLE};

use prometheus_client::encoding::text;

impl Metrics {
    /// Everything that this form of Bellhop has, as text; reads `/proc` for the metrics of the process.
    pub fn render(&self, exposition: Exposition) -> String {
        process::measure(self);
        let mut openmetrics = String::new();
        // Fails only where formatting into a String fails.
        if let Err(error) = text::encode(&mut openmetrics, self.registry()) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        exposition.of(openmetrics)
    }
}

#[cfg(test)]
mod tests;
