//! Building the committed modules, and checking that they are what their sources say.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bellhop_cli::plugin::build::{self, Wanted};
use bellhop_cli::plugin::module::{self, Module};
use bellhop_cli::plugin::toolchain::{self, Toolchain};

use crate::handmade::{self, Handmade};
use crate::manifest::{self, Fixture, Kind};

/// A module that the compiler builds.
struct Source {
    name: &'static str,
    kind: Kind,
    what: &'static str,
}

const fn source(name: &'static str, kind: Kind, what: &'static str) -> Source {
    Source { name, kind, what }
}

/// Every module that is built: examples of `modules/`, and the policies in `plugins/`.
const SOURCES: &[Source] = &[
    source("good-address", Kind::Good, "hook address; each answer can be had by Service label `answer`"),
    source("good-nodes", Kind::Good, "hook nodes; each verdict can be had by Node label `verdict`"),
    source(
        "good-route",
        Kind::Good,
        "hook route with settings; each answer can be had by Service label `answer`",
    ),
    source("all-hooks", Kind::Good, "all hooks, and use-default for every question"),
    source(
        "refuses-config",
        Kind::Good,
        "settings with a rule between fields: refused where low is above high",
    ),
    source("address-by-label", Kind::Shipped, "plugins/address-by-label"),
    source("node-maintenance", Kind::Shipped, "plugins/node-maintenance"),
    source("peer-attributes", Kind::Shipped, "plugins/peer-attributes"),
    source("endless-loop", Kind::Hostile, "hook route never answers"),
    source("endless-configure", Kind::Hostile, "configure never ends"),
    source("memory-hog", Kind::Hostile, "takes all the memory that it can get"),
    source("deep-recursion", Kind::Hostile, "calls itself without end"),
    source("panics", Kind::Hostile, "panics with a message"),
    source("ten-thousand-communities", Kind::Hostile, "answers with 10,000 communities"),
    source(
        "address-outside",
        Kind::Hostile,
        "chooses addresses, candidates and pools that it was not offered",
    ),
    source("wrong-count", Kind::Hostile, "gives one verdict, whatever the number of nodes"),
    source("log-flood", Kind::Hostile, "logs 1,000 lines of 1,000 bytes, then answers"),
    source("huge-string", Kind::Hostile, "its error text is 8 MiB long"),
    source("self-test-fails", Kind::Hostile, "fails its own self-test"),
];

fn compile(root: &Path, toolchain: &Toolchain, source: &Source) -> Result<Vec<u8>> {
    let (dir, example): (PathBuf, _) = match source.kind {
        Kind::Shipped => (root.join("plugins").join(source.name), None),
        _ => (root.join("tests/guests/modules"), Some(source.name)),
    };
    let wanted = Wanted { example, ..Wanted::plugin(&dir) };
    Ok(build::build(toolchain, &wanted).with_context(|| format!("build {}", source.name))?.bytes)
}

fn toolchain(root: &Path) -> Option<Toolchain> {
    toolchain::find(root).ok()
}

/// Builds the modules whose name contains `filter`, and writes them and the manifest.
pub fn build(root: &Path, filter: Option<&str>) -> Result<()> {
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let toolchain = toolchain::find(root)?;
    let mut fixtures = manifest::read(root).unwrap_or_default();
    let all: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
    for source in SOURCES.iter().filter(|source| wanted(source.name)) {
        let bytes = compile(root, &toolchain, source)?;
        let fixture = Fixture {
            name: source.name.into(),
            file: format!("{}.wasm", source.name),
            kind: source.kind,
            what: source.what.into(),
            sha256: module::sha256(&bytes),
            size: bytes.len(),
            compiler: Some(toolchain.version.clone()),
        };
        store(root, &mut fixtures, fixture, &bytes)?;
    }
    let good =
        std::fs::read(manifest::folder(root).join("good-route.wasm")).context("read good-route.wasm")?;
    let handmade = handmade::all(&good)?;
    for module in handmade.iter().filter(|module| wanted(module.name)) {
        let stored = if module.compressed { module::compress(&module.bytes)? } else { module.bytes.clone() };
        store(root, &mut fixtures, described(module), &stored)?;
    }
    fixtures.retain(|known| {
        all.contains(&known.name.as_str()) || handmade.iter().any(|module| module.name == known.name)
    });
    manifest::write(root, fixtures)
}

fn described(module: &Handmade) -> Fixture {
    Fixture {
        name: module.name.into(),
        file: format!("{}.wasm{}", module.name, if module.compressed { ".zst" } else { "" }),
        kind: module.kind,
        what: module.what.into(),
        sha256: module::sha256(&module.bytes),
        size: module.bytes.len(),
        compiler: None,
    }
}

fn store(root: &Path, fixtures: &mut Vec<Fixture>, fixture: Fixture, stored: &[u8]) -> Result<()> {
    let path = manifest::folder(root).join(&fixture.file);
    std::fs::write(&path, stored).with_context(|| format!("write {}", path.display()))?;
    println!("{:<26}{:>9} bytes  {}", fixture.name, fixture.size, &fixture.sha256[..12]);
    fixtures.retain(|known| known.name != fixture.name);
    fixtures.push(fixture);
    Ok(())
}

