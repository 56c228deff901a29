//! Modules that no compiler of ours would make.

use anyhow::{Context, Result};

use crate::manifest::Kind;

/// A module made by hand.
#[derive(Clone, Debug)]
pub struct Handmade {
    /// Its name.
    pub name: &'static str,
    /// What it is there for.
    pub kind: Kind,
    /// What it is.
    pub what: &'static str,
    /// The module.
    pub bytes: Vec<u8>,
    /// True if it is stored compressed.
    pub compressed: bool,
}

/// `component-type` sections of the SDK: they claim the worlds `policy` and `route-policy`.
const BASE: &[u8] = include_bytes!("../../../plugin-sdk/src/bindings/base.component-type");
const ROUTE: &[u8] = include_bytes!("../../../plugin-sdk/src/bindings/route.component-type");

/// Bytes of the compile bomb, just under 1 MiB.
const BOMB_BYTES: usize = 1_000_000;
/// Its locals.
const BOMB_LOCALS: u32 = 1_000;
/// One more than the 4 MiB that a host inflates.
const OVERSIZE: usize = 4 * 1024 * 1024 + 1;

/// All of them. `good` is a module that loads, from which the truncated one is cut.
pub fn all(good: &[u8]) -> Result<Vec<Handmade>> {
    let plain = |name, kind, what, bytes| Handmade { name, kind, what, bytes, compressed: false };
    Ok(vec![
        plain(
            "invalid-utf8",
            Kind::Hostile,
            "its error text is not UTF-8",
            guest("invalid-utf8", "", INVALID_UTF8)?,
        ),
        plain(
            "out-of-bounds",
            Kind::Hostile,
            "its error text lies outside its memory",
            guest("out-of-bounds", "", OUT_OF_BOUNDS)?,
        ),
        plain(
            "one-big-alias",
            Kind::Hostile,
            "20,000 named values that are all the same 64 KiB text: 2.4 GiB if they were copied",
            guest("one-big-alias", "", &alias())?,
        ),
        plain(
            "foreign-import",
            Kind::Broken,
            "imports WASI's random_get",
            guest("foreign-import", RANDOM_GET, USES_RANDOM)?,
        ),
        plain(
            "unknown-host-function",
            Kind::Broken,
            "imports a function of `host` that this version of the contract does not have",
            guest("unknown-host-function", CLOCK, USES_CLOCK)?,
        ),
        plain(
            "zero-hooks",
            Kind::Broken,
            "a valid core module that exports nothing of the contract",
            zero_hooks()?,
        ),
        plain(
            "no-metadata",
            Kind::Broken,
            "exports hook route, without the section bellhop:policy",
            no_metadata()?,
        ),
        plain(
            "bad-metadata",
            Kind::Broken,
            "its section bellhop:policy is not the JSON that it should be",
            bad_metadata()?,
        ),
        plain("truncated", Kind::Broken, "good-route, cut in the middle", good[..good.len() / 2].to_vec()),
        plain("not-wasm", Kind::Broken, "a text", b"#!/bin/sh\necho this is no module\n".to_vec()),
        Handmade {
            name: "compile-bomb",
            kind: Kind::Broken,
            what: "1 MB of nested blocks over 1,000 locals: half a minute and gigabytes for an optimising compiler",
            bytes: guest("compile-bomb", "", &bomb())?,
            compressed: true,
        },
        Handmade {
            name: "oversize",
            kind: Kind::Broken,
            what: "one byte over 4 MiB, a few hundred compressed",
            bytes: oversize()?,
            compressed: true,
        },
    ])
}

/// What every guest has: memory, an allocator, `configure` that says yes. A zeroed area at 16 is `result::ok`.
const COMMON: &str = r#"
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "bellhop:policy-base/lifecycle@0.1.0#configure") (param i32 i32) (result i32) (i32.const 16))
"#;

