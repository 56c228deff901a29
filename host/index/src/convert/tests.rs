use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::Family;
use bellhop_core::objects::{Aggregation, FamilyPolicy, Port, Protocol, Readiness, TrafficPolicy};
use bellhop_core::peer::Neighbour;

use super::*;

fn read(yaml: &str) -> (Option<Projection>, Vec<String>) {
    let options = Options::default();
    let value = crate::document::parse(yaml.as_bytes(), 0, false).unwrap();
    let Identity::Known(kind, object) = identify(&value, &options) else { panic!("not known: {yaml}") };
    match convert(kind, &object, value, &options) {
        Outcome::Read(projection, problems) => {
            (projection, problems.iter().map(ToString::to_string).collect())
        }
        Outcome::Ignored(why) => panic!("ignored: {why}"),
    }
}

fn right(yaml: &str) -> Projection {
    let (projection, problems) = read(yaml);
    assert_eq!(problems, Vec::<String>::new(), "{yaml}");
    projection.unwrap()
}

/// Asserts that there is exactly one problem, that it names all of `parts`, and that nothing is taken.
fn wrong(yaml: &str, parts: &[&str]) {
    let (projection, problems) = read(yaml);
    assert!(projection.is_none() && problems.len() == 1, "{problems:#?}");
    for part in parts {
        assert!(problems[0].contains(part), "{part} is not in {}", problems[0]);
    }
}

fn service(spec: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, namespace: web, annotations: {{{annotations}}}}}\n\
         spec: {{type: LoadBalancer, loadBalancerClass: bellhop.dev/bellhop, {spec}}}\n"
    )
}

fn right_service(spec: &str, annotations: &str) -> Arc<Service> {
    let Projection::Service(service) = right(&service(spec, annotations)) else { panic!("no Service") };
    service
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_service_reads_its_standard_fields() {
    let service = right_service(
        "externalTrafficPolicy: Local, ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4], \
         ports: [{port: 80}, {port: 53, protocol: UDP}]",
        "",
    );
    assert!(service.wants_address);
    assert_eq!(service.families, [Family::Ipv6, Family::Ipv4]);
    assert_eq!(service.family_policy, FamilyPolicy::RequireDualStack);
    assert_eq!(service.traffic_policy, TrafficPolicy::Local);
    let ports = [Port { protocol: Protocol::Tcp, port: 80 }, Port { protocol: Protocol::Udp, port: 53 }];
    assert_eq!(service.ports, ports);
}

#[test]
fn a_service_without_a_uid_has_the_same_one_everywhere_and_another_name_has_another() {
    let (first, again) = (right_service("", ""), right_service("ports: [{port: 80}]", ""));
    assert_eq!(first.uid, again.uid);
    assert_eq!(first.uid.len(), 36);
    assert_eq!(&first.uid[14..15], "8", "not a UUID of version 8: {}", first.uid);
    assert_ne!(*first.uid, *derived_uid_of("web", "shop2"));
}

fn derived_uid_of(namespace: &str, name: &str) -> Arc<str> {
    let yaml =
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}}}");
    let Projection::Service(service) = right(&yaml) else { panic!("no Service") };
    service.uid.clone()
}

#[test]
fn families_that_are_not_written_are_those_asked_for_or_those_of_the_policy() {
    for (spec, families, policy) in [
        ("", vec![Family::Ipv4], FamilyPolicy::SingleStack),
        ("ipFamilyPolicy: PreferDualStack", vec![Family::Ipv4, Family::Ipv6], FamilyPolicy::PreferDualStack),
        (
            "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6]",
            vec![Family::Ipv6, Family::Ipv4],
            FamilyPolicy::PreferDualStack,
        ),
        ("loadBalancerIP: '2001:db8::7'", vec![Family::Ipv6], FamilyPolicy::SingleStack),
        ("ipFamilies: [IPv4, IPv6]", vec![Family::Ipv4, Family::Ipv6], FamilyPolicy::RequireDualStack),
    ] {
        let service = right_service(spec, "");
        assert_eq!((&service.families, service.family_policy), (&families, policy), "{spec}");
    }
}

