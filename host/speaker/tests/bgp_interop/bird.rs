//! BIRD 2.

use std::process::Command;

use crate::netns::{Daemon, ROUTER, SPEAKER, Site, await_socket, said};
use crate::router::{
    Bfd, Heard, Program, Router, Setup, Table, cell, community, last_logged, numbers, own_routes,
};
use crate::scenarios;

/// BIRD as it runs, with its kernel's routing table.
struct Bird {
    site: Site,
    daemon: Daemon,
}

fn configuration(setup: &Setup) -> String {
    let mut session = String::new();
    if setup.passive {
        session += "passive on; ";
    }
    if let Some(password) = setup.password {
        session += &format!("password \"{password}\"; ");
    }
    session += match setup.bfd {
        Bfd::Off => "",
        Bfd::Plain => "bfd on; ",
        Bfd::Graceful => "bfd graceful; ",
    };
    let own: String =
        own_routes(setup.own_routes).map(|prefix| format!("route {prefix} blackhole; ")).collect();
    format!(
        "log stderr all;
         router id {ROUTER};
         protocol device {{ scan time 1; }}
         protocol kernel kernel4 {{ ipv4 {{ export where source = RTS_BGP; }}; }}
         protocol kernel kernel6 {{ ipv6 {{ export where source = RTS_BGP; }}; }}
         protocol bfd {{ interface \"to-speaker\" {{ interval 100 ms; multiplier 3; }}; }}
         protocol static own {{ ipv4; {own} }}
         protocol bgp speaker {{
           local {ROUTER} as {};
           neighbor {SPEAKER} as 64512;
           connect retry time 1; connect delay time 1; error wait time 1, 1;
           graceful restart on;
           {session}
           ipv4 {{ import all; export where source = RTS_STATIC; }};
           ipv6 {{ import all; export none; }};
         }}",
        setup.asn
    )
}

impl Bird {
    fn run(site: &Site) -> Daemon {
        let socket = site.file("bird.ctl");
        let _ = std::fs::remove_file(&socket);
        let mut command = site.in_router("/usr/sbin/bird");
        command.arg("-f").arg("-c").arg(site.file("bird.conf")).arg("-s").arg(&socket);
        let daemon = site.daemon("bird", command.arg("-P").arg(site.file("bird.pid")));
        await_socket(&socket);
        daemon
    }

    fn birdc(&self, command: &str) -> String {
        said(Command::new("/usr/sbin/birdc").arg("-s").arg(self.site.file("bird.ctl")).arg(command))
    }

    /// The sum of the first number in each line of the session that begins so.
    fn sum(&self, begin: &str) -> usize {
        let shown = self.birdc("show protocols all speaker");
        let lines = shown.lines().filter_map(|line| line.trim().strip_prefix(begin));
        lines.filter_map(|rest| numbers(rest).first().copied()).map(|count| count as usize).sum()
    }
}

/// `(64512,7) (65535,65281)` or `(64512, 1, 2)`: what stands in each pair of brackets.
fn brackets(text: &str) -> impl Iterator<Item = &str> {
    text.split('(').skip(1).filter_map(|part| part.split_once(')')).map(|(inside, _)| inside)
}

/// One route of `show route all`: its lines below the first.
fn heard(lines: &[&str]) -> Heard {
    let value = |name: &str| {
        let begin = format!("BGP.{name}: ");
        lines.iter().find_map(|line| line.trim().strip_prefix(begin.as_str())).unwrap_or_default()
    };
    let joined = |inside: &str| inside.split(',').map(str::trim).collect::<Vec<_>>().join(":");
    Heard {
        next_hop: value("next_hop").split_whitespace().next().unwrap().parse().unwrap(),
        as_path: numbers(value("as_path")),
        med: value("med").parse().ok(),
        local_preference: value("local_pref").parse().ok(),
        communities: brackets(value("community"))
            .map(numbers)
            .map(|pair| community(pair[0] << 16 | pair[1]))
            .collect(),
        large: brackets(value("large_community")).map(joined).collect(),
        extended: brackets(value("ext_community")).map(joined).collect(),
        stale: false,
    }
}

impl Router for Bird {
    const PROGRAM: Program = Program::Bird;
    const OWN_PREFERENCE: Option<u32> = Some(100);
    const HAS_FIB: bool = true;
    const SHOWS_STALE: bool = false;
    const BFD_DOWN: Option<&'static str> = Some("6.10");

    fn start(site: &Site, setup: &Setup) -> Self {
        site.write("bird.conf", &configuration(setup));
        Self { site: site.clone(), daemon: Self::run(site) }
    }

    fn is_established(&self) -> bool {
        self.birdc("show protocols speaker").contains("Established")
    }

    fn count(&self) -> usize {
        self.sum("Routes:")
    }

    fn table(&self) -> Table {
        let shown = self.birdc("show route all protocol speaker");
        let lines: Vec<&str> = shown.lines().collect();
        let begins = |line: &&str| line.split_whitespace().next().is_some_and(|word| word.contains('/'));
        let starts = (0..lines.len()).filter(|at| begins(&lines[*at]));
        starts
            .map(|at| {
                let prefix = lines[at].split_whitespace().next().unwrap().parse().unwrap();
                let below = lines[at + 1..].iter().take_while(|line| line.starts_with('\t'));
                (prefix, heard(&below.copied().collect::<Vec<_>>()))
            })
            .collect()
    }

    fn withdrawals(&self) -> usize {
        self.sum("Import withdraws:")
    }

    fn refresh(&self) {
        self.birdc("reload in speaker");
    }

    fn told(&self) -> String {
        let protocols = self.birdc("show protocols all");
        let last_error = protocols.lines().find(|line| line.contains("Last error")).unwrap_or_default();
        last_logged(&self.site, "bird", "Received: ") + last_error
    }

    fn signal(&self, signal: &str) {
        self.daemon.signal(signal);
    }

    fn path_is_up(&self) -> bool {
        self.birdc("show bfd sessions").lines().any(|line| line.starts_with(SPEAKER) && line.contains("Up"))
    }

    fn restart(&mut self) {
        self.daemon.kill();
        self.daemon = Self::run(&self.site);
    }
}

// case: bgp-1, bgp-2
#[test]
fn a_session_comes_up_whoever_dials() {
    cell::<Bird, _>("a_session_comes_up_whoever_dials", scenarios::whoever_dials::<Bird>);
}

// case: bgp-57, bgp-58
#[test]
fn both_families_arrive_with_every_attribute() {
    cell::<Bird, _>("both_families_arrive_with_every_attribute", scenarios::attributes_external::<Bird>);
}

// case: bgp-57
#[test]
fn an_internal_router_gets_the_local_preference() {
    cell::<Bird, _>("an_internal_router_gets_the_local_preference", scenarios::attributes_internal::<Bird>);
}

// case: bgp-50
#[test]
fn eleven_thousand_routes_arrive_and_go() {
    cell::<Bird, _>("eleven_thousand_routes_arrive_and_go", scenarios::eleven_thousand::<Bird>);
}

// case: bgp-59
#[test]
fn other_attributes_replace_a_route_without_a_gap() {
    cell::<Bird, _>("other_attributes_replace_a_route_without_a_gap", scenarios::other_attributes::<Bird>);
}

// case: bgp-65
#[test]
fn a_route_refresh_brings_everything_again() {
    cell::<Bird, _>("a_route_refresh_brings_everything_again", scenarios::route_refresh::<Bird>);
}

// case: bgp-72
#[test]
fn a_router_that_restarts_gets_everything_again() {
    cell::<Bird, _>("a_router_that_restarts_gets_everything_again", scenarios::router_restarts::<Bird>);
}

// case: bgp-73
#[test]
fn a_password_must_be_the_same_on_both_sides() {
    cell::<Bird, _>("a_password_must_be_the_same_on_both_sides", scenarios::password::<Bird>);
}

// case: bgp-44
#[test]
fn a_frozen_router_is_found_by_the_hold_timer() {
    cell::<Bird, _>("a_frozen_router_is_found_by_the_hold_timer", scenarios::hold_timer::<Bird>);
}

// case: bgp-70
#[test]
fn the_text_of_a_shutdown_is_seen() {
    cell::<Bird, _>("the_text_of_a_shutdown_is_seen", scenarios::shutdown_text::<Bird>);
}

// case: bgp-74
#[test]
fn a_path_that_bfd_loses_ends_the_session_with_6_10() {
    cell::<Bird, _>("a_path_that_bfd_loses_ends_the_session_with_6_10", scenarios::bfd_down::<Bird>);
}

#[test]
fn routes_of_the_router_change_nothing() {
    cell::<Bird, _>("routes_of_the_router_change_nothing", scenarios::routes_of_the_router::<Bird>);
}

// case: bgp-67
#[test]
fn a_graceful_restart_keeps_routes_and_sweeps_the_rest() {
    cell::<Bird, _>(
        "a_graceful_restart_keeps_routes_and_sweeps_the_rest",
        scenarios::graceful_restart::<Bird>,
    );
}

// case: bgp-67
#[test]
fn a_speaker_that_is_killed_loses_no_route() {
    cell::<Bird, _>("a_speaker_that_is_killed_loses_no_route", scenarios::killed_and_kept::<Bird>);
}

#[test]
fn a_router_that_trusts_bfd_drops_the_routes_of_a_killed_speaker() {
    cell::<Bird, _>(
        "a_router_that_trusts_bfd_drops_the_routes_of_a_killed_speaker",
        scenarios::killed_and_lost::<Bird>,
    );
}
