//! Whether kube-proxy can know yet that an address is one of a Service's.
//!
//! kube-proxy serves an address from when the Service's status lists it, and programs it some time after. So in a cluster
//! a node begins to announce an address once the status lists it and [`PUBLICATION_SETTLE`] has passed. That is asked
//! once: as long as the Service holds the address, claims alone decide, and a status that somebody else empties or forges
//! withdraws nothing.

use std::time::{Duration, Instant};

/// From when the status lists an address until it is announced.
///
/// kube-proxy starts a sync at the earliest `minSyncPeriod` (default 1 s) after the one before has ended, and a Service
/// that is new has just caused one: so it is a second until the next one begins, which takes some 0.1 s more. Where the
/// kernel is programmed cannot be asked of kube-proxy for `externalTrafficPolicy: Cluster`, and for `Local` its answer
/// is of endpoints and not of addresses.
pub const PUBLICATION_SETTLE: Duration = Duration::from_millis(1200);

/// How far kube-proxy can be with one address of one Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Publication {
    /// The status has not listed the address since the Service holds it.
    #[default]
    Awaited,
    /// It lists it; kube-proxy is given until then.
    Settling(Instant),
    /// It may be announced from now on, whatever the status says.
    Served,
}

impl Publication {
    /// What comes after `self`, with what the status says at `now`. `stood` where it said so before this node planned
    /// anything: kube-proxy has had it for long.
    #[must_use]
    pub(super) fn next(self, listed: bool, stood: bool, now: Instant) -> Self {
        match self {
            Self::Served => Self::Served,
            _ if !listed => Self::Awaited,
            _ if stood => Self::Served,
            Self::Settling(until) if until <= now => Self::Served,
            Self::Settling(_) => self,
            Self::Awaited => Self::Settling(now + PUBLICATION_SETTLE),
        }
    }

    /// When it has to be looked at again.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Settling(until) => Some(until),
            Self::Awaited | Self::Served => None,
        }
    }
}
