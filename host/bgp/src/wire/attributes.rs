//! Path attributes, encoded once for a session and shared by every UPDATE that carries them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_core::{Family, RouteAttributes};
use bytes::{BufMut, Bytes, BytesMut};

use super::{AS_TRANS, MAX_MESSAGE, update};
use crate::error::RefusalReason;

const WELL_KNOWN: u8 = 0x40;
const OPTIONAL: u8 = 0x80;
const OPTIONAL_TRANSITIVE: u8 = 0xC0;
/// The flag of an attribute whose length takes two octets (RFC 4271 §4.3).
pub(crate) const EXTENDED_LENGTH: u8 = 0x10;

/// Type of Only to Customer (RFC 9234 §5).
const ONLY_TO_CUSTOMER: u8 = 35;

/// LOCAL_PREF where the decision names none.
const DEFAULT_LOCAL_PREFERENCE: u32 = 100;

/// What of a session the encoding of attributes depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Encoder {
    /// The AS number this side uses in the session.
    pub(crate) local_asn: u32,
    /// Both sides are of one AS (iBGP).
    pub(crate) internal: bool,
    /// The neighbour understands four-octet AS numbers.
    pub(crate) four_octet: bool,
    /// The families negotiated.
    pub(crate) families: Vec<Family>,
    /// Default next hop of IPv4 routes.
    pub(crate) next_hop_v4: Option<NextHop>,
    /// Default next hop of IPv6 routes.
    pub(crate) next_hop_v6: Option<NextHop>,
    /// IPv4 routes may have IPv6 next hops (RFC 8950).
    pub(crate) extended_next_hop: bool,
    /// Routes carry Only to Customer (RFC 9234 §5).
    pub(crate) only_to_customer: bool,
}

/// A next hop as it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NextHop {
    /// In NEXT_HOP.
    V4(Ipv4Addr),
    /// In MP_REACH_NLRI; link-local where the session has no other.
    V6(Ipv6Addr),
}

impl NextHop {
    fn named(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

/// The attributes of one family, without MP_REACH_NLRI, which every UPDATE writes anew around its prefixes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Encoded {
    /// The next hop, which for IPv6 stands in MP_REACH_NLRI.
    pub(crate) next_hop: NextHop,
    /// Attributes in ascending order of type, NEXT_HOP among them for IPv4.
    pub(crate) block: Bytes,
}

impl Encoder {
    /// Encodes `attributes` for routes of `family`.
    pub(crate) fn encode(
        &self,
        attributes: &RouteAttributes,
        family: Family,
    ) -> Result<Encoded, RefusalReason> {
        if !self.families.contains(&family) {
            return Err(RefusalReason::NotNegotiated);
        }
        let next_hop = match (attributes.next_hop, family) {
            (Some(address), _) if !self.carries(family, address) => {
                return Err(RefusalReason::ForeignNextHop);
            }
            (Some(address), _) => Some(NextHop::named(address)),
            (None, Family::Ipv4) => self.next_hop_v4,
            (None, Family::Ipv6) => self.next_hop_v6,
        }
        .ok_or(RefusalReason::NoNextHop)?;

        let mut block = BytesMut::with_capacity(64);
        put(&mut block, WELL_KNOWN, 1, &[0]);
        let path = self.path(attributes.prepend);
        put(&mut block, WELL_KNOWN, 2, &self.as_path(&path));
        if let NextHop::V4(address) = next_hop {
            put(&mut block, WELL_KNOWN, 3, &address.octets());
        }
        if let Some(med) = attributes.med {
            put(&mut block, OPTIONAL, 4, &med.to_be_bytes());
        }
        if self.internal {
            let preference = attributes.local_preference.unwrap_or(DEFAULT_LOCAL_PREFERENCE);
            put(&mut block, WELL_KNOWN, 5, &preference.to_be_bytes());
        }
        put_list(&mut block, 8, attributes.communities.iter().map(|c| c.0.to_be_bytes()));
        put_list(&mut block, 16, self.extended_communities(attributes).into_iter().map(u64::to_be_bytes));
        if !self.four_octet && path.iter().any(|asn| u16::try_from(*asn).is_err()) {
            put(&mut block, OPTIONAL_TRANSITIVE, 17, &segment(&path, |out, asn| out.put_u32(asn)));
        }
        put_list(
            &mut block,
            32,
            attributes.large_communities.iter().map(|c| {
                let mut octets = [0; 12];
                octets[..4].copy_from_slice(&c.global.to_be_bytes());
                octets[4..8].copy_from_slice(&c.local1.to_be_bytes());
                octets[8..].copy_from_slice(&c.local2.to_be_bytes());
                octets
            }),
        );
        if self.only_to_customer {
            put(&mut block, OPTIONAL_TRANSITIVE, ONLY_TO_CUSTOMER, &self.local_asn.to_be_bytes());
        }
        if update::room(next_hop, block.len()) < update::longest_prefix(family) {
            return Err(RefusalReason::TooLarge(block.len()));
        }
        debug_assert!(block.len() < MAX_MESSAGE);
        Ok(Encoded { next_hop, block: block.freeze() })
    }