#[test]
fn addresses_are_asked_for_by_field_and_by_anyones_annotation() {
    for (spec, annotations, expected) in [
        ("loadBalancerIP: 203.0.113.7", "", addresses(&["203.0.113.7"])),
        ("", "bellhop.dev/addresses: '203.0.113.7, 2001:db8::7'", addresses(&["203.0.113.7", "2001:db8::7"])),
        ("", "metallb.io/loadBalancerIPs: 203.0.113.7", addresses(&["203.0.113.7"])),
        ("", "projectcalico.org/loadBalancerIPs: '[\"203.0.113.7\"]'", addresses(&["203.0.113.7"])),
        (
            "loadBalancerIP: 203.0.113.7",
            "bellhop.dev/addresses: '2001:db8::7,203.0.113.7'",
            addresses(&["203.0.113.7", "2001:db8::7"]),
        ),
        (
            "",
            "bellhop.dev/addresses: 203.0.113.7, metallb.io/loadBalancerIPs: 203.0.113.8",
            addresses(&["203.0.113.7"]),
        ),
    ] {
        assert_eq!(right_service(spec, annotations).requested_addresses, expected, "{spec} {annotations}");
    }
    let pool = right_service("", "metallb.io/address-pool: public").requested_pool.clone();
    assert_eq!(pool.as_deref(), Some("public"));
    let key = right_service("", "metallb.io/allow-shared-ip: one").sharing_key.clone();
    assert_eq!(key.as_deref(), Some("one"));
}

#[test]
fn a_service_that_asks_for_nonsense_is_told_what_would_be_right() {
    wrong(
        &service("", "bellhop.dev/addresses: 203.0.113.256"),
        &[
            "Service/web/shop",
            "metadata.annotations[bellhop.dev/addresses]",
            "203.0.113.256",
            "must be an IP address",
        ],
    );
    wrong(&service("externalTrafficPolicy: local", ""), &["spec.externalTrafficPolicy", "Cluster or Local"]);
    wrong(&service("ports: [{port: 70000}]", ""), &["spec.ports[0].port", "70000", "1 to 65535"]);
    let many = (1..=257).map(|port| format!("{{port: {port}}}")).collect::<Vec<_>>().join(", ");
    wrong(&service(&format!("ports: [{many}]"), ""), &["spec.ports", "257 entries and may have at most 256"]);
    wrong(&service("ports: [{port: http}]", ""), &["spec.ports[0].port", "http"]);
    wrong(&service("ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6]", ""), &["spec.ipFamilyPolicy"]);
}

#[test]
fn a_status_says_what_kube_proxy_serves_and_nothing_of_it_is_judged() {
    let with = |ingress: &str| {
        let yaml = format!("{}status: {{loadBalancer: {{ingress: [{ingress}]}}}}\n", service("", ""));
        let Projection::Service(service) = right(&yaml) else { panic!("no Service") };
        service.published.clone()
    };
    assert_eq!(right_service("", "").published, [] as [IpAddr; 0]);
    assert_eq!(
        with("{ip: 203.0.113.7, ipMode: VIP}, {ip: '2001:db8::7'}"),
        addresses(&["203.0.113.7", "2001:db8::7"])
    );
    assert_eq!(
        with("{hostname: shop.example}, {ip: nonsense}, {ip: 203.0.113.7, ipMode: Proxy}"),
        addresses(&[])
    );
    for nonsense in ["7", "{loadBalancer: [1]}", "{loadBalancer: {ingress: {}}, conditions: x}"] {
        let Projection::Service(service) = right(&format!("{}status: {nonsense}\n", service("", ""))) else {
            panic!()
        };
        assert_eq!(service.published, [] as [IpAddr; 0], "{nonsense}");
    }
    let many: Vec<String> = (0..200).map(|last| format!("{{ip: 203.0.113.{last}}}")).collect();
    assert_eq!(with(&many.join(", ")).len(), 64);
}

