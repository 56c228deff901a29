//! Which nodes announce, and how routers weigh them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_lab::observe::bgp::Path;
use bellhop_lab::observe::kernel::{Recording, Route};
use bellhop_lab::plan::{Node, Router};

use super::site::{NODES, Site, Watch, addresses, from, on, routes};

const WEB: u8 = 10;
const API: u8 = 20;

/// Every node announces a Service to both routers.
fn site(prefix: &str) -> Site {
    let site = Site::up(prefix).with_routers();
    site.serve("web", "{app: web}", &addresses(WEB));
    site.put("Advertisement", "all", "{}");
    let site = site.start(&NODES);
    until_all_hear(&site, &from(WEB, &NODES));
    site
}

fn until_all_hear(site: &Site, wanted: &[(String, Vec<Node>)]) {
    for router in Router::ALL {
        site.until_routes(router, wanted);
    }
}

// case: peers-105, peers-106, peers-107
#[test]
fn services_are_announced_from_the_nodes_that_their_advertisements_select() {
    let site = site("adv-nodes");
    let [first, second, third] = NODES;

    // A node that gets the label announces, and one that loses it does no more.
    site.put("Advertisement", "all", "{nodeSelector: {matchLabels: {announces: 'yes'}}}");
    until_all_hear(&site, &[]);
    for labelled in 1..=NODES.len() {
        let watch = Watch::begin(&site);
        site.label_node(NODES[labelled - 1], "{announces: 'yes'}");
        until_all_hear(&site, &from(WEB, &NODES[..labelled]));
        watch.withdrew_nothing();
    }
    let watch = Watch::begin(&site);
    site.label_node(third, "{}");
    until_all_hear(&site, &from(WEB, &[first, second]));
    watch.withdrew_from_all(&routes(&[WEB]));

    // Two Services, an Advertisement each.
    site.serve("api", "{app: api}", &addresses(API));
    let advertise = |service: &str, nodes: &[Node]| {
        let selector = format!("serviceSelector: {{matchLabels: {{app: {service}}}}}");
        site.put("Advertisement", service, &format!("{{{selector}, nodeSelector: {}}}", on(nodes)));
    };
    advertise("web", &[first, second]);
    advertise("api", &[second, third]);
    site.remove("Advertisement", "all");
    until_all_hear(&site, &[from(WEB, &[first, second]), from(API, &[second, third])].concat());
    let splits: [(&[Node], &[Node]); 3] =
        [(&[first], &[second, third]), (&[], &[second, third]), (&[], &[first, third])];
    for (web, api) in splits {
        advertise("web", web);
        advertise("api", api);
        until_all_hear(&site, &[from(WEB, web), from(API, api)].concat());
    }

    // One Service, two Advertisements, each with a community of its own.
    site.remove("Service", "api");
    let split = |left: &[Node], right: &[Node]| {
        for (name, nodes, community) in [("web", left, "64500:1"), ("api", right, "64500:2")] {
            let attributes = format!("attributes: {{communities: ['{community}']}}");
            site.put("Advertisement", name, &format!("{{nodeSelector: {}, {attributes}}}", on(nodes)));
        }
        until_all_hear(&site, &from(WEB, &[left, right].concat()));
        for router in Router::ALL {
            site.until_heard(router, "each node's own community", |heard| {
                heard.values().flatten().all(|path| {
                    let of_left = path.node().is_some_and(|node| left.contains(&node));
                    path.communities == [if of_left { "64500:1" } else { "64500:2" }]
                })
            });
        }
    };
    split(&[first], &[second, third]);
    // A node that goes over to the other Advertisement changes its attributes and withdraws nothing.
    let watch = Watch::begin(&site);
    split(&[first, second], &[third]);
    watch.withdrew_nothing();
    site.down();
}

/// The weights of a kernel's next hops to an address, by the node.
fn weights(site: &Site, router: Router, address: IpAddr) -> BTreeMap<Node, u32> {
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    let arguments = [family, "route", "show", &address.to_string()];
    let routes: Vec<Route> = site.lab.router(router).ip_json(&arguments).unwrap();
    let hops = routes.into_iter().flat_map(|route| route.nexthops);
    hops.filter_map(|hop| Some((Node::of_address(hop.gateway?)?, hop.weight))).collect()
}

