//! Every field of a BGPPeer, as the router sees that it is in force.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bellhop_lab::plan::Router;
use serde_json::Value;

use super::site::{DEADLINE, NODE, Site, Watch, addresses, peer, routes};

const WEB: u8 = 10;
const API: u8 = 20;
/// Another address of the node, on its first interface.
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 111);
/// The address of an interface of its own.
const APART: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 121);

/// One node with a session to router A, which knows all addresses that the node could come from.
fn site(prefix: &str, peer: &str) -> Site {
    let site = Site::up(prefix);
    site.lab
        .node(NODE)
        .ip_batch(&format!(
            "address add {SECOND}/24 dev fabric\nlink add apart link fabric type macvlan mode bridge\n\
             address add {APART}/24 dev apart\naddress add 2001:db8:0:1::21/64 dev apart nodad\nlink set apart up"
        ))
        .unwrap();
    // Each interface answers for its own addresses, else what is for the second one arrives at the first.
    site.lab.node(NODE).sysctl(&[("net.ipv4.conf.all.arp_ignore", "1")]).unwrap();
    for address in [SECOND, APART] {
        site.configure(Router::A, &[&format!("neighbor {address} peer-group NODES")]);
    }
    site.serve("web", "{app: web}", &addresses(WEB));
    site.serve("api", "{app: api}", &addresses(API));
    site.put("Advertisement", "all", "{}");
    site.put("SpeakerConfig", "default", "{asn: 64500, drain: {wait: 0s}, listen: {port: 179}}");
    site.put("BGPPeer", "router-a", peer);
    site.start(&[NODE])
}

/// Waits for a keepalive beyond the one that a session begins with: FRR takes what comes within the first moments of a
/// session for a part of its beginning, and so no NOTIFICATION.
fn until_settled(site: &Site) {
    let node = IpAddr::from(NODE.ipv4());
    let count =
        || site.neighbour(Router::A, node)["messageStats"]["keepalivesRecv"].as_u64().unwrap_or_default();
    let before = count();
    site.until("another keepalive", || if count() > before { Ok(()) } else { Err("none".to_owned()) });
}

/// Puts the peer with these fields, waits until its session is as `holds` says, and checks whether it is a new one.
fn edit(site: &Site, further: &str, is_new: bool, holds: impl Fn(&Value) -> bool) {
    let node = IpAddr::from(NODE.ipv4());
    let before = site.sessions(Router::A).remove(&node).unwrap();
    site.put("BGPPeer", "router-a", &peer(Router::A, further));
    site.until_read(&[NODE]);
    site.until_session(Router::A, node, further, holds);
    let now = site.sessions(Router::A).remove(&node).unwrap();
    assert_eq!(!now.is_same_session(&before), is_new, "{further} gives another session");
}

// case: peers-93, bgp-11
#[test]
fn every_parameter_of_a_peer_is_in_force_in_the_router_as_soon_as_it_is_edited() {
    let mut site = site("adv-parameters", &peer(Router::A, ""));
    site.until_prefixes(Router::A, &routes(&[WEB, API]));
    what_the_open_says(&site);
    what_changes_under_the_session(&site);
    where_connections_come_from(&site);
    what_packets_carry(&site);
    who_dials(&site);
    let text = "the rack is moved";
    edit(&site, &format!("peerPort: 1790, shutdownText: {text},"), false, |_| true);
    site.bellhop.stop(NODE).unwrap();
    let told = site.neighbour(Router::A, NODE.ipv4());
    assert_eq!(told["lastShutdownDescription"], text, "{told}");
    site.down();
}

