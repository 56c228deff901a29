//! What `spec.config` may hold.

use std::collections::BTreeMap;

use bellhop_policy::Within;

use crate::MAINTENANCE;

/// Weight of a node that no policy says anything about.
pub(crate) const BUILT_IN_WEIGHT: u32 = 100;

bellhop_policy::settings! {
    /// Which nodes announce.
    #[derive(Debug)]
    pub struct Settings {
        /// The table; the first rule that matches decides, and where none does the built-in answer stays. Without it:
        /// label bellhop.dev/maintenance with value drain drains a node, with value exclude excludes it.
        pub rules: Vec<Rule> = maintenance_rules(),
    }

    /// One row of the table.
    #[derive(Debug)]
    pub struct Rule {
        /// Name for notes; without it rules[0], rules[1] and so on.
        pub name: Option<String>,
        /// What must hold; {} always does.
        pub when: When,
        /// What becomes of the node.
        pub then: Action,
        /// With then Weight: the node's weight; 100 is the built-in one.
        pub weight: Option<u32>,
        /// With then Drain or Exclude: the reason that is shown; without it the rule's name.
        pub reason: Option<String>,
    }

    /// Conditions; all that are given must hold. Of maps every key must be there with that value, * stands for any.
    #[derive(Debug)]
    pub struct When {
        /// Labels of the Node.
        pub labels: BTreeMap<String, String> = BTreeMap::new(),
        /// Annotations of the Node.
        pub annotations: BTreeMap<String, String> = BTreeMap::new(),
        /// A taint of the Node.
        pub taint: Option<TaintMatch>,
        /// Whether the Node is cordoned (spec.unschedulable).
        pub cordoned: Option<bool>,
        /// States of the Node's Ready condition; one of them must be the Node's.
        pub health: Vec<Health> = Vec::new(),
        /// Zones (label topology.kubernetes.io/zone); the Node must be in one of them.
        pub zones: Vec<String> = Vec::new(),
        /// Of the nodes in this Node's zone fewer than this many percent are ready.
        pub zone_ready_below_percent: Option<Within<1, 100>>,
    }

    /// A taint.
    #[derive(Debug)]
    pub struct TaintMatch {
        /// Its key.
        pub key: String,
        /// Its value; without it any.
        pub value: Option<String>,
        /// Its effect: NoSchedule, PreferNoSchedule or NoExecute; without it any.
        pub effect: Option<String>,
    }

    /// State of a Node's Ready condition.
    #[derive(Debug)]
    pub enum Health {
        /// True.
        Ready,
        /// False.
        NotReady,
        /// Unknown: the kubelet has not reported in time.
        Unknown,
    }

    /// What becomes of a node.
    #[derive(Debug)]
    pub enum Action {
        /// It stops softly: GRACEFUL_SHUTDOWN first, withdrawal after.
        Drain,
        /// It does not announce.
        Exclude,
        /// It announces, with the rule's weight.
        Weight,
        /// The built-in answer stays, and no later rule is looked at.
        UseDefault,
    }
}

/// The rules that a table left out stands for.
fn maintenance_rules() -> Vec<Rule> {
    let rule = |value: &str, then| Rule {
        name: Some(format!("maintenance-{value}")),
        when: When {
            labels: BTreeMap::from([(MAINTENANCE.into(), value.into())]),
            annotations: BTreeMap::new(),
            taint: None,
            cordoned: None,
            health: Vec::new(),
            zones: Vec::new(),
            zone_ready_below_percent: None,
        },
        then,
        weight: None,
        reason: Some(format!("label {MAINTENANCE} is {value}")),
    };
    vec![rule("drain", Action::Drain), rule("exclude", Action::Exclude)]
}

/// Rules between fields.
pub(crate) fn validate(settings: &Settings) -> Result<(), String> {
    for (index, rule) in settings.rules.iter().enumerate() {
        let field = |name: &str| format!("config.rules[{index}].{name}");
        match (&rule.then, rule.weight, &rule.reason) {
            (Action::Weight, None, _) => {
                return Err(format!(
                    "{}: is missing, expected a weight beside then: Weight",
                    field("weight")
                ));
            }
            (Action::Drain | Action::Exclude | Action::UseDefault, Some(weight), _) => {
                return Err(format!("{}: is {weight}, expected only beside then: Weight", field("weight")));
            }
            (Action::Weight | Action::UseDefault, _, Some(reason)) => {
                return Err(format!(
                    "{}: is {reason:?}, expected only beside then: Drain or Exclude",
                    field("reason")
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
