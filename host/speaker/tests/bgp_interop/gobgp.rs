//! GoBGP 3.

use std::process::Command;

use serde_json::Value;

use crate::netns::{Daemon, ROUTER, SPEAKER, Site, await_socket, said};
use crate::router::{Heard, Program, Router, Setup, Table, cell, community, last_logged, own_routes};
use crate::scenarios;

/// gobgpd as it runs. It has no part in a kernel.
struct GoBgp {
    site: Site,
    own_routes: u32,
    daemon: Daemon,
}

fn configuration(setup: &Setup) -> String {
    let password = setup.password.map_or(String::new(), |password| format!("auth-password = \"{password}\""));
    let family = |name: &str| {
        format!(
            "[[neighbors.afi-safis]]
               [neighbors.afi-safis.config]
                 afi-safi-name = \"{name}\"
               [neighbors.afi-safis.mp-graceful-restart.config]
                 enabled = true
            "
        )
    };
    format!(
        "[global.config]
           as = {}
           router-id = \"{ROUTER}\"
           local-address-list = [\"{ROUTER}\"]
         [[neighbors]]
           [neighbors.config]
             neighbor-address = \"{SPEAKER}\"
             peer-as = 64512
             {password}
           [neighbors.transport.config]
             passive-mode = {}
           [neighbors.timers.config]
             connect-retry = 1
           [neighbors.graceful-restart.config]
             enabled = true
             restart-time = 60
         {}{}",
        setup.asn,
        setup.passive,
        family("ipv4-unicast"),
        family("ipv6-unicast")
    )
}

impl GoBgp {
    fn run(site: &Site, own: u32) -> Daemon {
        let socket = site.file("gobgp.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = site.in_router("/usr/bin/gobgpd");
        command.arg("-f").arg(site.file("gobgpd.toml"));
        command.args(["--pprof-disable", "--api-hosts", &format!("unix://{}", socket.display())]);
        let daemon = site.daemon("gobgpd", &mut command);
        await_socket(&socket);
        for prefix in own_routes(own) {
            said(&mut gobgp(site, &["global", "rib", "add", &prefix]));
        }
        daemon
    }

    fn show(&self, words: &[&str]) -> Value {
        let said = said(gobgp(&self.site, words).arg("-j"));
        serde_json::from_str(&said).unwrap_or(Value::Null)
    }

    fn neighbour(&self) -> Value {
        self.show(&["neighbor"])[0].clone()
    }
}

fn gobgp(site: &Site, words: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/gobgp");
    command.args(["--target", &format!("unix://{}", site.file("gobgp.sock").display())]).args(words);
    command
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap()
}

/// One path of `adj-in -j`.
fn heard(path: &Value) -> Heard {
    let attribute = |code: u64| path["attrs"].as_array().unwrap().iter().find(|attr| attr["type"] == code);
    let all = |code: u64, list: &str| {
        attribute(code).and_then(|attr| attr[list].as_array()).cloned().unwrap_or_default()
    };
    let next_hop = attribute(3).or(attribute(14)).unwrap();
    Heard {
        next_hop: next_hop["nexthop"].as_str().unwrap().parse().unwrap(),
        as_path: all(2, "as_paths")
            .iter()
            .flat_map(|segment| segment["asns"].as_array().unwrap())
            .map(number)
            .collect(),
        med: attribute(4).map(|attr| number(&attr["metric"])),
        local_preference: attribute(5).map(|attr| number(&attr["value"])),
        communities: all(8, "communities").iter().map(|value| community(number(value))).collect(),
        large: all(32, "value")
            .iter()
            .map(|value| format!("{}:{}:{}", value["ASN"], value["LocalData1"], value["LocalData2"]))
            .collect(),
        // Subtype 2 is a route target.
        extended: all(16, "value")
            .iter()
            .filter(|value| value["subtype"] == 2)
            .map(|value| format!("rt:{}", value["value"].as_str().unwrap()))
            .collect(),
        stale: path["stale"] == true,
    }
}

impl Router for GoBgp {
    const PROGRAM: Program = Program::GoBgp;
    const OWN_PREFERENCE: Option<u32> = None;
    const HAS_FIB: bool = false;

    fn start(site: &Site, setup: &Setup) -> Self {
        site.write("gobgpd.toml", &configuration(setup));
        let own_routes = setup.own_routes;
        Self { site: site.clone(), own_routes, daemon: Self::run(site, own_routes) }
    }

    fn is_established(&self) -> bool {
        self.neighbour()["state"]["session_state"] == 6
    }

    fn count(&self) -> usize {
        let neighbour = self.neighbour();
        let families = neighbour["afi_safis"].as_array().cloned().unwrap_or_default();
        families.iter().filter_map(|family| family["state"]["received"].as_u64()).sum::<u64>() as usize
    }

    fn table(&self) -> Table {
        let of = |family: &str| self.show(&["neighbor", SPEAKER, "adj-in", "-a", family]);
        let both = ["ipv4", "ipv6"].map(of);
        let entries = both.iter().filter_map(Value::as_object).flatten();
        entries.map(|(prefix, paths)| (prefix.parse().unwrap(), heard(&paths[0]))).collect()
    }

    fn withdrawals(&self) -> usize {
        self.neighbour()["state"]["messages"]["received"]["withdraw_prefix"].as_u64().unwrap_or(0) as usize
    }

    fn refresh(&self) {
        unreachable!("GoBGP does not ask for routes");
    }

    fn told(&self) -> String {
        last_logged(&self.site, "gobgpd", "received notification")
    }

    fn signal(&self, signal: &str) {
        self.daemon.signal(signal);
    }

    fn restart(&mut self) {
        self.daemon.kill();
        self.daemon = Self::run(&self.site, self.own_routes);
    }
}

// case: bgp-1, bgp-2
#[test]
fn a_session_comes_up_whoever_dials() {
    cell::<GoBgp, _>("a_session_comes_up_whoever_dials", scenarios::whoever_dials::<GoBgp>);
}

// case: bgp-57, bgp-58
#[test]
fn both_families_arrive_with_every_attribute() {
    cell::<GoBgp, _>("both_families_arrive_with_every_attribute", scenarios::attributes_external::<GoBgp>);
}

// case: bgp-57
#[test]
fn an_internal_router_gets_the_local_preference() {
    cell::<GoBgp, _>("an_internal_router_gets_the_local_preference", scenarios::attributes_internal::<GoBgp>);
}

// case: bgp-50
#[test]
fn eleven_thousand_routes_arrive_and_go() {
    cell::<GoBgp, _>("eleven_thousand_routes_arrive_and_go", scenarios::eleven_thousand::<GoBgp>);
}

// case: bgp-59
#[test]
fn other_attributes_replace_a_route_without_a_gap() {
    cell::<GoBgp, _>("other_attributes_replace_a_route_without_a_gap", scenarios::other_attributes::<GoBgp>);
}

// case: bgp-72
#[test]
fn a_router_that_restarts_gets_everything_again() {
    cell::<GoBgp, _>("a_router_that_restarts_gets_everything_again", scenarios::router_restarts::<GoBgp>);
}

// case: bgp-73
#[test]
fn a_password_must_be_the_same_on_both_sides() {
    cell::<GoBgp, _>("a_password_must_be_the_same_on_both_sides", scenarios::password::<GoBgp>);
}

// case: bgp-44
#[test]
fn a_frozen_router_is_found_by_the_hold_timer() {
    cell::<GoBgp, _>("a_frozen_router_is_found_by_the_hold_timer", scenarios::hold_timer::<GoBgp>);
}

// case: bgp-70
#[test]
fn the_text_of_a_shutdown_is_seen() {
    cell::<GoBgp, _>("the_text_of_a_shutdown_is_seen", scenarios::shutdown_text::<GoBgp>);
}

#[test]
fn routes_of_the_router_change_nothing() {
    cell::<GoBgp, _>("routes_of_the_router_change_nothing", scenarios::routes_of_the_router::<GoBgp>);
}

// case: bgp-67
#[test]
fn a_graceful_restart_keeps_routes_and_sweeps_the_rest() {
    cell::<GoBgp, _>(
        "a_graceful_restart_keeps_routes_and_sweeps_the_rest",
        scenarios::graceful_restart::<GoBgp>,
    );
}

// case: bgp-67
#[test]
fn a_speaker_that_is_killed_loses_no_route() {
    cell::<GoBgp, _>("a_speaker_that_is_killed_loses_no_route", scenarios::killed_and_kept::<GoBgp>);
}
