//! Bad manifests.

use super::Case;
use crate::support::eventually;
use crate::support::manifests::service;
use crate::support::process::Site;

/// Each bad manifest once.
pub(super) fn all() -> Vec<Case> {
    vec![
        malformed_yaml(),
        unknown_field(),
        inverted_range(),
        overlapping_range(),
        outside_every_pool(),
        taken(),
        one_address_for_two_peers(),
        invalid_utf8(),
        alias_bomb(),
        file_of_100_mb(),
        the_same_object_twice(),
    ]
}

fn prove(case: &Case) {
    let site = Site::good();
    let process = site.start().serving();
    case.prove(&site, &process);
}

fn pool(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: bellhop.dev/v1alpha1\nkind: AddressPool\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

fn malformed_yaml() -> Case {
    Case::file("malformed YAML", "malformed.yaml", "apiVersion: v1\nkind: [Service\n").problem(
        "File DIR/malformed.yaml",
        "line 2",
        "",
        "InvalidSyntax",
        "is not YAML that can be read",
    )
}

#[test]
fn malformed_yaml_is_told_with_file_and_line() {
    prove(&malformed_yaml());
}

fn unknown_field() -> Case {
    let bad = pool("extra", "addresses: [198.51.100.0/24], autoAsign: false");
    Case::file("an unknown field", "unknown.yaml", bad).problem(
        "AddressPool/extra",
        "spec.autoAsign",
        "false",
        "UnknownField",
        "did you mean autoAssign?",
    )
}

#[test]
fn an_unknown_field_is_told_with_the_one_that_was_meant() {
    prove(&unknown_field());
}

fn inverted_range() -> Case {
    let bad = pool("inverted", "addresses: [198.51.100.20-198.51.100.10]");
    Case::file("an inverted range", "inverted.yaml", bad).problem(
        "AddressPool/inverted",
        "spec.addresses[0]",
        "198.51.100.20-198.51.100.10",
        "InvalidRange",
        "write 198.51.100.10-198.51.100.20",
    )
}

#[test]
fn an_inverted_range_is_told_with_the_right_one() {
    prove(&inverted_range());
}

fn overlapping_range() -> Case {
    let bad = pool("second", "addresses: [198.51.100.0/24, 203.0.113.90-203.0.113.120]");
    Case::file("an overlapping range", "overlap.yaml", bad).problem(
        "AddressPool/second",
        "spec.addresses[1]",
        "203.0.113.90-203.0.113.120",
        "OverlappingRange",
        "overlaps 203.0.113.10-203.0.113.99 of AddressPool/public",
    )
}

#[test]
fn an_overlapping_range_is_told_with_the_pool_that_it_overlaps() {
    prove(&overlapping_range());
}

const ADDRESSES: &str = "metadata.annotations[bellhop.dev/addresses]";

fn outside_every_pool() -> Case {
    let bad = service("outside", "", "annotations: {bellhop.dev/addresses: 198.18.0.1}");
    Case::file("an address outside every pool", "outside.yaml", bad).problem(
        "Service/shop/outside",
        ADDRESSES,
        "198.18.0.1",
        "AddressOutsidePools",
        "is in no AddressPool (public)",
    )
}

#[test]
fn a_service_that_asks_for_an_address_outside_every_pool_is_told_which_pools_there_are() {
    prove(&outside_every_pool());
}

fn taken() -> Case {
    let bad = service("late", "", "annotations: {bellhop.dev/addresses: 203.0.113.10}");
    Case::file("an address that is taken", "late.yaml", bad).problem(
        "Service/shop/late",
        ADDRESSES,
        "203.0.113.10",
        "AddressTaken",
        "is held by Service/shop/web",
    )
}

#[test]
fn a_service_that_asks_for_an_address_that_is_taken_is_told_who_holds_it() {
    prove(&taken());
}

fn one_address_for_two_peers() -> Case {
    let bad = "apiVersion: bellhop.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: router-c}\n\
               spec: {peerAddress: 192.0.2.1, peerASN: 64497}\n";
    Case::file("two peers with one address", "peer.yaml", bad).problem(
        "BGPPeer/router-c",
        "spec.peerAddress",
        "192.0.2.1",
        "DuplicatePeer",
        "of BGPPeer/router-a already",
    )
}

#[test]
fn of_two_peers_with_one_address_the_second_is_told_of_the_first() {
    prove(&one_address_for_two_peers());
}

fn invalid_utf8() -> Case {
    let bad = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: \"a\xff\"}\n";
    Case::file("YAML that is not UTF-8", "latin1.yaml", bad).problem(
        "File DIR/latin1.yaml",
        "line 3",
        "",
        "InvalidEncoding",
        "save the file as UTF-8",
    )
}

#[test]
fn yaml_that_is_not_utf8_is_told_with_file_and_line() {
    prove(&invalid_utf8());
}

fn alias_bomb() -> Case {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    Case::file("a YAML alias bomb", "bomb.yaml", bomb).problem(
        "File DIR/bomb.yaml",
        "document at line 1",
        "",
        "TooLarge",
        "aliases counted where they stand",
    )
}

#[test]
fn a_yaml_alias_bomb_is_refused_before_it_grows() {
    prove(&alias_bomb());
}

fn file_of_100_mb() -> Case {
    let line =
        b"# nothing but a comment, again and again and again and again and again and again and so on\n";
    let bad = line.repeat((100 << 20) / line.len());
    let size = format!("{} bytes", bad.len());
    Case::file("a file of 100 MB", "huge.yaml", bad).problem(
        "File DIR/huge.yaml",
        "",
        &size,
        "TooLarge",
        "is more than a manifest may have, 8388608 bytes",
    )
}

#[test]
fn a_file_of_100_mb_is_refused_unread() {
    prove(&file_of_100_mb());
}

fn the_same_object_twice() -> Case {
    let bad = pool("public", "addresses: [198.51.100.0/24]");
    Case::file("the same object in two files", "zz-again.yaml", bad).problem(
        "AddressPool/public",
        "",
        "",
        "DuplicateObject",
        "pool.yaml too, which counts",
    )
}

#[test]
fn of_an_object_in_two_files_the_first_counts_and_both_files_are_named() {
    prove(&the_same_object_twice());
}

#[test]
fn the_last_good_version_of_an_edited_object_stays_in_force() {
    let site = Site::good();
    let process = site.start().serving();
    let good = site.manifests.read("pool.yaml");
    let bad = good.replace("203.0.113.10-203.0.113.99", "203.0.113.99-203.0.113.10");
    let case = Case {
        repair: vec![("pool.yaml", Some(good.into_bytes()))],
        ..Case::file("an edit that inverts a range", "pool.yaml", bad)
    };
    let case = case.problem(
        "AddressPool/public",
        "spec.addresses[0]",
        "203.0.113.99-203.0.113.10",
        "InvalidRange",
        "is inverted",
    );
    case.apply(&site);
    eventually("the edit is refused", || {
        let problems = process.problems();
        (problems.len() == 1).then_some(()).ok_or_else(|| format!("{problems:#?}"))
    });
    let pools = process.status()["pools"].clone();
    assert_eq!(pools[0]["ranges"][0], "203.0.113.10-203.0.113.99", "{pools:#}");
    case.repair(&site);
    eventually("the repair is taken", || {
        let problems = process.problems();
        problems.is_empty().then_some(()).ok_or_else(|| format!("{problems:#?}"))
    });
    case.prove(&site, &process);
}

#[test]
fn a_broken_document_spoils_no_other_one_in_its_file() {
    let site = Site::good();
    let process = site.start().serving();
    let text = format!("kind: [\n---\n{}", service("beside", "", ""));
    site.manifests.write("mixed.yaml", text);
    eventually("the Service beside a broken document has its address", || {
        let row = process.service("beside");
        (row["allocated"]["status"] == true).then_some(()).ok_or_else(|| row.to_string())
    });
    assert_eq!(process.problems().len(), 1);
}

#[test]
fn a_folder_that_is_suddenly_empty_changes_nothing_and_says_so() {
    let site = Site::good();
    let process = site.start().serving();
    let routes = process.routes();
    let aside = site.dir.path().join("aside");
    std::fs::rename(site.manifests.path(), &aside).unwrap();
    std::fs::create_dir(site.manifests.path()).unwrap();
    let problem = eventually("the empty folder is told of", || match process.problems().as_slice() {
        [problem] if problem["message"].as_str().unwrap().contains("has no manifest any more") => {
            Ok(problem.clone())
        }
        other => Err(format!("{other:#?}")),
    });
    assert_eq!(super::named(&problem["object"]), format!("Folder {}", site.manifests.path().display()));
    super::readable("an empty folder", &problem);
    assert_eq!(process.routes(), routes);
    std::fs::remove_dir(site.manifests.path()).unwrap();
    std::fs::rename(&aside, site.manifests.path()).unwrap();
    eventually("the message is gone", || match process.problems().as_slice() {
        [] => Ok(()),
        other => Err(format!("{other:#?}")),
    });
    assert_eq!(process.routes(), routes);
}

#[test]
fn a_folder_that_cannot_be_read_changes_nothing_and_says_so() {
    let site = Site::good();
    // Root may read everything, so a file takes the place of the folder.
    let process = site.start().serving();
    let routes = process.routes();
    let aside = site.dir.path().join("aside");
    std::fs::rename(site.manifests.path(), &aside).unwrap();
    std::fs::write(site.manifests.path(), "a file in its place").unwrap();
    let problem = eventually("the folder is told of", || match process.problems().as_slice() {
        [problem] if problem["message"].as_str().unwrap().contains("cannot be read") => Ok(problem.clone()),
        other => Err(format!("{other:#?}")),
    });
    super::readable("an unreadable folder", &problem);
    assert!(problem["message"].as_str().unwrap().contains("stay in force"), "{problem:#}");
    assert_eq!(process.routes(), routes);
    std::fs::remove_file(site.manifests.path()).unwrap();
    std::fs::rename(&aside, site.manifests.path()).unwrap();
    eventually("the message is gone", || match process.problems().as_slice() {
        [] => Ok(()),
        other => Err(format!("{other:#?}")),
    });
    assert_eq!(process.routes(), routes);
}
