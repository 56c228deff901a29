//! The contract's types as the component model passes them: `plugin-sdk/wit`, record by record.
//!
//! Written by hand and not generated, so that questions are lowered from the projections' own text without a copy.
//! Wasmtime compares them with a module's types when it is loaded, and a test compares them with the WIT files.

pub(crate) mod address;
pub(crate) mod nodes;
pub(crate) mod route;

use std::sync::Arc;

use bellhop_core::objects::{Readiness as CoreReadiness, Taint as CoreTaint, TrafficPolicy as CorePolicy};
use bellhop_core::route::Family as CoreFamily;
use bellhop_policy_engine::guest::{GuestError, NodeView, Pairs, PeerView, ServiceView};
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::limits;

/// Parameters of `configure`.
pub(crate) type ConfigureParams<'a> = (&'a str,);
/// Results of `configure`.
pub(crate) type ConfigureResults = (Result<(), String>,);

/// `pair`, host to guest.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Pair<'a> {
    key: &'a str,
    value: &'a str,
}

/// `pair`, guest to host.
#[derive(ComponentType, Lift, Debug)]
#[component(record)]
pub(crate) struct OwnedPair {
    key: String,
    #[allow(dead_code, reason = "part of the record; no key is known yet whose value would be read")]
    value: String,
}

/// `family`.
#[derive(ComponentType, Lift, Lower, Clone, Copy, PartialEq, Eq, Debug)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Family {
    #[component(name = "ipv4")]
    Ipv4,
    #[component(name = "ipv6")]
    Ipv6,
}

/// `identity`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Identity<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// `traffic-policy`.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum TrafficPolicy {
    #[component(name = "cluster")]
    Cluster,
    #[component(name = "local")]
    Local,
}

/// `service`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Service<'a> {
    identity: Option<Identity<'a>>,
    labels: Vec<Pair<'a>>,
    annotations: Vec<Pair<'a>>,
    #[component(name = "namespace-labels")]
    namespace_labels: Vec<Pair<'a>>,
    #[component(name = "external-traffic-policy")]
    external_traffic_policy: TrafficPolicy,
    extra: Vec<Pair<'a>>,
}

/// `readiness`.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Readiness {
    #[component(name = "ready")]
    Ready,
    #[component(name = "not-ready")]
    NotReady,
    #[component(name = "unknown")]
    Unknown,
}

/// `taint`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Taint<'a> {
    key: &'a str,
    value: &'a str,
    effect: &'a str,
}

/// `node`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Node<'a> {
    name: Option<&'a str>,
    labels: Vec<Pair<'a>>,
    annotations: Vec<Pair<'a>>,
    taints: Vec<Taint<'a>>,
    unschedulable: bool,
    ready: Readiness,
    #[component(name = "local-endpoints")]
    local_endpoints: u16,
    extra: Vec<Pair<'a>>,
}

/// `session-type`.
#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Session {
    #[component(name = "external")]
    External,
    #[component(name = "internal")]
    Internal,
}

/// `peer`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Peer<'a> {
    name: Option<&'a str>,
    labels: Vec<Pair<'a>>,
    #[component(name = "peer-asn")]
    peer_asn: u32,
    #[component(name = "local-asn")]
    local_asn: u32,
    session: Session,
    extra: Vec<Pair<'a>>,
}

/// `level` of the host's log.
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by the guest's log calls")]
pub(crate) enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<Level> for &'static str {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl From<CoreFamily> for Family {
    fn from(family: CoreFamily) -> Self {
        match family {
            CoreFamily::Ipv4 => Self::Ipv4,
            CoreFamily::Ipv6 => Self::Ipv6,
        }
    }
}

impl From<Family> for CoreFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}

pub(crate) fn pairs(pairs: &Pairs) -> Vec<Pair<'_>> {
    pairs.iter().map(|(key, value)| Pair { key, value }).collect()
}

impl<'a> From<&'a ServiceView> for Service<'a> {
    fn from(view: &'a ServiceView) -> Self {
        Self {
            identity: view.identity.as_ref().map(|(namespace, name)| Identity { namespace, name }),
            labels: pairs(&view.labels),
            annotations: pairs(&view.annotations),
            namespace_labels: pairs(&view.namespace_labels),
            external_traffic_policy: match view.traffic_policy {
                CorePolicy::Cluster => TrafficPolicy::Cluster,
                CorePolicy::Local => TrafficPolicy::Local,
            },
            extra: Vec::new(),
        }
    }
}

impl<'a> From<&'a CoreTaint> for Taint<'a> {
    fn from(taint: &'a CoreTaint) -> Self {
        Self { key: &taint.key, value: &taint.value, effect: &taint.effect }
    }
}

impl<'a> From<&'a NodeView> for Node<'a> {
    fn from(view: &'a NodeView) -> Self {
        Self {
            name: view.name.as_deref(),
            labels: pairs(&view.labels),
            annotations: pairs(&view.annotations),
            taints: view.taints.iter().map(Taint::from).collect(),
            unschedulable: view.unschedulable,
            ready: match view.ready {
                CoreReadiness::Ready => Readiness::Ready,
                CoreReadiness::NotReady => Readiness::NotReady,
                CoreReadiness::Unknown => Readiness::Unknown,
            },
            local_endpoints: view.local_endpoints,
            extra: Vec::new(),
        }
    }
}

impl<'a> From<&'a PeerView> for Peer<'a> {
    fn from(view: &'a PeerView) -> Self {
        // Without the input `session` both are 0: external, as the contract says of an undeclared session.
        let internal = view.peer_asn != 0 && view.peer_asn == view.local_asn;
        Self {
            name: view.name.as_deref(),
            labels: pairs(&view.labels),
            peer_asn: view.peer_asn,
            local_asn: view.local_asn,
            session: if internal { Session::Internal } else { Session::External },
            extra: Vec::new(),
        }
    }
}

/// An answer that breaks the contract.
pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> GuestError {
    GuestError::InvalidAnswer { field: field.into(), message: message.into() }
}

/// At most `most` of something.
pub(crate) fn at_most(field: &str, what: &str, count: usize, most: usize) -> Result<(), GuestError> {
    if count <= most {
        Ok(())
    } else {
        Err(invalid(field, format!("{count} {what}; at most {most} are taken")))
    }
}

/// A note or a reason within its bound.
pub(crate) fn text(field: &str, text: &str) -> Result<Arc<str>, GuestError> {
    at_most(field, "bytes", text.len(), limits::TEXT_BYTES)?;
    Ok(Arc::from(text))
}

/// An optional note within its bound.
pub(crate) fn note(field: &str, note: Option<&String>) -> Result<Option<Arc<str>>, GuestError> {
    note.map(|note| text(field, note)).transpose()
}

/// No key of `extra` is known in answers yet.
pub(crate) fn no_extra(field: &str, extra: &[OwnedPair]) -> Result<(), GuestError> {
    match extra.first() {
        None => Ok(()),
        Some(pair) => Err(invalid(
            format!("{field}[0].key"),
            format!("\"{}\" is no key that this version takes; it takes none", shown(&pair.key)),
        )),
    }
}

/// A guest's text as a message shows it: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