#[test]
fn a_service_written_by_a_newer_api_server_is_read_as_far_as_it_is_known() {
    let service = right_service(
        "ports: [{port: 80, tunnel: {via: x}}], trafficDistribution: PreferSomethingNew, newField: [1, 2]",
        "",
    );
    assert_eq!(service.ports, [Port { protocol: Protocol::Tcp, port: 80 }]);
    wrong(
        &self::service("ports: [{port: 80, protocol: QUIC}]", ""),
        &["spec.ports[0].protocol", "QUIC", "TCP, UDP or SCTP"],
    );
    wrong(
        &self::service("externalTrafficPolicy: Zone", ""),
        &["spec.externalTrafficPolicy", "Zone", "Cluster or Local"],
    );
    wrong(&self::service("ipFamilies: [IPv4, IPv8]", ""), &["spec.ipFamilies[1]", "IPv8"]);
}

#[test]
fn fields_that_contradict_each_other_are_one_problem_that_says_which_is_wrong() {
    wrong(
        &own("AddressPool", "addresses: [203.0.113.9-203.0.113.1]"),
        &["spec.addresses[0]", "203.0.113.9-203.0.113.1"],
    );
    wrong(
        &own("BGPPeer", "peerAddress: 192.0.2.1, peerASN: 64513, holdTime: 9s, keepaliveTime: 30s"),
        &["keepaliveTime"],
    );
    let (service, problems) = read(&service("ipFamilies: [IPv6], loadBalancerIP: 203.0.113.7", ""));
    assert!(
        problems.is_empty() && service.is_some(),
        "the ledger tells that the family does not fit: {problems:?}"
    );
}

#[test]
fn a_service_of_another_class_or_type_wants_nothing_and_is_not_judged() {
    for spec in [
        "type: LoadBalancer",
        "type: LoadBalancer, loadBalancerClass: example.com/other",
        "type: ClusterIP, loadBalancerClass: bellhop.dev/bellhop",
    ] {
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, annotations: {{bellhop.dev/addresses: nonsense}}}}\n\
             spec: {{{spec}}}\n"
        );
        let Projection::Service(service) = right(&yaml) else { panic!("no Service") };
        assert!(!service.wants_address, "{spec}");
        assert_eq!(&*service.key.namespace, "default");
    }
}

#[test]
fn a_node_without_conditions_is_ready() {
    let node = |status: &str| {
        let yaml =
            format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{zone: a}}}}\n{status}\n");
        let Projection::Node(node) = right(&yaml) else { panic!("no Node") };
        node
    };
    assert_eq!(node("").ready, Readiness::Ready);
    assert_eq!(node("status: {conditions: [{type: Ready, status: 'False'}]}").ready, Readiness::NotReady);
    assert_eq!(node("status: {conditions: [{type: Ready, status: Unknown}]}").ready, Readiness::Unknown);
    let node = node(
        "spec: {unschedulable: true, taints: [{key: a, effect: NoSchedule}]}\n\
         status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: Hostname, address: n1}]}",
    );
    assert!(node.unschedulable && node.taints.len() == 1);
    assert_eq!(node.addresses, addresses(&["10.0.0.1"]));
}

#[test]
fn an_endpoint_is_ready_and_serving_unless_it_says_otherwise() {
    let Projection::EndpointSlice(slice) = right(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv6\n\
         metadata: {name: shop-1, namespace: web, labels: {kubernetes.io/service-name: shop}}\n\
         endpoints:\n- {addresses: ['fd00::1'], nodeName: n1}\n\
         - {addresses: ['fd00::2'], conditions: {ready: false, serving: true, terminating: true}}\n",
    ) else {
        panic!("no EndpointSlice")
    };
    assert_eq!(slice.service.to_string(), "web/shop");
    assert_eq!(slice.family, Family::Ipv6);
    let found: Vec<_> = slice.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
    assert_eq!(found, [(true, true, false), (false, true, true)]);
}

