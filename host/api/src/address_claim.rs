//! AddressClaim: an address in use, or reserved.

use std::net::IpAddr;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::{Condition, conditions_schema};
use crate::schema;

/// An address in use, or reserved. Creating this object is the allocation, so Bellhop makes them and you read them.
///
/// Its name is made from its address, so that the API server's uniqueness of names makes a second allocation of the address
/// impossible. To reserve an address, make one without holders; to give it back, delete the claim.
///
/// ```yaml
/// apiVersion: bellhop.dev/v1alpha1
/// kind: AddressClaim
/// metadata:
///   name: 203.0.113.7                # IPv6 in full: 2001-0db8-0053-0000-0000-0000-0000-0010
/// spec:
///   address: 203.0.113.7
/// ```
#[derive(CustomResource, Clone, PartialEq, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "bellhop.dev",
    version = "v1alpha1",
    kind = "AddressClaim",
    plural = "addressclaims",
    shortname = "bhclaim",
    category = "bellhop",
    status = "AddressClaimStatus",
    derive = "PartialEq",
    validation = Rule::new(schema::CLAIM_NAME).message(
        "metadata.name must be the address: 203.0.113.7, or IPv6 in full with dashes: 2001-0db8-0000-0000-0000-0000-0000-0007"
    ),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.holders[0].namespace"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.holders[0].name"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.decidedBy.policy", priority = "1"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AddressClaimSpec {
    /// The address, in its canonical form (RFC 5952 for IPv6).
    #[schemars(schema_with = "schema::claimed_address")]
    pub address: String,
    /// AddressPool that the address came from; empty on a reservation outside every pool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub pool: String,
    /// The Services that hold the address: several only where they share it. Without any, the address is reserved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub holders: Vec<ClaimHolder>,
    /// How the address was chosen, where a policy chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<ClaimDecidedBy>,
}

/// Name of the claim of an address: `203.0.113.7`, `2001-0db8-0000-0000-0000-0000-0000-0007`. Every address has exactly
/// one, and every one is an RFC 1123 subdomain.
pub fn claim_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:04x}")).join("-"),
    }
}

/// A Service that holds an address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimHolder {
    /// Namespace of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// UID of the Service: a Service that was deleted and created again under the same name does not hold the address.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Ports that the Service serves on the address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub ports: Vec<ClaimPort>,
    /// Sharing key; holders of one address have the same one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub sharing_key: String,
}

/// A port that a holder serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
pub struct ClaimPort {
    /// Transport protocol.
    pub protocol: PortProtocol,
    /// Port number, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// Transport protocol of a Service port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::upper_case_acronyms, reason = "as Kubernetes writes them")]
pub enum PortProtocol {
    /// TCP.
    TCP,
    /// UDP.
    UDP,
    /// SCTP.
    SCTP,
}

/// Which policy chose an address, and what it said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimDecidedBy {
    /// Name of the DecisionPolicy.
    #[schemars(length(min = 1, max = 253))]
    pub policy: String,
    /// SHA-256 of the module that chose, in hexadecimal; empty where none was in force and a last decision was kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub digest: String,
    /// What the policy said about its choice.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub note: String,
}

/// What became of an AddressClaim.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressClaimStatus {
    /// `Ready`: the claim is valid and its holders exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_named_after_its_address_in_full() {
        assert_eq!(claim_name("203.0.113.7".parse().unwrap()), "203.0.113.7");
        assert_eq!(claim_name("2001:db8::7".parse().unwrap()), "2001-0db8-0000-0000-0000-0000-0000-0007");
    }
}
