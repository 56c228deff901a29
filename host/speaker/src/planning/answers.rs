//! What the planner tells tools.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use bellhop_core::announce::Announcer;
use bellhop_core::announce::aggregate::{self, Aggregate};
use bellhop_core::announce::service_plan::{AddressPlan, PeerPlan, ServicePlan};
use bellhop_core::announce::standing::Standing;
use bellhop_core::decision::{ConsultOutcome, Consulted, NodeVerdict};
use bellhop_core::objects::{AddressPool, AddressRange, Service, TrafficPolicy};
use bellhop_core::report::{
    AddressExplanation, AggregateExplanation, AllocationExplanation, AllocationRole, Answer, Condition,
    NodeExplanation, PeerExplanation, PeerRow, PoolRow, Question, ServiceExplanation, ServiceRow, Status,
};
use bellhop_core::route::Family;
use bellhop_core::{ObjectName, ObjectRef, Problem, ServiceKey};
use bellhop_ipam::Step;

use super::Planning;
use super::allocator::Allocator;
use crate::bfd::PathStatus;

mod routes;

impl Planning {
    pub(super) fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Status => Answer::Status(Box::new(self.status())),
            Question::Routes { peer } => self.routes(peer.as_deref()),
            Question::ExplainService { namespace, name } => {
                let key = ServiceKey::new(namespace, name);
                match self.world.services().get(&key) {
                    Some(service) => Answer::Service(Box::new(self.explain(service))),
                    None => Answer::NotFound(format!("there is no Service {key} of type LoadBalancer")),
                }
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            node: self.options.node.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            phase: self.phase,
            allocation: self.allocator.as_ref().map_or(AllocationRole::Controller, Allocator::role),
            peers: self.peer_rows(),
            services: self
                .world
                .services()
                .values()
                .filter(|service| service.wants_address)
                .map(|service| self.service_row(service))
                .collect(),
            pools: self.pool_rows(),
            policies: self.policies.rows(),
            problems: self.problems(),
        }
    }

    fn peer_rows(&self) -> Vec<PeerRow> {
        let snapshot = self.bgp.snapshot();
        snapshot
            .peers
            .iter()
            .map(|(name, peer)| PeerRow {
                name: name.to_string(),
                address: peer.address,
                router_id: peer.router_id,
                peer_asn: peer.peer_asn,
                local_asn: peer.local_asn,
                state: peer.state.to_string(),
                up_seconds: peer.up_seconds(),
                families: peer.families.clone(),
                hold_time: peer.hold_time,
                capabilities: peer.capabilities.iter().map(ToString::to_string).collect(),
                messages_sent: peer.counters.messages_sent,
                messages_received: peer.counters.messages_received,
                wanted: peer.prefixes_wanted,
                sent: peer.prefixes_sent,
                updates_sent: peer.updates_sent,
                last_error: peer.last_error.clone(),
                bfd: peer.bfd.as_ref().map(PathStatus::in_words),
            })
            .collect()
    }

    fn service_row(&self, service: &Service) -> ServiceRow {
        let plan = self.announcer.service(&service.key);
        let addresses = plan.map(|plan| plan.addresses.keys().copied().collect()).unwrap_or_default();
        ServiceRow {
            namespace: service.key.namespace.to_string(),
            name: service.key.name.to_string(),
            addresses,
            allocated: self.allocated(service),
            announced: announced(plan, &self.options.node),
        }
    }

    fn allocated(&self, service: &Service) -> Condition {
        let outcome = self.outcome(&service.key);
        if let Some(problem) = outcome.and_then(|outcome| outcome.waiting.as_deref()) {
            return Condition { status: false, reason: problem.reason.clone(), message: problem.told() };
        }
        let holds = self.world.claims_of(&service.uid).next().is_some();
        match (holds, outcome) {
            (true, outcome) => {
                let warnings: Vec<String> = outcome
                    .map(|outcome| outcome.warnings.iter().map(Problem::told).collect())
                    .unwrap_or_default();
                Condition { status: true, reason: "Allocated".into(), message: warnings.join("; ") }
            }
            (false, Some(_)) => Condition {
                status: false,
                reason: "Pending".into(),
                message: "an address is chosen and waits for its claim to be written".into(),
            },
            (false, None) if self.allocator.is_none() => Condition {
                status: false,
                reason: "Pending".into(),
                message: "no claim names the Service; the controller makes them".into(),
            },
            (false, None) => Condition {
                status: false,
                reason: "Pending".into(),
                message: "no address has been decided on yet".into(),
            },
        }
    }

    fn pool_rows(&self) -> Vec<PoolRow> {
        self.world
            .pools()
            .values()
            .map(|pool| PoolRow {
                name: pool.name.to_string(),
                ranges: self.ranges_in_force(pool).iter().map(ToString::to_string).collect(),
                usage: self
                    .allocator
                    .iter()
                    .flat_map(|allocator| allocator.usage(&pool.name))
                    .map(|usage| (usage.family, usage.used, usage.free))
                    .collect(),
            })
            .collect()
    }

    /// The ranges that addresses are taken from; where the controller allocates, those that the pool names.
    fn ranges_in_force<'a>(&'a self, pool: &'a AddressPool) -> &'a [AddressRange] {
        match &self.allocator {
            Some(allocator) => allocator.ledger().pool(&pool.name).map_or(&[], |pool| &pool.ranges),
            None => &pool.ranges,
        }
    }

    /// What the ledger of this process says of a Service.
    fn outcome(&self, service: &ServiceKey) -> Option<&bellhop_ipam::Allocation> {
        let allocator = self.allocator.as_ref()?;
        allocator.ledger().outcomes().get(service).map(|outcome| &**outcome)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.world.problems().values().flatten().cloned().collect();
        problems.extend(self.allocator.iter().flat_map(Allocator::problems));
        problems.extend(self.peer_problems.iter().cloned());
        let advertisements = self.world.advertisements().values();
        problems.extend(advertisements.flat_map(|object| aggregate::problems(&self.world, object)));
        problems.extend(self.filtering.problems().iter().cloned());
        problems.extend(self.policies.problems());
        problems.extend(self.data_path_problems());
        problems.extend(self.grace_problem());
        problems.extend(self.failing());
        problems
    }

    /// Policies whose failures some decision in force rests on, with one such decision each.
    fn failing(&self) -> Vec<Problem> {
        let mut failing: BTreeMap<&ObjectName, Failing> = BTreeMap::new();
        let mut note = |consulted: &Consulted, of: &dyn Fn() -> String| {
            let failed = !matches!(consulted.outcome, ConsultOutcome::Decided | ConsultOutcome::UseDefault);
            // A policy without a version in force has a problem that says why.
            if !failed || self.policies.active(&consulted.policy).is_none() {
                return;
            }
            let policy = self.world.policies().get(&consulted.policy);
            if let Some(policy) = policy {
                failing.entry(&policy.name).or_default().add(consulted, of);
            }
        };
        for (key, outcome) in self.allocator.iter().flat_map(|allocator| allocator.ledger().outcomes()) {
            for step in &outcome.decided {
                // The story of an address lasts as long as the address; a version that has gone since is not to blame.
                if let Step::Policy(consulted) = step
                    && self.policies.active(&consulted.policy) == Some(&consulted.digest)
                {
                    note(consulted, &|| format!("Service/{key}"));
                }
            }
        }
        for key in self.world.services().keys() {
            let Some(plan) = self.announcer.service(key) else { continue };
            for (node, decided) in plan.nodes.iter() {
                decided.trail.iter().for_each(|one| note(one, &|| format!("Service/{key} and Node/{node}")));
            }
            for (address, plan) in plan.addresses.iter() {
                for (peer, plan) in plan.peers.iter() {
                    let of = || format!("{address} of Service/{key} to BGPPeer/{peer}");
                    plan.trail.iter().for_each(|one| note(one, &of));
                }
            }
        }
        failing
            .into_iter()
            .map(|(name, failing)| {
                let module = self.world.policies().get(name).map(|policy| policy.config_map.clone());
                let object = ObjectRef::cluster("DecisionPolicy", name.clone());
                let module = module.unwrap_or_else(|| "".into());
                Problem::new(object, "CallsFail", "spec.plugin.configMap", module, failing.to_string())
            })
            .collect()
    }

    fn explain(&self, service: &Service) -> ServiceExplanation {
        let endpoints = self.announcer.endpoints(&self.world, service);
        let plan = self.announcer.service(&service.key);
        ServiceExplanation {
            namespace: service.key.namespace.to_string(),
            name: service.key.name.to_string(),
            node: self.options.node.to_string(),
            traffic_policy: match service.traffic_policy {
                TrafficPolicy::Cluster => "Cluster".into(),
                TrafficPolicy::Local => "Local".into(),
            },
            endpoints: Family::ALL.iter().map(|family| (*family, endpoints.total(*family))).collect(),
            allocation: self.explain_allocation(service),
            nodes: plan.map(explain_nodes).unwrap_or_default(),
            standing: plan.map_or("not planned", |plan| standing(plan.standing)).into(),
            addresses: plan
                .map(|plan| {
                    let addresses = plan.addresses.iter();
                    addresses
                        .map(|(address, plan)| explain_address(&self.announcer, *address, plan))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }

    fn explain_allocation(&self, service: &Service) -> AllocationExplanation {
        let outcome = self.outcome(&service.key);
        let steps = outcome.map(|outcome| outcome.decided.as_slice()).unwrap_or_default();
        AllocationExplanation {
            condition: Some(self.allocated(service)),
            steps: steps
                .iter()
                .filter(|step| !matches!(step, Step::Policy(_)))
                .map(ToString::to_string)
                .collect(),
            policies: steps
                .iter()
                .filter_map(|step| match step {
                    Step::Policy(consulted) => Some(consulted.clone()),
                    _ => None,
                })
                .collect(),
            decided_by: self
                .world
                .claims_of(&service.uid)
                .filter_map(|claim| {
                    let by = claim.decided_by.as_ref()?;
                    let note = by.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                    let digest: String = by.digest.chars().take(12).collect();
                    Some((claim.address, format!("policy {} ({digest}){note}", by.policy)))
                })
                .collect(),
        }
    }
}

/// Decisions in force that rest on failures of one policy.
#[derive(Default)]
struct Failing {
    decisions: usize,
    /// What the first of them is about.
    first: String,
    /// Why it failed.
    why: String,
}

impl Failing {
    fn add(&mut self, consulted: &Consulted, of: &dyn Fn() -> String) {
        if self.decisions == 0 {
            self.first = of();
            self.why = consulted.note.as_deref().unwrap_or("no reason is known").to_owned();
        }
        self.decisions += 1;
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calls fail, for {}", self.first)?;
        match self.decisions {
            1 => {}
            2 => f.write_str(" and 1 decision more")?,
            count => write!(f, " and {} decisions more", count - 1)?,
        }
        write!(f, ": {}", self.why)
    }
}

/// Condition `bellhop.dev/Announced` of this node.
pub(super) fn announced(plan: Option<&ServicePlan>, node: &str) -> Condition {
    let not = |reason: &str, message: String| Condition { status: false, reason: reason.into(), message };
    let Some(plan) = plan.filter(|plan| !plan.addresses.is_empty()) else {
        return not("NoAddress", "the Service holds no address".into());
    };
    if plan.addresses.keys().any(|address| plan.heard_by(*address).next().is_some()) {
        let draining = matches!(plan.standing, Standing::Draining(_));
        let reason = if draining { "Draining" } else { "Announced" };
        let message = if draining { "graceful shutdown is announced; withdrawal follows" } else { "" };
        return Condition { status: true, reason: reason.into(), message: message.into() };
    }
    match plan.addresses.keys().find_map(|address| plan.silence(*address, node)) {
        Some(silence) => not(silence.reason, silence.message.to_string()),
        None => not("Pending", "nothing has been decided yet".into()),
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Out => "not announcing",
        Standing::Announced => "announcing",
        Standing::Settling(_) => "announcing; a policy wants it out, decided again shortly",
        Standing::Draining(_) => "draining: graceful shutdown announced, withdrawal follows",
        Standing::Drained => "drained",
    }
}

fn explain_nodes(plan: &ServicePlan) -> Vec<NodeExplanation> {
    plan.nodes
        .iter()
        .map(|(node, decided)| {
            let (verdict, reason) = match &decided.answer {
                NodeVerdict::Eligible(weight) => (format!("eligible (weight {weight})"), None),
                NodeVerdict::Draining(reason) => ("draining".into(), Some(reason.to_string())),
                NodeVerdict::Ineligible(reason) => ("ineligible".into(), Some(reason.to_string())),
            };
            NodeExplanation { node: node.to_string(), verdict, reason, policies: decided.trail.to_vec() }
        })
        .collect()
}

fn explain_address(announcer: &Announcer, address: IpAddr, plan: &AddressPlan) -> AddressExplanation {
    AddressExplanation {
        address,
        pool: plan.pool.as_ref().map(ToString::to_string),
        obstacle: plan.obstacle.map(|obstacle| Condition {
            status: false,
            reason: obstacle.reason().into(),
            message: obstacle.message().into(),
        }),
        peers: plan.peers.iter().map(|(peer, plan)| explain_peer(announcer, peer, plan)).collect(),
    }
}

fn explain_peer(announcer: &Announcer, peer: &ObjectName, plan: &PeerPlan) -> PeerExplanation {
    let announced = plan.attributes.as_ref();
    let aggregate = match &plan.aggregate {
        Aggregate::Contributes(contribution) if announced.is_some() => {
            let wanted = announcer.wanted().get(peer).and_then(|routes| routes.get(&contribution.prefix));
            let decided = announcer.aggregate(peer, contribution.prefix);
            wanted.zip(decided).map(|(attributes, decided)| AggregateExplanation {
                prefix: contribution.prefix,
                advertisement: decided.advertisement.to_string(),
                attributes: attributes.clone(),
            })
        }
        Aggregate::Contributes(_) | Aggregate::OutsidePool(_) | Aggregate::None => None,
    };
    PeerExplanation {
        peer: peer.to_string(),
        advertisement: plan.advertisement.as_ref().map(ToString::to_string),
        attributes: announced.filter(|_| plan.aggregate.has_host_route()).cloned(),
        aggregate,
        outside_pool: match &plan.aggregate {
            Aggregate::OutsidePool(prefix) => Some(*prefix),
            Aggregate::Contributes(_) | Aggregate::None => None,
        },
        why_not: plan.why_not.as_ref().map(ToString::to_string),
        policies: plan.trail.to_vec(),
    }
}
