//! One `route` decision by the shipped policy `peer-attributes`: on a fresh instance, on a reused one, from the memo,
//! and by the same logic without WebAssembly.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellhop_core::Decisions;
use bellhop_core::decision::{NodeFacts, RouteRequest, ServiceFacts};
use bellhop_core::labels::{Selector, labels};
use bellhop_core::names::NamespacedName;
use bellhop_core::objects::{
    BgpPeer, DecisionPolicy, FailurePolicy, FamilyPolicy, Hook, Initial, Node, Readiness, Service,
    TrafficPolicy,
};
use bellhop_core::peer::Neighbour;
use bellhop_core::route::{Community, Family, RouteAttributes};
use bellhop_policy_engine::Engine;
use bellhop_policy_engine::guest::{Guest, GuestError, GuestRoute, Noted, RouteQuestion};
use bellhop_sandbox::{CompilerCommand, Configured, Limits, SandboxGuest, load};
use sha2::{Digest, Sha256};

use crate::row::{Row, Unit, microseconds};

/// Calls of one form before the next form has its turn: all are measured under the same conditions, and one
/// instance answers so many calls before the SDK's heap, which frees nothing, would count.
const TURN: usize = 50;
/// Turns of each form.
const TURNS: usize = 200;
/// Turns that warm up caches and are not counted.
const WARM_UP: usize = 20;
/// Decisions of one batch of the memo's bench: what the planner asks in one slice.
const BATCH: usize = 128;

/// A table of a few rules, as an operator would write it; the third one matches the question.
pub const CONFIG: &str = r#"{"mode":"FirstMatch","rules":[
    {"name":"inside-only","when":{"serviceLabels":{"scope":"inside"},"session":"External"},"set":{"withhold":"inside only"}},
    {"name":"gold-transit","when":{"serviceLabels":{"tier":"gold"},"peerLabels":{"role":"transit"}},"set":{"communities":["64500:110"],"med":10}},
    {"name":"edge","when":{"peerLabels":{"role":"edge"},"nodeLabels":{"topology.kubernetes.io/zone":"*"}},"set":{"communities":["64500:100","no-export"],"largeCommunities":["64500:1:2"],"med":50,"prepend":2}},
    {"name":"fabric","when":{"session":"Internal"},"set":{"localPreference":200}}]}"#;

/// The shipped policy as a module: as `make` built it from the source, else the committed fixture of it.
pub fn module_path() -> PathBuf {
    let built =
        std::env::var_os("BELLHOP_PLUGINS").map(|folder| PathBuf::from(folder).join("peer-attributes.wasm"));
    let fixture = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/fixtures/peer-attributes.wasm");
    built.filter(|path| path.exists()).unwrap_or_else(fixture)
}

/// The guest, loaded as the speaker loads it.
///
/// # Errors
/// When the module or the compiler is missing, or the sandbox refuses the module.
pub fn guest(compiler: &Path) -> Result<SandboxGuest> {
    let path = module_path();
    let module = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let sha256: String = Sha256::digest(&module).iter().map(|byte| format!("{byte:02x}")).collect();
    let loaded = load(&module, &sha256, &CONFIG.into(), Limits::default(), &CompilerCommand::new(compiler))?;
    Ok(loaded.guest)
}

/// Measures.
///
/// # Errors
/// As [`guest`], or when an answer is not what the native one is.
pub fn run(compiler: &Path) -> Result<Vec<Row>> {
    let guest = guest(compiler)?;
    let question = question()?;
    let settings = peer_attributes::Plugin::settings(CONFIG).map_err(anyhow::Error::msg)?;
    let request = native_request();
    let answers = (guest.route(&question).result?, native(&settings, &request)?);
    ensure!(answers.0 == answers.1, "the sandbox and the native code differ: {answers:?}");

    let Times { fresh, reused, reused_configured } = fresh_and_reused(&guest, &question)?;
    let fresh =
        Row::of("decision", "route, fresh instance", Unit::Microseconds, microseconds(&fresh)).at_most(25.0);
    let reused = Row::of(
        "decision",
        "route, reused instance, configured and asked each time, as a call",
        Unit::Microseconds,
        microseconds(&reused),
    );
    let reused_configured = Row::of(
        "decision",
        "route, reused instance, configured once, only asked",
        Unit::Microseconds,
        microseconds(&reused_configured),
    );
    let over =
        |what: &str, reused: &Row| Row::of("decision", what, Unit::Ratio, vec![fresh.median / reused.median]);
    let ratio = over("fresh over reused, both configured and asked", &reused).at_most(2.5);
    let uneven = over("fresh, configured and asked, over reused, only asked", &reused_configured);
    let (one, batch) = memoised(guest)?;
    let memo = |what: &str, times: &[f64]| {
        Row::of("decision", what, Unit::Microseconds, times.to_vec()).at_most(1.0)
    };
    let native_times = timed(|| native(&settings, &request).map(drop))?;
    let configured = timed(|| {
        let settings = peer_attributes::Plugin::settings(black_box(CONFIG)).map_err(anyhow::Error::msg)?;
        native(&settings, &request).map(drop)
    })?;
    Ok(vec![
        fresh,
        reused,
        ratio,
        reused_configured,
        uneven,
        memo("route, memoised, asked one by one", &one),
        memo(&format!("route, memoised, each of a batch of {BATCH}"), &batch),
        Row::of("decision", "route, the same logic native", Unit::Microseconds, microseconds(&native_times)),
        Row::of(
            "decision",
            "route, the same logic native, settings read each time",
            Unit::Microseconds,
            microseconds(&configured),
        ),
    ])
}

