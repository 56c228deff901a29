//! What an Advertisement selects, and that an edit of it, or of what it selects by, changes just that.

use bellhop_lab::plan::Router;

use super::site::{NODE, Site, Watch, addresses, routes};

const WEB: u8 = 10;
const API: u8 = 20;
/// In the pool `inside`.
const DATABASE: u8 = 200;

/// One node announces to both routers what the Advertisement `all` selects.
fn site(prefix: &str) -> Site {
    let site = Site::up(prefix).with_routers();
    site.serve("web", "{app: web, tier: gold}", &addresses(WEB));
    site.serve("api", "{app: api, tier: silver}", &addresses(API));
    site.serve("database", "{app: database, tier: gold}", &addresses(DATABASE));
    site.put("Advertisement", "all", "{}");
    let site = site.start(&[NODE]);
    until_all_hear(&site, &[WEB, API, DATABASE]);
    site
}

fn until_all_hear(site: &Site, services: &[u8]) {
    for router in Router::ALL {
        site.until_prefixes(router, &routes(services));
    }
}

// case: peers-86, peers-111, peers-112, peers-113, peers-114
#[test]
fn what_an_advertisement_selects_by_pools_and_services_is_announced_alone_and_an_edit_changes_just_that() {
    let site = site("adv-select");
    // By pools.
    let edits: [(&str, &[u8], &[u8]); 8] = [
        // The spec, what is announced then, what is withdrawn by the edit.
        ("{pools: [public]}", &[WEB, API], &[DATABASE]),
        ("{poolSelector: {matchLabels: {reach: inside}}}", &[DATABASE], &[WEB, API]),
        ("{pools: [inside, public]}", &[WEB, API, DATABASE], &[]),
        // By pools and Services: both must hold.
        ("{pools: [public], serviceSelector: {matchLabels: {tier: gold}}}", &[WEB], &[API, DATABASE]),
        ("{serviceSelector: {matchLabels: {tier: gold}}}", &[WEB, DATABASE], &[]),
        // Several requirements on Services.
        (
            "{serviceSelector: {matchExpressions: [{key: tier, operator: In, values: [gold, silver]}, \
             {key: app, operator: NotIn, values: [database]}]}}",
            &[WEB, API],
            &[DATABASE],
        ),
        ("{serviceSelector: {matchLabels: {tier: silver}}}", &[API], &[WEB]),
        ("{serviceSelector: {matchLabels: {tier: gold}}, pools: [public]}", &[WEB], &[API]),
    ];
    for (spec, announced, withdrawn) in edits {
        let watch = Watch::begin(&site);
        site.put("Advertisement", "all", spec);
        until_all_hear(&site, announced);
        watch.withdrew_from_all(&routes(withdrawn));
    }

    // By the Services' own labels.
    let watch = Watch::begin(&site);
    site.serve("api", "{app: api, tier: gold}", &addresses(API));
    until_all_hear(&site, &[WEB, API]);
    watch.withdrew_nothing();
    let watch = Watch::begin(&site);
    site.serve("web", "{app: web, tier: silver}", &addresses(WEB));
    until_all_hear(&site, &[API]);
    watch.withdrew_from_all(&routes(&[WEB]));
    site.down();
}

// case: peers-103, peers-108, peers-115
#[test]
fn advertisements_reach_the_peers_they_name_and_one_that_selects_nothing_takes_its_own_service_alone() {
    let site = site("adv-peers");
    by_name_and_by_label_the_peers_of_an_advertisement_hear_alone(&site);
    an_advertisement_that_selects_nothing_any_more_withdraws_its_own_service(&site);
    a_host_route_stands_beside_the_aggregate_of_its_pool(&site);
    site.down();
}

fn by_name_and_by_label_the_peers_of_an_advertisement_hear_alone(site: &Site) {
    let all = [WEB, API, DATABASE];
    let edits = [
        ("{peers: [router-a]}", Some(Router::A), Some(Router::B)),
        ("{peerSelector: {matchLabels: {role: core}}}", Some(Router::B), Some(Router::A)),
        ("{peers: [router-a]}", Some(Router::A), Some(Router::B)),
        ("{}", None, None),
    ];
    for (spec, only, withdrawn) in edits {
        let watch = Watch::begin(site);
        site.put("Advertisement", "all", spec);
        for router in Router::ALL {
            let hears = only.is_none_or(|only| only == router);
            site.until_prefixes(router, &routes(if hears { &all } else { &[] }));
        }
        let gone = routes(&all);
        watch.withdrew(&withdrawn.map(|router| (router, gone.as_slice())).into_iter().collect::<Vec<_>>());
    }
}

fn an_advertisement_that_selects_nothing_any_more_withdraws_its_own_service(site: &Site) {
    let watch = Watch::begin(site);
    site.put("Advertisement", "web", "{serviceSelector: {matchLabels: {app: web}}}");
    site.put("Advertisement", "api", "{serviceSelector: {matchLabels: {app: api}}}");
    site.until("both are in force", || {
        let deciding = ["web", "api"].map(|service| site.deciding(NODE, service, Router::A));
        // Of equal priorities the first name decides.
        if deciding == ["all", "all"] { Ok(()) } else { Err(format!("{deciding:?}")) }
    });
    site.remove("Advertisement", "all");
    until_all_hear(site, &[WEB, API]);
    watch.withdrew_from_all(&routes(&[DATABASE]));
    let watch = Watch::begin(site);
    site.put("Advertisement", "web", "{serviceSelector: {matchLabels: {app: nothing}}}");
    until_all_hear(site, &[API]);
    for router in Router::ALL {
        assert_eq!(watch.announced(router), [].into(), "{}", router.name());
    }
    watch.withdrew_from_all(&routes(&[WEB]));
}

fn a_host_route_stands_beside_the_aggregate_of_its_pool(site: &Site) {
    const AGGREGATES: [&str; 2] = ["203.0.113.0/25", "2001:db8:53::/64"];
    let aggregates = AGGREGATES.map(str::to_owned);
    let watch = Watch::begin(site);
    site.put("Advertisement", "web", "{priority: 10, serviceSelector: {matchLabels: {app: web}}}");
    site.put("Advertisement", "api", "{pools: [public], aggregation: {ipv4Length: 25, ipv6Length: 64}}");
    let both: Vec<String> = routes(&[WEB]).into_iter().chain(aggregates.clone()).collect();
    for router in Router::ALL {
        site.until_prefixes(router, &both);
    }
    watch.withdrew_from_all(&routes(&[API]));
    // The aggregate stands for the Services that it covers, of which the last one goes.
    let watch = Watch::begin(site);
    site.remove("Service", "api");
    until_all_hear(site, &[WEB]);
    watch.withdrew_from_all(&aggregates);
}
