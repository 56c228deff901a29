//! From plans, sessions and policies to `SpeakerState.status`: pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bellhop_api::{
    Condition, ConditionStatus, LoadedPolicy, Reason, SessionState, SpeakerException, SpeakerPhase,
    SpeakerStateStatus,
};
use bellhop_bgp::State;
use bellhop_core::announce::Announcer;
use bellhop_core::announce::facts::Obstacle;
use bellhop_core::announce::service_plan::{ServicePlan, Silence};
use bellhop_core::objects::AddressRange;
use bellhop_core::report::Phase;
use bellhop_core::{ObjectName, ServiceKey};
use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;

use crate::bgp::{BgpSnapshot, PeerSnapshot};

/// Most entries of each list, as the kind allows.
const SESSIONS_MAX: usize = 256;
const RANGES_MAX: usize = 4096;
const AGGREGATES_MAX: usize = 256;
const EXCEPTIONS_MAX: usize = 64;
const POLICIES_MAX: usize = 64;

/// Longest texts, in characters, as the kind allows.
const MESSAGE_MAX: usize = 256;
const POLICY_MESSAGE_MAX: usize = 512;
const SESSION_MESSAGE_MAX: usize = 512;

/// What the status is made from.
pub struct View<'a> {
    /// How far the planner is.
    pub phase: Phase,
    /// Its plans.
    pub announcer: &'a Announcer,
    /// The node.
    pub node: &'a ObjectName,
    /// The sessions.
    pub sessions: &'a BgpSnapshot,
    /// The policies as this node has them.
    pub policies: Vec<LoadedPolicy>,
}

/// The status. `lastTransitionTime` of its condition is left empty for whoever knows the one before.
pub fn status(view: View<'_>) -> SpeakerStateStatus {
    let sessions = view.sessions.peers.values();
    let established = sessions.clone().filter(|peer| is_up(peer)).count();
    let up: BTreeSet<&ObjectName> =
        sessions.clone().filter(|peer| is_up(peer)).map(|peer| &peer.peer).collect();
    let announced = announced(view.announcer, &up);
    let aggregates = aggregates(view.announcer, &up);
    let (exception_count, exceptions) = exceptions(view.announcer, view.node, &announced);
    let phase = phase(view.phase, view.announcer);
    let mut ranges = ranges(&announced);
    ranges.truncate(RANGES_MAX);
    SpeakerStateStatus {
        phase: Some(phase),
        version: env!("CARGO_PKG_VERSION").into(),
        sessions_up: format!("{established}/{}", sessions.len()),
        sessions: sessions.take(SESSIONS_MAX).map(session).collect(),
        announced_count: count(announced.len()),
        announced: ranges.iter().map(ToString::to_string).collect(),
        aggregates: aggregates.iter().take(AGGREGATES_MAX).map(ToString::to_string).collect(),
        exception_count: count(exception_count),
        exceptions,
        policies: view.policies.into_iter().take(POLICIES_MAX).map(bounded).collect(),
        conditions: vec![ready(phase)],
    }
}

fn is_up(peer: &PeerSnapshot) -> bool {
    peer.state == State::Established
}

fn phase(phase: Phase, announcer: &Announcer) -> SpeakerPhase {
    match phase {
        Phase::Reading => SpeakerPhase::Reading,
        Phase::LoadingPolicies => SpeakerPhase::LoadingPolicies,
        Phase::Binding => SpeakerPhase::Binding,
        Phase::Ready if announcer.draining().is_some() => SpeakerPhase::Draining,
        Phase::Ready => SpeakerPhase::Ready,
    }
}

/// Addresses that a peer with a session is to hear, by their host routes or by aggregates.
fn announced(announcer: &Announcer, up: &BTreeSet<&ObjectName>) -> BTreeSet<IpAddr> {
    let heard =
        |plan: &ServicePlan, address: IpAddr| plan.heard_by(address).any(|(peer, _)| up.contains(peer));
    let services = announcer.services();
    services
        .flat_map(|(_, plan)| plan.addresses.keys().copied().filter(|address| heard(plan, *address)))
        .collect()
}

/// Aggregates that a peer with a session is to hear.
fn aggregates(announcer: &Announcer, up: &BTreeSet<&ObjectName>) -> BTreeSet<IpNet> {
    let heard = announcer.wanted().iter().filter(|(peer, _)| up.contains(peer));
    let prefixes = heard.flat_map(|(_, routes)| routes.keys().copied());
    prefixes.filter(|prefix| prefix.prefix_len() < prefix.max_prefix_len()).collect()
}

