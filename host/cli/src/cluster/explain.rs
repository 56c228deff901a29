//! `bellhop explain` of a cluster: what the controller says about a Service, and what each node does.

use std::net::IpAddr;

use bellhop_api::conditions::{ALLOCATED, ANNOUNCED};
use bellhop_api::{AddressClaim, LOAD_BALANCER_CLASS, SpeakerState};
use bellhop_core::report::ServiceExplanation;
use k8s_openapi::api::core::v1::{Event, Service};
use serde::Serialize;

use super::speakers::{AskError, Said, forbidden};
use super::status::addresses_of;
use crate::explain;

/// What is known about a Service.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterExplanation {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Why Bellhop does not serve it, where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_served: Option<String>,
    /// Addresses in its status.
    pub addresses: Vec<String>,
    /// Bellhop's conditions.
    pub conditions: Vec<ConditionRow>,
    /// Claims that name it.
    pub claims: Vec<ClaimRow>,
    /// Events about it, the newest last.
    pub events: Vec<EventRow>,
    /// Each node.
    pub nodes: Vec<NodeView>,
    /// What cannot be shown, and why.
    pub not_shown: Vec<String>,
}

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionRow {
    /// Type without the prefix `bellhop.dev/`.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// Reason of the closed set.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRow {
    /// The address.
    pub address: String,
    /// Its pool.
    pub pool: String,
    /// False where the claim names another Service of this name, which is gone: its UID differs.
    pub holds: bool,
    /// The policy that chose it, with its note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// An Event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRow {
    /// When it was seen last (RFC 3339).
    pub last_seen: String,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub type_: String,
    /// Reason.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A node's view.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Node.
    pub node: String,
    /// What its speaker says now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Box<ServiceExplanation>>,
    /// What its speaker reported of this Service that it does not announce, where it says nothing now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<String>,
    /// Addresses of this Service that its speaker reported to announce, where it says nothing now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<String>,
    /// Why its speaker gave no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What the API server has about a Service.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The Service.
    pub service: Service,
    /// All claims.
    pub claims: Vec<AddressClaim>,
    /// Events of the Service's name.
    pub events: Vec<Event>,
    /// SpeakerStates.
    pub states: Vec<SpeakerState>,
    /// What cannot be shown, and why.
    pub not_shown: Vec<String>,
}

