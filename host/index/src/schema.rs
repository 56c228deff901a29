//! Checks an object of Bellhop's own kinds against the schema of its CRD, as the API server would.
//!
//! A manifest folder has no API server in front of it, so types, unknown and missing fields, maxima and enumerations are
//! checked here, from the same schema. Every violation is reported, not only the first. CEL rules and patterns are not
//! evaluated: `convert` checks what they check, with better words.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use bellhop_api::Reason;

use crate::report::Report;

/// Schemas of the `spec` of each kind.
static SPECS: LazyLock<BTreeMap<String, JSONSchemaProps>> = LazyLock::new(|| {
    let spec = |version: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion| {
        version.schema?.open_api_v3_schema?.properties?.remove("spec")
    };
    bellhop_api::crds()
        .into_iter()
        .filter_map(|crd| Some((crd.spec.names.kind, crd.spec.versions.into_iter().find_map(spec)?)))
        .collect()
});

/// The kinds of group `bellhop.dev`.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    SPECS.keys().map(String::as_str)
}

/// Reports where `spec` is not what the schema of `kind` allows.
pub(crate) fn check_spec(kind: &str, spec: &Value, report: &mut Report) {
    if let Some(schema) = SPECS.get(kind) {
        check(schema, spec, "spec", report);
    }
}

/// Removes fields that are null, as the API server does where a field may not be null: they stand for absent ones.
/// Settings of plugins are left alone.
pub(crate) fn without_nulls(kind: &str, spec: &mut Value) {
    if let Some(schema) = SPECS.get(kind) {
        strip(schema, spec);
    }
}

/// Removes fields that this version does not know, as the API server does with those that its CRD does not: who wrote
/// them is newer. Settings of plugins are left alone.
pub(crate) fn without_unknown(kind: &str, spec: &mut Value) {
    if let Some(schema) = SPECS.get(kind) {
        prune(schema, spec);
    }
}

fn prune(schema: &JSONSchemaProps, value: &mut Value) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    match value {
        Value::Object(fields) => {
            if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
                fields.values_mut().for_each(|value| prune(values, value));
                return;
            }
            let Some(properties) = &schema.properties else { return };
            fields.retain(|name, _| properties.contains_key(name));
            for (name, value) in fields {
                prune(&properties[name], value);
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                items.iter_mut().for_each(|item| prune(schema, item));
            }
        }
        _ => {}
    }
}

fn strip(schema: &JSONSchemaProps, value: &mut Value) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields {
                if let Some(schema) = schema.properties.as_ref().and_then(|properties| properties.get(name)) {
                    strip(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                items.iter_mut().for_each(|item| strip(schema, item));
            }
        }
        _ => {}
    }
}

fn check(schema: &JSONSchemaProps, value: &Value, path: &str, report: &mut Report) {
    let right_type = match (schema.type_.as_deref(), value) {
        (Some("string"), Value::String(text)) => {
            check_string(schema, text, path, report);
            true
        }
        (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_number(schema, number, path, report);
            true
        }
        (Some("number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) | (None, _) => true,
        (Some("array"), Value::Array(items)) => {
            check_array(schema, items, path, report);
            true
        }
        (Some("object"), Value::Object(fields)) => {
            check_object(schema, fields, path, report);
            true
        }
        _ => false,
    };
    if !right_type {
        let expected = match schema.type_.as_deref() {
            Some("string") => "text; put a number or true in quotes where text is meant",
            Some("integer") => "a whole number",
            Some("boolean") => "true or false",
            Some("array") => "a list",
            Some("object") => "a map of fields",
            _ => "something else",
        };
        let found = type_name(value);
        report.wrong(Reason::WrongType, path, shown(value), format!("is {found} and must be {expected}"));
    }
}

fn check_string(schema: &JSONSchemaProps, text: &str, path: &str, report: &mut Report) {
    if let Some(allowed) = &schema.enum_ {
        let allowed: Vec<&str> = allowed.iter().filter_map(|json| json.0.as_str()).collect();
        if !allowed.contains(&text) {
            report.wrong(Reason::InvalidValue, path, text, format!("must be one of {}", allowed.join(", ")));
        }
        return;
    }
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if schema.max_length.is_some_and(|max| length > max) {
        let max = schema.max_length.unwrap_or_default();
        report.wrong(
            Reason::TooLarge,
            path,
            text,
            format!("has {length} characters and may have at most {max}"),
        );
    } else if schema.min_length.is_some_and(|min| length < min) {
        let min = schema.min_length.unwrap_or_default();
        report.wrong(
            Reason::InvalidValue,
            path,
            text,
            format!("has {length} characters and must have at least {min}"),
        );
    }
}

#[allow(clippy::cast_possible_truncation, reason = "bounds in the schemas are whole and below 2^53")]
fn check_number(schema: &JSONSchemaProps, number: &serde_json::Number, path: &str, report: &mut Report) {
    let value =
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).unwrap_or_default();
    let (min, max) = (schema.minimum.map(|min| min as i64), schema.maximum.map(|max| max as i64));
    let below = min.is_some_and(|min| value < i128::from(min));
    let above = max.is_some_and(|max| value > i128::from(max));
    if below || above {
        let bounds = match (min, max) {
            (Some(min), Some(max)) => format!("must be from {min} to {max}"),
            (Some(min), None) => format!("must be at least {min}"),
            (_, max) => format!("must be at most {}", max.unwrap_or_default()),
        };
        report.wrong(Reason::InvalidValue, path, value.to_string(), bounds);
    }
}

fn check_array(schema: &JSONSchemaProps, items: &[Value], path: &str, report: &mut Report) {
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(max) = schema.max_items.filter(|max| count > *max) {
        report.wrong(Reason::TooLarge, path, "", format!("has {count} entries and may have at most {max}"));
        return;
    }
    if let Some(min) = schema.min_items.filter(|min| count < *min) {
        report.wrong(
            Reason::MissingField,
            path,
            "",
            format!("has {count} entries and must have at least {min}"),
        );
    }
    if schema.x_kubernetes_list_type.as_deref() == Some("set") {
        for (index, item) in items.iter().enumerate() {
            if items[..index].contains(item) {
                report.wrong(
                    Reason::InvalidValue,
                    format!("{path}[{index}]"),
                    shown(item),
                    "stands twice in the list",
                );
            }
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            check(schema, item, &format!("{path}[{index}]"), report);
        }
    }
}

fn check_object(schema: &JSONSchemaProps, fields: &Map<String, Value>, path: &str, report: &mut Report) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
        if let Some(max) = schema.max_properties.filter(|max| count > *max) {
            report.wrong(
                Reason::TooLarge,
                path,
                "",
                format!("has {count} entries and may have at most {max}"),
            );
            return;
        }
        for (key, value) in fields {
            check(values, value, &format!("{path}[{key}]"), report);
        }
        return;
    }
    let empty = BTreeMap::new();
    let properties = schema.properties.as_ref().unwrap_or(&empty);
    for (name, value) in fields {
        match properties.get(name) {
            Some(schema) => check(schema, value, &format!("{path}.{name}"), report),
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let message = unknown_field(name, &known);
                report.wrong(Reason::UnknownField, format!("{path}.{name}"), shown(value), message);
            }
        }
    }
    for name in schema.required.iter().flatten().filter(|name| !fields.contains_key(*name)) {
        let what = properties.get(name).and_then(|schema| schema.description.as_deref()).unwrap_or_default();
        let what = what.split(['.', ':', ';']).next().unwrap_or_default().replace('\n', " ");
        report.wrong(
            Reason::MissingField,
            format!("{path}.{name}"),
            "",
            format!("is missing and must be set: {what}"),
        );
    }
}

