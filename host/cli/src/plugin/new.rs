//! `bellhop plugin new`: a project that builds in an empty folder, with nothing to fetch.

use std::path::{Path, PathBuf};

use super::HookName;
use super::sdk::{FILES, TEMPLATE};

/// Longest name: it becomes the start of a ConfigMap's name.
const NAME_MAX: usize = 63;

/// Why no project was made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name cannot be a crate's and a ConfigMap's.
    #[error(
        "\"{0}\" is no name for a plugin: lower-case letters, digits and single - in at most {NAME_MAX} characters, a letter first, no - last"
    )]
    BadName(String),
    /// Something is there already.
    #[error("{} is there already; a new plugin gets a new folder", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Makes the project in `dir/NAME` and returns that folder.
///
/// # Errors
/// Where the name is none, the folder is there, or cannot be written.
pub fn create(dir: &Path, name: &str, hook: HookName) -> Result<PathBuf, NewError> {
    if !is_name(name) {
        return Err(NewError::BadName(name.into()));
    }
    let root = if dir == Path::new(".") { PathBuf::from(name) } else { dir.join(name) };
    if root.exists() {
        return Err(NewError::Exists(root));
    }
    for (path, content) in files(name, hook) {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(&root);
        std::fs::create_dir_all(folder)
            .map_err(|source| NewError::Write { path: folder.to_owned(), source })?;
        std::fs::write(&path, content).map_err(|source| NewError::Write { path, source })?;
    }
    Ok(root)
}

/// What to do with a new project.
pub(crate) fn next_steps(folder: &Path, name: &str) -> String {
    format!(
        "Made {folder}. Next:\n  cd {folder}\n  cargo test\n  bellhop plugin build\n  bellhop plugin pack {name}.wasm > policy.yaml\n",
        folder = folder.display()
    )
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// Every file of the project, by its path in it.
fn files(name: &str, hook: HookName) -> Vec<(String, Vec<u8>)> {
    let (hook, what) = match hook {
        HookName::Address => ("address", "which address a Service gets."),
        HookName::Nodes => ("nodes", "which nodes may announce a Service."),
        HookName::Route => ("route", "with which attributes a node announces an address to a peer."),
    };
    let fill = |file: &str| {
        let template = TEMPLATE.iter().find(|(path, _)| path.strip_prefix("template/") == Some(file));
        let text = template.map(|(_, bytes)| String::from_utf8_lossy(bytes)).unwrap_or_default();
        text.replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{what}}", what)
            .replace("{{version}}", env!("CARGO_PKG_VERSION"))
            .into_bytes()
    };
    let mut files = vec![
        ("Cargo.toml".into(), fill("Cargo.toml.in")),
        ("README.md".into(), fill("README.md.in")),
        (".gitignore".into(), fill("gitignore.in")),
        ("src/lib.rs".into(), fill(&format!("{hook}.rs.in"))),
        ("tests/decisions.rs".into(), fill(&format!("{hook}-test.rs.in"))),
        ("vendor/bellhop-policy/Cargo.toml".into(), fill("vendor.toml.in")),
    ];
    let vendored =
        FILES.iter().map(|(path, bytes)| (format!("vendor/bellhop-policy/{path}"), bytes.to_vec()));
    files.extend(vendored);
    files
}