/// `result::err` at 64 with a text of 4 bytes at 128 that is no UTF-8. The payload is aligned to 8, as the response is.
const INVALID_UTF8: &str = r#"
    (data (i32.const 64) "\01\00\00\00\00\00\00\00\80\00\00\00\04\00\00\00")
    (data (i32.const 128) "\ff\fe\c0\80")
    (func (export "bellhop:policy-route/route@0.1.0#decide") (param i32) (result i32) (i32.const 64))
"#;

/// `result::err` with a text of 16 MiB at an address that the memory does not have.
const OUT_OF_BOUNDS: &str = r#"
    (data (i32.const 64) "\01\00\00\00\00\00\00\00\00\00\00\7f\00\00\00\01")
    (func (export "bellhop:policy-route/route@0.1.0#decide") (param i32) (result i32) (i32.const 64))
"#;

const RANDOM_GET: &str =
    r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
const USES_RANDOM: &str = r#"
    (func (export "bellhop:policy-route/route@0.1.0#decide") (param i32) (result i32)
        (drop (call $random (i32.const 256) (i32.const 8)))
        (i32.const 16))
"#;

const CLOCK: &str = r#"(import "bellhop:policy-base/host@0.1.0" "clock" (func $clock (result i64)))"#;
const USES_CLOCK: &str = r#"
    (func (export "bellhop:policy-route/route@0.1.0#decide") (param i32) (result i32)
        (drop (call $clock))
        (i32.const 16))
"#;

/// `result::ok` with `use-default`, no note, and `extra` of 20,000 pairs that share one text.
///
/// The response starts at 64 + 8: answer (tag and a payload of 88 bytes in 8-byte alignment), note, extra. Where
/// `extra` lies is told by the contract: 96 bytes of answer, 12 of note.
fn alias() -> String {
    r#"
    (func (export "bellhop:policy-route/route@0.1.0#decide") (param i32) (result i32)
        (local $pair i32)
        (drop (memory.grow (i32.const 10)))
        ;; 20,000 pairs of 16 bytes at 131072: key (0, 65536), value (0, 65536)
        (local.set $pair (i32.const 131072))
        (loop $more
            (i32.store offset=4 (local.get $pair) (i32.const 65536))
            (i32.store offset=12 (local.get $pair) (i32.const 65536))
            (local.set $pair (i32.add (local.get $pair) (i32.const 16)))
            (br_if $more (i32.lt_u (local.get $pair) (i32.const 451072))))
        (i32.store (i32.const 2048) (i32.const 0))
        ;; every word where a list or a text could start names the pairs
        (i32.store offset=EXTRA (i32.const 2048) (i32.const 131072))
        (i32.store offset=LENGTH (i32.const 2048) (i32.const 20000))
        (i32.const 2048))
    "#
    .replace("EXTRA", &(8 + ANSWER_BYTES + NOTE_BYTES).to_string())
    .replace("LENGTH", &(8 + ANSWER_BYTES + NOTE_BYTES + 4).to_string())
}

/// Bytes of `answer` in memory: tag padded to 8, attributes (three lists of 8, local-preference 8, med 8, prepend
/// padded to 8, link-bandwidth 16, next-hop 12, padded to 8).
const ANSWER_BYTES: usize = 8 + 24 + 8 + 8 + 8 + 16 + 16;
/// Bytes of `note`: tag padded to 4, pointer, length.
const NOTE_BYTES: usize = 12;

fn bomb() -> String {
    let mut text = format!(
        "(func (export \"bellhop:policy-route/route@0.1.0#decide\") (param i32) (result i32) (local{})\n",
        " i32".repeat(BOMB_LOCALS as usize)
    );
    // Each block reads one local and writes another, so that every local lives across every block: about 10 bytes.
    let block = |at: u32| {
        let (from, to) = (1 + at % BOMB_LOCALS, 1 + (at * 7 + 3) % BOMB_LOCALS);
        format!("(local.get {from}) if (local.set {to} (i32.add (local.get {from}) (local.get 0))) end\n")
    };
    let blocks = u32::try_from(BOMB_BYTES / 15).unwrap_or(u32::MAX);
    for group in 0..blocks / 16 {
        text.push_str("block\n");
        for at in 0..16 {
            text.push_str(&block(group * 16 + at));
        }
        text.push_str("end\n");
    }
    text + "(i32.const 16))"
}

