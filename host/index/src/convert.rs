//! From a JSON value to a typed projection of `bellhop-core`, one file per kind.
//!
//! Kubernetes' own kinds are decoded by their types and may hold fields that are not known here. Bellhop's own kinds are
//! checked against the schema of their CRD first, and then for everything a schema cannot say.

mod address_claim;
mod address_pool;
mod advertisement;
mod bfd_profile;
mod bgp_peer;
mod config_map;
mod decision_policy;
mod endpoint_slice;
mod fields;
mod metadata;
mod namespace;
mod node;
mod selector;
mod service;
mod speaker_config;

use std::sync::Arc;

use bellhop_api::Reason;
use bellhop_core::names::{NamespacedName, shared};
use bellhop_core::objects::{
    AddressClaim, AddressPool, Advertisement, BfdProfile, BgpPeer, DecisionPolicy, EndpointSlice,
    ModuleSource, Namespace, Node, Service, SpeakerConfig,
};
use bellhop_core::{Delta, ObjectName, ObjectRef, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::report::Report;
use crate::schema;
use crate::secrets::{self, Secret};

/// What a source takes for granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Bellhop's own namespace: ConfigMaps with plugins and Secrets with passwords are read here only.
    pub namespace: Arc<str>,
    /// Whether Services of type LoadBalancer without a `loadBalancerClass` are served too.
    pub classless: bool,
}

impl Options {
    /// Bellhop's own namespace where nothing else is said.
    pub const DEFAULT_NAMESPACE: &'static str = "bellhop-system";
}

impl Default for Options {
    fn default() -> Self {
        Self { namespace: Self::DEFAULT_NAMESPACE.into(), classless: false }
    }
}

/// A kind that is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Namespace (core/v1).
    Namespace,
    /// Node (core/v1).
    Node,
    /// Service (core/v1).
    Service,
    /// EndpointSlice (discovery/v1).
    EndpointSlice,
    /// ConfigMap (core/v1).
    ConfigMap,
    /// AddressPool.
    AddressPool,
    /// AddressClaim.
    AddressClaim,
    /// BGPPeer.
    BgpPeer,
    /// Advertisement.
    Advertisement,
    /// SpeakerConfig.
    SpeakerConfig,
    /// BFDProfile.
    BfdProfile,
    /// DecisionPolicy.
    DecisionPolicy,
    /// Secret (core/v1). No delta tells of one: it is a part of the BGPPeers that name it.
    Secret,
}

impl Kind {
    pub(crate) const ALL: [(Self, &'static str, &'static str, bool); 13] = [
        (Self::Namespace, "v1", "Namespace", false),
        (Self::Node, "v1", "Node", false),
        (Self::Service, "v1", "Service", true),
        (Self::EndpointSlice, "discovery.k8s.io/v1", "EndpointSlice", true),
        (Self::ConfigMap, "v1", "ConfigMap", true),
        (Self::AddressPool, bellhop_api::API_VERSION, "AddressPool", false),
        (Self::AddressClaim, bellhop_api::API_VERSION, "AddressClaim", false),
        (Self::BgpPeer, bellhop_api::API_VERSION, "BGPPeer", false),
        (Self::Advertisement, bellhop_api::API_VERSION, "Advertisement", false),
        (Self::SpeakerConfig, bellhop_api::API_VERSION, "SpeakerConfig", false),
        (Self::BfdProfile, bellhop_api::API_VERSION, "BFDProfile", false),
        (Self::DecisionPolicy, bellhop_api::API_VERSION, "DecisionPolicy", false),
        (Self::Secret, "v1", "Secret", true),
    ];

    /// The kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    /// The `apiVersion` that is read.
    pub fn api_version(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether objects of the kind have a namespace.
    pub fn is_namespaced(self) -> bool {
        Self::ALL[self as usize].3
    }

    /// The kind of an object; `None` where it is not read.
    pub fn of(object: &ObjectRef) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, _, name, _)| **name == *object.kind).map(|(kind, ..)| kind)
    }
}

/// A checked, typed object.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Projection {
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Module(Arc<ModuleSource>),
    Pool(Arc<AddressPool>),
    Claim(Arc<AddressClaim>),
    Peer(Arc<BgpPeer>),
    Advertisement(Arc<Advertisement>),
    SpeakerConfig(Arc<SpeakerConfig>),
    BfdProfile(Arc<BfdProfile>),
    Policy(Arc<DecisionPolicy>),
    Secret(Arc<Secret>),
}

