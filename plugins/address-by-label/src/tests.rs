use std::net::IpAddr;

use super::*;
use bellhop_policy::{Candidate, Family, Pool, pairs};

const KEYS: &str = r#"{"keys": {"ip": "Address", "host": "Suffix", "range": "Range", "pool": "Pool"}}"#;

fn pool(name: &str, families: &[Family]) -> Pool {
    Pool { name: name.into(), families: families.to_vec(), ..Pool::default() }
}

/// A dual-stack request: pool `a` of both families, pool `b` of IPv4 only.
fn request(annotations: Vec<bellhop_policy::Pair>) -> AddressRequest {
    let candidate = |pool, address: &str| {
        let ip: IpAddr = address.parse().unwrap();
        Candidate { pool, family: Family::of(ip), address: address.into(), release_rank: 0 }
    };
    AddressRequest {
        service: Service { annotations, ..Service::default() },
        families: vec![Family::Ipv4, Family::Ipv6],
        pools: vec![pool("a", &[Family::Ipv4, Family::Ipv6]), pool("b", &[Family::Ipv4])],
        candidates: vec![
            candidate(0, "192.0.2.1"),
            candidate(0, "192.0.2.2"),
            candidate(1, "198.51.100.1"),
            candidate(0, "2001:db8:1::1"),
        ],
        extra: Vec::new(),
    }
}

fn decide<const N: usize>(annotations: [(&str, &str); N]) -> Decision<Address> {
    address(&Plugin::settings(KEYS).unwrap(), &request(pairs(annotations))).unwrap()
}

/// The alternatives, each as a text.
fn chosen(decision: Decision<Address>) -> Vec<String> {
    let Some(Address::Choose(alternatives)) = decision.answer else { panic!("{decision:?}") };
    let text = |choice: &Choice| match choice {
        Choice::Exact(address) => address.to_string(),
        Choice::Candidate(index) => format!("#{index}"),
        Choice::Pool(name) => format!("pool {name}"),
    };
    alternatives
        .iter()
        .map(|choices| choices.iter().map(|(_, c)| text(c)).collect::<Vec<_>>().join(" + "))
        .collect()
}

