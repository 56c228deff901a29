//! The committed modules of `tests/guests`: each ends as its entry in the manifest says.

use std::path::PathBuf;
use std::sync::Arc;

use bellhop_policy_engine::guest::{Called, Guest, GuestError};
use bellhop_sandbox::{Limits, LoadError, Refusal, SandboxGuest, Stage, load};
use serde::Deserialize;

use crate::support::{address_question, compiler, nodes_question, route_question};

#[derive(Deserialize)]
struct Entry {
    name: String,
    file: String,
    kind: String,
    sha256: String,
}

fn manifest() -> Vec<Entry> {
    serde_json::from_slice(&std::fs::read(folder().join("manifest.json")).unwrap()).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/fixtures")
}

fn load_entry(entry: &Entry) -> Result<SandboxGuest, LoadError> {
    let stored = std::fs::read(folder().join(&entry.file)).unwrap();
    let config = Arc::from("{}");
    load(&stored, &entry.sha256, &config, Limits::default(), &compiler()).map(|loaded| loaded.guest)
}

/// How the first question that a guest has the hook for ended: the outcome's category.
fn asked(guest: &SandboxGuest) -> &'static str {
    fn category<T>(called: Called<T>) -> &'static str {
        if let Err(error) = &called.result {
            println!("    {error}");
        }
        called.result.as_ref().map_or_else(GuestError::category, |_| "Answered")
    }
    use bellhop_core::objects::Hook::{Address, Nodes, Route};
    match guest.metadata().hooks.first() {
        Some(Address) => category(guest.address(&address_question())),
        Some(Nodes) => category(guest.nodes(&nodes_question(3))),
        Some(Route) => category(guest.route(&route_question())),
        None => "NoHook",
    }
}

/// What becomes of a fixture: refused at a stage, or loaded, and its first answer's category.
#[derive(PartialEq, Eq, Debug)]
enum End {
    Refused(Stage, Refusal),
    Asked(&'static str),
}

fn end(entry: &Entry) -> End {
    match load_entry(entry) {
        Ok(guest) => End::Asked(asked(&guest)),
        Err(error) => {
            println!("{}: {error}", entry.name);
            End::Refused(error.stage, error.refusal)
        }
    }
}

/// The end of each fixture that does not simply answer.
fn expected(name: &str) -> End {
    use End::{Asked, Refused};
    match name {
        // What is filled before the memory limit is reached costs more fuel than there is.
        "endless-loop" | "memory-hog" => Asked("OutOfFuel"),
        // Rust's own stack in linear memory ends before the runtime's does.
        "deep-recursion" | "panics" => Asked("Trap"),
        "huge-string" => Asked("OutputTooLarge"),
        // The alias's 64 KiB hold more than its text, so that its first copy is not UTF-8.
        "invalid-utf8" | "one-big-alias" | "out-of-bounds" | "ten-thousand-communities" | "wrong-count" => {
            Asked("InvalidAnswer")
        }
        // They cannot do without settings.
        "refuses-config" | "address-by-label" | "peer-attributes" => {
            Refused(Stage::Configured, Refusal::Config)
        }
        "endless-configure" => Refused(Stage::Configured, Refusal::Failed),
        "self-test-fails" => Refused(Stage::SelfTested, Refusal::SelfTest),
        "bad-metadata" | "no-metadata" => Refused(Stage::Checked, Refusal::Metadata),
        "compile-bomb" => Refused(Stage::Checked, Refusal::TooComplex),
        "foreign-import" => Refused(Stage::Checked, Refusal::ForeignImport),
        "not-wasm" | "truncated" => Refused(Stage::Checked, Refusal::Malformed),
        "oversize" => Refused(Stage::Checked, Refusal::TooLarge),
        "unknown-host-function" => Refused(Stage::Checked, Refusal::Contract),
        "zero-hooks" => Refused(Stage::Checked, Refusal::Contract),
        // `address-outside` too: whether an exact address is in a pool is the ledger's to say.
        _ => Asked("Answered"),
    }
}

#[test]
fn every_fixture_ends_as_it_should() {
    let wrong: Vec<String> = manifest()
        .iter()
        .filter_map(|entry| {
            let (found, right) = (end(entry), expected(&entry.name));
            (found != right).then(|| format!("{} ({}): {found:?}, not {right:?}", entry.name, entry.kind))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_panic_of_the_sdk_reaches_the_operator_with_its_text_and_place() {
    let manifest = manifest();
    let guest = load_entry(manifest.iter().find(|entry| entry.name == "panics").unwrap()).unwrap();
    let Err(GuestError::Trap(text)) = guest.route(&route_question()).result else { panic!("no trap") };
    assert!(text.contains("panicked at") && text.contains(".rs:"), "{text}");
}
