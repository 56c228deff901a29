//! OpenBGPD, the portable edition.

use std::process::Command;

use serde_json::Value;

use crate::netns::{Daemon, ROUTER, SPEAKER, Site, await_socket, said};
use crate::router::{Heard, Program, Router, Setup, Table, cell, named_community, numbers, own_routes};
use crate::scenarios;

/// bgpd as it runs. On Linux it has no part in the kernel's routes.
struct OpenBgpd {
    site: Site,
    daemon: Daemon,
}

fn configuration(site: &Site, setup: &Setup) -> String {
    let password = setup.password.map_or(String::new(), |password| format!("tcp md5sig password {password}"));
    let passive = if setup.passive { "passive" } else { "" };
    let own: String = own_routes(setup.own_routes).map(|prefix| format!("network {prefix}\n")).collect();
    format!(
        "AS {}
         router-id {ROUTER}
         listen on {ROUTER}
         socket \"{}\"
         fib-update no
         connect-retry 1
         {own}
         neighbor {SPEAKER} {{
           remote-as 64512
           announce IPv4 unicast
           announce IPv6 unicast
           {password}
           {passive}
         }}
         allow from any
         allow to any
        ",
        setup.asn,
        site.file("bgpd.sock").display()
    )
}

impl OpenBgpd {
    fn run(site: &Site) -> Daemon {
        // Where its processes change their root to; its service would make it.
        std::fs::create_dir_all("/run/openbgpd").unwrap();
        let socket = site.file("bgpd.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = site.in_router("/usr/sbin/bgpd");
        let daemon = site.daemon("bgpd", command.arg("-d").arg("-f").arg(site.file("openbgpd.conf")));
        await_socket(&socket);
        daemon
    }

    fn bgpctl(&self, words: &str) -> Value {
        let mut command = Command::new("/usr/sbin/bgpctl");
        command.arg("-s").arg(self.site.file("bgpd.sock")).arg("-j").args(words.split(' '));
        serde_json::from_str(&said(&mut command)).unwrap_or(Value::Null)
    }

    fn neighbour(&self) -> Value {
        self.bgpctl(&format!("show neighbor {SPEAKER}"))["neighbors"][0].clone()
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn heard(route: &Value) -> Heard {
    let number = |name: &str| route[name].as_u64().and_then(|number| u32::try_from(number).ok());
    Heard {
        next_hop: route["exit_nexthop"].as_str().unwrap().parse().unwrap(),
        as_path: numbers(route["aspath"].as_str().unwrap_or_default()),
        med: number("metric"),
        local_preference: number("localpref"),
        communities: texts(&route["communities"]).map(named_community).collect(),
        large: texts(&route["large_communities"]).map(str::to_owned).collect(),
        extended: texts(&route["extended_communities"]).map(|text| text.replace(' ', ":")).collect(),
        stale: route["stale"] == true,
    }
}

impl Router for OpenBgpd {
    const PROGRAM: Program = Program::OpenBgpd;
    const OWN_PREFERENCE: Option<u32> = Some(100);
    const HAS_FIB: bool = false;

    fn start(site: &Site, setup: &Setup) -> Self {
        site.write("openbgpd.conf", &configuration(site, setup));
        Self { site: site.clone(), daemon: Self::run(site) }
    }

    fn is_established(&self) -> bool {
        self.neighbour()["state"] == "Established"
    }

    fn count(&self) -> usize {
        self.neighbour()["stats"]["prefixes"]["received"].as_u64().unwrap_or(0) as usize
    }

    fn table(&self) -> Table {
        let shown = self.bgpctl(&format!("show rib in neighbor {SPEAKER} detail"));
        let routes = shown["rib"].as_array().cloned().unwrap_or_default();
        routes
            .iter()
            .map(|route| (route["prefix"].as_str().unwrap().parse().unwrap(), heard(route)))
            .collect()
    }

    fn withdrawals(&self) -> usize {
        self.neighbour()["stats"]["update"]["received"]["withdraws"].as_u64().unwrap_or(0) as usize
    }

    fn refresh(&self) {
        self.bgpctl(&format!("neighbor {SPEAKER} refresh"));
    }

    fn told(&self) -> String {
        let neighbour = self.neighbour();
        format!("{} {}", neighbour["last_error_received"], neighbour["last_shutdown_reason"])
    }

    fn signal(&self, signal: &str) {
        self.daemon.signal(signal);
    }

    fn restart(&mut self) {
        self.daemon.kill();
        self.daemon = Self::run(&self.site);
    }
}

// case: bgp-1, bgp-2
#[test]
fn a_session_comes_up_whoever_dials() {
    cell::<OpenBgpd, _>("a_session_comes_up_whoever_dials", scenarios::whoever_dials::<OpenBgpd>);
}

// case: bgp-57, bgp-58
#[test]
fn both_families_arrive_with_every_attribute() {
    cell::<OpenBgpd, _>(
        "both_families_arrive_with_every_attribute",
        scenarios::attributes_external::<OpenBgpd>,
    );
}

// case: bgp-57
#[test]
fn an_internal_router_gets_the_local_preference() {
    cell::<OpenBgpd, _>(
        "an_internal_router_gets_the_local_preference",
        scenarios::attributes_internal::<OpenBgpd>,
    );
}

// case: bgp-50
#[test]
fn eleven_thousand_routes_arrive_and_go() {
    cell::<OpenBgpd, _>("eleven_thousand_routes_arrive_and_go", scenarios::eleven_thousand::<OpenBgpd>);
}

// case: bgp-59
#[test]
fn other_attributes_replace_a_route_without_a_gap() {
    cell::<OpenBgpd, _>(
        "other_attributes_replace_a_route_without_a_gap",
        scenarios::other_attributes::<OpenBgpd>,
    );
}

// case: bgp-65
#[test]
fn a_route_refresh_brings_everything_again() {
    cell::<OpenBgpd, _>("a_route_refresh_brings_everything_again", scenarios::route_refresh::<OpenBgpd>);
}

// case: bgp-72
#[test]
fn a_router_that_restarts_gets_everything_again() {
    cell::<OpenBgpd, _>(
        "a_router_that_restarts_gets_everything_again",
        scenarios::router_restarts::<OpenBgpd>,
    );
}

// case: bgp-73
#[test]
fn a_password_must_be_the_same_on_both_sides() {
    cell::<OpenBgpd, _>("a_password_must_be_the_same_on_both_sides", scenarios::password::<OpenBgpd>);
}

// case: bgp-44
#[test]
fn a_frozen_router_is_found_by_the_hold_timer() {
    cell::<OpenBgpd, _>("a_frozen_router_is_found_by_the_hold_timer", scenarios::hold_timer::<OpenBgpd>);
}

// case: bgp-70
#[test]
fn the_text_of_a_shutdown_is_seen() {
    cell::<OpenBgpd, _>("the_text_of_a_shutdown_is_seen", scenarios::shutdown_text::<OpenBgpd>);
}

#[test]
fn routes_of_the_router_change_nothing() {
    cell::<OpenBgpd, _>("routes_of_the_router_change_nothing", scenarios::routes_of_the_router::<OpenBgpd>);
}

// case: bgp-67
#[test]
fn a_graceful_restart_keeps_routes_and_sweeps_the_rest() {
    cell::<OpenBgpd, _>(
        "a_graceful_restart_keeps_routes_and_sweeps_the_rest",
        scenarios::graceful_restart::<OpenBgpd>,
    );
}

// case: bgp-67
#[test]
fn a_speaker_that_is_killed_loses_no_route() {
    cell::<OpenBgpd, _>("a_speaker_that_is_killed_loses_no_route", scenarios::killed_and_kept::<OpenBgpd>);
}