fn what_the_open_says(site: &Site) {
    edit(site, "holdTime: 6s, families: [IPv4],", true, |seen| {
        let capability = &seen["neighborCapabilities"]["multiprotocolExtensions"];
        let received = |family: &str| capability[family]["advertisedAndReceived"] == true;
        seen["bgpTimerHoldTimeMsecs"] == 6000 && received("ipv4Unicast") && !received("ipv6Unicast")
    });
    edit(site, "gracefulRestart: {restartTime: 77s},", true, |seen| {
        seen["gracefulRestartInfo"]["timers"]["receivedRestartTimer"] == 77
    });
    edit(site, "gracefulRestart: {enabled: false},", true, |seen| {
        seen["gracefulRestartInfo"]["remoteGrMode"] == "Disable"
    });
    edit(site, "gracefulRestart: {notifications: true},", true, |seen| {
        seen["gracefulRestartInfo"]["nBit"] == true
    });
    // FRR asks for it over IPv6 alone, but says what it was offered.
    edit(site, "extendedNextHop: true,", true, |seen| {
        seen["neighborCapabilities"]["extendedNexthop"] == "received"
    });
    site.configure(Router::A, &["neighbor NODES local-role provider"]);
    edit(site, "role: {name: customer, strict: true},", true, |seen| seen["remoteRole"] == "customer");
    site.configure(Router::A, &["no neighbor NODES local-role provider"]);
    edit(site, "", true, |_| true);
    site.until_prefixes(Router::A, &routes(&[WEB, API]));
}

