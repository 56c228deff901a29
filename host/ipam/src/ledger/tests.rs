//! The ledger's rules, one table or sentence each, over a small World.

use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::{
    AddressChoice, AddressDecision, AddressRequest, ConsultOutcome, Consulted, Decided, NodeVerdict,
    NodesRequest, RouteDecision, RouteRequest,
};
use bellhop_core::labels::{Operator, Requirement, Selector, labels};
use bellhop_core::objects::{
    AddressClaim, AddressPool, AddressRange, FamilyPolicy, Namespace, Node, Port, Protocol, Readiness,
    Service, TrafficPolicy,
};
use bellhop_core::{BuiltIn, Decisions, Delta, Family, ServiceKey, Touched, World};

use super::Ledger;
use crate::{ClaimChange, LedgerPlan, Mode};

mod adoption;
mod allocation;
mod model;
mod policy;
mod pools;
mod requests;
mod sharing;
mod stability;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

pub(super) fn range(text: &str) -> AddressRange {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    AddressRange::new(ip(first), ip(last)).unwrap()
}

pub(super) fn pool(name: &str, ranges: &[&str]) -> AddressPool {
    AddressPool {
        name: name.into(),
        labels: Default::default(),
        ranges: ranges.iter().map(|text| range(text)).collect(),
        exclude: Vec::new(),
        auto_assign: true,
        priority: 0,
        namespace_selector: None,
        service_selector: None,
    }
}

pub(super) fn selector(key: &str, value: &str) -> Selector {
    Selector {
        requirements: vec![Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) }],
    }
}

pub(super) fn key(name: &str) -> ServiceKey {
    ServiceKey::new("web", name)
}

/// A Service of IPv4 in namespace `web`, with port 80; its age is the order of its name.
pub(super) fn service(name: &str) -> Service {
    Service {
        key: key(name),
        uid: format!("uid-{name}").into(),
        labels: Default::default(),
        annotations: Default::default(),
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
        ports: vec![Port { protocol: Protocol::Tcp, port: 80 }],
    }
}

pub(super) fn dual(name: &str, policy: FamilyPolicy) -> Service {
    Service { families: Family::ALL.to_vec(), family_policy: policy, ..service(name) }
}

pub(super) fn node(name: &str, address: &str) -> Node {
    Node {
        name: name.into(),
        labels: Default::default(),
        annotations: Default::default(),
        taints: Vec::new(),
        unschedulable: false,
        ready: Readiness::Ready,
        network_unavailable: false,
        deleting: false,
        addresses: vec![ip(address)],
    }
}

/// A World and the ledger that follows it; changes that the ledger proposes are carried out at once.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) ledger: Ledger,
    pub(super) touched: Touched,
    pub(super) mode: Mode,
}

impl Bench {
    pub(super) fn new(pools: &[AddressPool]) -> Self {
        let mut bench = Self {
            world: World::default(),
            ledger: Ledger::new(),
            touched: Touched::default(),
            mode: Mode::Allocate,
        };
        bench.apply(Delta::Synced);
        for pool in pools {
            bench.set_pool(pool.clone());
        }
        bench
    }

    pub(super) fn apply(&mut self, delta: Delta) {
        self.touched.merge(self.world.apply(delta));
    }

    pub(super) fn set_pool(&mut self, pool: AddressPool) {
        self.apply(Delta::Pool(pool.name.clone(), Some(Arc::new(pool))));
    }

    pub(super) fn set(&mut self, service: Service) {
        self.apply(Delta::Service(service.key.clone(), Some(Arc::new(service))));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.apply(Delta::Service(key(name), None));
    }

    pub(super) fn claim(&mut self, claim: AddressClaim) {
        self.apply(Delta::Claim(claim.address, Some(Arc::new(claim))));
    }

    pub(super) fn namespace(&mut self, name: &str, pairs: &[(&str, &str)]) {
        let namespace = Namespace { name: name.into(), labels: labels(pairs.iter().copied()) };
        self.apply(Delta::Namespace(name.into(), Some(Arc::new(namespace))));
    }

