//! The kinds that are read or written, and where the API server has them.

use bellhop_core::ObjectRef;

/// A kind as the API server knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// `kind`.
    pub kind: &'static str,
    /// `apiVersion`.
    pub api_version: &'static str,
    /// Name in paths and in RBAC rules: `services`.
    pub plural: &'static str,
    /// Whether objects have a namespace.
    pub namespaced: bool,
}

impl Resource {
    const fn new(
        kind: &'static str,
        api_version: &'static str,
        plural: &'static str,
        namespaced: bool,
    ) -> Self {
        Self { kind, api_version, plural, namespaced }
    }

    /// Every kind known.
    pub const ALL: [Self; 17] = [
        Self::new("Service", "v1", "services", true),
        Self::new("Namespace", "v1", "namespaces", false),
        Self::new("Node", "v1", "nodes", false),
        Self::new("ConfigMap", "v1", "configmaps", true),
        Self::new("Secret", "v1", "secrets", true),
        Self::new("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", true),
        Self::new("Lease", "coordination.k8s.io/v1", "leases", true),
        Self::new("Event", "events.k8s.io/v1", "events", true),
        Self::new("DaemonSet", "apps/v1", "daemonsets", true),
        Self::new("AddressPool", bellhop_api::API_VERSION, "addresspools", false),
        Self::new("AddressClaim", bellhop_api::API_VERSION, "addressclaims", false),
        Self::new("BFDProfile", bellhop_api::API_VERSION, "bfdprofiles", false),
        Self::new("BGPPeer", bellhop_api::API_VERSION, "bgppeers", false),
        Self::new("Advertisement", bellhop_api::API_VERSION, "advertisements", false),
        Self::new("SpeakerConfig", bellhop_api::API_VERSION, "speakerconfigs", false),
        Self::new("DecisionPolicy", bellhop_api::API_VERSION, "decisionpolicies", false),
        Self::new("SpeakerState", bellhop_api::API_VERSION, "speakerstates", false),
    ];

    /// The resource of a kind; `None` for one that is neither read nor written.
    pub fn of_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.kind == kind)
    }

    /// The resource of an object.
    pub fn of(object: &ObjectRef) -> Option<Self> {
        Self::of_kind(&object.kind)
    }

    /// Path of all objects of the kind, or of those of a namespace.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural),
            None => format!("{root}/{}/{}", self.api_version, self.plural),
        }
    }

    /// Path of one object.
    pub fn object(&self, object: &ObjectRef) -> String {
        format!("{}/{}", self.collection(object.namespace.as_deref()), object.name)
    }
}
