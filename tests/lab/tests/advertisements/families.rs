//! Sessions of either family, and prefixes of either family.

use std::net::IpAddr;

use bellhop_lab::observe::bgp::{Path, host_route};
use bellhop_lab::observe::kernel::bgp_routes;
use bellhop_lab::plan::Router;

use super::site::{NODE, Site, addresses, routes};

const WEB: u8 = 10;

/// One node, and a router that knows it by both its addresses.
fn site(prefix: &str) -> Site {
    let site = Site::up(prefix);
    let neighbour = format!("neighbor {} peer-group NODES", NODE.ipv6());
    site.configure(Router::A, &[&neighbour]);
    site.serve("web", "{}", &addresses(WEB));
    site.put("Advertisement", "all", "{}");
    site
}

/// A BGPPeer of router A at this address.
fn put_peer(site: &Site, name: &str, address: impl Into<IpAddr>, further: &str) {
    let (address, asn) = (address.into(), Router::A.asn());
    let spec =
        format!("{{{further} peerAddress: '{address}', peerASN: {asn}, holdTime: 9s, connectRetryTime: 1s}}");
    site.put("BGPPeer", name, &spec);
}

/// Waits until router A has these prefixes alone, each over the sessions with these addresses of the node.
fn until_over(site: &Site, wanted: &[(IpAddr, &[IpAddr])]) {
    let wanted: Vec<_> = wanted.iter().map(|(address, over)| (host_route(*address), over.to_vec())).collect();
    let what = format!("{wanted:?}");
    site.until_heard(Router::A, &what, |heard| {
        let over = |paths: &Vec<Path>| paths.iter().map(|path| path.peer).collect::<Vec<_>>();
        let mut wanted = wanted.clone();
        wanted.sort();
        heard.iter().map(|(prefix, paths)| (prefix.clone(), over(paths))).eq(wanted)
    });
}

// case: peers-99, peers-100, peers-101
#[test]
fn prefixes_of_either_family_go_over_sessions_of_either_family() {
    let site = site("adv-families");
    put_peer(&site, "over-ipv6", Router::A.ipv6(), "");
    let site = site.start(&[NODE]);
    let [ipv4, ipv6] = addresses(WEB);
    let (over_ipv4, over_ipv6) = (IpAddr::from(NODE.ipv4()), IpAddr::from(NODE.ipv6()));

    // Both over one IPv6 session, with next hops of their own families, which the kernel uses.
    until_over(&site, &[(ipv4, &[over_ipv6]), (ipv6, &[over_ipv6])]);
    let heard = site.heard(Router::A).unwrap();
    let next_hops: Vec<IpAddr> = routes(&[WEB]).iter().map(|prefix| heard[prefix][0].next_hop).collect();
    assert_eq!(next_hops, [over_ipv4, over_ipv6]);
    site.until("the kernel forwards both", || {
        let forwarded = bgp_routes(&site.lab.router(Router::A)).map_err(|error| format!("{error:#}"))?;
        let right = forwarded.get(&ipv4.to_string()) == Some(&vec![over_ipv4])
            && forwarded.get(&ipv6.to_string()) == Some(&vec![over_ipv6]);
        if right { Ok(()) } else { Err(format!("{forwarded:?}")) }
    });

    // A session of each family, both families over each.
    put_peer(&site, "over-ipv4", Router::A.ipv4(), "");
    let both: &[IpAddr] = &[over_ipv4, over_ipv6];
    until_over(&site, &[(ipv4, both), (ipv6, both)]);
    let before = site.sessions(Router::A);
    // Only one family is announced: by what the Service has.
    for address in [ipv6, ipv4] {
        site.serve("web", "{}", &[address]);
        until_over(&site, &[(address, both)]);
    }
    let now = site.sessions(Router::A);
    for address in both {
        assert!(now[address].is_same_session(&before[address]), "{:?}", now[address]);
    }

    // And by what the sessions are of.
    site.serve("web", "{}", &[ipv4, ipv6]);
    put_peer(&site, "over-ipv4", Router::A.ipv4(), "families: [IPv4],");
    put_peer(&site, "over-ipv6", Router::A.ipv6(), "families: [IPv6],");
    until_over(&site, &[(ipv4, &[over_ipv4]), (ipv6, &[over_ipv6])]);
    put_peer(&site, "over-ipv4", Router::A.ipv4(), "families: [IPv6],");
    until_over(&site, &[(ipv6, both)]);
    put_peer(&site, "over-ipv4", Router::A.ipv4(), "families: [IPv4],");
    put_peer(&site, "over-ipv6", Router::A.ipv6(), "families: [IPv4],");
    until_over(&site, &[(ipv4, both)]);
    site.down();
}
