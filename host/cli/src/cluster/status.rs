//! `bellhop status` of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_api::conditions::{ALLOCATED, ANNOUNCED, READY, Reason};
use bellhop_api::{Condition, ConditionStatus, LOAD_BALANCER_CLASS, PoolUsage, SpeakerState};
use bellhop_core::report::Status;
use k8s_openapi::api::core::v1::Service;
use serde::Serialize;

use super::read::Objects;
use super::running::{Running, troubles};
use super::speakers::{AskError, Said, forbidden};
use crate::output::{columns, hanging};
use crate::status::ESTABLISHED;

/// Reasons of which somebody decided that one node does not announce an address: a label, a selector, a policy. Where no
/// node is left, the Service's own condition is what is wrong.
const AS_DECIDED: [Reason; 7] = [
    Reason::NodeExcluded,
    Reason::NoLocalEndpoints,
    Reason::NoPeer,
    Reason::NoAdvertisement,
    Reason::Ineligible,
    Reason::Drained,
    Reason::WithheldByPolicy,
];

/// The state of a cluster.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// URL of the API server.
    pub server: String,
    /// One row per node with a speaker.
    pub nodes: Vec<NodeRow>,
    /// Services of type LoadBalancer that Bellhop serves.
    pub services: Vec<ServiceRow>,
    /// Pools.
    pub pools: Vec<PoolRow>,
    /// Policies.
    pub policies: Vec<PolicyRow>,
    /// What is wrong: speakers and controllers that do not run, conditions that do not hold, addresses that nodes do not
    /// announce. Where there is any, the exit code is 1.
    pub problems: Vec<ProblemRow>,
    /// Addresses that single nodes do not announce because somebody decided so.
    pub notes: Vec<ProblemRow>,
    /// What cannot be shown, and why.
    pub not_shown: Vec<String>,
    /// Kinds of which nothing can be shown.
    #[serde(skip)]
    pub hidden: BTreeSet<String>,
}

/// A node and its speaker.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Node name.
    pub node: String,
    /// How far its speaker is.
    pub phase: Option<String>,
    /// Sessions that are established, of those that are configured, as `1/2`.
    pub sessions: Option<String>,
    /// Addresses that it announces.
    pub addresses: Option<i32>,
    /// Addresses that it could announce and does not.
    pub exceptions: Option<i32>,
    /// Version of its Bellhop.
    pub version: String,
    /// True where its speaker said so now, false where it is what the speaker reported last.
    pub live: bool,
    /// Why its speaker gave no answer.
    pub trouble: Option<String>,
}

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Addresses in its status.
    pub addresses: Vec<String>,
    /// Condition `bellhop.dev/Allocated`: `True`, or `False` and the reason; absent where nobody has said yet.
    pub allocated: Option<String>,
    /// Condition `bellhop.dev/Announced`.
    pub announced: Option<String>,
}

/// A pool.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRow {
    /// Name.
    pub name: String,
    /// As it is written.
    pub addresses: Vec<String>,
    /// IPv4 addresses of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<PoolUsage>,
    /// IPv6 addresses of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<PoolUsage>,
    /// Condition `Ready`.
    pub ready: Option<String>,
}

