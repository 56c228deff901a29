//! The lab without Bellhop: that it stands, shows what is there, and leaves nothing behind. Needs root and FRR.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::time::Duration;

use bellhop_lab::command::output_of;
use bellhop_lab::http::Url;
use bellhop_lab::lab::Guard;
use bellhop_lab::load::Load;
use bellhop_lab::observe::bgp::{self, Family};
use bellhop_lab::observe::kernel::{Recording, bgp_routes};
use bellhop_lab::wait::wait_for;
use bellhop_lab::{Lab, Node, Router};

mod stand_in;

const DEADLINE: Duration = Duration::from_secs(20);

fn lab(prefix: &str) -> (Lab, Guard) {
    let lab = Lab::named(prefix, env!("CARGO_BIN_EXE_lab")).unwrap();
    let guard = Guard::up(lab.clone()).unwrap();
    (lab, guard)
}

fn wait_for_next_hops(lab: &Lab, nodes: &[Node]) {
    for router in Router::ALL {
        for address in [stand_in::IPV4, stand_in::IPV6] {
            wait_for(&format!("{address} at {} over {nodes:?}", router.name()), DEADLINE, || {
                let used =
                    bgp::nodes_in_use(&lab.frr(router), address).map_err(|error| format!("{error:#}"))?;
                let routes = bgp_routes(&lab.router(router)).map_err(|error| format!("{error:#}"))?;
                let installed = routes.get(&address.to_string()).map_or(0, Vec::len);
                let holds = used == nodes && installed == nodes.len();
                if holds {
                    Ok(())
                } else {
                    Err(format!("bgpd uses {used:?}, the kernel {installed} next hops"))
                }
            })
            .unwrap();
        }
    }
}

#[test]
fn routers_spread_the_client_over_all_nodes_that_announce_and_spare_those_that_shut_down() {
    let (lab, guard) = lab("lab-ecmp");
    for node in Node::ALL {
        stand_in::bind(&lab, node).unwrap();
        stand_in::announce(&lab, node, "64500:1 64500:7").unwrap();
    }
    wait_for_next_hops(&lab, &Node::ALL);

    let internal = bgp::paths(&lab.frr(Router::B), stand_in::IPV4).unwrap();
    assert_eq!((internal[0].local_preference, internal[0].as_path.len()), (Some(100), 0));
    let external = bgp::table(&lab.frr(Router::A), Family::Ipv6).unwrap();
    let path = &external[&bgp::host_route(stand_in::IPV6)][0];
    assert_eq!(path.communities, ["64500:1", "64500:7"]);
    assert_eq!((path.med, path.as_path.as_slice()), (Some(50), [64500].as_slice()));
    assert_eq!(path.next_hop, Node::ALL[0].ipv6());
    assert!(bgp::neighbors(&lab.frr(Router::A)).unwrap().values().all(bgp::Neighbor::is_established));

    let urls = [Url::of(stand_in::IPV4), Url::of(stand_in::IPV6)];
    let report = Load::burst(&urls, 300).run_in(&lab.client(), lab.tool()).unwrap();
    assert_eq!((report.requests(), report.failed(), report.moved()), (600, 0, 0), "{report}");
    for url in urls {
        let tally = report.of(url);
        assert_eq!(tally.answers.len(), 3, "{tally:?}");
        assert_eq!(tally.routers.len(), 2, "{tally:?}");
    }
    let over_b = Load::burst(&urls, 20).via(Router::B).run_in(&lab.client(), lab.tool()).unwrap();
    assert!(over_b.0.values().all(|tally| tally.routers.keys().eq(["router-b"])), "{over_b:?}");

    // The announcer of one node starts again with GRACEFUL_SHUTDOWN: its routes stand, unused.
    stand_in::kill_announcer(&lab, Node::ALL[2]).unwrap();
    stand_in::announce(&lab, Node::ALL[2], "graceful-shutdown").unwrap();
    wait_for_next_hops(&lab, &Node::ALL[..2]);
    for router in Router::ALL {
        let paths = bgp::paths(&lab.frr(router), stand_in::IPV6).unwrap();
        assert_eq!(paths.len(), 3, "{paths:?}");
        assert!(paths[2].is_shutting_down() && paths[2].local_preference == Some(0), "{paths:?}");
    }
    guard.down().unwrap();
}

