//! OPENs: what is offered, what is acceptable, what both agreed on.

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::Family;
use bellhop_core::peer::{OwnRole, Role};
use serde::Serialize;

use super::config::PeerConfig;
use crate::wire::{GracefulRestartCapability, Notification, Open};

/// How much is offered; less after the neighbour refused it. Remembered until the peer is configured anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Offer {
    /// No optional parameters at all: IPv4 and two-octet AS numbers.
    Nothing,
    /// Families and four-octet AS numbers only.
    Required,
    /// Everything.
    Full,
}

impl Offer {
    /// What to offer after a refusal with this subcode of OPEN Message Error; `None` where that would not help.
    pub(super) fn reduced(self, subcode: u8) -> Option<Self> {
        match (self, subcode) {
            (Self::Full, 7) => Some(Self::Required),
            (Self::Full | Self::Required, 4) | (Self::Required, 7) => Some(Self::Nothing),
            _ => None,
        }
    }
}

/// What a session agreed on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Negotiated {
    /// The neighbour's BGP Identifier.
    pub router_id: Ipv4Addr,
    /// The neighbour's AS number.
    pub peer_asn: u32,
    /// The lesser of both hold times; zero for none.
    pub hold_time: Duration,
    /// The keepalive interval before jitter; zero for none.
    pub keepalive_time: Duration,
    /// Families both speak.
    pub families: Vec<Family>,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet: bool,
    /// Route refresh, of which kind.
    pub route_refresh: bool,
    /// Enhanced route refresh (RFC 7313).
    pub enhanced_refresh: bool,
    /// Both announced graceful restart (RFC 4724).
    pub graceful_restart: bool,
    /// Both announced its NOTIFICATION support (RFC 8538).
    pub notification_restart: bool,
    /// The neighbour says that it restarted.
    pub peer_restarted: bool,
    /// The neighbour's restart time.
    pub peer_restart_time: Duration,
    /// IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// The neighbour's role (RFC 9234), where this side has one.
    pub peer_role: Option<Role>,
}

/// The OPEN of this side.
pub(super) fn open(config: &PeerConfig, offer: Offer, restarting: bool, forwarding_preserved: bool) -> Open {
    let full = offer == Offer::Full;
    Open {
        asn: config.local_asn,
        hold_time: u16::try_from(config.hold_time.as_secs()).unwrap_or(u16::MAX),
        router_id: config.router_id,
        families: (offer >= Offer::Required).then(|| config.families.clone()),
        four_octet: offer >= Offer::Required,
        route_refresh: full,
        enhanced_refresh: full,
        graceful_restart: config.graceful_restart.filter(|_| full).map(|gr| GracefulRestartCapability {
            restarted: restarting,
            notification: gr.notification,
            restart_time: u16::try_from(gr.restart_time.as_secs()).unwrap_or(4095).min(4095),
            families: config.families.iter().map(|family| (*family, forwarding_preserved)).collect(),
        }),
        extended_next_hop: full && config.extended_next_hop,
        roles: config.role.filter(|_| full).map(|own| Some(own.role)).into_iter().collect(),
    }
}

/// Checks the neighbour's OPEN (RFC 4271 §6.2) and settles what both agree on.
pub(super) fn negotiate(
    config: &PeerConfig,
    offer: Offer,
    theirs: &Open,
) -> Result<Negotiated, Notification> {
    if !config.peer_asn.admits(theirs.asn, config.local_asn) {
        return Err(Notification::new(2, 2));
    }
    if theirs.router_id.is_unspecified() || (config.is_internal() && theirs.router_id == config.router_id) {
        return Err(Notification::new(2, 3));
    }
    if matches!(theirs.hold_time, 1 | 2) {
        return Err(Notification::new(2, 6));
    }
    // Without the capability on either side it is IPv4 unicast alone (RFC 4760 §8).
    let only_ipv4 = offer == Offer::Nothing || theirs.families.is_none();
    let families: Vec<Family> = match &theirs.families {
        Some(theirs) if !only_ipv4 => {
            config.families.iter().copied().filter(|f| theirs.contains(f)).collect()
        }
        _ => config.families.iter().copied().filter(|f| *f == Family::Ipv4).collect(),
    };
    if families.is_empty() {
        return Err(Notification::with_data(2, 7, Open::multiprotocol_capabilities(&config.families)));
    }
    let peer_role = role(config.role.filter(|own| own.strict || offer == Offer::Full), &theirs.roles)?;
    let hold_time = Duration::from_secs(config.hold_time.as_secs().min(u64::from(theirs.hold_time)));
    let restart = theirs
        .graceful_restart
        .as_ref()
        .filter(|_| config.graceful_restart.is_some() && offer == Offer::Full);
    let own_restart = config.graceful_restart;
    Ok(Negotiated {
        router_id: theirs.router_id,
        peer_asn: theirs.asn,
        hold_time,
        keepalive_time: keepalive_time(config, hold_time),
        families,
        four_octet: theirs.four_octet && offer >= Offer::Required,
        route_refresh: theirs.route_refresh && offer == Offer::Full,
        enhanced_refresh: theirs.enhanced_refresh && offer == Offer::Full,
        graceful_restart: restart.is_some(),
        notification_restart: restart.is_some_and(|restart| restart.notification)
            && own_restart.is_some_and(|own| own.notification),
        peer_restarted: restart.is_some_and(|restart| restart.restarted),
        peer_restart_time: Duration::from_secs(restart.map_or(0, |restart| u64::from(restart.restart_time))),
        extended_next_hop: config.extended_next_hop && theirs.extended_next_hop && offer == Offer::Full,
        peer_role,
    })
}

/// The keepalive interval of a session with this hold time, before jitter: never more than a third of it.
pub(super) fn keepalive_time(config: &PeerConfig, hold_time: Duration) -> Duration {
    let third = hold_time / 3;
    config.keepalive_time.map_or(third, |time| time.min(third))
}

/// The neighbour's role, where it goes with ours (RFC 9234 §4.2). Without one of this side theirs says nothing.
fn role(own: Option<OwnRole>, theirs: &[Option<Role>]) -> Result<Option<Role>, Notification> {
    let Some(own) = own else { return Ok(None) };
    let mismatch = || Notification::new(2, 11);
    match theirs {
        [] if own.strict => Err(mismatch()),
        [] => Ok(None),
        // Several must be equal.
        [first, rest @ ..] if rest.iter().all(|other| other == first) => {
            first.filter(|role| *role == own.role.counterpart()).map(Some).ok_or_else(mismatch)
        }
        _ => Err(mismatch()),
    }
}
