//! Bad plugins: refused at the stage that finds them, or contained call by call. The version before stays in force.

use serde_json::json;

use super::Case;
use crate::support::eventually;
use crate::support::manifests::service;
use crate::support::plugins::Packed;
use crate::support::process::{Process, Site};

/// The policy whose version is replaced by bad ones.
const POLICY: &str = "DecisionPolicy/attributes";
const POLICY_FILE: &str = "attributes.json";

/// Puts policy `attributes` with a good version beside the good manifests, and policy `chooser`, which is bad but not
/// asked yet.
pub(super) fn prepare(site: &Site) {
    let good = Packed::fixture("good-route");
    site.manifests.write("good-route.json", good.object());
    site.manifests.write(POLICY_FILE, good.policy("attributes", "Route", json!({})));
    let outside = Packed::fixture("address-outside");
    site.manifests.write("address-outside.json", outside.object());
    let matching = json!({"match": {"serviceSelector": {"matchLabels": {"choose": "badly"}}}});
    site.manifests.write("chooser.json", outside.policy("chooser", "Address", matching));
}

/// A process on these manifests, once `attributes` has decided about the routes.
pub(super) fn served(site: &Site) -> Process {
    let process = site.start().serving();
    for policy in ["attributes", "chooser"] {
        eventually("the policies are active", || {
            let row = process.policy(policy);
            (row["step"] == "Active").then_some(()).ok_or_else(|| format!("{row:#}\n{}", process.log()))
        });
    }
    eventually("the policy's community is on the routes", || {
        let routes = process.routes();
        let decided =
            routes.iter().all(|(_, _, attributes)| attributes["communities"] == json!(["65000:100"]));
        (decided && routes.len() == 4).then_some(()).ok_or_else(|| format!("{routes:#?}\n{}", process.log()))
    });
    process
}

/// Each bad plugin once.
pub(super) fn all(site: &Site) -> Vec<Case> {
    let mut cases = vec![choosing_outside()];
    cases.extend(REFUSED.iter().chain(CONTAINED).map(|bad| bad.case(site)));
    cases.extend([cut_upload(site), wrong_sha256(site)]);
    cases
}

