//! Neighbours that are found, or find us: ranges, interfaces, and a node on which another program has port 179.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::Password;
use bellhop_core::objects::BfdProfile;
use bellhop_core::peer::{Neighbour, PeerAsn};
use bellhop_speaker::bgp::{
    Authentication, BgpConfig, BgpHandle, ListenConfig, PeerBfd, PeerConfig, ShutdownMode, State,
};
use tokio::io::AsyncReadExt as _;

use super::{attributes, routes};
use crate::lab::{Inside, PEER, ROUTER, SPEAKER, config, established, in_lab, peer, run, until};

const ASN: u32 = 64513;
/// The router's session of the range.
const OF_RANGE: &str = "router/198.18.0.1";

fn range(prefix: &str, most: u16) -> PeerConfig {
    let neighbour = Neighbour::Range { prefix: prefix.parse().unwrap(), most };
    PeerConfig { neighbour, peer_asn: PeerAsn::External, ..peer(ASN) }
}

fn is_up(bgp: &BgpHandle, session: &str) -> bool {
    bgp.snapshot().peers.get(session).is_some_and(|peer| peer.state == State::Established)
}

// case: bgp-13
#[test]
fn a_router_of_a_range_connects_and_hears_all_and_becomes_a_peer_of_its_own() {
    let test = "neighbours::a_router_of_a_range_connects_and_hears_all_and_becomes_a_peer_of_its_own";
    in_lab(test, ASN, |lab| async move {
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(range("198.18.0.0/28", 1))).await, []);
        bgp.routes(routes(3, 2, Some(&attributes(1)))).await;
        bgp.ready().await;
        until("a session of the range", || is_up(&bgp, OF_RANGE)).await;
        until("five prefixes", || lab.prefixes() == 5).await;
        assert_eq!(bgp.snapshot().peers[OF_RANGE].address, Some(ROUTER.parse().unwrap()));
        // What changes reaches the sessions that there are.
        bgp.routes(routes(1, 0, None)).await;
        until("four prefixes", || lab.prefixes() == 4).await;

        // A second neighbour is one more than the range may have: this node itself, at its own address.
        let mut second = tokio::net::TcpStream::connect((SPEAKER, 179)).await.unwrap();
        let mut said = Vec::new();
        let read = second.read_to_end(&mut said).await;
        assert!(said.is_empty() && read.is_ok_and(|octets| octets == 0), "it is closed without a word");
        // One of no range, and not of the address either.
        let loopback = "127.0.0.1:179";
        let mut stranger = tokio::net::TcpStream::connect(loopback).await.unwrap();
        assert_eq!(stranger.read_to_end(&mut said).await.unwrap(), 0);
        assert_eq!(bgp.snapshot().peers.len(), 1, "{:?}", bgp.snapshot().peers.keys());

        // Neighbours that come and go are shown for a while, and never more of them than there may be.
        assert_eq!(bgp.configure(config(range("198.18.0.0/28", 3))).await, []);
        for host in 4..10 {
            lab.in_router(&format!("ip addr add 198.18.0.{host}/24 dev to-speaker"));
            lab.in_router(&format!("ip route replace {SPEAKER}/32 dev to-speaker src 198.18.0.{host}"));
            let dial = format!("exec 3<>/dev/tcp/{SPEAKER}/179");
            assert!(lab.site.in_router("bash").args(["-c", &dial]).status().unwrap().success());
            let come = format!("router/198.18.0.{host}");
            until("the neighbour that came is shown", || bgp.snapshot().peers.contains_key(&*come)).await;
            assert!(bgp.snapshot().peers.len() <= 3, "{:?}", bgp.snapshot().peers.keys());
            until("it has gone", || bgp.snapshot().peers[&*come].last_error.is_some()).await;
        }
        lab.in_router(&format!("ip route del {SPEAKER}/32 dev to-speaker"));
        assert!(is_up(&bgp, OF_RANGE));

        // More room, and another prefix that has the router too, change nothing for it.
        let counted = |session: &str| bgp.snapshot().peers[session].counters.established;
        assert_eq!(bgp.configure(config(range("198.18.0.0/24", 50))).await, []);
        assert!(is_up(&bgp, OF_RANGE));
        assert_eq!(counted(OF_RANGE), 1);

        // Named by itself the router is a peer like any other, and hears the same.
        assert_eq!(bgp.configure(config(peer(ASN))).await, []);
        established(&bgp).await;
        until("four prefixes again", || lab.prefixes() == 4).await;
        assert!(!bgp.snapshot().peers.contains_key(OF_RANGE));
        // And back.
        assert_eq!(bgp.configure(config(range("198.18.0.0/28", 1))).await, []);
        until("a session of the range again", || is_up(&bgp, OF_RANGE)).await;
        until("four prefixes once more", || lab.prefixes() == 4).await;
        // A range that does not have the router ends the session with it.
        assert_eq!(bgp.configure(config(range("198.18.0.32/28", 1))).await, []);
        until("no session", || bgp.snapshot().peers.is_empty()).await;
        until("no prefix", || lab.prefixes() == 0).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

// case: bgp-73
#[test]
fn the_routers_of_a_range_have_its_password_or_no_session() {
    let test = "neighbours::the_routers_of_a_range_have_its_password_or_no_session";
    in_lab(test, ASN, |lab| async move {
        let password = |text: &str| Authentication::Password(Password::new(text.as_bytes()).unwrap());
        let signed = |text: &str| PeerConfig { authentication: password(text), ..range("198.18.0.0/28", 10) };
        lab.configure(ASN, &[&format!("neighbor {SPEAKER} password racks")]);
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(signed("racks"))).await, []);
        bgp.ready().await;
        until("a session that is signed", || is_up(&bgp, OF_RANGE)).await;
        // A packet without a signature does not reach the listener: the kernel of the router's side never connects.
        let unsigned = Command::new("ip")
            .args(["netns", "exec", lab.router(), "timeout", "1", "bash", "-c"])
            .arg(format!("exec 3<>/dev/tcp/{SPEAKER}/179"))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(unsigned.code(), Some(124), "a connection without a signature gets no answer");
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

fn unnumbered() -> PeerConfig {
    let interval = Duration::from_millis(100);
    let profile = Arc::new(BfdProfile {
        name: "test".into(),
        transmit_interval: interval,
        receive_interval: interval,
        detect_multiplier: 3,
        passive: false,
        minimum_ttl: 254,
    });
    PeerConfig {
        neighbour: Neighbour::Interface("to-router".into()),
        peer_asn: PeerAsn::External,
        connect_retry: Duration::from_secs(1),
        bfd: Some(PeerBfd { profile: Some(profile), strict: false }),
        ..peer(ASN)
    }
}

fn unnumbered_in_frr(lab: &Inside) {
    let neighbour = "neighbor to-speaker";
    lab.configure(
        ASN,
        &[
            &format!("no neighbor {SPEAKER}"),
            &format!("{neighbour} interface remote-as external"),
            &format!("{neighbour} timers connect 1"),
            &format!("{neighbour} bfd 3 100 100"),
            "address-family ipv4 unicast",
            &format!("{neighbour} activate"),
            "exit-address-family",
            "address-family ipv6 unicast",
            &format!("{neighbour} activate"),
            "exit-address-family",
        ],
    );
}

// case: bgp-56, peers-118
#[test]
fn the_router_on_an_interface_is_found_by_its_advertisements_and_hears_both_families_with_bfd() {
    let test = "neighbours::the_router_on_an_interface_is_found_by_its_advertisements_and_hears_both_families_with_bfd";
    in_lab(test, ASN, |lab| async move {
        unnumbered_in_frr(&lab);
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(unnumbered())).await, []);
        bgp.routes(routes(3, 2, Some(&attributes(1)))).await;
        bgp.ready().await;
        established(&bgp).await;
        until("five routes in the kernel", || lab.kernel_routes() == 5).await;
        let shown = bgp.snapshot().peers[PEER].clone();
        let link_local =
            |address: Option<IpAddr>| matches!(address, Some(IpAddr::V6(v6)) if v6.is_unicast_link_local());
        assert!(link_local(shown.address), "{:?}", shown.address);
        assert!(shown.capabilities.contains(&"extended next hop"), "{:?}", shown.capabilities);
        let bfd = || bgp.snapshot().peers[PEER].bfd.as_ref().map_or("none", |bfd| bfd.state);
        until("BFD between the link-local addresses", || bfd() == "Up").await;
        // What the speaker advertises makes nobody send by it: no default route, no address.
        let learnt = lab.in_router("ip -6 route show proto ra");
        assert_eq!(learnt, "", "the router's kernel took something of the speaker's advertisements");

        // The link goes and comes back, and with it all else.
        run("ip link set to-router down");
        until("the session is lost", || !is_up(&bgp, PEER)).await;
        run("ip link set to-router up");
        established(&bgp).await;
        until("five routes in the kernel again", || lab.kernel_routes() == 5).await;
        // By the address alone, of the interface or another one, it is not the same neighbour.
        assert_eq!(bgp.configure(config(peer(ASN))).await, []);
        until("the session by the interface is over", || lab.kernel_routes() == 0).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

#[test]
fn an_interface_that_is_not_there_is_told_and_waited_for() {
    let test = "neighbours::an_interface_that_is_not_there_is_told_and_waited_for";
    in_lab(test, ASN, |lab| async move {
        unnumbered_in_frr(&lab);
        let bgp = BgpHandle::start();
        run("ip link set to-router down");
        run("ip link set to-router name elsewhere");
        assert_eq!(bgp.configure(config(unnumbered())).await, []);
        bgp.routes(routes(3, 0, Some(&attributes(1)))).await;
        bgp.ready().await;
        let told = || bgp.snapshot().peers[PEER].last_error.clone().unwrap_or_default();
        until("it is told", || told().contains("interface to-router: No such device")).await;
        run("ip link set elsewhere name to-router");
        run("ip link set to-router up");
        established(&bgp).await;
        until("three prefixes", || lab.kernel_routes() == 3).await;
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}

/// BIRD as a CNI runs it on the node: it has port 179, and a session with the router from the node's address.
struct Bird {
    process: Child,
}

impl Bird {
    fn start(lab: &Inside) -> Self {
        let conf = lab.site.folder.join("bird.conf");
        let text = format!(
            "router id {SPEAKER};\nprotocol device {{}}\nprotocol static {{ ipv4; route 10.99.0.0/24 blackhole; }}\n\
             protocol bgp cni {{ local {SPEAKER} as 64512; neighbor {ROUTER} as {ASN}; connect retry time 1; \
             connect delay time 1; ipv4 {{ import none; export all; }}; }}\n"
        );
        std::fs::write(&conf, text).unwrap();
        let process = Command::new("bird")
            .arg("-f")
            .arg("-c")
            .arg(&conf)
            .arg("-s")
            .arg(lab.site.folder.join("bird.ctl"))
            .spawn()
            .unwrap_or_else(|error| panic!("starting bird (this test needs Debian's bird2): {error}"));
        Self { process }
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Beside the CNI's session the router has one with Bellhop, at another address of the node.
const BESIDE: &str = "198.18.0.3";

fn beside(lab: &Inside, port: Option<u16>) {
    let neighbour = format!("neighbor {BESIDE}");
    let port = port.map(|port| format!("{neighbour} port {port}"));
    let remote = format!("{neighbour} remote-as 64512");
    let timers = format!("{neighbour} timers connect 1");
    let passive = format!("{neighbour} passive");
    // A router without a port is not to dial.
    let mut lines = vec![remote.as_str(), timers.as_str()];
    lines.extend(port.as_deref().or(Some(&passive)));
    lab.configure(ASN, &lines);
}

fn own(peer: PeerConfig) -> BgpConfig {
    let listen = Some(ListenConfig { port: 1179, addresses: vec![] });
    let peer = PeerConfig { source_address: Some(BESIDE.parse().unwrap()), ..peer };
    BgpConfig { listen, ..config(peer) }
}

async fn both_sessions(lab: &Inside, bgp: &BgpHandle) {
    established(bgp).await;
    let received = |neighbour: &str| {
        lab.show("show bgp summary json")["ipv4Unicast"]["peers"][neighbour]["pfxRcd"].as_u64()
    };
    until("three prefixes of Bellhop", || received(BESIDE) == Some(3)).await;
    until("one prefix of the CNI's BIRD", || received(SPEAKER) == Some(1)).await;
    assert!(bgp.snapshot().listen_errors.is_empty(), "{:?}", bgp.snapshot().listen_errors);
}

fn our_tables() -> String {
    let output = Command::new("nft").args(["list", "tables"]).output().expect("nft");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| line.contains("bellhop-redirect")).collect()
}

async fn beside_bird(lab: Inside, port: Option<u16>, peer: PeerConfig) {
    run(&format!("ip addr add {BESIDE}/24 dev to-router"));
    let _bird = Bird::start(&lab);
    let cni = || lab.show("show bgp summary json")["ipv4Unicast"]["peers"][SPEAKER]["state"].clone();
    until("the CNI's own session", || cni() == "Established").await;
    beside(&lab, port);
    let bgp = BgpHandle::start();
    let redirects = peer.redirect_port.is_some();
    assert_eq!(bgp.configure(own(peer.clone())).await, []);
    bgp.routes(routes(3, 0, Some(&attributes(1)))).await;
    bgp.ready().await;
    both_sessions(&lab, &bgp).await;
    assert_eq!(our_tables().is_empty(), !redirects);
    if redirects {
        // Gone with the peer, and back with it.
        let nobody = BgpConfig { peers: std::collections::BTreeMap::new(), ..own(peer.clone()) };
        assert_eq!(bgp.configure(nobody).await, []);
        until("the table is gone", || our_tables().is_empty()).await;
        assert_eq!(bgp.configure(own(peer)).await, []);
        bgp.routes(routes(3, 0, Some(&attributes(1)))).await;
        both_sessions(&lab, &bgp).await;
    }
    let flaps = || lab.show("show bgp neighbors json")[SPEAKER]["connectionsDropped"].as_u64();
    assert_eq!(flaps(), Some(0), "the CNI's session was never disturbed");
    bgp.shutdown(ShutdownMode::Silent).await;
    until("no table stays", || our_tables().is_empty()).await;
}

#[test]
fn beside_a_cnis_bird_bellhop_dials_from_its_own_address() {
    let test = "neighbours::beside_a_cnis_bird_bellhop_dials_from_its_own_address";
    in_lab(test, ASN, |lab| beside_bird(lab, None, peer(ASN)));
}

#[test]
fn beside_a_cnis_bird_the_router_dials_bellhops_own_port() {
    let test = "neighbours::beside_a_cnis_bird_the_router_dials_bellhops_own_port";
    in_lab(test, ASN, |lab| beside_bird(lab, Some(1179), PeerConfig { passive: true, ..peer(ASN) }));
}

#[test]
fn beside_a_cnis_bird_the_router_dials_port_179_and_is_redirected() {
    let test = "neighbours::beside_a_cnis_bird_the_router_dials_port_179_and_is_redirected";
    let redirected = || PeerConfig { passive: true, redirect_port: Some(179), ..peer(ASN) };
    in_lab(test, ASN, |lab| beside_bird(lab, Some(179), redirected()));
}
