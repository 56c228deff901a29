//! In a cluster an address is announced once the Service's status lists it, and then whatever the status says.

use super::*;
use crate::announce::facts::Obstacle;
use crate::announce::gate::Proof;
use crate::announce::publication::PUBLICATION_SETTLE;

pub(super) const ADDRESS: &str = "203.0.113.1";

pub(super) fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn listing(addresses: &[&str]) -> Delta {
    put(Service { published: ips(addresses), ..service("shop") })
}

/// A planner of a cluster that has planned once, without Services.
fn rig() -> Rig {
    let mut rig = Rig::new([]);
    rig.announcer = Announcer::new(NODE.into(), true).awaiting_publication();
    rig.apply(base());
    rig.plan(&mut BuiltIn);
    rig
}

impl Rig {
    pub(super) fn hears(&mut self, delta: Delta) -> usize {
        self.apply([delta]);
        self.plan(&mut BuiltIn);
        self.announced().len()
    }

    pub(super) fn wait_for_deadline(&mut self) -> usize {
        self.now = self.announcer.deadline().unwrap();
        self.plan(&mut BuiltIn);
        self.announced().len()
    }

    fn why_not(&self) -> Option<Obstacle> {
        self.announcer
            .service(&key("shop"))
            .unwrap()
            .addresses
            .get(&ADDRESS.parse().unwrap())
            .unwrap()
            .obstacle
    }
}

/// The same, with the Service announced.
pub(super) fn announced() -> Rig {
    let mut rig = rig();
    rig.apply(shop());
    rig.plan(&mut BuiltIn);
    rig.hears(listing(&[ADDRESS]));
    assert_eq!(rig.wait_for_deadline(), 1);
    rig
}

#[test]
fn a_claim_announces_nothing_before_the_status_lists_its_address_and_kube_proxy_had_its_time() {
    let mut rig = rig();
    rig.apply(shop());
    rig.plan(&mut BuiltIn);
    assert_eq!((rig.announced().len(), rig.why_not()), (0, Some(Obstacle::NotPublished)));
    assert_eq!(rig.announcer.deadline(), None);
    assert_eq!(rig.hears(listing(&["203.0.113.66"])), 0, "another address says nothing of this one");
    assert_eq!(rig.hears(listing(&[ADDRESS])), 0);
    assert_eq!(rig.why_not(), Some(Obstacle::DataPathPending));
    assert_eq!(rig.announcer.deadline(), Some(rig.now + PUBLICATION_SETTLE));
    assert_eq!(rig.hears(listing(&[ADDRESS])), 0, "news of the Service do not shorten the wait");
    assert_eq!(rig.announcer.deadline(), Some(rig.now + PUBLICATION_SETTLE), "nor begin it anew");
    assert_eq!(rig.wait_for_deadline(), 1);
    assert_eq!(rig.why_not(), None);
}

#[test]
fn once_announced_a_status_that_somebody_empties_or_forges_changes_nothing() {
    let mut rig = announced();
    for stranger in [&[][..], &["203.0.113.66"], &[ADDRESS, "203.0.113.66"]] {
        rig.apply([listing(stranger)]);
        assert_eq!(rig.plan(&mut BuiltIn), Changes::default(), "{stranger:?}");
    }
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
    // Endpoints come and go; kube-proxy knows the address all the while.
    assert_eq!(rig.hears(slice("shop", vec![])), 0);
    assert_eq!(rig.hears(slice("shop", vec![endpoint(NODE, true, false)])), 1);
}

#[test]
fn a_status_that_is_emptied_before_the_announcement_is_waited_for_again() {
    let mut rig = rig();
    rig.apply(shop());
    rig.plan(&mut BuiltIn);
    rig.hears(listing(&[ADDRESS]));
    assert_eq!(rig.hears(listing(&[])), 0);
    assert_eq!(rig.announcer.deadline(), None);
    assert_eq!(rig.hears(listing(&[ADDRESS])), 0);
    assert_eq!(rig.wait_for_deadline(), 1);
}

#[test]
fn what_the_status_lists_when_the_speaker_starts_is_announced_at_once() {
    let mut rig = Rig::new([]);
    rig.announcer = Announcer::new(NODE.into(), true).awaiting_publication();
    rig.apply(base().into_iter().chain(shop()).chain([listing(&[ADDRESS])]));
    rig.plan(&mut BuiltIn);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
}

#[test]
fn a_service_made_anew_is_waited_for_anew() {
    let mut rig = announced();
    let mut holder = claim(ADDRESS, &["shop"]);
    if let Delta::Claim(_, Some(claim)) = &mut holder {
        Arc::make_mut(claim).holders[0].uid = "uid-of-a-new-life".into();
    }
    rig.apply([put(Service { uid: "uid-of-a-new-life".into(), ..service("shop") }), holder]);
    rig.plan(&mut BuiltIn);
    assert_eq!((rig.announced().len(), rig.why_not()), (0, Some(Obstacle::NotPublished)));
}

#[test]
fn each_address_is_announced_when_the_status_lists_it() {
    let mut rig = announced();
    let second = claim("203.0.113.2", &["shop"]);
    assert_eq!(rig.hears(second), 1);
    assert_eq!(rig.hears(listing(&[ADDRESS, "203.0.113.2"])), 1);
    assert_eq!(rig.wait_for_deadline(), 2);
}

#[test]
fn a_local_service_waits_for_its_health_check_node_port_as_well() {
    let local = |addresses: &[&str]| {
        put(Service {
            traffic_policy: TrafficPolicy::Local,
            health_check_node_port: Some(30_123),
            published: ips(addresses),
            ..service("shop")
        })
    };
    let mut rig = rig();
    rig.announcer = Announcer::new(NODE.into(), true).asking_proxy().awaiting_publication();
    rig.apply(base());
    rig.plan(&mut BuiltIn);
    rig.apply(shop());
    assert_eq!(rig.hears(local(&[])), 0);
    let check = rig.announcer.health_checks().next().unwrap().clone();
    rig.announcer.take_proof(&check, Proof::Served);
    assert_eq!(rig.hears(local(&[ADDRESS])), 0, "that it has endpoints says nothing of the address");
    assert_eq!(rig.wait_for_deadline(), 1);
}