/// What to say about a field that does not exist: the field that was meant, or all there are.
pub(crate) fn unknown_field(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    match nearest {
        Some(nearest) if distance(name, nearest) <= 1 + name.len() / 4 => {
            format!("no such field; did you mean {nearest}?")
        }
        _ => format!("no such field; there are {}", known.join(", ")),
    }
}

/// Levenshtein distance without regard to case, over bytes; both names are short.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What a JSON value is, in words.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// A value as it is shown in a problem: text as it is, everything else as compact JSON.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bellhop_core::ObjectRef;
    use serde_json::json;

    use super::*;

    fn problems(kind: &str, spec: Value) -> Vec<String> {
        let mut report = Report::new(ObjectRef::cluster(kind, "x"));
        check_spec(kind, &spec, &mut report);
        report.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_field_is_named_with_the_one_that_was_meant() {
        let found = problems("AddressPool", json!({"adresses": ["203.0.113.0/24"]}));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("spec.adresses") && found[0].contains("did you mean addresses?"),
            "{found:?}"
        );
        assert!(found[1].contains("spec.addresses: is missing"), "{found:?}");
    }

    #[test]
    fn a_field_that_resembles_none_is_answered_with_the_list_of_fields() {
        let found = problems("AddressPool", json!({"addresses": ["203.0.113.1"], "bgp": {}}));
        assert!(found[0].contains("spec.bgp") && found[0].contains("autoAssign"), "{found:?}");
    }

    #[test]
    fn every_violation_is_reported_with_path_and_value() {
        let spec = json!({
            "peerAddress": 42, "peerASN": 0, "peerPort": 70000, "families": ["IPv4", "ipv6"], "passive": "yes",
        });
        let found = problems("BGPPeer", spec);
        for part in [
            r#"spec.peerAddress: "42": is a number and must be text"#,
            r#"spec.peerASN: "0": must be from 1 to 4294967294"#,
            r#"spec.peerPort: "70000": must be from 1 to 65535"#,
            r#"spec.families[1]: "ipv6": must be one of IPv4, IPv6"#,
            r#"spec.passive: "yes": is text and must be true or false"#,
        ] {
            assert!(found.iter().any(|problem| problem.contains(part)), "{part} is not in {found:#?}");
        }
    }

    #[test]
    fn a_list_over_its_maximum_is_one_problem_however_long_it_is() {
        let communities: Vec<String> = (0..10_000).map(|n| format!("65000:{n}")).collect();
        let found = problems("Advertisement", json!({"attributes": {"communities": communities}}));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("10000 entries and may have at most 64"), "{found:?}");
    }

    #[test]
    fn settings_of_a_plugin_may_hold_anything_and_keep_their_nulls() {
        let mut spec = json!({
            "hook": "Route", "priority": null,
            "plugin": {"configMap": "x", "sha256": "0".repeat(64)}, "config": {"a": {"b": [1, null]}, "c": null},
        });
        without_nulls("DecisionPolicy", &mut spec);
        assert_eq!(spec["config"], json!({"a": {"b": [1, null]}, "c": null}));
        assert!(spec.get("priority").is_none());
        assert_eq!(problems("DecisionPolicy", spec), Vec::<String>::new());
    }
}
