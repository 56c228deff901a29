//! A guest made of plain functions, with planted failures and a count of its calls; and objects to ask about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellhop_core::decision::{AddressDecision, NodeFacts, NodesRequest, RouteRequest, ServiceFacts};
use bellhop_core::labels::{Labels, labels};
use bellhop_core::names::ServiceKey;
use bellhop_core::objects::{
    BgpPeer, DecisionPolicy, FamilyPolicy, Hook, Node, Readiness, Service, TrafficPolicy,
};
use bellhop_core::peer::Neighbour;
use bellhop_core::route::RouteAttributes;

use crate::guest::{
    AddressQuestion, Called, Cost, Guest, GuestError, GuestRoute, GuestVerdict, Inputs, Metadata, NodeView,
    NodesQuestion, Noted, RouteQuestion,
};

type Answer<Q, A> = Box<dyn Fn(&Q) -> Result<A, GuestError> + Send + Sync>;

pub(crate) struct Fake {
    metadata: Metadata,
    digest: Arc<str>,
    route: Answer<RouteQuestion, Noted<GuestRoute>>,
    node: Answer<NodeView, Noted<GuestVerdict>>,
    address: Answer<AddressQuestion, Noted<AddressDecision>>,
    pub(crate) calls: AtomicU64,
    pub(crate) asked: std::sync::Mutex<Vec<serde_json::Value>>,
}

pub(crate) fn digest(sha: char) -> Arc<str> {
    sha.to_string().repeat(64).into()
}

pub(crate) fn trap() -> GuestError {
    GuestError::Trap("unreachable".into())
}

pub(crate) fn use_default<A>() -> Noted<A> {
    Noted { answer: None, note: None }
}

pub(crate) fn said<A>(answer: A, note: &str) -> Noted<A> {
    Noted { answer: Some(answer), note: (!note.is_empty()).then(|| note.into()) }
}

/// Attributes that carry one number.
pub(crate) fn med(med: u32) -> RouteAttributes {
    RouteAttributes { med: Some(med), ..Default::default() }
}

impl Fake {
    /// Says `use-default` to everything and reads nothing.
    pub(crate) fn new(sha: char) -> Self {
        Self {
            metadata: Metadata {
                name: "fake".into(),
                version: "1.0.0".into(),
                sdk: "0.1.0".into(),
                hooks: [Hook::Address, Hook::Nodes, Hook::Route].into(),
                inputs: Inputs::default(),
                config_schema: serde_json::Value::Null,
                self_tests: Vec::new(),
            },
            digest: digest(sha),
            route: Box::new(|_| Ok(use_default())),
            node: Box::new(|_| Ok(use_default())),
            address: Box::new(|_| Ok(use_default())),
            calls: AtomicU64::new(0),
            asked: Default::default(),
        }
    }

    pub(crate) fn reads(mut self, declare: impl FnOnce(&mut Inputs)) -> Self {
        declare(&mut self.metadata.inputs);
        self
    }

    pub(crate) fn hooks(mut self, hooks: impl IntoIterator<Item = Hook>) -> Self {
        self.metadata.hooks = hooks.into_iter().collect();
        self
    }

    pub(crate) fn route(
        mut self,
        answer: impl Fn(&RouteQuestion) -> Result<Noted<GuestRoute>, GuestError> + Send + Sync + 'static,
    ) -> Self {
        self.route = Box::new(answer);
        self
    }

    /// Judges each node for itself; where one fails, the call fails.
    pub(crate) fn node(
        mut self,
        answer: impl Fn(&NodeView) -> Result<Noted<GuestVerdict>, GuestError> + Send + Sync + 'static,
    ) -> Self {
        self.node = Box::new(answer);
        self
    }

    pub(crate) fn address(
        mut self,
        answer: impl Fn(&AddressQuestion) -> Result<Noted<AddressDecision>, GuestError> + Send + Sync + 'static,
    ) -> Self {
        self.address = Box::new(answer);
        self
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn called<T>(&self, question: &impl serde::Serialize, result: Result<T, GuestError>) -> Called<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.asked.lock().unwrap().push(serde_json::to_value(question).unwrap());
        Called {
            result,
            cost: Cost { fuel: 1000, cpu_nanos: 10, memory: 65536 },
            log: vec![("info", "asked".into())],
        }
    }
}