#[test]
fn a_killed_announcer_with_graceful_restart_costs_no_route_and_a_recording_would_show_one() {
    let (lab, guard) = lab("lab-restart");
    for node in Node::ALL {
        stand_in::bind(&lab, node).unwrap();
        stand_in::announce(&lab, node, "64500:1").unwrap();
    }
    wait_for_next_hops(&lab, &Node::ALL);
    let addresses = [stand_in::IPV4, stand_in::IPV6];
    let mut recording = Recording::start(&lab.router(Router::A), &lab.run().join("routes.log")).unwrap();
    let load = Load::steady(&addresses.map(Url::of), Duration::from_millis(5));
    let load = load.start_in(&lab.client(), lab.tool(), &lab.run().join("load.log")).unwrap();

    stand_in::kill_announcer(&lab, Node::ALL[0]).unwrap();
    let stale = |expected: bool| {
        wait_for(&format!("the path of node-1 is stale: {expected}"), DEADLINE, || {
            let paths =
                bgp::paths(&lab.frr(Router::A), stand_in::IPV4).map_err(|error| format!("{error:#}"))?;
            let seen = paths.first().map(|path| path.stale);
            if seen == Some(expected) { Ok(()) } else { Err(format!("{paths:?}")) }
        })
        .unwrap();
    };
    stale(true);
    stand_in::announce(&lab, Node::ALL[0], "64500:1").unwrap();
    stale(false);
    let report = load.stop().unwrap();
    assert!(report.requests() > 10, "{report}");
    assert_eq!((report.failed(), report.moved()), (0, 0), "{report}");
    assert_eq!(recording.deletions_of(&addresses).unwrap(), []);

    // The recording is not blind: a route that really goes is in it.
    lab.router(Router::A).ip_batch(&format!("route del {}", stand_in::IPV4)).unwrap();
    assert_eq!(recording.deletions_of(&addresses).unwrap().len(), 1);
    guard.down().unwrap();
}

#[test]
fn the_log_of_a_router_tells_an_announcement_from_a_withdrawal() {
    let (lab, guard) = lab("lab-updates");
    let node = Node::ALL[0];
    let log = bgp::UpdateLog::start(lab.frr(Router::A)).unwrap();
    stand_in::announce(&lab, node, "64500:1").unwrap();
    let routed = |expected: bool| {
        wait_for(&format!("{} is routed: {expected}", stand_in::IPV4), DEADLINE, || {
            let paths =
                bgp::paths(&lab.frr(Router::A), stand_in::IPV4).map_err(|error| format!("{error:#}"))?;
            if paths.is_empty() == expected { Err(format!("{paths:?}")) } else { Ok(()) }
        })
        .unwrap();
    };
    routed(true);
    let prefix = bgp::host_route(stand_in::IPV4);
    let about = |lines: Vec<String>| lines.iter().any(|line| line.contains(&prefix));
    assert!(about(log.announcements().unwrap()) && !about(log.withdrawals().unwrap()));
    stand_in::withdraw_ipv4(&lab, node).unwrap();
    routed(false);
    assert!(about(log.withdrawals().unwrap()));
    guard.down().unwrap();
}

#[test]
fn two_labs_stand_side_by_side_and_leave_nothing_of_themselves_in_the_machine() {
    let interfaces =
        || output_of(std::process::Command::new("ip").args(["-o", "link"])).unwrap().lines().count();
    let before = interfaces();
    let (first, first_guard) = lab("lab-one");
    let (second, second_guard) = lab("lab-two");
    assert_eq!(interfaces(), before, "an interface of the lab is in the machine's own namespace");
    for lab in [&first, &second] {
        let body = lab.get_from(&lab.node(Node::ALL[0]), "http://192.0.2.12:8080/").unwrap();
        assert_eq!(body, "node-2");
    }
    first_guard.down().unwrap();
    assert!(!first.exists(), "something of the first lab is left");
    assert_eq!(second.get_from(&second.node(Node::ALL[0]), "http://192.0.2.13:8080/").unwrap(), "node-3");
    second_guard.down().unwrap();
    assert!(!second.exists(), "something of the second lab is left");
    second.down().unwrap();
}

#[test]
fn what_a_crash_left_of_a_lab_is_removed_by_the_next_one_of_its_name() {
    let (lab, guard) = lab("lab-crash");
    // As after a crash: nobody answers for the lab any more, and half of it is gone.
    guard.keep();
    lab.fabric().remove().unwrap();
    std::fs::remove_file(lab.run().join("router-a/bgpd.vty")).unwrap();
    let guard = Guard::up(lab.clone()).unwrap();
    assert!(bgp::neighbors(&lab.frr(Router::A)).unwrap().len() == 3);
    drop(guard);
    assert!(!lab.exists(), "something of the lab is left");
}
