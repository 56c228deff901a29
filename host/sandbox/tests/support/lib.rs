//! What the sandbox's tests share: the compiler, built when it is missing, and guests written by hand.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "what a test needs and does not get ends it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use bellhop_policy_engine::guest::{AddressQuestion, NodesQuestion, RouteQuestion};
use bellhop_sandbox::{CompilerCommand, Limits, LoadError, SandboxGuest, load};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The compiler of this build, or the one that `BELLHOP_COMPILER` names.
pub fn compiler() -> CompilerCommand {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    CompilerCommand::new(PATH.get_or_init(build_compiler))
}

fn build_compiler() -> PathBuf {
    if let Some(path) = std::env::var_os("BELLHOP_COMPILER") {
        return path.into();
    }
    let this = std::env::current_exe().unwrap();
    // target/PROFILE/deps/this
    let profile = this.parent().and_then(Path::parent).expect("a test program is in target/PROFILE/deps");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "bellhop-compiler", "--target-dir"]).arg(profile.parent().unwrap());
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.status().expect("cargo can be started");
    assert!(built.success(), "these tests need bellhop-compiler: `cargo build -p bellhop-compiler` fails");
    profile.join("bellhop-compiler")
}

pub fn sha256(module: &[u8]) -> String {
    Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Loads a module under the sha256 that it has, without config.
pub fn loaded(module: &[u8]) -> Result<SandboxGuest, LoadError> {
    loaded_with(module, "{}", Limits::default())
}

pub fn loaded_with(module: &[u8], config: &str, limits: Limits) -> Result<SandboxGuest, LoadError> {
    load(module, &sha256(module), &Arc::from(config), limits, &compiler()).map(|loaded| loaded.guest)
}

pub fn refused(module: &[u8]) -> LoadError {
    loaded(module).expect_err("a module that must be refused")
}

fn contract() -> (Resolve, wit_parser::PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugin-sdk/wit")).unwrap();
    (resolve, package)
}

/// A module that has every function of the contract, each of which traps.
pub fn dummy_of_the_contract() -> Vec<u8> {
    let (resolve, package) = contract();
    let world = resolve.select_world(&[package], Some("all-hooks")).unwrap();
    let mut module = wit_component::dummy_module(
        &resolve,
        world,
        wit_parser::ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync),
    );
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    with_metadata(module, &metadata(&["Address", "Nodes", "Route"]))
}

pub fn metadata(hooks: &[&str]) -> Value {
    json!({"name": "test", "version": "1.0.0", "sdk": "none", "hooks": hooks})
}

/// `module` with one more custom section `bellhop:policy`.
pub fn with_metadata(module: Vec<u8>, metadata: &Value) -> Vec<u8> {
    with_section(module, "bellhop:policy", metadata.to_string().as_bytes())
}

pub fn with_section(mut module: Vec<u8>, name: &str, content: &[u8]) -> Vec<u8> {
    let mut section = leb(name.len());
    section.extend(name.as_bytes());
    section.extend(content);
    module.push(0);
    module.extend(leb(section.len()));
    module.extend(section);
    module
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7F).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A guest with the `route` hook, by hand.
#[derive(Clone)]
pub struct RouteGuest {
    /// Body of `decide`, which leaves the address of its result.
    pub decide: String,
    /// Body of `configure`, likewise.
    pub configure: String,
    /// Further fields of the module.
    pub fields: String,
    /// Pages of memory at the start.
    pub pages: u32,
    /// Metadata of the module.
    pub metadata: Value,
}

/// Where `decide`'s result is in memory, and the parts of it.
pub mod at {
    /// Discriminant of `result<response, string>`.
    pub const RESULT: u32 = 2048;
    /// Discriminant of the answer.
    pub const ANSWER: u32 = RESULT + 8;
    /// Payload of the answer: `withhold`'s text, or `advertise`'s attributes, which begin with the communities.
    pub const PAYLOAD: u32 = RESULT + 16;
    /// The note: discriminant, pointer, length.
    pub const NOTE: u32 = RESULT + 96;
    /// `extra`: pointer, length.
    pub const EXTRA: u32 = RESULT + 108;
    /// A text to point at.
    pub const TEXT: u32 = 4096;
}

