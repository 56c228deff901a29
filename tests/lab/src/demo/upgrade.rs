//! Step 5: a new version of a plugin.

use anyhow::Result;

use super::plugins::ROUTE_POLICY;
use super::{API, DEADLINE, Demo, WEB, addresses_of};
use crate::observe::bgp::UpdateLog;
use crate::plan::{Node, Router};

/// The module of the new version, and the file of its further settings.
const NEXT: &str = "peer-attributes-next";
/// The community that the new version adds.
const NEW_COMMUNITY: &str = "64500:2026";

impl Demo {
    /// Step 5: the attributes change by UPDATE: nothing is withdrawn, no session ends.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn a_new_plugin_version_is_an_update(&mut self) -> Result<()> {
        self.transcript
            .step(5, "A new plugin version changes attributes: an UPDATE, no withdrawal, no new session");
        let addresses = addresses_of(&[WEB, API]);
        let before = self.sessions()?;
        let logs = Router::ALL.map(|router| UpdateLog::start(self.lab.frr(router)));
        let recordings = self.record("upgrade")?;

        let config_map = self.install(ROUTE_POLICY, NEXT, &[ROUTE_POLICY, NEXT])?;
        self.transcript
            .act(format_args!("ConfigMap {config_map}, and DecisionPolicy {ROUTE_POLICY} points at it"));
        for node in Node::ALL {
            self.wait_for_paths_of(
                &format!("all routes of {} carry {NEW_COMMUNITY}", node.name()),
                &addresses,
                node,
                |path| {
                    path.is_some_and(|path| {
                        path.communities.iter().any(|community| community == NEW_COMMUNITY)
                    })
                },
            )?;
        }
        self.wait_for_next_hops("all next hops are in use", &addresses, &Node::ALL, DEADLINE)?;
        self.no_route_was_deleted(recordings, &addresses)?;
        let mut withdrawals = Vec::new();
        for log in logs {
            withdrawals.extend(log?.withdrawals()?);
        }
        self.transcript.that(
            "no UPDATE withdrew anything",
            withdrawals.is_empty(),
            withdrawals.join("; "),
        )?;
        let after = self.sessions()?;
        let others: Vec<_> = after
            .iter()
            .filter(|(key, neighbor)| before.get(key).is_none_or(|before| !neighbor.is_same_session(before)))
            .map(|((router, node), neighbor)| format!("{} with {}: {neighbor:?}", router.name(), node.name()))
            .collect();
        self.transcript.that(
            "every session is the one it was, and its uptime goes on",
            others.is_empty() && after.len() == before.len(),
            others.join("; "),
        )?;
        let updates: Vec<_> = after
            .iter()
            .filter_map(|(key, neighbor)| {
                let before = before.get(key)?.message_stats.updates_recv;
                Some((key.0.name(), key.1.name(), neighbor.message_stats.updates_recv - before))
            })
            .collect();
        let silent: Vec<_> = updates.iter().filter(|(_, _, count)| *count == 0).collect();
        self.transcript.that(
            "every session carried an UPDATE",
            silent.is_empty(),
            format_args!("none: {silent:?}"),
        )?;
        self.remember_route_policy()
    }
}
