//! Why a session ended, and why a route cannot be sent.

use bellhop_core::Family;
use ipnet::IpNet;

use crate::wire::{MAX_MESSAGE, Notification};

/// Why a connection or a session ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DownReason {
    /// This side sent a NOTIFICATION.
    #[error("sent NOTIFICATION {0}")]
    Sent(Notification),
    /// The neighbour sent a NOTIFICATION.
    #[error("received NOTIFICATION {0}")]
    Received(Notification),
    /// The neighbour closed the connection without a NOTIFICATION.
    #[error("the neighbour closed the connection")]
    Closed,
    /// The transport failed; the text is the operating system's.
    #[error("connection failed: {0}")]
    Transport(String),
    /// The dial was not answered in time.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// Nothing could be sent for the send hold time (RFC 9687).
    #[error("the neighbour took no data for {0} s")]
    SendHold(u64),
    /// BFD found the path to the neighbour broken (RFC 5882 §10.2, RFC 9384).
    #[error("BFD says that the path to the neighbour is down: sent NOTIFICATION {0}")]
    BfdDown(Notification),
    /// The neighbour opened a new connection while graceful restart was in force (RFC 4724 §5).
    #[error("replaced by a new connection of the neighbour")]
    Replaced,
    /// Lost a connection collision without a word, as nothing had been said on it.
    #[error("lost a connection collision")]
    Collision,
    /// Closed by the operator's or the driver's [`StopReason::Silent`](crate::StopReason::Silent).
    #[error("stopped")]
    Stopped,
}

impl DownReason {
    /// A label from a closed set, for metrics and conditions.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Sent(_) => "notification_sent",
            Self::Received(_) => "notification_received",
            Self::Closed => "closed",
            Self::Transport(_) => "transport",
            Self::Timeout(_) => "timeout",
            Self::SendHold(_) => "send_hold",
            Self::BfdDown(_) => "bfd_down",
            Self::Replaced => "replaced",
            Self::Collision => "collision",
            Self::Stopped => "stopped",
        }
    }
}

/// Routes of one family and attribute set that this session cannot carry. An earlier announcement stays in force.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Refusal {
    /// The family of the routes.
    pub family: Family,
    /// What is in the way.
    pub reason: RefusalReason,
}

/// How many routes meet with one refusal, and which one is the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRoutes {
    /// Their family, and what is in the way.
    pub refusal: Refusal,
    /// How many.
    pub prefixes: usize,
    /// The least of them.
    pub first: IpNet,
}

/// Why routes cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum RefusalReason {
    /// The family was not negotiated.
    #[error("the neighbour did not negotiate this family")]
    NotNegotiated,
    /// Neither configuration, nor session address, nor attributes give a next hop of the family.
    #[error(
        "no next hop of this family: the session runs over the other one and none is configured or found on its interface"
    )]
    NoNextHop,
    /// The attributes name a next hop of the other family, and the session does not carry IPv4 over IPv6 (RFC 8950).
    #[error("the attributes' next hop is of the other family")]
    ForeignNextHop,
    /// The attributes leave no room for a prefix in a message.
    #[error("the attributes are {0} octets; with a prefix they must fit a message of {MAX_MESSAGE}")]
    TooLarge(usize),
    /// As many prefixes of the family are announced as the configuration allows.
    #[error("{0} prefixes of this family are announced already, which is the peer's prefixLimit")]
    LimitReached(u32),
}

impl RefusalReason {
    /// A label from a closed set, for metrics and conditions.
    pub fn category(self) -> &'static str {
        match self {
            Self::NotNegotiated => "not_negotiated",
            Self::NoNextHop => "no_next_hop",
            Self::ForeignNextHop => "foreign_next_hop",
            Self::TooLarge(_) => "too_large",
            Self::LimitReached(_) => "limit_reached",
        }
    }
}
