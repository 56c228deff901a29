//! The other side: everything here goes through NetGauze's codec.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::{
    BgpCapability, BgpRoleCapability, FourOctetAsCapability, GracefulRestartAddressFamily,
    GracefulRestartCapability, MultiProtocolExtensionsCapability,
};
use netgauze_bgp_pkt::community::{Community, LargeCommunity};
use netgauze_bgp_pkt::iana::{BgpRoleValue, RouteRefreshSubcode};
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::notification::{BgpNotificationMessage, CeaseError};
use netgauze_bgp_pkt::open::{BgpOpenMessage, BgpOpenMessageParameter};
use netgauze_bgp_pkt::path_attribute::{
    As2PathSegment, As4PathSegment, AsPath, AsPathSegmentType, Communities, LargeCommunities,
    LocalPreference, MpReach, MpUnreach, MultiExitDiscriminator, NextHop, Origin, PathAttribute,
    PathAttributeValue,
};
use netgauze_bgp_pkt::route_refresh::BgpRouteRefreshMessage;
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

use crate::Kind;
use crate::random::Random;

/// What a route means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Route {
    pub(crate) path: Vec<u32>,
    pub(crate) next_hop: IpAddr,
    pub(crate) med: Option<u32>,
    pub(crate) local_preference: Option<u32>,
    pub(crate) communities: Vec<u32>,
    pub(crate) large: Vec<(u32, u32, u32)>,
    pub(crate) extended: Vec<u64>,
    pub(crate) only_to_customer: Option<u32>,
}

/// A neighbour that keeps what it reads.
pub(crate) struct Reader {
    context: BgpParsingContext,
    pub(crate) routes: BTreeMap<IpNet, Route>,
    pub(crate) end_of_ribs: usize,
}

impl Reader {
    pub(crate) fn new(four_octet: bool) -> Self {
        let mut context = BgpParsingContext::asn2_default();
        context.set_asn4(four_octet);
        Self { context, routes: BTreeMap::new(), end_of_ribs: 0 }
    }

    pub(crate) fn read(&mut self, octets: &[u8]) {
        for message in parse(octets, &mut self.context) {
            let BgpMessage::Update(update) = message else { panic!("{message:?}") };
            if update.end_of_rib().is_some() {
                self.end_of_ribs += 1;
            } else {
                self.update(&update);
            }
        }
    }

