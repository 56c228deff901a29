//! `bellhop policy`: DecisionPolicies and how far their versions are.

use bellhop_api::{Condition, DecisionPolicy, PluginVersion, SpeakerState};
use serde::Serialize;

use super::status::{NO_POLICY, PolicyRow, in_brief, policies, policy};
use crate::output::columns;

/// One policy, with what each node has of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyShown {
    /// The row of `policy list`.
    #[serde(flatten)]
    pub row: PolicyRow,
    /// ConfigMap and digest that `spec` asks for.
    pub wanted: Wanted,
    /// `spec.failurePolicy`.
    pub failure_policy: String,
    /// The version in force.
    pub active_version: Option<PluginVersion>,
    /// The version on its way, or refused.
    pub candidate_version: Option<PluginVersion>,
    /// All conditions.
    pub conditions: Vec<Condition>,
    /// What nodes have.
    pub nodes: Vec<OnNode>,
    /// What cannot be shown, and why.
    pub not_shown: Vec<String>,
}

/// What `spec.plugin` asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// ConfigMap.
    pub config_map: String,
    /// SHA-256 of the module.
    pub sha256: String,
}

/// A policy on a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnNode {
    /// Node.
    pub node: String,
    /// SHA-256 of the module that answers there; empty where none does.
    pub sha256: String,
    /// Why the version that should be in force is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A policy with what the speakers report of it.
pub fn show(object: &DecisionPolicy, states: &[SpeakerState], not_shown: Vec<String>) -> PolicyShown {
    let status = object.status.clone().unwrap_or_default();
    let row = policy(object);
    let nodes = states.iter().filter_map(|state| {
        let loaded = state.status.as_ref()?.policies.iter().find(|loaded| loaded.name == row.name)?;
        Some(OnNode {
            node: state.metadata.name.clone().unwrap_or_default(),
            sha256: loaded.sha256.clone(),
            message: loaded.message.clone(),
        })
    });
    PolicyShown {
        nodes: nodes.collect(),
        wanted: Wanted {
            config_map: object.spec.plugin.config_map.clone(),
            sha256: object.spec.plugin.sha256.clone(),
        },
        failure_policy: format!("{:?}", object.spec.failure_policy),
        active_version: status.active,
        candidate_version: status.candidate,
        conditions: status.conditions,
        row,
        not_shown,
    }
}

/// All policies, in the order in which they are asked.
pub fn list(objects: &[DecisionPolicy]) -> Vec<PolicyRow> {
    let mut rows: Vec<PolicyRow> = objects.iter().map(policy).collect();
    rows.sort_by(|a, b| {
        (&a.hook, std::cmp::Reverse(a.priority), &a.name).cmp(&(
            &b.hook,
            std::cmp::Reverse(b.priority),
            &b.name,
        ))
    });
    rows
}

/// `policy list` for people.
pub fn list_table(rows: &[PolicyRow]) -> String {
    policies(rows, NO_POLICY)
}

/// `policy show` for people.
pub fn table(shown: &PolicyShown) -> String {
    let row = &shown.row;
    let version = |version: &Option<PluginVersion>| {
        version.as_ref().map_or_else(
            || "none".into(),
            |version| {
                let number = Some(&version.version).filter(|number| !number.is_empty());
                let number = number.map(|number| format!(" (version {number})")).unwrap_or_default();
                format!("{}{number}, ConfigMap {}", version.sha256, version.config_map)
            },
        )
    };
    let mut text = format!("DecisionPolicy {} (hook {}, priority {})\n", row.name, row.hook, row.priority);
    text += &format!("  wanted     {}, ConfigMap {}\n", shown.wanted.sha256, shown.wanted.config_map);
    text += &format!("  active     {}\n", version(&shown.active_version));
    text += &format!("  candidate  {}\n", version(&shown.candidate_version));
    text +=
        &format!("  step       {}\n", row.step.as_deref().unwrap_or("none yet: the controller has not said"));
    text += &format!("  on failure {}\n", shown.failure_policy);
    text += "\nCONDITIONS\n";
    let cells = |condition: &Condition| {
        vec![
            condition.type_.clone(),
            in_brief(&format!("{:?}", condition.status), &condition.reason),
            condition.last_transition_time.clone(),
            condition.message.clone(),
        ]
    };
    text += &columns(
        &["TYPE", "STATUS", "SINCE", "MESSAGE"],
        shown.conditions.iter().map(cells).collect(),
        "none yet: the controller has not looked at it",
    );
    text += "\nNODES\n";
    let cells = |on: &OnNode| vec![on.node.clone(), on.sha256.chars().take(12).collect(), on.message.clone()];
    text += &columns(
        &["NODE", "MODULE", "TROUBLE"],
        shown.nodes.iter().map(cells).collect(),
        "no node has reported it",
    );
    if !shown.not_shown.is_empty() {
        text += "\nNOT SHOWN\n";
        text.extend(shown.not_shown.iter().map(|line| format!("{line}\n")));
    }
    text
}