impl Default for RouteGuest {
    /// Always `use-default`.
    fn default() -> Self {
        Self {
            decide: format!("i32.const {}", at::RESULT),
            configure: "i32.const 1024".to_owned(),
            fields: String::new(),
            pages: 4,
            metadata: metadata(&["Route"]),
        }
    }
}

impl RouteGuest {
    /// `decide` runs `body`, then gives its result.
    pub fn doing(body: &str) -> Self {
        Self { decide: format!("{body} i32.const {}", at::RESULT), ..Self::default() }
    }

    /// `decide` stores these 32-bit values, then gives its result.
    pub fn answering(stores: &[(u32, u32)]) -> Self {
        let stores: String = stores
            .iter()
            .map(|(at, value)| format!("(i32.store (i32.const {at}) (i32.const {value}))"))
            .collect();
        Self::doing(&stores)
    }

    /// `withhold` with `length` bytes from [`at::TEXT`] on.
    pub fn withholding(length: u32) -> Self {
        Self::answering(&[(at::ANSWER, 2), (at::PAYLOAD, at::TEXT), (at::PAYLOAD + 4, length)])
    }

    pub fn with(mut self, fields: &str) -> Self {
        self.fields.push_str(fields);
        self
    }

    pub fn module(&self) -> Vec<u8> {
        with_metadata(self.module_without_metadata(), &self.metadata)
    }

    pub fn module_without_metadata(&self) -> Vec<u8> {
        let (resolve, _) = contract();
        let world = route_world(&resolve);
        let mut module = wat::parse_str(self.wat()).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        module
    }

    pub fn wat(&self) -> String {
        let Self { decide, configure, fields, pages, .. } = self;
        format!(
            r#"(module
                (import "bellhop:policy-base/host@0.1.0" "log" (func $log (param i32 i32 i32)))
                (memory (export "memory") {pages})
                (global $heap (mut i32) (i32.const 65536))
                {fields}
                (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
                    (result i32)
                    (global.set $heap (i32.and
                        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
                        (i32.sub (i32.const 0) (local.get $align))))
                    (global.get $heap)
                    (global.set $heap (i32.add (global.get $heap) (local.get $new))))
                (func (export "bellhop:policy-base/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
                    {configure})
                (func $decide (export "bellhop:policy-route/route@0.1.0#decide") (param i32) (result i32)
                    {decide}))"#
        )
    }
}

fn route_world(resolve: &Resolve) -> wit_parser::WorldId {
    resolve
        .worlds
        .iter()
        .find(|(_, world)| world.name == "route-policy")
        .map(|(id, _)| id)
        .expect("the contract has a world route-policy")
}

pub fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../tests/guests/fixtures/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn route_question() -> RouteQuestion {
    serde_json::from_value(json!({
        "service": {"labels": [["app", "shop"]]},
        "family": "IPv4",
        "node": {"labels": [["zone", "a"]]},
        "peer": {"labels": [["tier", "transit"]], "peerAsn": 64500, "localAsn": 64512},
        "defaults": {"communities": ["64512:1"], "med": 7},
    }))
    .unwrap()
}

pub fn nodes_question(nodes: usize) -> NodesQuestion {
    let nodes: Vec<Value> = (0..nodes).map(|number| json!({"name": format!("node-{number}")})).collect();
    serde_json::from_value(json!({"service": {}, "nodes": nodes})).unwrap()
}

pub fn address_question() -> AddressQuestion {
    serde_json::from_value(json!({
        "service": {},
        "families": ["IPv4"],
        "pools": [{"name": "public", "usage": [["IPv4", 1, 9]]}],
        "candidates": [[0, "192.0.2.7", 0]],
    }))
    .unwrap()
}

/// 1 MB of nested blocks over 1,000 locals, which a few KB of zstd carry and Cranelift takes half a minute for.
pub fn compile_bomb() -> Vec<u8> {
    const NESTING: usize = 100;
    let one = "(if (local.get 0) (then (local.set 1 (i32.add (local.get 2) (local.get 3)))".to_owned();
    let nest = format!("{}{}", one.repeat(NESTING), "))".repeat(NESTING));
    let body = nest.repeat(1_000_000 / (NESTING * 12));
    let locals = "i32 ".repeat(1_000);
    RouteGuest::default().with(&format!("(func (param i32) (local {locals}) {body})")).module()
}