    fn update(&mut self, update: &BgpUpdateMessage) {
        for withdrawn in update.withdraw_routes() {
            assert!(self.routes.remove(&withdrawn.network().address().into()).is_some(), "{withdrawn:?}");
        }
        let mut route = Route {
            path: vec![],
            next_hop: Ipv4Addr::UNSPECIFIED.into(),
            med: None,
            local_preference: None,
            communities: vec![],
            large: vec![],
            extended: vec![],
            only_to_customer: None,
        };
        let mut prefixes: Vec<IpNet> =
            update.nlri().iter().map(|nlri| nlri.network().address().into()).collect();
        for attribute in update.path_attributes() {
            assert!(!attribute.partial());
            match attribute.value() {
                PathAttributeValue::Origin(origin) => assert_eq!(*origin, Origin::IGP),
                PathAttributeValue::AsPath(AsPath::As2PathSegments(segments)) => {
                    let asns = segments.iter().flat_map(As2PathSegment::as_numbers);
                    route.path = asns.map(|asn| u32::from(*asn)).collect();
                }
                PathAttributeValue::AsPath(AsPath::As4PathSegments(segments)) => {
                    route.path = segments.iter().flat_map(As4PathSegment::as_numbers).copied().collect();
                }
                PathAttributeValue::As4Path(path) => {
                    let mended: Vec<u32> =
                        path.segments().iter().flat_map(As4PathSegment::as_numbers).copied().collect();
                    // AS_PATH comes first, as its type is the lesser.
                    assert_eq!(route.path, vec![23456; mended.len()]);
                    route.path = mended;
                }
                PathAttributeValue::NextHop(next_hop) => route.next_hop = next_hop.next_hop().into(),
                PathAttributeValue::MultiExitDiscriminator(med) => route.med = Some(med.metric()),
                PathAttributeValue::LocalPreference(value) => route.local_preference = Some(value.metric()),
                PathAttributeValue::Communities(list) => {
                    route.communities = list.communities().iter().map(Community::value).collect();
                }
                PathAttributeValue::LargeCommunities(list) => {
                    let parts = |c: &LargeCommunity| (c.global_admin(), c.local_data1(), c.local_data2());
                    route.large = list.communities().iter().map(parts).collect();
                }
                PathAttributeValue::ExtendedCommunities(list) => {
                    let octets = |community| u64::from_be_bytes(write(community).try_into().unwrap());
                    route.extended = list.communities().iter().map(octets).collect();
                }
                PathAttributeValue::OnlyToCustomer(otc) => route.only_to_customer = Some(otc.asn()),
                PathAttributeValue::MpReach(MpReach::Ipv6Unicast {
                    next_hop_global,
                    next_hop_local,
                    nlri,
                }) => {
                    assert_eq!(*next_hop_local, None);
                    route.next_hop = (*next_hop_global).into();
                    prefixes.extend(nlri.iter().map(|nlri| IpNet::from(nlri.network().address())));
                }
                PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                    for withdrawn in nlri {
                        assert!(self.routes.remove(&withdrawn.network().address().into()).is_some());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        self.routes.extend(prefixes.into_iter().map(|prefix| (prefix, route.clone())));
    }
}

fn parse(octets: &[u8], context: &mut BgpParsingContext) -> Vec<BgpMessage> {
    let mut reader = SliceReader::new(octets);
    let mut messages = Vec::new();
    while !reader.is_empty() {
        messages.push(BgpMessage::parse(&mut reader, context).expect("what we wrote"));
    }
    messages
}

fn write<E: std::fmt::Debug>(pdu: &impl WritablePdu<E>) -> Vec<u8> {
    let mut octets = Vec::new();
    pdu.write(&mut octets).unwrap();
    octets
}

/// The OPEN that stands at the beginning, and its capabilities, sorted.
pub(crate) fn read_open(octets: &[u8]) -> (BgpOpenMessage, Vec<String>) {
    let messages = parse(octets, &mut BgpParsingContext::asn2_default());
    let Some(BgpMessage::Open(open)) = messages.into_iter().next() else { panic!("no OPEN") };
    let mut capabilities: Vec<String> =
        open.capabilities().iter().map(|capability| format!("{capability:?}")).collect();
    capabilities.sort();
    (open, capabilities)
}

fn capability_list(asn: u32, provider: bool, four_octet: bool) -> Vec<BgpCapability> {
    let families = [AddressType::Ipv4Unicast, AddressType::Ipv6Unicast];
    let family =
        |family| BgpCapability::MultiProtocolExtensions(MultiProtocolExtensionsCapability::new(family));
    let mut list: Vec<BgpCapability> = families.map(family).into();
    list.extend([BgpCapability::RouteRefresh, BgpCapability::EnhancedRouteRefresh]);
    let preserved = families.map(|family| GracefulRestartAddressFamily::new(true, family));
    list.push(BgpCapability::GracefulRestartCapability(GracefulRestartCapability::new(
        false, true, 120, preserved,
    )));
    if four_octet {
        list.push(BgpCapability::FourOctetAs(FourOctetAsCapability::new(asn)));
    }
    if provider {
        list.push(BgpCapability::BgpRole(BgpRoleCapability::new(BgpRoleValue::Provider)));
    }
    list
}

/// What [`read_open`] should find.
pub(crate) fn capabilities(asn: u32, provider: bool, four_octet: bool) -> Vec<String> {
    let mut list: Vec<String> = capability_list(asn, provider, four_octet)
        .iter()
        .map(|capability| format!("{capability:?}"))
        .collect();
    list.sort();
    list
}

/// The OPEN of a neighbour with which our machine of this kind has its session.
pub(crate) fn open(kind: Kind) -> Vec<u8> {
    let parameter = |capability| BgpOpenMessageParameter::new_capabilities(vec![capability]);
    let list = capability_list(u32::from(kind.theirs), false, kind.four_octet);
    let parameters: Vec<BgpOpenMessageParameter> = list.into_iter().map(parameter).collect();
    write(&BgpMessage::Open(BgpOpenMessage::new(kind.theirs, 30, Ipv4Addr::new(192, 0, 2, 9), parameters)))
}

pub(crate) fn keepalive() -> Vec<u8> {
    write(&BgpMessage::KeepAlive)
}

pub(crate) fn refresh() -> Vec<u8> {
    write(&BgpMessage::RouteRefresh(BgpRouteRefreshMessage::new(
        AddressType::Ipv6Unicast,
        RouteRefreshSubcode::NormalRequest,
    )))
}

/// A Cease that says "bye".
pub(crate) fn shutdown() -> Vec<u8> {
    let value = [&[3][..], b"bye"].concat();
    write(&BgpMessage::Notification(BgpNotificationMessage::CeaseError(CeaseError::AdministrativeShutdown {
        value: value.into(),
    })))
}

/// A random UPDATE of a neighbour of this kind, and how many prefixes it announces.
pub(crate) fn update(random: &mut Random, kind: Kind) -> (Vec<u8>, u64) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for _ in 0..random.below(40) {
        match random.prefix() {
            IpNet::V4(net) => v4.push(ipv4(net)),
            IpNet::V6(net) => v6.push(ipv6(net)),
        }
    }
    let announced = (v4.len() + v6.len()) as u64;
    let withdrawn: Vec<Ipv4UnicastAddress> = (0..random.below(5))
        .filter_map(|_| if let IpNet::V4(net) = random.prefix() { Some(ipv4(net)) } else { None })
        .collect();
    let mut attributes = Vec::new();
    if announced > 0 {
        let asns: Vec<u32> = (0..random.below(20)).map(|_| 1 + random.word() % 65534).collect();
        let asns = if kind.is_internal() { asns } else { [vec![u32::from(kind.theirs)], asns].concat() };
        let path = match (asns.is_empty(), kind.four_octet) {
            (true, true) => AsPath::as4_path_segments(vec![]),
            (true, false) => AsPath::as2_path_segments(vec![]),
            (false, true) => {
                AsPath::as4_path_segments(vec![As4PathSegment::new(AsPathSegmentType::AsSequence, asns)])
            }
            (false, false) => {
                let asns: Vec<u16> = asns.iter().map(|asn| u16::try_from(*asn).unwrap()).collect();
                AsPath::as2_path_segments(vec![As2PathSegment::new(AsPathSegmentType::AsSequence, asns)])
            }
        };
        attributes.push(well_known(PathAttributeValue::Origin(Origin::EGP)));
        attributes.push(well_known(PathAttributeValue::AsPath(path)));
        if !v4.is_empty() {
            attributes
                .push(well_known(PathAttributeValue::NextHop(NextHop::new(Ipv4Addr::new(192, 0, 2, 9)))));
        }
        attributes.push(optional(
            false,
            PathAttributeValue::MultiExitDiscriminator(MultiExitDiscriminator::new(random.word())),
        ));
        if kind.is_internal() {
            attributes
                .push(well_known(PathAttributeValue::LocalPreference(LocalPreference::new(random.word()))));
        }
        let communities: Vec<Community> =
            (0..1 + random.below(80)).map(|_| Community::new(random.word())).collect();
        attributes.push(optional(true, PathAttributeValue::Communities(Communities::new(communities))));
        let large: Vec<LargeCommunity> = (0..1 + random.below(30))
            .map(|_| LargeCommunity::new(random.word(), random.word(), random.word()))
            .collect();
        attributes.push(optional(true, PathAttributeValue::LargeCommunities(LargeCommunities::new(large))));
    }
    if !v6.is_empty() {
        let next_hop_global: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let reach = MpReach::Ipv6Unicast { next_hop_global, next_hop_local: None, nlri: v6.into() };
        attributes.push(optional(false, PathAttributeValue::MpReach(reach)));
    }
    let update = BgpMessage::Update(BgpUpdateMessage::new(withdrawn, attributes, v4));
    (write(&update), announced)
}

fn ipv4(net: Ipv4Net) -> Ipv4UnicastAddress {
    Ipv4UnicastAddress::new_no_path_id(Ipv4Unicast::from_net(net).unwrap())
}

fn ipv6(net: Ipv6Net) -> Ipv6UnicastAddress {
    Ipv6UnicastAddress::new(None, Ipv6Unicast::from_net(net).unwrap())
}

fn well_known(value: PathAttributeValue) -> PathAttribute {
    attribute(false, true, value)
}

fn optional(transitive: bool, value: PathAttributeValue) -> PathAttribute {
    attribute(true, transitive, value)
}

/// In the form of two octets of length, which every length may have.
fn attribute(optional: bool, transitive: bool, value: PathAttributeValue) -> PathAttribute {
    PathAttribute::from(optional, transitive, false, true, value).unwrap()
}
