//! DecisionPolicy.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellhop_api::{DecisionPolicySpec, POLICY_CONFIG_MAX_BYTES, Reason};
use bellhop_core::objects::{DecisionPolicy, FailurePolicy, Hook, Initial};
use serde_json::Value;

use super::metadata::Metadata;
use super::{fields, selector};
use crate::report::Report;

pub(crate) fn convert(
    metadata: &Metadata,
    spec: &DecisionPolicySpec,
    report: &mut Report,
) -> Option<Arc<DecisionPolicy>> {
    fields::sha256(&spec.plugin.sha256, "spec.plugin.sha256", report);
    if !fields::is_subdomain(&spec.plugin.config_map) {
        let message = "must be the name of a ConfigMap in Bellhop's namespace";
        report.wrong(Reason::InvalidValue, "spec.plugin.configMap", &spec.plugin.config_map, message);
    }
    let key_character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !spec.plugin.key.bytes().all(key_character) {
        let message = "must be a key of the ConfigMap: letters, digits, -, . and _";
        report.wrong(Reason::InvalidValue, "spec.plugin.key", &spec.plugin.key, message);
    }
    let hook = match spec.hook {
        bellhop_api::Hook::Address => Hook::Address,
        bellhop_api::Hook::Nodes => Hook::Nodes,
        bellhop_api::Hook::Route => Hook::Route,
    };
    let config = canonical(&Value::Object(spec.config.clone().unwrap_or_default()));
    if config.len() > POLICY_CONFIG_MAX_BYTES {
        let message =
            format!("has {} bytes as JSON and may have at most {POLICY_CONFIG_MAX_BYTES}", config.len());
        report.wrong(Reason::TooLarge, "spec.config", "", message);
    }
    let only = [
        (Hook::Nodes, spec.min_eligible.is_some(), "spec.minEligible"),
        (Hook::Route, spec.match_.peer_selector.is_some(), "spec.match.peerSelector"),
        (Hook::Route, spec.match_.node_selector.is_some(), "spec.match.nodeSelector"),
    ];
    for (needed, _, field) in only.into_iter().filter(|(needed, set, _)| *set && *needed != hook) {
        let message = format!("is for hook {needed} only; leave it out");
        report.wrong(Reason::ConflictingFields, field, hook.to_string(), message);
    }
    let mut select = |selector: Option<&bellhop_api::LabelSelector>, field: &str| {
        selector::optional(selector, field, report)
    };
    let service_selector = select(spec.match_.service_selector.as_ref(), "spec.match.serviceSelector");
    let namespace_selector = select(spec.match_.namespace_selector.as_ref(), "spec.match.namespaceSelector");
    let node_selector = select(spec.match_.node_selector.as_ref(), "spec.match.nodeSelector");
    let peer_selector = select(spec.match_.peer_selector.as_ref(), "spec.match.peerSelector");
    Some(Arc::new(DecisionPolicy {
        name: metadata.name.clone(),
        hook,
        config_map: spec.plugin.config_map.as_str().into(),
        module_key: spec.plugin.key.as_str().into(),
        sha256: spec.plugin.sha256.as_str().into(),
        config: config.into(),
        service_selector,
        namespace_selector,
        node_selector,
        peer_selector,
        priority: spec.priority,
        failure_policy: match spec.failure_policy {
            bellhop_api::FailurePolicy::KeepLast => FailurePolicy::KeepLast,
            bellhop_api::FailurePolicy::UseDefault => FailurePolicy::UseDefault,
            bellhop_api::FailurePolicy::Withhold => FailurePolicy::Withhold,
        },
        initial: match spec.initial {
            bellhop_api::InitialAnswer::UseDefault => Initial::UseDefault,
            bellhop_api::InitialAnswer::Withhold => Initial::Withhold,
        },
        min_eligible: spec.min_eligible.map_or(1, u32::from),
        fuel: spec.limits.fuel,
        memory: spec.limits.memory,
    }))
}

/// Compact JSON with sorted keys, whatever order serde_json's maps keep in this build.
fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, Value> =
                fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
