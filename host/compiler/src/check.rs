//! What a module must be before Cranelift sees it: small enough to compile, of the contract, and nothing beside.

use std::collections::BTreeSet;

use bellhop_core::objects::Hook;
use bellhop_policy_engine::guest::Metadata;
use bellhop_sandbox::engine::interface;
use bellhop_sandbox::{Checks, Refusal, engine, limits};
use wasmparser::{Encoding, FunctionBody, Parser, Payload, TypeRef, Validator, WasmFeatures};

use crate::refusal::Refused;

/// Custom section with the metadata.
const METADATA_SECTION: &str = "bellhop:policy";

/// First octets of native code that wasmtime wrote: an ELF file.
const ELF: [u8; 4] = *b"\x7fELF";

/// A page of linear memory.
const PAGE: u64 = 64 << 10;

/// Interfaces that a module may import.
const IMPORTS: [&str; 2] = [interface::HOST, interface::TYPES];

/// What the bytes are, in one pass over them.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// A component, not a core module.
    pub(crate) component: bool,
    /// Contents of each metadata section, at any depth.
    metadata: Vec<Vec<u8>>,
    /// Imports of the outermost module or component: its own name for each, and what it is of.
    imports: Vec<(String, Option<String>)>,
    /// Names exported by the outermost module or component.
    exports: Vec<String>,
    functions: u64,
    body_locals: u64,
    memories: u64,
}

impl Survey {
    /// Reads `bytes` and refuses what is malformed, too large or too complex.
    pub(crate) fn of(bytes: &[u8], checks: &Checks) -> Result<Self, Refused> {
        if bytes.starts_with(&ELF) {
            return Err(Refused::checked(
                Refusal::Precompiled,
                "the module is native code, which is never taken; the .wasm file that it was made of is right",
            ));
        }
        if bytes.is_empty() {
            return Err(Refused::checked(
                Refusal::Malformed,
                "the module is empty; WebAssembly, raw or compressed by zstd, is right",
            ));
        }
        if !bytes.starts_with(b"\0asm") {
            return Err(Refused::checked(
                Refusal::Malformed,
                format!(
                    "the module does not begin as WebAssembly does (00 61 73 6d) nor as zstd does (28 b5 2f fd), \
                     but with {}",
                    hex(&bytes[..bytes.len().min(4)])
                ),
            ));
        }
        let mut survey = Self::default();
        survey.read(bytes, checks)?;
        Validator::new_with_features(features()).validate_all(bytes).map_err(|error| malformed(&error))?;
        Ok(survey)
    }

