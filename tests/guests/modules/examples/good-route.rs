//! A good `route` guest: it reads every input, and each kind of answer can be had from it by Service label `answer`.

use bellhop_policy::{
    Attributes, Community, Decision, LargeCommunity, Route, RouteRequest, SessionType, log, plugin, settings,
};

settings! {
    /// What the guest answers with.
    pub struct Settings {
        /// Community added to those of the Advertisement.
        pub community: Community = Community(65000 << 16 | 100),
        /// Local preference for internal peers.
        pub local_preference: u32 = 200,
        /// Prepend for peers whose label `tier` is `transit`.
        pub transit_prepend: u8 = 2,
    }
}

fn route(settings: &Settings, request: &RouteRequest) -> Result<Decision<Route>, String> {
    match request.service.label("answer") {
        Some("use-default") => return Ok(Decision::use_default().with_note("asked to")),
        Some("withhold") => {
            return Ok(Decision::of(Route::Withhold("asked to".into())).with_note("label answer"));
        }
        Some("error") => return Err("asked to fail".into()),
        Some("log") => log!(Info, "asked about {}", request.address.as_deref().unwrap_or("an address")),
        _ => {}
    }
    let mut attributes: Attributes = request.default_attributes();
    attributes.communities.push(settings.community);
    if let Some(zone) = request.node.label("zone").and_then(|zone| zone.parse().ok()) {
        attributes.large_communities.push(LargeCommunity {
            global: request.peer.local_asn,
            local1: 1,
            local2: zone,
        });
    }
    if request.peer.session == SessionType::Internal {
        attributes.local_preference = Some(settings.local_preference);
    }
    if request.peer.label("tier") == Some("transit") {
        attributes.prepend = settings.transit_prepend;
    }
    attributes.link_bandwidth =
        Some(u64::from(request.node.local_endpoints) * 125_000_000).filter(|bytes| *bytes > 0);
    let note = format!(
        "{} from pool {}, node {}, peer {}",
        request.family,
        request.pool.as_deref().unwrap_or("none"),
        request.node.name.as_deref().unwrap_or("unknown"),
        request.peer.name.as_deref().unwrap_or("unknown"),
    );
    Ok(Decision::of(Route::Advertise(attributes)).with_note(note))
}

plugin! {
    name: "good-route",
    settings: Settings,
    hooks: { route: route },
    inputs: {
        service_labels: ["answer"],
        node_labels: ["zone"],
        peer_labels: ["tier"],
        node_identity: true,
        peer_identity: true,
        local_endpoints: true,
        address: true,
        pool: true,
        session: true,
    },
    self_tests: [
        {
            name: "a withheld route is withheld",
            config: "{}",
            hook: Route,
            request: r#"{"service": {"labels": [["answer", "withhold"]]}, "family": "IPv4", "node": {}, "peer": {}}"#,
            expect: r#"{"withhold": "asked to"}"#,
        },
        {
            name: "the community of the settings is added",
            config: r#"{"community": "65000:7"}"#,
            hook: Route,
            request: r#"{"service": {}, "family": "IPv6", "node": {}, "peer": {"peerAsn": 65001, "localAsn": 65000}}"#,
            expect: r#"{"advertise": {"communities": ["65000:7"]}}"#,
        },
    ],
}