impl Projection {
    /// The delta that puts this version in force; `None` for a Secret, which is a part of BGPPeers.
    pub(crate) fn set(&self) -> Option<Delta> {
        Some(match self {
            Self::Namespace(object) => Delta::Namespace(object.name.clone(), Some(object.clone())),
            Self::Node(object) => Delta::Node(object.name.clone(), Some(object.clone())),
            Self::Service(object) => Delta::Service(object.key.clone(), Some(object.clone())),
            Self::EndpointSlice(object) => Delta::EndpointSlice(object.key.clone(), Some(object.clone())),
            Self::Module(object) => Delta::Module(object.name.clone(), Some(object.clone())),
            Self::Pool(object) => Delta::Pool(object.name.clone(), Some(object.clone())),
            Self::Claim(object) => Delta::Claim(object.address, Some(object.clone())),
            Self::Peer(object) => Delta::Peer(object.name.clone(), Some(object.clone())),
            Self::Advertisement(object) => Delta::Advertisement(object.name.clone(), Some(object.clone())),
            Self::SpeakerConfig(object) => Delta::SpeakerConfig(object.name.clone(), Some(object.clone())),
            Self::BfdProfile(object) => Delta::BfdProfile(object.name.clone(), Some(object.clone())),
            Self::Policy(object) => Delta::Policy(object.name.clone(), Some(object.clone())),
            Self::Secret(_) => return None,
        })
    }

    /// The delta that takes the object away; `None` for a Secret.
    pub(crate) fn unset(&self) -> Option<Delta> {
        Some(match self {
            Self::Namespace(object) => Delta::Namespace(object.name.clone(), None),
            Self::Node(object) => Delta::Node(object.name.clone(), None),
            Self::Service(object) => Delta::Service(object.key.clone(), None),
            Self::EndpointSlice(object) => Delta::EndpointSlice(object.key.clone(), None),
            Self::Module(object) => Delta::Module(object.name.clone(), None),
            Self::Pool(object) => Delta::Pool(object.name.clone(), None),
            Self::Claim(object) => Delta::Claim(object.address, None),
            Self::Peer(object) => Delta::Peer(object.name.clone(), None),
            Self::Advertisement(object) => Delta::Advertisement(object.name.clone(), None),
            Self::SpeakerConfig(object) => Delta::SpeakerConfig(object.name.clone(), None),
            Self::BfdProfile(object) => Delta::BfdProfile(object.name.clone(), None),
            Self::Policy(object) => Delta::Policy(object.name.clone(), None),
            Self::Secret(_) => return None,
        })
    }
}

impl Projection {
    /// The BGPPeer; `None` for any other kind.
    pub(crate) fn peer(&self) -> Option<&Arc<BgpPeer>> {
        match self {
            Self::Peer(peer) => Some(peer),
            _ => None,
        }
    }

    /// What a delta says of an object: its kind, namespace and name, and its projection, `None` where it is gone. `None`
    /// for a delta of no object.
    pub(crate) fn of(delta: Delta) -> Option<(Kind, NamespacedName, Option<Self>)> {
        let cluster = |name: ObjectName| NamespacedName { namespace: shared(""), name };
        Some(match delta {
            Delta::Service(key, object) => (Kind::Service, key, object.map(Self::Service)),
            Delta::Namespace(name, object) => (Kind::Namespace, cluster(name), object.map(Self::Namespace)),
            Delta::Node(name, object) => (Kind::Node, cluster(name), object.map(Self::Node)),
            Delta::EndpointSlice(key, object) => (Kind::EndpointSlice, key, object.map(Self::EndpointSlice)),
            Delta::Pool(name, object) => (Kind::AddressPool, cluster(name), object.map(Self::Pool)),
            Delta::Claim(address, object) => {
                let name = bellhop_api::claim_name(address).into();
                (Kind::AddressClaim, cluster(name), object.map(Self::Claim))
            }
            Delta::Peer(name, object) => (Kind::BgpPeer, cluster(name), object.map(Self::Peer)),
            Delta::Advertisement(name, object) => {
                (Kind::Advertisement, cluster(name), object.map(Self::Advertisement))
            }
            Delta::SpeakerConfig(name, object) => {
                (Kind::SpeakerConfig, cluster(name), object.map(Self::SpeakerConfig))
            }
            Delta::BfdProfile(name, object) => {
                (Kind::BfdProfile, cluster(name), object.map(Self::BfdProfile))
            }
            Delta::Policy(name, object) => (Kind::DecisionPolicy, cluster(name), object.map(Self::Policy)),
            Delta::Module(name, object) => (Kind::ConfigMap, cluster(name), object.map(Self::Module)),
            Delta::SilentNodes(_) | Delta::OwnSpeaker(_) | Delta::Problems(..) | Delta::Synced => {
                return None;
            }
        })
    }
}

