//! What edits and restarts cost those who use the addresses.

use std::net::IpAddr;
use std::time::Duration;

use bellhop_lab::http::Url;
use bellhop_lab::load::{Load, Running};
use bellhop_lab::observe::kernel::{Recording, bgp_routes};
use bellhop_lab::plan::Router;

use super::site::{NODE, NODES, Site, Watch, addresses, peer, routes};

const WEB: u8 = 10;
const API: u8 = 20;
/// Pause between two requests of the load.
const STEADY: Duration = Duration::from_millis(10);

fn record(site: &Site, router: Router) -> Recording {
    let file = site.lab.run().join(format!("{}-routes.log", router.name()));
    Recording::start(&site.lab.router(router), &file).unwrap()
}

fn load(site: &Site, addresses: &[IpAddr]) -> Running {
    let urls: Vec<Url> = addresses.iter().map(|address| Url::of(*address)).collect();
    let load = Load::steady(&urls, STEADY);
    load.start_in(&site.lab.client(), site.lab.tool(), &site.lab.run().join("load.log")).unwrap()
}

/// Waits until the routers' kernels forward to these addresses.
fn until_forwarded(site: &Site, addresses: &[IpAddr]) {
    for router in Router::ALL {
        site.until(&format!("{} forwards {addresses:?}", router.name()), || {
            let forwarded = bgp_routes(&site.lab.router(router)).map_err(|error| format!("{error:#}"))?;
            let all = addresses.iter().all(|address| forwarded.contains_key(&address.to_string()));
            if all { Ok(()) } else { Err(format!("{forwarded:?}")) }
        });
    }
}

// case: peers-66
#[test]
fn without_graceful_restart_a_killed_process_costs_its_routes_and_requests_fail() {
    let site = Site::up("adv-gap");
    site.serve("web", "{}", &addresses(WEB));
    site.put("Advertisement", "all", "{}");
    for router in Router::ALL {
        site.put("BGPPeer", router.name(), &peer(router, "gracefulRestart: {enabled: false},"));
    }
    let mut site = site.start(&[NODE]);
    until_forwarded(&site, &addresses(WEB));
    let mut recordings = Router::ALL.map(|router| record(&site, router));
    let load = load(&site, &addresses(WEB));
    site.bellhop.kill(NODE).unwrap();
    for router in Router::ALL {
        site.until_prefixes(router, &[]);
    }
    site.bellhop.start(NODE).unwrap();
    for router in Router::ALL {
        site.until_prefixes(router, &routes(&[WEB]));
    }
    until_forwarded(&site, &addresses(WEB));
    let report = load.stop().unwrap();
    assert!(report.failed() > 0, "{report}");
    for (router, recording) in Router::ALL.into_iter().zip(&mut recordings) {
        let deleted = recording.deletions_of(&addresses(WEB)).unwrap();
        assert_eq!(deleted.len(), 2, "{}: {deleted:?}", router.name());
    }
    site.down();
}

// case: peers-79
#[test]
fn one_configuration_after_another_leaves_the_addresses_that_are_announced_in_use() {
    let site = Site::up("adv-sequence").with_routers();
    site.serve("web", "{app: web}", &addresses(WEB));
    site.put("Advertisement", "all", "{}");
    let site = site.start(&NODES[..2]);
    until_forwarded(&site, &addresses(WEB));
    for router in Router::ALL {
        site.until_heard(router, "both nodes", |heard| {
            heard.len() == 2 && heard.values().all(|paths| paths.len() == 2)
        });
    }
    let mut recordings = Router::ALL.map(|router| record(&site, router));
    let load = load(&site, &addresses(WEB));
    let watch = Watch::begin(&site);

    let pool = |name: &str, spec: &str| site.put_labelled("AddressPool", name, "{reach: public}", spec);
    let edits: [&dyn Fn(); 9] = [
        &|| pool("further", "{addresses: [198.51.100.128/28]}"),
        &|| site.serve("api", "{app: api}", &addresses(API)),
        &|| site.put("Advertisement", "all", "{pools: [public], attributes: {communities: ['64500:1']}}"),
        &|| site.put("Advertisement", "web", "{serviceSelector: {matchLabels: {app: web}}, priority: 5}"),
        // The pool without the addresses that are in use: they are kept, and announced as before.
        &|| {
            pool(
                "public",
                "{addresses: [203.0.113.64/26, '2001:db8:53::/120'], exclude: ['2001:db8:53::10']}",
            )
        },
        &|| site.put("SpeakerConfig", "second", "{priority: 1, drain: {wait: 2s}}"),
        &|| site.put("BFDProfile", "unused", "{}"),
        &|| {
            site.put(
                "BGPPeer",
                "elsewhere",
                "{peerAddress: 192.0.2.99, peerASN: 64499, bfd: {profile: unused}}",
            )
        },
        // Nothing of it can be used, and the last version that could stays in force.
        &|| site.put("Advertisement", "web", "{attributes: {communities: [nonsense]}}"),
    ];
    for edit in edits {
        edit();
        site.until_read(&NODES[..2]);
    }
    site.until_heard(Router::A, "the last edits", |heard| heard.len() == 4);
    let told = site.bellhop.status(NODE).unwrap();
    assert_eq!(told.service("shop", "web").unwrap().addresses, addresses(WEB));
    let report = load.stop().unwrap();
    assert!(report.requests() > 20, "{report}");
    assert_eq!(report.failed(), 0, "{report}");
    watch.withdrew_nothing();
    for recording in &mut recordings {
        assert_eq!(recording.deletions_of(&addresses(WEB)).unwrap(), []);
    }
    site.down();
}
