//! Prefixes and route attributes, in the terms of BGP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Address family: IPv4 or IPv6 unicast (AFI 1 or 2, SAFI 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// IPv4 unicast.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6 unicast.
    #[serde(rename = "IPv6")]
    Ipv6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The family of a prefix.
    pub fn of_net(net: IpNet) -> Self {
        Self::of(net.addr())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// The host route of an address: `/32` or `/128`.
pub fn host_route(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// A standard community (RFC 1997): two 16-bit halves, written `65000:100` or by its well-known name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Community(pub u32);

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326 §4): the receiver sets local preference 0.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xFFFF_0000);
    /// BLACKHOLE (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xFFFF_029A);
    /// NO_EXPORT (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xFFFF_FF01);
    /// NO_ADVERTISE (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xFFFF_FF02);
    /// NO_EXPORT_SUBCONFED (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xFFFF_FF03);
    /// NOPEER (RFC 3765).
    pub const NO_PEER: Self = Self(0xFFFF_FF04);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
        (Self::BLACKHOLE, "blackhole"),
        (Self::NO_EXPORT, "no-export"),
        (Self::NO_ADVERTISE, "no-advertise"),
        (Self::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
        (Self::NO_PEER, "no-peer"),
    ];
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(value, _)| value == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xFFFF),
        }
    }
}

impl fmt::Debug for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Community> for String {
    fn from(community: Community) -> Self {
        community.to_string()
    }
}

/// Why a text is not a community.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct CommunityError {
    text: String,
    expected: &'static str,
}

impl FromStr for Community {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((value, _)) = Self::NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*value);
        }
        let halves = text.split_once(':').and_then(|(high, low)| {
            Some((u32::from(high.parse::<u16>().ok()?) << 16) | u32::from(low.parse::<u16>().ok()?))
        });
        halves.map(Self).ok_or_else(|| CommunityError {
            text: text.into(),
            expected: "a community: two numbers of 0 to 65535 as 65000:100, or a well-known name as no-export",
        })
    }
}

impl TryFrom<String> for Community {
    type Error = CommunityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// An extended community (RFC 4360): eight octets. Written `rt:64512:100` or `soo:192.0.2.1:100` where it is a route target or a
/// site of origin, else in hexadecimal as `0x0002fc0000000064`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub u64);

impl ExtendedCommunity {
    /// Subtypes with names (RFC 4360 §4 and §5).
    const NAMES: [(u8, &'static str); 2] = [(0x02, "rt"), (0x03, "soo")];

    fn named(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(':')?;
        let (administrator, number) = rest.rsplit_once(':')?;
        let subtype = Self::NAMES.iter().find(|(_, known)| *known == name)?.0;
        // The administrator takes two octets, or four: the number has the others of six (RFC 4360 §3, RFC 5668 §2).
        let (kind, value) = if let Ok(asn) = administrator.parse::<u16>() {
            (0x00, (u64::from(asn) << 32) | u64::from(number.parse::<u32>().ok()?))
        } else {
            let (kind, four) = match (administrator.parse::<u32>(), administrator.parse::<Ipv4Addr>()) {
                (Ok(asn), _) => (0x02, asn),
                (_, Ok(address)) => (0x01, u32::from(address)),
                _ => return None,
            };
            (kind, (u64::from(four) << 16) | u64::from(number.parse::<u16>().ok()?))
        };
        Some(Self((kind << 56) | (u64::from(subtype) << 48) | value))
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, a, b, c, d, e, g] = self.0.to_be_bytes();
        let name = Self::NAMES.iter().find(|(known, _)| *known == subtype).map(|(_, name)| name);
        match (kind, name) {
            (0x00, Some(name)) => {
                write!(f, "{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]))
            }
            (0x01, Some(name)) => {
                write!(f, "{name}:{}:{}", Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, g]))
            }
            (0x02, Some(name)) => {
                write!(f, "{name}:{}:{}", u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, g]))
            }
            _ => write!(f, "0x{:016x}", self.0),
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 16);
        let hexadecimal = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Self);
        hexadecimal.or_else(|| Self::named(text)).ok_or_else(|| CommunityError {
            text: text.into(),
            expected: "an extended community: rt:64512:100 or soo:192.0.2.1:100 (an AS number or an IPv4 address, and a \
                       number), or 0x and 16 hexadecimal digits",
        })
    }
}