#[test]
fn modules_are_read_in_bellhops_own_namespace_only() {
    let config_map = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{namespace}}}\nbinaryData: {{k: AAEC}}\n"
        )
    };
    let Projection::Module(module) = right(&config_map("")) else { panic!("no module") };
    assert_eq!(&*module.data["k"], [0, 1, 2]);
    let value = crate::document::parse(config_map(", namespace: web").as_bytes(), 0, false).unwrap();
    let Identity::Known(kind, object) = identify(&value, &Options::default()) else { panic!("not known") };
    assert!(matches!(convert(kind, &object, value, &Options::default()), Outcome::Ignored(_)));
    let big = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{k: {}}}\n",
        "x".repeat(1 << 20)
    );
    wrong(&big, &["ConfigMap/bellhop-system/m", "at most 1048576"]);
}

fn own(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: bellhop.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x, labels: {{a: b}}}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn a_pool_reads_its_ranges_and_defaults() {
    let Projection::Pool(pool) = right(&own(
        "AddressPool",
        "addresses: [203.0.113.0/28, '2001:db8::10-2001:db8::1f'], exclude: [203.0.113.0]",
    )) else {
        panic!("no pool")
    };
    assert!(pool.auto_assign && pool.priority == 0 && pool.namespace_selector.is_none());
    assert!(pool.contains("203.0.113.15".parse().unwrap()) && !pool.contains("203.0.113.0".parse().unwrap()));
}

#[test]
fn a_wrong_pool_is_told_what_would_be_right() {
    for (spec, parts) in [
        (
            "addresses: [203.0.113.9-203.0.113.1]",
            ["spec.addresses[0]", "203.0.113.9-203.0.113.1", "inverted"],
        ),
        (
            "addresses: [203.0.113.0/24, 203.0.113.7]",
            ["spec.addresses[1]", "203.0.113.7", "overlaps spec.addresses[0]"],
        ),
        (
            "addresses: [203.0.113.0/24], exclude: [198.51.100.1]",
            ["spec.exclude[0]", "198.51.100.1", "outside the pool"],
        ),
        (
            "addresses: [203.0.113.0/24], autoAsign: true",
            ["spec.autoAsign", "true", "did you mean autoAssign?"],
        ),
        ("addresses: 203.0.113.0/24", ["spec.addresses", "203.0.113.0/24", "must be a list"]),
    ] {
        let mut all = vec!["AddressPool/x"];
        all.extend(parts);
        wrong(&own("AddressPool", spec), &all);
    }
    let misplaced = "apiVersion: bellhop.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: x, lables: {}}\n\
                     spec: {addresses: [203.0.113.1]}\n";
    wrong(misplaced, &["metadata.lables", "did you mean labels?"]);
}

#[test]
fn a_peer_reads_its_fields_and_defaults() {
    let Projection::Peer(peer) = right(&own("BGPPeer", "peerAddress: 192.0.2.1, peerASN: 64512")) else {
        panic!("no peer")
    };
    assert_eq!((peer.port, peer.asn, peer.hold_time), (179, 64512.into(), Duration::from_secs(90)));
    assert_eq!(peer.families, Family::ALL);
    assert_eq!(peer.graceful_restart, Some(Duration::from_secs(120)));
    assert!(!peer.passive && peer.ebgp_multihop.is_none() && peer.node_selector.requirements.is_empty());
    let Projection::Peer(peer) = right(&own(
        "BGPPeer",
        "peerAddress: 192.0.2.1, peerASN: 64512, holdTime: 9s, keepaliveTime: 3s, ebgpMultiHop: 4, families: [IPv6], \
         gracefulRestart: {enabled: false}, nextHop: {ipv6: 'fd00::1'}, sourceAddress: 192.0.2.9",
    )) else {
        panic!("no peer")
    };
    assert_eq!((peer.keepalive_time, peer.ebgp_multihop), (Some(Duration::from_secs(3)), Some(4)));
    assert_eq!((peer.graceful_restart, peer.next_hop_v4, &*peer.families), (None, None, &[Family::Ipv6][..]));
}

