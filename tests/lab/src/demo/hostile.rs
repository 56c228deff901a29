//! Step 6: versions that attack.

use anyhow::{Context, Result};

use super::plugins::{Packed, ROUTE_POLICY, value_of};
use super::{DEADLINE, Demo};
use crate::plan::Node;
use crate::report::Problem;

/// One attack, and what is to be told of it.
struct Attack {
    /// Of the transcript.
    title: &'static str,
    /// The module, in the folder of guests; `None` for the good one under a wrong sha256.
    guest: Option<&'static str>,
    /// How far the version comes: step and stage in `bellhop status`.
    ends: (&'static str, Option<&'static str>),
    /// Reason of the problem in `bellhop status`.
    reason: &'static str,
    /// What a line of the log holds beside the policy's name.
    log: &'static [&'static str],
    /// In words.
    expected: &'static str,
}

const ATTACKS: [Attack; 3] = [
    Attack {
        title: "a module that loops for ever",
        guest: Some("endless-loop"),
        ends: ("Active", None),
        reason: "CallsFail",
        log: &["calls fail", "fuel"],
        expected: "its calls fail, and why",
    },
    Attack {
        title: "a module with another sha256 than the policy names",
        guest: None,
        ends: ("Rejected", Some("Verified")),
        reason: "DigestMismatch",
        log: &["Rejected", "Verified", "DigestMismatch"],
        expected: "rejected at stage Verified, and why",
    },
    Attack {
        title: "a module that imports what the contract does not have",
        guest: Some("foreign-import"),
        ends: ("Rejected", Some("Checked")),
        reason: "ForeignImport",
        log: &["Rejected", "Checked", "ForeignImport"],
        expected: "rejected at stage Checked, and why",
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
            let problem = self.wait_until_told(attack)?;
            self.transcript
                .quote(&format!("DecisionPolicy/{ROUTE_POLICY}: {}: {}", problem.reason, problem.message));
            self.log_tells(attack)?;
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
        self.point_route_policy_at(&packed, &sha256, attack.guest.is_none())?;
        Ok(packed)
    }

    /// Waits until every node's process tells of the attack, and returns what the first tells.
    fn wait_until_told(&mut self, attack: &Attack) -> Result<Problem> {
        let bellhop = &self.bellhop;
        let what = format!("bellhop status on every node: {}", attack.expected);
        let problem = self.transcript.wait(&what, DEADLINE, || {
            let mut told = Vec::new();
            for node in Node::ALL {
                let status = bellhop.status(node).map_err(|error| format!("{error:#}"))?;
                let policy = status.policy(ROUTE_POLICY).ok_or("the policy is missing")?;
                let problem = status.problem_of_policy(ROUTE_POLICY);
                let expected = (policy.step.as_str(), policy.stage.as_deref()) == attack.ends
                    && problem.is_some_and(|problem| problem.reason == attack.reason);
                if !expected {
                    return Err(format!("{}: {policy:?}, {problem:?}", node.name()));
                }
                told.extend(problem.cloned());
            }
            told.into_iter().next().ok_or_else(|| "no node".to_owned())
        })?;
        Ok(problem)
    }

    /// One line of every node's log says which policy, at which stage and why.
    fn log_tells(&mut self, attack: &Attack) -> Result<()> {
        let words = [&[ROUTE_POLICY], attack.log].concat();
        let what = format!("a line of every node's log names {}", words.join(", "));
        for node in Node::ALL {
            let log = self.bellhop.log_text(node)?;
            if !log.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                let seen = self.bellhop.log_tail(node, 5);
                return Err(self.transcript.failed(what, "", seen).into());
            }
        }
        self.transcript.ok(what);
        Ok(())
    }

    fn wait_until_restored(&mut self) -> Result<()> {
        let good = value_of(&self.good_route_policy, "sha256").unwrap_or_default().to_owned();
        let bellhop = &self.bellhop;
        self.transcript.wait("the good version is in force again", DEADLINE, || {
            for node in Node::ALL {
                let status = bellhop.status(node).map_err(|error| format!("{error:#}"))?;
                let policy = status.policy(ROUTE_POLICY).ok_or("the policy is missing")?;
                // The attack's version may be active too: only the digest tells them apart.
                let is_good = policy.active.as_ref().is_some_and(|active| good.starts_with(active));
                if policy.step != "Active" || !is_good {
                    return Err(format!("{}: {policy:?}", node.name()));
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}
