//! What is watched: which kinds, and which of their objects.

use bellhop_api::SILENT_NODES;
use bellhop_index::Kind;

use super::Role;
use crate::lease::SPEAKER_LABEL;
use crate::resource::Resource;

/// Services that kube-proxy leaves to another proxy are none of ours either.
const SERVICES: &str = "!service.kubernetes.io/service-proxy-name";

/// The EndpointSlices that kube-proxy reads: without those of headless Services and of another proxy.
const ENDPOINT_SLICES: &str = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name";

/// Something that is watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Topic {
    /// Objects that the index reads. ConfigMaps come as metadata.
    Objects(Kind),
    /// SpeakerStates.
    SpeakerStates,
    /// The Leases of speakers.
    SpeakerLeases,
    /// The ConfigMap that tells of silent nodes, whole.
    SilentNodes,
}

impl Topic {
    /// What a role watches.
    pub(crate) fn of(role: Role) -> Vec<Self> {
        let kinds = [
            Kind::Service,
            Kind::Namespace,
            Kind::Node,
            Kind::ConfigMap,
            Kind::AddressPool,
            Kind::AddressClaim,
            Kind::BgpPeer,
            Kind::BfdProfile,
            Kind::Advertisement,
            Kind::SpeakerConfig,
            Kind::DecisionPolicy,
        ];
        let more = match role {
            Role::Controller => vec![Self::SpeakerStates, Self::SpeakerLeases],
            Role::Speaker => vec![Self::Objects(Kind::EndpointSlice), Self::SilentNodes],
        };
        kinds.into_iter().map(Self::Objects).chain(more).collect()
    }

    /// The resource, as paths and RBAC name it.
    pub(crate) fn resource(self) -> Resource {
        let kind = match self {
            Self::Objects(kind) => kind.as_str(),
            Self::SpeakerStates => "SpeakerState",
            Self::SpeakerLeases => "Lease",
            Self::SilentNodes => "ConfigMap",
        };
        Resource::of_kind(kind).unwrap_or(Resource::ALL[0])
    }

    /// Whether nothing may be decided while it cannot be listed: without Services, endpoints, claims, pools, nodes or
    /// namespaces decisions would be wrong, and without policies routes could leak that they withhold. Without any
    /// other kind less is announced or said, and nothing wrong.
    pub(crate) fn is_required(self) -> bool {
        use Kind::{AddressClaim, AddressPool, DecisionPolicy, EndpointSlice, Namespace, Node, Service};
        match self {
            Self::Objects(kind) => matches!(
                kind,
                Service | EndpointSlice | AddressClaim | AddressPool | Node | Namespace | DecisionPolicy
            ),
            Self::SpeakerStates | Self::SpeakerLeases | Self::SilentNodes => false,
        }
    }

    /// Path of the list, and what is asked of every request for it.
    pub(crate) fn path(self, namespace: &str) -> String {
        let resource = self.resource();
        match self {
            Self::Objects(Kind::Service) => {
                format!("{}?labelSelector={}", resource.collection(None), escaped(SERVICES))
            }
            Self::Objects(Kind::EndpointSlice) => {
                format!("{}?labelSelector={}", resource.collection(None), escaped(ENDPOINT_SLICES))
            }
            Self::Objects(Kind::ConfigMap) => format!("{}?", resource.collection(Some(namespace))),
            Self::SpeakerLeases => {
                format!("{}?labelSelector={}", resource.collection(Some(namespace)), escaped(SPEAKER_LABEL))
            }
            Self::SilentNodes => {
                let name = format!("metadata.name={SILENT_NODES}");
                format!("{}?fieldSelector={}", resource.collection(Some(namespace)), escaped(&name))
            }
            Self::Objects(_) | Self::SpeakerStates => format!("{}?", resource.collection(None)),
        }
    }

    /// `Accept` of a list, and of a watch.
    pub(crate) fn accept(self) -> (&'static str, &'static str) {
        match self {
            Self::Objects(Kind::ConfigMap) => (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            ),
            _ => (crate::request::JSON, crate::request::JSON),
        }
    }
}

/// Text as a value of a query (RFC 3986 §3.4).
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kube_proxy_reads_of_slices_and_services_is_asked_for() {
        assert_eq!(
            Topic::Objects(Kind::EndpointSlice).path("x"),
            "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless%2C\
             %21service.kubernetes.io%2Fservice-proxy-name"
        );
        assert_eq!(
            Topic::Objects(Kind::Service).path("x"),
            "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"
        );
        assert_eq!(Topic::Objects(Kind::ConfigMap).path("ours"), "/api/v1/namespaces/ours/configmaps?");
        assert_eq!(
            Topic::SilentNodes.path("ours"),
            "/api/v1/namespaces/ours/configmaps?fieldSelector=metadata.name%3Dbellhop-silent-nodes"
        );
    }

    #[test]
    fn a_speaker_watches_endpoints_and_a_controller_does_not() {
        let slices = Topic::Objects(Kind::EndpointSlice);
        assert!(Topic::of(Role::Speaker).contains(&slices) && !Topic::of(Role::Controller).contains(&slices));
        for role in [Role::Speaker, Role::Controller] {
            for topic in Topic::of(role) {
                assert!(Resource::of_kind(topic.resource().kind).is_some());
                assert_eq!(matches!(topic, Topic::SpeakerLeases), topic.resource().kind == "Lease");
            }
        }
    }
}
