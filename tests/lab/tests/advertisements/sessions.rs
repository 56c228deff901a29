//! Which nodes have sessions with whom, and as whom they present themselves.

use std::net::IpAddr;

use bellhop_lab::observe::kernel::Recording;
use bellhop_lab::plan::{Node, Router};

use super::site::{NODES, Site, Watch, addresses, from, on, peer};

const WEB: u8 = 10;

/// Every node would announce a Service, and has no peer yet; the routers take the nodes under any AS number.
fn site(prefix: &str) -> Site {
    let site = Site::up(prefix);
    site.serve("web", "{app: web}", &addresses(WEB));
    site.put("Advertisement", "all", "{}");
    site
}

// case: peers-80, peers-109
#[test]
fn peers_have_sessions_from_the_nodes_they_select_alone_and_each_comes_and_goes_without_the_others() {
    let site = site("adv-sessions").start(&NODES);
    let put = |router: Router, nodes: &[Node]| {
        site.put("BGPPeer", router.name(), &peer(router, &format!("nodeSelector: {},", on(nodes))));
    };
    // Added one by one: router, and node after node.
    for (router, nodes) in
        [(Router::A, 1), (Router::B, 1), (Router::A, 2), (Router::B, 2), (Router::B, 3), (Router::A, 3)]
    {
        let watch = Watch::begin(&site);
        put(router, &NODES[..nodes]);
        site.until_sessions(router, &NODES[..nodes]);
        site.until_routes(router, &from(WEB, &NODES[..nodes]));
        watch.withdrew_nothing();
    }
    let [first, second, third] = NODES;
    let mappings: [[&[Node]; 2]; 4] =
        [[&[first], &[second, third]], [&NODES, &[first]], [&[second], &[second]], [&[], &[third]]];
    for mapping in mappings {
        for (router, nodes) in Router::ALL.into_iter().zip(mapping) {
            put(router, nodes);
        }
        for (router, nodes) in Router::ALL.into_iter().zip(mapping) {
            site.until_sessions(router, nodes);
            site.until_routes(router, &from(WEB, nodes));
        }
    }
    site.down();
}

// case: peers-72, peers-74, peers-110
#[test]
fn routers_see_the_router_id_and_the_as_number_that_are_configured_for_a_node_or_a_peer() {
    let site = site("adv-identity");
    for router in Router::ALL {
        // Without their group's AS number FRR forgets the neighbours in it.
        site.configure(router, &["no neighbor NODES remote-as 64500", "neighbor NODES remote-as external"]);
        for node in NODES {
            site.configure(router, &[&format!("neighbor {} peer-group NODES", node.ipv4())]);
        }
    }
    let site = site.start(&NODES);
    site.put("BGPPeer", "router-a", &peer(Router::A, ""));
    site.until_routes(Router::A, &from(WEB, &NODES));
    let [first, second, third] = NODES;
    let but = |node: Node| -> [IpAddr; 1] { [node.ipv4().into()] };

    // The router ID of one node: its sessions are opened anew, and no other.
    site.until_session(Router::A, first.ipv4(), "its own address", |seen| {
        seen["remoteRouterId"] == first.ipv4().to_string()
    });
    let watch = Watch::begin(&site);
    site.put(
        "SpeakerConfig",
        "first",
        &format!("{{nodeSelector: {}, priority: 1, routerID: 198.51.100.99}}", on(&[first])),
    );
    site.until_session(Router::A, first.ipv4(), "the router ID", |seen| {
        seen["remoteRouterId"] == "198.51.100.99"
    });
    site.until_routes(Router::A, &from(WEB, &NODES));
    watch.sessions_stand(&but(first));

    // An AS number for one peer.
    site.put("BGPPeer", "router-b", &peer(Router::B, "localASN: 64510,"));
    site.until_routes(Router::B, &from(WEB, &NODES));
    for node in NODES {
        site.until_session(Router::B, node.ipv4(), "the AS number for it", |seen| seen["remoteAs"] == 64510);
        site.until_session(Router::A, node.ipv4(), "the AS number of all", |seen| seen["remoteAs"] == 64500);
    }
    let path = |router: Router, node: Node| {
        let heard = site.heard(router).unwrap();
        let path = heard.values().flatten().find(|path| path.node() == Some(node)).cloned();
        path.map(|path| path.as_path)
    };
    assert_eq!(path(Router::B, second), Some(vec![64510]));
    assert_eq!(path(Router::A, second), Some(vec![64500]));

    // An AS number for each node.
    for (node, asn) in [(second, 64502), (third, 64503)] {
        let watch = Watch::begin(&site);
        let spec = format!("{{nodeSelector: {}, priority: 1, asn: {asn}}}", on(&[node]));
        site.put("SpeakerConfig", &node.name(), &spec);
        site.until_session(Router::A, node.ipv4(), "its own AS number", |seen| seen["remoteAs"] == asn);
        site.until(&format!("the path of {} begins with {asn}", node.name()), || {
            let path = path(Router::A, node);
            if path == Some(vec![asn]) { Ok(()) } else { Err(format!("{path:?}")) }
        });
        watch.sessions_stand(&but(node));
    }
    // What the peer says comes before what the node has.
    assert_eq!(path(Router::B, third), Some(vec![64510]));
    site.down();
}

// case: peers-94
#[test]
fn other_timers_come_into_force_and_no_route_is_lost() {
    let site = site("adv-timers").with_routers().start(&NODES);
    for router in Router::ALL {
        site.until_routes(router, &from(WEB, &NODES));
    }
    let mut recordings: Vec<Recording> = Router::ALL
        .map(|router| {
            let file = site.lab.run().join(format!("{}-timers.log", router.name()));
            Recording::start(&site.lab.router(router), &file).unwrap()
        })
        .into();
    for (hold, keepalive) in [(6, 1), (3, 1), (8, 2)] {
        for router in Router::ALL {
            let (address, asn) = (router.ipv4(), router.asn());
            let timers = format!("holdTime: {hold}s, keepaliveTime: {keepalive}s, connectRetryTime: 1s");
            site.put(
                "BGPPeer",
                router.name(),
                &format!("{{peerAddress: {address}, peerASN: {asn}, {timers}}}"),
            );
        }
        for (router, node) in Router::ALL.into_iter().flat_map(|router| NODES.map(|node| (router, node))) {
            site.until_session(router, node.ipv4(), "the hold time", |seen| {
                seen["bgpTimerHoldTimeMsecs"] == hold * 1000
            });
        }
        for router in Router::ALL {
            site.until_heard(router, "all routes, none of them stale", |heard| {
                heard.len() == 2
                    && heard.values().all(|paths| paths.len() == 3 && paths.iter().all(|path| !path.stale))
            });
        }
    }
    for recording in &mut recordings {
        assert_eq!(recording.deletions_of(&addresses(WEB)).unwrap(), []);
    }
    site.down();
}
