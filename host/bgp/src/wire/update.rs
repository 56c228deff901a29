//! UPDATE messages: writing them full of prefixes, and looking at those received.

use std::net::IpAddr;

use bellhop_core::Family;
use bytes::{BufMut, Bytes, BytesMut};
use ipnet::IpNet;
use rustbgpd_wire as codec;

use super::attributes::{EXTENDED_LENGTH, Encoded, NextHop};
use super::{HEADER, MAX_MESSAGE, Notification, UPDATE, afi, answer, family_of, put_header};

/// Header, Withdrawn Routes Length and Total Path Attribute Length.
const FIXED: usize = HEADER + 4;
/// Flags, type and extended length of MP_REACH_NLRI or MP_UNREACH_NLRI, then AFI and SAFI.
const MP_FIXED: usize = 4 + 3;
/// Next hop length, an IPv6 next hop and the reserved octet of MP_REACH_NLRI.
const MP_NEXT_HOP: usize = 1 + 16 + 1;

/// The octets an NLRI takes: the length and as many octets as it covers (RFC 4271 §4.3).
fn nlri_length(prefix: IpNet) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}

/// The octets of the longest NLRI of a family: a host route.
pub(crate) fn longest_prefix(family: Family) -> usize {
    match family {
        Family::Ipv4 => 5,
        Family::Ipv6 => 17,
    }
}

/// The octets left for NLRI in an announcement with this next hop whose other attributes take `block`; zero where they
/// do not fit at all.
pub(crate) fn room(next_hop: NextHop, block: usize) -> usize {
    let around = match next_hop {
        NextHop::V4(_) => FIXED,
        NextHop::V6(_) => FIXED + MP_FIXED + MP_NEXT_HOP,
    };
    MAX_MESSAGE.saturating_sub(around + block)
}

/// Takes from `prefixes` as many as fit one withdrawal and writes it.
pub(crate) fn withdraw(
    family: Family,
    prefixes: impl Iterator<Item = IpNet>,
    buf: &mut BytesMut,
) -> Vec<IpNet> {
    let room = match family {
        Family::Ipv4 => MAX_MESSAGE - FIXED,
        Family::Ipv6 => MAX_MESSAGE - FIXED - MP_FIXED,
    };
    let (taken, nlri) = pack(prefixes, room);
    match family {
        Family::Ipv4 => {
            put_header(buf, FIXED + nlri.len(), UPDATE);
            put_length(buf, nlri.len());
            buf.put_slice(&nlri);
            buf.put_u16(0);
        }
        Family::Ipv6 => {
            put_header(buf, FIXED + MP_FIXED + nlri.len(), UPDATE);
            buf.put_u16(0);
            put_length(buf, MP_FIXED + nlri.len());
            put_mp_unreach(buf, family, &nlri);
        }
    }
    taken
}

/// Takes from `prefixes` as many as fit one announcement with these attributes and writes it.
pub(crate) fn announce(
    family: Family,
    encoded: &Encoded,
    prefixes: impl Iterator<Item = IpNet>,
    buf: &mut BytesMut,
) -> Vec<IpNet> {
    let (taken, nlri) = pack(prefixes, room(encoded.next_hop, encoded.block.len()));
    match encoded.next_hop {
        NextHop::V4(_) => {
            put_header(buf, FIXED + encoded.block.len() + nlri.len(), UPDATE);
            buf.put_u16(0);
            put_length(buf, encoded.block.len());
            buf.put_slice(&encoded.block);
            buf.put_slice(&nlri);
        }
        NextHop::V6(address) => {
            let reach = MP_FIXED + MP_NEXT_HOP + nlri.len();
            put_header(buf, FIXED + reach + encoded.block.len(), UPDATE);
            buf.put_u16(0);
            put_length(buf, reach + encoded.block.len());
            // First of all attributes (RFC 7606 §5.1).
            buf.put_slice(&[0x90, 14]);
            put_length(buf, reach - 4);
            buf.put_slice(&[0, afi(family), 1, 16]);
            buf.put_slice(&address.octets());
            buf.put_u8(0);
            buf.put_slice(&nlri);
            buf.put_slice(&encoded.block);
        }
    }
    taken
}

/// End-of-RIB (RFC 4724 §2).
pub(crate) fn end_of_rib(family: Family, buf: &mut BytesMut) {
    match family {
        Family::Ipv4 => {
            put_header(buf, FIXED, UPDATE);
            buf.put_u32(0);
        }
        Family::Ipv6 => {
            put_header(buf, FIXED + MP_FIXED, UPDATE);
            buf.put_u16(0);
            put_length(buf, MP_FIXED);
            put_mp_unreach(buf, family, &[]);
        }
    }
}

fn put_mp_unreach(buf: &mut BytesMut, family: Family, nlri: &[u8]) {
    buf.put_slice(&[0x90, 15]);
    put_length(buf, 3 + nlri.len());
    buf.put_slice(&[0, afi(family), 1]);
    buf.put_slice(nlri);
}

/// A length within a message, so at most [`MAX_MESSAGE`].
fn put_length(buf: &mut BytesMut, length: usize) {
    debug_assert!(length <= MAX_MESSAGE);
    buf.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
}

