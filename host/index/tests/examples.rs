//! The manifests under `examples/` are what the documents show and the demo applies: every one of them must be right.

use std::path::Path;

use bellhop_core::Delta;
use bellhop_index::{Folder, Folders, Options};

#[test]
fn every_manifest_of_the_demo_is_right() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo/manifests");
    let mut folders = Folders::new(vec![Folder::manifests(demo)], Options::default());
    let deltas = folders.poll();
    let problems: Vec<String> = deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::Problems(_, problems) => Some(problems),
            _ => None,
        })
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(problems, [""; 0]);
    let count = |of: fn(&Delta) -> bool| deltas.iter().filter(|delta| of(delta)).count();
    assert!(count(|delta| matches!(delta, Delta::Service(..))) > 0, "no Service is read: {deltas:?}");
    assert!(count(|delta| matches!(delta, Delta::Pool(..))) > 0, "no AddressPool is read: {deltas:?}");
    assert!(count(|delta| matches!(delta, Delta::Peer(..))) > 0, "no BGPPeer is read: {deltas:?}");
}
