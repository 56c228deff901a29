//! Annotations and labels with a meaning on Services and Nodes: Bellhop's own, and those of other load balancers that
//! ask for the same thing, so that manifests written for them keep working while and after they are moved.

/// Addresses that a Service asks for, separated by commas; at most eight.
pub const ADDRESSES: &str = "bellhop.dev/addresses";

/// Name of the AddressPool that a Service wants its addresses from.
pub const POOL: &str = "bellhop.dev/pool";

/// Services with the same key, and ports that do not collide, may share an address.
pub const SHARING_KEY: &str = "bellhop.dev/sharing-key";

/// Label on a Node that keeps it from announcing anything (KEP-1143, Kubernetes `ServiceNodeExclusion`).
pub const NODE_EXCLUSION_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// How the value of an annotation that asks for addresses is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressSyntax {
    /// One or more addresses separated by commas.
    CommaSeparated,
    /// A JSON list of strings.
    JsonList,
}

/// Annotations that ask for addresses, the strongest first.
pub const ADDRESS_REQUESTS: [(&str, AddressSyntax); 10] = [
    (ADDRESSES, AddressSyntax::CommaSeparated),
    // MetalLB.
    ("metallb.io/loadBalancerIPs", AddressSyntax::CommaSeparated),
    ("metallb.universe.tf/loadBalancerIPs", AddressSyntax::CommaSeparated),
    // Cilium LB-IPAM, and its older name.
    ("lbipam.cilium.io/ips", AddressSyntax::CommaSeparated),
    ("io.cilium/lb-ipam-ips", AddressSyntax::CommaSeparated),
    // kube-vip.
    ("kube-vip.io/loadbalancerIPs", AddressSyntax::CommaSeparated),
    // OpenELB: the address is `v1alpha1`, the pool is `v1alpha2`.
    ("eip.openelb.kubesphere.io/v1alpha1", AddressSyntax::CommaSeparated),
    // PureLB.
    ("purelb.io/addresses", AddressSyntax::CommaSeparated),
    // Calico.
    ("projectcalico.org/loadBalancerIPs", AddressSyntax::JsonList),
    // LoxiLB.
    ("loxilb.io/staticIP", AddressSyntax::CommaSeparated),
];

/// Annotations that name a pool, the strongest first.
pub const POOL_REQUESTS: [&str; 5] = [
    POOL,
    // MetalLB.
    "metallb.io/address-pool",
    "metallb.universe.tf/address-pool",
    // OpenELB.
    "eip.openelb.kubesphere.io/v1alpha2",
    // PureLB.
    "purelb.io/service-group",
];

/// Annotations that hold a sharing key, the strongest first.
pub const SHARING_KEYS: [&str; 5] = [
    SHARING_KEY,
    // MetalLB.
    "metallb.io/allow-shared-ip",
    "metallb.universe.tf/allow-shared-ip",
    // Cilium LB-IPAM.
    "lbipam.cilium.io/sharing-key",
    // PureLB.
    "purelb.io/allow-shared-ip",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn our_own_annotation_is_asked_before_every_other() {
        assert_eq!(ADDRESS_REQUESTS[0].0, ADDRESSES);
        assert_eq!(POOL_REQUESTS[0], POOL);
        assert_eq!(SHARING_KEYS[0], SHARING_KEY);
    }

    #[test]
    fn no_annotation_has_two_meanings() {
        let all: Vec<&str> =
            ADDRESS_REQUESTS.iter().map(|(key, _)| *key).chain(POOL_REQUESTS).chain(SHARING_KEYS).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