/// A module that claims hook route, with metadata.
fn guest(name: &str, imports: &str, functions: &str) -> Result<Vec<u8>> {
    let metadata = format!(r#"{{"name":"{name}","version":"0.1.0","sdk":"none","hooks":["Route"]}}"#);
    let module = core(name, imports, functions)?;
    Ok(with_section(with_types(module), "bellhop:policy", metadata.as_bytes()))
}

fn core(name: &str, imports: &str, functions: &str) -> Result<Vec<u8>> {
    wat::parse_str(format!("(module {imports}\n{COMMON}\n{functions})"))
        .with_context(|| format!("assemble {name}"))
}

fn with_types(module: Vec<u8>) -> Vec<u8> {
    let module = with_section(module, "component-type:bellhop:base", BASE);
    with_section(module, "component-type:bellhop:route", ROUTE)
}

fn zero_hooks() -> Result<Vec<u8>> {
    let metadata = br#"{"name":"zero-hooks","version":"0.1.0","sdk":"none","hooks":[]}"#;
    let module = wat::parse_str("(module (func (export \"main\") (result i32) (i32.const 42)))")?;
    Ok(with_section(module, "bellhop:policy", metadata))
}

fn no_metadata() -> Result<Vec<u8>> {
    Ok(with_types(core("no-metadata", "", INVALID_UTF8)?))
}

fn bad_metadata() -> Result<Vec<u8>> {
    let metadata = br#"{"name":"bad-metadata","version":"0.1.0","sdk":"none","hooks":["Rout"]}"#;
    Ok(with_section(with_types(core("bad-metadata", "", INVALID_UTF8)?), "bellhop:policy", metadata))
}

fn oversize() -> Result<Vec<u8>> {
    let module = guest("oversize", "", INVALID_UTF8)?;
    // Section id, 5 bytes of size at most, 1 of the name's length, the name.
    let padding = OVERSIZE - module.len() - 1 - 4 - 1 - "padding".len();
    Ok(with_section(module, "padding", &vec![0; padding]))
}

/// The module with one more custom section.
fn with_section(mut module: Vec<u8>, name: &str, content: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    leb128(&mut section, name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    module.push(0);
    leb128(&mut module, section.len());
    module.extend(section);
    module
}

/// An unsigned number in LEB128.
fn leb128(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7F) as u8;
        number >>= 7;
        out.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_component::ComponentEncoder;

    fn made(name: &str) -> Vec<u8> {
        all(&[0; 10]).unwrap().into_iter().find(|module| module.name == name).unwrap().bytes
    }

    #[test]
    fn the_hostile_ones_load_as_components() {
        for module in all(&[0; 10]).unwrap().into_iter().filter(|module| module.kind == Kind::Hostile) {
            let encoder = ComponentEncoder::default().validate(true).module(&module.bytes).unwrap();
            { encoder }.encode().unwrap_or_else(|error| panic!("{}: {error:#}", module.name));
        }
    }

    #[test]
    fn the_bomb_is_a_valid_module_of_about_a_megabyte_that_compresses_to_a_few_kilobytes() {
        let bytes = made("compile-bomb");
        assert!((900_000..1_048_576).contains(&bytes.len()), "{}", bytes.len());
        let packed = zstd::bulk::compress(&bytes, 19).unwrap();
        assert!(packed.len() < 32_000, "{}", packed.len());
        let encoder = ComponentEncoder::default().validate(true).module(&bytes).unwrap();
        { encoder }.encode().unwrap();
    }

    #[test]
    fn the_oversized_one_is_one_byte_over_the_limit() {
        assert_eq!(made("oversize").len(), OVERSIZE);
    }
}
