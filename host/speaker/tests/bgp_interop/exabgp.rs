//! ExaBGP 4. It has no routing table: what it hears comes to a process of ours as JSON, and the table is made of that.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::netns::{Daemon, ROUTER, SPEAKER, Site};
use crate::router::{Heard, Program, Router, Setup, Table, cell, own_routes};
use crate::scenarios;

/// ExaBGP as it runs, with one process that writes down what it says and one that tells it what to do.
struct ExaBgp {
    site: Site,
    daemon: Daemon,
}

fn configuration(site: &Site, setup: &Setup) -> String {
    let password = setup.password.map_or(String::new(), |password| format!("md5-password \"{password}\";"));
    let own: String =
        own_routes(setup.own_routes).map(|prefix| format!("route {prefix} next-hop self;\n")).collect();
    let script = |name: &str| site.file(name).display().to_string();
    format!(
        "process events {{ run {}; encoder json; }}
         process commands {{ run {}; encoder text; }}
         neighbor {SPEAKER} {{
           router-id {ROUTER}; local-address {ROUTER}; local-as {}; peer-as 64512;
           hold-time 90; passive {}; {password}
           family {{ ipv4 unicast; ipv6 unicast; }}
           capability {{ graceful-restart 60; route-refresh enable; }}
           api hears {{ processes [ events ]; neighbor-changes; receive {{ parsed; packets; update; notification; }} }}
           api tells {{ processes [ commands ]; }}
           static {{ {own} }}
         }}",
        script("events.sh"),
        script("commands.sh"),
        setup.asn,
        setup.passive,
    )
}

impl ExaBgp {
    fn run(site: &Site) -> Daemon {
        for (script, line) in [("events.sh", "cat >>events"), ("commands.sh", "exec tail -n 0 -f commands")] {
            let text = format!("#!/bin/sh\ncd {}\n{line}\n", site.folder.display());
            let file = site.write(script, &text);
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        site.write("commands", "");
        let mut command = site.in_router("/usr/sbin/exabgp");
        command
            .env("exabgp.api.cli", "false")
            .env("exabgp.api.ack", "false")
            .env("exabgp.daemon.user", "root")
            .env("exabgp.tcp.bind", ROUTER)
            .env("exabgp.tcp.port", "179");
        site.daemon("exabgp", command.arg(site.file("exabgp.conf")))
    }

    /// What it said, since it was started.
    fn events(&self) -> Vec<Value> {
        let said = std::fs::read_to_string(self.site.file("events")).unwrap_or_default();
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn tell(&self, command: &str) {
        let file = self.site.file("commands");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}{command}\n")).unwrap();
    }
}

fn list(value: &Value) -> Vec<String> {
    let numbers = |entry: &Value| {
        let parts = entry.as_array().into_iter().flatten().map(Value::to_string);
        parts.collect::<Vec<_>>().join(":")
    };
    value.as_array().into_iter().flatten().map(numbers).collect()
}

fn heard(attributes: &Value, next_hop: IpAddr) -> Heard {
    let number = |name: &str| attributes[name].as_u64().and_then(|number| u32::try_from(number).ok());
    let path = attributes["as-path"].as_array().cloned().unwrap_or_default();
    let extended = attributes["extended-community"].as_array().cloned().unwrap_or_default();
    Heard {
        next_hop,
        as_path: path.iter().filter_map(|asn| u32::try_from(asn.as_u64()?).ok()).collect(),
        med: number("med"),
        local_preference: number("local-preference"),
        communities: list(&attributes["community"]).into_iter().collect(),
        large: list(&attributes["large-community"]).into_iter().collect(),
        extended: extended
            .iter()
            .filter_map(|community| community["string"].as_str())
            .map(|text| text.replace("target:", "rt:"))
            .collect(),
        stale: false,
    }
}

/// What an UPDATE did to the table; returns how many prefixes it withdrew.
fn apply(table: &mut Table, update: &Value) -> usize {
    let families = |kind: &str| update[kind].as_object().cloned().unwrap_or_default();
    for hops in families("announce").values().filter_map(Value::as_object) {
        for (next_hop, prefixes) in hops {
            let Ok(next_hop) = next_hop.parse() else { continue };
            for entry in prefixes.as_array().into_iter().flatten() {
                let prefix = entry["nlri"].as_str().unwrap().parse().unwrap();
                table.insert(prefix, heard(&update["attribute"], next_hop));
            }
        }
    }
    let mut withdrawn = 0;
    for entry in families("withdraw").values().filter_map(Value::as_array).flatten() {
        table.remove(&entry["nlri"].as_str().unwrap().parse().unwrap());
        withdrawn += 1;
    }
    withdrawn
}

impl Router for ExaBgp {
    const PROGRAM: Program = Program::ExaBgp;
    const OWN_PREFERENCE: Option<u32> = None;
    const HAS_FIB: bool = false;

