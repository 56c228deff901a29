//! AddressPool: addresses that Services may get.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::selector::LabelSelector;

/// Addresses that Services of type LoadBalancer may get, and which Services may have them.
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "AddressPool",
    plural = "addresspools",
    shortname = "bhpool",
    category = "bellhop",
    status = "AddressPoolStatus",
    derive = "PartialEq",
    doc = "Addresses that Services of type LoadBalancer may get, and which Services may have them.",
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(name = "Auto", type_ = "boolean", json_path = ".spec.autoAssign"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = "1"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// The addresses: CIDRs (`203.0.113.0/24`), ranges (`2001:db8::10-2001:db8::1f`) and single addresses, IPv4 and
    /// IPv6 mixed. Every address of a CIDR is handed out, the first and the last too. Pools must not overlap.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 91)))]
    #[x_kube(validation = Rule::new(
        "self.all(a, isCIDR(a) || isIP(a) || (a.split('-').size() == 2 && a.split('-').all(i, isIP(i))))"
    ).message("each must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address"))]
    pub addresses: Vec<String>,
    /// Addresses of the pool that are never handed out, written as in `addresses`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 91)))]
    #[x_kube(validation = Rule::new(
        "self.all(a, isCIDR(a) || isIP(a) || (a.split('-').size() == 2 && a.split('-').all(i, isIP(i))))"
    ).message("each must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address"))]
    pub exclude: Vec<String>,
    /// Whether Services that name neither this pool nor an address in it may get one.
    #[serde(default = "auto_assign")]
    pub auto_assign: bool,
    /// Pools with a higher number are tried first; pools with the same number by name.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// Namespaces whose Services may have addresses of this pool; without it all may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Services that may have addresses of this pool; without it all may. Where both selectors stand, both must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
}

/// What became of an AddressPool.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolStatus {
    /// `Ready`: the pool is valid and in force. When it is not, the last version that was stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

fn auto_assign() -> bool {
    true
}
