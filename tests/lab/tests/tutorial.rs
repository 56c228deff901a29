//! The tutorial of `docs/`, typed as its reader would type it, in an empty folder, against a demo of its own. Needs root, FRR
//! and a WebAssembly toolchain.

#![allow(clippy::unwrap_used, reason = "a missing need is to fail loudly")]

use std::path::Path;

use bellhop_lab::Lab;
use bellhop_lab::lab::require_root;
use bellhop_lab::tutorial::{Document, Shell, run};

/// Prefix of the lab that the tutorial keeps.
const PREFIX: &str = "tutorial";

/// Removes what the tutorial kept, however it ends.
struct Kept(Lab);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("{error:#}");
        }
    }
}

#[test]
fn every_command_of_the_tutorial_prints_what_it_says() {
    require_root().unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_lab"));
    let target = tool.parent().and_then(Path::parent).unwrap();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let document =
        Document::parse(&std::fs::read_to_string(checkout.join("docs/tutorial.md")).unwrap()).unwrap();

    let kept = Kept(Lab::named(PREFIX, tool).unwrap());
    kept.0.down().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("BELLHOP", checkout.to_str().unwrap()),
        ("BELLHOP_LAB", PREFIX),
        ("CARGO_TARGET_DIR", target.to_str().unwrap()),
    ];
    let mut shell = Shell::start(folder.path(), &variables).unwrap();
    if let Err(error) = run(&document, &mut shell) {
        panic!("docs/tutorial.md: {error:#}");
    }
    assert!(!kept.0.exists(), "the tutorial ends with `make demo-down`, and something of the lab is left");
}