/// A fixture that becomes the new version of `attributes`: name, reason, what is said.
struct Bad(&'static str, &'static str, &'static str);

/// Refused before they serve.
const REFUSED: &[Bad] = &[
    Bad("truncated", "Malformed", "is not valid WebAssembly"),
    Bad("not-wasm", "Malformed", "does not begin as WebAssembly does"),
    Bad("oversize", "TooLarge", "more than 4194304 bytes"),
    Bad("compile-bomb", "TooComplex", "bytes; at most 131072 are taken"),
    Bad("foreign-import", "ForeignImport", "\"random_get\" from \"wasi_snapshot_preview1\""),
    Bad("unknown-host-function", "Contract", "is missing function `clock`"),
    Bad("zero-hooks", "Contract", "exports no hook"),
    Bad("no-metadata", "Metadata", "bellhop:policy"),
    Bad("bad-metadata", "Metadata", "Rout"),
    Bad("endless-configure", "Failed", "refused at stage Configured: the module used up its"),
    Bad("self-test-fails", "SelfTest", ""),
];

/// Loaded, and contained call by call.
const CONTAINED: &[Bad] = &[
    Bad("endless-loop", "CallsFail", "used up its 10000000 units of fuel"),
    Bad("memory-hog", "CallsFail", "the module "),
    Bad("deep-recursion", "CallsFail", "the module trapped"),
    Bad("panics", "CallsFail", "the module trapped: panicked at"),
    Bad("ten-thousand-communities", "CallsFail", "10000 communities; at most 64 are taken"),
    Bad("huge-string", "CallsFail", ""),
    Bad("invalid-utf8", "CallsFail", "invalid utf-8 sequence"),
    Bad("out-of-bounds", "CallsFail", ""),
    Bad("one-big-alias", "CallsFail", ""),
];

impl Bad {
    fn case(&self, site: &Site) -> Case {
        let Self(name, reason, says) = self;
        edit(site, name, Packed::fixture(name)).problem(POLICY, "spec.plugin.configMap", name, reason, says)
    }
}

/// An edit of `attributes` that points at another module.
fn edit(site: &Site, name: &'static str, packed: Packed) -> Case {
    let good = site.manifests.read(POLICY_FILE).into_bytes();
    let policy = packed.policy("attributes", "Route", json!({}));
    Case {
        bad: vec![("bad.json", packed.object().into()), (POLICY_FILE, policy.into())],
        repair: vec![(POLICY_FILE, Some(good)), ("bad.json", None)],
        ..Case::file(name, "", "")
    }
}

fn prove(name: &str) {
    let site = Site::good();
    prepare(&site);
    let process = served(&site);
    let bad = REFUSED.iter().chain(CONTAINED).find(|bad| bad.0 == name).expect("a case of the tables");
    bad.case(&site).prove(&site, &process);
}

fn prove_case(case: impl Fn(&Site) -> Case) {
    let site = Site::good();
    prepare(&site);
    let process = served(&site);
    case(&site).prove(&site, &process);
}

fn cut_upload(site: &Site) -> Case {
    let cut = Packed::fixture("good-route").truncated();
    let cut = Packed { config_map: "cut".into(), ..cut.with_sha256(&"0".repeat(64)) };
    edit(site, "a ConfigMap cut in the middle", cut).problem(
        POLICY,
        "spec.plugin.configMap",
        "cut",
        "Malformed",
        "cannot be uncompressed",
    )
}

#[test]
fn a_module_that_was_cut_off_on_its_way_is_refused() {
    prove_case(cut_upload);
}

fn wrong_sha256(site: &Site) -> Case {
    let other = "1".repeat(64);
    let packed = Packed::fixture("good-route");
    let packed = Packed { config_map: "other".into(), ..packed.with_sha256(&other) };
    edit(site, "a wrong sha256", packed).problem(
        POLICY,
        "spec.plugin.sha256",
        &other,
        "DigestMismatch",
        "the module's sha256 is",
    )
}

#[test]
fn a_module_with_another_sha256_than_the_policy_names_is_refused_and_the_right_one_told() {
    prove_case(wrong_sha256);
}

fn choosing_outside() -> Case {
    let bad = service("chosen", "", "labels: {choose: badly}");
    Case::file("a plugin that chooses an address outside the pool", "chosen.yaml", bad).problem(
        "Service/shop/chosen",
        "",
        "",
        "InvalidAnswer",
        "no alternative of DecisionPolicy/chooser can be had: 8.8.8.8 is outside every pool",
    )
}

#[test]
fn an_address_that_a_plugin_chose_outside_every_pool_is_not_given() {
    prove_case(|_| choosing_outside());
}

#[test]
fn a_truncated_module_is_refused_and_the_version_before_stays() {
    prove("truncated");
}

#[test]
fn a_module_over_the_size_limit_is_refused_and_the_version_before_stays() {
    prove("oversize");
}

#[test]
fn a_compile_bomb_is_refused_before_it_is_compiled() {
    prove("compile-bomb");
}

#[test]
fn a_foreign_import_is_refused_by_its_name() {
    prove("foreign-import");
}

#[test]
fn an_endless_loop_costs_its_fuel_and_the_last_decisions_stand() {
    prove("endless-loop");
}

#[test]
fn ten_thousand_communities_are_no_answer_and_the_last_decisions_stand() {
    prove("ten-thousand-communities");
}

#[test]
fn text_of_a_plugin_that_is_not_utf8_is_no_answer_and_the_last_decisions_stand() {
    prove("invalid-utf8");
}

#[test]
fn a_policy_whose_config_map_is_missing_says_so_and_becomes_active_when_it_arrives() {
    let site = Site::good();
    let process = site.start().serving();
    let packed = Packed::fixture("good-route");
    let case = Case {
        repair: vec![("module.json", Some(packed.object().into()))],
        ..Case::file("a missing ConfigMap", POLICY_FILE, packed.policy("attributes", "Route", json!({})))
    };
    let case = case.problem(
        POLICY,
        "spec.plugin.configMap",
        "good-route",
        "ConfigMapMissing",
        "there is no such ConfigMap",
    );
    case.apply(&site);
    let row = eventually("the policy says what is missing", || {
        let row = process.policy("attributes");
        (row["reason"] == "ConfigMapMissing").then(|| row.clone()).ok_or_else(|| row.to_string())
    });
    assert_eq!(row["step"], "Pending");
    let message = row["message"].as_str().unwrap();
    assert!(
        message.contains("spec.plugin.configMap: \"good-route\": there is no such ConfigMap"),
        "{message}"
    );
    assert_eq!(process.routes().len(), 4, "without it the built-in answer serves");
    case.repair(&site);
    eventually("the policy is active and nothing is wrong", || {
        let (row, problems) = (process.policy("attributes"), process.problems());
        (row["step"] == "Active" && problems.is_empty())
            .then_some(())
            .ok_or_else(|| format!("{row:#} {problems:#?}"))
    });
}