/// A policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRow {
    /// Name.
    pub name: String,
    /// Hook.
    pub hook: String,
    /// Of several on a hook, higher ones are asked first.
    pub priority: i32,
    /// First twelve digits of the sha256 of the module in force.
    pub active: Option<String>,
    /// Of the version on its way, or refused.
    pub candidate: Option<String>,
    /// How far that is.
    pub step: Option<String>,
    /// Condition `Ready`.
    pub ready: Option<String>,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemRow {
    /// `AddressPool/public`, `Service/web/shop`.
    pub object: String,
    /// Node that says so, where it is not the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Reason of the closed set.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Puts together what the API server and the speakers said. `place` is the URL of the API server and the namespace that
/// Bellhop runs in.
pub fn merge(
    place: (&str, &str),
    objects: &Objects,
    running: &Running,
    answers: Vec<Said<Status>>,
) -> ClusterStatus {
    let (server, namespace) = place;
    let mut not_shown = objects.not_shown.clone();
    not_shown.extend(forbidden(&answers));
    let (mut problems, mut notes) = (BTreeSet::new(), BTreeSet::new());
    conditions(objects, &mut problems);
    exceptions(&objects.states, &mut problems, &mut notes);
    let live: BTreeSet<_> = answers
        .iter()
        .filter(|(_, answer)| answer.is_ok())
        .map(|(speaker, _)| speaker.node.clone())
        .collect();
    let said_last = |state: &&SpeakerState| !live.contains(&state.metadata.name.clone().unwrap_or_default());
    sessions_reported(objects.states.iter().filter(said_last), &mut problems);
    of_nodes(&answers, &mut problems);
    let nodes = nodes(&objects.states, answers);
    let reports = !objects.hidden.contains("SpeakerState");
    problems.extend(troubles(namespace, running, &nodes, reports));
    ClusterStatus {
        server: server.into(),
        nodes,
        services: objects.services.iter().filter_map(service).collect(),
        pools: objects.pools.iter().map(pool).collect(),
        policies: objects.policies.iter().map(policy).collect(),
        problems: problems.into_iter().collect(),
        notes: notes.into_iter().collect(),
        not_shown,
        hidden: objects.hidden.clone(),
    }
}

fn nodes(states: &[SpeakerState], answers: Vec<Said<Status>>) -> Vec<NodeRow> {
    let mut rows: BTreeMap<String, NodeRow> = BTreeMap::new();
    for state in states {
        let node = state.metadata.name.clone().unwrap_or_default();
        let status = state.status.clone().unwrap_or_default();
        let row = NodeRow {
            phase: status.phase.map(|phase| format!("{phase:?}")),
            sessions: Some(status.sessions_up).filter(|text| !text.is_empty()),
            addresses: Some(status.announced_count),
            exceptions: Some(status.exception_count),
            version: status.version,
            node: node.clone(),
            ..NodeRow::default()
        };
        rows.insert(node, row);
    }
    for (speaker, answer) in answers {
        let row = rows.entry(speaker.node.clone()).or_default();
        row.node = speaker.node;
        match answer {
            Ok(status) => {
                let up = status.peers.iter().filter(|peer| peer.state == ESTABLISHED).count();
                row.phase = Some(format!("{:?}", status.phase));
                row.sessions = Some(format!("{up}/{}", status.peers.len()));
                row.version = status.version;
                row.live = true;
            }
            // Said once for all of them.
            Err(AskError::Forbidden(_)) => {}
            Err(error) => row.trouble = Some(error.to_string()),
        }
    }
    rows.into_values().collect()
}

/// A Service that Bellhop serves: of its class, or with conditions that it wrote.
fn service(service: &Service) -> Option<ServiceRow> {
    let (spec, status) = (service.spec.as_ref()?, service.status.clone().unwrap_or_default());
    let conditions = status.conditions.unwrap_or_default();
    let brief = |kind: &str| {
        let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
        Some(in_brief(&condition.status, &condition.reason))
    };
    let (allocated, announced) = (brief(ALLOCATED), brief(ANNOUNCED));
    let ours = spec.load_balancer_class.as_deref() == Some(LOAD_BALANCER_CLASS);
    (ours || allocated.is_some() || announced.is_some()).then(|| ServiceRow {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
        addresses: addresses_of(service),
        allocated,
        announced,
    })
}

/// The addresses in a Service's status.
pub(crate) fn addresses_of(service: &Service) -> Vec<String> {
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress.into_iter().flatten().filter_map(|ingress| ingress.ip.clone()).collect()
}

/// `True`, `False NoEndpoints`.
pub(crate) fn in_brief(status: &str, reason: &str) -> String {
    if status == "True" { status.into() } else { format!("{status} {reason}") }
}

/// The condition `Ready` in brief.
pub(crate) fn ready(conditions: &[Condition]) -> Option<String> {
    let ready = conditions.iter().find(|condition| condition.type_ == READY)?;
    Some(in_brief(&format!("{:?}", ready.status), &ready.reason))
}

fn pool(pool: &bellhop_api::AddressPool) -> PoolRow {
    let status = pool.status.clone().unwrap_or_default();
    PoolRow {
        name: pool.metadata.name.clone().unwrap_or_default(),
        addresses: pool.spec.addresses.clone(),
        ipv4: status.ipv4,
        ipv6: status.ipv6,
        ready: ready(&status.conditions),
    }
}

/// A policy in a row.
pub fn policy(policy: &bellhop_api::DecisionPolicy) -> PolicyRow {
    let status = policy.status.clone().unwrap_or_default();
    let digest = |version: bellhop_api::PluginVersion| version.sha256.chars().take(12).collect();
    PolicyRow {
        name: policy.metadata.name.clone().unwrap_or_default(),
        hook: format!("{:?}", policy.spec.hook),
        priority: policy.spec.priority,
        active: status.active.map(digest),
        candidate: status.candidate.map(digest),
        step: status.step.map(|step| format!("{step:?}")),
        ready: ready(&status.conditions),
    }
}

/// Conditions that do not hold, of every kind. `Progressing` and `Degraded` are told where they do.
fn conditions(objects: &Objects, problems: &mut BTreeSet<ProblemRow>) {
    let mut tell = |kind: &str, name: Option<&String>, conditions: Option<&Vec<Condition>>| {
        for condition in conditions.into_iter().flatten() {
            let wrong = match condition.type_.as_str() {
                "Progressing" => false,
                "Degraded" => condition.status == ConditionStatus::True,
                _ => condition.status == ConditionStatus::False,
            };
            if wrong {
                problems.insert(ProblemRow {
                    object: format!("{kind}/{}", name.map_or("", String::as_str)),
                    node: None,
                    reason: condition.reason.clone(),
                    message: condition.message.clone(),
                });
            }
        }
    };
    macro_rules! each {
        ($($kind:literal: $list:ident,)*) => {$(
            for object in &objects.$list {
                tell($kind, object.metadata.name.as_ref(), object.status.as_ref().map(|status| &status.conditions));
            }
        )*};
    }
    each! {
        "AddressPool": pools, "AddressClaim": claims, "BGPPeer": peers, "BFDProfile": profiles, "Advertisement": advertisements,
        "SpeakerConfig": configs, "DecisionPolicy": policies,
    }
    // How far a speaker is stands in its phase.
    for state in &objects.states {
        let conditions = state.status.iter().flat_map(|status| &status.conditions);
        let others = conditions.filter(|condition| condition.type_ != READY).cloned().collect();
        tell("SpeakerState", state.metadata.name.as_ref(), Some(&others));
    }
    for service in &objects.services {
        let (namespace, name) = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
        let conditions = service.status.iter().flat_map(|status| status.conditions.iter().flatten());
        for condition in conditions.filter(|condition| {
            [ALLOCATED, ANNOUNCED].contains(&condition.type_.as_str()) && condition.status == "False"
        }) {
            problems.insert(ProblemRow {
                object: format!("Service/{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default()),
                node: None,
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            });
        }
    }
}

/// What single nodes do not announce, and policies that they do not have as they should.
fn exceptions(
    states: &[SpeakerState],
    problems: &mut BTreeSet<ProblemRow>,
    notes: &mut BTreeSet<ProblemRow>,
) {
    for state in states {
        let node = state.metadata.name.clone();
        let Some(status) = &state.status else { continue };
        for exception in &status.exceptions {
            let decided = AS_DECIDED.iter().any(|reason| reason.as_str() == exception.reason);
            if decided { &mut *notes } else { &mut *problems }.insert(ProblemRow {
                object: format!("Service/{}/{}", exception.namespace, exception.name),
                node: node.clone(),
                reason: exception.reason.clone(),
                message: format!("{}: {}", exception.address, exception.message),
            });
        }
        for policy in status.policies.iter().filter(|policy| !policy.message.is_empty()) {
            problems.insert(ProblemRow {
                object: format!("DecisionPolicy/{}", policy.name),
                node: node.clone(),
                reason: "Failed".into(),
                message: policy.message.clone(),
            });
        }
    }
}

/// Sessions that were not up when a speaker reported last.
fn sessions_reported<'a>(
    states: impl Iterator<Item = &'a SpeakerState>,
    problems: &mut BTreeSet<ProblemRow>,
) {
    for state in states {
        let sessions = state.status.iter().flat_map(|status| &status.sessions);
        problems.extend(sessions.filter(|session| session.state != ESTABLISHED).map(|session| {
            let error = Some(&*session.last_error).filter(|error| !error.is_empty());
            no_session(&session.peer, state.metadata.name.as_deref(), &session.state, error)
        }));
    }
}

fn no_session(peer: &str, node: Option<&str>, state: &str, error: Option<&str>) -> ProblemRow {
    ProblemRow {
        object: format!("BGPPeer/{peer}"),
        node: node.map(str::to_owned),
        reason: Reason::NoSession.to_string(),
        message: match error {
            Some(error) => format!("{state}; last error: {error}"),
            None => state.to_owned(),
        },
    }
}

/// What speakers say now of what stands in no object: sessions that are not up, and what is wrong with the nodes
/// themselves, as their packet filters, their ARP, their kube-proxies.
fn of_nodes(answers: &[Said<Status>], problems: &mut BTreeSet<ProblemRow>) {
    for (speaker, answer) in answers {
        let peers = answer.iter().flat_map(|status| &status.peers);
        problems.extend(peers.filter(|peer| peer.state != ESTABLISHED).map(|peer| {
            no_session(&peer.name, Some(&speaker.node), &peer.state, peer.last_error.as_deref())
        }));
        let said = answer.iter().flat_map(|status| &status.problems);
        problems.extend(said.filter(|problem| &*problem.object.kind == "Node").map(|problem| ProblemRow {
            object: problem.object.to_string(),
            node: Some(speaker.node.clone()),
            reason: problem.reason.clone(),
            message: problem.told(),
        }));
    }
}

/// The state of a cluster as text, folded to `width` columns where one is given.
pub fn table(status: &ClusterStatus, width: Option<usize>) -> String {
    let mut text = format!("Cluster {}\n\nNODES\n", status.server);
    let nothing = |kind: &str, none: &'static str| match status.hidden.contains(kind) {
        true => "not shown, see below",
        false => none,
    };
    text += &columns(
        &["NODE", "SPEAKER", "SESSIONS", "ADDRESSES", "EXCEPTIONS", "VERSION", "SEEN"],
        status.nodes.iter().map(node).collect(),
        nothing("SpeakerState", "no speaker has reported"),
    );
    text += "\nSERVICES\n";
    text += &columns(
        &["SERVICE", "ADDRESSES", "ALLOCATED", "ANNOUNCED"],
        status
            .services
            .iter()
            .map(|row| {
                vec![
                    format!("{}/{}", row.namespace, row.name),
                    row.addresses.join("\n"),
                    row.allocated.clone().unwrap_or_default(),
                    row.announced.clone().unwrap_or_default(),
                ]
            })
            .collect(),
        nothing("Service", "no Service of type LoadBalancer is served"),
    );
    text += "\nPOOLS\n";
    text += &columns(
        &["NAME", "ADDRESSES", "USED/FREE", "READY"],
        status.pools.iter().map(pool_cells).collect(),
        nothing("AddressPool", "no AddressPool"),
    );
    text += "\nPOLICIES\n";
    text += &policies(&status.policies, nothing("DecisionPolicy", NO_POLICY));
    let lines = |rows: &[ProblemRow]| -> Vec<String> { rows.iter().map(problem).collect() };
    let (problems, notes) = (lines(&status.problems), lines(&status.notes));
    for (heading, lines) in [("PROBLEMS", &problems), ("NOTES", &notes), ("NOT SHOWN", &status.not_shown)] {
        if !lines.is_empty() {
            text += &format!("\n{heading}\n");
            text.extend(lines.iter().map(|line| hanging(line, width)));
        }
    }
    text
}

