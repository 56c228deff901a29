//! Step 3: a label on a Node drains it.

use anyhow::Result;

use super::{API, DEADLINE, Demo, WEB, addresses_of, urls_of};
use crate::plan::Node;

/// The label that the `node-maintenance` policy is told to look at.
pub(super) const LABEL: &str = "example.com/maintenance";
const FILE: &str = "nodes/node-3.yaml";
const LABELS: &str = "  labels:\n";

impl Demo {
    /// Step 3: the drained node's routes carry GRACEFUL_SHUTDOWN first, then go; the others keep theirs; nobody notices.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn a_label_drains_a_node(&mut self) -> Result<()> {
        self.transcript.step(3, "A label on a Node drains it: GRACEFUL_SHUTDOWN first, then withdrawal");
        let services = [WEB, API];
        let addresses = addresses_of(&services);
        let [first, second, drained] = Node::ALL;
        let recordings = self.record("drain")?;
        let load = self.steady_load(&urls_of(&services))?;

        self.transcript.act(format_args!("{FILE}: label {LABEL}: \"true\""));
        let with_label = format!("{LABELS}    {LABEL}: \"true\"\n");
        self.manifests.replace(FILE, LABELS, &with_label, 1)?;
        self.wait_for_paths_of(
            "the routes of node-3 stand, carry GRACEFUL_SHUTDOWN and are not used",
            &addresses,
            drained,
            |path| path.is_some_and(|path| path.is_shutting_down() && !path.used),
        )?;
        self.wait_for_paths_of("then node-3 withdraws them", &addresses, drained, |path| path.is_none())?;
        self.wait_for_next_hops("node-1 and node-2 keep theirs", &addresses, &[first, second], DEADLINE)?;
        self.no_route_was_deleted(recordings, &addresses)?;
        self.no_request_failed(load, true)?;

        self.transcript.act(format_args!("{FILE}: label removed"));
        self.manifests.replace(FILE, &with_label, LABELS, 1)?;
        self.wait_for_next_hops("node-3 announces again", &addresses, &Node::ALL, DEADLINE)
    }
}
