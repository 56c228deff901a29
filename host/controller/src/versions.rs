//! The controller's own copies of policies' versions: immutable ConfigMaps, named by content.

use bellhop_api::{
    DecisionPolicySpec, FailurePolicy, Hook, InitialAnswer, LabelSelector, LabelSelectorOperator,
    LabelSelectorRequirement, Limits, Match, PluginRef, PluginVersion,
};
use bellhop_core::ObjectName;
use bellhop_core::labels::{Operator, Selector};
use bellhop_core::objects::{self, DecisionPolicy};
use bellhop_index::{COPY_MODULE_KEY, COPY_SPEC_KEY};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Label of a copy: the policy that it is of, cut to what a label's value may have.
pub(crate) const POLICY_LABEL: &str = "bellhop.dev/policy";

/// What the name of a copy begins with.
const PREFIX: &str = "bellhop-policy-";

/// Digits of a digest in names and in what people are shown.
const DIGITS: usize = 12;

/// Most bytes of a policy's name in the name of its copy, so that that stays within 253; the digest tells them apart.
const NAME_MAX: usize = 220;

/// A version of a policy, as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Copy {
    /// Name of the ConfigMap.
    pub(crate) name: ObjectName,
    /// What `status.active` says of it.
    pub(crate) version: PluginVersion,
    /// `policy.json`.
    spec: String,
}

impl Copy {
    /// The copy that a policy's version has.
    pub(crate) fn of(policy: &DecisionPolicy) -> Self {
        // Serializing plain structs and maps of strings cannot fail; were it to, the digest would be that of nothing.
        let mut spec = spec(policy);
        // Where the author had the module is no part of the version: the copy has it under a key of its own, and a copy that
        // is read back is the same version.
        spec.plugin.config_map = String::new();
        spec.plugin.key = COPY_MODULE_KEY.into();
        let spec = serde_json::to_string(&spec).unwrap_or_default();
        let digest = hex(&Sha256::digest(spec.as_bytes()));
        let name = format!("{}{}", prefix(&policy.name), &digest[..DIGITS]);
        let version = PluginVersion {
            sha256: policy.sha256.to_string(),
            digest: policy.sha256.chars().take(DIGITS).collect(),
            version: String::new(),
            config_sha256: hex(&Sha256::digest(policy.config.as_bytes())),
            config_map: name.clone(),
        };
        Self { name: name.into(), version, spec }
    }

    /// The manifest of the ConfigMap: immutable, owned by the policy, with the module's bytes as they were found.
    pub(crate) fn manifest(&self, policy: &DecisionPolicy, uid: &str, module: &[u8]) -> Value {
        let label: String = policy.name.chars().take(63).collect();
        json!({
            "metadata": {
                "labels": { POLICY_LABEL: label.trim_end_matches(['-', '.']) },
                "ownerReferences": [{
                    "apiVersion": bellhop_api::API_VERSION,
                    "kind": "DecisionPolicy",
                    "name": &*policy.name,
                    "uid": uid,
                }],
            },
            "immutable": true,
            "binaryData": { COPY_MODULE_KEY: ByteString(module.to_vec()) },
            "data": { COPY_SPEC_KEY: self.spec },
        })
    }
}

fn prefix(policy: &str) -> String {
    let end = (0..=NAME_MAX.min(policy.len())).rev().find(|end| policy.is_char_boundary(*end)).unwrap_or(0);
    format!("{PREFIX}{}-", &policy[..end])
}