fn what_changes_under_the_session(site: &Site) {
    let watch = Watch::begin(site);
    let received =
        || site.neighbour(Router::A, NODE.ipv4())["messageStats"]["keepalivesRecv"].as_u64().unwrap();
    edit(site, "keepaliveTime: 1s,", false, |_| true);
    let (before, begin) = (received(), Instant::now());
    site.until("four keepalives", || if received() >= before + 4 { Ok(()) } else { Err("fewer".to_owned()) });
    // A third of the hold time, 3 s and 75 % of it, would be 9 s at the least.
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());

    let [first, second] = [Ipv4Addr::new(192, 0, 2, 13), Ipv4Addr::new(192, 0, 2, 12)];
    for hop in [first, second] {
        edit(site, &format!("nextHop: {{ipv4: {hop}, ipv6: '2001:db8:0:1::13'}},"), false, |_| true);
        site.until_heard(Router::A, &format!("the next hop {hop}"), |heard| {
            let right = |path: IpAddr| path == IpAddr::from(hop) || path.to_string() == "2001:db8:0:1::13";
            heard.len() == 4 && heard.values().flatten().all(|path| right(path.next_hop))
        });
    }
    edit(site, "logMessages: true, connectRetryTime: 2s,", false, |_| true);
    site.put("Advertisement", "all", "{attributes: {med: 5}}");
    site.until_heard(Router::A, "the MED", |heard| heard.values().flatten().all(|path| path.med == Some(5)));
    site.until("the node logs its messages", || {
        let log = site.bellhop.log_text(NODE).unwrap();
        if log.contains("UPDATE") { Ok(()) } else { Err(site.bellhop.log_tail(NODE, 5)) }
    });
    edit(site, "prefixLimit: 1,", false, |_| true);
    // A lower limit withdraws nothing; what comes later is above it.
    watch.withdrew_nothing();
    site.remove("Service", "api");
    site.until_prefixes(Router::A, &routes(&[WEB]));
    site.serve("api", "{app: api}", &addresses(API));
    site.until("the node tells how many are above the limit", || {
        let told = site.peer_status(NODE, "router-a");
        if (told["wanted"].as_u64(), told["sent"].as_u64()) == (Some(4), Some(2)) {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    assert_eq!(site.heard(Router::A).unwrap().len(), 2);
    edit(site, "", false, |_| true);
    site.until_prefixes(Router::A, &routes(&[WEB, API]));
}

fn where_connections_come_from(site: &Site) {
    for (further, from) in [
        (format!("sourceAddress: {SECOND},"), SECOND),
        ("sourceInterface: apart,".to_owned(), APART),
        (String::new(), NODE.ipv4()),
    ] {
        site.put("BGPPeer", "router-a", &peer(Router::A, &further));
        site.until_session(Router::A, from, &further, |_| true);
        site.until(&format!("router-a has the session from {from} alone"), || {
            let sessions =
                site.sessions(Router::A).into_iter().filter(|(_, session)| session.is_established());
            let from_where: Vec<IpAddr> = sessions.map(|(address, _)| address).collect();
            if from_where == [IpAddr::from(from)] { Ok(()) } else { Err(format!("{from_where:?}")) }
        });
        site.until_heard(Router::A, "all routes", |heard| {
            heard.len() == 4
                && heard.values().all(|paths| paths.len() == 1 && paths[0].peer == IpAddr::from(from))
        });
    }
    // Where the node has no such interface it opens no session, and says so.
    site.put("BGPPeer", "router-a", &peer(Router::A, "sourceInterface: missing,"));
    site.until("no session without the interface", || {
        let told = site.peer_status(NODE, "router-a");
        let refused = told["state"] != "Established"
            && told["lastError"].as_str().is_some_and(|e| e.contains("missing"));
        if refused { Ok(()) } else { Err(told.to_string()) }
    });
    site.put("BGPPeer", "router-a", &peer(Router::A, ""));
    site.until_session(Router::A, NODE.ipv4(), "again", |_| true);
}

fn what_packets_carry(site: &Site) {
    let router = site.lab.router(Router::A);
    site.nft(&router, "add table ip watch; add chain ip watch in { type filter hook input priority 0; }");
    let until_ttl = |ttl: u8| {
        let counter = format!("ttl{ttl}");
        let rule = format!("ip saddr {} tcp dport 179 ip ttl {ttl}", NODE.ipv4());
        site.nft(
            &router,
            &format!("add counter ip watch {counter}; add rule ip watch in {rule} counter name {counter}"),
        );
        site.until(&format!("packets with TTL {ttl}"), || match site.counted(&router, &counter) {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        });
    };
    until_ttl(1);
    edit(site, "ebgpMultiHop: 5,", true, |_| true);
    until_ttl(5);
    site.configure(Router::A, &["neighbor NODES ttl-security hops 1"]);
    edit(site, "ttlSecurity: 1,", true, |_| true);
    until_ttl(255);
    site.configure(Router::A, &["no neighbor NODES ttl-security hops 1"]);

    site.write(
        "Secret",
        "router-a",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: router-a, namespace: bellhop-system}\n\
         type: kubernetes.io/basic-auth\nstringData: {password: as-on-the-router}\n",
    );
    let group = "neighbor NODES password as-on-the-router";
    site.configure(Router::A, &[group]);
    edit(site, "passwordSecret: router-a,", true, |_| true);
    site.until_prefixes(Router::A, &routes(&[WEB, API]));
    site.configure(Router::A, &["no neighbor NODES password as-on-the-router"]);
    site.put("BGPPeer", "router-a", &peer(Router::A, ""));
    site.until_session(Router::A, NODE.ipv4(), "without a password", |_| true);
}

fn who_dials(site: &Site) {
    edit(site, "passive: true,", false, |_| true);
    site.configure(Router::A, &["neighbor NODES timers connect 1"]);
    let begin = Instant::now();
    site.lab.frr(Router::A).bgpd(&format!("clear bgp {}", NODE.ipv4())).unwrap();
    site.until_session(Router::A, NODE.ipv4(), "a session that the router dialled", |seen| {
        seen["portForeign"] == 179
    });
    assert!(begin.elapsed() < DEADLINE);
    // Nobody listens where the router is not: by its port.
    site.configure(Router::A, &["neighbor NODES passive"]);
    let router = site.lab.router(Router::A);
    site.nft(
        &router,
        "add table ip port; add chain ip port in { type nat hook prerouting priority 0; }; \
                       add rule ip port in tcp dport 1790 redirect to :179",
    );
    edit(site, "peerPort: 1790,", true, |seen| seen["portLocal"] == 179);
    let rules = site.nft(&router, "list table ip port");
    assert!(rules.contains("1790"), "{rules}");
}

// case: peers-97
#[test]
fn an_as_number_left_open_gives_a_session_of_the_right_kind_and_is_refused_with_one_of_the_wrong() {
    let open = |kind: &str| {
        let (address, timers) = (Router::A.ipv4(), "holdTime: 9s, connectRetryTime: 1s");
        // So that the router keeps nothing of the session before.
        let restart = "gracefulRestart: {enabled: false}";
        format!("{{peerAddress: {address}, dynamicASN: {kind}, {timers}, {restart}}}")
    };
    let site = site("adv-open-asn", &open("external"));
    site.until_session(Router::A, NODE.ipv4(), "an external one", |seen| seen["remoteAs"] == 64500);
    assert_eq!(site.peer_status(NODE, "router-a")["peerAsn"], Router::A.asn());
    site.until_prefixes(Router::A, &routes(&[WEB, API]));
    until_settled(&site);
    site.put("BGPPeer", "router-a", &open("internal"));
    site.until("the wrong kind is refused", || {
        let told = site.peer_status(NODE, "router-a");
        let refused =
            told["state"] != "Established" && told["lastError"].as_str().is_some_and(|e| e.contains("2/2"));
        if refused { Ok(()) } else { Err(told.to_string()) }
    });
    site.until("the router is told", || {
        let log = site.lab.frr(Router::A).bgpd_log().unwrap();
        if log.contains("2/2 (OPEN Message Error/Bad Peer AS)") {
            Ok(())
        } else {
            Err("it is not".to_owned())
        }
    });
    site.until_prefixes(Router::A, &[]);
    site.put("BGPPeer", "router-a", &open("external"));
    site.until_prefixes(Router::A, &routes(&[WEB, API]));
    site.down();
}

// case: peers-95, bgp-9
#[test]
fn a_router_that_comes_back_is_found_within_the_connect_retry_time_and_soon_where_it_is_not_away_long() {
    // The router never dials.
    let site = site("adv-retry", &peer(Router::A, ""));
    let frr = site.lab.frr(Router::A);
    site.until_session(Router::A, NODE.ipv4(), "up", |_| true);
    let away = |connect_retry: &str, failed_dials: u64| {
        let (address, asn) = (Router::A.ipv4(), Router::A.asn());
        let spec = format!(
            "{{peerAddress: {address}, peerASN: {asn}, holdTime: 9s, connectRetryTime: {connect_retry}}}"
        );
        site.put("BGPPeer", "router-a", &spec);
        site.nft(
            &site.lab.node(NODE),
            "add table ip watch; flush table ip watch; add counter ip watch dials; \
            add chain ip watch out { type filter hook output priority 0; }; \
            add rule ip watch out tcp dport 179 tcp flags & (syn | ack) == syn counter name dials",
        );
        frr.kill_bgpd().unwrap();
        let before = site.counted(&site.lab.node(NODE), "dials");
        site.until(&format!("{failed_dials} dials are refused"), || {
            let dials = site.counted(&site.lab.node(NODE), "dials") - before;
            if dials >= failed_dials { Ok(()) } else { Err(format!("{dials}")) }
        });
        frr.start_bgpd_with(" neighbor NODES passive\n").unwrap();
        let begin = Instant::now();
        site.until_session(Router::A, NODE.ipv4(), "up again", |_| true);
        let took = begin.elapsed();
        println!(
            "connectRetryTime {connect_retry}, {failed_dials} refused dials: up {took:?} after the router"
        );
        took
    };
    // The first dials are repeated within a second each, however long the retry time is.
    assert!(away("60s", 1) < Duration::from_millis(2500));
    // Many have failed: without a short retry time the next would be at 5 s, 10 s, 20 s and so on.
    assert!(away("1s", 6) < Duration::from_millis(2500));
    site.down();
}
