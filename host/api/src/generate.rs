//! The CRDs: generated from the types, written to `crds/`, compared with what is committed there.

mod reference;

use std::path::Path;
use std::{fs, io};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

pub use reference::kind_pages;

use crate::{
    AddressClaim, AddressPool, Advertisement, BFDProfile, BGPPeer, DecisionPolicy, SpeakerConfig,
    SpeakerState,
};

/// First lines of every generated file.
const HEADER: &str = "# Generated from host/api by `bellhop crds`; edit the types there.\n";

/// The CRDs of every kind, by kind.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = plain_crds();
    each_schema(&mut crds, &mut |path, schema| {
        if path.starts_with(".spec.") {
            tell_default_and_bounds(schema);
        }
    });
    crds
}

/// The CRDs without what [`tell_default_and_bounds`] adds, for pages that show it in columns of their own.
fn plain_crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        AddressClaim::crd(),
        AddressPool::crd(),
        Advertisement::crd(),
        BFDProfile::crd(),
        BGPPeer::crd(),
        DecisionPolicy::crd(),
        SpeakerConfig::crd(),
        SpeakerState::crd(),
    ];
    each_schema(&mut crds, &mut |path, schema| {
        tidy(schema);
        if path.is_empty() {
            describe_kind(schema);
        }
    });
    crds
}

/// Calls `f` for every node of every CRD's schema, with its path: `.spec.addresses[]`.
fn each_schema(crds: &mut [CustomResourceDefinition], f: &mut impl FnMut(&str, &mut JSONSchemaProps)) {
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    for schema in versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut()) {
        visit(schema, "", f);
    }
}

/// The CRDs as files: name (`bellhop.dev_addresspools.yaml`) and text.
pub fn crds_yaml() -> Vec<(String, String)> {
    crds()
        .iter()
        .map(|crd| {
            // Through a JSON value, whose maps are sorted: the text depends on nothing but the types.
            let value = whole_numbers(serde_json::to_value(crd).unwrap_or_default());
            let text = serde_saphyr::to_string(&value).unwrap_or_default();
            (format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural), format!("{HEADER}{text}"))
        })
        .collect()
}

/// Writes every CRD into `dir`, creating it, and says which files changed.
///
/// # Errors
/// What reading or writing a file failed with.
pub fn write_crds(dir: &Path) -> io::Result<Vec<String>> {
    fs::create_dir_all(dir)?;
    let mut changed = Vec::new();
    for (name, text) in crds_yaml() {
        let path = dir.join(&name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        fs::write(&path, text)?;
        changed.push(name);
    }
    Ok(changed)
}

/// Calls `f` with the path and the schema of every node of `schema`, parents after their children.
pub(crate) fn visit(
    schema: &mut JSONSchemaProps,
    path: &str,
    f: &mut impl FnMut(&str, &mut JSONSchemaProps),
) {
    for (name, property) in schema.properties.iter_mut().flatten() {
        visit(property, &format!("{path}.{name}"), f);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        visit(items, &format!("{path}[]"), f);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        visit(values, &format!("{path}{{}}"), f);
    }
    f(path, schema);
}

/// Makes a node of a schema what the API server and `kubectl explain` want of it.
///
/// - The number formats that schemars writes become those that the API server knows, so that it gives no warning:
///   <https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/>.
/// - `null` stands for an absent field everywhere, as it does where a field may not be null: the API server drops it.
/// - Paragraphs are one line each, because `kubectl explain` folds lines and keeps their ends.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.format = schema.format.take().map(|format| match format.as_str() {
        "uint8" | "uint16" | "int8" | "int16" => "int32".into(),
        "uint32" | "uint64" | "uint" => "int64".into(),
        _ => format,
    });
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    schema.description = schema.description.as_deref().map(unfolded);
}

/// A text whose paragraphs and list items are one line each. The fences of an example become an indentation of four.
fn unfolded(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut example = false;
    for line in text.lines() {
        if line.starts_with("```") {
            example = !example;
            continue;
        }
        let starts = example || line.is_empty() || line.starts_with("- ");
        match lines.last_mut() {
            Some(last) if !starts && !last.is_empty() => {
                last.push(' ');
                last.push_str(line);
            }
            _ if example => lines.push(format!("    {line}")),
            _ => lines.push(line.into()),
        }
    }
    lines.join("\n")
}

/// Gives the description of `spec`, which is that of the type, to the kind: there `kubectl explain` looks first.
fn describe_kind(root: &mut JSONSchemaProps) {
    let spec = root.properties.iter_mut().flatten().find(|(name, _)| *name == "spec");
    if let Some((_, spec)) = spec {
        root.description = spec.description.replace("What is wanted.".into());
    }
}

/// Adds to the description of a field what `kubectl explain` does not show of its schema: default and bounds.
fn tell_default_and_bounds(schema: &mut JSONSchemaProps) {
    let mut said = Vec::new();
    if let Some(default) = schema.default.as_ref().map(|value| &value.0).filter(|value| !value.is_object()) {
        let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        if !matches!(text.as_str(), "[]" | "") {
            said.push(format!("Default: {text}."));
        }
    }
    match (schema.minimum, schema.maximum, schema.max_items) {
        (Some(least), Some(most), _) => said.push(format!("From {least} to {most}.")),
        (_, _, Some(most)) => said.push(format!("At most {most} entries.")),
        _ => {}
    }
    if let Some(description) = schema.description.as_mut().filter(|_| !said.is_empty()) {
        let paragraphs = description.contains('\n');
        description.push_str(if paragraphs { "\n\n" } else { " " });
        description.push_str(&said.join(" "));
    }
}

/// The same value with `1.0` written as `1`: bounds are floats in the API's types, and integers to every reader.
fn whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[allow(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                Value::from(float as i64)
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, whole_numbers(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