#[test]
fn a_wrong_peer_is_told_what_would_be_right() {
    for (more, parts) in [
        ("holdTime: 2s", ["spec.holdTime", "2s", "from 3s"]),
        ("holdTime: 9s, keepaliveTime: 9s", ["spec.keepaliveTime", "9s", "shorter"]),
        ("holdTime: 90", ["spec.holdTime", "90", "must be text"]),
        ("holdTime: 10.5s", ["spec.holdTime", "10.5s", "whole seconds"]),
        ("gracefulRestart: {restartTime: 2h}", ["spec.gracefulRestart.restartTime", "2h", "4095s"]),
        ("sourceAddress: '2001:db8::1'", ["spec.sourceAddress", "2001:db8::1", "family"]),
        ("nextHop: {ipv4: '2001:db8::1'}", ["spec.nextHop.ipv4", "2001:db8::1", "IPv4"]),
        ("localASN: 23456", ["spec.localASN", "23456", "reserved"]),
        ("families: [IPv4, IPv4]", ["spec.families[1]", "IPv4", "twice"]),
        ("peerPort: 0", ["spec.peerPort", "0", "from 1 to 65535"]),
    ] {
        wrong(&own("BGPPeer", &format!("peerAddress: 192.0.2.1, peerASN: 64512, {more}")), &parts);
    }
    for (spec, parts) in [
        ("peerASN: 64512", ["spec.peerAddress", "", "needs one of"]),
        (
            "peerASN: 64512, peerAddress: 192.0.2.1, peerRange: {prefix: 192.0.2.0/24}",
            ["spec.peerAddress", "spec.peerAddress and spec.peerRange", "needs one of"],
        ),
        (
            "peerASN: 64512, peerRange: {prefix: 192.0.2.1/24}",
            ["spec.peerRange.prefix", "192.0.2.1/24", "write 192.0.2.0/24"],
        ),
        ("peerASN: 64512, peerRange: {prefix: 192.0.2.1}", ["spec.peerRange.prefix", "192.0.2.1", "a CIDR"]),
        ("peerASN: 64512, peerRange: {prefix: '::/0'}", ["spec.peerRange.prefix", "::/0", "a CIDR of hosts"]),
        ("peerASN: 64512, peerInterface: eth0:1", ["spec.peerInterface", "eth0:1", "15 characters"]),
        (
            "peerASN: 64512, peerInterface: eth0, sourceInterface: eth1",
            ["spec.sourceInterface", "eth1", "beside spec.peerAddress alone"],
        ),
        ("peerASN: 64512, peerAddress: 'fe80::1'", ["spec.peerAddress", "fe80::1", "spec.sourceInterface"]),
        (
            "peerASN: 64512, peerAddress: 192.0.2.1, redirectPort: 179, passwordSecret: a",
            ["spec.redirectPort", "179", "RFC 2385"],
        ),
        ("peerASN: 64512, peerInterface: eth0, redirectPort: 179", ["spec.redirectPort", "179", "dial"]),
    ] {
        wrong(&own("BGPPeer", spec), &parts);
    }
}

#[test]
fn a_peer_may_be_a_range_or_an_interface() {
    for (spec, neighbour) in [
        (
            "peerRange: {prefix: 192.0.2.0/24}",
            Neighbour::Range { prefix: "192.0.2.0/24".parse().unwrap(), most: 100 },
        ),
        (
            "peerRange: {prefix: '2001:db8::/64', maxSessions: 3}",
            Neighbour::Range { prefix: "2001:db8::/64".parse().unwrap(), most: 3 },
        ),
        ("peerInterface: eth0.100", Neighbour::Interface("eth0.100".into())),
    ] {
        let Projection::Peer(peer) = right(&own("BGPPeer", &format!("dynamicASN: external, {spec}"))) else {
            panic!("no peer")
        };
        assert_eq!(peer.neighbour, neighbour);
    }
}

