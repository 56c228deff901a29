//! AddressPool: addresses that Services may get.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;
use crate::selector::LabelSelector;

/// Largest count in a status: 2^53 - 1.
pub const COUNT_MAX: i64 = (1 << 53) - 1;

/// Most ranges in `AddressPool.status.ranges`. A pool of 64 ranges with 64 exclusions can have 128.
pub const POOL_RANGES_MAX: usize = 128;

/// Addresses that Services of type LoadBalancer may get, and which Services may have them.
///
/// An address that a Service holds does not change when the pool is edited. It is kept even when it is in no pool any more, and
/// goes back when the Service lets go of it. Bellhop never hands out an address of a node or a peer, even where a pool has it.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: AddressPool
/// metadata:
///   name: public
///   labels: {reach: internet}        # for poolSelector and policies
/// spec:
///   addresses: [203.0.113.0/24, "2001:db8:53::10-2001:db8:53::ff"]
///   exclude: [203.0.113.1]
///   priority: 10                     # higher is tried first
///   namespaceSelector:
///     matchLabels: {team: shop}
/// ```
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
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(name = "Auto", type_ = "boolean", json_path = ".spec.autoAssign"),
    printcolumn(name = "Used-v4", type_ = "integer", json_path = ".status.ipv4.used"),
    printcolumn(name = "Free-v4", type_ = "integer", json_path = ".status.ipv4.free"),
    printcolumn(name = "Used-v6", type_ = "integer", json_path = ".status.ipv6.used"),
    printcolumn(name = "Free-v6", type_ = "integer", json_path = ".status.ipv6.free"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = "1"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// The addresses: CIDRs (`203.0.113.0/24`), ranges (`2001:db8::10-2001:db8::1f`) and single addresses, IPv4 and
    /// IPv6 mixed. Every address of a CIDR is handed out, the first and the last too. Pools must not overlap.
    #[schemars(schema_with = "schema::ranges")]
    pub addresses: Vec<String>,
    /// Addresses of the pool that are never handed out, written as in `addresses`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::optional_ranges")]
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
    /// Ranges in force, each as `a-b` or as one address: `addresses` without `exclude`, sorted, joined where they touch. The
    /// first 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POOL_RANGES_MAX), inner(length(min = 2, max = 91)))]
    pub ranges: Vec<String>,
    /// IPv4 addresses of the pool; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<PoolUsage>,
    /// IPv6 addresses of the pool; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<PoolUsage>,
    /// `Ready`: the pool is valid and in force. When it is not, the last version that was stays in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// How much of a pool is in use, for one family. Counts end at 9007199254740991 (2^53 - 1), the largest integer that every
/// reader of JSON takes exactly (RFC 8259 §6): a pool of IPv6 may have more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
pub struct PoolUsage {
    /// Addresses that may be handed out: those of `addresses` without those of `exclude`.
    #[schemars(range(min = 0, max = COUNT_MAX))]
    pub capacity: i64,
    /// Of them, addresses that an AddressClaim holds or reserves.
    #[schemars(range(min = 0, max = COUNT_MAX))]
    pub used: i64,
    /// Of them, addresses that no AddressClaim names.
    #[schemars(range(min = 0, max = COUNT_MAX))]
    pub free: i64,
}

impl PoolUsage {
    /// Usage of a pool with `capacity` addresses, of which `used` are claimed.
    pub fn new(capacity: u128, used: u128) -> Self {
        Self { capacity: count(capacity), used: count(used), free: count(capacity.saturating_sub(used)) }
    }
}

/// A count as a status holds it: at most [`COUNT_MAX`].
fn count(addresses: u128) -> i64 {
    i64::try_from(addresses).unwrap_or(COUNT_MAX).min(COUNT_MAX)
}

fn auto_assign() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_json_cannot_hold_exactly_ends_at_the_largest_that_it_can() {
        let usage = PoolUsage::new(1 << 64, 3);
        assert_eq!(usage, PoolUsage { capacity: COUNT_MAX, used: 3, free: COUNT_MAX });
        assert_eq!(PoolUsage::new(256, 3), PoolUsage { capacity: 256, used: 3, free: 253 });
    }
}
