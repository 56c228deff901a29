//! Our BGP octets against another codec, that of NetGauze: what either writes the other reads with the same meaning.
//!
//! Random announcements with a fixed seed, through the machine as the BGP task drives it. It stands with the speaker, as the other
//! codec takes longer to build than all the machine's own tests.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as its body does")]

mod ours;
mod random;
mod theirs;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellhop_bgp::State;
use bellhop_core::RouteAttributes;
use ipnet::IpNet;

use ours::Machine;
use random::Random;
use theirs::{Reader, read_open};

/// A session of each kind: AS numbers, two or four octets of them, and a role.
const SESSIONS: [Kind; 5] = [
    Kind { ours: 64512, theirs: 64513, four_octet: true, provider: false },
    Kind { ours: 64512, theirs: 64513, four_octet: false, provider: true },
    Kind { ours: 4_200_000_000, theirs: 64513, four_octet: true, provider: true },
    Kind { ours: 4_200_000_000, theirs: 64513, four_octet: false, provider: false },
    Kind { ours: 64512, theirs: 64512, four_octet: true, provider: false },
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) ours: u32,
    pub(crate) theirs: u16,
    pub(crate) four_octet: bool,
    pub(crate) provider: bool,
}

impl Kind {
    fn is_internal(self) -> bool {
        self.ours == u32::from(self.theirs)
    }
}

/// What the other side should make of a route.
fn expected(kind: Kind, prefix: IpNet, attributes: &RouteAttributes) -> theirs::Route {
    let attributes = attributes.clone().normalised();
    let mut extended = attributes.extended_communities;
    if let Some(bandwidth) = attributes.link_bandwidth {
        let asn = u16::try_from(kind.ours).unwrap_or(23456);
        #[allow(clippy::cast_precision_loss, reason = "as in the draft: a single-precision number")]
        let bits = (bandwidth as f32).to_bits();
        extended.push(0x4004 << 48 | u64::from(asn) << 32 | u64::from(bits));
        extended.sort_unstable();
        extended.dedup();
    }
    let path = if kind.is_internal() { vec![] } else { vec![kind.ours; 1 + usize::from(attributes.prepend)] };
    theirs::Route {
        // Where AS numbers have two octets, the path as AS4_PATH mends it (RFC 6793 §4.2.3).
        path,
        next_hop: attributes.next_hop.unwrap_or_else(|| ours::next_hop(prefix)),
        med: attributes.med,
        local_preference: kind.is_internal().then(|| attributes.local_preference.unwrap_or(100)),
        communities: attributes.communities.iter().map(|community| community.0).collect(),
        large: attributes.large_communities.iter().map(|c| (c.global, c.local1, c.local2)).collect(),
        extended,
        only_to_customer: kind.provider.then_some(kind.ours),
    }
}

#[test]
fn what_we_announce_and_withdraw_the_other_codec_reads_with_the_same_meaning() {
    let mut random = Random(0x00BE_1109);
    for kind in SESSIONS {
        for _ in 0..40 {
            let mut machine = Machine::established(kind);
            let mut reader = Reader::new(kind.four_octet);
            let mut wanted: BTreeMap<IpNet, Arc<RouteAttributes>> = BTreeMap::new();
            for _ in 0..10 {
                for _ in 0..random.below(60) {
                    let prefix = random.prefix();
                    let attributes = (random.below(4) > 0).then(|| Arc::new(random.attributes(prefix)));
                    machine.set(prefix, attributes.clone());
                    match attributes {
                        Some(attributes) => wanted.insert(prefix, attributes),
                        None => wanted.remove(&prefix),
                    };
                }
                reader.read(&machine.sent());
                let expected: BTreeMap<IpNet, theirs::Route> = wanted
                    .iter()
                    .map(|(prefix, attributes)| (*prefix, expected(kind, *prefix, attributes)))
                    .collect();
                assert_eq!(reader.routes, expected, "{kind:?}");
            }
            assert_eq!(reader.end_of_ribs, 2);
        }
    }
}

#[test]
fn our_open_says_the_same_to_the_other_codec() {
    for kind in SESSIONS {
        let (open, capabilities) = read_open(&Machine::dialled(kind).sent());
        assert_eq!(u32::from(open.my_as()), if kind.ours > 65535 { 23456 } else { kind.ours });
        assert_eq!((open.my_asn4(), open.hold_time(), open.bgp_id()), (kind.ours, 90, ours::ROUTER_ID));
        let expected = theirs::capabilities(kind.ours, kind.provider, true);
        assert_eq!(capabilities, expected, "{kind:?}");
    }
}

#[test]
fn what_the_other_codec_writes_we_read_with_the_same_meaning() {
    let mut random = Random(0x00BE_2209);
    for kind in SESSIONS {
        let mut machine = Machine::dialled(kind);
        machine.sent();
        machine.receive(&theirs::open(kind));
        machine.receive(&theirs::keepalive());
        assert_eq!(machine.peer.state(), State::Established, "{kind:?}");
        let negotiated = machine.peer.negotiated().unwrap();
        assert_eq!(negotiated.peer_asn, u32::from(kind.theirs));
        assert_eq!((negotiated.hold_time.as_secs(), negotiated.families.len()), (30, 2));
        assert_eq!(negotiated.four_octet, kind.four_octet);
        assert!(negotiated.route_refresh && negotiated.enhanced_refresh && negotiated.graceful_restart);
        let before = machine.peer.counters();
        let (mut updates, mut prefixes) = (0, 0);
        for _ in 0..500 {
            let (octets, announced) = theirs::update(&mut random, kind);
            machine.receive(&octets);
            updates += 1;
            prefixes += announced;
        }
        let counters = machine.peer.counters();
        assert_eq!(machine.peer.state(), State::Established, "{:?}", machine.peer.last_error());
        assert_eq!(counters.updates_received - before.updates_received, updates);
        assert_eq!(counters.prefixes_received - before.prefixes_received, prefixes);
        assert_eq!((counters.treated_as_withdraw, counters.attributes_discarded), (0, 0), "{kind:?}");
        machine.receive(&theirs::refresh());
        machine.sent();
        assert_eq!(machine.peer.counters().refreshes_answered, 1);
        machine.receive(&theirs::shutdown());
        let told = machine.peer.last_error().unwrap().to_string();
        assert!(told.starts_with("received NOTIFICATION 6/2 (") && told.ends_with(": bye"), "{told}");
    }
}