/// A large community (RFC 8092): three 32-bit parts, written `64512:1:2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LargeCommunity {
    /// Global administrator, by custom an AS number.
    pub global: u32,
    /// First local part.
    pub local1: u32,
    /// Second local part.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl fmt::Debug for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<LargeCommunity> for String {
    fn from(community: LargeCommunity) -> Self {
        community.to_string()
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some(&[global, local1, local2]) => Ok(Self { global, local1, local2 }),
            _ => Err(CommunityError {
                text: text.into(),
                expected: "a large community: three numbers of 0 to 4294967295 as 64512:1:2",
            }),
        }
    }
}

impl TryFrom<String> for LargeCommunity {
    type Error = CommunityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What a route carries beside its prefix: the answer of the `route` decision.
///
/// ORIGIN, the AS path proper and the default next hop are the speaker's own business; a decision only adds to them.
/// Lists are sorted and free of duplicates once [`RouteAttributes::normalised`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteAttributes {
    /// COMMUNITIES (RFC 1997).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<Community>,
    /// LARGE_COMMUNITY (RFC 8092).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub large_communities: Vec<LargeCommunity>,
    /// EXTENDED COMMUNITIES (RFC 4360), eight octets each, in network order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended_communities: Vec<u64>,
    /// LOCAL_PREF (RFC 4271 §5.1.5). Sent to internal peers only; `None` there means 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<u32>,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// How many times the own AS stands in the AS path beside the one that eBGP asks for; 0 to [`RouteAttributes::PREPEND_MAX`].
    /// Sent to external peers only: an internal one would take it for a loop.
    #[serde(skip_serializing_if = "is_zero")]
    pub prepend: u8,
    /// Link bandwidth in bytes per second, for weighted ECMP (draft-ietf-idr-link-bandwidth).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_bandwidth: Option<u64>,
    /// NEXT_HOP in place of the speaker's own address; of the prefix's family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde's skip_serializing_if asks for"
)]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

impl RouteAttributes {
    /// Most standard communities a decision may set: 256 octets, so that no attribute block crowds out the prefixes.
    pub const COMMUNITIES_MAX: usize = 64;
    /// Most large communities: 192 octets.
    pub const LARGE_COMMUNITIES_MAX: usize = 16;
    /// Most extended communities: 128 octets.
    pub const EXTENDED_COMMUNITIES_MAX: usize = 16;
    /// Longest prepend: routers commonly drop paths longer than a few dozen.
    pub const PREPEND_MAX: u8 = 16;

    /// The same attributes with every list sorted and without duplicates, the form in which they are compared and sent.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        self.communities.sort_unstable();
        self.communities.dedup();
        self.large_communities.sort_unstable();
        self.large_communities.dedup();
        self.extended_communities.sort_unstable();
        self.extended_communities.dedup();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_community_reads_back_as_it_is_written() {
        for text in ["65000:100", "no-export", "graceful-shutdown", "0:0"] {
            assert_eq!(text.parse::<Community>().unwrap().to_string(), text);
        }
        assert_eq!("64512:1:4294967295".parse::<LargeCommunity>().unwrap().to_string(), "64512:1:4294967295");
    }

    #[test]
    fn a_community_that_is_none_is_refused_with_what_would_be_right() {
        let error = "65536:1".parse::<Community>().unwrap_err().to_string();
        assert!(error.contains("65536:1") && error.contains("65000:100"), "{error}");
        assert!("1:2".parse::<LargeCommunity>().is_err());
        assert!("".parse::<Community>().is_err());
    }
}
