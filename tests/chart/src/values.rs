//! The chart's values: one row for each, from the comments of `values.yaml` and the types of `values.schema.json`.
//!
//! A comment `# -- …` above a key documents that key with everything below it. A key without one must be a map of
//! documented keys. The schema must know exactly the same keys.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::read;

/// A value that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its place, as `helm --set` takes it.
    pub path: String,
    /// Its type, as the schema says.
    pub kind: String,
    /// What it is when nobody sets it.
    pub default: Value,
    /// What it means.
    pub meaning: String,
}

/// The rows of the committed chart, in the order of `values.yaml`.
///
/// # Errors
/// With the key that lacks a comment, or that one of the two files does not know.
pub fn rows() -> Result<Vec<Row>> {
    let schema =
        serde_json::from_str(&read("charts/bellhop/values.schema.json")?).context("read the schema")?;
    rows_of(&read("charts/bellhop/values.yaml")?, &schema)
}

/// Path and default of every value that is on or off.
///
/// # Errors
/// As [`rows`].
pub fn switches() -> Result<Vec<(String, bool)>> {
    Ok(rows()?.into_iter().filter_map(|row| Some((row.path, row.default.as_bool()?))).collect())
}

/// The rows as a table of Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = String::from("| value | type | default | meaning |\n|---|---|---|---|\n");
    for row in rows {
        let default = match &row.default {
            Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{}` | {} | {default} | {} |", row.path, row.kind, row.meaning);
    }
    table
}

fn rows_of(text: &str, schema: &Value) -> Result<Vec<Row>> {
    let values: Value = serde_saphyr::from_str(text).context("read values.yaml")?;
    let mut rows = Vec::new();
    for (path, meaning) in comments(text)? {
        let keys: Vec<&str> = path.split('.').collect();
        let default = keys.iter().fold(&values, |value, key| &value[*key]).clone();
        let kind = kind(schema, property(schema, &keys)?);
        rows.push(Row { path, kind, default, meaning });
    }
    if let Some(path) = unknown(&values, schema, "", &rows) {
        bail!("values.schema.json has {path}, which values.yaml does not document");
    }
    Ok(rows)
}

/// Path and comment of every documented key.
fn comments(text: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // Indentation of the documented key whose content is passed over.
    let mut inside: Option<usize> = None;
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.is_empty() || inside.is_some_and(|outer| indent > outer) {
            continue;
        }
        inside = None;
        if let Some(words) = trimmed.strip_prefix("# -- ") {
            comment = vec![words];
        } else if let Some(words) = trimmed.strip_prefix("# ") {
            if !comment.is_empty() {
                comment.push(words);
            }
        } else {
            let (key, rest) = trimmed.split_once(':').with_context(|| format!("line {}: no key", at + 1))?;
            above.retain(|(outer, _)| *outer < indent);
            above.push((indent, key.to_owned()));
            let path = above.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
            if !comment.is_empty() {
                found.push((path, std::mem::take(&mut comment).join(" ")));
                inside = Some(indent);
            } else if !rest.trim().is_empty() {
                bail!("line {}: {path} has no comment `# -- …` above it", at + 1);
            }
        }
    }
    Ok(found)
}

/// What the schema says of a value.
fn property<'a>(schema: &'a Value, keys: &[&str]) -> Result<&'a Value> {
    keys.iter().try_fold(schema, |level, key| {
        level["properties"]
            .get(key)
            .with_context(|| format!("values.schema.json does not know {} (at {key})", keys.join(".")))
    })
}

fn kind(schema: &Value, property: &Value) -> String {
    let property = resolved(schema, property);
    let name = |value: &Value| match value.as_str() {
        Some("array") => "list".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    };
    match &property["enum"] {
        Value::Array(words) => words
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(" or "),
        _ => name(&property["type"]),
    }
}

/// What a reference into `definitions` stands for.
fn resolved<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    match property["$ref"].as_str().and_then(|to| to.strip_prefix("#/definitions/")) {
        Some(name) => &schema["definitions"][name],
        None => property,
    }
}

/// A property of the schema that no row covers. (`global` is Helm's, not ours.)
fn unknown(values: &Value, schema: &Value, path: &str, rows: &[Row]) -> Option<String> {
    let covered: BTreeSet<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    schema["properties"].as_object()?.iter().find_map(|(key, below)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if covered.contains(path.as_str()) || path == "global" {
            return None;
        }
        match values.get(key) {
            Some(value) => unknown(value, below, &path, rows),
            None => Some(path),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"properties": {
            "a": {"properties": {"b": {"type": "integer"}, "c": {"$ref": "#/definitions/map"}}},
            "d": {"enum": ["x", "y"]},
        }, "definitions": {"map": {"type": "object"}}})
    }

    #[test]
    fn a_row_has_the_comment_the_default_and_the_type_of_the_schema() {
        let text = "a:\n  # -- First\n  # line.\n  b: 1\n  # -- Second.\n  c:\n    x: 2\n# An aside.\n\n# -- Third.\nd: x\n";
        let rows = rows_of(text, &schema()).unwrap();
        let table = table(&rows);
        assert_eq!(
            table.lines().skip(2).collect::<Vec<_>>(),
            [
                "| `a.b` | integer | `1` | First line. |",
                "| `a.c` | object | `{\"x\":2}` | Second. |",
                "| `d` | `x` or `y` | `x` | Third. |",
            ]
        );
    }

    #[test]
    fn a_value_without_a_comment_is_refused() {
        let error = rows_of("a:\n  b: 1\n", &schema()).unwrap_err().to_string();
        assert_eq!(error, "line 2: a.b has no comment `# -- …` above it");
    }

    #[test]
    fn a_value_that_only_one_of_the_two_files_knows_is_refused() {
        let error = rows_of("# -- A.\ne: 1\n", &schema()).unwrap_err().to_string();
        assert!(error.starts_with("values.schema.json does not know e"), "{error}");
        let error = rows_of("a:\n  # -- B.\n  b: 1\n# -- D.\nd: x\n", &schema()).unwrap_err().to_string();
        assert_eq!(error, "values.schema.json has a.c, which values.yaml does not document");
    }
}