    /// Plans without carrying anything out.
    pub(super) fn propose(&mut self, decisions: &mut dyn Decisions) -> LedgerPlan {
        let touched = std::mem::take(&mut self.touched);
        self.ledger.plan(&self.world, &touched, self.mode, decisions)
    }

    pub(super) fn carry_out(&mut self, plan: &LedgerPlan) {
        for change in &plan.changes {
            let exists = self.world.claims().contains_key(&change.address());
            let claim = match change {
                ClaimChange::Create(claim) => {
                    assert!(!exists, "{} is created twice", claim.address);
                    Some(Arc::new(claim.clone()))
                }
                ClaimChange::Update(claim) => {
                    assert!(exists, "{} is updated without being there", claim.address);
                    Some(Arc::new(claim.clone()))
                }
                ClaimChange::Release(_) => None,
            };
            self.apply(Delta::Claim(change.address(), claim));
        }
    }

    /// Plans, carries out, and proves that nothing is left to do.
    pub(super) fn settle_with(&mut self, decisions: &mut dyn Decisions) -> LedgerPlan {
        let plan = self.propose(decisions);
        self.carry_out(&plan);
        let again = self.propose(decisions);
        assert_eq!(again.changes, [], "the plan after {:?}", plan.changes);
        let whole = Ledger::new().plan(&self.world, &Touched::everything(), self.mode, decisions);
        assert_eq!(whole.changes, [], "a ledger made anew agrees after {:?}", plan.changes);
        plan
    }

    pub(super) fn settle(&mut self) -> LedgerPlan {
        self.settle_with(&mut BuiltIn)
    }

    pub(super) fn held(&self, name: &str) -> Vec<IpAddr> {
        self.ledger.outcomes().get(&key(name)).map(|outcome| outcome.addresses.clone()).unwrap_or_default()
    }

    /// Reason and message of what a Service waits for.
    pub(super) fn waiting(&self, name: &str) -> String {
        let waiting = self.ledger.outcomes().get(&key(name)).and_then(|outcome| outcome.waiting.as_ref());
        waiting.map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn assert_waits(&self, name: &str, words: &[&str]) {
        let waiting = self.waiting(name);
        for word in words {
            assert!(waiting.contains(word), "{name} waits with {waiting:?}, which lacks {word:?}");
        }
    }
}

/// An `address` policy that always gives one answer, and counts how often it is asked.
pub(super) struct Policy {
    pub(super) answer: AddressDecision,
    pub(super) asked: Vec<AddressRequest>,
}

impl Policy {
    pub(super) fn new(answer: AddressDecision) -> Self {
        Self { answer, asked: Vec::new() }
    }

    pub(super) fn exactly(addresses: &[&str]) -> Self {
        let alternative = |text: &&str| vec![(Family::of(ip(text)), AddressChoice::Exact(ip(text)))];
        Self::new(AddressDecision::Choose(addresses.iter().map(alternative).collect()))
    }
}

impl Decisions for Policy {
    fn addresses(&mut self, batch: &[AddressRequest]) -> Vec<Decided<AddressDecision>> {
        self.asked.extend_from_slice(batch);
        let consulted = Consulted {
            policy: "by-label".into(),
            digest: "ab12".into(),
            outcome: ConsultOutcome::Decided,
            note: Some("suffix .7".into()),
        };
        let decided = Decided { answer: self.answer.clone(), trail: Arc::from([consulted]) };
        batch.iter().map(|_| decided.clone()).collect()
    }

    fn nodes(&mut self, batch: &[NodesRequest]) -> Vec<Vec<Decided<NodeVerdict>>> {
        BuiltIn.nodes(batch)
    }

    fn routes(&mut self, batch: &[RouteRequest]) -> Vec<Decided<RouteDecision>> {
        BuiltIn.routes(batch)
    }
}
