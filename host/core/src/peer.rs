//! What a BGP neighbour may be: where it is, its AS number, and its role.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where the neighbours of a BGPPeer are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Neighbour {
    /// One router: `spec.peerAddress`.
    Address(IpAddr),
    /// Whoever of this prefix connects: `spec.peerRange`.
    Range {
        /// Their addresses.
        prefix: IpNet,
        /// How many at once, from 1 on.
        most: u16,
    },
    /// The router that is heard on this interface (unnumbered): `spec.peerInterface`.
    Interface(Arc<str>),
}

impl Neighbour {
    /// The router's address, where it is known before it is heard of.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Range { .. } | Self::Interface(_) => None,
        }
    }

    /// The field of a BGPPeer that says it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Address(_) => "spec.peerAddress",
            Self::Range { .. } => "spec.peerRange",
            Self::Interface(_) => "spec.peerInterface",
        }
    }

    /// Whether both may be one router at the other end of one session.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range { prefix, .. }, Self::Range { prefix: other, .. }) => prefix == other,
            _ => self == other,
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Range { prefix, .. } => write!(f, "{prefix}"),
            Self::Interface(interface) => write!(f, "{interface}"),
        }
    }
}

/// Which AS number the neighbour must have.
///
/// Written as a number, or as the word of `spec.dynamicASN`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum PeerAsn {
    /// This one, not 0.
    Exactly(u32),
    /// The one of this side (iBGP).
    Internal,
    /// Any other one (eBGP).
    External,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Internal,
    External,
}

impl From<Written> for PeerAsn {
    fn from(written: Written) -> Self {
        match written {
            Written::Number(asn) => Self::Exactly(asn),
            Written::Word(Word::Internal) => Self::Internal,
            Written::Word(Word::External) => Self::External,
        }
    }
}

impl From<PeerAsn> for Written {
    fn from(asn: PeerAsn) -> Self {
        match asn {
            PeerAsn::Exactly(asn) => Self::Number(asn),
            PeerAsn::Internal => Self::Word(Word::Internal),
            PeerAsn::External => Self::Word(Word::External),
        }
    }
}

impl From<u32> for PeerAsn {
    fn from(asn: u32) -> Self {
        Self::Exactly(asn)
    }
}

impl PeerAsn {
    /// The number, where it is known before a session is: `local` is that of this side.
    pub fn known(self, local: u32) -> Option<u32> {
        match self {
            Self::Exactly(asn) => Some(asn),
            Self::Internal => Some(local),
            Self::External => None,
        }
    }

    /// Both sides are of one AS (iBGP).
    pub fn is_internal(self, local: u32) -> bool {
        self.known(local) == Some(local)
    }

    /// Whether a neighbour may say that it is of this AS, where this side is of `local`.
    pub fn admits(self, asn: u32, local: u32) -> bool {
        asn != 0
            && match self {
                Self::Exactly(exactly) => asn == exactly,
                Self::Internal => asn == local,
                Self::External => asn != local,
            }
    }
}

/// What one side of an external session is to the other (RFC 9234 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The neighbour's transit provider.
    Provider,
    /// A route server.
    RouteServer,
    /// A client of a route server.
    RouteServerClient,
    /// The neighbour's customer.
    Customer,
    /// A lateral peer.
    Peer,
}

impl Role {
    /// The role that the other side must have (RFC 9234 §4.2, table 2).
    pub fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// Routes towards the counterpart carry Only to Customer (RFC 9234 §5).
    pub fn marks_only_to_customer(self) -> bool {
        matches!(self, Self::Provider | Self::Peer | Self::RouteServer)
    }
}

/// The role of this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnRole {
    /// Which.
    pub role: Role,
    /// Refuse a neighbour that does not tell its own (RFC 9234 §4.2).
    pub strict: bool,
}