/// What is said where there is no policy.
pub(crate) const NO_POLICY: &str = "no DecisionPolicy: built-in decisions";

/// The table of policies.
pub(crate) fn policies(rows: &[PolicyRow], nothing: &str) -> String {
    let cells = |row: &PolicyRow| {
        vec![
            row.name.clone(),
            row.hook.clone(),
            row.priority.to_string(),
            row.active.clone().unwrap_or_default(),
            row.candidate.clone().unwrap_or_default(),
            row.step.clone().unwrap_or_default(),
            row.ready.clone().unwrap_or_default(),
        ]
    };
    columns(
        &["NAME", "HOOK", "PRIORITY", "ACTIVE", "CANDIDATE", "STEP", "READY"],
        rows.iter().map(cells).collect(),
        nothing,
    )
}

fn node(row: &NodeRow) -> Vec<String> {
    let seen = match (&row.trouble, row.live) {
        (Some(_), _) => "no answer".into(),
        (None, true) => "now".into(),
        (None, false) => "last report".into(),
    };
    vec![
        row.node.clone(),
        row.phase.clone().unwrap_or_default(),
        row.sessions.clone().unwrap_or_default(),
        row.addresses.map(|count| count.to_string()).unwrap_or_default(),
        row.exceptions.map(|count| count.to_string()).unwrap_or_default(),
        row.version.clone(),
        seen,
    ]
}

fn pool_cells(row: &PoolRow) -> Vec<String> {
    let usage = |family: &str, usage: Option<PoolUsage>| {
        let usage = usage?;
        let free = match usage.free {
            bellhop_api::COUNT_MAX.. => "many".to_owned(),
            free => free.to_string(),
        };
        Some(format!("{family} {}/{free}", usage.used))
    };
    let lines: Vec<String> =
        [usage("IPv4", row.ipv4), usage("IPv6", row.ipv6)].into_iter().flatten().collect();
    vec![row.name.clone(), row.addresses.join("\n"), lines.join("\n"), row.ready.clone().unwrap_or_default()]
}

fn problem(row: &ProblemRow) -> String {
    let node = row.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    if row.message.is_empty() {
        format!("{}{node}: {}", row.object, row.reason)
    } else {
        format!("{}{node}: {} ({})", row.object, row.message, row.reason)
    }
}

#[cfg(test)]
mod tests;
