//! Step 4: `externalTrafficPolicy: Local`.

use anyhow::Result;

use super::{DEADLINE, Demo, STREAM};
use crate::plan::Node;

const FILE: &str = "services/stream.yaml";
/// Endpoints as the manifest writes them, once in each of its two EndpointSlices.
const SLICES: usize = 2;

fn endpoint(node: Node, ready: bool) -> String {
    format!(
        "nodeName: {}\n    conditions: {{ready: {ready}, serving: {ready}, terminating: false}}",
        node.name()
    )
}

impl Demo {
    /// Step 4: the routes follow the endpoints from node to node, and nobody notices.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn local_follows_the_endpoints(&mut self) -> Result<()> {
        self.transcript.step(4, "A Service with externalTrafficPolicy: Local follows its endpoints");
        let addresses = STREAM.addresses();
        let [first, second, _] = Node::ALL;
        self.wait_for_next_hops(
            "the only endpoint is on node-1, and so is the only next hop",
            &addresses,
            &[first],
            DEADLINE,
        )?;
        let load = self.steady_load(&STREAM.urls())?;

        self.transcript.act(format_args!("{FILE}: the endpoint on node-2 becomes ready"));
        self.manifests.replace(FILE, &endpoint(second, false), &endpoint(second, true), SLICES)?;
        self.wait_for_next_hops("node-1 and node-2 announce", &addresses, &[first, second], DEADLINE)?;

        self.transcript.act(format_args!("{FILE}: the endpoint on node-1 stops being ready"));
        self.manifests.replace(FILE, &endpoint(first, true), &endpoint(first, false), SLICES)?;
        self.wait_for_next_hops("node-2 alone announces", &addresses, &[second], DEADLINE)?;
        self.no_request_failed(load, true)?;

        let report =
            crate::load::Load::burst(&STREAM.urls(), 20).run_in(&self.lab.client(), self.lab.tool())?;
        let by_second =
            report.0.values().all(|tally| tally.failed == 0 && tally.answers.keys().eq([&second.name()]));
        self.transcript.that("node-2 alone answers", by_second, format_args!("{report:?}"))?;
        Ok(())
    }
}
