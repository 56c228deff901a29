//! The reference of all fields as Markdown, for `docs/fields.md`: from the same schemas as the CRDs, so that it cannot say
//! anything else.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::plain_crds;

/// Title and first words of the page.
const HEAD: &str = "<!-- Generated from host/api; run its tests with BELLHOP_WRITE_CRDS=1 to write it again. -->

# Fields

Every field of every kind in `bellhop.dev/v1alpha1`, from the same types as the CRDs in `crds/`. What the kinds are for,
with examples, is in [resources](resources.md). A field without *required* may be left out.
";

/// The whole page.
pub fn fields_markdown() -> String {
    let mut page = HEAD.to_owned();
    for crd in plain_crds() {
        let root = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
        let Some(root) = root.and_then(|schema| schema.open_api_v3_schema.as_ref()) else { continue };
        // A String takes every write.
        let _ = write!(page, "\n## {}\n\n{}\n", crd.spec.names.kind, text(root));
        for part in ["spec", "status"] {
            let Some(schema) = root.properties.iter().flatten().find(|(name, _)| *name == part) else {
                continue;
            };
            page.push_str("\n| field | type | |\n|---|---|---|\n");
            rows(&mut page, part, schema.1);
        }
    }
    page
}

/// One row for each field below `schema`, parents before their children.
fn rows(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let required = schema.required.iter().flatten().any(|required| required == name);
        let required = if required { "*required*; " } else { "" };
        let _ =
            writeln!(page, "| `{path}` | {} | {required}{} |", kind(field), text(field).replace('|', "\\|"));
        // A selector is the same everywhere; its parts stand in resources.md once.
        if !field.properties.iter().flatten().any(|(name, _)| name == "matchExpressions") {
            rows(page, &path, field);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
            rows(page, &format!("{path}[]"), items);
        }
    }
}

/// The type of a field with its bounds, in a few words.
fn kind(schema: &JSONSchemaProps) -> String {
    let values: Vec<String> = schema
        .enum_
        .iter()
        .flatten()
        .filter(|value| !value.0.is_null())
        .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
        .collect();
    let name = match schema.type_.as_deref() {
        _ if !values.is_empty() => values.join(", "),
        _ if schema.properties.iter().flatten().any(|(name, _)| name == "matchExpressions") => {
            "selector".into()
        }
        Some("array") => match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => format!("list of {}", kind(items)),
            _ => "list".into(),
        },
        Some("object") => match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(values)) => format!("map to {}", kind(values)),
            _ => "object".into(),
        },
        Some(other) => other.to_owned(),
        None => "any".into(),
    };
    let bounds = match (schema.minimum, schema.maximum, schema.max_items) {
        (Some(least), Some(most), _) => format!(", {least} to {most}"),
        (Some(least), None, _) => format!(", at least {least}"),
        (_, _, Some(most)) => format!(", at most {most}"),
        _ => String::new(),
    };
    let default = schema.default.as_ref().map(|value| &value.0);
    let default = default.filter(|value| !value.is_object()).map(|value| format!("; default `{value}`"));
    format!("{name}{bounds}{}", default.unwrap_or_default())
}

/// The description as one line.
fn text(schema: &JSONSchemaProps) -> String {
    schema.description.iter().flat_map(|text| text.split_whitespace()).collect::<Vec<_>>().join(" ")
}
