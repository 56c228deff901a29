//! What a stop leaves behind, seen by the routers. Needs root, FRR, and the programs that `make test` builds.

#![allow(clippy::unwrap_used, reason = "a missing need is to fail loudly")]

use std::path::Path;
use std::time::Duration;

use bellhop_lab::Lab;
use bellhop_lab::bellhop::{Bellhop, Programs};
use bellhop_lab::command::output_of;
use bellhop_lab::demo::API;
use bellhop_lab::lab::Guard;
use bellhop_lab::manifests::Manifests;
use bellhop_lab::observe::bgp::{nodes_in_use, paths};
use bellhop_lab::observe::kernel::Recording;
use bellhop_lab::plan::{Node, Router};
use bellhop_lab::wait::wait_for;

/// Far above what anything here takes; a slow machine is no failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// A lab with the demo's manifests, without policies, and Bellhop on every node.
fn lab_with_bellhop(prefix: &str, further: &[&str]) -> (Guard, Lab, Bellhop) {
    let programs = Programs::from_environment().unwrap();
    let lab = Lab::named(prefix, env!("CARGO_BIN_EXE_lab")).unwrap();
    let guard = Guard::up(lab.clone()).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo/manifests");
    let manifests = Manifests::copy(&examples, lab.run().join("manifests")).unwrap();
    let mut bellhop = Bellhop::new(lab.clone(), programs, manifests.folder());
    for node in Node::ALL {
        bellhop.start_with(node, further).unwrap();
    }
    for router in Router::ALL {
        wait_for_nodes(&lab, router, &Node::ALL);
    }
    (guard, lab, bellhop)
}

fn wait_for_nodes(lab: &Lab, router: Router, expected: &[Node]) {
    for address in API.addresses() {
        wait_for("the routers use the nodes expected", DEADLINE, || {
            let seen = nodes_in_use(&lab.frr(router), address).map_err(|error| format!("{error:#}"))?;
            if seen == expected { Ok(()) } else { Err(format!("{seen:?} for {address}")) }
        })
        .unwrap();
    }
}

// case: bgp-70
#[test]
fn a_stop_announces_graceful_shutdown_then_withdraws_and_unbinds() {
    let (guard, lab, mut bellhop) = lab_with_bellhop("test-stop", &[]);
    let [first, second, stopped] = Node::ALL;
    let frr = lab.frr(Router::ALL[0]);
    let watched = API.ipv4.into();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| bellhop.stop(stopped).unwrap());
        wait_for("the routes carry GRACEFUL_SHUTDOWN", DEADLINE, || {
            let paths = paths(&frr, watched).map_err(|error| format!("{error:#}"))?;
            let path =
                paths.iter().find(|path| path.node() == Some(stopped)).ok_or("withdrawn without it")?;
            if path.is_shutting_down() { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .unwrap();
        stop.join().unwrap();
    });
    for router in Router::ALL {
        wait_for_nodes(&lab, router, &[first, second]);
        wait_for("its routes are withdrawn, not kept as stale", DEADLINE, || {
            let left = paths(&lab.frr(router), watched).map_err(|error| format!("{error:#}"))?;
            let withdrawn = left.iter().all(|path| path.node() != Some(stopped));
            if withdrawn { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .unwrap();
    }
    let bound =
        output_of(lab.node(stopped).command("ip").args(["-4", "address", "show", "dev", "lo"])).unwrap();
    assert!(!bound.contains(&API.ipv4.to_string()), "unbound:\n{bound}");
    guard.down().unwrap();
}

// case: bgp-70, peers-65
#[test]
fn a_stop_that_keeps_routes_deletes_none_until_the_next_process_serves() {
    let further = ["--keep-routes-on-stop"];
    let (guard, lab, mut bellhop) = lab_with_bellhop("test-keep", &further);
    let upgraded = Node::ALL[0];
    let mut recordings: Vec<Recording> = Router::ALL
        .map(|router| {
            let file = lab.run().join(format!("{}-upgrade.log", router.name()));
            Recording::start(&lab.router(router), &file).unwrap()
        })
        .into();
    bellhop.stop(upgraded).unwrap();
    bellhop.start_with(upgraded, &further).unwrap();
    for router in Router::ALL {
        wait_for_nodes(&lab, router, &Node::ALL);
    }
    for recording in &mut recordings {
        assert_eq!(recording.deletions_of(&API.addresses()).unwrap(), []);
    }
    guard.down().unwrap();
}
