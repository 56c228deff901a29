//! What routes carry, and which of several Advertisements decides.

use bellhop_lab::observe::bgp::Path;
use bellhop_lab::plan::Router;

use super::site::{Heard, NODE, Site, Watch, addresses, routes};

const WEB: u8 = 10;
const API: u8 = 20;

/// One node announces two Services to both routers.
fn site(prefix: &str) -> Site {
    let site = Site::up(prefix).with_routers();
    site.serve("web", "{app: web, tier: gold}", &addresses(WEB));
    site.serve("api", "{app: api, tier: silver}", &addresses(API));
    site.put("Advertisement", "all", "{}");
    let site = site.start(&[NODE]);
    for router in Router::ALL {
        site.until_prefixes(router, &routes(&[WEB, API]));
    }
    site
}

/// Waits until both routes of a Service carry just these communities at a router.
fn until_communities(site: &Site, router: Router, service: u8, communities: &[&str]) {
    let what = format!("{communities:?} on {service}");
    site.until_heard(router, &what, |heard| {
        all(heard, &routes(&[service]), |path| path.communities == communities)
    });
}

/// Whether each of the prefixes has paths, and all of them are so.
fn all(heard: &Heard, prefixes: &[String], holds: impl Fn(&Path) -> bool) -> bool {
    prefixes.iter().all(|prefix| heard.get(prefix).is_some_and(|paths| paths.iter().all(&holds)))
}

// case: peers-83, peers-88
#[test]
fn other_attributes_and_aggregation_lengths_are_announced_anew_and_no_session_is_reset() {
    let site = site("adv-attributes");
    let services = routes(&[WEB, API]);
    for preference in [250, 50] {
        let watch = Watch::begin(&site);
        site.put("Advertisement", "all", &format!("{{attributes: {{localPreference: {preference}}}}}"));
        let alone = |path: &Path| path.communities.is_empty() && path.large_communities.is_empty();
        site.until_heard(Router::B, &format!("local preference {preference} alone"), |heard| {
            all(heard, &services, |path| path.local_preference == Some(preference) && alone(path))
        });
        // An external peer is not told (RFC 4271 §5.1.5).
        let external = site.heard(Router::A).unwrap();
        assert!(all(&external, &services, |path| path.local_preference.is_none()), "{external:?}");
        watch.withdrew_nothing();
    }

    let watch = Watch::begin(&site);
    site.put("Advertisement", "all", "{attributes: {communities: ['64500:1'], med: 7, prepend: 2}}");
    site.until_heard(Router::A, "community, MED and path", |heard| {
        all(heard, &services, |path| {
            (path.communities.as_slice(), path.med, path.as_path.as_slice())
                == (&["64500:1".to_owned()], Some(7), &[64500; 3])
        })
    });
    site.put(
        "Advertisement",
        "all",
        "{attributes: {communities: ['64500:2', no-export], largeCommunities: ['64500:1:2']}}",
    );
    for router in Router::ALL {
        site.until_heard(router, "the other communities, and no MED", |heard| {
            all(heard, &services, |path| {
                path.communities == ["64500:2", "noExport"]
                    && path.large_communities == ["64500:1:2"]
                    && path.med.unwrap_or_default() == 0
                    && path.as_path.len() <= 1
            })
        });
    }
    watch.withdrew_nothing();

    let mut before = services;
    for (lengths, aggregates) in [
        ("ipv4Length: 25, ipv6Length: 64", ["203.0.113.0/25", "2001:db8:53::/64"]),
        ("ipv4Length: 27, ipv6Length: 120", ["203.0.113.0/27", "2001:db8:53::/120"]),
    ] {
        let watch = Watch::begin(&site);
        let attributes = "communities: ['64500:3'], localPreference: 300";
        site.put(
            "Advertisement",
            "all",
            &format!("{{aggregation: {{{lengths}}}, attributes: {{{attributes}}}}}"),
        );
        let aggregates = aggregates.map(str::to_owned);
        for router in Router::ALL {
            site.until_prefixes(router, &aggregates);
            let preference = (router == Router::B).then_some(300);
            let heard = site.heard(router).unwrap();
            let right = |path: &Path| path.communities == ["64500:3"] && path.local_preference == preference;
            assert!(all(&heard, &aggregates, right), "{heard:?}");
        }
        watch.withdrew_from_all(&before);
        before = aggregates.into();
    }
    site.down();
}

