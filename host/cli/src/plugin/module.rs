//! A module as its sections describe it.

use std::collections::BTreeSet;

use bellhop_core::objects::Hook;
use bellhop_policy_engine::guest::Metadata;
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

/// The custom section that holds the metadata.
pub const METADATA_SECTION: &str = "bellhop:policy";
/// Largest module that the host inflates.
pub const SIZE_MAX: usize = 4 * 1024 * 1024;
/// Level of compression: a module is compressed once and read often.
const ZSTD_LEVEL: i32 = 19;
/// What every Zstandard frame starts with (RFC 8878 §3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Imports that the host has; everything else is foreign.
const OUR_IMPORTS: &str = "bellhop:policy-base/host@";

/// A module, or a component that was made of one.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Module {
    /// What it says of itself.
    pub metadata: Metadata,
    /// Its size in bytes.
    pub size: usize,
    /// Its size as a Zstandard frame of level 19, as [`compress`] makes it.
    pub compressed: usize,
    /// sha256 of it, 64 lower-case hexadecimal digits: what a DecisionPolicy names.
    pub sha256: String,
    /// Bytes of memory that it starts with.
    pub memory: u64,
    /// What it imports, as `INTERFACE#NAME`.
    pub imports: Vec<String>,
    /// The functions of the contract that it exports, as `INTERFACE#NAME`.
    pub exports: Vec<String>,
    /// Why a host would refuse it.
    pub problems: Vec<String>,
}

/// Why a file is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Not WebAssembly, or cut off.
    #[error("not a WebAssembly module: {0}")]
    NotWasm(#[from] wasmparser::BinaryReaderError),
    /// It has no metadata.
    #[error(
        "the module has no custom section {METADATA_SECTION}: is it built with the SDK, with `plugin!` at the crate's root?"
    )]
    NoMetadata,
    /// Its metadata cannot be read.
    #[error("custom section {METADATA_SECTION}: {0}")]
    BadMetadata(#[from] serde_json::Error),
    /// It is larger than any host takes.
    #[error("the module has more than {SIZE_MAX} bytes, which is the most that a host inflates")]
    TooLarge,
    /// It cannot be inflated or compressed.
    #[error("Zstandard: {0}")]
    Zstd(#[source] std::io::Error),
}

impl Module {
    /// Reads the sections of a module; nothing of it is run.
    ///
    /// # Errors
    /// Where it is no WebAssembly, or has no readable metadata. What a host would refuse it for beside that is in
    /// [`Module::problems`].
    pub fn read(bytes: &[u8]) -> Result<Self, ModuleError> {
        if bytes.len() > SIZE_MAX {
            return Err(ModuleError::TooLarge);
        }
        let mut metadata = None;
        let (mut imports, mut exports, mut memory) = (Vec::new(), Vec::new(), 0);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::CustomSection(section) if section.name() == METADATA_SECTION => {
                    metadata = Some(serde_json::from_slice::<Metadata>(section.data())?);
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        imports.push(format!("{}#{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        exports.push(export?.name.to_owned());
                    }
                }
                Payload::MemorySection(section) => {
                    for described in section {
                        let described = described?;
                        memory = described.initial.saturating_mul(65_536);
                    }
                }
                _ => {}
            }
        }
        let metadata = metadata.ok_or(ModuleError::NoMetadata)?;
        exports.retain(|name| name.starts_with("bellhop:"));
        let problems = problems(&metadata, &imports, &exports);
        Ok(Self {
            size: bytes.len(),
            compressed: compress(bytes)?.len(),
            sha256: sha256(bytes),
            metadata,
            memory,
            imports,
            exports,
            problems,
        })
    }

    /// What it reads, as the metadata's names: `serviceLabels[tier]`, `session`.
    pub fn inputs(&self) -> Vec<String> {
        let Ok(serde_json::Value::Object(inputs)) = serde_json::to_value(&self.metadata.inputs) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, value) in inputs {
            match value {
                serde_json::Value::Bool(true) => out.push(name),
                serde_json::Value::Array(keys) => {
                    out.extend(keys.iter().filter_map(|key| Some(format!("{name}[{}]", key.as_str()?))));
                }
                serde_json::Value::Object(sets) => {
                    out.extend(
                        sets.iter().filter_map(|(set, at)| Some(format!("{set}[config {}]", at.as_str()?))),
                    );
                }
                _ => {}
            }
        }
        out
    }
}

/// The interface of a hook, up to its version.
fn interface(hook: Hook) -> &'static str {
    match hook {
        Hook::Address => "bellhop:policy-address/address@",
        Hook::Nodes => "bellhop:policy-nodes/nodes@",
        Hook::Route => "bellhop:policy-route/route@",
    }
}

fn problems(metadata: &Metadata, imports: &[String], exports: &[String]) -> Vec<String> {
    let foreign = imports.iter().filter(|import| !import.starts_with(OUR_IMPORTS));
    let mut problems: Vec<String> = foreign
        .map(|import| {
            format!("imports {import}, which no host provides; a policy has {OUR_IMPORTS}… and nothing else")
        })
        .collect();
    let exported: BTreeSet<Hook> = [Hook::Address, Hook::Nodes, Hook::Route]
        .into_iter()
        .filter(|hook| exports.iter().any(|export| export.starts_with(interface(*hook))))
        .collect();
    if metadata.hooks.is_empty() {
        problems.push("has no hook; a policy has at least one of Address, Nodes and Route".into());
    }
    for hook in metadata.hooks.symmetric_difference(&exported) {
        let (says, does) =
            if exported.contains(hook) { ("does not name", "exports") } else { ("names", "does not export") };
        problems.push(format!("its metadata {says} hook {hook}, and it {does} {}…", interface(*hook)));
    }
    problems
}

/// sha256 in 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A Zstandard frame, the same for the same bytes.
///
/// # Errors
/// When the library fails.
pub fn compress(bytes: &[u8]) -> Result<Vec<u8>, ModuleError> {
    zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(ModuleError::Zstd)
}

/// The module in a Zstandard frame, up to [`SIZE_MAX`] bytes; other bytes are returned as they are.
///
/// # Errors
/// Where the frame is broken or holds more.
pub fn inflate(bytes: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
    use std::io::Read;

    if !bytes.starts_with(&ZSTD_MAGIC) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    let mut reader = zstd::stream::read::Decoder::new(bytes.as_slice()).map_err(ModuleError::Zstd)?;
    reader.by_ref().take(SIZE_MAX as u64 + 1).read_to_end(&mut out).map_err(ModuleError::Zstd)?;
    if out.len() > SIZE_MAX { Err(ModuleError::TooLarge) } else { Ok(out) }
}
