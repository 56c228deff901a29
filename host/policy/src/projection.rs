//! From whole objects to what a plugin is shown: only what its metadata declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use bellhop_core::decision::{AddressRequest, NodeFacts, NodesRequest, PoolFacts, ServiceFacts};
use bellhop_core::flat::FlatMap;
use bellhop_core::labels::{Labels, Selector};
use bellhop_core::objects::{BgpPeer, DecisionPolicy, Node, Readiness, Service};
use bellhop_core::route::RouteAttributes;

use crate::guest::{AddressQuestion, Inputs, NodeView, Pairs, PeerView, PoolView, ServiceView, Summary};
use crate::intern::{Interned, Interner, Known, KnownObjects, Names};

/// Most keys that a config may add to one set of declared keys. Each costs a look-up per object.
pub const CONFIG_KEYS_MAX: usize = 1024;

/// Taints that the node controller sets because of readiness alone.
const READINESS_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Why the inputs of a version cannot be told from its config.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InputsError {
    /// The config is no JSON.
    #[error("spec.config is not JSON: {0}")]
    Config(String),
    /// `fromConfig` names a set that is none.
    #[error(
        "the module's inputs.fromConfig names \"{0}\", which is none of serviceLabels, serviceAnnotations, \
         namespaceLabels, nodeLabels, nodeAnnotations, peerLabels, poolLabels, topologyKeys"
    )]
    UnknownSet(String),
    /// What the pointer leads to is no list of strings and no map.
    #[error(
        "spec.config{pointer}: found {found}, but the module reads {set} from it: a list of strings or a map"
    )]
    NotKeys {
        /// The JSON pointer.
        pointer: String,
        /// The set it adds to.
        set: String,
        /// Kind of JSON value found.
        found: &'static str,
    },
    /// More keys than [`CONFIG_KEYS_MAX`].
    #[error("spec.config{pointer}: more than {CONFIG_KEYS_MAX} keys for {set}")]
    TooManyKeys {
        /// The JSON pointer.
        pointer: String,
        /// The set it adds to.
        set: String,
    },
}

/// What a version reads: the declared inputs with the keys that its config adds.
///
/// # Errors
/// Where `fromConfig` and the config do not fit together.
pub fn effective_inputs(declared: &Inputs, config: &str) -> Result<Inputs, InputsError> {
    let mut inputs = declared.clone();
    if declared.from_config.is_empty() {
        return Ok(inputs);
    }
    let config: serde_json::Value = if config.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_str(config).map_err(|error| InputsError::Config(error.to_string()))?
    };
    for (set, pointer) in &declared.from_config {
        let mut keys = BTreeSet::new();
        let segments: Vec<&str> = pointer.split('/').skip(1).collect();
        collect_keys(&config, &segments, &mut keys).map_err(|found| InputsError::NotKeys {
            pointer: pointer.clone(),
            set: set.clone(),
            found,
        })?;
        if keys.len() > CONFIG_KEYS_MAX {
            return Err(InputsError::TooManyKeys { pointer: pointer.clone(), set: set.clone() });
        }
        let target = match set.as_str() {
            "serviceLabels" => &mut inputs.service_labels,
            "serviceAnnotations" => &mut inputs.service_annotations,
            "namespaceLabels" => &mut inputs.namespace_labels,
            "nodeLabels" => &mut inputs.node_labels,
            "nodeAnnotations" => &mut inputs.node_annotations,
            "peerLabels" => &mut inputs.peer_labels,
            "poolLabels" => &mut inputs.pool_labels,
            "topologyKeys" => &mut inputs.topology_keys,
            _ => return Err(InputsError::UnknownSet(set.clone())),
        };
        target.append(&mut keys);
    }
    Ok(inputs)
}