// case: peers-87, peers-104, peers-116, peers-117
#[test]
fn each_route_has_the_attributes_of_the_one_advertisement_that_decides_and_explain_names_it() {
    let site = site("adv-decides");
    each_peer_hears_the_communities_of_its_own_advertisement(&site);
    of_two_that_overlap_the_higher_priority_decides(&site);
    where_selectors_overlap_nothing_is_united(&site);
    site.down();
}

fn each_peer_hears_the_communities_of_its_own_advertisement(site: &Site) {
    let watch = Watch::begin(site);
    for (router, community) in [(Router::A, "64500:10"), (Router::B, "64500:20")] {
        let spec = format!(
            "{{peers: [{0}], priority: 1, attributes: {{communities: ['{community}']}}}}",
            router.name()
        );
        site.put("Advertisement", &format!("to-{}", router.name()), &spec);
    }
    for service in [WEB, API] {
        until_communities(site, Router::A, service, &["64500:10"]);
        until_communities(site, Router::B, service, &["64500:20"]);
    }
    for router in Router::ALL {
        site.remove("Advertisement", &format!("to-{}", router.name()));
    }
    until_communities(site, Router::A, WEB, &[]);
    watch.withdrew_nothing();
}

fn of_two_that_overlap_the_higher_priority_decides(site: &Site) {
    let watch = Watch::begin(site);
    let put = |name: &str, priority: i32, community: &str| {
        let spec = format!("{{priority: {priority}, attributes: {{communities: ['{community}']}}}}");
        site.put("Advertisement", name, &spec);
    };
    let decides = |name: &str, communities: &[&str]| {
        for router in Router::ALL {
            until_communities(site, router, WEB, communities);
            assert_eq!(site.deciding(NODE, "web", router), name);
        }
    };
    put("second", 5, "64500:2");
    decides("second", &["64500:2"]);
    put("first", 10, "64500:1");
    decides("first", &["64500:1"]);
    // Among equal ones the name.
    put("first", 5, "64500:1");
    put("second", 5, "64500:22");
    decides("first", &["64500:1"]);
    put("second", 6, "64500:22");
    decides("second", &["64500:22"]);
    site.remove("Advertisement", "second");
    decides("first", &["64500:1"]);
    site.remove("Advertisement", "first");
    decides("all", &[]);
    watch.withdrew_nothing();
}

fn where_selectors_overlap_nothing_is_united(site: &Site) {
    let watch = Watch::begin(site);
    // Those that do not overlap have communities of their own.
    for (tier, community) in [("gold", "64500:100"), ("silver", "64500:200")] {
        let spec = format!(
            "{{priority: 10, serviceSelector: {{matchLabels: {{tier: {tier}}}}}, attributes: {{communities: ['{community}']}}}}"
        );
        site.put("Advertisement", tier, &spec);
    }
    for router in Router::ALL {
        until_communities(site, router, WEB, &["64500:100"]);
        until_communities(site, router, API, &["64500:200"]);
    }
    // One that overlaps with both decides for what no higher one selects: for nothing, or for one of them.
    let overlapping = |priority: i32| {
        let spec = format!(
            "{{priority: {priority}, serviceSelector: {{matchExpressions: [{{key: app, operator: In, values: [web]}}]}}, \
             attributes: {{communities: ['64500:300']}}}}"
        );
        site.put("Advertisement", "overlapping", &spec);
    };
    overlapping(20);
    until_communities(site, Router::A, WEB, &["64500:300"]);
    assert_eq!(site.deciding(NODE, "web", Router::A), "overlapping");
    overlapping(5);
    until_communities(site, Router::A, WEB, &["64500:100"]);
    assert_eq!(site.deciding(NODE, "web", Router::A), "gold");
    until_communities(site, Router::A, API, &["64500:200"]);
    watch.withdrew_nothing();
}
