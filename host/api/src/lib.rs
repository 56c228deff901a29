//! Bellhop's Kubernetes API: the kinds of group `bellhop.dev`, version `v1alpha1`, as types from which the CRDs in
//! `crds/` are generated, and the annotations, classes, condition types and reasons that stand on other objects.
//!
//! The types are what the API server stores: plain text where Kubernetes has plain text. Turning an address, a range
//! or a community into a value, and saying what is wrong with it, is the job of `bellhop-index`; nothing here decides.
//!
//! ```text
//! AddressPoolSpec … DecisionPolicySpec ──► crds() ──► crds_yaml() ──► crds/*.yaml (committed, compared in a test)
//! ```
//!
//! Every list, map and string has a maximum, so that the API server can bound the cost of the CEL rules and a manifest
//! cannot grow without end. `bellhop-index` reads the same maxima out of the same schema for manifest folders.

#![forbid(unsafe_code)]
#![allow(clippy::duplicated_attributes, reason = "the printcolumns of one kind")]
#![allow(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

pub mod annotations;
pub mod conditions;
pub mod generate;

mod address_claim;
mod address_pool;
mod advertisement;
mod bfd_profile;
mod bgp_peer;
mod decision_policy;
mod schema;
mod selector;
mod speaker_config;
mod speaker_state;

pub use address_claim::{
    AddressClaim, AddressClaimSpec, AddressClaimStatus, ClaimDecidedBy, ClaimHolder, ClaimPort, PortProtocol,
    claim_name,
};
pub use address_pool::{
    AddressPool, AddressPoolSpec, AddressPoolStatus, COUNT_MAX, POOL_RANGES_MAX, PoolUsage,
};
pub use advertisement::{Advertisement, AdvertisementSpec, AdvertisementStatus, Aggregation, Attributes};
pub use bfd_profile::{BFDProfile, BFDProfileSpec, BFDProfileStatus};
pub use bgp_peer::{
    BGPPeer, BGPPeerSpec, BGPPeerStatus, DynamicASN, GracefulRestart, IpFamily, NextHop, PeerBFD, PeerRole,
    RoleName,
};
pub use conditions::{Condition, ConditionStatus, Reason};
pub use decision_policy::{
    DecisionPolicy, DecisionPolicySpec, DecisionPolicyStatus, FailurePolicy, Hook, InitialAnswer, Limits,
    Match, PluginRef, PluginVersion, RolloutStep,
};
pub use generate::{crds, crds_yaml, write_crds};
pub use selector::{LabelSelector, LabelSelectorOperator, LabelSelectorRequirement};
pub use speaker_config::{Drain, Listen, ProxyHealth, SpeakerConfig, SpeakerConfigSpec, SpeakerConfigStatus};
pub use speaker_state::{
    LoadedPolicy, SessionState, SpeakerException, SpeakerPhase, SpeakerState, SpeakerStateSpec,
    SpeakerStateStatus,
};

/// API group of every kind here.
pub const GROUP: &str = "bellhop.dev";

/// API version of every kind here.
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` of every kind here.
pub const API_VERSION: &str = "bellhop.dev/v1alpha1";

/// `spec.loadBalancerClass` of the Services that Bellhop serves.
pub const LOAD_BALANCER_CLASS: &str = "bellhop.dev/bellhop";

/// Name of the ConfigMap in Bellhop's namespace by which the controller tells speakers of the nodes from which no router hears
/// anything: each key of its `data` is the name of a node, each value the reason for people.
pub const SILENT_NODES: &str = "bellhop-silent-nodes";

/// Most bytes that `DecisionPolicy.spec.config` may have, written as JSON without white space.
///
/// CEL cannot see into a field whose unknown fields are preserved, so this maximum is checked by the index. 64 KiB is
/// far above any table of settings, and far below what a plugin's memory limit (16 MiB) can decode.
pub const POLICY_CONFIG_MAX_BYTES: usize = 64 * 1024;
