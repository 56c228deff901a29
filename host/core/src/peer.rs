//! What a BGP neighbour may be: its AS number, and its role.

use serde::{Deserialize, Serialize};

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
