//! How the path to a router is watched, as the router's bfdd sees it.

use std::net::IpAddr;

use bellhop_lab::plan::Router;
use serde_json::Value;

use super::site::{NODE, Site, Watch, addresses, peer, routes};

const WEB: u8 = 10;

/// One node, and a router with BFD that knows it by both its addresses.
fn site(prefix: &str) -> Site {
    let site = Site::up(prefix);
    site.lab.frr(Router::A).start_bfd().unwrap();
    let neighbour = format!("neighbor {} peer-group NODES", NODE.ipv6());
    site.configure(Router::A, &[&neighbour, "neighbor NODES bfd"]);
    site.serve("web", "{app: web}", &addresses(WEB));
    site.put("Advertisement", "all", "{}");
    site
}

/// The node's addresses, by which the router watches it.
fn watched() -> [IpAddr; 2] {
    [NODE.ipv4().into(), NODE.ipv6().into()]
}

/// A BGPPeer of router A over each family, with further fields.
fn put_peers(site: &Site, further: &str) {
    for address in [IpAddr::from(Router::A.ipv4()), Router::A.ipv6().into()] {
        put_peer(site, address, further);
    }
}

fn put_peer(site: &Site, address: IpAddr, further: &str) {
    let name = if address.is_ipv4() { "over-ipv4" } else { "over-ipv6" };
    let asn = Router::A.asn();
    let timers = "holdTime: 9s, connectRetryTime: 1s";
    site.put("BGPPeer", name, &format!("{{{further} peerAddress: '{address}', peerASN: {asn}, {timers}}}"));
}

/// What bfdd says of one peer in a list of them.
fn of_peer(list: &Value, address: IpAddr) -> Value {
    let of = |peer: &&Value| peer["peer"].as_str().and_then(|text| text.parse().ok()) == Some(address);
    list.as_array().into_iter().flatten().find(of).cloned().unwrap_or_default()
}

/// Waits until bfdd's session with an address of the node is as `holds` says.
fn until_seen(site: &Site, address: IpAddr, what: &str, holds: impl Fn(&Value) -> bool) {
    site.until(&format!("bfdd with {address}: {what}"), || {
        let list =
            site.lab.frr(Router::A).bfd_json("show bfd peers json").map_err(|error| format!("{error:#}"))?;
        let seen = of_peer(&list, address);
        if holds(&seen) { Ok(()) } else { Err(seen.to_string()) }
    });
}

fn until_up(site: &Site, over: &[IpAddr]) {
    for address in over {
        until_seen(site, *address, "up", |seen| seen["status"] == "up");
        let name = if address.is_ipv4() { "over-ipv4" } else { "over-ipv6" };
        site.until("the node says so too", || {
            let told = site.peer_status(NODE, name);
            let up = told["state"] == "Established"
                && told["bfd"].as_str().is_some_and(|bfd| bfd.starts_with("Up"));
            if up { Ok(()) } else { Err(told.to_string()) }
        });
    }
}

/// How often bfdd saw its session with an address go down, and how often up.
fn flaps(site: &Site, address: IpAddr) -> [u64; 2] {
    let list = site.lab.frr(Router::A).bfd_json("show bfd peers counters json").unwrap();
    let seen = of_peer(&list, address);
    ["session-down", "session-up"].map(|counter| seen[counter].as_u64().unwrap_or_else(|| panic!("{seen}")))
}

// case: peers-77, peers-78, peers-92
#[test]
fn bfd_comes_up_in_both_families_with_every_field_of_its_profile_and_no_edit_flaps_it() {
    let site = site("adv-bfd");
    site.put("BFDProfile", "watched", "{}");
    put_peer(&site, Router::A.ipv4().into(), "bfd: {profile: watched},");
    let site = site.start(&[NODE]);
    // By default: in one family, in the other, in both.
    until_up(&site, &watched()[..1]);
    site.remove("BGPPeer", "over-ipv4");
    put_peer(&site, Router::A.ipv6().into(), "bfd: {profile: watched},");
    until_up(&site, &watched()[1..]);
    put_peers(&site, "bfd: {profile: watched},");
    until_up(&site, &watched());
    for address in watched() {
        until_seen(&site, address, "the default of every timer", |seen| timers(seen) == [300, 300, 3]);
    }
    every_field_of_the_profile_is_in_force(&site);
    a_change_of_something_else_flaps_nothing(&site);
    site.down();
}

/// How often the node would send and can receive, in milliseconds, and how many packets in a row may be lost.
fn timers(seen: &Value) -> [u64; 3] {
    ["remote-transmit-interval", "remote-receive-interval", "remote-detect-multiplier"]
        .map(|field| seen[field].as_u64().unwrap_or_default())
}

fn every_field_of_the_profile_is_in_force(site: &Site) {
    let before = watched().map(|address| flaps(site, address));
    let watch = Watch::begin(site);
    for (transmit, receive, multiplier) in [(150, 250, 5), (200, 100, 10)] {
        let spec = format!(
            "transmitInterval: {transmit}ms, receiveInterval: {receive}ms, detectMultiplier: {multiplier}"
        );
        site.put("BFDProfile", "watched", &format!("{{{spec}, passive: true, minimumTTL: 254}}"));
        for address in watched() {
            until_seen(site, address, "the timers of the profile", |seen| {
                timers(seen) == [transmit, receive, multiplier] && seen["status"] == "up"
            });
        }
    }
    assert_eq!(watched().map(|address| flaps(site, address)), before);
    watch.withdrew_nothing();
}