/// What a JSON value turned out to be.
#[derive(Debug)]
pub(crate) enum Identity {
    /// An object of a kind that is read.
    Known(Kind, ObjectRef),
    /// An object of a kind that is not read.
    Foreign(String),
    /// No Kubernetes object: the field to blame, its value, and what would be right.
    Nothing { reason: Reason, field: &'static str, value: String, message: String },
}

/// Removes what only a newer version than this one knows of the fields of an object of ours.
///
/// Where the API server is the source it has refused or pruned what its CRDs do not know, so that a field that is unknown
/// here comes from newer CRDs: as while an upgrade is under way.
pub(crate) fn without_unknown(kind: Kind, value: &mut Value) {
    if kind.api_version() != bellhop_api::API_VERSION {
        return;
    }
    if let Some(spec) = value.get_mut("spec") {
        schema::without_unknown(kind.as_str(), spec);
    }
    if let Some(metadata) = value.get_mut("metadata") {
        metadata::without_unknown(metadata);
    }
}

/// Finds out what a value is, by `apiVersion`, `kind` and `metadata`.
pub(crate) fn identify(value: &Value, options: &Options) -> Identity {
    let nothing = |reason, field, value: &Value, message: &str| Identity::Nothing {
        reason,
        field,
        value: schema::shown(value),
        message: message.into(),
    };
    let Value::Object(fields) = value else {
        let found = schema::type_name(value);
        return nothing(Reason::WrongType, "", value, &format!("is {found} and must be a Kubernetes object"));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let Some(version) = text("apiVersion") else {
        let found = fields.get("apiVersion").unwrap_or(&Value::Null);
        return nothing(
            Reason::MissingField,
            "apiVersion",
            found,
            "must be set, for example to bellhop.dev/v1alpha1",
        );
    };
    let Some(kind) = text("kind") else {
        let found = fields.get("kind").unwrap_or(&Value::Null);
        return nothing(Reason::MissingField, "kind", found, "must be set, for example to Service");
    };
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    let same_group = |known: &str| known.rsplit_once('/').map_or("", |(group, _)| group) == group;
    let Some((found, known, _, namespaced)) =
        Kind::ALL.into_iter().find(|(_, known, name, _)| *name == kind && same_group(known))
    else {
        if group == bellhop_api::GROUP {
            let known: Vec<&str> = schema::kinds().collect();
            let message = schema::unknown_field(kind, &known).replace("field", "kind");
            return nothing(Reason::InvalidValue, "kind", &kind.into(), &message);
        }
        return Identity::Foreign(format!("{version} {kind}"));
    };
    if version != known {
        return nothing(
            Reason::UnknownVersion,
            "apiVersion",
            &version.into(),
            &format!("must be {known} for {kind}"),
        );
    }
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let name = metadata.and_then(|metadata| metadata.get("name")).unwrap_or(&Value::Null);
    let Some(name) = name.as_str().filter(|name| fields::is_subdomain(name)) else {
        let message = format!("must be the name of the {kind}: lower-case letters, digits, - and .");
        return nothing(Reason::MissingField, "metadata.name", name, &message);
    };
    if !namespaced {
        return Identity::Known(found, ObjectRef::cluster(kind, name));
    }
    // As kubectl: what names no namespace goes into the one at hand.
    let ours = matches!(found, Kind::ConfigMap | Kind::Secret);
    let at_hand = if ours { &*options.namespace } else { "default" };
    let namespace = match metadata.and_then(|metadata| metadata.get("namespace")) {
        None | Some(Value::Null) => at_hand,
        Some(namespace) => match namespace.as_str().filter(|namespace| fields::is_label(namespace)) {
            Some(namespace) => namespace,
            None => {
                let message = "must be a namespace: at most 63 lower-case letters, digits and -";
                return nothing(Reason::InvalidValue, "metadata.namespace", namespace, message);
            }
        },
    };
    let key = bellhop_core::ServiceKey::new(namespace, name);
    Identity::Known(found, ObjectRef::namespaced(kind, &key))
}

/// What became of an object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is read: the projection where it is right, and what is wrong where it is not.
    Read(Option<Projection>, Vec<Problem>),
    /// It is of no interest, for the reason given.
    Ignored(&'static str),
}

/// Converts one object.
pub(crate) fn convert(kind: Kind, object: &ObjectRef, mut value: Value, options: &Options) -> Outcome {
    if matches!(kind, Kind::ConfigMap | Kind::Secret)
        && object.namespace.as_deref() != Some(&*options.namespace)
    {
        return Outcome::Ignored("not in Bellhop's namespace");
    }
    if kind == Kind::Secret {
        let secret = secrets::read(&object.name, &value);
        return Outcome::Read(Some(Projection::Secret(Arc::new(secret))), Vec::new());
    }
    let mut report = Report::new(object.clone());
    let own = matches!(
        kind,
        Kind::AddressPool
            | Kind::AddressClaim
            | Kind::BgpPeer
            | Kind::Advertisement
            | Kind::SpeakerConfig
            | Kind::BfdProfile
            | Kind::DecisionPolicy
    );
    if own {
        check_envelope(&object.kind, &mut value, &mut report);
    }
    let Some(metadata) = metadata::read(object, &value, own, &mut report) else {
        return Outcome::Read(None, report.into_problems());
    };
    let projection = match kind {
        // Read above, without what shows values.
        Kind::Secret => None,
        Kind::Namespace => Some(Projection::Namespace(Arc::new(namespace::convert(metadata)))),
        Kind::Node => node::convert(metadata, value, &mut report).map(Projection::Node),
        Kind::Service => service::convert(metadata, value, options, &mut report).map(Projection::Service),
        Kind::EndpointSlice => {
            if let Some(why) = endpoint_slice::ignored(&metadata, &value) {
                return Outcome::Ignored(why);
            }
            endpoint_slice::convert(&metadata, value, &mut report).map(Projection::EndpointSlice)
        }
        Kind::ConfigMap => config_map::convert(&metadata, value, &mut report).map(Projection::Module),
        Kind::AddressPool => spec(value, &mut report)
            .and_then(|spec| address_pool::convert(metadata, &spec, &mut report))
            .map(Projection::Pool),
        Kind::AddressClaim => spec(value, &mut report)
            .and_then(|spec| address_claim::convert(&metadata, &spec, &mut report))
            .map(Projection::Claim),
        Kind::BgpPeer => spec(value, &mut report)
            .and_then(|spec| bgp_peer::convert(metadata, &spec, &mut report))
            .map(Projection::Peer),
        Kind::Advertisement => spec(value, &mut report)
            .and_then(|spec| advertisement::convert(&metadata, &spec, &mut report))
            .map(Projection::Advertisement),
        Kind::SpeakerConfig => spec(value, &mut report)
            .and_then(|spec| speaker_config::convert(&metadata, &spec, &mut report))
            .map(Projection::SpeakerConfig),
        Kind::BfdProfile => spec(value, &mut report)
            .and_then(|spec| bfd_profile::convert(&metadata, &spec, &mut report))
            .map(Projection::BfdProfile),
        Kind::DecisionPolicy => spec(value, &mut report)
            .and_then(|spec| decision_policy::convert(&metadata, &spec, &mut report))
            .map(Projection::Policy),
    };
    let projection = projection.filter(|_| report.is_empty());
    Outcome::Read(projection, report.into_problems())
}

/// Checks the top level of one of Bellhop's own kinds, and its spec against the schema.
fn check_envelope(kind: &str, value: &mut Value, report: &mut Report) {
    const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let Value::Object(fields) = value else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())) {
        let message = schema::unknown_field(name, &FIELDS);
        report.wrong(Reason::UnknownField, name.as_str(), schema::shown(value), message);
    }
    let spec = fields.entry("spec").or_insert_with(|| Value::Object(serde_json::Map::new()));
    schema::without_nulls(kind, spec);
    schema::check_spec(kind, spec, report);
}

