//! `make image`: the OCI image of Bellhop, made without a container engine.
//!
//! ```text
//! apt-get download ─► packages ─┐ chosen files        ┌─► base layer ───┐
//!                               ├────────────► trees ─┤                 ├─► layout, one tar file
//! cargo build ─► two programs ──┘ strip, NEEDED       └─► program layer ┘   `ctr images import`
//! ```
//!
//! What is in it: glibc's loader and the libraries that the two programs name, libgcc, CA certificates, the programs,
//! and the few files of `/etc` that name resolution and tools for looking at images want. No shell, no package manager.
//! The same packages and programs give the same bytes: order, times, owners and compression are fixed. The names,
//! versions and digests of the packages stand in the image's labels and in a list beside it.

mod debian;
mod layout;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::artefacts::{Artefacts, build_programs};
use crate::step::Session;
use tree::Tree;

/// Name of the image unless `--name` gives another; the chart's default.
const NAME: &str = "localhost/bellhop:dev";

/// What `/usr/bin` gets, all stripped of debug information.
const PROGRAMS: &[&str] = &["bellhop", "bellhop-compiler"];

/// User and group of pods that need no privilege; the speaker's pod asks for root, because capabilities are given to
/// root only.
const NOBODY: u32 = 65532;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    release: bool,
    name: String,
    programs: Option<PathBuf>,
    out: Option<PathBuf>,
}

impl Options {
    fn parse(args: &[&str]) -> Result<Options> {
        let mut options = Options { release: false, name: NAME.to_owned(), programs: None, out: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match *arg {
                "--release" => options.release = true,
                "--name" => options.name = (*value()?).to_owned(),
                "--programs" => options.programs = Some(PathBuf::from(value()?)),
                "--out" => options.out = Some(PathBuf::from(value()?)),
                other => {
                    bail!("image has no option {other:?}; there are --release, --name, --programs and --out")
                }
            }
        }
        tag(&options.name)?;
        Ok(options)
    }
}

/// The tag of a name; a name without one is refused, because importing it gives an image that no pod can name.
fn tag(name: &str) -> Result<&str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((image, tag)) if !image.is_empty() && !tag.is_empty() && !name.contains(char::is_whitespace) => {
            Ok(tag)
        }
        _ => bail!("--name {name:?}: an image is named as localhost/bellhop:dev, with a tag"),
    }
}

/// Where the image is unless `--out` says otherwise.
pub(crate) fn file(session: &Session) -> PathBuf {
    session.metadata.target_directory.join("image/bellhop.tar")
}

/// Builds the programs unless they were given, then the image; prints where it is and its digest.
pub(crate) fn run(args: &[&str]) -> Result<ExitCode> {
    let options = Options::parse(args)?;
    let mut session = Session::new()?;
    let folder = session.metadata.target_directory.join("image");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => {
            build_programs(&mut session, options.release)?;
            Artefacts::of(&session, options.release).programs
        }
    };
    let packages = debian::fetch(&mut session, &folder.join("packages"))?;
    let programs = PROGRAMS
        .iter()
        .map(|name| stripped(&mut session, &programs.join(name), &folder.join(name)))
        .collect::<Result<Vec<_>>>()?;

    let base = base(&packages)?;
    require_libraries(&base, &programs)?;
    let image = layout::Image {
        name: &options.name,
        tag: tag(&options.name)?,
        version: env!("CARGO_PKG_VERSION"),
        architecture: debian::go_architecture(&packages.architecture)?,
        labels: packages.labels(),
        layers: vec![base.to_tar()?, program_tree(&programs)?.to_tar()?],
    };
    let (bytes, digest) = image.to_tar()?;
    let out = options.out.unwrap_or_else(|| file(&session));
    std::fs::write(&out, &bytes).with_context(|| format!("write {}", out.display()))?;
    let list = out.with_extension("packages.txt");
    std::fs::write(&list, packages.list()).with_context(|| format!("write {}", list.display()))?;
    println!(
        "{}\n{}@{digest}\n{:.1} MiB",
        out.display(),
        options.name,
        bytes.len() as f64 / f64::from(1 << 20)
    );
    Ok(ExitCode::SUCCESS)
}