/// The same as ranges, lowest first.
fn ranges(addresses: &BTreeSet<IpAddr>) -> Vec<AddressRange> {
    let mut runs: Vec<(IpAddr, IpAddr)> = Vec::new();
    for address in addresses {
        match runs.last_mut() {
            Some((_, last)) if follows(*last, *address) => *last = *address,
            _ => runs.push((*address, *address)),
        }
    }
    runs.into_iter().filter_map(|(first, last)| AddressRange::new(first, last)).collect()
}

fn follows(last: IpAddr, next: IpAddr) -> bool {
    match (last, next) {
        (IpAddr::V4(last), IpAddr::V4(next)) => last.to_bits().checked_add(1) == Some(next.to_bits()),
        (IpAddr::V6(last), IpAddr::V6(next)) => last.to_bits().checked_add(1) == Some(next.to_bits()),
        _ => false,
    }
}

/// How many addresses this node could be asked to announce and does not, and the first of them with the reason.
fn exceptions(
    announcer: &Announcer,
    node: &ObjectName,
    announced: &BTreeSet<IpAddr>,
) -> (usize, Vec<SpeakerException>) {
    let mut told = Vec::new();
    let mut count = 0;
    for (service, plan) in announcer.services() {
        for address in plan.addresses.keys().filter(|address| !announced.contains(*address)) {
            if rightly_silent(plan, *address) {
                continue;
            }
            count += 1;
            if told.len() < EXCEPTIONS_MAX {
                told.push(exception(service, *address, plan.silence(*address, node)));
            }
        }
    }
    (count, told)
}

/// A node without an endpoint of a Local Service is not asked to announce it; another one is.
fn rightly_silent(plan: &ServicePlan, address: IpAddr) -> bool {
    plan.addresses.get(&address).and_then(|plan| plan.obstacle) == Some(Obstacle::NoLocalEndpoints)
}

fn exception(service: &ServiceKey, address: IpAddr, silence: Option<Silence>) -> SpeakerException {
    let (reason, message) = match &silence {
        Some(silence) => (silence.reason, &*silence.message),
        None => (Reason::NoSession.as_str(), "no session is up to a peer that is to hear it"),
    };
    SpeakerException {
        namespace: service.namespace.to_string(),
        name: service.name.to_string(),
        address: address.to_string(),
        reason: reason.into(),
        message: cut(message, MESSAGE_MAX),
    }
}

fn session(peer: &PeerSnapshot) -> SessionState {
    let since = peer.established_since.filter(|_| is_up(peer)).and_then(|milliseconds| {
        // Whole seconds, as every time of Kubernetes.
        Timestamp::from_second(i64::try_from(milliseconds / 1000).ok()?).ok()
    });
    SessionState {
        peer: peer.peer.to_string(),
        address: peer.address.map(|address| address.to_string()).unwrap_or_default(),
        state: peer.state.to_string(),
        since: since.map(|since| since.to_string()).unwrap_or_default(),
        last_error: cut(peer.last_error.as_deref().unwrap_or_default(), MESSAGE_MAX),
        reason: peer.problem.as_ref().map(|problem| problem.reason.to_string()).unwrap_or_default(),
        message: peer
            .problem
            .as_ref()
            .map(|problem| cut(&problem.message, SESSION_MESSAGE_MAX))
            .unwrap_or_default(),
    }
}

fn bounded(policy: LoadedPolicy) -> LoadedPolicy {
    LoadedPolicy { message: cut(&policy.message, POLICY_MESSAGE_MAX), ..policy }
}

fn ready(phase: SpeakerPhase) -> Condition {
    let (status, reason, message) = match phase {
        SpeakerPhase::Reading => (ConditionStatus::False, Reason::Pending, "objects are being read"),
        SpeakerPhase::LoadingPolicies => {
            (ConditionStatus::False, Reason::Pending, "policies are being loaded")
        }
        SpeakerPhase::Binding => (
            ConditionStatus::False,
            Reason::DataPathPending,
            "the first announcement waits for bound addresses or for kube-proxy",
        ),
        SpeakerPhase::Ready => (ConditionStatus::True, Reason::Ready, "the first announcement is out"),
        SpeakerPhase::Draining => (ConditionStatus::True, Reason::Draining, "the node gives its routes up"),
    };
    Condition {
        type_: bellhop_api::conditions::READY.into(),
        status,
        observed_generation: None,
        last_transition_time: String::new(),
        reason: reason.as_str().into(),
        message: message.into(),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// At most `max` characters, with an ellipsis where something is left out.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests;
