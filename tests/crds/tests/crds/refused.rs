//! What the API server refuses by a rule, and with which words.

/// An object that breaks exactly one rule: kind, name, spec in YAML, and what the API server says.
pub(crate) type Case = (&'static str, &'static str, &'static str, &'static str);

/// At least one object for each rule of each kind; `every_rule_is_broken_by_a_case` counts.
pub(crate) const CASES: &[Case] = &[
    // AddressPool.
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24, shop]}",
        r#"spec.addresses[1]: Invalid value: "shop": must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/33]}",
        r#"spec.addresses[0]: Invalid value: "203.0.113.0/33": must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.7/24]}",
        r#"spec.addresses[0]: Invalid value: "203.0.113.7/24": has host bits set; write the network as 203.0.113.0/24, or one address without a length"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: ['203.0.113.1-2001:db8::1']}",
        r#"spec.addresses[0]: Invalid value: "203.0.113.1-2001:db8::1": mixes IPv4 and IPv6; both ends of a range must be of one family"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24], exclude: [203.0.113]}",
        r#"spec.exclude[0]: Invalid value: "203.0.113": must be a CIDR as 203.0.113.0/24, a range as 203.0.113.10-203.0.113.20, or one address"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24], serviceSelector: {matchLabels: {'a b': c}}}",
        r#"spec.serviceSelector.matchLabels: Invalid value: each key must be that of a label, as app or example.com/app"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24], serviceSelector: {matchLabels: {app: 'a b'}}}",
        r#"spec.serviceSelector.matchLabels[app]: Invalid value: "a b": must be the value of a label: at most 63 letters, digits, -, _ and ., with a letter or digit at both ends"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24], namespaceSelector: {matchExpressions: [{key: /app, operator: Exists}]}}",
        r#"spec.namespaceSelector.matchExpressions[0].key: Invalid value: "/app": must be the key of a label, as app or example.com/app"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24], namespaceSelector: {matchExpressions: [{key: app, operator: In, values: [-]}]}}",
        r#"spec.namespaceSelector.matchExpressions[0].values[0]: Invalid value: "-": must be the value of a label: at most 63 letters, digits, -, _ and ., with a letter or digit at both ends"#,
    ),
    (
        "AddressPool",
        "p",
        "{addresses: [203.0.113.0/24], namespaceSelector: {matchExpressions: [{key: app, operator: In}]}}",
        r#"spec.namespaceSelector.matchExpressions[0].values: Invalid value: In and NotIn need values, Exists and DoesNotExist take none"#,
    ),
    // AddressClaim.
    (
        "AddressClaim",
        "203.0.113.7",
        "{address: 203.0.113.007}",
        r#"spec.address: Invalid value: "203.0.113.007": must be an IP address in canonical form (RFC 5952), as 203.0.113.7 or 2001:db8::7"#,
    ),
    (
        "AddressClaim",
        "2001-0db8-0000-0000-0000-0000-0000-0007",
        "{address: '2001:DB8::7'}",
        r#"spec.address: Invalid value: "2001:DB8::7": must be an IP address in canonical form (RFC 5952), as 203.0.113.7 or 2001:db8::7"#,
    ),
    (
        "AddressClaim",
        "mine",
        "{address: 203.0.113.7}",
        r#"<nil>: Invalid value: metadata.name must be the address: 203.0.113.7, or IPv6 in full with dashes: 2001-0db8-0000-0000-0000-0000-0000-0007"#,
    ),
    (
        "AddressClaim",
        "2001-db8--7",
        "{address: '2001:db8::7'}",
        r#"<nil>: Invalid value: metadata.name must be the address: 203.0.113.7, or IPv6 in full with dashes: 2001-0db8-0000-0000-0000-0000-0000-0007"#,
    ),
    (
        "AddressClaim",
        "2001-0db8-0000-0000-0000-0000-0000-0008",
        "{address: '2001:db8::7'}",
        r#"<nil>: Invalid value: metadata.name must be the address: 203.0.113.7, or IPv6 in full with dashes: 2001-0db8-0000-0000-0000-0000-0000-0007"#,
    ),
    // BFDProfile.
    (
        "BFDProfile",
        "b",
        "{transmitInterval: 5ms}",
        r#"spec.transmitInterval: Invalid value: "5ms": must be from 10ms to 60s, as 300ms"#,
    ),
    (
        "BFDProfile",
        "b",
        "{receiveInterval: 2m}",
        r#"spec.receiveInterval: Invalid value: "2m": must be from 10ms to 60s, as 300ms"#,
    ),
    // BGPPeer.
    (
        "BGPPeer",
        "r",
        "{peerASN: 64496}",
        r#"spec.peerAddress: Invalid value: needs one of peerAddress, as peerAddress: 192.0.2.1, peerRange and peerInterface"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerInterface: eth0, peerASN: 64496}",
        r#"spec.peerAddress: Invalid value: needs one of peerAddress, as peerAddress: 192.0.2.1, peerRange and peerInterface"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 'fe80::1', peerASN: 64496}",
        r#"spec.peerAddress: Invalid value: is link-local and needs sourceInterface, as sourceInterface: eth0, or peerInterface in its place"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerInterface: eth0, peerASN: 64496, sourceAddress: 192.0.2.9}",
        r#"spec.sourceAddress: Invalid value: stands beside peerAddress alone"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerInterface: eth0, peerASN: 64496, sourceInterface: eth1}",
        r#"spec.sourceInterface: Invalid value: stands beside peerAddress alone"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerRange: {prefix: 192.0.2.1/24}, peerASN: 64496}",
        r#"spec.peerRange.prefix: Invalid value: "192.0.2.1/24": must be a CIDR without host bits, as 192.0.2.0/24 or 2001:db8::/64"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, redirectPort: 179, passwordSecret: router}",
        r#"spec.redirectPort: Invalid value: cannot stand beside passwordSecret: the password signs the port that the router dialled (RFC 2385)"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerInterface: eth0, peerASN: 64496, redirectPort: 179}",
        r#"spec.redirectPort: Invalid value: cannot stand beside peerInterface, where the nodes dial"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1}",
        r#"spec.peerASN: Invalid value: needs either peerASN, as peerASN: 64496, or dynamicASN: internal or external"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, dynamicASN: external}",
        r#"spec.peerASN: Invalid value: needs either peerASN, as peerASN: 64496, or dynamicASN: internal or external"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, dynamicASN: internal, role: {name: peer}}",
        r#"spec.role: Invalid value: cannot stand beside dynamicASN: internal, as roles are between AS numbers"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, sourceInterface: eth0/1}",
        r#"spec.sourceInterface: Invalid value: "eth0/1": must be the name of an interface, as eth0 or bond0.100: at most 15 characters without spaces, / and :"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, bfd: {profile: Fast}}",
        r#"spec.bfd.profile: Invalid value: "Fast": must be the name of a BFDProfile: lower-case letters, digits, - and ."#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: router.example, peerASN: 64496}",
        r#"spec.peerAddress: Invalid value: "router.example": must be an IP address of one host, as 203.0.113.7 or 2001:db8::7"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 224.0.0.5, peerASN: 64496}",
        r#"spec.peerAddress: Invalid value: "224.0.0.5": must be an IP address of one host, as 203.0.113.7 or 2001:db8::7"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 23456}",
        r#"spec.peerASN: Invalid value: 23456: is reserved (RFC 6793, RFC 7300); private AS numbers are 64512 to 65534 and 4200000000 to 4294967294"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, localASN: 65535}",
        r#"spec.localASN: Invalid value: 65535: is reserved (RFC 6793, RFC 7300); private AS numbers are 64512 to 65534 and 4200000000 to 4294967294"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, sourceAddress: '2001:db8::1'}",
        r#"spec.sourceAddress: Invalid value: must be of the family of peerAddress"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, holdTime: '90'}",
        r#"spec.holdTime: Invalid value: "90": must be 0s or whole seconds from 3s to 65535s, as 90s or 1m30s (RFC 4271 §4.2)"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, holdTime: 3500ms}",
        r#"spec.holdTime: Invalid value: "3500ms": must be 0s or whole seconds from 3s to 65535s, as 90s or 1m30s (RFC 4271 §4.2)"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, holdTime: 2s}",
        r#"spec.holdTime: Invalid value: "2s": must be 0s or whole seconds from 3s to 65535s, as 90s or 1m30s (RFC 4271 §4.2)"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, holdTime: 9s, keepaliveTime: 9s}",
        r#"spec.keepaliveTime: Invalid value: must be shorter than holdTime, by custom a third of it"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, keepaliveTime: 500ms}",
        r#"spec.keepaliveTime: Invalid value: "500ms": must be a duration from 1s to 65535s, as 10s or 1m30s"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, connectRetryTime: soon}",
        r#"spec.connectRetryTime: Invalid value: "soon": must be a duration from 1s to 65535s, as 10s or 1m30s"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, gracefulRestart: {restartTime: 2h}}",
        r#"spec.gracefulRestart.restartTime: Invalid value: "2h": must be whole seconds from 1s to 4095s, as 120s or 2m (RFC 4724 §3)"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, nextHop: {ipv4: '2001:db8::1'}}",
        r#"spec.nextHop.ipv4: Invalid value: "2001:db8::1": must be an IPv4 address of one host, as 203.0.113.7"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, nextHop: {ipv6: 192.0.2.1}}",
        r#"spec.nextHop.ipv6: Invalid value: "192.0.2.1": must be an IPv6 address of one host, as 2001:db8::7"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, ttlSecurity: 1, ebgpMultiHop: 2}",
        r#"spec.ttlSecurity: Invalid value: cannot stand beside ebgpMultiHop: keep ttlSecurity, which says over how many hops the router may be away"#,
    ),
    (
        "BGPPeer",
        "r",
        "{peerAddress: 192.0.2.1, peerASN: 64496, passwordSecret: team-a/router}",
        r#"spec.passwordSecret: Invalid value: "team-a/router": must be the name of a Secret in Bellhop's namespace: lower-case letters, digits, - and ."#,
    ),
    // Advertisement.
    (
        "Advertisement",
        "a",
        "{pools: [public], poolSelector: {}}",
        r#"spec.poolSelector: Invalid value: cannot stand beside pools; use one of them"#,
    ),
    (
        "Advertisement",
        "a",
        "{peers: [router-a], peerSelector: {}}",
        r#"spec.peerSelector: Invalid value: cannot stand beside peers; use one of them"#,
    ),
    (
        "Advertisement",
        "a",
        "{peers: [Router_A]}",
        r#"spec.peers[0]: Invalid value: "Router_A": must be the name of an object: lower-case letters, digits, - and ."#,
    ),
    (
        "Advertisement",
        "a",
        "{attributes: {communities: ['64500:100', no-exports]}}",
        r#"spec.attributes.communities[1]: Invalid value: "no-exports": must be two numbers of 0 to 65535 as 65000:100, or one of graceful-shutdown, blackhole, no-export, no-advertise, no-export-subconfed, no-peer"#,
    ),
    (
        "Advertisement",
        "a",
        "{attributes: {communities: ['65536:1']}}",
        r#"spec.attributes.communities[0]: Invalid value: "65536:1": must be two numbers of 0 to 65535 as 65000:100, or one of graceful-shutdown, blackhole, no-export, no-advertise, no-export-subconfed, no-peer"#,
    ),
    (
        "Advertisement",
        "a",
        "{attributes: {largeCommunities: ['64500:1']}}",
        r#"spec.attributes.largeCommunities[0]: Invalid value: "64500:1": must be three numbers of 0 to 4294967295 as 64512:1:2"#,
    ),
    (
        "Advertisement",
        "a",
        "{aggregation: {}}",
        r#"spec.aggregation: Invalid value: needs ipv4Length, ipv6Length or both, as ipv4Length: 24"#,
    ),
    (
        "Advertisement",
        "a",
        "{attributes: {extendedCommunities: ['rt:70000:70000']}}",
        r#"spec.attributes.extendedCommunities[0]: Invalid value: "rt:70000:70000": must be rt:64512:100 or soo:192.0.2.1:100 (an AS number or an IPv4 address, and a number), or 0x and 16 hexadecimal digits"#,
    ),
    // SpeakerConfig.
    (
        "SpeakerConfig",
        "s",
        "{asn: 23456}",
        r#"spec.asn: Invalid value: 23456: is reserved (RFC 6793, RFC 7300); private AS numbers are 64512 to 65534 and 4200000000 to 4294967294"#,
    ),
    (
        "SpeakerConfig",
        "s",
        "{routerID: 0.0.0.0}",
        r#"spec.routerID: Invalid value: "0.0.0.0": must be written as an IPv4 address other than 0.0.0.0, as 192.0.2.1 (RFC 6286)"#,
    ),
    (
        "SpeakerConfig",
        "s",
        "{listen: {addresses: [eth0]}}",
        r#"spec.listen.addresses[0]: Invalid value: "eth0": must be an IP address of one host, as 203.0.113.7 or 2001:db8::7"#,
    ),
    (
        "SpeakerConfig",
        "s",
        "{drain: {wait: 2h}}",
        r#"spec.drain.wait: Invalid value: "2h": must be a duration from 0s to 1h, as 10s or 1m30s"#,
    ),
    // DecisionPolicy.
    (
        "DecisionPolicy",
        "d",
        "{hook: Route, plugin: {configMap: m, sha256: abc}}",
        r#"spec.plugin.sha256: Invalid value: "abc": must be a SHA-256 in 64 lower-case hexadecimal digits, as sha256sum prints it"#,
    ),
    (
        "DecisionPolicy",
        "d",
        "{hook: Route, plugin: {configMap: m_1, sha256: 190d8e5e7d4ea3af24a5353e8b7afaca89f7629364ab713986ea55a7fca191bb}}",
        r#"spec.plugin.configMap: Invalid value: "m_1": must be the name of a ConfigMap in Bellhop's namespace: lower-case letters, digits, - and ."#,
    ),
    (
        "DecisionPolicy",
        "d",
        "{hook: Route, plugin: {configMap: m, key: a/b, sha256: 190d8e5e7d4ea3af24a5353e8b7afaca89f7629364ab713986ea55a7fca191bb}}",
        r#"spec.plugin.key: Invalid value: "a/b": must be a key of the ConfigMap: letters, digits, -, . and _"#,
    ),
    (
        "DecisionPolicy",
        "d",
        "{hook: Route, minEligible: 2, plugin: {configMap: m, sha256: 190d8e5e7d4ea3af24a5353e8b7afaca89f7629364ab713986ea55a7fca191bb}}",
        r#"spec.minEligible: Invalid value: is for hook Nodes only; leave it out"#,
    ),
    (
        "DecisionPolicy",
        "d",
        "{hook: Nodes, match: {peerSelector: {}}, plugin: {configMap: m, sha256: 190d8e5e7d4ea3af24a5353e8b7afaca89f7629364ab713986ea55a7fca191bb}}",
        r#"spec.match.peerSelector: Invalid value: is for hook Route only; leave it out"#,
    ),
    (
        "DecisionPolicy",
        "d",
        "{hook: Address, match: {nodeSelector: {}}, plugin: {configMap: m, sha256: 190d8e5e7d4ea3af24a5353e8b7afaca89f7629364ab713986ea55a7fca191bb}}",
        r#"spec.match.nodeSelector: Invalid value: is for hook Route only; leave it out"#,
    ),
];
