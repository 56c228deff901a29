//! Passwords (TCP MD5, RFC 2385) and TTL security (RFC 5082) against FRR.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_core::Password;
use bellhop_core::peer::Neighbour;
use bellhop_speaker::bgp::{
    Authentication, BgpConfig, BgpHandle, PeerConfig, PeerTrouble, ShutdownMode, State,
};

use crate::lab::{Inside, PEER, SPEAKER, config, established, in_lab, peer, until};
use crate::{attributes, routes};

const ASN: u32 = 64513;

/// The second peer: the same router, over IPv6.
const OTHER: &str = "router-over-ipv6";
const ROUTER_V6: &str = "2001:db8:ffff::1";
const SPEAKER_V6: &str = "2001:db8:ffff::2";

/// What must not come about does not within this: dials are repeated every second at first, and connections take
/// milliseconds.
const NEVER: Duration = Duration::from_secs(4);

impl Inside {
    fn set_password(&self, password: &str) {
        self.configure(ASN, &[&format!("neighbor {SPEAKER} password {password}")]);
    }
}

fn signed(password: &str) -> PeerConfig {
    let password = Password::new(password.as_bytes()).unwrap();
    PeerConfig { authentication: Authentication::Password(password), ..peer(ASN) }
}

fn state(bgp: &BgpHandle, peer: &str) -> State {
    bgp.snapshot().peers[peer].state
}

/// The session does not come up, for as long as it would take many times.
async fn stays_down(bgp: &BgpHandle) {
    until("the end of the session before", || state(bgp, PEER) != State::Established).await;
    let mut snapshots = bgp.subscribe();
    let up =
        tokio::time::timeout(NEVER, snapshots.wait_for(|now| now.peers[PEER].state == State::Established));
    assert!(up.await.is_err(), "a session came up that must not");
}

// case: bgp-73
#[test]
fn two_with_one_password_have_a_session_whoever_dials() {
    in_lab("security::two_with_one_password_have_a_session_whoever_dials", ASN, |lab| async move {
        lab.set_password("hush");
        for passive in [false, true] {
            let bgp = BgpHandle::start();
            assert_eq!(bgp.configure(config(PeerConfig { passive, ..signed("hush") })).await, []);
            bgp.routes(routes(3, 3, Some(&attributes(1)))).await;
            bgp.ready().await;
            established(&bgp).await;
            until("six prefixes", || lab.prefixes() == 6).await;
            bgp.shutdown(ShutdownMode::Silent).await;
            until("no prefix", || lab.prefixes() == 0).await;
        }
    });
}

// case: bgp-73
#[test]
fn another_password_or_none_never_gives_a_session_and_the_status_says_why() {
    in_lab(
        "security::another_password_or_none_never_gives_a_session_and_the_status_says_why",
        ASN,
        |lab| async move {
            // The other session of this node is over IPv6, dialled by the router, with a password of its own.
            let v6 = format!("neighbor {SPEAKER_V6}");
            let lines = ["remote-as 64512", "timers connect 1", "password of-ipv6"]
                .map(|line| format!("{v6} {line}"));
            lab.configure(ASN, &lines.each_ref().map(String::as_str));
            let other = PeerConfig {
                name: OTHER.into(),
                neighbour: Neighbour::Address(ROUTER_V6.parse().unwrap()),
                passive: true,
                ..signed("of-ipv6")
            };
            let with_other = |peer: PeerConfig| {
                let mut config = config(peer);
                config.peers.insert(OTHER.into(), other.clone());
                config
            };
            lab.set_password("hush");
            let bgp = BgpHandle::start();
            assert_eq!(bgp.configure(with_other(signed("hash"))).await, []);
            bgp.ready().await;
            until("the other session", || state(&bgp, OTHER) == State::Established).await;
            let since = bgp.snapshot().peers[OTHER].established_since;
            stays_down(&bgp).await;
            let told = |words: &str| {
                bgp.snapshot().peers[PEER].last_error.as_ref().is_some_and(|error| error.contains(words))
            };
            until("words about the password", || told("it may have another one, or none")).await;
            // The router dials too, and what it signs is dropped here and counted.
            assert!(told("drops packets that are signed with another password"), "{:?}", bgp.snapshot());

            assert_eq!(bgp.configure(with_other(peer(ASN))).await, []);
            stays_down(&bgp).await;
            assert_eq!(bgp.configure(with_other(signed("hush"))).await, []);
            established(&bgp).await;
            assert_eq!(
                bgp.snapshot().peers[OTHER].established_since,
                since,
                "the other session was disturbed"
            );
            bgp.shutdown(ShutdownMode::Silent).await;
        },
    );
}

