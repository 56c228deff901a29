//! FRR: zebra, bfdd and bgpd.

use std::process::Command;

use serde_json::Value;

use crate::frr_lab::{Frr, bgpd_conf};
use crate::netns::{SPEAKER, Site, said};
use crate::router::{
    Bfd, Heard, Program, Router, Setup, Table, cell, last_logged, named_community, numbers, own_routes,
};
use crate::scenarios;

fn lines(setup: &Setup) -> Vec<String> {
    let neighbour = format!("neighbor {SPEAKER}");
    let mut lines = ["bgp graceful-restart", "bgp log-neighbor-changes", "no bgp network import-check"]
        .map(str::to_owned)
        .to_vec();
    if setup.passive {
        lines.push(format!("{neighbour} passive"));
    }
    if let Some(password) = setup.password {
        lines.push(format!("{neighbour} password {password}"));
    }
    if setup.bfd != Bfd::Off {
        lines.push(format!("{neighbour} bfd 3 100 100"));
    }
    if setup.bfd == Bfd::Graceful {
        lines.push(format!("{neighbour} bfd check-control-plane-failure"));
    }
    lines.extend(own_routes(setup.own_routes).map(|prefix| format!("network {prefix}")));
    lines
}

/// One path of `show bgp FAMILY unicast PREFIX json`.
fn heard(path: &Value) -> Heard {
    let number = |name: &str| path[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let words = |name: &str| {
        let text = path[name]["string"].as_str().unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    Heard {
        next_hop: path["nexthops"][0]["ip"].as_str().unwrap().parse().unwrap(),
        as_path: numbers(path["aspath"]["string"].as_str().unwrap_or_default()),
        med: number("metric"),
        local_preference: number("locPrf"),
        communities: words("community").iter().map(|word| named_community(word)).collect(),
        large: words("largeCommunity").into_iter().collect(),
        extended: words("extendedCommunity").iter().map(|word| word.replace("RT:", "rt:")).collect(),
        stale: path["stale"] == true,
    }
}

impl Router for Frr {
    const PROGRAM: Program = Program::Frr;
    const OWN_PREFERENCE: Option<u32> = None;
    const HAS_FIB: bool = true;
    const BFD_DOWN: Option<&'static str> = Some("6/10 (Cease");

    fn start(site: &Site, setup: &Setup) -> Self {
        let conf = bgpd_conf(setup.asn, &lines(setup));
        Frr::start(site, &format!("debug bgp updates in\n{conf}"))
    }

    fn is_established(&self) -> bool {
        self.neighbour()["bgpState"] == "Established"
    }

    fn count(&self) -> usize {
        self.prefixes() as usize
    }

    fn table(&self) -> Table {
        // The list of all routes lacks their communities.
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(&self.site.folder);
        for family in ["ipv4", "ipv6"] {
            let list = self.show(&format!("show bgp {family} unicast json"));
            for prefix in list["routes"].as_object().into_iter().flatten().map(|(prefix, _)| prefix) {
                vtysh.args(["-c", &format!("show bgp {family} unicast {prefix} json")]);
            }
        }
        let shown = said(&mut vtysh);
        let details = serde_json::Deserializer::from_str(&shown).into_iter::<Value>().map_while(Result::ok);
        details
            .filter_map(|route| {
                let from_speaker = |path: &&Value| path["peer"]["peerId"] == SPEAKER;
                let path = route["paths"].as_array()?.iter().find(from_speaker)?;
                Some((route["prefix"].as_str()?.parse().unwrap(), heard(path)))
            })
            .collect()
    }

    fn withdrawals(&self) -> usize {
        let log = std::fs::read_to_string(self.site.file("bgpd.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("rcvd UPDATE about") && line.contains("withdrawn")).count()
    }

    fn refresh(&self) {
        for family in ["ipv4", "ipv6"] {
            self.vtysh(&format!("clear bgp {family} unicast {SPEAKER} soft in"));
        }
    }

    fn told(&self) -> String {
        let received = last_logged(&self.site, "bgpd", "NOTIFICATION: received");
        format!("{received} {}", self.neighbour()["lastShutdownDescription"])
    }

    fn signal(&self, signal: &str) {
        Frr::signal(self, "bgpd", signal);
    }

    fn signal_bfd(&self, signal: &str) {
        Frr::signal(self, "bfdd", signal);
    }

    fn path_is_up(&self) -> bool {
        self.bfd()["status"] == "up"
    }

    fn restart(&mut self) {
        self.restart_bgpd();
    }
}

// case: bgp-1, bgp-2
#[test]
fn a_session_comes_up_whoever_dials() {
    cell::<Frr, _>("a_session_comes_up_whoever_dials", scenarios::whoever_dials::<Frr>);
}

// case: bgp-57, bgp-58
#[test]
fn both_families_arrive_with_every_attribute() {
    cell::<Frr, _>("both_families_arrive_with_every_attribute", scenarios::attributes_external::<Frr>);
}

// case: bgp-57
#[test]
fn an_internal_router_gets_the_local_preference() {
    cell::<Frr, _>("an_internal_router_gets_the_local_preference", scenarios::attributes_internal::<Frr>);
}

// case: bgp-50
#[test]
fn eleven_thousand_routes_arrive_and_go() {
    cell::<Frr, _>("eleven_thousand_routes_arrive_and_go", scenarios::eleven_thousand::<Frr>);
}

// case: bgp-59
#[test]
fn other_attributes_replace_a_route_without_a_gap() {
    cell::<Frr, _>("other_attributes_replace_a_route_without_a_gap", scenarios::other_attributes::<Frr>);
}

// case: bgp-65
#[test]
fn a_route_refresh_brings_everything_again() {
    cell::<Frr, _>("a_route_refresh_brings_everything_again", scenarios::route_refresh::<Frr>);
}

// case: bgp-72
#[test]
fn a_router_that_restarts_gets_everything_again() {
    cell::<Frr, _>("a_router_that_restarts_gets_everything_again", scenarios::router_restarts::<Frr>);
}

// case: bgp-73
#[test]
fn a_password_must_be_the_same_on_both_sides() {
    cell::<Frr, _>("a_password_must_be_the_same_on_both_sides", scenarios::password::<Frr>);
}

// case: bgp-44
#[test]
fn a_frozen_router_is_found_by_the_hold_timer() {
    cell::<Frr, _>("a_frozen_router_is_found_by_the_hold_timer", scenarios::hold_timer::<Frr>);
}

// case: bgp-70
#[test]
fn the_text_of_a_shutdown_is_seen() {
    cell::<Frr, _>("the_text_of_a_shutdown_is_seen", scenarios::shutdown_text::<Frr>);
}

// case: bgp-74
#[test]
fn a_path_that_bfd_loses_ends_the_session_with_6_10() {
    cell::<Frr, _>("a_path_that_bfd_loses_ends_the_session_with_6_10", scenarios::bfd_down::<Frr>);
}

#[test]
fn routes_of_the_router_change_nothing() {
    cell::<Frr, _>("routes_of_the_router_change_nothing", scenarios::routes_of_the_router::<Frr>);
}

// case: bgp-67
#[test]
fn a_graceful_restart_keeps_routes_and_sweeps_the_rest() {
    cell::<Frr, _>("a_graceful_restart_keeps_routes_and_sweeps_the_rest", scenarios::graceful_restart::<Frr>);
}

// case: bgp-67
#[test]
fn a_speaker_that_is_killed_loses_no_route() {
    cell::<Frr, _>("a_speaker_that_is_killed_loses_no_route", scenarios::killed_and_kept::<Frr>);
}

#[test]
fn a_router_that_trusts_bfd_drops_the_routes_of_a_killed_speaker() {
    cell::<Frr, _>(
        "a_router_that_trusts_bfd_drops_the_routes_of_a_killed_speaker",
        scenarios::killed_and_lost::<Frr>,
    );
}
