//! What is refused at which stage, and in which words.

use std::sync::Arc;

use bellhop_sandbox::{Limits, Refusal, Stage, load};
use serde_json::json;

use crate::support::{
    RouteGuest, at, compile_bomb, compiler, loaded, loaded_with, metadata, refused, sha256, with_metadata,
};

#[track_caller]
fn assert_refused(module: &[u8], stage: Stage, refusal: Refusal, words: &[&str]) {
    let error = refused(module);
    assert_eq!((error.stage, error.refusal), (stage, refusal), "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in {:?}", error.message);
    }
}

#[test]
fn a_module_is_taken_raw_and_as_zstd() {
    let raw = RouteGuest::default().module();
    let stored = zstd::encode_all(&raw[..], 19).unwrap();
    load(&stored, &sha256(&raw), &Arc::from("{}"), Limits::default(), &compiler()).unwrap();
}

#[test]
fn a_ready_made_component_is_taken() {
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&RouteGuest::default().module())
        .unwrap()
        .encode()
        .unwrap();
    loaded(&component).unwrap();
}

#[test]
fn another_sha256_is_refused_before_anything_is_looked_at() {
    let wrong = "a".repeat(64);
    let load = |sha256: &str| load(b"nonsense", sha256, &Arc::from("{}"), Limits::default(), &compiler());
    let error = load(&wrong).unwrap_err();
    assert_eq!((error.stage, error.refusal), (Stage::Verified, Refusal::DigestMismatch));
    // Who shows it adds the field and the digest that the policy names.
    assert!(error.message.contains(&sha256(b"nonsense")), "{error}");
    let error = load("ABC").unwrap_err();
    assert_eq!((error.stage, error.refusal), (Stage::Verified, Refusal::DigestMalformed));
}

#[test]
fn a_truncated_module_is_refused_when_it_is_checked() {
    let whole = RouteGuest::default().module();
    assert_refused(&whole[..whole.len() / 2], Stage::Checked, Refusal::Malformed, &["not valid WebAssembly"]);
    let stored = zstd::encode_all(&whole[..], 19).unwrap();
    assert_refused(&stored[..stored.len() / 2], Stage::Checked, Refusal::Malformed, &["zstd"]);
    assert_refused(b"#!/bin/sh", Stage::Checked, Refusal::Malformed, &["00 61 73 6d", "23 21 2f 62"]);
    assert_refused(b"", Stage::Checked, Refusal::Malformed, &["is empty"]);
}

#[test]
fn a_module_over_the_size_limit_is_refused_stored_and_uncompressed() {
    let large =
        |bytes: usize| crate::support::with_section(RouteGuest::default().module(), "pad", &vec![7; bytes]);
    assert_refused(&large(1 << 20), Stage::Checked, Refusal::TooLarge, &["as it is stored", "1048576"]);
    let inflated = large(5 << 20);
    let stored = zstd::encode_all(&inflated[..], 3).unwrap();
    assert_refused(&stored, Stage::Checked, Refusal::TooLarge, &["more than 4194304 bytes uncompressed"]);
}

#[test]
fn a_foreign_import_is_refused_by_its_name() {
    let wasi = RouteGuest::default().wat().replacen(
        "(memory",
        "(import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))) (memory",
        1,
    );
    let module = with_metadata(wat::parse_str(wasi).unwrap(), &metadata(&["Route"]));
    assert_refused(
        &module,
        Stage::Checked,
        Refusal::ForeignImport,
        &["\"fd_write\" from \"wasi_snapshot_preview1\"", "not part of the contract"],
    );
}

#[test]
fn an_import_of_a_newer_contract_is_refused_saying_so() {
    let newer = RouteGuest::default().wat().replace("host@0.1.0", "host@0.2.0");
    let module = with_metadata(wat::parse_str(newer).unwrap(), &metadata(&["Route"]));
    assert_refused(
        &module,
        Stage::Checked,
        Refusal::ForeignImport,
        &["bellhop:policy-base/host@0.2.0", "this version of Bellhop does not provide"],
    );
}

#[test]
fn a_plain_module_has_no_hook() {
    let module = with_metadata(wat::parse_str("(module)").unwrap(), &metadata(&[]));
    assert_refused(&module, Stage::Checked, Refusal::Contract, &["exports no hook"]);
}

#[test]
fn hooks_that_the_metadata_names_and_the_module_lacks_are_refused() {
    let guest = RouteGuest { metadata: metadata(&["Route", "Nodes"]), ..RouteGuest::default() };
    assert_refused(
        &guest.module(),
        Stage::Checked,
        Refusal::Contract,
        &["exports the hooks Route", "names Nodes, Route"],
    );
}