    /// Routes of a family may have this next hop.
    fn carries(&self, family: Family, next_hop: IpAddr) -> bool {
        Family::of(next_hop) == family || (family == Family::Ipv4 && self.extended_next_hop)
    }

    /// The AS path: for eBGP the own AS once and the prepends, nothing for iBGP (RFC 4271 §5.1.2). An internal peer would
    /// drop a route whose path names its own AS as a loop (§9).
    fn path(&self, prepend: u8) -> Vec<u32> {
        if self.internal { Vec::new() } else { vec![self.local_asn; 1 + usize::from(prepend)] }
    }

    fn as_path(&self, path: &[u32]) -> Vec<u8> {
        if self.four_octet {
            segment(path, |out, asn| out.put_u32(asn))
        } else {
            segment(path, |out, asn| out.put_u16(u16::try_from(asn).unwrap_or(AS_TRANS)))
        }
    }

    fn extended_communities(&self, attributes: &RouteAttributes) -> Vec<u64> {
        let mut all = attributes.extended_communities.clone();
        if let Some(octets_per_second) = attributes.link_bandwidth {
            all.push(link_bandwidth(self.local_asn, octets_per_second));
            all.sort_unstable();
            all.dedup();
        }
        all
    }
}

/// One AS_SEQUENCE, or nothing for an empty path. A path is at most 1 + 255 long; a segment holds 255.
fn segment(path: &[u32], put_asn: impl Fn(&mut Vec<u8>, u32)) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + path.len() * 4);
    for part in path.chunks(255) {
        out.put_u8(2);
        out.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
        part.iter().for_each(|asn| put_asn(&mut out, *asn));
    }
    out
}

/// The Link Bandwidth extended community (draft-ietf-idr-link-bandwidth §2): non-transitive, octets per second as an
/// IEEE 754 single.
#[allow(clippy::cast_precision_loss, reason = "the wire format is a single-precision number")]
fn link_bandwidth(asn: u32, octets_per_second: u64) -> u64 {
    let asn = u16::try_from(asn).unwrap_or(AS_TRANS);
    (0x4004 << 48) | (u64::from(asn) << 32) | u64::from((octets_per_second as f32).to_bits())
}

fn put(block: &mut BytesMut, flags: u8, kind: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => block.put_slice(&[flags, kind, length]),
        Err(_) => {
            block.put_slice(&[flags | EXTENDED_LENGTH, kind]);
            // Longer blocks are refused by `Encoder::encode`, whatever this octet pair says.
            block.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        }
    }
    block.put_slice(value);
}

/// A list attribute; absent where the list is empty. The list is sorted and free of duplicates already.
fn put_list<const N: usize>(block: &mut BytesMut, kind: u8, items: impl Iterator<Item = [u8; N]>) {
    let value: Vec<u8> = items.flatten().collect();
    if !value.is_empty() {
        put(block, OPTIONAL_TRANSITIVE, kind, &value);
    }
}