fn pack(prefixes: impl Iterator<Item = IpNet>, room: usize) -> (Vec<IpNet>, Vec<u8>) {
    let mut taken = Vec::new();
    let mut nlri = Vec::new();
    for prefix in prefixes {
        let length = nlri_length(prefix);
        if nlri.len() + length > room {
            break;
        }
        nlri.push(prefix.prefix_len());
        match prefix.network() {
            IpAddr::V4(address) => nlri.extend_from_slice(&address.octets()[..length - 1]),
            IpAddr::V6(address) => nlri.extend_from_slice(&address.octets()[..length - 1]),
        }
        taken.push(prefix);
    }
    (taken, nlri)
}

/// What a received UPDATE amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Inspected {
    /// Prefixes announced.
    pub(crate) announced: u64,
    /// The routes count as withdrawn, as an attribute is malformed or missing (RFC 7606 §2).
    pub(crate) treated_as_withdraw: bool,
    /// Attributes to discard (RFC 7606 §2).
    pub(crate) discarded: u64,
    /// The End-of-RIB of this family.
    pub(crate) end_of_rib: Option<Family>,
}

/// Removes MP_REACH_NLRI and MP_UNREACH_NLRI of families that are not ours, and says how many they were: routes that nobody asked
/// for, of whatever form, are ignored (RFC 4760 §7) and the session goes on. What is no list of attributes stays, for the codec
/// to judge.
fn leave_out_foreign_families(attributes: &mut Bytes) -> u64 {
    let mut kept: Vec<Bytes> = Vec::new();
    let mut foreign = 0;
    let mut rest = attributes.clone();
    while let Some((length, family)) = first_attribute(&rest) {
        let attribute = rest.split_to(length);
        if family.is_some_and(|(afi, safi)| family_of(afi, safi).is_none()) {
            foreign += 1;
        } else {
            kept.push(attribute);
        }
    }
    if foreign > 0 {
        kept.push(rest);
        *attributes = kept.concat().into();
    }
    foreign
}

/// The length of the first attribute of a list, and AFI and SAFI where it is MP_REACH_NLRI or MP_UNREACH_NLRI; `None` where there is
/// no whole one.
fn first_attribute(list: &[u8]) -> Option<(usize, Option<(u16, u8)>)> {
    let [flags, kind, after @ ..] = list else { return None };
    let (head, value) = match after {
        [high, low, ..] if flags & EXTENDED_LENGTH != 0 => (4, u16::from_be_bytes([*high, *low])),
        [length, ..] if flags & EXTENDED_LENGTH == 0 => (3, u16::from(*length)),
        _ => return None,
    };
    let length = head + usize::from(value);
    let family = match (kind, list.get(head..length)?) {
        (14 | 15, [high, low, safi, ..]) => Some((u16::from_be_bytes([*high, *low]), *safi)),
        _ => None,
    };
    Some((length, family))
}

/// Validates a whole UPDATE message by RFC 7606; an error is the NOTIFICATION that resets the session.
pub(crate) fn inspect(frame: &Bytes, four_octet: bool, internal: bool) -> Result<Inspected, Notification> {
    let mut body = frame.slice(HEADER..);
    let length = body.len();
    let mut update = codec::UpdateMessage::decode(&mut body, length).map_err(|error| answer(&error))?;
    let foreign = leave_out_foreign_families(&mut update.path_attributes);
    let revised = update.parse_revised(four_octet, internal, false, &[]).map_err(|error| answer(&error))?;
    let parsed = &revised.update;
    let mut inspected =
        Inspected { announced: parsed.announced.len() as u64, discarded: foreign, ..Inspected::default() };
    for attribute in &parsed.attributes {
        match attribute {
            codec::attribute::PathAttribute::MpReachNlri(reach) => {
                inspected.announced += reach.announced.len() as u64;
            }
            codec::attribute::PathAttribute::MpUnreachNlri(unreach)
                if unreach.afi == codec::Afi::Ipv6
                    && unreach.safi == codec::Safi::Unicast
                    && unreach.withdrawn.is_empty()
                    && foreign == 0
                    && parsed.attributes.len() == 1
                    && parsed.withdrawn.is_empty()
                    && parsed.announced.is_empty() =>
            {
                inspected.end_of_rib = Some(Family::Ipv6);
            }
            _ => {}
        }
    }
    if length == 4 {
        inspected.end_of_rib = Some(Family::Ipv4);
    }
    for malformed in &revised.malformed {
        match malformed.disposition {
            codec::validate::ErrorDisposition::SessionReset => return Err(answer(&malformed.error)),
            codec::validate::ErrorDisposition::TreatAsWithdraw => inspected.treated_as_withdraw = true,
            codec::validate::ErrorDisposition::AttributeDiscard => inspected.discarded += 1,
        }
    }
    let checked = codec::validate::validate_update_attributes(
        &parsed.attributes,
        inspected.announced > 0,
        !parsed.announced.is_empty(),
        !internal,
    );
    match checked {
        Err(error) if error.disposition == codec::validate::ErrorDisposition::SessionReset => {
            Err(Notification::with_data(3, error.subcode, error.data))
        }
        Err(error) if error.disposition == codec::validate::ErrorDisposition::TreatAsWithdraw => {
            inspected.treated_as_withdraw = true;
            Ok(inspected)
        }
        Err(_) => {
            inspected.discarded += 1;
            Ok(inspected)
        }
        Ok(()) => Ok(inspected),
    }
}
