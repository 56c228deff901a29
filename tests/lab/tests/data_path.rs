//! What reaches an announced address in standalone form, asked from outside. Needs root, FRR, nftables, and the programs
//! that `make test` builds.

#![allow(clippy::unwrap_used, reason = "a missing need is to fail loudly")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use bellhop_lab::Lab;
use bellhop_lab::bellhop::{Bellhop, Programs};
use bellhop_lab::command::{finished, output_of};
use bellhop_lab::demo::{API, STREAM};
use bellhop_lab::http::Url;
use bellhop_lab::lab::{Guard, spawn_logged};
use bellhop_lab::manifests::Manifests;
use bellhop_lab::observe::bgp::{Family, host_route, nodes_in_use, table};
use bellhop_lab::observe::kernel::bgp_routes;
use bellhop_lab::plan::{HTTP_PORT, Node, Router};
use bellhop_lab::wait::wait_for;

/// Far above what anything here takes; a slow machine is no failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// A port of the nodes that no Service has.
const HOST_PORT: u16 = 2222;

/// A lab in which one node announces, and serves another port on all its addresses.
struct Site {
    lab: Lab,
    bellhop: Bellhop,
    manifests: Manifests,
    node: Node,
    server: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Site {
    fn start(prefix: &str, further: &[&str]) -> (Guard, Self) {
        let programs = Programs::from_environment().unwrap();
        let lab = Lab::named(prefix, env!("CARGO_BIN_EXE_lab")).unwrap();
        let guard = Guard::up(lab.clone()).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo/manifests");
        let manifests = Manifests::copy(&examples, lab.run().join("manifests")).unwrap();
        let node = Node::ALL[0];
        let mut serve = lab.node(node).detached(lab.tool());
        serve.args(["serve", "--name", "host", "--port", &HOST_PORT.to_string()]);
        let server = spawn_logged(&mut serve, &lab.run().join("host.log")).unwrap();
        let mut bellhop = Bellhop::new(lab.clone(), programs, manifests.folder());
        bellhop.start_with(node, further).unwrap();
        let site = Self { lab, bellhop, manifests, node, server };
        site.wait_for_routes();
        (guard, site)
    }

    /// Waits until the routers' kernels have the routes too.
    fn wait_for_routes(&self) {
        for (router, address) in Router::ALL.into_iter().flat_map(|r| API.addresses().map(|a| (r, a))) {
            wait_for("the routers use the node, and it answers", DEADLINE, || {
                let seen =
                    nodes_in_use(&self.lab.frr(router), address).map_err(|error| format!("{error:#}"))?;
                if seen != [self.node] {
                    return Err(format!("{seen:?} for {address}"));
                }
                self.ask(address, HTTP_PORT)
            })
            .unwrap();
        }
    }

    /// What the client's request to a port is told.
    fn ask(&self, address: IpAddr, port: u16) -> Result<String, String> {
        let url = Url(SocketAddr::new(address, port)).to_string();
        self.lab.get_from(&self.lab.client(), &url).map_err(|error| format!("{error:#}"))
    }

    /// After how many hops a datagram of the client to a port is refused.
    fn hops(&self, address: IpAddr, port: u16) -> Option<u32> {
        let target = SocketAddr::new(address, port).to_string();
        let told = output_of(self.lab.client().command(self.lab.tool()).args(["trace", &target])).unwrap();
        serde_json::from_str(&told).unwrap()
    }

    fn answers_ping(&self, address: IpAddr) -> bool {
        let mut ping = self.lab.client().command("ping");
        finished(ping.args(["-c", "1", "-W", "2"]).arg(address.to_string())).unwrap().status.success()
    }

    fn nft(&self, arguments: &[&str]) -> String {
        output_of(self.lab.node(self.node).command("nft").args(arguments)).unwrap()
    }

    fn filters(&self) -> bool {
        self.nft(&["list", "tables"]).contains("inet bellhop")
    }
}

#[test]
fn an_announced_address_is_its_service_and_nothing_else_of_the_host() {
    let (guard, site) = Site::start("test-path", &[]);
    for (address, own) in
        API.addresses().into_iter().zip([IpAddr::from(site.node.ipv4()), site.node.ipv6().into()])
    {
        assert_eq!(site.ask(address, HTTP_PORT).as_deref(), Ok("node-1"));
        let by_own =
            site.lab.get_from(&site.lab.router(Router::A), &Url(SocketAddr::new(own, HOST_PORT)).to_string());
        assert_eq!(by_own.unwrap().trim(), "host", "by the node's own address");
        let refused = site.ask(address, HOST_PORT).unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
        assert_eq!(site.hops(address, 53), Some(2), "a closed port: router, node, and no further");
    }
    guard.down().unwrap();
}

#[test]
fn ping_is_answered_until_echo_reply_is_off() {
    let (guard, site) = Site::start("test-echo", &[]);
    assert!(API.addresses().into_iter().all(|address| site.answers_ping(address)), "bound, so by default");
    site.manifests
        .replace("bgp.yaml", "  asn: 64500\n  drain", "  asn: 64500\n  echoReply: false\n  drain", 1)
        .unwrap();
    for address in API.addresses() {
        wait_for("silence", DEADLINE, || {
            if site.answers_ping(address) { Err(format!("{address} answers")) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(site.ask(address, HTTP_PORT).as_deref(), Ok("node-1"), "the Service does");
    }
    guard.down().unwrap();
}

#[test]
fn the_table_comes_back_when_it_is_deleted_and_goes_with_a_stop_that_withdraws() {
    let (guard, mut site) = Site::start("test-table", &[]);
    for tampering in [&["delete", "table", "inet", "bellhop"][..], &["flush", "ruleset"]] {
        site.nft(tampering);
        wait_for("the table is back", DEADLINE, || {
            if site.filters() { Ok(()) } else { Err(site.nft(&["list", "ruleset"])) }
        })
        .unwrap();
        assert!(site.ask(API.ipv4.into(), HOST_PORT).is_err());
    }
    site.bellhop.kill(site.node).unwrap();
    assert!(site.filters(), "it outlives a crash, as the addresses and routes do");
    site.bellhop.start(site.node).unwrap();
    site.wait_for_routes();
    site.bellhop.stop(site.node).unwrap();
    assert!(!site.filters(), "{}", site.bellhop.log_tail(site.node, 30));
    guard.down().unwrap();
}

#[test]
fn a_stop_that_leaves_the_routes_leaves_the_table() {
    let (guard, mut site) = Site::start("test-leave", &["--keep-routes-on-stop"]);
    site.bellhop.stop(site.node).unwrap();
    assert!(site.filters());
    guard.down().unwrap();
}

/// The prefixes that a router hears of the Services' networks, both families, sorted.
fn heard(site: &Site, router: Router) -> Vec<String> {
    let frr = site.lab.frr(router);
    let tables = Family::ALL.into_iter().map(|family| table(&frr, family).unwrap());
    let mut heard: Vec<String> = tables
        .flat_map(|table| table.into_iter().filter(|(_, paths)| !paths.is_empty()).map(|(prefix, _)| prefix))
        .collect();
    heard.sort();
    heard
}

/// The prefixes that a router's kernel forwards by what BGP said, both families, sorted.
fn forwarded(site: &Site, router: Router) -> Vec<String> {
    let routes = bgp_routes(&site.lab.router(router)).unwrap();
    let prefixes = routes.into_keys().map(|destination| match destination.parse() {
        Ok(address) => host_route(address),
        Err(_) => destination,
    });
    let mut prefixes: Vec<String> = prefixes.collect();
    prefixes.sort();
    prefixes
}

// case: bgp-63
#[test]
fn an_aggregate_stands_for_its_addresses_and_unused_ones_of_it_are_refused_without_a_loop() {
    const AGGREGATES: [&str; 2] = ["203.0.113.0/24", "2001:db8:53::/64"];
    let unused: [IpAddr; 2] = ["203.0.113.200".parse().unwrap(), "2001:db8:53::200".parse().unwrap()];
    let (guard, site) = Site::start("test-aggregate", &[]);
    let pools =
        [("203.0.113.10-203.0.113.99", AGGREGATES[0]), ("2001:db8:53::10-2001:db8:53::ff", AGGREGATES[1])];
    for (range, prefix) in pools {
        site.manifests.replace("pools.yaml", &format!("- {range}"), &format!("- {prefix}"), 1).unwrap();
    }
    site.manifests
        .replace(
            "bgp.yaml",
            "name: everything\nspec:\n",
            "name: everything\nspec:\n  aggregation: {ipv4Length: 24, ipv6Length: 64}\n",
            1,
        )
        .unwrap();
    // The Service with externalTrafficPolicy Local has its host routes beside.
    let mut wanted: Vec<String> = AGGREGATES.map(str::to_owned).into();
    wanted.extend(STREAM.addresses().map(host_route));
    wanted.sort();
    for router in Router::ALL {
        wait_for("the routers hear the aggregates, and forward by them", DEADLINE, || {
            for found in [heard(&site, router), forwarded(&site, router)] {
                if found != wanted {
                    return Err(format!("{}: {found:?}, not {wanted:?}", router.name()));
                }
            }
            Ok(())
        })
        .unwrap();
    }

    for (address, unused) in API.addresses().into_iter().zip(unused) {
        assert_eq!(site.ask(address, HTTP_PORT).as_deref(), Ok("node-1"), "by the aggregate");
        let refused = site.ask(unused, HOST_PORT).unwrap_err();
        assert!(refused.contains("refused"), "{unused}, a port of the host: {refused}");
        assert_eq!(site.hops(unused, 53), Some(2), "{unused}: router, node, and no further");
        assert!(site.answers_ping(address) && !site.answers_ping(unused), "{address}, {unused}");
    }

    for file in ["services/api.yaml", "services/web.yaml", "services/stream.yaml"] {
        for router in Router::ALL {
            let heard = heard(&site, router);
            assert!(AGGREGATES.iter().all(|prefix| heard.contains(&(*prefix).to_owned())), "{heard:?}");
        }
        site.manifests.remove(file).unwrap();
    }
    for router in Router::ALL {
        wait_for("the aggregates go with the last Service", DEADLINE, || match &heard(&site, router)[..] {
            [] => Ok(()),
            left => Err(format!("{}: {left:?}", router.name())),
        })
        .unwrap();
    }
    guard.down().unwrap();
}
