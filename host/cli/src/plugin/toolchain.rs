//! Finding a Rust that can build for `wasm32-unknown-unknown`.
//!
//! | place | what is needed |
//! |---|---|
//! | rustup | the target: `rustup target add wasm32-unknown-unknown` |
//! | Debian | `apt-get install rustc-web cargo-web rust-web-src lld-19`: the standard library is built from its source |

use std::path::{Path, PathBuf};
use std::process::Command;

/// What modules are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A Rust that can build modules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// Set where the standard library has to be built, with the linker to use.
    build_std: Option<String>,
    /// What `rustc --version` says: modules are compared byte by byte only where this is equal.
    pub version: String,
    /// Folder of the toolchain.
    pub sysroot: PathBuf,
}

/// No toolchain.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Rust that builds for {TARGET}: install it with `rustup target add {TARGET}`, or on Debian with `apt-get \
     install rustc-web cargo-web rust-web-src lld-19`"
)]
pub struct NoToolchain;

/// The variables of a cargo that runs us; a cargo that we run finds its own.
const INHERITED: [&str; 7] = [
    "CARGO",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
];

/// The toolchain for the crate in `dir`: the one that rustup chooses there if it has the target, else Debian's.
///
/// # Errors
/// With what to install, where there is none.
pub fn find(dir: &Path) -> Result<Toolchain, NoToolchain> {
    rustup(dir).or_else(|| debian(Path::new("/usr/bin"))).ok_or(NoToolchain)
}

/// Takes [`INHERITED`] away from a command.
fn clean(command: &mut Command) {
    for name in INHERITED {
        command.env_remove(name);
    }
}

/// What `rustc` prints, without the line's end; `None` if it fails.
fn ask(rustc: &Path, dir: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(rustc);
    clean(&mut command);
    let output = command.args(arguments).current_dir(dir).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn rustup(dir: &Path) -> Option<Toolchain> {
    let (cargo, rustc) = (PathBuf::from("cargo"), PathBuf::from("rustc"));
    let libraries = PathBuf::from(ask(&rustc, dir, &["--print", "target-libdir", "--target", TARGET])?);
    let mut files = std::fs::read_dir(&libraries).ok()?;
    let has_std = |file: std::fs::DirEntry| file.file_name().to_string_lossy().starts_with("libstd-");
    if !files.any(|file| file.is_ok_and(has_std)) {
        return None;
    }
    Some(Toolchain {
        build_std: None,
        version: ask(&rustc, dir, &["--version"])?,
        sysroot: ask(&rustc, dir, &["--print", "sysroot"])?.into(),
        cargo,
        rustc,
    })
}

fn debian(bin: &Path) -> Option<Toolchain> {
    let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc"));
    if !cargo.is_file() || !rustc.is_file() {
        return None;
    }
    let sysroot = PathBuf::from(ask(&rustc, bin, &["--print", "sysroot"])?);
    if !sysroot.join("lib/rustlib/src/rust/library/std").is_dir() {
        return None;
    }
    let verbose = ask(&rustc, bin, &["-vV"])?;
    let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    let linker = linkers(llvm).into_iter().find(|name| bin.join(name).is_file())?;
    Some(Toolchain {
        build_std: Some(linker),
        version: ask(&rustc, bin, &["--version"])?,
        sysroot,
        cargo,
        rustc,
    })
}

/// Names of the WebAssembly linker, the best first: the one of the compiler's own LLVM.
fn linkers(llvm: Option<&str>) -> Vec<String> {
    let own = llvm.map(|major| format!("wasm-ld-{major}"));
    own.into_iter()
        .chain(["wasm-ld".into()])
        .chain((14..=30).rev().map(|major| format!("wasm-ld-{major}")))
        .collect()
}

impl Toolchain {
    /// A cargo command in `dir`.
    pub(crate) fn cargo(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        clean(&mut command);
        command.current_dir(dir);
        if let Some(linker) = &self.build_std {
            // Building the standard library is unstable; this says to a stable compiler that we know.
            command.env("RUSTC_BOOTSTRAP", "1").env("CARGO", &self.cargo).env("RUSTC", &self.rustc);
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }

    /// Arguments that `cargo build` needs beside those for a target.
    pub(crate) fn build_arguments(&self) -> &'static [&'static str] {
        if self.build_std.is_some() { &["-Zbuild-std=std,panic_abort"] } else { &[] }
    }

    /// One line: which compiler, and where its standard library is from.
    pub fn describe(&self) -> String {
        match &self.build_std {
            Some(linker) => format!("{} with {linker}, standard library from source", self.version),
            None => self.version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_of_the_compilers_own_llvm_comes_first() {
        assert_eq!(linkers(Some("19"))[..2], ["wasm-ld-19", "wasm-ld"]);
        assert_eq!(linkers(None)[0], "wasm-ld");
    }

    #[test]
    fn a_folder_without_a_compiler_is_no_toolchain() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(debian(folder.path()), None);
    }

    #[test]
    fn what_is_missing_is_said_in_one_line_that_can_be_typed() {
        let text = NoToolchain.to_string();
        assert!(!text.contains('\n'), "{text}");
        assert!(
            text.contains("rustup target add wasm32-unknown-unknown") && text.contains("apt-get install"),
            "{text}"
        );
    }
}
