//! How a planner stops: silently, with the routes left standing, or by a drain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bellhop_core::announce::whole_node::NodeDrain;
use bellhop_core::settings::SpeakerSettings;
use tokio::sync::mpsc;

use super::{Event, Planning};
use crate::bgp::ShutdownMode;

/// Beside the drain wait, what a stop may take before it ends all the same.
const STOP_MARGIN: Duration = Duration::from_secs(3);

/// How a stop goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stopping {
    /// At once, routes left standing.
    KeepRoutes,
    /// When everything is drained, at the latest at this time.
    Drain { until: Instant },
}

impl Stopping {
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::KeepRoutes => None,
            Self::Drain { until } => Some(until),
        }
    }
}

impl Planning {
    /// True once nothing is left to do before the end.
    pub(super) fn stopped(&self, now: Instant) -> bool {
        match self.stopping {
            None => false,
            Some(Stopping::KeepRoutes) => true,
            Some(Stopping::Drain { until }) => {
                now >= until || (self.announcer.wanted().is_empty() && !self.announcer.has_work())
            }
        }
    }

    /// Begins to stop. A second request to withdraw does not wait for the drain any more.
    pub(super) fn stop(&mut self, keep_routes: bool, now: Instant) {
        if keep_routes {
            tracing::info!("stopping; the routes are left standing for the next process");
            self.stopping = Some(Stopping::KeepRoutes);
            return;
        }
        let until = match self.stopping {
            Some(_) => now,
            None => {
                let node = self.world.nodes().get(&self.options.node);
                let wait = node.map_or(SpeakerSettings::DRAIN_WAIT, |node| {
                    SpeakerSettings::of(&self.world, node, self.options.bind_by_default).drain_wait
                });
                tracing::info!(?wait, "stopping: graceful shutdown first (RFC 8326), then withdrawal");
                self.announcer.drain(&self.world, NodeDrain::Stopping);
                now + wait + STOP_MARGIN
            }
        };
        self.stopping = Some(Stopping::Drain { until });
    }

    /// Ends sessions and, unless the next process is to find them, addresses.
    pub(super) async fn end(self, mut inbox: mpsc::Receiver<Event>) {
        self.signals.retire();
        if matches!(self.stopping, Some(Stopping::KeepRoutes)) {
            self.bgp.shutdown(ShutdownMode::Silent).await;
            return;
        }
        self.bgp.shutdown(ShutdownMode::Graceful { text: "Bellhop stops on this node".into() }).await;
        if let Err(error) = self.mark.clear() {
            tracing::error!(%error, "cannot remove the restart mark");
        }
        // Before it was known what to bind, an earlier process may have left something.
        let binds = self.binder.borrow().as_ref().is_none_or(|wanted| !wanted.addresses.is_empty());
        self.bind(BTreeSet::new());
        if binds || !self.bound.is_empty() {
            let unbound = |event| matches!(event, Event::Bound(bound) if bound.is_empty());
            if !told(&mut inbox, unbound).await {
                tracing::warn!("addresses are left on lo; they expire by themselves");
            }
        }
        // Last, as an address that is still bound would be the host's own without it.
        self.filtering.end();
        let unfiltered = |event| matches!(event, Event::Filtered(report) if report.addresses == 0);
        if self.filtering.may_stand() && !told(&mut inbox, unfiltered).await {
            tracing::warn!(
                "table inet bellhop is left; the next start takes it over, or `nft delete table inet bellhop`"
            );
        }
    }
}

/// Waits until a driver has told what the end waits for, at most [`STOP_MARGIN`].
async fn told(inbox: &mut mpsc::Receiver<Event>, what: impl Fn(Event) -> bool) -> bool {
    let wait = async {
        while let Some(event) = inbox.recv().await {
            if what(event) {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(STOP_MARGIN, wait).await.unwrap_or_default()
}