fn a_change_of_something_else_flaps_nothing(site: &Site) {
    let before = watched().map(|address| flaps(site, address));
    let watch = Watch::begin(site);
    site.serve("api", "{app: api}", &addresses(20));
    site.put("Advertisement", "all", "{attributes: {communities: ['64500:1'], med: 9}}");
    put_peers(site, "bfd: {profile: watched}, keepaliveTime: 2s, logMessages: true,");
    site.put("BGPPeer", "router-b", &peer(Router::B, ""));
    site.put("BFDProfile", "other", "{transmitInterval: 50ms}");
    site.put("SpeakerConfig", "further", "{priority: 2, drain: {wait: 2s}}");
    site.label_node(NODE, "{further: 'yes'}");
    site.until_prefixes(Router::B, &routes(&[WEB, 20]));
    site.until_heard(Router::A, "the edits", |heard| {
        heard.len() == 4 && heard.values().flatten().all(|path| path.med == Some(9))
    });
    until_up(site, &watched());
    assert_eq!(watched().map(|address| flaps(site, address)), before);
    watch.withdrew_nothing();
}

// case: peers-92
#[test]
fn a_passive_profile_waits_for_the_router_and_a_least_ttl_holds_for_a_path_of_several_hops() {
    let site = site("adv-bfd-fields");
    let frr = site.lab.frr(Router::A);
    // The router waits too, so that only a node that speaks first is heard.
    frr.configure_bfd(&[
        "bfd",
        "profile waits",
        "passive-mode",
        "transmit-interval 100",
        "receive-interval 100",
    ])
    .unwrap();
    site.configure(Router::A, &["no neighbor NODES bfd", "neighbor NODES bfd profile waits"]);
    let timers = "transmitInterval: 100ms, receiveInterval: 100ms";
    site.put("BFDProfile", "watched", &format!("{{{timers}, passive: true}}"));
    put_peer(&site, Router::A.ipv4().into(), "bfd: {profile: watched}, keepaliveTime: 1s,");
    let site = site.start(&[NODE]);
    let over: IpAddr = NODE.ipv4().into();
    site.until_session(Router::A, over, "up without BFD", |_| true);
    let (node, router) = (site.lab.node(NODE), site.lab.router(Router::A));
    site.nft(
        &node,
        "add table ip watch; add counter ip watch spoken; add counter ip watch heard; \
         add chain ip watch out { type filter hook output priority 0; }; \
         add chain ip watch in { type filter hook input priority 0; }; \
         add rule ip watch out udp dport 3784 counter name spoken; add rule ip watch in udp dport 4784 counter name heard",
    );
    // bfdd has spoken before it knew the profile, and the node forgets that after three seconds.
    site.until("the node knows of nobody", || {
        let told = site.peer_status(NODE, "over-ipv4");
        if told["bfd"].as_str().is_some_and(|bfd| bfd.starts_with("Down")) {
            Ok(())
        } else {
            Err(told.to_string())
        }
    });
    let keepalives = || site.neighbour(Router::A, over)["messageStats"]["keepalivesRecv"].as_u64().unwrap();
    // One that speaks first does so every second.
    let (before, spoken) = (keepalives(), site.counted(&node, "spoken"));
    site.until("two seconds of keepalives", || match keepalives() - before {
        0..=2 => Err("not as many".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(site.counted(&node, "spoken"), spoken);
    until_seen(&site, over, "down, as both wait", |seen| seen["status"] == "down");
    site.put("BFDProfile", "watched", &format!("{{{timers}, passive: false}}"));
    until_up(&site, &[over]);

    // Over several hops: packets that a router on the way has taken from arrive with less than 255.
    site.configure(Router::A, &["neighbor NODES ebgp-multihop 3"]);
    site.nft(
        &router,
        "add table ip mangle; add chain ip mangle out { type route hook output priority 0; }; \
                                add rule ip mangle out udp dport 4784 ip ttl set 253",
    );
    site.put("BFDProfile", "watched", &format!("{{{timers}, minimumTTL: 254}}"));
    put_peer(&site, Router::A.ipv4().into(), "ebgpMultiHop: 3, bfd: {profile: watched},");
    site.until_session(Router::A, over, "up over several hops", |seen| {
        seen["externalBgpNbrMaxHopsAway"] == 3
    });
    site.until("the node receives packets", || match site.counted(&node, "heard") {
        0..=3 => Err("not as many".to_owned()),
        _ => Ok(()),
    });
    until_seen(&site, over, "of several hops, and not heard", |seen| {
        seen["multihop"] == true && seen["status"] != "up"
    });
    site.put("BFDProfile", "watched", &format!("{{{timers}, minimumTTL: 253}}"));
    until_up(&site, &[over]);
    site.down();
}
