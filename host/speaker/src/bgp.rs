//! The BGP task: every session of this node, over the sans-IO machine of `bellhop-bgp`.
//!
//! ```text
//! BgpHandle ─commands(64)─► core task ─chunks(4 × 16 kB)─► connection task ─► socket
//!     ▲                       │   ▲  ◄────reports(256)───────┘ (one per connection: dials, reads, writes)
//!     └─ watch: BgpSnapshot ──┘   └──── reports(256) ─────────── listener tasks (only where a peer is passive)
//! ```
//!
//! | task | owns | cancelling it |
//! |---|---|---|
//! | core | every [`Peer`](bellhop_bgp::Peer), the clock, what to send next | ends every session without a NOTIFICATION, as [`ShutdownMode::Silent`] does |
//! | connection | one socket | ends that connection; the machine knows it by an identity that is never used again |
//! | listener | one listening socket | nothing is lost but connections not yet accepted |
//!
//! The core never waits for a connection: it pulls octets from a machine only where a chunk fits the connection's
//! channel, so that at most 64 kB per connection are in flight and the rest stays state. A connection that reads faster
//! than the core works waits at the reports channel, which holds back its neighbour by TCP.
//!
//! Where a peer asks for BFD, the core starts the thread of [`crate::bfd`] and follows what that says of the paths.

mod connection;
mod core;
mod listener;
mod log;
mod paths;
mod ranges;
mod redirect;
mod session;
mod snapshot;
mod transport;
mod unnumbered;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellhop_bgp::PeerConfigError;
pub use bellhop_bgp::{GracefulRestart, State};
pub use bellhop_core::announce::RouteChange;
use bellhop_core::objects::BfdProfile;
use bellhop_core::peer::{Neighbour, OwnRole, PeerAsn};
use bellhop_core::{Family, ObjectName, Password, RouteAttributes};
use bellhop_runtime::http::Heartbeat;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};

use self::core::{Core, Shared};
pub use snapshot::{BgpSnapshot, FamilyRefusal, PeerSnapshot};

/// Commands that wait for the core: the planner sends few and large ones, and waits where it is faster.
const COMMANDS: usize = 64;
/// Reports of all connections that wait for the core, each at most one read of 16 kB.
const REPORTS: usize = 256;

/// Name of a session: that of its BGPPeer, and for one of a range with the neighbour's address, as `racks/192.0.2.7`.
pub type SessionName = Arc<str>;

/// What the BGP task is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BgpConfig {
    /// The AS number of the node, for what is not a peer's own.
    pub local_asn: u32,
    /// BGP Identifier of the node.
    pub router_id: Ipv4Addr,
    /// Where to wait for peers that connect; nothing is opened unless some peer is passive or a range.
    pub listen: Option<ListenConfig>,
    /// The process restarted within one boot of the node: OPENs carry the R bit of graceful restart.
    pub restarting: bool,
    /// The peers, by name.
    pub peers: BTreeMap<ObjectName, PeerConfig>,
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenConfig {
    /// TCP port.
    pub port: u16,
    /// Addresses of the node; empty for every address of both families.
    pub addresses: Vec<IpAddr>,
}

/// One peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// Name of the BGPPeer.
    pub name: ObjectName,
    /// Where the neighbour is; no two peers share one.
    pub neighbour: Neighbour,
    /// The neighbour's TCP port, 179 by custom; of no meaning for a range.
    pub peer_port: u16,
    /// The AS number that the neighbour must have.
    pub peer_asn: PeerAsn,
    /// Our AS number towards it.
    pub local_asn: u32,
    /// The address to dial from.
    pub source_address: Option<IpAddr>,
    /// The interface to dial by.
    pub source_interface: Option<Arc<str>>,
    /// Next hop of IPv4 routes. By default the session's own address, or over an IPv6 session the first global IPv4
    /// address of the interface that holds the session's address (unless that is loopback); without either IPv4 routes
    /// are not announced and the snapshot says so.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes, by the same rule.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// Wait for the neighbour instead of dialling.
    pub passive: bool,
    /// The port of the neighbour's connections that are redirected to the one listened on.
    pub redirect_port: Option<u16>,
    /// Proposed hold time: 0, or 3 to 65535 s.
    pub hold_time: Duration,
    /// Keepalive interval; at most and by default a third of the negotiated hold time.
    pub keepalive_time: Option<Duration>,
    /// The longest delay between dials.
    pub connect_retry: Duration,
    /// Hop limit towards an external neighbour that is not on the link. Without it, packets to external neighbours
    /// carry 1 and those to internal ones the kernel's default.
    pub ebgp_multihop: Option<u8>,
    /// TTL security (RFC 5082): over how many hops the neighbour's packets may come, 1 to 254. Goes over `ebgp_multihop`.
    pub ttl_security: Option<u8>,
    /// How the neighbour proves who it is.
    pub authentication: Authentication,
    /// What is wrong with where its password comes from.
    pub problem: Option<PeerTrouble>,
    /// Families to announce.
    pub families: Vec<Family>,
    /// Announce IPv4 routes over IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// Our role towards it (RFC 9234).
    pub role: Option<OwnRole>,
    /// How the path to it is watched.
    pub bfd: Option<PeerBfd>,
    /// Most prefixes of a family that are announced.
    pub prefix_limit: Option<u32>,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// Shutdown communication (RFC 9003) in place of [`ShutdownMode::Graceful`]'s; at most 255 octets are sent.
    pub shutdown_text: Option<Arc<str>>,
    /// Every message goes to the log.
    pub log_messages: bool,
}

