//! `/metrics`, `/livez` and `/readyz` of a running process.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::eventually;
use crate::support::process::{Process, Site};

const LISTEN: &str = "127.0.0.1:9474";

fn scrape(process: &Process) -> String {
    let (status, body) = process.http(LISTEN, "/metrics");
    assert_eq!(status, 200, "{body}\n{}", process.log());
    body
}

/// What promtool finds fault with; it must be there, `make setup` installs it.
fn faults(scrape: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian: prometheus) starts");
    promtool.stdin.take().expect("its input").write_all(scrape.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[test]
fn a_scrape_shows_what_was_allocated_and_is_to_be_announced_and_promtool_has_no_fault_to_find() {
    let site = Site::good();
    let process = site.start_with("first", &["--allocate", "--listen", LISTEN]).serving();
    let text = eventually("the planner has measured all of it", || {
        let text = scrape(&process);
        let lines = [
            "bellhop_build_info{version=\"0.1.0\",form=\"standalone\"} 1.0",
            "bellhop_leader 1.0",
            "bellhop_services 1.0",
            "bellhop_services_announced 1.0",
            "bellhop_pool_used_addresses{pool=\"public\",family=\"ipv4\"} 1.0",
            "bellhop_pool_free_addresses{pool=\"public\",family=\"ipv4\"} 89.0",
            "bellhop_pool_capacity_addresses{pool=\"public\",family=\"ipv4\"} 90.0",
            "bellhop_claim_writes_total{verb=\"create\",result=\"ok\"} 2",
            "bellhop_allocation_duration_seconds_count 1",
            "bellhop_bgp_session_up{peer=\"router-a\"} 0.0",
            "bellhop_bgp_prefixes_wanted{peer=\"router-b\"} 2.0",
            "bellhop_announced_addresses{family=\"ipv6\"} 1.0",
            "bellhop_bound_addresses 2.0",
            "bellhop_ready_condition{condition=\"planning\"} 1.0",
        ];
        let missing: Vec<_> =
            lines.iter().filter(|line| !text.lines().any(|found| found == **line)).collect();
        if missing.is_empty() {
            Ok(text.clone())
        } else {
            Err(format!("{missing:#?} of\n{text}\n{}", process.log()))
        }
    });
    assert_eq!(faults(&text), "");
    for histogram in ["bellhop_planning_slice_duration_seconds", "bellhop_routes_handover_duration_seconds"] {
        let count = text.lines().find_map(|line| line.strip_prefix(&format!("{histogram}_count ")));
        assert!(count.is_some_and(|count| count != "0"), "{histogram}: {count:?}");
    }
    for service in ["web", "shop", "203.0.113"] {
        assert!(!text.contains(service), "{service} is in a label or a text:\n{text}");
    }
}

#[test]
fn probes_pass_once_everything_is_announced_and_say_what_they_looked_at() {
    let site = Site::good();
    let base = site.manifests.read("base.yaml");
    let without_peers: Vec<_> = base.split("---").filter(|document| !document.contains("BGPPeer")).collect();
    site.manifests.write("base.yaml", without_peers.join("---"));
    let process = site.start_with("first", &["--allocate", "--listen", LISTEN]).ready();
    let body = eventually("/readyz answers 200", || match process.http(LISTEN, "/readyz") {
        (200, body) => Ok(body),
        other => Err(format!("{other:?}\n{}", process.log())),
    });
    assert_eq!(body, "[+]announced ok\n[+]planning ok\nreadyz check passed\n");
    let tasks =
        ["source", "tools", "signals", "bgp", "bfd", "sessions", "planning", "binder", "filter", "loader"];
    let live: String = tasks.iter().map(|task| format!("[+]{task} ok\n")).collect();
    assert_eq!(process.http(LISTEN, "/livez"), (200, format!("{live}livez check passed\n")));
    assert_eq!(process.http(LISTEN, "/").0, 404);
}

#[test]
fn without_listen_nothing_listens() {
    let site = Site::good();
    let process = site.start().ready();
    assert_eq!(process.http(LISTEN, "/livez").0, 0);
}
