//! A Service of `externalTrafficPolicy: Local` waits for its health check node port.

use super::*;
use crate::announce::gate::{HealthCheck, Proof};

fn local() -> Service {
    Service { traffic_policy: TrafficPolicy::Local, health_check_node_port: Some(30_123), ..service("shop") }
}

/// A planner that asks kube-proxy, with a Local Service that has an endpoint here.
fn rig() -> Rig {
    let mut rig = Rig::new([]);
    rig.announcer = Announcer::new(NODE.into(), true).asking_proxy();
    rig.apply(base().into_iter().chain(shop()).chain([put(local())]));
    rig.plan(&mut BuiltIn);
    rig
}

impl Rig {
    fn check(&self) -> HealthCheck {
        self.announcer.health_checks().next().unwrap().clone()
    }

    fn obstacle(&self) -> Option<facts::Obstacle> {
        self.announcer.service(&key("shop")).unwrap().addresses.values().next().unwrap().obstacle
    }

    fn answer(&mut self, check: &HealthCheck, proof: Proof) {
        self.announcer.take_proof(check, proof);
        self.plan(&mut BuiltIn);
    }
}

#[test]
fn a_local_service_is_announced_once_its_health_check_node_port_answers() {
    let mut rig = rig();
    assert_eq!(rig.announced(), Vec::<String>::new());
    assert_eq!(rig.obstacle(), Some(facts::Obstacle::DataPathPending));
    let check = rig.check();
    assert_eq!(check.port, 30_123);
    rig.answer(&check, Proof::Served);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
    assert_eq!(rig.announcer.health_checks().count(), 0);
}

#[test]
fn endpoints_that_come_back_are_asked_about_again() {
    let mut rig = rig();
    let first = rig.check();
    rig.answer(&first, Proof::Served);
    rig.apply([slice("shop", vec![])]);
    rig.plan(&mut BuiltIn);
    rig.apply([slice("shop", vec![endpoint(NODE, true, false)])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), Vec::<String>::new());
    rig.answer(&first, Proof::Served);
    assert_eq!(rig.announced(), Vec::<String>::new(), "an answer to an old question opens nothing");
    let second = rig.check();
    rig.answer(&second, Proof::Served);
    assert_eq!(rig.announced().len(), 1);
}

#[test]
fn what_stands_is_not_withdrawn_to_be_asked_about() {
    let mut rig = rig();
    let check = rig.check();
    rig.answer(&check, Proof::Served);
    for endpoints in [
        vec![endpoint(NODE, false, true)],
        vec![endpoint(NODE, true, false), endpoint(NODE, false, true)],
        vec![endpoint(NODE, true, false)],
    ] {
        rig.apply([slice("shop", endpoints)]);
        assert!(rig.plan(&mut BuiltIn).is_empty());
    }
}

#[test]
fn terminating_endpoints_of_which_kube_proxy_says_nothing_are_not_asked_about() {
    let mut rig = Rig::new([]);
    rig.announcer = Announcer::new(NODE.into(), true).asking_proxy();
    rig.apply(base().into_iter().chain(shop()).chain([put(local())]));
    rig.apply([slice("shop", vec![endpoint(NODE, false, true)])]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1);
    assert_eq!(rig.announcer.health_checks().count(), 0);
}

#[test]
fn a_check_that_ends_without_an_answer_announces_and_is_told() {
    let mut rig = rig();
    let check = rig.check();
    rig.answer(&check, Proof::Unproven);
    assert_eq!(rig.announced().len(), 1);
    assert_eq!(rig.announcer.unproven().collect::<Vec<_>>(), [&key("shop")]);
    rig.apply([Delta::Service(key("shop"), None)]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announcer.unproven().count(), 0);
}

#[test]
fn a_service_made_anew_is_asked_about_anew() {
    let mut rig = rig();
    let check = rig.check();
    rig.answer(&check, Proof::Served);
    let renewed = Service { uid: "uid-of-a-new-life".into(), ..local() };
    let mut holder = claim("203.0.113.1", &["shop"]);
    if let Delta::Claim(_, Some(claim)) = &mut holder {
        Arc::make_mut(claim).holders[0].uid = "uid-of-a-new-life".into();
    }
    rig.apply([put(renewed), holder]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), Vec::<String>::new());
    assert_ne!(rig.check(), check);
}

#[test]
fn a_service_for_all_nodes_waits_for_nothing() {
    let mut rig = rig();
    rig.apply([put(service("shop"))]);
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced().len(), 1);
    assert_eq!(rig.announcer.health_checks().count(), 0);
}