#[test]
fn routers_weigh_nodes_by_the_link_bandwidth_of_their_routes_and_follow_an_edit_of_it() {
    let site = site("adv-weights");
    let [small, large, other] = NODES;
    let advertise = |node: Node, bandwidth: u32| {
        let spec =
            format!("{{nodeSelector: {}, attributes: {{linkBandwidthMbps: {bandwidth}}}}}", on(&[node]));
        site.put("Advertisement", &node.name(), &spec);
    };
    advertise(small, 1000);
    advertise(large, 3000);
    site.remove("Advertisement", "all");
    until_all_hear(&site, &from(WEB, &[small, large]));
    let until_weighed = |ratio: u32, nodes: &[Node]| {
        for (router, address) in Router::ALL.into_iter().flat_map(|r| addresses(WEB).map(|a| (r, a))) {
            site.until(&format!("{} weighs {address} 1:{ratio}", router.name()), || {
                let weights = weights(&site, router, address);
                // FRR gives whole percents, cut off.
                let weighed = |small: u32, large: u32| {
                    (small * ratio).abs_diff(large) <= if ratio == 1 { 0 } else { ratio }
                };
                if weights.keys().eq(nodes) && weighed(weights[&small], weights[&large]) {
                    Ok(())
                } else {
                    Err(format!("{weights:?}"))
                }
            });
        }
    };
    until_weighed(3, &[small, large]);
    let watch = Watch::begin(&site);
    advertise(large, 9000);
    until_weighed(9, &[small, large]);
    watch.withdrew_nothing();
    // Where one of them tells no bandwidth, FRR weighs all alike.
    site.put("Advertisement", &other.name(), &format!("{{nodeSelector: {}}}", on(&[other])));
    until_weighed(1, &NODES);
    site.down();
}

#[test]
fn an_address_of_one_node_alone_moves_without_a_gap_when_its_node_goes_and_waits_for_that_when_only_the_process_ends()
 {
    let mut site = site("adv-most");
    site.put("Advertisement", "all", "{maxNodes: 2}");
    let announcing = |site: &Site, most: usize| {
        let mut found = Vec::new();
        site.until_heard(Router::A, &format!("{most} nodes"), |heard| {
            heard.values().all(|paths| paths.len() == most)
        });
        for router in Router::ALL {
            site.until_heard(router, "the same nodes for both families", |heard| {
                heard.len() == 2 && heard.values().all(|paths| paths.len() == most)
            });
        }
        found.extend(site.heard(Router::A).unwrap()[&routes(&[WEB])[0]].iter().filter_map(Path::node));
        found
    };
    let two = announcing(&site, 2);
    site.put("Advertisement", "all", "{maxNodes: 1}");
    let one = announcing(&site, 1)[0];
    assert!(two.contains(&one), "{one:?} is not of {two:?}");
    let outranked = NODES.into_iter().find(|node| *node != one).unwrap();
    let told = site.bellhop.tool(outranked, &["explain", "service/shop/web"]).unwrap();
    assert!(told.contains("spec.maxNodes of the Advertisement is 1"), "{told}");

    // The node leaves: its Node goes, at which its speaker drains and another begins; then its process ends.
    let mut recordings: Vec<Recording> = Router::ALL
        .map(|router| {
            let file = site.lab.run().join(format!("{}-move.log", router.name()));
            Recording::start(&site.lab.router(router), &file).unwrap()
        })
        .into();
    site.remove("Node", &one.name());
    site.until_heard(Router::A, "another node", |heard| {
        heard.len() == 2 && heard.values().flatten().all(|path| path.node() != Some(one))
    });
    site.bellhop.stop(one).unwrap();
    let next = announcing(&site, 1)[0];
    assert_ne!(next, one);
    for recording in &mut recordings {
        assert_eq!(recording.deletions_of(&addresses(WEB)).unwrap(), []);
    }

    // Of a process that ends while its Node stays nobody tells the others in standalone form.
    site.bellhop.stop(next).unwrap();
    for router in Router::ALL {
        site.until_routes(router, &[]);
    }
    let last = NODES.into_iter().find(|node| ![one, next].contains(node)).unwrap();
    let told = site.bellhop.tool(last, &["explain", "service/shop/web"]).unwrap();
    assert!(told.contains(&format!("{} come before this node", next.name())), "{told}");
    site.remove("Node", &next.name());
    until_all_hear(&site, &from(WEB, &[last]));
    site.down();
}
