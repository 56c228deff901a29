//! The wanted table over a planner with the built-in decisions, in a time of its own.

use std::sync::Arc;

use bellhop_core::decision::BuiltIn;
use bellhop_core::objects::{AddressClaim, Holder, Protocol};
use bellhop_core::{Delta, ObjectName};
use bellhop_index::Index;

use super::*;

const ADDRESS: &str = "203.0.113.7";
const OWN: &str = "192.0.2.11";

/// A node with a peer, and a Service with one endpoint on it.
const MANIFESTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: web}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
---
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {peerAddress: 192.0.2.1, peerASN: 64512, localASN: 64513}
---
{apiVersion: bellhop.dev/v1alpha1, kind: Advertisement, metadata: {name: all}, spec: {}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: web, name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], nodeName: node-1}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: web, name: mail-1, labels: {kubernetes.io/service-name: mail}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.2], nodeName: node-1}]
"#;

struct Rig {
    index: Index,
    world: World,
    announcer: Announcer,
    filtering: Filtering,
    table: watch::Receiver<Option<FilterTable>>,
    now: Instant,
}

impl Rig {
    fn new(bind: bool) -> Self {
        let (wanted, table) = watch::channel(None);
        let mut rig = Self {
            index: Index::new(bellhop_index::Options { classless: true, ..Default::default() }),
            world: World::default(),
            announcer: Announcer::new("node-1".into(), bind),
            filtering: Filtering::new(wanted),
            table,
            now: Instant::now(),
        };
        rig.read("base.yaml", MANIFESTS);
        rig.apply(Delta::Synced);
        rig
    }

    fn apply(&mut self, delta: Delta) {
        let touched = self.world.apply(delta);
        self.announcer.note(&self.world, &touched);
        self.filtering.note(&touched);
    }

    fn read(&mut self, file: &str, text: &str) {
        for delta in self.index.apply(file, text.as_bytes()) {
            assert!(!matches!(delta, Delta::Problems(..)), "{delta:?}");
            self.apply(delta);
        }
    }

    /// A Service of namespace `web` with TCP ports.
    fn service(&mut self, name: &str, ports: &[u16]) {
        let ports: Vec<String> =
            ports.iter().map(|port| format!("{{name: p{port}, port: {port}}}")).collect();
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: web, name: {name}}}, \
             spec: {{type: LoadBalancer, ipFamilies: [IPv4], ports: [{}]}}}}",
            ports.join(", ")
        );
        self.read(&format!("{name}.yaml"), &text);
    }

    /// Services of namespace `web` hold an address.
    fn claim(&mut self, address: &str, services: &[&str]) {
        let holder = |name: &&str| {
            let service = ServiceKey::new("web", *name);
            let uid = self.world.services()[&service].uid.clone();
            Holder { service, uid, ports: vec![], sharing_key: None }
        };
        let address: IpAddr = address.parse().unwrap();
        let holders = services.iter().map(holder).collect();
        let claim = AddressClaim { address, pool: Some("public".into()), holders, decided_by: None };
        self.apply(Delta::Claim(address, Some(Arc::new(claim))));
    }

    /// Announces the addresses of 203.0.113.0/24 by that prefix.
    fn aggregate(&mut self) {
        self.read(
            "aggregate.yaml",
            "{apiVersion: bellhop.dev/v1alpha1, kind: AddressPool, metadata: {name: public}, spec: {addresses: \
             [203.0.113.0/24]}}\n---\n{apiVersion: bellhop.dev/v1alpha1, kind: Advertisement, metadata: {name: block}, \
             spec: {priority: 1, aggregation: {ipv4Length: 24}}}\n",
        );
    }

    fn aggregates(&self) -> Vec<String> {
        let table = self.table.borrow();
        table.iter().flat_map(|table| &table.aggregates).map(ToString::to_string).collect()
    }

    /// Plans until nothing is queued; what is to be bound is bound at once.
    fn plan(&mut self) {
        loop {
            let changes = self.announcer.plan(self.now, &self.world, &mut BuiltIn);
            self.filtering.note_changes(&changes);
            let node = self.world.nodes().get(&ObjectName::from("node-1")).cloned();
            self.filtering.update(self.now, &self.announcer, &self.world, node.as_deref());
            if !changes.bind.is_empty() {
                self.announcer.set_bound(self.announcer.bindings());
            }
            if !self.announcer.has_work() {
                return;
            }
        }
    }

    /// The TCP ports that pass to each address of the wanted table; `None` where it is as it was last looked at.
    fn changed(&mut self) -> Option<Vec<(String, Vec<u16>)>> {
        if !self.table.has_changed().unwrap() {
            return None;
        }
        let table = self.table.borrow_and_update().clone().unwrap();
        let ports = |ports: &BTreeSet<Port>| {
            assert!(ports.iter().all(|port| port.protocol == Protocol::Tcp));
            ports.iter().map(|port| port.port).collect()
        };
        Some(table.addresses.iter().map(|(address, all)| (address.to_string(), ports(all))).collect())
    }
}

fn entries(all: &[(&str, &[u16])]) -> Option<Vec<(String, Vec<u16>)>> {
    Some(all.iter().map(|(address, ports)| ((*address).to_owned(), ports.to_vec())).collect())
}