#[test]
fn a_peer_whose_password_is_not_known_is_neither_dialled_nor_taken() {
    in_lab(
        "security::a_peer_whose_password_is_not_known_is_neither_dialled_nor_taken",
        ASN,
        |lab| async move {
            let bgp = BgpHandle::start();
            let problem =
                PeerTrouble { reason: "SecretMissing".into(), message: "the Secret is missing".into() };
            let awaited = PeerConfig {
                authentication: Authentication::Awaited,
                passive: true,
                problem: Some(problem),
                ..peer(ASN)
            };
            assert_eq!(bgp.configure(config(awaited)).await, []);
            bgp.ready().await;
            // The router would take one without a password, and dials every second.
            stays_down(&bgp).await;
            let shown = bgp.snapshot().peers[PEER].clone();
            assert_eq!(
                (shown.state, shown.last_error.as_deref()),
                (State::Idle, Some("the Secret is missing"))
            );
            lab.set_password("hush");
            assert_eq!(bgp.configure(config(signed("hush"))).await, []);
            established(&bgp).await;
            assert_eq!(bgp.snapshot().peers[PEER].problem, None);
            bgp.shutdown(ShutdownMode::Silent).await;
        },
    );
}

// case: bgp-73
#[test]
fn a_password_changes_under_a_session_and_back_again_within_the_hold_time() {
    in_lab(
        "security::a_password_changes_under_a_session_and_back_again_within_the_hold_time",
        ASN,
        |lab| async move {
            lab.set_password("hush");
            let bgp = BgpHandle::start();
            assert_eq!(bgp.configure(config(signed("hush"))).await, []);
            bgp.ready().await;
            established(&bgp).await;
            let since = bgp.snapshot().peers[PEER].established_since;

            // The router has the old one still: what is sent waits, and nothing is lost.
            assert_eq!(bgp.configure(config(signed("hash"))).await, []);
            bgp.routes(routes(3, 3, Some(&attributes(1)))).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!((lab.prefixes(), state(&bgp, PEER)), (0, State::Established));
            assert_eq!(bgp.configure(config(signed("hush"))).await, []);
            until("six prefixes", || lab.prefixes() == 6).await;
            assert_eq!(bgp.snapshot().peers[PEER].established_since, since, "the session was reset");

            // FRR resets its session when its password is changed; with both changed it is back at once.
            assert_eq!(bgp.configure(config(signed("the-new-one"))).await, []);
            lab.set_password("the-new-one");
            until("another session", || {
                bgp.snapshot().peers[PEER].established_since.is_some_and(|at| Some(at) != since)
            })
            .await;
            until("six prefixes", || lab.prefixes() == 6).await;
            bgp.shutdown(ShutdownMode::Silent).await;
        },
    );
}

// case: bgp-73
#[test]
fn ttl_security_needs_both_sides_and_works_whoever_dials() {
    in_lab("security::ttl_security_needs_both_sides_and_works_whoever_dials", ASN, |lab| async move {
        let secure = PeerConfig { ttl_security: Some(1), ..peer(ASN) };
        let bgp = BgpHandle::start();
        assert_eq!(bgp.configure(config(secure.clone())).await, []);
        bgp.routes(routes(3, 3, Some(&attributes(1)))).await;
        bgp.ready().await;
        // The router answers an external neighbour with a TTL of 1: what it says is dropped, and an OPEN is waited for long.
        stays_down(&bgp).await;
        let nobody = || BgpConfig { peers: BTreeMap::new(), ..config(peer(ASN)) };
        assert_eq!(bgp.configure(nobody()).await, []);
        lab.configure(ASN, &[&format!("neighbor {SPEAKER} ttl-security hops 1")]);
        assert_eq!(bgp.configure(config(secure.clone())).await, []);
        bgp.routes(routes(3, 3, Some(&attributes(1)))).await;
        established(&bgp).await;
        until("six prefixes", || lab.prefixes() == 6).await;
        // Dialled by the router.
        assert_eq!(bgp.configure(nobody()).await, []);
        until("no prefix", || lab.prefixes() == 0).await;
        assert_eq!(bgp.configure(config(PeerConfig { passive: true, ..secure })).await, []);
        established(&bgp).await;
        // The other way round: the router drops what is sent with a TTL of 1. It is the one to ask: an OPEN that comes
        // before it has set up a connection that it accepted is answered, and looks like a session from here.
        assert_eq!(bgp.configure(nobody()).await, []);
        until("no prefix", || lab.prefixes() == 0).await;
        assert_eq!(bgp.configure(config(peer(ASN))).await, []);
        let heard = tokio::time::timeout(NEVER, until("a prefix", || lab.prefixes() > 0)).await;
        assert!(heard.is_err(), "the router took routes that were sent with a TTL of 1");
        bgp.shutdown(ShutdownMode::Silent).await;
    });
}
