//! A claim that goes while the status lists its address was lost, and is waited for; one that is released is not.

use super::publication::{ADDRESS, announced, listing};
use super::*;
use crate::announce::lost_claim::LOST_CLAIM_GRACE;

fn no_claim() -> Delta {
    Delta::Claim(ADDRESS.parse().unwrap(), None)
}

#[test]
fn an_address_whose_claim_was_lost_stays_announced_without_an_update_until_it_is_back() {
    let mut rig = announced();
    rig.apply([no_claim()]);
    assert_eq!(rig.plan(&mut BuiltIn), Changes::default());
    assert_eq!(rig.announcer.deadline(), Some(rig.now + LOST_CLAIM_GRACE));
    rig.apply([claim(ADDRESS, &["shop"])]);
    assert_eq!(rig.plan(&mut BuiltIn), Changes::default());
    assert_eq!(rig.announcer.deadline(), None);
    assert_eq!(rig.announced(), ["203.0.113.1/32"]);
}

#[test]
fn the_wait_for_a_lost_claim_ends_and_nothing_begins_it_anew() {
    let mut rig = announced();
    assert_eq!(rig.hears(no_claim()), 1);
    let until = rig.now + LOST_CLAIM_GRACE;
    rig.now += LOST_CLAIM_GRACE / 2;
    assert_eq!(rig.hears(listing(&[ADDRESS, "203.0.113.2"])), 1);
    assert_eq!(rig.announcer.deadline(), Some(until));
    assert_eq!(rig.wait_for_deadline(), 0);
    assert_eq!(rig.hears(listing(&[ADDRESS])), 0, "a status alone announces nothing");
}

#[test]
fn an_address_that_is_released_is_withdrawn_at_once() {
    // The controller empties the status before it deletes the claim; the two may be seen in either order.
    let mut rig = announced();
    assert_eq!(rig.hears(listing(&[])), 1);
    assert_eq!(rig.hears(no_claim()), 0);
    let mut rig = announced();
    assert_eq!(rig.hears(no_claim()), 1);
    assert_eq!(rig.hears(listing(&[])), 0);
}

#[test]
fn a_lost_claim_that_another_service_makes_ends_the_wait() {
    let mut rig = announced();
    assert_eq!(rig.hears(no_claim()), 1);
    assert_eq!(rig.hears(claim(ADDRESS, &["other"])), 0);
}

#[test]
fn facts_withdraw_an_address_whose_claim_was_lost() {
    for fact in [
        Delta::Service(key("shop"), None),
        put(Service { wants_address: false, published: vec![ADDRESS.parse().unwrap()], ..service("shop") }),
        slice("shop", vec![]),
    ] {
        let mut rig = announced();
        assert_eq!(rig.hears(no_claim()), 1);
        assert_eq!(rig.hears(fact.clone()), 0, "{fact:?}");
    }
}
