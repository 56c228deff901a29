//! The speaker under test, its bystander, and what the kernel and the runtime say of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bellhop_core::peer::Neighbour;
use bellhop_core::{Family, RouteAttributes};
use bellhop_speaker::bgp::{
    Authentication, BgpConfig, BgpHandle, ListenConfig, PeerConfig, PeerSnapshot, RouteChange, State,
};
use ipnet::IpNet;

use crate::messages::{ROUTER_ASN, good_open};
use crate::peer::{Router, Wire};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The peer that a test is about.
pub(crate) const PEER: &str = "router";
/// Another one, whose session must not notice.
const BYSTANDER: &str = "bystander";
/// The speaker's AS number and identifier; of the neighbours one has a lower identifier, one a higher.
pub(crate) const SPEAKER_ASN: u32 = 64512;
pub(crate) const SPEAKER_ID: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

/// Loopback addresses that no other test has.
#[derive(Clone, Copy)]
pub(crate) struct Place([u8; 3]);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let process = u8::try_from(std::process::id() % 200).unwrap() + 20;
        Self([127, process, COUNT.fetch_add(1, Ordering::Relaxed)])
    }

    /// The address of a host: 1 is the speaker.
    pub(crate) fn host(self, host: u8) -> IpAddr {
        Ipv4Addr::new(self.0[0], self.0[1], self.0[2], host).into()
    }
}

/// The BGP task with one neighbour to torture and one that looks on.
pub(crate) struct Speaker {
    pub(crate) bgp: BgpHandle,
    pub(crate) config: BgpConfig,
    pub(crate) place: Place,
    bystander: Wire,
    seen: u32,
}

impl Speaker {
    /// Starts the task with a bystander whose session is up.
    pub(crate) async fn start(place: Place) -> Self {
        let config = BgpConfig {
            local_asn: SPEAKER_ASN,
            router_id: SPEAKER_ID,
            listen: Some(listen(place.host(1))),
            restarting: false,
            peers: BTreeMap::from([(BYSTANDER.into(), passive(BYSTANDER, place.host(200)))]),
        };
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config.clone()).await, []);
        bgp.ready().await;
        let to = config.listen.as_ref().map(|listen| SocketAddr::new(listen.addresses[0], listen.port));
        let mut bystander = Wire::dial(place.host(200), to.unwrap()).await.expect("the speaker listens");
        bystander.open().await;
        bystander.write(&good_open().octets()).await;
        bystander.confirm().await;
        let mut speaker = Self { bgp, config, place, bystander, seen: 0 };
        speaker.until("the bystander's session", |speaker| up(&speaker.peer(BYSTANDER))).await;
        speaker.bystander.initial(2).await;
        speaker
    }

    /// The same, and a neighbour that the speaker dials.
    pub(crate) async fn with_router(change: impl FnOnce(&mut PeerConfig)) -> (Self, Router) {
        Self::with(Router::at, change).await
    }

    pub(crate) async fn with(
        router: impl FnOnce(IpAddr) -> Router,
        change: impl FnOnce(&mut PeerConfig),
    ) -> (Self, Router) {
        let mut speaker = Self::start(Place::new()).await;
        let router = router(speaker.place.host(2));
        let mut peer = peer(PEER, router.address);
        peer.peer_port = router.port();
        peer.source_address = Some(speaker.place.host(1));
        change(&mut peer);
        speaker.add(peer).await;
        (speaker, router)
    }

    pub(crate) async fn add(&mut self, peer: PeerConfig) {
        self.config.peers.insert(peer.name.clone(), peer);
        assert_eq!(self.bgp.configure(self.config.clone()).await, []);
    }

    pub(crate) async fn remove(&mut self, peer: &str) {
        self.config.peers.remove(peer);
        assert_eq!(self.bgp.configure(self.config.clone()).await, []);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let listen = self.config.listen.as_ref().unwrap();
        SocketAddr::new(listen.addresses[0], listen.port)
    }

    pub(crate) fn peer(&self, name: &str) -> PeerSnapshot {
        self.bgp.snapshot().peers[name].clone()
    }

    /// What it says of the neighbour's last failure.
    pub(crate) async fn last_error(&self) -> String {
        self.until("an error in the peer's status", |speaker| speaker.peer(PEER).last_error.is_some()).await;
        self.peer(PEER).last_error.unwrap()
    }

    pub(crate) async fn established(&self) -> PeerSnapshot {
        self.until("the session", |speaker| up(&speaker.peer(PEER))).await;
        self.peer(PEER)
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        until(what, || condition(self)).await;
    }

    pub(crate) async fn announce(
        &self,
        peer: &str,
        prefixes: impl IntoIterator<Item = IpNet>,
        attributes: Option<RouteAttributes>,
    ) {
        let attributes = attributes.map(Arc::new);
        let change = |prefix| RouteChange { peer: peer.into(), prefix, attributes: attributes.clone() };
        self.bgp.routes(prefixes.into_iter().map(change).collect()).await;
    }

    /// The bystander's session is the one that it was, and a new route reaches it. Returns how long that took.
    pub(crate) async fn bystander_hears(&mut self) -> Duration {
        self.seen += 1;
        let begin = Instant::now();
        let prefix: IpNet = format!("203.0.113.{}/32", self.seen).parse().unwrap();
        self.announce(BYSTANDER, [prefix], Some(RouteAttributes::default())).await;
        assert_eq!(self.bystander.update().await.announced, [prefix]);
        assert_eq!(self.peer(BYSTANDER).counters.downs, 0, "the bystander lost its session");
        begin.elapsed()
    }
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn up(peer: &PeerSnapshot) -> bool {
    peer.state == State::Established
}

/// A port of an address that nobody has.
fn listen(address: IpAddr) -> ListenConfig {
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    ListenConfig { port, addresses: vec![address] }
}

pub(crate) fn passive(name: &str, address: IpAddr) -> PeerConfig {
    PeerConfig { passive: true, ..peer(name, address) }
}

pub(crate) fn peer(name: &str, address: IpAddr) -> PeerConfig {
    PeerConfig {
        name: name.into(),
        neighbour: Neighbour::Address(address),
        redirect_port: None,
        peer_port: 179,
        peer_asn: u32::from(ROUTER_ASN).into(),
        local_asn: SPEAKER_ASN,
        source_address: None,
        source_interface: None,
        next_hop_v4: None,
        next_hop_v6: "2001:db8::1".parse().ok(),
        passive: false,
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(1),
        ebgp_multihop: None,
        ttl_security: None,
        authentication: Authentication::Nothing,
        problem: None,
        families: Family::ALL.to_vec(),
        extended_next_hop: false,
        role: None,
        bfd: None,
        prefix_limit: None,
        graceful_restart: None,
        shutdown_text: None,
        log_messages: false,
    }
}

/// Host routes of IPv4, one after the other.
pub(crate) fn host_routes(count: u32) -> impl Iterator<Item = IpNet> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    (0..count).map(move |i| IpNet::from(IpAddr::from(Ipv4Addr::from(first + i))))
}

/// Tasks of this test's runtime.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Runs a test again in a process of its own, where it measures memory without its neighbours. True inside it.
pub(crate) fn alone(test: &str) -> bool {
    const INNER: &str = "BELLHOP_TEST_ALONE";
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INNER, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} fails in its own process: {status}");
    false
}
