//! The labels of the metrics: closed sets, and names of objects of which there are few.

use std::fmt::{self, Write};
use std::hash::Hash;
use std::sync::Arc;

use bellhop_core::objects::Hook;
use bellhop_core::{Family, ObjectName};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// One label of a metric, for the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub values: Domain,
}

/// What values a label has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// In words; as many as there are such objects.
    Described(&'static str),
}

/// The labels of one metric.
pub trait LabelSet: EncodeLabelSet + Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static {
    /// The labels, in order.
    const LABELS: &'static [Label];
}

/// A value of a label.
pub trait LabelValue {
    /// What it can be.
    const VALUES: Domain;
    /// As it is exposed.
    fn text(&self) -> &str;
}

impl LabelValue for Family {
    const VALUES: Domain = Domain::OneOf(&["ipv4", "ipv6"]);
    fn text(&self) -> &str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl LabelValue for Hook {
    const VALUES: Domain = Domain::OneOf(&["Address", "Nodes", "Route"]);
    fn text(&self) -> &str {
        match self {
            Self::Address => "Address",
            Self::Nodes => "Nodes",
            Self::Route => "Route",
        }
    }
}

/// Declares the labels of metrics.
macro_rules! labels {
    ($($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $name:ident: $value:ty,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub struct $set {
            $($(#[$doc])* pub $name: $value,)+
        }

        impl EncodeLabelSet for $set {
            fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
                $({
                    let mut label = encoder.encode_label();
                    let mut key = label.encode_label_key()?;
                    key.write_str(stringify!($name))?;
                    let mut value = key.encode_label_value()?;
                    value.write_str(LabelValue::text(&self.$name))?;
                    value.finish()?;
                })+
                Ok(())
            }
        }

        impl LabelSet for $set {
            const LABELS: &'static [Label] =
                &[$(Label { name: stringify!($name), values: <$value as LabelValue>::VALUES }),+];
        }
    )+};
}

/// Declares closed sets of values.
macro_rules! closed {
    ($($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $set {
            $($(#[$doc])* $value,)+
        }

        impl LabelValue for $set {
            const VALUES: Domain = Domain::OneOf(&[$($text),+]);
            fn text(&self) -> &str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    )+};
}

/// Declares names of objects.
macro_rules! names {
    ($($(#[$meta:meta])* $name:ident = $described:literal;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        pub struct $name(pub ObjectName);

        impl LabelValue for $name {
            const VALUES: Domain = Domain::Described($described);
            fn text(&self) -> &str {
                &self.0
            }
        }

        impl From<&ObjectName> for $name {
            fn from(name: &ObjectName) -> Self {
                Self(name.clone())
            }
        }
    )+};
}

names! {
    /// An AddressPool.
    Pool = "name of an AddressPool";
    /// A BGPPeer.
    Peer = "name of a BGPPeer";
    /// A DecisionPolicy.
    Policy = "name of a DecisionPolicy";
}

/// A machine-readable reason or category: one of a closed set that another crate defines. What does not look like one
/// is exposed as `Other`, so that no text can come in here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reason(Arc<str>);

impl Reason {
    /// Longest reason that is exposed as it is; the longest that there is has half of it.
    const LONGEST: usize = 64;

    /// A reason in CamelCase.
    pub fn new(reason: &str) -> Self {
        let camel = reason.starts_with(|first: char| first.is_ascii_uppercase())
            && reason.len() <= Self::LONGEST
            && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Self(if camel { reason } else { "Other" }.into())
    }
}

impl LabelValue for Reason {
    const VALUES: Domain = Domain::Described("one of the reasons of docs/troubleshooting.md");
    fn text(&self) -> &str {
        &self.0
    }
}

/// A word of this program: the version, a task, a readiness condition.
impl LabelValue for &'static str {
    const VALUES: Domain = Domain::Described("a word of the program");
    fn text(&self) -> &str {
        self
    }
}

closed! {
    /// What is done to an object.
    Verb {
        /// Create.
        Create = "create",
        /// Replace.
        Update = "update",
        /// Server-side apply or another patch.
        Patch = "patch",
        /// Delete.
        Delete = "delete",
    }

    /// What came of a write.
    WriteResult {
        /// It was carried out.
        Ok = "ok",
        /// Somebody else had changed or made the object (409).
        Conflict = "conflict",
        /// The object is gone (404, 410).
        Missing = "missing",
        /// The object was refused for what it says (400, 413, 422), by the schema or by an admission policy.
        Invalid = "invalid",
        /// Not allowed (401, 403).
        Denied = "denied",
        /// Later (429).
        Throttled = "throttled",
        /// No answer, or 5xx; for claims in files, the disk.
        Unavailable = "unavailable",
        /// Not sent, as this process did not lead any more.
        NotLeader = "not_leader",
    }

    /// How a decision came about.
    DecisionSource {
        /// The guest was called.
        Call = "call",
        /// The same question had been answered before.
        Memo = "memo",
        /// The breaker was open: the failure policy answered.
        HeldBack = "held_back",
    }

    /// A kind of object in the API server.
    ObjectKind {
        /// `Service`.
        Service = "Service",
        /// `Node`.
        Node = "Node",
        /// `Namespace`.
        Namespace = "Namespace",
        /// `EndpointSlice`.
        EndpointSlice = "EndpointSlice",
        /// `ConfigMap`.
        ConfigMap = "ConfigMap",
        /// `Secret`.
        Secret = "Secret",
        /// `Lease`.
        Lease = "Lease",
        /// `Event`.
        Event = "Event",
        /// `DaemonSet`.
        DaemonSet = "DaemonSet",
        /// `AddressPool`.
        AddressPool = "AddressPool",
        /// `AddressClaim`.
        AddressClaim = "AddressClaim",
        /// `BGPPeer`.
        BgpPeer = "BGPPeer",
        /// `BFDProfile`.
        BfdProfile = "BFDProfile",
        /// `Advertisement`.
        Advertisement = "Advertisement",
        /// `SpeakerConfig`.
        SpeakerConfig = "SpeakerConfig",
        /// `SpeakerState`.
        SpeakerState = "SpeakerState",
        /// `DecisionPolicy`.
        DecisionPolicy = "DecisionPolicy",
        /// Any other.
        Other = "Other",
    }
}

impl Verb {
    /// The verb as RBAC names it; `None` for one that writes nothing.
    pub fn of(verb: &str) -> Option<Self> {
        match verb {
            "create" => Some(Self::Create),
            "update" => Some(Self::Update),
            "patch" => Some(Self::Patch),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

impl WriteResult {
    /// Of `ok` or a failure's category.
    pub fn of(category: &str) -> Self {
        match category {
            "ok" => Self::Ok,
            "conflict" | "exists" => Self::Conflict,
            "notFound" => Self::Missing,
            "invalid" => Self::Invalid,
            "forbidden" => Self::Denied,
            "throttled" => Self::Throttled,
            "notLeader" => Self::NotLeader,
            _ => Self::Unavailable,
        }
    }
}

impl ObjectKind {
    /// The kind of this name; [`ObjectKind::Other`] for one that Bellhop has nothing to do with.
    pub fn of(kind: &str) -> Self {
        match kind {
            "Service" => Self::Service,
            "Node" => Self::Node,
            "Namespace" => Self::Namespace,
            "EndpointSlice" => Self::EndpointSlice,
            "ConfigMap" => Self::ConfigMap,
            "Secret" => Self::Secret,
            "Lease" => Self::Lease,
            "Event" => Self::Event,
            "DaemonSet" => Self::DaemonSet,
            "AddressPool" => Self::AddressPool,
            "AddressClaim" => Self::AddressClaim,
            "BGPPeer" => Self::BgpPeer,
            "BFDProfile" => Self::BfdProfile,
            "Advertisement" => Self::Advertisement,
            "SpeakerConfig" => Self::SpeakerConfig,
            "SpeakerState" => Self::SpeakerState,
            "DecisionPolicy" => Self::DecisionPolicy,
            _ => Self::Other,
        }
    }
}

labels! {
    /// The program.
    Build {
        /// Version of Bellhop.
        version: &'static str,
        /// How it was started.
        form: super::Form,
    }

    /// A readiness condition.
    ByCondition {
        /// Its name in `/readyz`.
        condition: &'static str,
    }

    /// A task that `/livez` watches.
    ByTask {
        /// Its name in `/livez`.
        task: &'static str,
    }

    /// A pool in one family.
    ByPool {
        /// The pool.
        pool: Pool,
        /// The family.
        family: Family,
    }

    /// A family.
    ByFamily {
        /// The family.
        family: Family,
    }

    /// A reason.
    ByReason {
        /// The reason.
        reason: Reason,
    }

    /// A write of a claim.
    ClaimWrite {
        /// What was done.
        verb: Verb,
        /// What came of it.
        result: WriteResult,
    }

    /// A peer.
    ByPeer {
        /// The peer.
        peer: Peer,
    }

    /// A policy's step.
    PolicyStep {
        /// The policy.
        policy: Policy,
        /// Its hook.
        hook: Hook,
        /// The step of its rollout.
        step: Step,
    }

    /// A policy.
    ByPolicy {
        /// The policy.
        policy: Policy,
    }

    /// How a policy's decisions came about.
    PolicyDecision {
        /// The policy.
        policy: Policy,
        /// How.
        source: DecisionSource,
    }

    /// Failures of a policy.
    PolicyFailure {
        /// The policy.
        policy: Policy,
        /// What kind of failure.
        category: Reason,
    }

    /// A write to the API server.
    ApiWrite {
        /// The object's kind.
        kind: ObjectKind,
        /// What was done.
        verb: Verb,
        /// What came of it.
        result: WriteResult,
    }
}

/// A policy's step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Step(pub &'static str);

impl LabelValue for Step {
    const VALUES: Domain = Domain::Described("a step of docs/policies.md, such as `Active` or `Rejected`");
    fn text(&self) -> &str {
        self.0
    }
}
