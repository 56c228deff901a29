//! Conditions: their types, and the closed set of reasons that also stands in problems, Events, logs and metric labels.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// On a Service: it has every address that it asks for.
pub const ALLOCATED: &str = "bellhop.dev/Allocated";

/// On a Service: at least one node announces it.
pub const ANNOUNCED: &str = "bellhop.dev/Announced";

/// On Bellhop's own objects: the object is valid and in force.
pub const READY: &str = "Ready";

/// On a DecisionPolicy: a candidate version is being rolled out.
pub const PROGRESSING: &str = "Progressing";

/// On a DecisionPolicy: calls fail, and `failurePolicy` answers in the plugin's place.
pub const DEGRADED: &str = "Degraded";

/// Most conditions on one object.
const CONDITIONS_MAX: u32 = 8;

/// One condition, as `metav1.Condition`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition, in CamelCase.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 128))]
    pub type_: String,
    /// Whether the condition holds.
    pub status: ConditionStatus,
    /// The `metadata.generation` that this condition was decided from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When the status last changed (RFC 3339).
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, as one word in CamelCase of a closed set.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Z][A-Za-z]*$"))]
    pub reason: String,
    /// Why, as a sentence for people: it names field, value and what would be right.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

/// Schema of a list of conditions, keyed by type for server-side apply.
pub(crate) fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let condition = generator.subschema_for::<Condition>();
    schemars::json_schema!({
        "type": "array",
        "items": condition,
        "maxItems": CONDITIONS_MAX,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The reasons that conditions, problems, Events and metric labels may carry. The set is closed: nothing else
        /// ever stands there, so that alerts and dashboards can be written against it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason as it is written, in CamelCase.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// All is well.
    Ready,
    /// Nothing is decided yet.
    Pending,

    // Reading objects.
    /// A manifest could not be read: permissions, an I/O error, or a folder that is gone or suddenly empty.
    Unreadable,
    /// A manifest is not YAML or JSON.
    InvalidSyntax,
    /// Text is not UTF-8.
    InvalidEncoding,
    /// A file, a document or a field is larger than its maximum.
    TooLarge,
    /// Two manifests define the same object.
    DuplicateObject,
    /// `apiVersion` is not one that Bellhop knows for this kind.
    UnknownVersion,
    /// A field that the kind does not have.
    UnknownField,
    /// A field that the kind must have is missing.
    MissingField,
    /// A value of the wrong type.
    WrongType,
    /// A value that the field cannot have.
    InvalidValue,
    /// Two fields that cannot stand together.
    ConflictingFields,

    /// The API server's RBAC does not allow what is needed.
    Forbidden,
    /// The API server does not have the kind: its CRD is not installed.
    UnknownKind,

    // Values.
    /// Not an IP address, or one that cannot be used here.
    InvalidAddress,
    /// Not a CIDR or a range, an inverted one, or one with host bits.
    InvalidRange,
    /// Ranges that overlap inside one pool or between pools.
    OverlappingRange,
    /// Not an AS number, or one that is reserved.
    InvalidASN,
    /// Not a duration, or one outside its bounds.
    InvalidDuration,
    /// Not a community or large community.
    InvalidCommunity,
    /// Not a label selector.
    InvalidSelector,
    /// Not a SHA-256 in 64 lower-case hexadecimal digits.
    InvalidDigest,
    /// Two BGPPeers with the same address.
    DuplicatePeer,
    /// Two speakers have the same BGP Identifier.
    DuplicateRouterID,
    /// An aggregate would reach outside of the pool that it is of; host routes are announced in its place.
    AggregateOutsidePool,
    /// A BGPPeer names a Secret that does not exist in Bellhop's namespace.
    SecretMissing,
    /// The Secret that a BGPPeer names is not of the type that is read, or holds no password that TCP MD5 can take.
    InvalidSecret,

    // Allocation.
    /// Every address that the Service asks for is claimed for it.
    Allocated,
    /// No pool's selectors match the Service.
    NoMatchingPool,
    /// Every pool that matches is full.
    PoolExhausted,
    /// A Service or an Advertisement names a pool that does not exist.
    UnknownPool,
    /// An Advertisement names a BGPPeer that does not exist.
    UnknownPeer,
    /// A BGPPeer names a BFDProfile that does not exist.
    UnknownProfile,
    /// The Service names a pool whose selectors do not match it.
    PoolNotAllowed,
    /// The Service asks for an address that is in no pool.
    AddressOutsidePools,
    /// The Service asks for an address that is excluded, or one of a node, peer, gateway, Service or Pod range.
    AddressExcluded,
    /// The Service asks for an address that another Service holds.
    AddressTaken,
    /// Services share an address, but their sharing keys or ports do not allow it.
    SharingConflict,
    /// A family that the Service must have cannot be served.
    FamilyUnavailable,
    /// The process runs without `--allocate`: only addresses that are asked for are served.
    AllocationDisabled,
    /// The `address` policy refused.
    RejectedByPolicy,
    /// The Service has not all that it asks for; the message has the cause.
    AllocationFailed,
    /// A claim cannot be written.
    ClaimNotWritten,
    /// The claim of an address was deleted, as nobody holds it any more.
    ClaimReleased,
    /// The API server refuses the status that an object should have.
    StatusNotWritten,
    /// An object is not valid, or contradicts another one; its last good version stays in force.
    Refused,

    // Announcement.
    /// At least one node announces the Service.
    Announced,
    /// No speaker is live.
    NoSpeaker,
    /// No controller leads.
    NoLeader,
    /// No node announces the Service, and no speaker gives a reason.
    NotAnnounced,
    /// No Advertisement selects the Service.
    NoAdvertisement,
    /// No endpoint that could serve is ready.
    NoEndpoints,
    /// `externalTrafficPolicy` is `Local`, and no endpoint is on this node.
    NoLocalEndpoints,
    /// The node is missing, excluded by its label, or its network is unavailable.
    NodeExcluded,
    /// The address is not bound on this node yet.
    NotBound,
    /// The Service's status does not list the address yet.
    NotPublished,
    /// This node's kube-proxy does not serve the Service yet.
    DataPathPending,
    /// kube-proxy did not say in time that it serves; announced all the same.
    DataPathUnproven,
    /// The pod of a speaker is killed before a drain that waits as long as `spec.drain.wait` has withdrawn its routes.
    GracePeriodTooShort,
    /// No node may announce the Service.
    NoEligibleNode,
    /// A `nodes` policy keeps this node from announcing.
    Ineligible,
    /// The node was drained and announces nothing.
    Drained,
    /// No BGPPeer selects this node.
    NoPeer,
    /// No SpeakerConfig gives this node an AS number.
    NoASN,
    /// No session is up to announce it over.
    NoSession,
    /// The `route` policy withholds it.
    WithheldByPolicy,
    /// The node is draining.
    Draining,

    // Policies.
    /// A version is being verified, compiled and tested.
    Loading,
    /// A version came into force.
    PolicyActive,
    /// A version was refused.
    PolicyRejected,
    /// The version in force is not in force on every node.
    Degraded,
    /// The ConfigMap that holds the module does not exist, or not yet.
    ModuleMissing,
    /// The module's SHA-256 is not the one that the policy names.
    DigestMismatch,
    /// The module is truncated, not zstd, or not WebAssembly.
    ModuleInvalid,
    /// The module is larger than its maximum, compressed or not.
    ModuleTooLarge,
    /// The module imports something outside the contract.
    ForbiddenImport,
    /// Compiling failed or ran into its limits.
    CompileFailed,
    /// The plugin refused its `config`.
    ConfigRefused,
    /// A self-test of the plugin failed.
    SelfTestFailed,
    /// The plugin trapped.
    PluginTrapped,
    /// The plugin ran out of fuel.
    OutOfFuel,
    /// The plugin ran out of memory.
    OutOfMemory,
    /// The plugin ran into the CPU-time backstop.
    TimedOut,
    /// The plugin answered something that is not allowed.
    InvalidAnswer,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_one_camel_case_word_that_fits_a_condition() {
        for reason in Reason::ALL {
            let text = reason.as_str();
            assert!(text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
            assert!(text.chars().all(|c| c.is_ascii_alphabetic()), "{text}");
        }
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn every_reason_is_explained_to_operators() {
        let page = include_str!("../../../docs/troubleshooting.md");
        let missing: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| !page.lines().any(|line| line.starts_with(&format!("| `{reason}` |"))))
            .collect();
        assert!(missing.is_empty(), "docs/troubleshooting.md has no row for {missing:?}");
    }
}