impl Guest for Fake {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    fn configure(&self) -> Called<()> {
        self.called(&(), Ok(()))
    }

    fn address(&self, question: &AddressQuestion) -> Called<Noted<AddressDecision>> {
        self.called(question, (self.address)(question))
    }

    fn nodes(&self, question: &NodesQuestion) -> Called<Vec<Noted<GuestVerdict>>> {
        self.called(question, question.nodes.iter().map(|node| (self.node)(node)).collect())
    }

    fn route(&self, question: &RouteQuestion) -> Called<Noted<GuestRoute>> {
        self.called(question, (self.route)(question))
    }
}

pub(crate) fn policy(name: &str, hook: Hook, sha: char) -> DecisionPolicy {
    DecisionPolicy {
        name: name.into(),
        hook,
        config_map: "plugins".into(),
        module_key: "module.wasm".into(),
        sha256: digest(sha),
        config: "{}".into(),
        service_selector: None,
        namespace_selector: None,
        node_selector: None,
        peer_selector: None,
        priority: 0,
        failure_policy: Default::default(),
        initial: Default::default(),
        min_eligible: 1,
        fuel: None,
        memory: None,
    }
}

pub(crate) fn service(namespace: &str, name: &str, pairs: &[(&str, &str)]) -> ServiceFacts {
    ServiceFacts {
        service: Arc::new(Service {
            key: ServiceKey::new(namespace, name),
            uid: format!("{namespace}-{name}").into(),
            labels: labels(pairs.iter().copied()),
            annotations: labels([("note", "x")]),
            created: 0,
            deleting: false,
            wants_address: true,
            families: vec![bellhop_core::Family::Ipv4],
            family_policy: FamilyPolicy::SingleStack,
            requested_addresses: Vec::new(),
            requested_pool: None,
            sharing_key: None,
            traffic_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
            published: Vec::new(),
            ports: Vec::new(),
        }),
        namespace_labels: labels([("team", namespace)]),
    }
}

pub(crate) fn node(name: &str, pairs: &[(&str, &str)]) -> NodeFacts {
    node_with(name, labels(pairs.iter().copied()), Readiness::Ready)
}

pub(crate) fn node_with(name: &str, labels: Labels, ready: Readiness) -> NodeFacts {
    let empty = bellhop_core::labels::labels::<&str, &str>([]);
    NodeFacts {
        node: Arc::new(Node {
            name: name.into(),
            labels,
            annotations: empty,
            taints: Vec::new(),
            unschedulable: false,
            ready,
            network_unavailable: false,
            deleting: false,
            addresses: Vec::new(),
        }),
        local_endpoints: 3,
        can_announce: true,
    }
}

pub(crate) fn peer(name: &str, asn: u32) -> Arc<BgpPeer> {
    Arc::new(BgpPeer {
        name: name.into(),
        labels: labels([("rack", name)]),
        neighbour: Neighbour::Address([192, 0, 2, 1].into()),
        redirect_port: None,
        port: 179,
        asn: asn.into(),
        local_asn: None,
        source_address: None,
        source_interface: None,
        node_selector: Default::default(),
        hold_time: std::time::Duration::from_secs(90),
        keepalive_time: None,
        connect_retry_time: std::time::Duration::from_secs(5),
        ebgp_multihop: None,
        ttl_security: None,
        password_secret: None,
        password: None,
        passive: false,
        families: bellhop_core::Family::ALL.to_vec(),
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
    })
}

pub(crate) fn route(service: &ServiceFacts, node: &NodeFacts, peer: &Arc<BgpPeer>) -> RouteRequest {
    RouteRequest {
        service: service.clone(),
        address: [203, 0, 113, 7].into(),
        pool: Some("public".into()),
        node: node.clone(),
        peer: peer.clone(),
        local_asn: 64512,
        defaults: Arc::new(med(1)),
    }
}

pub(crate) fn nodes(service: &ServiceFacts, nodes: Vec<NodeFacts>) -> NodesRequest {
    NodesRequest { service: service.clone(), nodes }
}
