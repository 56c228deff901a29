//! `metav1.LabelSelector` with maxima.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Selects objects by their labels, as `metav1.LabelSelector`: all of `matchLabels` and `matchExpressions` must hold; an
/// empty selector selects everything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that an object must have with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::match_labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement on a label.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new(
    "self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : size(self.values) == 0"
).message("In and NotIn need values, Exists and DoesNotExist take none").field_path(".values"))]
pub struct LabelSelectorRequirement {
    /// Key of the label.
    #[schemars(schema_with = "schema::selector_key")]
    pub key: String,
    /// What must hold of the label: In (it has one of `values`), NotIn (it is absent, or has none of them), Exists,
    /// DoesNotExist.
    pub operator: LabelSelectorOperator,
    /// The values of `In` and `NotIn`.
    #[serde(default)]
    #[schemars(schema_with = "schema::selector_values")]
    pub values: Vec<String>,
}

/// What must hold of a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum LabelSelectorOperator {
    /// The label exists and its value is one of these.
    In,
    /// The label is absent, or its value is none of these.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}