impl PeerConfig {
    /// The neighbour may connect by itself, so that somebody has to listen.
    pub(crate) fn waits(&self) -> bool {
        self.passive || self.redirect_port.is_some() || matches!(self.neighbour, Neighbour::Range { .. })
    }
}

/// How the path to a neighbour is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerBfd {
    /// Its timers; without them, as the BFDProfile does not exist, nothing is watched.
    pub profile: Option<Arc<BfdProfile>>,
    /// Nothing is dialled or taken before the path is up.
    pub strict: bool,
}

/// How a neighbour proves who it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Authentication {
    /// By its address alone.
    #[default]
    Nothing,
    /// Every segment is signed with this (RFC 2385).
    Password(Password),
    /// By a password that is not known: nothing is dialled or taken from it.
    Awaited,
}

impl Authentication {
    pub(crate) fn password(&self) -> Option<&Password> {
        match self {
            Self::Password(password) => Some(password),
            Self::Nothing | Self::Awaited => None,
        }
    }
}

/// Why a peer does not work, or soon will not, as its objects say it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct PeerTrouble {
    /// Of the closed set of reasons.
    pub reason: Arc<str>,
    /// One sentence.
    pub message: Arc<str>,
}

/// How to stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShutdownMode {
    /// Close every connection without a NOTIFICATION: under graceful restart the routes stay.
    Silent,
    /// Cease, Administrative Shutdown; a Hard Reset where graceful restart would keep the routes.
    Graceful {
        /// Shutdown communication.
        text: String,
    },
}

/// A peer whose configuration cannot be used: its last good one stays in force, a new peer is not started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerProblem {
    /// A value is out of bounds.
    #[error(transparent)]
    Config(#[from] PeerConfigError),
    /// Another peer is the same neighbour.
    #[error("{field}: {neighbour} is that of BGPPeer/{other} on this node too; each neighbour needs its own", field = neighbour.field())]
    Taken {
        /// The neighbour.
        neighbour: Neighbour,
        /// The peer that has it.
        other: ObjectName,
    },
}

enum Command {
    Configure(BgpConfig, oneshot::Sender<Vec<(ObjectName, PeerProblem)>>),
    Routes(Vec<RouteChange>),
    Ready,
    Shutdown(ShutdownMode, oneshot::Sender<()>),
}

/// The way to the BGP task. When the last handle is dropped the task ends as by [`ShutdownMode::Silent`].
#[derive(Clone)]
pub struct BgpHandle {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<BgpSnapshot>>,
    shared: Arc<Mutex<Shared>>,
}

impl BgpHandle {
    /// Starts the task, without peers, on the current tokio runtime.
    pub fn start() -> Self {
        Self::start_with(None, None)
    }

    /// The same; the task shows by `heartbeat` that it turns, and the thread of BFD by `bfd`.
    pub fn start_watched(heartbeat: Heartbeat, bfd: Heartbeat) -> Self {
        Self::start_with(Some(heartbeat), Some(bfd))
    }

    fn start_with(heartbeat: Option<Heartbeat>, bfd: Option<Heartbeat>) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (publisher, snapshots) = watch::channel(Arc::default());
        let shared = Arc::new(Mutex::new(Shared::default()));
        tokio::spawn(Core::new(shared.clone(), publisher, heartbeat, bfd).run(inbox));
        Self { commands, snapshots, shared }
    }

    /// Takes another configuration whole. Peers that did not change are left alone; of those that did, only the ones
    /// whose transport or negotiated parameters changed are reset. What is wanted of a peer stays as long as the peer.
    /// Returns the peers that cannot be used; also once shut down, then as if there were none.
    pub async fn configure(&self, config: BgpConfig) -> Vec<(ObjectName, PeerProblem)> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Configure(config, reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Changes what is wanted. Changes for a peer that is not configured are dropped: what is wanted of a new peer is
    /// to be sent after it was configured.
    pub async fn routes(&self, changes: Vec<RouteChange>) {
        // Refused only once shut down, when nothing is announced any more.
        let _ = self.commands.send(Command::Routes(changes)).await;
    }

    /// What is wanted is complete: peers may be dialled and accepted, End-of-RIB may be sent. For good.
    pub async fn ready(&self) {
        let _ = self.commands.send(Command::Ready).await;
    }

    /// Ends every session and the task, within two seconds.
    pub async fn shutdown(&self, mode: ShutdownMode) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown(mode, reply)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// The state of every peer as of the last event.
    pub fn snapshot(&self) -> Arc<BgpSnapshot> {
        self.snapshots.borrow().clone()
    }

    /// Snapshots as they change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<BgpSnapshot>> {
        self.snapshots.clone()
    }

    /// What a session's neighbour was sent and still has, empty without a session: its Adj-RIB-Out. Copies every route, so it is
    /// for people and tests.
    pub fn routes_sent(&self, session: &SessionName) -> BTreeMap<IpNet, Arc<RouteAttributes>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).routes_sent(session)
    }
}
