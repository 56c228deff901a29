//! The planner over a simulated API server.

mod advertisements;
mod api;
mod calm;
mod peers;
mod simulation;
mod speaker_configs;
mod versions;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bellhop_core::ServiceKey;
use bellhop_core::objects::{
    AddressClaim, AddressPool, AddressRange, FamilyPolicy, Port, Protocol, Service, TrafficPolicy,
};
use bellhop_core::{Delta, Family};
use bellhop_kubernetes::{Observed, Status, Version, WriteError};
use bellhop_runtime::loader::Job;
use tokio::sync::mpsc;

use super::*;
use api::{Api, Entry, unavailable};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("web", name)
}

fn pool(name: &str, range: &str) -> AddressPool {
    let (first, last) = range.split_once('-').unwrap();
    AddressPool {
        name: name.into(),
        labels: Default::default(),
        ranges: vec![AddressRange::new(ip(first), ip(last)).unwrap()],
        exclude: Vec::new(),
        auto_assign: true,
        priority: 0,
        namespace_selector: None,
        service_selector: None,
    }
}

/// A Service as its manifest has it; the API gives it its UID.
fn service(name: &str) -> Service {
    Service {
        key: key(name),
        uid: "".into(),
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
        ports: vec![Port { protocol: Protocol::Tcp, port: 80 }],
        health_check_node_port: None,
        published: Vec::new(),
    }
}

/// A controller: its planner, its watch, its orders on their way and the answers on their way back.
struct Replica {
    planner: Planner,
    cursor: usize,
    /// What its source last told of Services; it tells nothing where only a status changed.
    told: BTreeMap<ServiceKey, Arc<Service>>,
    leading: bool,
    /// Not sent yet.
    orders: Vec<Order>,
    /// Sent, and not at the server yet.
    sent: Vec<Order>,
    answers: Vec<(u64, Result<Answer, WriteError>)>,
    events: Vec<Event>,
    jobs: mpsc::Receiver<Job>,
}

impl Replica {
    fn new() -> Self {
        let (loader, jobs) = mpsc::channel(8);
        Self {
            planner: Planner::new(loader),
            cursor: 0,
            told: BTreeMap::new(),
            leading: false,
            orders: Vec::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            events: Vec::new(),
            jobs,
        }
    }

    /// Takes up to so many entries of the log as one batch.
    fn watch(&mut self, now: Instant, api: &Api, entries: usize) {
        let end = api.log.len().min(self.cursor + entries);
        let mut batch = Batch::default();
        for entry in &api.log[self.cursor..end] {
            match entry {
                Entry::Service(key, object) => {
                    batch.observed.push(Observed {
                        object: ObjectRef::namespaced("Service", key),
                        version: object.as_ref().map(|object| object.version()),
                    });
                    let projection = object.as_ref().map(|object| object.service.clone());
                    if self.told.get(key) != projection.as_ref() {
                        match &projection {
                            Some(service) => self.told.insert(key.clone(), service.clone()),
                            None => self.told.remove(key),
                        };
                        batch.deltas.push(Delta::Service(key.clone(), projection));
                    }
                }
                Entry::Claim(address, object) => {
                    batch.observed.push(Observed {
                        object: ObjectRef::cluster("AddressClaim", bellhop_api::claim_name(*address)),
                        version: object.as_ref().map(|object| object.version()),
                    });
                    let claim = object.as_ref().map(|object| object.claim.clone());
                    batch.deltas.push(Delta::Claim(*address, claim));
                }
                Entry::Other(object, version) => {
                    batch.observed.push(Observed { object: object.clone(), version: version.clone() });
                }
                Entry::Delta(delta) => batch.deltas.push(delta.clone()),
            }
        }
        self.cursor = end;
        self.planner.take(now, Input::Batch(batch));
    }

    fn lead(&mut self, now: Instant, leading: bool) {
        self.leading = leading;
        self.planner.take(now, Input::Leading(leading));
    }

    fn step(&mut self, now: Instant) {
        self.orders.extend(self.planner.step(now, SystemTime::UNIX_EPOCH));
        self.events.extend(self.planner.take_events());
    }

    /// Sends an order, unless this process does not lead any more.
    fn send(&mut self, order: Order, lease: bool) {
        if lease {
            self.sent.push(order);
        } else {
            let object = ObjectRef::cluster("Order", "x");
            let verb = bellhop_kubernetes::Verb::Patch;
            self.answers.push((order.id, Err(WriteError::NotLeader { verb, object })));
        }
    }

    fn take_answer(&mut self, now: Instant, index: usize) {
        let (id, result) = self.answers.swap_remove(index);
        self.planner.take(now, Input::Finished(id, result));
    }
}

/// One controller that leads, and an API that answers at once.
struct Bench {
    api: Api,
    replica: Replica,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut api = Api::default();
        api.put_pool(pool("a", "203.0.113.0-203.0.113.255"));
        api.log.push(Entry::Delta(Delta::Synced));
        let mut bench = Self { api, replica: Replica::new(), now: Instant::now() };
        bench.replica.lead(bench.now, true);
        bench.settle();
        bench
    }

    /// Another process in the place of this one, which has read everything.
    fn restart(&mut self) {
        let mut replica = Replica::new();
        let log = self.api.relist();
        self.api.log = log;
        replica.lead(self.now, true);
        self.replica = replica;
        self.api.writes.clear();
    }

    /// Lets everything happen that is to happen by now.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.replica.watch(self.now, &self.api, usize::MAX / 2);
            self.replica.step(self.now);
            if self.replica.orders.is_empty() && self.replica.cursor == self.api.log.len() {
                return;
            }
            for order in std::mem::take(&mut self.replica.orders) {
                let result = self.api.execute(&order.write);
                self.replica.planner.take(self.now, Input::Finished(order.id, result));
            }
        }
        panic!("it never ends: {:?}", self.api.writes.last());
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.settle();
        }
    }

    /// Addresses that a Service's status lists.
    fn status(&self, name: &str) -> Vec<IpAddr> {
        self.api.services[&key(name)].ingress.clone()
    }

    /// Status and reason of a condition.
    fn condition(&self, name: &str, type_: &str) -> Option<(bellhop_api::ConditionStatus, String)> {
        let conditions = &self.api.services[&key(name)].conditions;
        let condition = conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((condition.status, condition.reason.clone()))
    }

    /// Words of what was written since this was last asked.
    fn writes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.api.writes)
    }
}