    fn read(&mut self, bytes: &[u8], checks: &Checks) -> Result<(), Refused> {
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(|error| malformed(&error))? {
                Payload::Version { encoding, .. } => {
                    if depth == 0 {
                        self.component = encoding == Encoding::Component;
                    }
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                Payload::CodeSectionEntry(body) => self.function(&body, checks)?,
                Payload::CustomSection(section) if section.name() == METADATA_SECTION => {
                    self.metadata.push(section.data().to_vec());
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        self.memory(memory.map_err(|error| malformed(&error))?.initial)?;
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        let initial = table.map_err(|error| malformed(&error))?.ty.initial;
                        if initial > limits::TABLE_ELEMENTS as u64 {
                            let message = format!(
                                "a table begins with {initial} elements; at most {} are taken",
                                limits::TABLE_ELEMENTS
                            );
                            return Err(Refused::checked(Refusal::TooLarge, message));
                        }
                    }
                }
                Payload::ImportSection(section) if depth == 1 => {
                    for import in section.into_imports() {
                        let import = import.map_err(|error| malformed(&error))?;
                        if let TypeRef::Memory(memory) = import.ty {
                            self.memory(memory.initial)?;
                        }
                        self.imports.push((import.name.to_owned(), Some(import.module.to_owned())));
                    }
                }
                Payload::ExportSection(section) if depth == 1 => {
                    for export in section {
                        self.exports.push(export.map_err(|error| malformed(&error))?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        self.imports
                            .push((import.map_err(|error| malformed(&error))?.name.name.to_owned(), None));
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        self.exports.push(export.map_err(|error| malformed(&error))?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn memory(&mut self, pages: u64) -> Result<(), Refused> {
        self.memories += 1;
        if self.memories > 1 {
            return Err(Refused::checked(
                Refusal::Contract,
                "the module has more than one memory; one is right",
            ));
        }
        let bytes = pages.saturating_mul(PAGE);
        if bytes > limits::MEMORY_MAX {
            let message = format!(
                "the module begins with {bytes} bytes of memory; at most {} are taken",
                limits::MEMORY_MAX
            );
            return Err(Refused::checked(Refusal::TooLarge, message));
        }
        Ok(())
    }

    /// Holds one function, and all until it, to the bounds of what compiling may cost.
    fn function(&mut self, body: &FunctionBody<'_>, checks: &Checks) -> Result<(), Refused> {
        let complex = |message: String| Err(Refused::checked(Refusal::TooComplex, message));
        let index = self.functions;
        self.functions += 1;
        if self.functions > checks.functions {
            return complex(format!(
                "the module has more than {} functions, the most that are taken",
                checks.functions
            ));
        }
        let bytes = body.range().len() as u64;
        if bytes > checks.body_bytes {
            return complex(format!(
                "function {index} of the module's code has a body of {bytes} bytes; at most {} are taken",
                checks.body_bytes
            ));
        }
        let mut locals = 0_u64;
        for group in body.get_locals_reader().map_err(|error| malformed(&error))? {
            locals += u64::from(group.map_err(|error| malformed(&error))?.0);
        }
        if locals > checks.locals {
            return complex(format!(
                "function {index} of the module's code has {locals} locals; at most {} are taken",
                checks.locals
            ));
        }
        self.body_locals = self.body_locals.saturating_add(bytes.saturating_mul(locals.max(1)));
        if self.body_locals > checks.body_locals {
            return complex(format!(
                "bytes of body times locals, summed over the module's functions, are more than {}: the module would \
                 cost too much to compile",
                checks.body_locals
            ));
        }
        Ok(())
    }

    /// The metadata: one section, of valid JSON, in the form of the contract.
    pub(crate) fn metadata(&self) -> Result<Metadata, Refused> {
        let wrong = |message: String| Refused::checked(Refusal::Metadata, message);
        let [section] = self.metadata.as_slice() else {
            return Err(wrong(format!(
                "the module has {} custom sections {METADATA_SECTION}; one, as the SDK's plugin! macro writes it, is \
                 right",
                self.metadata.len()
            )));
        };
        serde_json::from_slice(section)
            .map_err(|error| wrong(format!("the custom section {METADATA_SECTION} is wrong: {error}")))
    }

    /// Refuses imports that the contract does not have, naming the first.
    pub(crate) fn check_imports(&self) -> Result<(), Refused> {
        for (name, module) in &self.imports {
            let of = module.as_deref().unwrap_or(name);
            if IMPORTS.iter().any(|known| compatible(of, known)) {
                continue;
            }
            let what = match module {
                Some(module) => format!("\"{name}\" from \"{module}\""),
                None => format!("\"{name}\""),
            };
            let why = if of.starts_with("bellhop:") {
                "which this version of Bellhop does not provide"
            } else {
                "which is not part of the contract: policies have no clock, no files, no network"
            };
            return Err(Refused::checked(
                Refusal::ForeignImport,
                format!("the module imports {what}, {why}; only {} may be imported", interface::HOST),
            ));
        }
        Ok(())
    }

    /// The hooks of a component, which must be those of its metadata and one at least.
    pub(crate) fn hooks(&self, metadata: &Metadata) -> Result<BTreeSet<Hook>, Refused> {
        let wrong = |message: String| Err(Refused::checked(Refusal::Contract, message));
        let exports = |interface: &str| self.exports.iter().any(|export| compatible(export, interface));
        let hooks: BTreeSet<Hook> =
            HOOKS.iter().filter(|(_, interface)| exports(interface)).map(|(hook, _)| *hook).collect();
        if hooks.is_empty() {
            let known: Vec<&str> = HOOKS.iter().map(|(_, interface)| *interface).collect();
            return wrong(format!(
                "the module exports no hook; one or more of {} is right",
                known.join(", ")
            ));
        }
        if hooks != metadata.hooks {
            return wrong(format!(
                "the module exports the hooks {}, but its metadata names {}",
                list(&hooks),
                list(&metadata.hooks)
            ));
        }
        if !exports(interface::LIFECYCLE) {
            return wrong(format!("the module exports no {}", interface::LIFECYCLE));
        }
        Ok(hooks)
    }
}

/// Hooks and the interfaces that they are.
const HOOKS: [(Hook, &str); 3] =
    [(Hook::Address, interface::ADDRESS), (Hook::Nodes, interface::NODES), (Hook::Route, interface::ROUTE)];

/// Begins the names of interfaces in core modules of the newer naming scheme (`wit-component`'s `cm32p2`), which write
/// the versions of interfaces without what does not matter to compatibility.
const STANDARD_NAMES: &str = "cm32p2|";

/// True where `name` is `known` or another compatible release of it.
fn compatible(name: &str, known: &str) -> bool {
    let name = name.strip_prefix(STANDARD_NAMES).unwrap_or(name);
    match (name.split_once('@'), known.split_once('@')) {
        (Some((name, version)), Some((known, known_version))) => {
            name == known && compatibility(version) == compatibility(known_version)
        }
        _ => false,
    }
}

/// The part of a version that two compatible releases share: below 1.0 the first two numbers, else the first.
fn compatibility(version: &str) -> &str {
    let end = version.match_indices('.').nth(usize::from(version.starts_with("0."))).map(|(index, _)| index);
    &version[..end.unwrap_or(version.len())]
}

/// WebAssembly as policies may use it, for the validator.
fn features() -> WasmFeatures {
    WasmFeatures::default() & !engine::features_off()
}

fn malformed(error: &wasmparser::BinaryReaderError) -> Refused {
    Refused::checked(Refusal::Malformed, format!("the module is not valid WebAssembly: {error}"))
}

fn list(hooks: &BTreeSet<Hook>) -> String {
    let names: Vec<String> = hooks.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_webassembly_is_refused_naming_its_first_bytes_or_that_there_are_none() {
        for (bytes, said) in [
            (&b""[..], "the module is empty"),
            (b"#!", "but with 23 21"),
            (b"<html>", "but with 3c 68 74 6d"),
            (b"\x7fELF", "native code"),
        ] {
            let refused = Survey::of(bytes, &Checks::default()).unwrap_err();
            assert!(refused.message.contains(said) && !refused.message.contains("with ;"), "{refused}");
        }
    }

    #[test]
    fn another_patch_release_of_an_interface_is_compatible_and_another_minor_one_is_not() {
        assert!(compatible("a:b/c@0.1.7", "a:b/c@0.1.0"));
        assert!(compatible("cm32p2|a:b/c@0.1", "a:b/c@0.1.0"));
        assert!(compatible("a:b/c@1.7.0", "a:b/c@1.0.0"));
        assert!(!compatible("a:b/c@2.0.0", "a:b/c@1.0.0"));
        assert!(!compatible("a:b/c@0.2.0", "a:b/c@0.1.0"));
        assert!(!compatible("a:b/d@0.1.0", "a:b/c@0.1.0"));
        assert!(!compatible("a:b/c", "a:b/c@0.1.0"));
    }
}
