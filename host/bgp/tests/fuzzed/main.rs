//! What `make fuzz` found or learnt to reach, run again: every file of `corpus/` through the function that the fuzzer calls.

#![allow(clippy::cast_possible_truncation, reason = "lengths are bounded where they are written")]
#![allow(unreachable_pub, reason = "the fuzzers include the modules too")]

mod machine;
mod negotiation;
mod neighbour;

use std::path::Path;

/// Runs the files of a folder.
fn run(folder: &str, judge: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzzed/corpus").join(folder);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} has {} files", folder.display(), files.len());
    for file in files {
        let octets = std::fs::read(&file).expect("a file");
        let judged = std::panic::catch_unwind(|| judge(&octets));
        assert!(judged.is_ok(), "{} breaks a rule, see above", file.display());
    }
}

// case: bgp-35
#[test]
fn no_octets_of_the_corpus_lead_the_machine_astray_in_any_pieces() {
    run("machine", machine::judge);
}

#[test]
fn no_open_of_the_corpus_is_agreed_on_that_must_not() {
    run("negotiation", negotiation::judge);
}
