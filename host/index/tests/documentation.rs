//! The manifests that the documentation shows are right: each ```` ```yaml ```` block that is one is read as a folder of its own.

use std::path::Path;

use bellhop_core::Delta;
use bellhop_index::{Folder, Folders, Options};

/// The manifests of a page, with the number of the line above each.
fn manifests(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((number, line)) = lines.next() {
        if line == "```yaml" {
            let block = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let text: String = block.map(|line| format!("{line}\n")).collect();
            if text.contains("apiVersion:") {
                found.push((number, text));
            }
        }
    }
    found
}

#[test]
fn every_manifest_in_the_documentation_is_right() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut count = 0;
    let folders = [docs.clone(), docs.join("kinds")];
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for (line, text) in manifests(&std::fs::read_to_string(&path).unwrap()) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("manifest.yaml"), text).unwrap();
            let deltas = Folders::new(vec![Folder::manifests(folder.path())], Options::default()).poll();
            let problems: Vec<_> = deltas
                .iter()
                .filter_map(|delta| match delta {
                    Delta::Problems(_, problems) => Some(problems),
                    _ => None,
                })
                .flatten()
                .map(ToString::to_string)
                .collect();
            assert_eq!(problems, [""; 0], "{}:{line}", path.display());
            assert!(!deltas.is_empty(), "{}:{line}: nothing is read", path.display());
            count += 1;
        }
    }
    assert!(
        count >= 7,
        "only {count} manifests are found: docs/kinds shows one for each kind but SpeakerState"
    );
}
