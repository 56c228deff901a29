//! Messages of BGP by hand: nothing here knows the codec under test.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;

/// A whole message of this type.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xFF; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

/// An OPEN by its fields.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) version: u8,
    pub(crate) asn: u16,
    pub(crate) hold_time: u16,
    pub(crate) router_id: Ipv4Addr,
    /// Length of the optional parameters and the parameters.
    pub(crate) parameters: Vec<u8>,
}

impl Open {
    /// Of the neighbour that a test's speaker expects, with these capabilities.
    pub(crate) fn with(capabilities: &[Vec<u8>]) -> Self {
        let capabilities = capabilities.concat();
        let length = u8::try_from(capabilities.len()).unwrap();
        let parameters = match length {
            0 => vec![0],
            _ => [&[length + 2, 2, length], &capabilities[..]].concat(),
        };
        // Nothing is to be sent in time, so that a test may take its own.
        Self { version: 4, asn: ROUTER_ASN, hold_time: 0, router_id: LOW, parameters }
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut body = vec![self.version];
        body.extend(self.asn.to_be_bytes());
        body.extend(self.hold_time.to_be_bytes());
        body.extend(self.router_id.octets());
        body.extend(&self.parameters);
        message(OPEN, &body)
    }
}

/// AS number and identifier of the neighbours; the speaker's identifier lies between the two.
pub(crate) const ROUTER_ASN: u16 = 64513;
pub(crate) const LOW: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const HIGH: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 250);

pub(crate) fn capability(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, u8::try_from(value.len()).unwrap()], value].concat()
}

/// Multiprotocol IPv4 unicast.
pub(crate) fn ipv4() -> Vec<u8> {
    capability(1, &[0, 1, 0, 1])
}

/// Multiprotocol IPv6 unicast.
pub(crate) fn ipv6() -> Vec<u8> {
    capability(1, &[0, 2, 0, 1])
}

pub(crate) fn four_octet(asn: u32) -> Vec<u8> {
    capability(65, &asn.to_be_bytes())
}

/// Graceful Restart of 120 s for both families, with the bits R and N.
pub(crate) fn graceful_restart(restarted: bool, notification: bool) -> Vec<u8> {
    let flags = u8::from(restarted) << 7 | u8::from(notification) << 6;
    capability(64, &[flags, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80])
}

/// The OPEN of a neighbour that speaks both families and four octets.
pub(crate) fn good_open() -> Open {
    Open::with(&[ipv4(), ipv6(), four_octet(ROUTER_ASN.into())])
}

pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
    message(UPDATE, &[&length(withdrawn), withdrawn, &length(attributes), attributes, nlri].concat())
}

/// ORIGIN, an AS_PATH of four octets and NEXT_HOP, as every announcement of IPv4 needs them.
pub(crate) fn attributes(path: &[u32]) -> Vec<u8> {
    let mut octets = vec![0x40, 1, 1, 0, 0x40, 2, u8::try_from(2 + 4 * path.len()).unwrap(), 2];
    octets.push(u8::try_from(path.len()).unwrap());
    octets.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    octets.extend([0x40, 3, 4, 192, 0, 2, 99]);
    octets
}

