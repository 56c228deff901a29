//! Why a packet is refused, and why the table does not take a session.

use std::net::IpAddr;

use crate::machine::SessionConfigError;
use crate::table::{MAX_SESSIONS, SessionKey};
use crate::wire::{Discriminator, State};

/// Why a packet was discarded. It then counts as never received (RFC 5880 §6.8.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Fewer octets than a packet has.
    #[error("{octets} octets; a control packet has at least 24")]
    Truncated {
        /// Octets of the payload.
        octets: usize,
    },
    /// Not version 1.
    #[error("version {0}; only version 1 is spoken")]
    Version(u8),
    /// The Length field is less than its least.
    #[error("length field {length}; it must be at least {least}")]
    ShortLength {
        /// The field.
        length: u8,
        /// 24, or 26 with the A bit.
        least: u8,
    },
    /// The Length field is more than the payload.
    #[error("length field {length} with a payload of {octets} octets")]
    LongLength {
        /// The field.
        length: u8,
        /// Octets of the payload.
        octets: usize,
    },
    /// Detect Mult is 0.
    #[error("detect multiplier 0; it must be at least 1")]
    ZeroDetectMultiplier,
    /// The M bit is set (RFC 5880 §4.1: must be zero).
    #[error("the multipoint bit is set")]
    Multipoint,
    /// My Discriminator is 0.
    #[error("my discriminator is 0")]
    ZeroMyDiscriminator,
    /// Your Discriminator is 0 in a state that cannot be reached without knowing it.
    #[error("your discriminator is 0 in state {0}; that is allowed in Down and AdminDown only")]
    ZeroYourDiscriminator(State),
    /// The A bit is set, and no authentication is in use.
    #[error("the packet is authenticated; authentication is not in use")]
    Authenticated,
    /// Your Discriminator is none of this system's.
    #[error("your discriminator {0} is no session of this system")]
    UnknownDiscriminator(Discriminator),
    /// Your Discriminator is 0, and no session is configured between these addresses.
    #[error("no session with this neighbour is configured")]
    UnknownNeighbour,
    /// Your Discriminator names a session whose packets come from elsewhere: of another neighbour, to another address,
    /// over another interface, or to the port of the other kind. Spoofed, or meant for a session that is gone.
    #[error("session {0} is not with this neighbour over this path")]
    ForeignPath(Discriminator),
    /// The packet came over more hops than the session allows (RFC 5881 §5; for a multihop session the configuration).
    #[error("TTL {ttl}; packets of this session must arrive with at least {least}")]
    Ttl {
        /// TTL or Hop Limit of the packet.
        ttl: u8,
        /// The least allowed: 255 for a single hop.
        least: u8,
    },
}

impl Refusal {
    /// Every category, in the order of the checks.
    pub const CATEGORIES: [&'static str; 13] = [
        "truncated",
        "version",
        "short_length",
        "long_length",
        "zero_detect_multiplier",
        "multipoint",
        "zero_my_discriminator",
        "zero_your_discriminator",
        "authenticated",
        "unknown_discriminator",
        "unknown_neighbour",
        "foreign_path",
        "ttl",
    ];

    /// A label from a closed set, for metrics and conditions.
    pub const fn category(self) -> &'static str {
        let index = match self {
            Self::Truncated { .. } => 0,
            Self::Version(_) => 1,
            Self::ShortLength { .. } => 2,
            Self::LongLength { .. } => 3,
            Self::ZeroDetectMultiplier => 4,
            Self::Multipoint => 5,
            Self::ZeroMyDiscriminator => 6,
            Self::ZeroYourDiscriminator(_) => 7,
            Self::Authenticated => 8,
            Self::UnknownDiscriminator(_) => 9,
            Self::UnknownNeighbour => 10,
            Self::ForeignPath(_) => 11,
            Self::Ttl { .. } => 12,
        };
        Self::CATEGORIES[index]
    }
}

/// Why the table does not take a session.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InsertError {
    /// The configuration is out of its bounds.
    #[error(transparent)]
    Config(#[from] SessionConfigError),
    /// The addresses are of two families.
    #[error("local {local} and remote {remote}; both must be of one family")]
    Families {
        /// The address of this side.
        local: IpAddr,
        /// The neighbour's address.
        remote: IpAddr,
    },
    /// An address that no single host has.
    #[error("{field}: {address} is no address of a host; use a unicast address")]
    Address {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        address: IpAddr,
    },
    /// A link-local neighbour without an interface.
    #[error("interface: 0 is any, but {0} is link-local; name the interface, and use a single hop")]
    Interface(IpAddr),
    /// There is a session between these addresses already.
    #[error("session {discriminator} is already between {} and {}", key.local, key.remote)]
    Duplicate {
        /// The session that is there.
        discriminator: Discriminator,
        /// Between whom.
        key: SessionKey,
    },
    /// The table is full.
    #[error("there are {MAX_SESSIONS} sessions already, the most that are taken")]
    Full,
}

/// Why the table does not reconfigure a session, which goes on as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReconfigureError {
    /// The configuration is out of its bounds, or makes another session of it.
    #[error(transparent)]
    Config(#[from] SessionConfigError),
    /// There is no such session.
    #[error("there is no session {0}")]
    Unknown(Discriminator),
}