/// Puts together what the API server and the speakers said.
pub fn merge(known: &Known, answers: Vec<Said<ServiceExplanation>>) -> ClusterExplanation {
    let metadata = &known.service.metadata;
    let (namespace, name) =
        (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
    let conditions = known.service.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let conditions =
        conditions.filter(|condition| [ALLOCATED, ANNOUNCED].contains(&condition.type_.as_str()));
    let mut explanation = ClusterExplanation {
        not_served: not_served(&known.service),
        addresses: addresses_of(&known.service),
        conditions: conditions
            .map(|condition| ConditionRow {
                type_: condition.type_.trim_start_matches("bellhop.dev/").to_owned(),
                status: condition.status.clone(),
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            })
            .collect(),
        claims: known
            .claims
            .iter()
            .filter_map(|object| claim(object, &namespace, &name, metadata.uid.as_deref()))
            .collect(),
        events: known.events.iter().map(event).collect(),
        not_shown: known.not_shown.clone(),
        namespace,
        name,
        ..ClusterExplanation::default()
    };
    explanation.events.sort();
    explanation.not_shown.extend(forbidden(&answers));
    for (speaker, answer) in answers {
        let mut view = NodeView { node: speaker.node, ..NodeView::default() };
        match answer {
            Ok(said) => view.explanation = Some(Box::new(said)),
            Err(AskError::Forbidden(_)) => {}
            Err(error) => view.trouble = Some(error.to_string()),
        }
        explanation.nodes.push(view);
    }
    reported(&known.states, &mut explanation);
    explanation
}

/// Adds what speakers reported, for the nodes whose speakers say nothing now.
fn reported(states: &[SpeakerState], explanation: &mut ClusterExplanation) {
    let (namespace, name) = (explanation.namespace.clone(), explanation.name.clone());
    for state in states {
        let node = state.metadata.name.clone().unwrap_or_default();
        let of_service = state.status.iter().flat_map(|status| &status.exceptions);
        let exceptions: Vec<String> = of_service
            .filter(|exception| exception.namespace == namespace && exception.name == name)
            .map(|exception| format!("{}: {} ({})", exception.address, exception.message, exception.reason))
            .collect();
        let ranges = state.status.iter().flat_map(|status| &status.announced);
        let ranges: Vec<(IpAddr, IpAddr)> = ranges.filter_map(|range| ends(range)).collect();
        let among = |address: &&String| {
            let address = address.parse::<IpAddr>().ok();
            address.is_some_and(|address| {
                ranges.iter().any(|(first, last)| *first <= address && address <= *last)
            })
        };
        let announced: Vec<String> = explanation.addresses.iter().filter(among).cloned().collect();
        match explanation.nodes.iter_mut().find(|view| view.node == node) {
            Some(view) if view.explanation.is_none() => {
                (view.exceptions, view.announced) = (exceptions, announced)
            }
            Some(_) => {}
            None => {
                explanation.nodes.push(NodeView { node, exceptions, announced, ..NodeView::default() });
            }
        }
    }
    explanation.nodes.sort_by(|a, b| a.node.cmp(&b.node));
}

/// Both ends of one address or of `a-b`.
fn ends(range: &str) -> Option<(IpAddr, IpAddr)> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn not_served(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let type_ = spec.type_.as_deref().unwrap_or("ClusterIP");
    if type_ != "LoadBalancer" {
        return Some(format!("its type is {type_}; only Services of type LoadBalancer get an address"));
    }
    match spec.load_balancer_class.as_deref() {
        Some(class) if class != LOAD_BALANCER_CLASS => {
            Some(format!("its loadBalancerClass is {class}; Bellhop's is {LOAD_BALANCER_CLASS}"))
        }
        _ => None,
    }
}

fn claim(claim: &AddressClaim, namespace: &str, name: &str, uid: Option<&str>) -> Option<ClaimRow> {
    let holder =
        claim.spec.holders.iter().find(|holder| holder.namespace == namespace && holder.name == name)?;
    let decided = claim.spec.decided_by.as_ref().map(|by| match by.note.as_str() {
        "" => format!("policy {}", by.policy),
        note => format!("policy {}: {note}", by.policy),
    });
    Some(ClaimRow {
        address: claim.spec.address.clone(),
        pool: claim.spec.pool.clone(),
        holds: Some(holder.uid.as_str()) == uid,
        decided_by: decided,
    })
}

fn event(event: &Event) -> EventRow {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.clone());
    let last = series.or_else(|| event.event_time.clone()).map(|time| time.0.to_string());
    EventRow {
        last_seen: last
            .or_else(|| event.last_timestamp.as_ref().map(|time| time.0.to_string()))
            .unwrap_or_default(),
        type_: event.type_.clone().unwrap_or_default(),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
    }
}

