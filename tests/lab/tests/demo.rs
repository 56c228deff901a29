//! The demo's assertions as a test, in a lab of its own. Needs root, FRR, and the programs that `make test` builds.

#![allow(clippy::unwrap_used, reason = "a missing need is to fail loudly")]

use bellhop_lab::bellhop::Programs;
use bellhop_lab::demo::{Demo, Inputs};
use bellhop_lab::lab::Guard;
use bellhop_lab::{Lab, Transcript};

// case: bgp-59, bgp-64, bgp-67, peers-65, peers-81, peers-82, peers-98, peers-102
#[test]
fn the_main_job_holds_step_by_step() {
    let inputs = Inputs::new(Programs::from_environment().unwrap());
    let lab = Lab::named("test-demo", env!("CARGO_BIN_EXE_lab")).unwrap();
    let guard = Guard::up(lab.clone()).unwrap();
    let mut demo = Demo::start(lab.clone(), inputs, Transcript::to_stdout()).unwrap();
    if let Err(error) = demo.run() {
        panic!("{error:#}\n{}", demo.log_tails());
    }
    guard.down().unwrap();
    assert!(!lab.exists(), "something of the lab is left");
}