/// Walks `segments` of a JSON pointer (RFC 6901, and `*` for every member) and takes the keys found at its ends.
fn collect_keys(
    value: &serde_json::Value,
    segments: &[&str],
    keys: &mut BTreeSet<String>,
) -> Result<(), &'static str> {
    use serde_json::Value;
    match (segments.split_first(), value) {
        (None, Value::Null) => Ok(()),
        (None, Value::Object(map)) => {
            keys.extend(map.keys().cloned());
            Ok(())
        }
        (None, Value::Array(items)) => {
            for item in items {
                keys.insert(item.as_str().ok_or("a list with something other than strings")?.to_owned());
            }
            Ok(())
        }
        (None, Value::String(_)) => Err("a string"),
        (None, Value::Number(_)) => Err("a number"),
        (None, Value::Bool(_)) => Err("a boolean"),
        (Some((&"*", rest)), Value::Array(items)) => {
            items.iter().try_for_each(|item| collect_keys(item, rest, keys))
        }
        (Some((&"*", rest)), Value::Object(map)) => {
            map.values().try_for_each(|item| collect_keys(item, rest, keys))
        }
        (Some((segment, rest)), Value::Object(map)) => {
            match map.get(&segment.replace("~1", "/").replace("~0", "~")) {
                Some(item) => collect_keys(item, rest, keys),
                None => Ok(()),
            }
        }
        (Some((segment, rest)), Value::Array(items)) => {
            match segment.parse().ok().and_then(|index: usize| items.get(index)) {
                Some(item) => collect_keys(item, rest, keys),
                None => Ok(()),
            }
        }
        (Some(_), _) => Ok(()),
    }
}

