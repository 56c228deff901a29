//! What `make fuzz` found or learnt to reach, run again: every file of `corpus/` through the function that the fuzzer calls.

#[allow(unreachable_pub, reason = "the fuzzer includes it too")]
mod table;

use std::path::Path;

#[test]
fn no_packets_of_the_corpus_lead_the_table_astray() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzzed/corpus/table");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} has {} files", folder.display(), files.len());
    for file in files {
        let octets = std::fs::read(&file).expect("a file");
        let judged = std::panic::catch_unwind(|| table::judge(&octets));
        assert!(judged.is_ok(), "{} breaks a rule, see above", file.display());
    }
}
