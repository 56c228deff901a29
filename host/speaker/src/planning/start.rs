//! What a start waits for, phase by phase.

use std::time::{Duration, Instant};

use bellhop_core::Touched;
use bellhop_core::report::Phase;

use super::Planning;
use crate::health_checks;

/// How long a start waits for policies. A compile child has 20 s; a few of them in a row are still within the restart
/// time that peers grant (120 s).
const POLICIES_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a start waits for addresses to be bound before it announces what is bound.
const BINDING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a start waits for health checks, whose driver gives up by itself a little earlier.
const CHECKS_TIMEOUT: Duration = health_checks::PATIENCE.saturating_add(Duration::from_secs(2));

/// One thing that the first announcement waits for, for a bounded time.
struct Awaited {
    here: bool,
    until: Instant,
}

impl Planning {
    /// True once the World is whole and every policy is active or has failed: before, no step plans anything.
    pub(super) fn plans(&self) -> bool {
        !matches!(self.phase, Phase::Reading | Phase::LoadingPolicies)
    }

    /// When [`Planning::advance_phase`] is due without any event.
    pub(super) fn phase_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::LoadingPolicies => Some(self.phase_since + POLICIES_TIMEOUT),
            Phase::Binding => {
                let awaited = self.awaited().into_iter().filter(|awaited| !awaited.here);
                awaited.map(|awaited| awaited.until).chain(self.gate_deadline()).min()
            }
            Phase::Reading | Phase::Ready => None,
        }
    }

    /// Goes on to the next phase where this one is over.
    pub(super) async fn advance_phase(&mut self, now: Instant) {
        let next = match self.phase {
            Phase::Reading if self.world.synced() => {
                self.announcer.note(&self.world, &Touched::everything());
                Phase::LoadingPolicies
            }
            Phase::LoadingPolicies
                if self.policies.settled() || now >= self.phase_since + POLICIES_TIMEOUT =>
            {
                Phase::Binding
            }
            Phase::Binding if self.first_announcement_complete(now) => {
                self.bgp.ready().await;
                if let Err(error) = self.mark.set() {
                    tracing::error!(%error, "cannot write the restart mark: the next start will not count as a restart");
                }
                Phase::Ready
            }
            _ => return,
        };
        tracing::info!(from = ?self.phase, to = ?next, "phase");
        self.phase = next;
        self.phase_since = now;
        self.note_phase();
        self.signals.phase(next);
        // A phase may be over as soon as it begins: no policy to load, nothing to bind.
        if next == Phase::LoadingPolicies {
            self.follow_policies(now);
            Box::pin(self.advance_phase(now)).await;
        }
    }

    /// True when everything has been planned once, all that is to be bound is, and this node's kube-proxy serves it; or
    /// when what is missing has been waited for long enough.
    fn first_announcement_complete(&self, now: Instant) -> bool {
        self.gate_passed() && self.awaited().iter().all(|awaited| awaited.here || now >= awaited.until)
    }

    fn awaited(&self) -> [Awaited; 2] {
        let planned = self.binder.borrow().is_some() && !self.announcer.has_work();
        [
            Awaited {
                here: planned && self.announcer.bindings().is_subset(&self.bound),
                until: self.phase_since + BINDING_TIMEOUT,
            },
            Awaited {
                here: planned && self.announcer.health_checks().next().is_none(),
                until: self.checks_since() + CHECKS_TIMEOUT,
            },
        ]
    }
}