/// The spec of one of Bellhop's own kinds, once the schema has nothing to say against it.
fn spec<T: DeserializeOwned>(mut value: Value, report: &mut Report) -> Option<T> {
    if !report.is_empty() {
        return None;
    }
    decode(value.get_mut("spec").map(Value::take).unwrap_or_default(), "spec", report)
}

/// Decodes a value, or reports the field that is wrong, its value, and what was expected.
fn decode<T: DeserializeOwned>(value: Value, field: &str, report: &mut Report) -> Option<T> {
    match serde_path_to_error::deserialize(&value) {
        Ok(decoded) => Some(decoded),
        Err(error) => {
            let (path, found) = at(&value, error.path(), field);
            let message = error.inner().to_string();
            let reason =
                if message.starts_with("missing field") { Reason::MissingField } else { Reason::WrongType };
            report.wrong(reason, path, found.map(schema::shown).unwrap_or_default(), message);
            None
        }
    }
}

/// A path of serde as people write it, and the value that stands there.
fn at<'a>(value: &'a Value, path: &serde_path_to_error::Path, root: &str) -> (String, Option<&'a Value>) {
    use serde_path_to_error::Segment;
    let mut text = root.to_owned();
    let mut found = Some(value);
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                text.push_str(&format!("[{index}]"));
                found = found.and_then(|value| value.get(index));
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
                found = found.and_then(|value| value.get(key));
            }
            Segment::Unknown => {}
        }
    }
    (text, found)
}

#[cfg(test)]
mod tests;
