//! The CRDs: generated from the types, written to `crds/`, compared with what is committed there.

mod reference;

use std::path::Path;
use std::{fs, io};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

pub use reference::fields_markdown;

use crate::{AddressClaim, AddressPool, Advertisement, BGPPeer, DecisionPolicy, SpeakerConfig, SpeakerState};

/// First lines of every generated file.
const HEADER: &str = "# Generated from host/api by `bellhop crds`; edit the types there.\n";

/// The CRDs of every kind, by kind.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        AddressClaim::crd(),
        AddressPool::crd(),
        Advertisement::crd(),
        BGPPeer::crd(),
        DecisionPolicy::crd(),
        SpeakerConfig::crd(),
        SpeakerState::crd(),
    ];
    for crd in &mut crds {
        for version in &mut crd.spec.versions {
            if let Some(schema) =
                version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
            {
                visit(schema, "", &mut |_, schema| tidy(schema));
            }
        }
    }
    crds
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

/// Replaces the number formats that schemars writes by those that the API server knows, so that it gives no warning:
/// <https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/>.
fn tidy(schema: &mut JSONSchemaProps) {
    let wide = match schema.format.as_deref() {
        Some("uint8" | "uint16" | "int8" | "int16") => "int32",
        Some("uint32" | "uint64" | "uint") => "int64",
        _ => return,
    };
    schema.format = Some(wide.into());
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