/// Times of one call in each form.
#[derive(Default)]
struct Times {
    /// A fresh instance is made, configured and asked.
    fresh: Vec<Duration>,
    /// A reused instance is configured and asked: the same work but for the instance.
    reused: Vec<Duration>,
    /// A reused instance is asked.
    reused_configured: Vec<Duration>,
}

/// Times of all forms, turn by turn. Each turn of a reused form has an instance of its own, made outside of what is
/// timed.
fn fresh_and_reused(guest: &SandboxGuest, question: &RouteQuestion) -> Result<Times> {
    let mut all = Times::default();
    for turn in 0..WARM_UP + TURNS {
        let mut times = Vec::with_capacity(TURN);
        for _ in 0..TURN {
            let begin = Instant::now();
            let called = guest.route(black_box(question));
            times.push(begin.elapsed());
            called.result?;
        }
        let reused = guest.reusing_one_instance(Configured::EachTime, |ask| turn_of(ask, question))?;
        let configured = guest.reusing_one_instance(Configured::Once, |ask| turn_of(ask, question))?;
        if turn >= WARM_UP {
            all.fresh.extend(times);
            all.reused.extend(reused);
            all.reused_configured.extend(configured);
        }
    }
    Ok(all)
}

/// What asks one question of an instance.
type Ask<'a> = &'a mut dyn FnMut(&RouteQuestion) -> Result<Noted<GuestRoute>, GuestError>;

fn turn_of(ask: Ask<'_>, question: &RouteQuestion) -> Result<Vec<Duration>, GuestError> {
    let mut times = Vec::with_capacity(TURN);
    for _ in 0..TURN {
        let begin = Instant::now();
        let answer = ask(black_box(question));
        times.push(begin.elapsed());
        answer?;
    }
    Ok(times)
}

/// Times of a call that is too short to be timed alone, each the mean of a turn.
fn timed(call: impl Fn() -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(TURNS);
    for turn in 0..WARM_UP + TURNS {
        let begin = Instant::now();
        for _ in 0..TURN {
            call()?;
        }
        if turn >= WARM_UP {
            times.push(begin.elapsed() / TURN as u32);
        }
    }
    Ok(times)
}

/// Microseconds of one decision that the engine remembers: asked alone, and within a batch.
fn memoised(guest: SandboxGuest) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut engine = Engine::new();
    engine.set(Arc::new(policy(&guest)), Arc::new(guest))?;
    let requests = vec![core_request(); BATCH];
    let (mut one, mut batch) = (Vec::new(), Vec::new());
    for turn in 0..WARM_UP + TURNS {
        let begin = Instant::now();
        for request in &requests {
            black_box(engine.routes(std::slice::from_ref(black_box(request))));
        }
        let alone = begin.elapsed();
        let begin = Instant::now();
        black_box(engine.routes(black_box(&requests)));
        let together = begin.elapsed();
        if turn >= WARM_UP {
            one.push(alone.as_secs_f64() * 1e6 / BATCH as f64);
            batch.push(together.as_secs_f64() * 1e6 / BATCH as f64);
        }
    }
    let calls = engine.counters("peer-attributes").map_or(0, |counters| counters.calls);
    ensure!(
        calls == 1,
        "the memo was to answer all but the first question, and the guest was asked {calls} times"
    );
    Ok((one, batch))
}

fn policy(guest: &SandboxGuest) -> DecisionPolicy {
    DecisionPolicy {
        name: "peer-attributes".into(),
        hook: Hook::Route,
        config_map: "peer-attributes".into(),
        module_key: "module.wasm".into(),
        sha256: guest.digest().clone(),
        config: CONFIG.into(),
        service_selector: None,
        namespace_selector: None,
        node_selector: None,
        peer_selector: None,
        priority: 0,
        failure_policy: FailurePolicy::KeepLast,
        initial: Initial::UseDefault,
        min_eligible: 1,
        fuel: None,
        memory: None,
    }
}

