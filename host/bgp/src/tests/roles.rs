//! BGP roles (RFC 9234) and AS numbers that are not told in advance.

use bellhop_core::peer::{OwnRole, PeerAsn, Role};

use super::harness::{Bench, attributes, config, parts, their_open};
use crate::wire::{self, Open};
use crate::{PeerConfig, State};

const ROLES: [Role; 5] =
    [Role::Provider, Role::RouteServer, Role::RouteServerClient, Role::Customer, Role::Peer];

fn with_role(role: Role, strict: bool) -> PeerConfig {
    PeerConfig { role: Some(OwnRole { role, strict }), ..config() }
}

/// The code and subcode that an OPEN is answered with; `None` where it is good.
fn answer(config: PeerConfig, open: &Open) -> Option<(u8, u8)> {
    let mut bench = Bench::ready(config);
    let id = bench.dialled();
    bench.open(id);
    bench.receive(id, &open.encode());
    if !bench.is_closed(id) {
        return None;
    }
    bench.farewell(id).map(|notification| (parts(&notification).0, parts(&notification).1))
}

// case: bgp-29
#[test]
fn only_the_counterpart_of_our_role_may_be_the_neighbours() {
    for own in ROLES {
        for theirs in ROLES {
            let open = Open { roles: vec![Some(theirs)], ..their_open() };
            let fits = matches!(
                (own, theirs),
                (Role::Provider, Role::Customer)
                    | (Role::Customer, Role::Provider)
                    | (Role::RouteServer, Role::RouteServerClient)
                    | (Role::RouteServerClient, Role::RouteServer)
                    | (Role::Peer, Role::Peer)
            );
            let expected = if fits { None } else { Some((2, 11)) };
            assert_eq!(answer(with_role(own, false), &open), expected, "{own:?}, {theirs:?}");
            assert_eq!(answer(config(), &open), None, "without a role of ours theirs says nothing");
        }
    }
}

// case: bgp-29
#[test]
fn a_neighbour_without_a_role_is_refused_by_a_strict_one_alone() {
    assert_eq!(answer(with_role(Role::Customer, false), &their_open()), None);
    assert_eq!(answer(with_role(Role::Customer, true), &their_open()), Some((2, 11)));
}

// case: bgp-29
#[test]
fn several_roles_must_be_equal_and_mean_something() {
    let answer = |roles: &[Role]| {
        let roles = roles.iter().copied().map(Some).collect();
        answer(with_role(Role::Customer, false), &Open { roles, ..their_open() })
    };
    assert_eq!(answer(&[Role::Provider, Role::Provider]), None);
    assert_eq!(answer(&[Role::Provider, Role::Peer]), Some((2, 11)));
    // Role 9, which has no meaning.
    let mut octets = Open { roles: vec![Some(Role::Provider)], ..their_open() }.encode().to_vec();
    let at = octets.windows(3).position(|three| three == [9, 1, 0]).unwrap();
    octets[at + 2] = 9;
    let mut bench = Bench::ready(with_role(Role::Customer, false));
    let id = bench.dialled();
    bench.open(id);
    bench.receive(id, &octets);
    assert_eq!(parts(&bench.farewell(id).unwrap()), (2, 11, &[][..]));
}

#[test]
fn our_open_tells_our_role() {
    let mut bench = Bench::ready(with_role(Role::Customer, false));
    let id = bench.dialled();
    bench.open(id);
    let octets = bench.sent_octets(id);
    assert!(octets.windows(3).any(|three| three == [9, 1, 3]), "{octets:?}");
}

#[test]
fn routes_towards_a_customer_or_a_lateral_peer_are_marked_only_to_customer() {
    for role in ROLES {
        let open = Open { roles: vec![Some(role.counterpart())], ..their_open() };
        let (mut bench, id) = Bench::established(with_role(role, true), &open);
        bench.set("10.0.0.1/32", Some(attributes(1)));
        let octets = bench.sent_octets(id);
        let marked = octets.windows(7).any(|w| w == [0xC0, 35, 4, 0, 0, 0xFC, 0]);
        assert_eq!(marked, matches!(role, Role::Provider | Role::Peer | Role::RouteServer), "{role:?}");
    }
}

// case: peers-97
#[test]
fn an_as_number_may_be_left_open_but_for_whether_it_is_ours() {
    let answer = |peer_asn, asn| answer(PeerConfig { peer_asn, ..config() }, &Open { asn, ..their_open() });
    let own = config().local_asn;
    assert_eq!(answer(PeerAsn::External, 65_001), None);
    assert_eq!(answer(PeerAsn::External, 4_200_000_001), None);
    assert_eq!(answer(PeerAsn::External, own), Some((2, 2)));
    assert_eq!(answer(PeerAsn::External, 0), Some((2, 2)));
    assert_eq!(answer(PeerAsn::Internal, own), None);
    assert_eq!(answer(PeerAsn::Internal, 65_001), Some((2, 2)));

    let mut bench = Bench::ready(PeerConfig { peer_asn: PeerAsn::External, ..config() });
    let id = bench.dialled();
    bench.open(id);
    bench.receive(id, &Open { asn: 65_001, ..their_open() }.encode());
    bench.sent(id);
    bench.receive(id, &wire::keepalive());
    assert_eq!(bench.peer.state(), State::Established);
    assert_eq!(bench.peer.negotiated().unwrap().peer_asn, 65_001);
}