    fn start(site: &Site, setup: &Setup) -> Self {
        site.write("exabgp.conf", &configuration(site, setup));
        site.write("events", "");
        Self { site: site.clone(), daemon: Self::run(site) }
    }

    fn is_established(&self) -> bool {
        let events = self.events();
        events
            .iter()
            .rev()
            .find(|event| event["type"] == "state")
            .is_some_and(|event| event["neighbor"]["state"] == "up")
    }

    fn count(&self) -> usize {
        self.table().len()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        for event in self.events() {
            if event["type"] == "state" {
                table.clear();
            } else {
                apply(&mut table, &event["neighbor"]["message"]["update"]);
            }
        }
        table
    }

    fn withdrawals(&self) -> usize {
        let mut table = Table::new();
        self.events().iter().map(|event| apply(&mut table, &event["neighbor"]["message"]["update"])).sum()
    }

    fn refresh(&self) {
        self.tell("announce route-refresh ipv4 unicast");
        self.tell("announce route-refresh ipv6 unicast");
    }

    fn told(&self) -> String {
        // Its own reading of a NOTIFICATION with a text ends in an exception, so this is what it read of the wire.
        let events = self.events();
        let last = events.iter().rev().find(|event| event["type"] == "notification");
        let body = last.and_then(|event| event["neighbor"]["message"]["body"].as_str()).unwrap_or_default();
        let octets: Vec<u8> = (2..body.len())
            .step_by(2)
            .filter_map(|at| u8::from_str_radix(body.get(at..at + 2)?, 16).ok())
            .collect();
        String::from_utf8_lossy(&octets).into_owned()
    }

    fn signal(&self, signal: &str) {
        self.daemon.signal(signal);
    }

    fn restart(&mut self) {
        self.daemon.kill();
        self.site.write("events", "");
        self.daemon = Self::run(&self.site);
    }
}

// case: bgp-1, bgp-2
#[test]
fn a_session_comes_up_whoever_dials() {
    cell::<ExaBgp, _>("a_session_comes_up_whoever_dials", scenarios::whoever_dials::<ExaBgp>);
}

// case: bgp-57, bgp-58
#[test]
fn both_families_arrive_with_every_attribute() {
    cell::<ExaBgp, _>("both_families_arrive_with_every_attribute", scenarios::attributes_external::<ExaBgp>);
}

// case: bgp-57
#[test]
fn an_internal_router_gets_the_local_preference() {
    cell::<ExaBgp, _>(
        "an_internal_router_gets_the_local_preference",
        scenarios::attributes_internal::<ExaBgp>,
    );
}

// case: bgp-50
#[test]
fn eleven_thousand_routes_arrive_and_go() {
    cell::<ExaBgp, _>("eleven_thousand_routes_arrive_and_go", scenarios::eleven_thousand::<ExaBgp>);
}

// case: bgp-59
#[test]
fn other_attributes_replace_a_route_without_a_gap() {
    cell::<ExaBgp, _>(
        "other_attributes_replace_a_route_without_a_gap",
        scenarios::other_attributes::<ExaBgp>,
    );
}

// case: bgp-65
#[test]
fn a_route_refresh_brings_everything_again() {
    cell::<ExaBgp, _>("a_route_refresh_brings_everything_again", scenarios::route_refresh::<ExaBgp>);
}

// case: bgp-72
#[test]
fn a_router_that_restarts_gets_everything_again() {
    cell::<ExaBgp, _>("a_router_that_restarts_gets_everything_again", scenarios::router_restarts::<ExaBgp>);
}

// case: bgp-73
#[test]
fn a_password_must_be_the_same_on_both_sides() {
    cell::<ExaBgp, _>("a_password_must_be_the_same_on_both_sides", scenarios::password::<ExaBgp>);
}

// case: bgp-44
#[test]
fn a_frozen_router_is_found_by_the_hold_timer() {
    cell::<ExaBgp, _>("a_frozen_router_is_found_by_the_hold_timer", scenarios::hold_timer::<ExaBgp>);
}

// case: bgp-70
#[test]
fn the_text_of_a_shutdown_is_seen() {
    cell::<ExaBgp, _>("the_text_of_a_shutdown_is_seen", scenarios::shutdown_text::<ExaBgp>);
}

#[test]
fn routes_of_the_router_change_nothing() {
    cell::<ExaBgp, _>("routes_of_the_router_change_nothing", scenarios::routes_of_the_router::<ExaBgp>);
}