/// Hexadecimal SHA-256.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A program without debug information. Its symbol table stays, for the names in a panic's backtrace.
struct Program {
    name: String,
    bytes: Vec<u8>,
    /// Names of the libraries that it must find (`DT_NEEDED`).
    needs: BTreeSet<String>,
}

fn stripped(session: &mut Session, from: &Path, to: &Path) -> Result<Program> {
    let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
    session.run(Command::new("strip").args(["--strip-debug", "-o"]).arg(to).arg(from))?;
    let mut needs = BTreeSet::new();
    let status = session.run_with(Command::new("readelf").arg("--dynamic").arg(to), |line| {
        needs.extend(needed(line).map(str::to_owned));
        false
    })?;
    if !status.success() {
        bail!("readelf cannot read {}", to.display());
    }
    let bytes = std::fs::read(to).with_context(|| format!("read {}", to.display()))?;
    Ok(Program { name, bytes, needs })
}

/// The library in a line of `readelf --dynamic`: ` 0x…01 (NEEDED)  Shared library: [libc.so.6]`.
fn needed(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("(NEEDED)")?;
    rest.split_once('[')?.1.split_once(']').map(|(name, _)| name)
}

/// Refuses an image whose programs could not start.
fn require_libraries(base: &Tree, programs: &[Program]) -> Result<()> {
    for program in programs {
        for library in &program.needs {
            if !base.has_file_named(library) {
                bail!(
                    "{} needs {library}, which no package of the image brings (xtask/src/image/debian.rs)",
                    program.name
                );
            }
        }
    }
    Ok(())
}

/// Everything that is not ours.
fn base(packages: &debian::Packages) -> Result<Tree> {
    let mut tree = Tree::default();
    packages.add_to(&mut tree)?;
    tree.folder("tmp", 0o1777);
    tree.file(
        "etc/passwd",
        format!("root:x:0:0:root:/:/nonexistent\nbellhop:x:{NOBODY}:{NOBODY}:bellhop:/:/nonexistent\n"),
    );
    tree.file("etc/group", format!("root:x:0:\nbellhop:x:{NOBODY}:\n"));
    // Without it glibc would ask `dns [!UNAVAIL=return] files`, and /etc/hosts would count for nothing.
    tree.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    Ok(tree)
}

/// The programs, and the folders that a speaker's pod mounts from its node.
fn program_tree(programs: &[Program]) -> Result<Tree> {
    let mut tree = Tree::default();
    for program in programs {
        tree.executable(&format!("usr/bin/{}", program.name), program.bytes.clone());
    }
    tree.link("usr/bin/kubectl-bellhop", "bellhop");
    tree.folder("var/lib/bellhop", 0o755);
    tree.folder("run/bellhop", 0o755);
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_needs_a_name_with_a_tag() {
        assert_eq!(tag("localhost/bellhop:dev").unwrap(), "dev");
        assert_eq!(tag("localhost:5000/x/bellhop:1.2").unwrap(), "1.2");
        for name in ["localhost/bellhop", "localhost:5000/bellhop", "bellhop:", ":dev", "a b:c"] {
            assert!(tag(name).unwrap_err().to_string().contains("with a tag"), "{name}");
        }
    }

    #[test]
    fn an_option_that_does_not_exist_is_answered_with_those_that_do() {
        let error = Options::parse(&["--relase"]).unwrap_err().to_string();
        assert!(error.contains("--relase") && error.contains("--release"), "{error}");
        assert!(Options::parse(&["--name"]).unwrap_err().to_string().contains("--name needs a value"));
    }

    #[test]
    fn a_program_whose_library_is_not_in_the_image_is_refused() {
        let line = " 0x0000000000000001 (NEEDED)             Shared library: [libssl.so.3]";
        let needs = needed(line).map(str::to_owned).into_iter().collect();
        let program = Program { name: "bellhop".into(), bytes: Vec::new(), needs };
        let mut base = Tree::default();
        base.file("lib/libc.so.6", "");
        let error = require_libraries(&base, std::slice::from_ref(&program)).unwrap_err().to_string();
        assert!(error.starts_with("bellhop needs libssl.so.3"), "{error}");
        base.file("lib/libssl.so.3", "");
        assert!(require_libraries(&base, &[program]).is_ok());
    }
}
