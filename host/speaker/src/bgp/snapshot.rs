//! What the BGP task shows of itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use bellhop_bgp::{Counters, State};
use bellhop_core::{Family, ObjectName};
use ipnet::IpNet;
use serde::Serialize;

use super::{PeerTrouble, SessionName};
use crate::bfd::PathStatus;

/// Every peer at one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpSnapshot {
    /// The sessions, those of ranges while they have a connection and a minute longer.
    pub peers: BTreeMap<SessionName, PeerSnapshot>,
    /// What is wanted is complete ([`super::BgpHandle::ready`]).
    pub ready: bool,
    /// Addresses that cannot be listened on, and ports that cannot be redirected, with the reason; tried again every few
    /// seconds.
    pub listen_errors: Vec<String>,
}

/// One peer.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerSnapshot {
    /// Name of its BGPPeer.
    pub peer: ObjectName,
    /// The neighbour's address; `None` for one on an interface that was not heard yet.
    pub address: Option<IpAddr>,
    /// BGP Identifier of the neighbour; `None` without a session.
    pub router_id: Option<Ipv4Addr>,
    /// The neighbour's AS number; 0 for one that only its OPEN will tell.
    pub peer_asn: u32,
    /// Ours towards it.
    pub local_asn: u32,
    /// State of the furthest connection (RFC 4271 §8.2.2).
    pub state: State,
    /// When the session came up, in milliseconds since 1970; `None` without one.
    pub established_since: Option<u64>,
    /// Negotiated hold time in seconds; the proposed one without a session.
    pub hold_time: u64,
    /// Negotiated families; the configured ones without a session.
    pub families: Vec<Family>,
    /// Both sides keep routes over a restart (RFC 4724).
    pub graceful_restart: bool,
    /// What else both sides can, in words; empty without a session.
    pub capabilities: Vec<&'static str>,
    /// Prefixes that the peer should have.
    pub prefixes_wanted: usize,
    /// Prefixes that it has.
    pub prefixes_sent: usize,
    /// UPDATEs sent in the present or last session.
    pub updates_sent: u64,
    /// Counters over all sessions.
    pub counters: Counters,
    /// What ended the last session or attempt; `None` while a session is up.
    pub last_error: Option<String>,
    /// What is wrong with the Secret of its password.
    pub problem: Option<PeerTrouble>,
    /// Routes that the session cannot carry.
    pub refused: Vec<FamilyRefusal>,
    /// What BFD says of the path; `None` where nobody asked for it.
    pub bfd: Option<PathStatus>,
}

/// Routes that a session cannot carry, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyRefusal {
    /// Their family.
    pub family: Family,
    /// How many.
    pub prefixes: usize,
    /// The least of them.
    pub first: IpNet,
    /// One sentence.
    pub reason: String,
}

impl PeerSnapshot {
    /// Whole seconds since the session came up; `None` without one.
    pub fn up_seconds(&self) -> Option<u64> {
        Some(unix_milliseconds().saturating_sub(self.established_since?) / 1000)
    }
}

/// Wall-clock time for people to read; nothing is decided by it.
pub(super) fn unix_milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
