//! `bellhop explain`: how decisions came about, for people.

use bellhop_core::decision::{ConsultOutcome, Consulted};
use bellhop_core::report::{NodeExplanation, PeerExplanation, Question, ServiceExplanation};

use crate::routes::attributes;
use crate::status::condition;

/// The question about `service/NAMESPACE/NAME`.
///
/// # Errors
/// In words, where it is something else.
pub fn question(object: &str) -> Result<Question, String> {
    service(object)
        .map(|(namespace, name)| Question::ExplainService { namespace: namespace.into(), name: name.into() })
}

/// Namespace and name of `service/NAMESPACE/NAME`.
///
/// # Errors
/// In words, where it is something else.
pub fn service(object: &str) -> Result<(&str, &str), String> {
    match object.split('/').collect::<Vec<_>>().as_slice() {
        ["service" | "svc" | "services", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace, name))
        }
        _ => Err(format!(
            "cannot explain \"{object}\": it is to be service/NAMESPACE/NAME, as service/web/shop"
        )),
    }
}

/// An explanation as indented text.
pub fn table(explanation: &ServiceExplanation) -> String {
    let mut text = format!(
        "Service {}/{} as node {} sees it\n",
        explanation.namespace, explanation.name, explanation.node
    );
    let endpoints: Vec<String> =
        explanation.endpoints.iter().map(|(family, count)| format!("{family} {count}")).collect();
    text += &format!(
        "  externalTrafficPolicy {}; endpoints that take traffic: {}\n",
        explanation.traffic_policy,
        endpoints.join(", ")
    );
    text += "\nAddress\n";
    if let Some(allocated) = &explanation.allocation.condition {
        text += &format!("  Allocated: {}\n", condition(allocated));
    }
    for step in &explanation.allocation.steps {
        text += &format!("  {step}\n");
    }
    if !explanation.allocation.policies.is_empty() {
        trail(&mut text, "  ", &explanation.allocation.policies);
    }
    for (address, by) in &explanation.allocation.decided_by {
        text += &format!("  {address} chosen by {by}\n");
    }
    text += &format!("\nNodes (this node: {})\n", explanation.standing);
    for node in &explanation.nodes {
        verdict(&mut text, "  ", node);
    }
    routes(&mut text, "", explanation);
    text
}

/// What was decided about a node.
pub(crate) fn verdict(text: &mut String, indent: &str, node: &NodeExplanation) {
    let reason = node.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    *text += &format!("{indent}{}: {}{reason}\n", node.node, node.verdict);
    trail(text, &format!("{indent}  "), &node.policies);
}

/// What each peer hears of each address.
pub(crate) fn routes(text: &mut String, indent: &str, explanation: &ServiceExplanation) {
    for address in &explanation.addresses {
        let pool = address.pool.as_ref().map(|pool| format!(" from pool {pool}")).unwrap_or_default();
        let apart = if indent.is_empty() { "\n" } else { indent };
        *text += &format!("{apart}Routes of {}{pool}\n", address.address);
        if let Some(obstacle) = &address.obstacle {
            *text += &format!("{indent}  not announced: {}: {}\n", obstacle.reason, obstacle.message);
        }
        for peer in &address.peers {
            let by = peer
                .advertisement
                .as_ref()
                .map(|name| format!(" (Advertisement {name})"))
                .unwrap_or_default();
            let heard = heard(peer);
            *text += &format!("{indent}  {}{by}: {heard}\n", peer.peer);
            if let Some(prefix) = peer.outside_pool {
                *text += &format!(
                    "{indent}    by its host route, as {prefix} would reach outside of the pool (AggregateOutsidePool)\n"
                );
            }
            trail(text, &format!("{indent}    "), &peer.policies);
        }
    }
}

/// What a peer hears of an address: the routes that carry it, with their attributes.
fn heard(peer: &PeerExplanation) -> String {
    let mut routes = Vec::new();
    if let Some(aggregate) = &peer.aggregate {
        let (prefix, sent) = (aggregate.prefix, attributes(&aggregate.attributes));
        let by = Some(&aggregate.advertisement).filter(|by| Some(*by) != peer.advertisement.as_ref());
        let by = by.map(|by| format!(", attributes of Advertisement {by}")).unwrap_or_default();
        routes.push(format!("aggregate {prefix} {sent}{by}"));
    }
    if let Some(sent) = &peer.attributes {
        let beside = if routes.is_empty() { "" } else { "host route " };
        routes.push(format!("{beside}{}", attributes(sent)));
    }
    match (routes.is_empty(), &peer.why_not) {
        (true, why) => format!("not announced: {}", why.as_deref().unwrap_or("see above")),
        (false, None) => routes.join("; "),
        (false, Some(why)) => format!("{} until it is withdrawn: {why}", routes.join("; ")),
    }
}

fn trail(text: &mut String, indent: &str, asked: &[Consulted]) {
    if asked.is_empty() {
        *text += &format!("{indent}no policy asked: built-in decision\n");
    }
    for consulted in asked {
        let outcome = match consulted.outcome {
            ConsultOutcome::Decided => "decided",
            ConsultOutcome::UseDefault => "left it to the next",
            ConsultOutcome::KeptLast => "failed; its last decision was kept",
            ConsultOutcome::FailedUseDefault => "failed; the next decides",
            ConsultOutcome::FailedWithhold => "failed; withheld",
        };
        let digest: String = consulted.digest.chars().take(12).collect();
        let note = consulted.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        *text += &format!("{indent}policy {} ({digest}) {outcome}{note}\n", consulted.policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_explained_is_refused_with_the_right_form() {
        assert!(question("service/web/shop").is_ok());
        for wrong in ["shop", "service/web", "pod/web/shop", "service//shop"] {
            let message = question(wrong).unwrap_err();
            assert!(message.contains(wrong) && message.contains("service/NAMESPACE/NAME"), "{message}");
        }
    }
}