#[test]
fn an_announced_address_is_filtered_with_the_ports_of_its_service_and_they_follow_it() {
    for bind in [false, true] {
        let mut rig = Rig::new(bind);
        rig.service("shop", &[80]);
        rig.plan();
        assert_eq!(
            rig.changed(),
            entries(&[]),
            "known to be nothing, which takes away what an earlier process left"
        );
        rig.claim(ADDRESS, &["shop"]);
        rig.plan();
        assert_eq!(rig.changed(), entries(&[(ADDRESS, &[80])]), "bound: {bind}");
        rig.service("shop", &[80, 443]);
        rig.plan();
        assert_eq!(rig.changed(), entries(&[(ADDRESS, &[80, 443])]));
        rig.plan();
        assert_eq!(rig.changed(), None);
    }
}

#[test]
fn services_that_share_an_address_have_their_ports_merged() {
    let mut rig = Rig::new(false);
    rig.service("shop", &[80]);
    rig.service("mail", &[25]);
    rig.claim(ADDRESS, &["shop", "mail"]);
    rig.plan();
    assert_eq!(rig.changed(), entries(&[(ADDRESS, &[25, 80])]));
}

#[test]
fn a_withdrawn_address_stays_filtered_while_routers_may_still_send_to_it() {
    for bind in [false, true] {
        let mut rig = Rig::new(bind);
        rig.service("shop", &[80]);
        rig.claim(ADDRESS, &["shop"]);
        rig.plan();
        assert_eq!(rig.changed(), entries(&[(ADDRESS, &[80])]));
        rig.read("shop.yaml", "# gone");
        rig.plan();
        assert!(rig.announcer.wanted().values().all(BTreeMap::is_empty));
        assert_eq!(rig.changed(), None, "bound: {bind}");
        let due = rig.filtering.deadline().expect("a time when it goes");
        assert!(due > rig.now + UNBIND_LINGER);
        rig.now = due - Duration::from_millis(1);
        rig.plan();
        assert_eq!(rig.changed(), None);
        rig.now = due;
        rig.plan();
        assert_eq!(rig.changed(), entries(&[]));
        assert_eq!(rig.filtering.deadline(), None);
    }
}

#[test]
fn an_address_that_is_announced_again_in_time_is_filtered_throughout() {
    let mut rig = Rig::new(false);
    rig.service("shop", &[80]);
    rig.claim(ADDRESS, &["shop"]);
    rig.plan();
    rig.read("shop.yaml", "# gone");
    rig.plan();
    let due = rig.filtering.deadline().unwrap();
    rig.now = due - Duration::from_secs(1);
    rig.service("shop", &[80]);
    rig.claim(ADDRESS, &["shop"]);
    rig.plan();
    assert_eq!(rig.changed(), entries(&[(ADDRESS, &[80])]));
    rig.now = due + LINGER;
    rig.plan();
    assert_eq!(rig.changed(), None);
}

#[test]
fn an_address_of_the_node_itself_is_never_filtered() {
    let mut rig = Rig::new(false);
    rig.service("shop", &[80]);
    rig.claim(OWN, &["shop"]);
    rig.plan();
    assert!(rig.announcer.wanted().values().any(|routes| !routes.is_empty()), "though it is announced");
    assert_eq!(rig.changed(), entries(&[]));
}

#[test]
fn an_aggregate_is_filtered_from_its_first_address_until_routers_have_forgotten_it() {
    let mut rig = Rig::new(false);
    rig.aggregate();
    rig.service("shop", &[80]);
    rig.plan();
    assert!(rig.aggregates().is_empty());
    rig.claim(ADDRESS, &["shop"]);
    rig.plan();
    assert_eq!(rig.aggregates(), ["203.0.113.0/24"]);
    assert_eq!(rig.changed(), entries(&[(ADDRESS, &[80])]), "announced by the aggregate alone");
    rig.read("shop.yaml", "# gone");
    rig.plan();
    assert_eq!(rig.changed(), None);
    rig.now = rig.filtering.deadline().expect("a time when it goes");
    rig.plan();
    assert_eq!(rig.changed(), entries(&[]));
    assert!(rig.aggregates().is_empty());
}

#[test]
fn in_an_aggregate_the_ports_of_a_service_that_other_nodes_announce_pass_too() {
    const OTHER: &str = "203.0.113.8";
    let mut rig = Rig::new(false);
    rig.aggregate();
    rig.service("shop", &[80]);
    rig.read(
        "mail.yaml",
        "{apiVersion: v1, kind: Service, metadata: {namespace: web, name: mail}, spec: {type: LoadBalancer, ipFamilies: [IPv4], \
         externalTrafficPolicy: Local, ports: [{port: 25}]}}\n---\n{apiVersion: v1, kind: Node, metadata: {name: node-2}}\n",
    );
    let slice = |node: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{namespace: web, name: mail-2, labels: \
             {{kubernetes.io/service-name: mail}}}}, addressType: IPv4, endpoints: [{{addresses: [10.0.0.3], nodeName: {node}}}]}}"
        )
    };
    rig.read("slice.yaml", &slice("node-2"));
    rig.read(
        "base.yaml",
        &MANIFESTS.replace("name: mail-1, labels: {kubernetes.io/service-name: mail}", "name: none-1"),
    );
    rig.claim(OTHER, &["mail"]);
    rig.plan();
    assert_eq!(rig.changed(), entries(&[]), "no router sends it here");
    rig.claim(ADDRESS, &["shop"]);
    rig.plan();
    assert_eq!(rig.changed(), entries(&[(ADDRESS, &[80]), (OTHER, &[25])]), "the aggregate may bring it");
    rig.read("shop.yaml", "# gone");
    rig.plan();
    rig.now = rig.filtering.deadline().expect("a time when the aggregate goes");
    rig.plan();
    assert_eq!(rig.changed(), entries(&[]));
}