/// Compares the files with the manifest, the handmade ones with what makes them, and the built ones with a rebuild:
/// byte by byte where the compiler is the one that built them, else by what they import, export and declare.
///
/// With `must_rebuild` a machine without a toolchain is an error.
pub fn check(root: &Path, must_rebuild: bool) -> Result<()> {
    let fixtures = manifest::read(root)?;
    let mut problems = stored_problems(root, &fixtures)?;
    match toolchain(root) {
        Some(toolchain) => {
            for source in SOURCES {
                problems.extend(rebuild_problem(root, &toolchain, source, &fixtures)?);
            }
        }
        None if must_rebuild => bail!("{}", toolchain::NoToolchain),
        None => println!("no toolchain for WebAssembly here: the modules are not rebuilt"),
    }
    if problems.is_empty() {
        println!("{} modules are as their sources and the manifest say", fixtures.len());
        return Ok(());
    }
    bail!("{}\nrun `cargo run -p bellhop-test-guests -- build`", problems.join("\n"))
}

/// What can be said without a compiler.
fn stored_problems(root: &Path, fixtures: &[Fixture]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for fixture in fixtures {
        let bytes = fixture.bytes(root)?;
        if module::sha256(&bytes) != fixture.sha256 || bytes.len() != fixture.size {
            problems.push(format!("{}: the file is not the one of the manifest", fixture.name));
        }
    }
    let known = |name: &str| fixtures.iter().find(|fixture| fixture.name == name);
    for source in SOURCES.iter().filter(|source| known(source.name).is_none()) {
        problems.push(format!("{}: not in the manifest", source.name));
    }
    let Some(good) = known("good-route") else { return Ok(problems) };
    for module in handmade::all(&good.bytes(root)?)? {
        if known(module.name) != Some(&described(&module)) {
            problems.push(format!("{}: not what makes it", module.name));
        }
    }
    Ok(problems)
}

/// Imports, exports and metadata: what must be equal whichever compiler built it.
fn contract(bytes: &[u8]) -> Result<Module> {
    let read = Module::read(bytes)?;
    Ok(Module { size: 0, compressed: 0, sha256: String::new(), ..read })
}

fn rebuild_problem(
    root: &Path,
    toolchain: &Toolchain,
    source: &Source,
    fixtures: &[Fixture],
) -> Result<Option<String>> {
    let Some(fixture) = fixtures.iter().find(|fixture| fixture.name == source.name) else { return Ok(None) };
    let (stored, built) = (fixture.bytes(root)?, compile(root, toolchain, source)?);
    if fixture.compiler.as_deref() == Some(toolchain.version.as_str()) {
        return Ok((stored != built).then(|| format!("{}: a rebuild gives other bytes", source.name)));
    }
    let differs = contract(&stored)? != contract(&built)?;
    Ok(differs.then(|| format!("{}: a rebuild imports, exports or declares something else", source.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn the_committed_modules_are_those_of_the_manifest() {
        let fixtures = manifest::read(&root()).unwrap();
        assert_eq!(stored_problems(&root(), &fixtures).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn no_file_lies_beside_the_manifest_that_it_does_not_name() {
        let fixtures = manifest::read(&root()).unwrap();
        for entry in std::fs::read_dir(manifest::folder(&root())).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == "manifest.json" || fixtures.iter().any(|fixture| fixture.file == name), "{name}");
        }
    }

    #[test]
    fn built_modules_have_no_problem_and_start_with_the_memory_that_the_host_keeps() {
        for fixture in manifest::read(&root()).unwrap().iter().filter(|fixture| fixture.compiler.is_some()) {
            let module = Module::read(&fixture.bytes(&root()).unwrap()).unwrap();
            assert_eq!(module.problems, Vec::<String>::new(), "{}", fixture.name);
            assert_eq!(module.memory, 256 * 1024, "{}", fixture.name);
            let hooks = module.metadata.self_tests.iter().map(|test| test.hook);
            assert!(hooks.into_iter().all(|hook| module.metadata.hooks.contains(&hook)), "{}", fixture.name);
        }
    }

    #[test]
    fn good_and_shipped_modules_test_themselves_unless_they_decide_nothing() {
        for fixture in manifest::read(&root()).unwrap().iter().filter(|fixture| fixture.kind == Kind::Shipped)
        {
            let module = Module::read(&fixture.bytes(&root()).unwrap()).unwrap();
            assert!(module.metadata.self_tests.len() >= 2, "{}", fixture.name);
        }
    }

    #[test]
    fn no_module_tells_where_it_was_built() {
        let here = root().canonicalize().unwrap();
        let here = here.to_str().unwrap().as_bytes();
        for fixture in manifest::read(&root()).unwrap() {
            let bytes = fixture.bytes(&root()).unwrap();
            assert!(!bytes.windows(here.len()).any(|window| window == here), "{}", fixture.name);
        }
    }
}