/// An explanation as indented text.
pub fn table(explanation: &ClusterExplanation) -> String {
    let mut text = format!("Service {}/{}\n", explanation.namespace, explanation.name);
    if let Some(why) = &explanation.not_served {
        text += &format!("  not served by Bellhop: {why}\n");
    }
    let none = || "none".to_owned();
    let addresses = Some(&explanation.addresses)
        .filter(|list| !list.is_empty())
        .map_or_else(none, |list| list.join(", "));
    text += &format!("  addresses: {addresses}\n");
    text += "\nController\n";
    for condition in &explanation.conditions {
        let mut line = format!("  {}: {}", condition.type_, condition.status);
        if condition.status != "True" {
            line += &format!(" {}", condition.reason);
        }
        if !condition.message.is_empty() {
            line += &format!(": {}", condition.message);
        }
        text += &format!("{line}\n");
    }
    if explanation.conditions.is_empty() && explanation.not_served.is_none() {
        text += "  it has said nothing yet: does a controller run, and is the Service of its class?\n";
    }
    for claim in &explanation.claims {
        let pool = Some(&claim.pool).filter(|pool| !pool.is_empty());
        let pool = pool.map(|pool| format!(" from pool {pool}")).unwrap_or_default();
        let by = claim.decided_by.as_ref().map(|by| format!(", chosen by {by}")).unwrap_or_default();
        let stale = if claim.holds { "" } else { " for an earlier Service of this name" };
        text += &format!("  claim {}{pool}{by}{stale}\n", claim.address);
    }
    if !explanation.events.is_empty() {
        text += "\nEvents\n";
    }
    for event in &explanation.events {
        text += &format!("  {} {} {}: {}\n", event.last_seen, event.type_, event.reason, event.message);
    }
    for view in &explanation.nodes {
        text += &format!("\nNode {}\n", view.node);
        node(&mut text, view);
    }
    if !explanation.not_shown.is_empty() {
        text += "\nNot shown\n";
        text.extend(explanation.not_shown.iter().map(|line| format!("  {line}\n")));
    }
    text
}

fn node(text: &mut String, view: &NodeView) {
    if let Some(explanation) = &view.explanation {
        *text += &format!("  stands: {}\n", explanation.standing);
        let own = explanation.nodes.iter().find(|node| node.node == view.node);
        if let Some(own) = own {
            explain::verdict(text, "  ", own);
        }
        explain::routes(text, "  ", explanation);
        return;
    }
    if let Some(trouble) = &view.trouble {
        *text += &format!("  says nothing now: {trouble}\n");
    }
    for exception in &view.exceptions {
        *text += &format!("  reported: does not announce {exception}\n");
    }
    for address in &view.announced {
        *text += &format!("  reported: announces {address}\n");
    }
    if view.exceptions.is_empty() && view.announced.is_empty() {
        *text += "  reported nothing about this Service\n";
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::speakers::Speaker;

    fn known() -> Known {
        let state = |node: &str, status: serde_json::Value| {
            let object = json!({
                "apiVersion": "bellhop.dev/v1alpha1", "kind": "SpeakerState", "metadata": {"name": node},
                "spec": {}, "status": status,
            });
            serde_json::from_value(object).unwrap()
        };
        let silent = json!({"exceptions": [{
            "namespace": "web", "name": "shop", "address": "203.0.113.7", "reason": "NoLocalEndpoints",
            "message": "no endpoint is on this node",
        }]});
        Known {
            service: serde_json::from_value(json!({
                "metadata": {"namespace": "web", "name": "shop", "uid": "1"},
                "spec": {"type": "LoadBalancer", "loadBalancerClass": LOAD_BALANCER_CLASS},
                "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
            }))
            .unwrap(),
            states: vec![
                state("node-1", json!({"announced": ["203.0.113.5-203.0.113.9"]})),
                state("node-2", silent),
                state("node-3", json!({"announced": ["203.0.113.8"]})),
            ],
            ..Known::default()
        }
    }

    #[test]
    fn where_no_speaker_may_be_asked_its_report_says_what_it_announces_and_what_not() {
        let speaker = Speaker { node: "node-1".into(), pod: "x".into(), not_ready: None };
        let answers = vec![(speaker, Err(AskError::Forbidden("no exec".into())))];
        let text = table(&merge(&known(), answers));
        for part in [
            "Node node-1\n  reported: announces 203.0.113.7\n",
            "Node node-2\n  reported: does not announce 203.0.113.7: no endpoint is on this node (NoLocalEndpoints)\n",
            "Node node-3\n  reported nothing about this Service\n",
            "Not shown\n  what speakers say at this moment: no exec\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_service_that_bellhop_does_not_serve_is_told_why() {
        let mut known = known();
        known.service.spec.as_mut().unwrap().load_balancer_class = Some("example.com/other".into());
        let text = table(&merge(&known, Vec::new()));
        assert!(text.contains("not served by Bellhop: its loadBalancerClass is example.com/other"), "{text}");
    }
}