fn rejected(decision: Decision<Address>) -> String {
    match decision.answer {
        Some(Address::Reject(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_without_the_keys_is_left_alone_or_rejected() {
    assert_eq!(decide([("other", "x")]), Decision::use_default());
    let settings = Plugin::settings(r#"{"keys": {"ip": "Address"}, "absent": "Reject"}"#).unwrap();
    let decision = address(&settings, &request(Vec::new())).unwrap();
    assert_eq!(rejected(decision), "has none of the labels or annotations ip");
}

#[test]
fn exact_addresses_are_taken_by_family() {
    assert_eq!(chosen(decide([("ip", "2001:db8:1::7, 192.0.2.7")])), ["192.0.2.7 + 2001:db8:1::7"]);
}

#[test]
fn a_family_that_is_not_named_gets_any_address_of_a_pool_that_has_it() {
    assert_eq!(chosen(decide([("ip", "192.0.2.7")])), ["192.0.2.7 + pool a"]);
    assert_eq!(
        chosen(decide([("ip", "2001:db8:1::7")])),
        ["pool a + 2001:db8:1::7", "pool b + 2001:db8:1::7"]
    );
}

#[test]
fn a_suffix_is_put_on_every_prefix_on_offer() {
    let both = ["192.0.2.10 + 2001:db8:1::10", "198.51.100.10 + 2001:db8:1::10"];
    assert_eq!(chosen(decide([("host", "10")])), both);
    assert_eq!(chosen(decide([("host", "10, ::1f")])), both.map(|text| text.replace("::10", "::1f")));
    assert_eq!(chosen(decide([("host", "::1f, 10")])), both.map(|text| text.replace("::10", "::1f")));
    assert_eq!(chosen(decide([("host", "10"), ("pool", "a")])), [both[0]]);
}

#[test]
fn a_suffix_may_be_longer_than_an_octet() {
    let settings = Plugin::settings(r#"{"keys": {"host": "Suffix"}, "ipv4SuffixBits": 10}"#).unwrap();
    let mut request = request(pairs([("host", "258")]));
    request.families = vec![Family::Ipv4];
    assert_eq!(chosen(address(&settings, &request).unwrap())[0], "192.0.1.2");
}

#[test]
fn a_range_prefers_what_is_on_offer() {
    let alternatives = chosen(decide([("range", "192.0.2.2-192.0.2.4"), ("pool", "a")]));
    assert_eq!(
        alternatives,
        ["#1 + pool a", "192.0.2.2 + pool a", "192.0.2.3 + pool a", "192.0.2.4 + pool a"]
    );
    let both = chosen(decide([("range", "192.0.2.8-192.0.2.9,2001:db8:1::8-2001:db8:1::9")]));
    assert_eq!(both[0], "192.0.2.8 + 2001:db8:1::8");
    assert_eq!(both.len(), 4);
}

#[test]
fn a_huge_range_gives_a_bounded_answer() {
    let alternatives = chosen(decide([("range", "10.0.0.0-10.255.255.255,2001:db8::-2001:db8:ffff::")]));
    assert_eq!(alternatives.len(), ALTERNATIVES_MAX);
    let whole = chosen(decide([("range", "255.255.255.254-255.255.255.255")]));
    assert_eq!(whole.len(), 2, "the last address of all has no next one");
}

#[test]
fn a_pool_is_chosen_by_name_and_a_wrong_one_rejected_with_the_right_ones() {
    assert_eq!(chosen(decide([("pool", "a")])), ["pool a + pool a"]);
    assert_eq!(
        rejected(decide([("pool", "c")])),
        "pool: \"c\" is no pool that this Service may use; those are: a, b"
    );
}

#[test]
fn annotations_go_before_labels_and_those_before_the_namespaces() {
    let settings = Plugin::settings(KEYS).unwrap();
    let mut request = request(Vec::new());
    request.families = vec![Family::Ipv4];
    request.service.namespace_labels = pairs([("ip", "192.0.2.30")]);
    let first = |request: &AddressRequest| chosen(address(&settings, request).unwrap()).remove(0);
    assert_eq!(first(&request), "192.0.2.30");
    request.service.labels = pairs([("ip", "192.0.2.20")]);
    assert_eq!(first(&request), "192.0.2.20");
    request.service.annotations = pairs([("ip", "192.0.2.10")]);
    assert_eq!(first(&request), "192.0.2.10");
}

#[test]
fn a_value_that_cannot_be_read_is_rejected_with_key_value_and_what_would_be_right() {
    for (key, value, reason) in [
        ("ip", "192.0.2", "ip: \"192.0.2\" is not an IPv4 or IPv6 address"),
        ("host", "256", "host: \"256\" is not a suffix: a number from 0 to 255, or one for IPv6 as ::1f"),
        ("host", "::1:0:0:0:0", "host: \"::1:0:0:0:0\" is not a suffix of 64 bits for IPv6, as 10 or ::1f"),
        (
            "range",
            "192.0.2.9-192.0.2.1",
            "range: \"192.0.2.9-192.0.2.1\" is not a range: two addresses of one family, the lower first, as 192.0.2.10-192.0.2.19",
        ),
        (
            "range",
            "192.0.2.9-2001:db8::1",
            "range: \"192.0.2.9-2001:db8::1\" is not a range: two addresses of one family, the lower first, as 192.0.2.10-192.0.2.19",
        ),
    ] {
        assert_eq!(rejected(decide([(key, value)])), reason);
    }
}

#[test]
fn a_value_of_the_wrong_family_is_rejected() {
    let settings = Plugin::settings(KEYS).unwrap();
    let mut request = request(pairs([("ip", "2001:db8::1")]));
    request.families = vec![Family::Ipv4];
    assert_eq!(
        rejected(address(&settings, &request).unwrap()),
        "ip: \"2001:db8::1\" names no address of IPv4"
    );
}

#[test]
fn settings_without_a_key_are_refused() {
    let error = Plugin::settings(r#"{"keys": {}}"#).err().unwrap();
    assert_eq!(error, "config.keys: is empty, expected at least one key with what it means");
    let error = Plugin::settings(r#"{"keys": {"ip": "IP"}}"#).err().unwrap();
    assert_eq!(error, "config.keys.ip: is \"IP\", expected one of Address, Suffix, Range, Pool");
}