fn pick(declared: &BTreeSet<String>, values: &Labels) -> Pairs {
    declared
        .iter()
        .filter_map(|key| values.get_key_value(key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The Service as a plugin with these inputs sees it.
pub fn service_view(inputs: &Inputs, facts: &ServiceFacts) -> ServiceView {
    let service = &facts.service;
    ServiceView {
        identity: inputs.service_identity.then(|| (service.key.namespace.clone(), service.key.name.clone())),
        labels: pick(&inputs.service_labels, &service.labels),
        annotations: pick(&inputs.service_annotations, &service.annotations),
        namespace_labels: pick(&inputs.namespace_labels, &facts.namespace_labels),
        traffic_policy: service.traffic_policy,
    }
}

/// The node as a plugin with these inputs sees it.
pub fn node_view(inputs: &Inputs, facts: &NodeFacts) -> NodeView {
    let node = &facts.node;
    NodeView {
        name: inputs.node_identity.then(|| node.name.clone()),
        labels: pick(&inputs.node_labels, &node.labels),
        annotations: pick(&inputs.node_annotations, &node.annotations),
        taints: if inputs.node_taints { node.taints.clone() } else { Vec::new() },
        unschedulable: inputs.node_conditions && node.unschedulable,
        ready: if inputs.node_conditions { node.ready } else { Readiness::Ready },
        local_endpoints: if inputs.local_endpoints { facts.local_endpoints } else { 0 },
    }
}

/// The peer as a plugin with these inputs sees it.
pub fn peer_view(inputs: &Inputs, peer: &BgpPeer, local_asn: u32) -> PeerView {
    PeerView {
        name: inputs.peer_identity.then(|| peer.name.clone()),
        labels: pick(&inputs.peer_labels, &peer.labels),
        // 0 too where the router is to tell its number itself.
        peer_asn: peer.asn.known(local_asn).filter(|_| inputs.session).unwrap_or_default(),
        local_asn: if inputs.session { local_asn } else { 0 },
    }
}

/// The counts over a Service's nodes as a plugin with these inputs sees them: without `nodeConditions` all nodes count
/// as ready and schedulable.
pub fn summary(inputs: &Inputs, nodes: &[NodeFacts]) -> Summary {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let ready = |node: &Node| !inputs.node_conditions || node.ready == Readiness::Ready;
    let mut topology = BTreeMap::<_, (u32, u32)>::new();
    for facts in nodes {
        for key in &inputs.topology_keys {
            if let Some(value) = facts.node.labels.get_key_value(key.as_str()) {
                let counts = topology.entry(value).or_default();
                counts.0 += 1;
                counts.1 += u32::from(ready(&facts.node));
            }
        }
    }
    Summary {
        total: count(nodes.len()),
        ready: count(nodes.iter().filter(|facts| ready(&facts.node)).count()),
        unschedulable: count(
            nodes.iter().filter(|facts| inputs.node_conditions && facts.node.unschedulable).count(),
        ),
        topology: topology
            .into_iter()
            .map(|((key, value), (total, ready))| (key.clone(), value.clone(), total, ready))
            .collect(),
    }
}

fn pool_view(inputs: &Inputs, facts: &PoolFacts) -> PoolView {
    PoolView {
        name: facts.pool.name.clone(),
        labels: pick(&inputs.pool_labels, &facts.pool.labels),
        priority: facts.pool.priority,
        usage: facts.usage.iter().map(|usage| (usage.family, usage.used, usage.free)).collect(),
    }
}

/// The question of the `address` hook, whole.
pub fn address_question(inputs: &Inputs, request: &AddressRequest) -> AddressQuestion {
    AddressQuestion {
        service: service_view(inputs, &request.service),
        families: request.families.clone(),
        pools: request.pools.iter().map(|pool| pool_view(inputs, pool)).collect(),
        candidates: request
            .candidates
            .iter()
            .map(|candidate| (candidate.pool, candidate.address, candidate.release_rank))
            .collect(),
    }
}

/// The same node if it were Ready, for telling whether readiness alone cost it its place; `None` where the view would
/// be the same.
pub(crate) fn if_ready(view: &NodeView) -> Option<NodeView> {
    let mut other = view.clone();
    other.ready = Readiness::Ready;
    other.taints.retain(|taint| !READINESS_TAINTS.contains(&&*taint.key));
    (other != *view).then_some(other)
}

/// Which requests a policy is asked about.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Match {
    service: Option<Selector>,
    namespace: Option<Selector>,
    node: Option<Selector>,
    peer: Option<Selector>,
}

fn selects(selector: Option<&Selector>, labels: &Labels) -> bool {
    selector.is_none_or(|selector| selector.matches(labels))
}

impl Match {
    pub(crate) fn of(policy: &DecisionPolicy) -> Self {
        Self {
            service: policy.service_selector.clone(),
            namespace: policy.namespace_selector.clone(),
            node: policy.node_selector.clone(),
            peer: policy.peer_selector.clone(),
        }
    }

    pub(crate) fn service(&self, facts: &ServiceFacts) -> bool {
        selects(self.service.as_ref(), &facts.service.labels)
            && selects(self.namespace.as_ref(), &facts.namespace_labels)
    }

    pub(crate) fn node(&self, node: &Node) -> bool {
        selects(self.node.as_ref(), &node.labels)
    }

    pub(crate) fn peer(&self, peer: &BgpPeer) -> bool {
        selects(self.peer.as_ref(), &peer.labels)
    }
}

/// An object as one version of a policy knows it.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    /// The policy is asked about it.
    pub(crate) matched: bool,
    /// The number of its name.
    pub(crate) place: u64,
    /// What the plugin is shown of it.
    pub(crate) view: Interned<T>,
}

#[derive(Debug)]
struct KnownService {
    service: Weak<Service>,
    namespace: Weak<FlatMap<Arc<str>, Arc<str>>>,
    seen: Seen<ServiceView>,
}

impl Known for KnownService {
    fn alive(&self) -> bool {
        self.service.strong_count() > 0 && self.namespace.strong_count() > 0
    }
}

#[derive(Debug)]
struct KnownAs<O, T> {
    object: Weak<O>,
    seen: T,
}

impl<O, T> Known for KnownAs<O, T> {
    fn alive(&self) -> bool {
        self.object.strong_count() > 0
    }
}

/// Projects objects for one version of a policy, once per object.
#[derive(Debug)]
pub(crate) struct Projector {
    inputs: Inputs,
    selects: Match,
    services: KnownObjects<(usize, usize), KnownService>,
    nodes: KnownObjects<(usize, u16), KnownAs<Node, Seen<NodeView>>>,
    peers: KnownObjects<(usize, u32), KnownAs<BgpPeer, Seen<PeerView>>>,
    attributes: KnownObjects<usize, KnownAs<RouteAttributes, Interned<RouteAttributes>>>,
    service_views: Interner<ServiceView>,
    node_views: Interner<NodeView>,
    peer_views: Interner<PeerView>,
    attribute_sets: Interner<RouteAttributes>,
    summaries: Interner<Summary>,
}

fn address_of<T>(object: &Arc<T>) -> usize {
    Arc::as_ptr(object).addr()
}

impl Projector {
    pub(crate) fn new(inputs: Inputs, selects: Match) -> Self {
        Self {
            inputs,
            selects,
            services: KnownObjects::new(),
            nodes: KnownObjects::new(),
            peers: KnownObjects::new(),
            attributes: KnownObjects::new(),
            service_views: Interner::new(),
            node_views: Interner::new(),
            peer_views: Interner::new(),
            attribute_sets: Interner::new(),
            summaries: Interner::new(),
        }
    }

    pub(crate) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Changes whom the policy is asked about; identities of what it is shown stay.
    pub(crate) fn set_match(&mut self, selects: Match) {
        if self.selects != selects {
            self.selects = selects;
            self.services.clear();
            self.nodes.clear();
            self.peers.clear();
        }
    }

    pub(crate) fn service(&mut self, facts: &ServiceFacts, names: &mut Names) -> Seen<ServiceView> {
        let key = (address_of(&facts.service), address_of(&facts.namespace_labels));
        if let Some(known) = self.services.get(&key) {
            return known.seen.clone();
        }
        let seen = Seen {
            matched: self.selects.service(facts),
            place: names.service(&facts.service.key),
            view: self.service_views.intern(service_view(&self.inputs, facts)),
        };
        let known = KnownService {
            service: Arc::downgrade(&facts.service),
            namespace: Arc::downgrade(&facts.namespace_labels),
            seen: seen.clone(),
        };
        self.services.insert(key, known);
        seen
    }

    pub(crate) fn node(&mut self, facts: &NodeFacts, names: &mut Names) -> Seen<NodeView> {
        let endpoints = if self.inputs.local_endpoints { facts.local_endpoints } else { 0 };
        let key = (address_of(&facts.node), endpoints);
        if let Some(known) = self.nodes.get(&key) {
            return known.seen.clone();
        }
        let seen = Seen {
            matched: self.selects.node(&facts.node),
            place: names.node(&facts.node.name),
            view: self.node_views.intern(node_view(&self.inputs, facts)),
        };
        self.nodes.insert(key, KnownAs { object: Arc::downgrade(&facts.node), seen: seen.clone() });
        seen
    }

    pub(crate) fn peer(&mut self, peer: &Arc<BgpPeer>, local_asn: u32, names: &mut Names) -> Seen<PeerView> {
        let key = (address_of(peer), if self.inputs.session { local_asn } else { 0 });
        if let Some(known) = self.peers.get(&key) {
            return known.seen.clone();
        }
        let seen = Seen {
            matched: self.selects.peer(peer),
            place: names.peer(&peer.name),
            view: self.peer_views.intern(peer_view(&self.inputs, peer, local_asn)),
        };
        self.peers.insert(key, KnownAs { object: Arc::downgrade(peer), seen: seen.clone() });
        seen
    }

    pub(crate) fn attributes(&mut self, attributes: &Arc<RouteAttributes>) -> Interned<RouteAttributes> {
        let key = address_of(attributes);
        if let Some(known) = self.attributes.get(&key) {
            return known.seen.clone();
        }
        let seen = self.attribute_sets.intern((**attributes).clone());
        self.attributes.insert(key, KnownAs { object: Arc::downgrade(attributes), seen: seen.clone() });
        seen
    }

    pub(crate) fn summary(&mut self, request: &NodesRequest) -> Interned<Summary> {
        let summary = summary(&self.inputs, &request.nodes);
        self.summaries.intern(summary)
    }

    pub(crate) fn node_view(&mut self, view: NodeView) -> Interned<NodeView> {
        self.node_views.intern(view)
    }
}

#[cfg(test)]
mod tests;
