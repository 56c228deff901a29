//! Nodes that were all Unknown and come back, one after the other, before their pods are ready again.

use std::collections::BTreeMap;

use super::*;
use crate::announce::returning::GRACE;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// The speakers of three nodes, each with an endpoint of a Local and of a Cluster Service, which see the same.
struct Cluster {
    speakers: Vec<Rig>,
    nodes: BTreeMap<&'static str, (Readiness, bool)>,
}

/// Which nodes announce the Local Service, and which the other.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Announced {
    local: Vec<&'static str>,
    cluster: Vec<&'static str>,
}

impl Cluster {
    fn new() -> Self {
        let speaker = |name: &&str| {
            let mut rig = Rig::new(base());
            rig.announcer = Announcer::new((*name).into(), true);
            rig.apply([
                put(Service { traffic_policy: TrafficPolicy::Local, ..service("local") }),
                claim("203.0.113.1", &["local"]),
                put(service("shop")),
                claim("203.0.113.2", &["shop"]),
            ]);
            rig
        };
        let nodes = NODES.into_iter().map(|name| (name, (Readiness::Ready, true))).collect();
        let mut cluster = Self { speakers: NODES.iter().map(speaker).collect(), nodes };
        for name in NODES {
            cluster.set(name, Readiness::Ready, true);
        }
        cluster
    }

    /// The readiness of a node and of its pod is seen by every speaker.
    fn set(&mut self, name: &'static str, ready: Readiness, pod: bool) -> Announced {
        self.nodes.insert(name, (ready, pod));
        let nodes = self.nodes.clone();
        let endpoints = |nodes: &BTreeMap<&str, (Readiness, bool)>| -> Vec<Endpoint> {
            nodes.iter().map(|(name, (_, pod))| endpoint(name, *pod, false)).collect()
        };
        for rig in &mut self.speakers {
            // The API server has the Node first.
            rig.apply([put_node(Node { ready, ..node(name, &[]) })]);
            rig.plan(&mut BuiltIn);
            rig.apply([slice("local", endpoints(&nodes)), slice("shop", endpoints(&nodes))]);
            rig.plan(&mut BuiltIn);
        }
        self.announced()
    }

    fn pass(&mut self, time: Duration) -> Announced {
        for rig in &mut self.speakers {
            rig.now += time;
            rig.plan(&mut BuiltIn);
        }
        self.announced()
    }

    fn announced(&self) -> Announced {
        let by = |address: &str| {
            let speakers = NODES.into_iter().zip(&self.speakers);
            let announces = |rig: &Rig| rig.announced().iter().any(|net| net == address);
            speakers.filter(|(_, rig)| announces(rig)).map(|(name, _)| name).collect()
        };
        Announced { local: by("203.0.113.1/32"), cluster: by("203.0.113.2/32") }
    }
}

/// Three nodes of which the control plane heard nothing for a while; what is announced still.
fn all_unknown() -> (Cluster, Announced) {
    let mut cluster = Cluster::new();
    for name in NODES {
        cluster.set(name, Readiness::Unknown, false);
    }
    let left = cluster.announced();
    assert_eq!((left.local.len(), left.cluster.len()), (2, 3), "a third is gone: {left:?}");
    (cluster, left)
}

#[test]
fn nodes_that_come_back_in_any_order_before_their_pods_withdraw_nothing() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (mut cluster, left) = all_unknown();
        for index in order {
            let now = cluster.set(NODES[index], Readiness::Ready, false);
            assert_eq!(now, left, "{} is Ready again, its pods are not", NODES[index]);
        }
        for index in order {
            let now = cluster.set(NODES[index], Readiness::Ready, true);
            assert!(left.local.iter().all(|name| now.local.contains(name)), "{now:?} after {left:?}");
            assert!(now.local.contains(&NODES[index]), "{now:?}");
            assert_eq!(now.cluster, NODES);
        }
        assert_eq!(cluster.pass(GRACE), Announced { local: NODES.to_vec(), cluster: NODES.to_vec() });
    }
}

#[test]
fn a_node_whose_pods_are_ready_again_takes_no_other_nodes_place_meanwhile() {
    let (mut cluster, left) = all_unknown();
    let gone = NODES.into_iter().find(|name| !left.local.contains(name)).unwrap();
    let now = cluster.set(gone, Readiness::Ready, true);
    assert_eq!(now.local, NODES, "the others are Unknown still, and stay");
    // Once nothing comes back any more, a third may be missing again.
    assert_eq!(cluster.pass(GRACE).local.len(), 2);
}

#[test]
fn what_is_not_ready_when_the_grace_is_over_goes() {
    let (mut cluster, left) = all_unknown();
    for name in NODES {
        cluster.set(name, Readiness::Ready, false);
    }
    let second = Duration::from_secs(1);
    assert_eq!(cluster.pass(GRACE - second), left);
    let due = cluster.speakers[0].announcer.deadline().unwrap();
    assert_eq!(due, cluster.speakers[0].now + second, "the end of the grace is a deadline");
    assert_eq!(cluster.pass(second), Announced { local: vec![], cluster: vec![] });
}

#[test]
fn the_grace_ends_for_a_pod_once_it_was_ready() {
    let (mut cluster, _) = all_unknown();
    for name in NODES {
        cluster.set(name, Readiness::Ready, true);
    }
    cluster.pass(GRACE);
    for name in NODES {
        cluster.set(name, Readiness::Ready, false);
    }
    assert_eq!(cluster.announced(), Announced { local: vec![], cluster: vec![] });
}

#[test]
fn pods_that_are_gone_or_terminate_withdraw_at_once_while_their_node_comes_back() {
    let ended = Endpoint { serving: false, ..endpoint("node-2", false, true) };
    for endpoints in [vec![], vec![ended]] {
        let (mut cluster, _) = all_unknown();
        for name in NODES {
            cluster.set(name, Readiness::Ready, false);
        }
        for rig in &mut cluster.speakers {
            rig.apply([slice("local", endpoints.clone()), slice("shop", endpoints.clone())]);
            rig.plan(&mut BuiltIn);
        }
        assert_eq!(cluster.announced(), Announced { local: vec![], cluster: vec![] }, "{endpoints:?}");
    }
}

#[test]
fn a_node_that_is_deleted_or_drained_has_no_grace() {
    let (mut cluster, left) = all_unknown();
    for name in NODES {
        cluster.set(name, Readiness::Ready, false);
    }
    let index = NODES.iter().position(|name| *name == left.local[0]).unwrap();
    let rig = &mut cluster.speakers[index];
    let leaving = Node { deleting: true, ..node(NODES[index], &[]) };
    rig.apply([put_node(leaving)]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announcer.draining(), Some(NodeDrain::NodeDeleted));
    rig.now += SpeakerSettings::DRAIN_WAIT;
    rig.plan(&mut BuiltIn);
    assert!(rig.announced().is_empty(), "{:?}", rig.announced());
}