/// True for a name that a copy of this policy can have.
pub(crate) fn is_copy_of(name: &str, policy: &str) -> bool {
    name.strip_prefix(&*prefix(policy)).is_some_and(|rest| {
        rest.len() == DIGITS && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// A policy's projection as its spec again.
fn spec(policy: &DecisionPolicy) -> DecisionPolicySpec {
    let config: Option<serde_json::Map<String, Value>> = serde_json::from_str(&policy.config).ok();
    let config = config.filter(|config| !config.is_empty());
    DecisionPolicySpec {
        hook: match policy.hook {
            objects::Hook::Address => Hook::Address,
            objects::Hook::Nodes => Hook::Nodes,
            objects::Hook::Route => Hook::Route,
        },
        plugin: PluginRef {
            config_map: policy.config_map.to_string(),
            key: policy.module_key.to_string(),
            sha256: policy.sha256.to_string(),
        },
        config,
        match_: Match {
            namespace_selector: policy.namespace_selector.as_ref().map(selector),
            service_selector: policy.service_selector.as_ref().map(selector),
            peer_selector: policy.peer_selector.as_ref().map(selector),
            node_selector: policy.node_selector.as_ref().map(selector),
        },
        priority: policy.priority,
        failure_policy: match policy.failure_policy {
            objects::FailurePolicy::KeepLast => FailurePolicy::KeepLast,
            objects::FailurePolicy::UseDefault => FailurePolicy::UseDefault,
            objects::FailurePolicy::Withhold => FailurePolicy::Withhold,
        },
        initial: match policy.initial {
            objects::Initial::UseDefault => InitialAnswer::UseDefault,
            objects::Initial::Withhold => InitialAnswer::Withhold,
        },
        min_eligible: (policy.hook == objects::Hook::Nodes)
            .then(|| u16::try_from(policy.min_eligible).unwrap_or(u16::MAX)),
        limits: Limits { fuel: policy.fuel, memory: policy.memory },
    }
}

fn selector(selector: &Selector) -> LabelSelector {
    let requirements = selector.requirements.iter().map(|requirement| {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => (LabelSelectorOperator::In, values.as_slice()),
            Operator::NotIn(values) => (LabelSelectorOperator::NotIn, values.as_slice()),
            Operator::Exists => (LabelSelectorOperator::Exists, &[][..]),
            Operator::DoesNotExist => (LabelSelectorOperator::DoesNotExist, &[][..]),
        };
        LabelSelectorRequirement {
            key: requirement.key.to_string(),
            operator,
            values: values.iter().map(|value| value.to_string()).collect(),
        }
    });
    LabelSelector { match_expressions: requirements.collect(), ..Default::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bellhop_core::Delta;
    use bellhop_core::objects::ModuleSource;
    use bellhop_index::{Index, Options, policy_of_copy};

    use super::*;

    fn policy() -> Arc<DecisionPolicy> {
        let manifest = json!({
            "apiVersion": bellhop_api::API_VERSION,
            "kind": "DecisionPolicy",
            "metadata": { "name": "by-label" },
            "spec": {
                "hook": "Address",
                "plugin": { "configMap": "mine", "key": "m", "sha256": "ab".repeat(32) },
                "config": { "b": 1, "a": [true] },
                "match": {
                    "serviceSelector": { "matchLabels": { "x": "y" } },
                    "namespaceSelector": { "matchExpressions": [
                        { "key": "k", "operator": "NotIn", "values": ["a", "b"] },
                        { "key": "e", "operator": "Exists" },
                    ] },
                },
                "priority": 7,
                "failurePolicy": "Withhold",
                "initial": "Withhold",
                "limits": { "fuel": 200_000 },
            },
        });
        let deltas = Index::new(Options::default()).apply("p.json", manifest.to_string().as_bytes());
        deltas
            .iter()
            .find_map(|delta| match delta {
                Delta::Policy(_, policy) => policy.clone(),
                other => panic!("{other:?}"),
            })
            .unwrap()
    }

    #[test]
    fn a_copy_says_all_that_its_policy_said_and_names_its_own_module() {
        let policy = policy();
        let copy = Copy::of(&policy);
        assert!(is_copy_of(&copy.name, "by-label") && !is_copy_of(&copy.name, "by"), "{}", copy.name);
        let data = BTreeMap::from([(COPY_SPEC_KEY.into(), copy.spec.as_bytes().into())]);
        let read = policy_of_copy(&policy.name, &ModuleSource { name: copy.name.clone(), data }).unwrap();
        let expected = DecisionPolicy {
            config_map: copy.name.clone(),
            module_key: COPY_MODULE_KEY.into(),
            ..(*policy).clone()
        };
        assert_eq!(*read, expected);
        assert_eq!(Copy::of(&read), copy, "a copy that is read back needs no copy of its own");
    }

    #[test]
    fn every_change_of_a_policy_makes_another_copy_and_none_makes_the_same() {
        let policy = policy();
        let other = DecisionPolicy { priority: 8, ..(*policy).clone() };
        assert_ne!(Copy::of(&policy).name, Copy::of(&other).name);
        assert_eq!(Copy::of(&policy), Copy::of(&policy));
    }
}
