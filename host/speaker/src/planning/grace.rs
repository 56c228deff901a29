//! Whether the pod's grace period leaves a drain the time that it takes.

use std::time::Duration;

use bellhop_api::conditions::DEGRADED;
use bellhop_api::{Condition, ConditionStatus, Reason};
use bellhop_core::settings::SpeakerSettings;
use bellhop_core::{ObjectRef, Problem};
use bellhop_runtime::journal::Finder;

use super::Planning;

/// What a stop may take beside the drain wait: two seconds to ask whether this speaker comes back, three until a drain
/// that is late is given up, three each until addresses and packet filter are gone, and the rest for closing sessions and
/// for the kubelet, whose clock runs from before the signal. The chart's `terminationGracePeriodSeconds` says the same.
const BESIDE_DRAIN: Duration = Duration::from_secs(20);

impl Planning {
    /// The same, in a pod that gets SIGKILL so long after SIGTERM.
    #[must_use]
    pub fn with_grace_period(self, grace_period: Option<Duration>) -> Self {
        Self { grace_period, ..self }
    }

    /// That a drain of this node is cut short by SIGKILL: its routers lose the routes without warning.
    pub(super) fn grace_problem(&self) -> Option<Problem> {
        let grace = self.grace_period?;
        let node = self.world.nodes().get(&self.options.node)?;
        let settings = SpeakerSettings::of(&self.world, node, self.options.bind_by_default);
        let needed = settings.drain_wait + BESIDE_DRAIN;
        if needed <= grace {
            return None;
        }
        let wait = format!("{}s", settings.drain_wait.as_secs());
        let (object, field, value) = match settings.drain_wait_of {
            Some(config) => (ObjectRef::cluster("SpeakerConfig", config), "spec.drain.wait", wait.as_str()),
            None => (ObjectRef::cluster("Node", node.name.clone()), "", ""),
        };
        let shorter = match grace.checked_sub(BESIDE_DRAIN) {
            Some(longest) => format!(", or wait at most {}s", longest.as_secs()),
            None => String::new(),
        };
        let message = format!(
            "to wait {wait} in a drain takes a terminationGracePeriodSeconds of at least {}, and the pod of the speaker on \
             {} has {}: it would be killed before it has withdrawn its routes; set the chart's \
             speaker.terminationGracePeriodSeconds to {}{shorter}",
            needed.as_secs(),
            node.name,
            grace.as_secs(),
            needed.as_secs()
        );
        Some(Problem::new(object, Reason::GracePeriodTooShort.as_str(), field, value, message))
    }

    /// Logs the problem once when it comes up, and once when it is gone; SpeakerState says so too.
    pub(super) fn follow_grace(&mut self) {
        let problem = self.grace_problem();
        self.journal.all(Finder::Grace, &problem);
        if self.grace_told != problem {
            self.grace_told = problem;
            self.note_phase();
        }
    }

    /// The same as a condition of SpeakerState, while it holds.
    pub(super) fn grace_condition(&self) -> Option<Condition> {
        let problem = self.grace_problem()?;
        Some(Condition {
            type_: DEGRADED.into(),
            status: ConditionStatus::True,
            observed_generation: None,
            last_transition_time: String::new(),
            message: problem.told(),
            reason: problem.reason,
        })
    }
}
