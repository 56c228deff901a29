//! Schemas that several kinds share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Longest text of an IP address: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
pub(crate) const ADDRESS_MAX: usize = 45;

/// Pattern of a Kubernetes duration: `90s`, `1m30s`, `500ms`.
const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

/// A duration as Kubernetes writes it, for example `90s` or `1m30s`.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32, "pattern": DURATION })
}

/// A duration that may be left out.
pub(crate) fn optional_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32, "pattern": DURATION, "nullable": true })
}

/// A map of label keys to label values (RFC 1123 sizes, as `metav1.LabelSelector.matchLabels`).
pub(crate) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63 },
    })
}

/// Any JSON object; what is in it is the plugin's business.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}
