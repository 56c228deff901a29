//! Step 6: versions that attack.

use anyhow::{Context, Result};

use super::plugins::{Packed, ROUTE_POLICY};
use super::{DEADLINE, Demo};
use crate::plan::Node;
use crate::report::Policy;

/// One attack, and what `bellhop status` is to say of it.
struct Attack {
    /// Of the transcript.
    title: &'static str,
    /// The module, in the folder of guests; `None` for the good one under a wrong sha256.
    guest: Option<&'static str>,
    /// What to see at the policy.
    refused: fn(&Policy) -> bool,
    /// In words.
    expected: &'static str,
}

const ATTACKS: [Attack; 3] = [
    Attack {
        title: "a module that loops for ever",
        guest: Some("endless-loop"),
        refused: |policy| policy.failures > 0,
        expected: "its calls fail, and why",
    },
    Attack {
        title: "a module with another sha256 than the policy names",
        guest: None,
        refused: |policy| policy.step == "Rejected" && policy.stage.as_deref() == Some("Verified"),
        expected: "Rejected at stage Verified, and why",
    },
    Attack {
        title: "a module that imports what the contract does not have",
        guest: Some("foreign-import"),
        refused: |policy| policy.step == "Rejected" && policy.stage.as_deref() == Some("Checked"),
        expected: "Rejected at stage Checked, and why",
    },
];

impl Demo {
    /// Step 6: an endless loop, a wrong sha256 and a foreign import are contained: routes unchanged, the reason told.
    ///
    /// # Errors
    /// With the check that failed.
    pub fn hostile_plugins_are_contained(&mut self) -> Result<()> {
        self.transcript.step(6, "Hostile plugin versions are refused or contained");
        let before = self.tables()?;
        for attack in &ATTACKS {
            self.transcript.act(format_args!("DecisionPolicy {ROUTE_POLICY}: {}", attack.title));
            let packed = self.attack(attack)?;
            let policy = self.wait_until_told(attack)?;
            let why = policy.message.as_deref().or(policy.reason.as_deref()).unwrap_or_default().to_owned();
            self.transcript.that("bellhop status says why", !why.is_empty(), format_args!("{policy:?}"))?;
            self.transcript.quote(&format!(
                "{} {}{}: {why}",
                policy.name,
                policy.step,
                policy.stage.as_ref().map(|stage| format!(" at {stage}")).unwrap_or_default()
            ));
            self.log_tells(&policy)?;
            let after = self.tables()?;
            self.transcript.equal("the routes at both routers are unchanged", &before, &after)?;
            self.restore_route_policy(&packed)?;
            self.wait_until_restored()?;
        }
        let after = self.tables()?;
        self.transcript.equal("and are unchanged after the good version is back", &before, &after)?;
        Ok(())
    }

    fn attack(&self, attack: &Attack) -> Result<Packed> {
        let good = self.module(ROUTE_POLICY);
        let path = attack.guest.map_or(good, |guest| self.inputs.guests.join(format!("{guest}.wasm")));
        let module = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let packed = Packed::unchecked("attack", &module)?;
        let sha256 = match attack.guest {
            Some(_) => packed.sha256.clone(),
            None => "0123456789abcdef".repeat(4),
        };
        self.point_route_policy_at(&packed, &sha256)?;
        Ok(packed)
    }

    /// Waits until every node's process tells of the attack, and returns what the first tells.
    fn wait_until_told(&mut self, attack: &Attack) -> Result<Policy> {
        let bellhop = &self.bellhop;
        let what = format!("bellhop status on every node: {}", attack.expected);
        let policy = self.transcript.wait(&what, DEADLINE, || {
            let mut told = Vec::new();
            for node in Node::ALL {
                let status = bellhop.status(node).map_err(|error| format!("{error:#}"))?;
                let policy = status.policy(ROUTE_POLICY).cloned().ok_or("the policy is missing")?;
                if !(attack.refused)(&policy) {
                    return Err(format!("{}: {policy:?}", node.name()));
                }
                told.push(policy);
            }
            told.into_iter().next().ok_or_else(|| "no node".to_owned())
        })?;
        Ok(policy)
    }

    /// The log names the policy, the stage where there is one, and is not silent about the reason.
    fn log_tells(&mut self, policy: &Policy) -> Result<()> {
        let log = self.bellhop.log_text(Node::ALL[0])?;
        let words: Vec<&str> =
            [Some(policy.name.as_str()), policy.stage.as_deref(), policy.reason.as_deref()]
                .into_iter()
                .flatten()
                .collect();
        let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        let what = format!("a line of the log names {}", words.join(", "));
        self.transcript.that(&what, told, self.bellhop.log_tail(Node::ALL[0], 5))?;
        Ok(())
    }

    fn wait_until_restored(&mut self) -> Result<()> {
        let bellhop = &self.bellhop;
        self.transcript.wait("the good version is in force again", DEADLINE, || {
            for node in Node::ALL {
                let status = bellhop.status(node).map_err(|error| format!("{error:#}"))?;
                let policy = status.policy(ROUTE_POLICY).ok_or("the policy is missing")?;
                if policy.step != "Active" {
                    return Err(format!("{}: {policy:?}", node.name()));
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}