#[test]
fn metadata_that_is_missing_doubled_or_wrong_is_refused() {
    let bare = RouteGuest::default().module_without_metadata();
    assert_refused(&bare, Stage::Checked, Refusal::Metadata, &["0 custom sections bellhop:policy"]);
    let twice = with_metadata(RouteGuest::default().module(), &metadata(&["Route"]));
    assert_refused(&twice, Stage::Checked, Refusal::Metadata, &["2 custom sections"]);
    let unknown = with_metadata(bare, &json!({"name": "x", "colour": "red"}));
    assert_refused(&unknown, Stage::Checked, Refusal::Metadata, &["unknown field `colour`"]);
}

#[test]
fn features_that_policies_do_not_have_are_refused() {
    for (what, fields) in [
        ("threads", "(memory $shared 1 1 shared)"),
        ("tail calls", "(func $tail (return_call $tail))"),
        ("exceptions", "(tag $oops)"),
        ("64-bit memory", "(memory $wide i64 1)"),
    ] {
        let wat = format!("(module {fields})");
        let module = with_metadata(wat::parse_str(wat).unwrap(), &metadata(&["Route"]));
        let error = refused(&module);
        assert_eq!((error.stage, error.refusal), (Stage::Checked, Refusal::Malformed), "{what}: {error}");
    }
}

#[test]
fn native_code_is_never_taken() {
    let this_program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let native = &this_program[..1000];
    assert_refused(native, Stage::Checked, Refusal::Precompiled, &["native code, which is never taken"]);
}

#[test]
fn a_compile_bomb_of_a_few_kilobytes_is_refused_by_the_checks() {
    let bomb = compile_bomb();
    let stored = zstd::encode_all(&bomb[..], 19).unwrap();
    assert!(bomb.len() > 900_000 && stored.len() < 16_000, "{} in {}", bomb.len(), stored.len());
    let error = load(&stored, &sha256(&bomb), &Arc::from("{}"), Limits::default(), &compiler()).unwrap_err();
    assert_eq!((error.stage, error.refusal), (Stage::Checked, Refusal::TooComplex));
    assert!(error.message.contains("at most 131072"), "{error}");
}

#[test]
fn a_module_that_begins_with_more_memory_than_there_is_is_refused() {
    let guest = RouteGuest { pages: 2000, ..RouteGuest::default() };
    assert_refused(&guest.module(), Stage::Checked, Refusal::TooLarge, &["131072000 bytes of memory"]);
}

#[test]
fn a_config_that_the_module_refuses_is_refused_in_its_words() {
    let guest = RouteGuest {
        configure: format!(
            "(i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const {}))
             (i32.store (i32.const 1032) (i32.const 12)) i32.const 1024",
            at::TEXT
        ),
        ..RouteGuest::default()
    }
    .with(&format!("(data (i32.const {}) \"no such zone\")", at::TEXT));
    let error = refused(&guest.module());
    assert_eq!((error.stage, error.refusal), (Stage::Configured, Refusal::Config));
    assert_eq!(error.to_string(), "Configured: the policy refuses its config: no such zone");
    let error = loaded_with(&guest.module(), &"x".repeat(70_000), Limits::default()).unwrap_err();
    assert_eq!((error.stage, error.refusal), (Stage::Configured, Refusal::Config));
}

fn with_self_test(expect: serde_json::Value) -> Vec<u8> {
    let case = json!({
        "name": "shop is private",
        "hook": "Route",
        "request": serde_json::to_value(crate::support::route_question()).unwrap(),
        "expect": expect,
    });
    let mut metadata = metadata(&["Route"]);
    metadata["selfTests"] = json!([case]);
    RouteGuest { metadata, ..RouteGuest::withholding(7) }
        .with(&format!("(data (i32.const {}) \"private\")", at::TEXT))
        .module()
}

#[test]
fn a_module_that_answers_its_own_cases_as_it_promises_is_taken() {
    loaded(&with_self_test(json!({"withhold": "private"}))).unwrap();
}

#[test]
fn a_module_that_answers_its_own_case_differently_is_refused_with_both_answers() {
    let error = refused(&with_self_test(json!({"advertise": {"med": 5}})));
    assert_eq!((error.stage, error.refusal), (Stage::SelfTested, Refusal::SelfTest));
    assert_eq!(
        error.message,
        "the self-test \"shop is private\" answered {\"withhold\":\"private\"}; expected {\"advertise\":{\"med\":5}}"
    );
    let error = refused(&with_self_test(json!({"withold": "private"})));
    assert!(error.message.contains("malformed expect"), "{error}");
}

#[test]
fn a_refusal_names_the_version_that_the_module_says_it_is_once_that_was_read() {
    assert_eq!(refused(&with_self_test(json!({"advertise": {"med": 5}}))).version, "1.0.0");
    assert_eq!(refused(b"\0asm").version, "");
}