/// What the policy is shown of [`core_request`].
fn question() -> Result<RouteQuestion> {
    Ok(serde_json::from_value(serde_json::json!({
        "service": {"labels": [["tier", "gold"]]},
        "family": "IPv4",
        "pool": "public",
        "node": {"labels": [["topology.kubernetes.io/zone", "a"]]},
        "peer": {"labels": [["role", "edge"]], "peerAsn": 64496, "localAsn": 64500},
        "defaults": {"communities": ["64500:1"]},
    }))?)
}

/// The same in the SDK's terms.
fn native_request() -> bellhop_policy::RouteRequest {
    use bellhop_policy::{Attributes, Family, Node, Peer, RouteRequest, Service, SessionType};
    let pairs = |key: &str, value: &str| bellhop_policy::pairs([(key, value)]);
    let defaults =
        Attributes { communities: vec![bellhop_policy::Community(64500 << 16 | 1)], ..Attributes::default() };
    RouteRequest {
        service: Service { labels: pairs("tier", "gold"), ..Service::default() },
        family: Family::Ipv4,
        pool: Some("public".into()),
        node: Node { labels: pairs("topology.kubernetes.io/zone", "a"), ..Node::default() },
        peer: Peer {
            labels: pairs("role", "edge"),
            peer_asn: 64496,
            local_asn: 64500,
            session: SessionType::External,
            ..Peer::default()
        },
        defaults: defaults.into(),
        ..RouteRequest::default()
    }
}

/// The policy's own function, its answer in the host's terms.
fn native(
    settings: &peer_attributes::Settings,
    request: &bellhop_policy::RouteRequest,
) -> Result<Noted<GuestRoute>> {
    use bellhop_core::route::LargeCommunity;
    let decision = peer_attributes::route(settings, black_box(request)).map_err(anyhow::Error::msg)?;
    let answer = decision.answer.map(|route| match route {
        bellhop_policy::Route::Withhold(reason) => GuestRoute::Withhold(reason.into()),
        bellhop_policy::Route::Advertise(given) => GuestRoute::Advertise(
            RouteAttributes {
                communities: given.communities.iter().map(|community| Community(community.0)).collect(),
                large_communities: given
                    .large_communities
                    .iter()
                    .map(|large| LargeCommunity {
                        global: large.global,
                        local1: large.local1,
                        local2: large.local2,
                    })
                    .collect(),
                extended_communities: given.extended_communities,
                local_preference: given.local_preference,
                med: given.med,
                prepend: given.prepend,
                link_bandwidth: given.link_bandwidth,
                next_hop: given.next_hop,
            }
            .normalised(),
        ),
    });
    Ok(Noted { answer, note: decision.note.map(Into::into) })
}

/// The question as the planner asks it.
fn core_request() -> RouteRequest {
    let none = || labels::<&str, &str>([]);
    let service = Service {
        key: NamespacedName::new("shop", "web"),
        uid: "uid".into(),
        labels: labels([("app", "web"), ("tier", "gold")]),
        annotations: none(),
        created: 0,
        deleting: false,
        wants_address: true,
        families: vec![Family::Ipv4],
        family_policy: FamilyPolicy::SingleStack,
        requested_addresses: Vec::new(),
        requested_pool: None,
        sharing_key: None,
        traffic_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        published: Vec::new(),
        ports: Vec::new(),
    };
    let node = Node {
        name: "node-1".into(),
        labels: labels([("kubernetes.io/hostname", "node-1"), ("topology.kubernetes.io/zone", "a")]),
        annotations: none(),
        taints: Vec::new(),
        unschedulable: false,
        ready: Readiness::Ready,
        network_unavailable: false,
        deleting: false,
        addresses: Vec::new(),
    };
    let peer = BgpPeer {
        name: "router-a".into(),
        labels: labels([("role", "edge")]),
        neighbour: Neighbour::Address([192, 0, 2, 1].into()),
        port: 179,
        asn: 64496.into(),
        local_asn: None,
        source_address: None,
        source_interface: None,
        node_selector: Selector::default(),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry_time: Duration::from_secs(5),
        ebgp_multihop: None,
        ttl_security: None,
        password_secret: None,
        password: None,
        redirect_port: None,
        passive: false,
        families: Family::ALL.to_vec(),
        next_hop_v4: None,
        next_hop_v6: None,
        extended_next_hop: false,
        role: None,
        bfd: None,
        prefix_limit: None,
        graceful_restart: None,
        restart_after_notifications: false,
        shutdown_text: None,
        log_messages: false,
    };
    RouteRequest {
        service: ServiceFacts { service: Arc::new(service), namespace_labels: none() },
        address: [203, 0, 113, 7].into(),
        pool: Some("public".into()),
        node: NodeFacts { node: Arc::new(node), local_endpoints: 1, can_announce: true },
        peer: Arc::new(peer),
        local_asn: 64500,
        defaults: Arc::new(RouteAttributes {
            communities: vec![Community(64500 << 16 | 1)],
            ..Default::default()
        }),
    }
}
