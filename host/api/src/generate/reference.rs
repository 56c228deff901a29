//! A page of `docs/kinds/` for each kind: from the same schemas as the CRDs, so that it cannot say anything else.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};

use super::plain_crds;

/// First line of every page.
const HEAD: &str = "<!-- Generated from host/api; `make crds` writes it again. -->";

/// What stands above the fields.
const FIELDS: &str = "A field without *required* may be left out. `kubectl explain` shows the same.";

/// The pages: name (`addresspool.md`) and text.
pub fn kind_pages() -> Vec<(String, String)> {
    plain_crds().iter().filter_map(|crd| Some((page_name(crd), page(crd)?))).collect()
}

fn page_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.md", crd.spec.names.kind.to_lowercase())
}

/// The page of one kind; `None` where it has no schema, which no kind here lacks.
fn page(crd: &CustomResourceDefinition) -> Option<String> {
    let names = &crd.spec.names;
    let version = crd.spec.versions.first()?;
    let root = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    let short = names.short_names.iter().flatten().next().map(String::as_str).unwrap_or_default();
    let mut page = format!("{HEAD}\n\n# {}\n\n{}\n", names.kind, with_fences(root.description.as_deref()?));
    // A String takes every write.
    let _ = write!(
        page,
        "\n`apiVersion: {}/{}`, cluster-scoped, `kubectl get {}` or `{short}`.\n",
        crd.spec.group, version.name, names.plural
    );
    page.push_str("\n## What `kubectl get` shows\n\n| column | from |\n|---|---|\n");
    for column in version.additional_printer_columns.iter().flatten() {
        let _ = writeln!(page, "| {} | `{}` |", heading(column), column.json_path.replace('|', "\\|"));
    }
    for (part, title) in [("spec", "Spec"), ("status", "Status")] {
        let Some(schema) = root.properties.iter().flatten().find(|(name, _)| *name == part) else { continue };
        if schema.1.properties.iter().flatten().next().is_none() {
            continue;
        }
        let intro = if part == "spec" { FIELDS } else { "Written by Bellhop." };
        let _ = write!(page, "\n## {title}\n\n{intro}\n\n| field | type | |\n|---|---|---|\n");
        rows(&mut page, part, schema.1);
    }
    Some(page)
}

/// A column's heading as kubectl prints it.
fn heading(column: &CustomResourceColumnDefinition) -> String {
    let wide = if column.priority.unwrap_or_default() > 0 { " (with `-o wide`)" } else { "" };
    format!("{}{wide}", column.name.to_uppercase())
}

/// A description with its indented example as a block of YAML.
fn with_fences(description: &str) -> String {
    let mut text = String::new();
    let mut example = false;
    for line in description.lines() {
        let indented = line.strip_prefix("    ");
        if indented.is_some() != example {
            example = !example;
            text.push_str(if example { "```yaml\n" } else { "```\n" });
        }
        text.push_str(indented.unwrap_or(line));
        text.push('\n');
    }
    if example {
        text.push_str("```\n");
    }
    text.trim_end().to_owned()
}

/// One row for each field below `schema`, parents before their children.
fn rows(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let required = schema.required.iter().flatten().any(|required| required == name);
        let required = if required { "*required*; " } else { "" };
        let _ =
            writeln!(page, "| `{path}` | {} | {required}{} |", kind(field), text(field).replace('|', "\\|"));
        // Selectors and conditions are the same everywhere; docs/concepts.md shows their parts once.
        if is_conditions(field) {
            continue;
        }
        if !is_selector(field) {
            rows(page, &path, field);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
            rows(page, &format!("{path}[]"), items);
        }
    }
}

fn is_selector(schema: &JSONSchemaProps) -> bool {
    schema.properties.iter().flatten().any(|(name, _)| name == "matchExpressions")
}

fn is_conditions(schema: &JSONSchemaProps) -> bool {
    schema.x_kubernetes_list_map_keys.as_deref() == Some(&["type".to_owned()][..])
}

/// The type of a field with its bounds, in a few words.
fn kind(schema: &JSONSchemaProps) -> String {
    let values: Vec<String> = schema
        .enum_
        .iter()
        .flatten()
        .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
        .collect();
    let name = match schema.type_.as_deref() {
        _ if !values.is_empty() => values.join(", "),
        _ if is_selector(schema) => "[selector](../concepts.md#selectors)".into(),
        _ if is_conditions(schema) => return "[conditions](../concepts.md#conditions)".into(),
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

/// The description in one cell: lists and paragraphs end in line breaks of HTML.
fn text(schema: &JSONSchemaProps) -> String {
    let lines = schema.description.iter().flat_map(|text| text.lines()).map(str::trim);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("<br>")
}
