//! `metadata` of any object.

use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::labels::{Labels, labels};
use bellhop_core::names::shared;
use bellhop_core::{ObjectRef, ServiceKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::decode;
use crate::report::Report;
use crate::schema;

/// Fields of `metav1.ObjectMeta`.
const FIELDS: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What projections need of `metadata`.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) name: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: Arc<str>,
    pub(crate) uid: Option<Arc<str>>,
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    /// Seconds since 1970; 0 where the manifest has none.
    pub(crate) created: i64,
    pub(crate) deleting: bool,
}

impl Metadata {
    pub(crate) fn key(&self) -> ServiceKey {
        ServiceKey::new(self.namespace.clone(), self.name.clone())
    }
}

/// Removes fields that this version does not know.
pub(crate) fn without_unknown(metadata: &mut Value) {
    if let Value::Object(fields) = metadata {
        fields.retain(|name, _| FIELDS.contains(&name.as_str()));
    }
}

/// Reads `metadata`; `strict` reports unknown fields.
pub(crate) fn read(object: &ObjectRef, value: &Value, strict: bool, report: &mut Report) -> Option<Metadata> {
    let metadata = value.get("metadata").cloned().unwrap_or_default();
    if strict {
        for (name, value) in metadata.as_object().into_iter().flatten() {
            if !FIELDS.contains(&name.as_str()) {
                let message = schema::unknown_field(name, &FIELDS);
                report.wrong(Reason::UnknownField, format!("metadata.{name}"), schema::shown(value), message);
            }
        }
    }
    let metadata: ObjectMeta = decode(metadata, "metadata", report)?;
    Some(Metadata {
        name: object.name.clone(),
        namespace: object.namespace.as_deref().map(shared).unwrap_or_default(),
        uid: metadata.uid.filter(|uid| !uid.is_empty()).map(Into::into),
        labels: labels(metadata.labels.unwrap_or_default()),
        annotations: labels(metadata.annotations.unwrap_or_default()),
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
        deleting: metadata.deletion_timestamp.is_some(),
    })
}
