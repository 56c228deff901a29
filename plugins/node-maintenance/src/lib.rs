//! `node-maintenance`: a table of rules from labels, taints, cordon, readiness and zone to weight, draining or
//! ineligible.
//!
//! See `README.md` for the settings with examples.

mod settings;

pub use settings::{Action, Health, Rule, Settings, TaintMatch, When};

use std::collections::BTreeMap;

use bellhop_policy::{Decision, Node, NodeRequest, Pair, Readiness, Summary, Verdict, plugin, value_of};

/// What stands for any value of a label.
const ANY: &str = "*";
/// The label that names a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The label that the rules without a `rules` setting look at.
pub const MAINTENANCE: &str = "bellhop.dev/maintenance";

/// The verdict of the first rule that matches; use-default where none does.
///
/// # Errors
/// None; the signature is the SDK's.
pub fn node(settings: &Settings, request: &NodeRequest<'_>) -> Result<Decision<Verdict>, String> {
    let rules = settings.rules.iter().enumerate();
    let Some((index, rule)) =
        rules.into_iter().find(|(_, rule)| matches(&rule.when, request.node, request.summary))
    else {
        return Ok(Decision::use_default());
    };
    let name = rule.name.clone().unwrap_or_else(|| format!("rules[{index}]"));
    let reason = || rule.reason.clone().unwrap_or_else(|| format!("rule {name}"));
    let decision = match rule.then {
        Action::Drain => Decision::of(Verdict::Draining(reason())),
        Action::Exclude => Decision::of(Verdict::Ineligible(reason())),
        Action::Weight => Decision::of(Verdict::Eligible(rule.weight.unwrap_or(settings::BUILT_IN_WEIGHT))),
        Action::UseDefault => Decision::use_default(),
    };
    Ok(decision.with_note(format!("rule {name}")))
}

fn matches(when: &When, node: &Node, summary: &Summary) -> bool {
    let all = |wanted: &BTreeMap<String, String>, pairs: &[Pair]| {
        wanted.iter().all(|(key, value)| value_of(pairs, key).is_some_and(|has| value == ANY || value == has))
    };
    all(&when.labels, &node.labels)
        && all(&when.annotations, &node.annotations)
        && when.taint.as_ref().is_none_or(|taint| tainted(taint, node))
        && when.cordoned.is_none_or(|cordoned| cordoned == node.unschedulable)
        && (when.health.is_empty() || when.health.iter().any(|health| health.is(node.ready)))
        && (when.zones.is_empty()
            || node.label(ZONE).is_some_and(|zone| when.zones.iter().any(|z| z == zone)))
        && when.zone_ready_below_percent.is_none_or(|percent| zone_is_below(percent.get(), node, summary))
}

fn tainted(wanted: &TaintMatch, node: &Node) -> bool {
    node.taints.iter().any(|taint| {
        taint.key == wanted.key
            && wanted.value.as_ref().is_none_or(|value| *value == taint.value)
            && wanted.effect.as_ref().is_none_or(|effect| *effect == taint.effect)
    })
}

/// True if of the nodes in this node's zone fewer than `percent` percent are ready. A node without a zone is in none.
fn zone_is_below(percent: u64, node: &Node, summary: &Summary) -> bool {
    let Some(zone) = node.label(ZONE) else { return false };
    let (total, ready) = summary.count(ZONE, zone);
    total > 0 && u64::from(ready) * 100 < u64::from(total) * percent
}

impl Health {
    fn is(&self, ready: Readiness) -> bool {
        match self {
            Self::Ready => ready == Readiness::Ready,
            Self::NotReady => ready == Readiness::NotReady,
            Self::Unknown => ready == Readiness::Unknown,
        }
    }
}

plugin! {
    name: "node-maintenance",
    settings: Settings,
    validate: settings::validate,
    hooks: { nodes: node },
    inputs: {
        node_labels: [MAINTENANCE, ZONE],
        topology_keys: [ZONE],
        node_taints: true,
        node_conditions: true,
        from_config: {
            node_labels: "/rules/*/when/labels",
            node_annotations: "/rules/*/when/annotations",
        },
    },
    self_tests: [
        {
            name: "without settings the maintenance label drains and excludes",
            config: "{}",
            hook: Nodes,
            request: r#"{"service": {}, "nodes": [
                {"labels": [["bellhop.dev/maintenance", "drain"]]}, {"labels": [["bellhop.dev/maintenance", "exclude"]]}, {}
            ]}"#,
            expect: r#"[{"draining": "label bellhop.dev/maintenance is drain"}, {"ineligible": "label bellhop.dev/maintenance is exclude"}, "useDefault"]"#,
        },
        {
            name: "the first rule that matches decides",
            config: r#"{"rules": [
                {"when": {"cordoned": true}, "then": "Drain", "reason": "cordoned"},
                {"when": {"health": ["NotReady", "Unknown"]}, "then": "Weight", "weight": 10}
            ]}"#,
            hook: Nodes,
            request: r#"{"service": {}, "nodes": [{"unschedulable": true, "ready": "NotReady"}, {"ready": "Unknown"}, {}]}"#,
            expect: r#"[{"draining": "cordoned"}, {"eligible": 10}, "useDefault"]"#,
        },
        {
            name: "a zone that is mostly down takes no traffic",
            config: r#"{"rules": [{"when": {"zoneReadyBelowPercent": 50}, "then": "Exclude", "reason": "zone is down"}]}"#,
            hook: Nodes,
            request: r#"{
                "service": {},
                "summary": {"total": 6, "ready": 4, "unschedulable": 0, "topology": [["topology.kubernetes.io/zone", "a", 3, 1], ["topology.kubernetes.io/zone", "b", 3, 3]]},
                "nodes": [{"labels": [["topology.kubernetes.io/zone", "a"]]}, {"labels": [["topology.kubernetes.io/zone", "b"]]}]
            }"#,
            expect: r#"[{"ineligible": "zone is down"}, "useDefault"]"#,
        },
    ],
}

#[cfg(test)]
mod tests;