#[test]
fn an_advertisement_reads_its_attributes_sorted() {
    let Projection::Advertisement(advertisement) = right(&own(
        "Advertisement",
        "pools: [public], attributes: {communities: ['65000:2', no-export, '65000:1', '65000:1'], \
         largeCommunities: ['64512:1:2'], localPreference: 200, prepend: 2}",
    )) else {
        panic!("no advertisement")
    };
    let shown: Vec<String> = advertisement.attributes.communities.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["65000:1", "65000:2", "no-export"]);
    assert_eq!((advertisement.attributes.local_preference, advertisement.attributes.prepend), (Some(200), 2));
}

#[test]
fn an_advertisement_reads_its_aggregation() {
    let read = |spec: &str| match right(&own("Advertisement", spec)) {
        Projection::Advertisement(advertisement) => advertisement.aggregation,
        _ => panic!("no advertisement"),
    };
    assert_eq!(read("pools: [public]"), Aggregation::default());
    let both = Aggregation { ipv4: Some(24), ipv6: Some(64), exact_routes: true };
    assert_eq!(read("aggregation: {ipv4Length: 24, ipv6Length: 64, exactRoutes: true}"), both);
    assert_eq!(read("aggregation: {ipv4Length: 32}"), Aggregation { ipv4: Some(32), ..Default::default() });
}

#[test]
fn a_wrong_advertisement_is_told_what_would_be_right() {
    for (spec, parts) in [
        (
            "attributes: {communities: ['65536:1']}",
            ["spec.attributes.communities[0]", "65536:1", "65000:100"],
        ),
        (
            "attributes: {largeCommunities: ['1:2']}",
            ["spec.attributes.largeCommunities[0]", "1:2", "64512:1:2"],
        ),
        ("attributes: {prepend: 17}", ["spec.attributes.prepend", "17", "from 0 to 16"]),
        ("peers: [a], peerSelector: {}", ["spec.peerSelector", "", "cannot stand beside spec.peers"]),
        ("pools: [A_b]", ["spec.pools[0]", "A_b", "name of an AddressPool"]),
        ("aggregation: {exactRoutes: true}", ["spec.aggregation", "", "needs ipv4Length"]),
        ("aggregation: {ipv4Length: 33}", ["spec.aggregation.ipv4Length", "33", "from 1 to 32"]),
        ("aggregation: {ipv6Length: 0}", ["spec.aggregation.ipv6Length", "0", "from 1 to 128"]),
    ] {
        wrong(&own("Advertisement", spec), &parts);
    }
}

#[test]
fn a_speaker_config_sets_only_what_it_says() {
    let Projection::SpeakerConfig(config) = right(&own("SpeakerConfig", "asn: 64512, listen: {port: 1790}"))
    else {
        panic!("no config")
    };
    assert_eq!((config.asn, config.listen_port, config.drain_wait), (Some(64512), Some(1790), None));
    assert!(config.listen_addresses.is_none() && config.bind_addresses.is_none());
    let Projection::SpeakerConfig(config) = right(&own("SpeakerConfig", "drain: {}, routerID: 192.0.2.1"))
    else {
        panic!("no config")
    };
    assert_eq!(config.drain_wait, Some(Duration::from_secs(10)));
    wrong(&own("SpeakerConfig", "routerID: 0.0.0.0"), &["spec.routerID", "0.0.0.0", "other than 0.0.0.0"]);
    wrong(&own("SpeakerConfig", "drain: {wait: 2h}"), &["spec.drain.wait", "2h", "from 0s to 3600s"]);
}

