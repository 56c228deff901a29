//! What a session is configured with.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::wire::TTL;

/// Bounds of the intervals of both directions. Less than 10 ms cannot be promised by a thread of an ordinary priority,
/// and each promise that is not kept takes a session down; with more than a minute the routing protocol's own timers
/// find a failure first.
pub const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// Configuration of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionConfig {
    /// Who speaks first.
    pub role: Role,
    /// How often this side would like to send while Up, within [`INTERVALS`]; parts of a microsecond are dropped. The
    /// neighbour may ask for less. While not Up it is at least 1 s (RFC 5880 §6.8.3).
    pub desired_min_tx: Duration,
    /// How often this side can take packets, within [`INTERVALS`]; parts of a microsecond are dropped.
    pub required_min_rx: Duration,
    /// How many packets in a row the neighbour may miss: 1 to 255.
    pub detect_multiplier: u8,
    /// Over how many hops.
    pub kind: Kind,
}

/// Who speaks first (RFC 5880 §6.1). One side at least must be active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub enum Role {
    /// Sends whether or not the neighbour was heard.
    Active,
    /// Sends nothing until the neighbour was heard.
    Passive,
}

/// Over how many hops a session goes, and so how far packets of it may have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The neighbour is on the link: packets must arrive with TTL 255 (RFC 5881 §5, the check of RFC 5082).
    SingleHop,
    /// The neighbour may be behind routers (RFC 5883).
    MultiHop {
        /// The least TTL that packets must arrive with: 1 to 254. 254 allows one router between, 1 any number.
        min_ttl: u8,
    },
}

impl Kind {
    /// The least TTL or Hop Limit that a packet must arrive with.
    pub const fn least_ttl(self) -> u8 {
        match self {
            Self::SingleHop => TTL,
            Self::MultiHop { min_ttl } => min_ttl,
        }
    }

    /// The kind without its parameters.
    pub const fn hops(self) -> Hops {
        match self {
            Self::SingleHop => Hops::Single,
            Self::MultiHop { .. } => Hops::Multi,
        }
    }
}

/// One hop or several: which port, and which sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
pub enum Hops {
    /// RFC 5881.
    Single,
    /// RFC 5883.
    Multi,
}

impl Hops {
    /// The UDP destination port: 3784 (RFC 5881 §4) or 4784 (RFC 5883 §5).
    pub const fn port(self) -> u16 {
        match self {
            Self::Single => 3784,
            Self::Multi => 4784,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionConfigError {
    /// An interval out of [`INTERVALS`].
    #[error("{field}: {value:?} is not allowed; use {:?} to {:?}", INTERVALS.start(), INTERVALS.end())]
    Interval {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: Duration,
    },
    /// A detect multiplier of 0 (RFC 5880 §4.1).
    #[error("detect_multiplier: 0 is not allowed; use 1 to 255")]
    DetectMultiplier,
    /// A TTL that none or only a direct neighbour's packet has.
    #[error("kind.min_ttl: {0} is not allowed; use 1 to 254, or a single hop where it would be 255")]
    MinTtl(u8),
    /// Another number of hops makes another session.
    #[error("kind: {is:?} cannot become {wanted:?}; remove the session and add another")]
    Kind {
        /// What the session is.
        is: Hops,
        /// What it should become.
        wanted: Hops,
    },
}

impl SessionConfig {
    /// Whether the values are in their bounds.
    pub fn check(&self) -> Result<(), SessionConfigError> {
        let intervals = [("desired_min_tx", self.desired_min_tx), ("required_min_rx", self.required_min_rx)];
        for (field, value) in intervals {
            if !INTERVALS.contains(&value) {
                return Err(SessionConfigError::Interval { field, value });
            }
        }
        if self.detect_multiplier == 0 {
            return Err(SessionConfigError::DetectMultiplier);
        }
        match self.kind {
            Kind::MultiHop { min_ttl: min_ttl @ (0 | TTL) } => Err(SessionConfigError::MinTtl(min_ttl)),
            Kind::MultiHop { .. } | Kind::SingleHop => Ok(()),
        }
    }
}

/// Microseconds of a configured interval; [`SessionConfig::check`] bounds it far below the limit.
pub(super) fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}
