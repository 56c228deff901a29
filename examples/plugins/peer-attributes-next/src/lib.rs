//! The next version of `peer-attributes`, as its users could write it: the same table, and a stamp on every route that the
//! table decides, so that a looking glass shows which routes a policy has gone over.
//!
//! `make demo` swaps it in for the shipped version while routes stand.

use bellhop_policy::{Community, Decision, Route, RouteRequest, plugin};
use peer_attributes::{Mode, Rule};

bellhop_policy::settings! {
    /// Which attributes routes get.
    #[derive(Debug)]
    pub struct Settings {
        /// What happens where several rules match.
        pub mode: Mode = Mode::FirstMatch,
        /// The table, as in version 0.1.0.
        pub rules: Vec<Rule>,
        /// New in version 0.2.0: a community on every route that the table decides.
        pub stamp: Option<Community>,
    }
}

/// The attributes that the table gives, and the stamp.
///
/// # Errors
/// None; the signature is the SDK's.
pub fn route(settings: &Settings, request: &RouteRequest) -> Result<Decision<Route>, String> {
    let mut decision = peer_attributes::decide(&settings.mode, &settings.rules, request);
    if let (Some(Route::Advertise(attributes)), Some(stamp)) = (&mut decision.answer, &settings.stamp) {
        attributes.communities.push(*stamp);
        let note = decision.note.unwrap_or_default();
        decision.note = Some(format!("{note}, stamped {stamp}"));
    }
    Ok(decision)
}

fn validate(settings: &Settings) -> Result<(), String> {
    peer_attributes::validate_rules(&settings.rules)
}

plugin! {
    name: "peer-attributes",
    settings: Settings,
    validate: validate,
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
            name: "a route that the table decides is stamped",
            config: r#"{"stamp": "64500:2026", "rules": [{"when": {}, "set": {"med": 50}}]}"#,
            hook: Route,
            request: r#"{"service": {}, "family": "IPv4", "node": {}, "peer": {"peerAsn": 65001, "localAsn": 65000}}"#,
            expect: r#"{"advertise": {"communities": ["64500:2026"], "med": 50}}"#,
        },
        {
            name: "a route that the table leaves alone is not",
            config: r#"{"stamp": "64500:2026", "rules": []}"#,
            hook: Route,
            request: r#"{"service": {}, "family": "IPv4", "node": {}, "peer": {}}"#,
            expect: r#""useDefault""#,
        },
    ],
}