/// What was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Open(HeardOpen),
    Update(HeardUpdate),
    Notification(u8, u8, Vec<u8>),
    Keepalive,
    Refresh(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeardOpen {
    pub(crate) version: u8,
    pub(crate) asn: u16,
    pub(crate) hold_time: u16,
    pub(crate) router_id: Ipv4Addr,
    /// Code and value, in the order sent.
    pub(crate) capabilities: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HeardUpdate {
    pub(crate) withdrawn: Vec<IpNet>,
    pub(crate) announced: Vec<IpNet>,
    /// Value by type, those of the families' own attributes too.
    pub(crate) attributes: BTreeMap<u8, Vec<u8>>,
}

impl HeardUpdate {
    /// No routes: the end of the initial ones (RFC 4724 §2).
    pub(crate) fn is_end_of_rib(&self) -> bool {
        self.withdrawn.is_empty() && self.announced.is_empty()
    }
}

/// Reads one message; panics where it is not what the RFCs say.
pub(crate) fn decode(octets: &[u8]) -> Heard {
    let (header, body) = octets.split_at(19);
    assert_eq!(header[..16], [0xFF; 16], "the marker");
    match header[18] {
        OPEN => Heard::Open(decode_open(body)),
        UPDATE => Heard::Update(decode_update(body)),
        NOTIFICATION => Heard::Notification(body[0], body[1], body[2..].to_vec()),
        KEEPALIVE => {
            assert!(body.is_empty(), "a KEEPALIVE is a header");
            Heard::Keepalive
        }
        5 => Heard::Refresh(body.to_vec()),
        kind => panic!("a message of type {kind}: {octets:02x?}"),
    }
}

fn decode_open(body: &[u8]) -> HeardOpen {
    assert_eq!(usize::from(body[9]), body.len() - 10, "the length of the optional parameters");
    let mut capabilities = Vec::new();
    let mut parameters = &body[10..];
    while let [kind, length, rest @ ..] = parameters {
        assert_eq!(*kind, 2, "capabilities are the only parameters");
        let (mut inside, rest) = rest.split_at(usize::from(*length));
        while let [code, length, rest @ ..] = inside {
            let (value, rest) = rest.split_at(usize::from(*length));
            capabilities.push((*code, value.to_vec()));
            inside = rest;
        }
        parameters = rest;
    }
    HeardOpen {
        version: body[0],
        asn: u16::from_be_bytes([body[1], body[2]]),
        hold_time: u16::from_be_bytes([body[3], body[4]]),
        router_id: Ipv4Addr::new(body[5], body[6], body[7], body[8]),
        capabilities,
    }
}

fn decode_update(body: &[u8]) -> HeardUpdate {
    let part = |octets: &[u8]| {
        let length = usize::from(u16::from_be_bytes([octets[0], octets[1]]));
        (octets[2..2 + length].to_vec(), octets[2 + length..].to_vec())
    };
    let (withdrawn, rest) = part(body);
    let (attributes, nlri) = part(&rest);
    let mut heard = HeardUpdate { withdrawn: prefixes(&withdrawn, 1), ..HeardUpdate::default() };
    heard.announced = prefixes(&nlri, 1);
    let mut rest = &attributes[..];
    while let [flags, kind, after @ ..] = rest {
        let extended = flags & 0x10 != 0;
        let length =
            if extended { usize::from(u16::from_be_bytes([after[0], after[1]])) } else { after[0].into() };
        let (value, after) = after[if extended { 2 } else { 1 }..].split_at(length);
        match kind {
            14 => heard.announced.extend(prefixes(&value[5 + usize::from(value[3])..], value[1])),
            15 => heard.withdrawn.extend(prefixes(&value[3..], value[1])),
            _ => {}
        }
        assert!(heard.attributes.insert(*kind, value.to_vec()).is_none(), "attribute {kind} comes twice");
        rest = after;
    }
    heard
}

fn prefixes(mut octets: &[u8], afi: u8) -> Vec<IpNet> {
    let mut found = Vec::new();
    while let [length, rest @ ..] = octets {
        let (kept, rest) = rest.split_at(usize::from(*length).div_ceil(8));
        let mut address = [0; 16];
        address[..kept.len()].copy_from_slice(kept);
        found.push(match afi {
            1 => {
                let address = Ipv4Addr::new(address[0], address[1], address[2], address[3]);
                Ipv4Net::new(address, *length).unwrap().into()
            }
            _ => Ipv6Net::new(Ipv6Addr::from(address), *length).unwrap().into(),
        });
        octets = rest;
    }
    found
}

/// The octets of prefixes of IPv4.
pub(crate) fn nlri(prefixes: impl IntoIterator<Item = IpNet>) -> Vec<u8> {
    let mut octets = Vec::new();
    for prefix in prefixes {
        let IpAddr::V4(address) = prefix.addr() else { panic!("{prefix} is not of IPv4") };
        octets.push(prefix.prefix_len());
        octets.extend(&address.octets()[..usize::from(prefix.prefix_len()).div_ceil(8)]);
    }
    octets
}
