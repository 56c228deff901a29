//! `peer-attributes`: a table of rules from labels of Service, node and peer to route attributes.
//!
//! See `README.md` for the settings with examples.

mod settings;

pub use settings::{Mode, Rule, Session, Set, Settings, When, validate_rules};

use bellhop_policy::{Attributes, Decision, Pair, Route, RouteRequest, SessionType, value_of};

/// What stands for any value of a label.
const ANY: &str = "*";

/// The attributes that the matching rules give, on top of the Advertisement's; use-default where none matches.
///
/// # Errors
/// None; the signature is the SDK's.
pub fn route(settings: &Settings, request: &RouteRequest) -> Result<Decision<Route>, String> {
    Ok(decide(&settings.mode, &settings.rules, request))
}

/// The same for a table that is part of other settings.
pub fn decide(mode: &Mode, rules: &[Rule], request: &RouteRequest) -> Decision<Route> {
    let matching = rules.iter().enumerate().filter(|(_, rule)| matches(&rule.when, request));
    let taken = match mode {
        Mode::FirstMatch => 1,
        Mode::Merge => usize::MAX,
    };
    let mut attributes = request.default_attributes();
    let mut names = Vec::new();
    for (index, rule) in matching.take(taken) {
        let name = rule.name.clone().unwrap_or_else(|| format!("rules[{index}]"));
        if let Some(reason) = &rule.set.withhold {
            return Decision::of(Route::Withhold(reason.clone())).with_note(format!("rule {name}"));
        }
        apply(&rule.set, &mut attributes);
        names.push(name);
    }
    if names.is_empty() {
        return Decision::use_default().with_note("no rule matches");
    }
    let rules = if names.len() == 1 { "rule" } else { "rules" };
    Decision::of(Route::Advertise(attributes)).with_note(format!("{rules} {}", names.join(", ")))
}

fn matches(when: &When, request: &RouteRequest) -> bool {
    let all = |wanted: &std::collections::BTreeMap<String, String>, labels: &[Pair]| {
        wanted
            .iter()
            .all(|(key, value)| value_of(labels, key).is_some_and(|label| value == ANY || value == label))
    };
    let session = when.session.as_ref().is_none_or(|session| match session {
        Session::External => request.peer.session == SessionType::External,
        Session::Internal => request.peer.session == SessionType::Internal,
    });
    session
        && all(&when.service_labels, &request.service.labels)
        && all(&when.service_annotations, &request.service.annotations)
        && all(&when.namespace_labels, &request.service.namespace_labels)
        && all(&when.node_labels, &request.node.labels)
        && all(&when.peer_labels, &request.peer.labels)
        && (when.pools.is_empty() || request.pool.as_ref().is_some_and(|pool| when.pools.contains(pool)))
}

/// Lists are added to, single values replaced.
fn apply(set: &Set, attributes: &mut Attributes) {
    if set.replace_communities {
        attributes.communities.clear();
        attributes.large_communities.clear();
    }
    attributes.communities.extend(&set.communities);
    attributes.large_communities.extend(&set.large_communities);
    attributes.local_preference = set.local_preference.or(attributes.local_preference);
    attributes.med = set.med.or(attributes.med);
    if let Some(prepend) = set.prepend {
        attributes.prepend = prepend.get() as u8;
    }
    attributes.link_bandwidth = set.link_bandwidth.or(attributes.link_bandwidth);
}

#[cfg(feature = "plugin")]
bellhop_policy::plugin! {
    name: "peer-attributes",
    settings: Settings,
    validate: settings::validate,
    hooks: { route: route },
    inputs: {
        session: true,
        pool: true,
        from_config: {
            service_labels: "/rules/*/when/serviceLabels",
            service_annotations: "/rules/*/when/serviceAnnotations",
            namespace_labels: "/rules/*/when/namespaceLabels",
            node_labels: "/rules/*/when/nodeLabels",
            peer_labels: "/rules/*/when/peerLabels",
        },
    },
    self_tests: [
        {
            name: "the first rule that matches decides",
            config: r#"{"rules": [
                {"when": {"peerLabels": {"tier": "transit"}}, "set": {"prepend": 2, "communities": ["no-export"]}},
                {"when": {}, "set": {"med": 50}}
            ]}"#,
            hook: Route,
            request: r#"{"service": {}, "family": "IPv4", "node": {}, "peer": {"labels": [["tier", "transit"]], "peerAsn": 65001, "localAsn": 65000}}"#,
            expect: r#"{"advertise": {"communities": ["no-export"], "prepend": 2}}"#,
        },
        {
            name: "a rule can withhold",
            config: r#"{"rules": [{"when": {"session": "External", "serviceLabels": {"scope": "inside"}}, "set": {"withhold": "inside only"}}]}"#,
            hook: Route,
            request: r#"{"service": {"labels": [["scope", "inside"]]}, "family": "IPv6", "node": {}, "peer": {"peerAsn": 65001, "localAsn": 65000}}"#,
            expect: r#"{"withhold": "inside only"}"#,
        },
        {
            name: "without a match the built-in answer stays",
            config: r#"{"rules": [{"when": {"nodeLabels": {"rack": "*"}}, "set": {"med": 50}}]}"#,
            hook: Route,
            request: r#"{"service": {}, "family": "IPv4", "node": {}, "peer": {}}"#,
            expect: r#""useDefault""#,
        },
    ],
}

#[cfg(test)]
#[cfg(feature = "plugin")]
mod tests;