#[test]
fn a_policy_has_its_settings_as_sorted_json() {
    let digest = "a".repeat(64);
    let plugin = format!("plugin: {{configMap: m, sha256: {digest}}}");
    let Projection::Policy(policy) = right(&own(
        "DecisionPolicy",
        &format!("hook: Route, {plugin}, config: {{b: [1, {{z: 1, y: null}}], a: x}}"),
    )) else {
        panic!("no policy")
    };
    assert_eq!(&*policy.config, r#"{"a":"x","b":[1,{"y":null,"z":1}]}"#);
    assert_eq!((&*policy.module_key, policy.min_eligible, policy.fuel), ("module.wasm.zst", 1, None));
    let Projection::Policy(policy) = right(&own("DecisionPolicy", &format!("hook: Route, {plugin}"))) else {
        panic!("no policy")
    };
    assert_eq!(&*policy.config, "{}");
}

#[test]
fn a_wrong_policy_is_told_what_would_be_right() {
    let digest = "a".repeat(64);
    let upper = "A".repeat(64);
    for (spec, parts) in [
        (
            format!("hook: Route, plugin: {{configMap: m, sha256: {upper}}}"),
            ["spec.plugin.sha256", "AAAA", "lower-case"],
        ),
        (
            format!("hook: route, plugin: {{configMap: m, sha256: {digest}}}"),
            ["spec.hook", "route", "Address, Nodes, Route"],
        ),
        (
            format!("hook: Route, minEligible: 2, plugin: {{configMap: m, sha256: {digest}}}"),
            ["spec.minEligible", "Route", "hook Nodes only"],
        ),
        (
            format!("hook: Nodes, match: {{peerSelector: {{}}}}, plugin: {{configMap: m, sha256: {digest}}}"),
            ["spec.match.peerSelector", "Nodes", "hook Route only"],
        ),
        (
            format!(
                "hook: Route, plugin: {{configMap: m, sha256: {digest}}}, config: {{a: {}}}",
                "x".repeat(65536)
            ),
            ["spec.config", "", "at most 65536"],
        ),
    ] {
        wrong(&own("DecisionPolicy", &spec), &parts);
    }
}

#[test]
fn a_claim_is_named_after_its_address() {
    let claim = |name: &str, spec: &str| {
        format!(
            "apiVersion: bellhop.dev/v1alpha1\nkind: AddressClaim\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    let holder = "holders: [{namespace: web, name: shop, uid: u1, ports: [{protocol: TCP, port: 80}]}]";
    let Projection::Claim(read) = right(&claim(
        "2001-0db8-0000-0000-0000-0000-0000-0007",
        &format!("address: '2001:db8::7', pool: public, {holder}"),
    )) else {
        panic!("no claim")
    };
    assert_eq!((read.pool.as_deref(), &*read.holders[0].uid), (Some("public"), "u1"));
    wrong(
        &claim("203.0.113.8", &format!("address: 203.0.113.7, {holder}")),
        &["AddressClaim/203.0.113.8", "metadata.name", "must be 203.0.113.7"],
    );
}

#[test]
fn a_kind_that_resembles_one_of_ours_is_named_and_a_foreign_one_is_passed_over() {
    let identified = |yaml: &str| {
        identify(&crate::document::parse(yaml.as_bytes(), 0, false).unwrap(), &Options::default())
    };
    for (yaml, part) in [
        (
            "{apiVersion: bellhop.dev/v1alpha1, kind: AdressPool, metadata: {name: x}}",
            "did you mean AddressPool?",
        ),
        (
            "{apiVersion: bellhop.dev/v1, kind: AddressPool, metadata: {name: x}}",
            "must be bellhop.dev/v1alpha1",
        ),
        ("{apiVersion: v2, kind: Service, metadata: {name: x}}", "must be v1"),
        ("{kind: Service, metadata: {name: x}}", "must be set"),
        ("{apiVersion: v1, kind: Service, metadata: {}}", "name of the Service"),
        ("{apiVersion: v1, kind: Service, metadata: {name: X}}", "name of the Service"),
        ("{apiVersion: v1, kind: Service, metadata: {name: x, namespace: a.b}}", "must be a namespace"),
        ("[1, 2]", "must be a Kubernetes object"),
    ] {
        match identified(yaml) {
            Identity::Nothing { message, .. } => assert!(message.contains(part), "{yaml}: {message}"),
            other => panic!("{yaml}: {other:?}"),
        }
    }
    assert!(matches!(
        identified("{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}"),
        Identity::Foreign(_)
    ));
    assert!(matches!(
        identified("{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {}}"),
        Identity::Foreign(_)
    ));
}
