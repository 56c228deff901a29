//! The rules about the source tree that documents state and the compiler does not check.
//!
//! | module | rule |
//! |---|---|
//! | [`cases`] | tests name cases of the catalogue, and the page about them is what they say |
//! | [`links`] | links of the documentation lead somewhere |
//! | [`manifests`] | host crates are private, described, and inherit the workspace's lints |
//! | [`reasons`] | every reason is explained to operators |
//! | [`unsafety`] | unsafe code only where it is named, each block with its reason |
//! | [`words`] | nothing half done is called done |
//!
//! Each check is a function from text to sentences, so that its tests break the rule on a fixture.

pub(crate) mod links;
pub(crate) mod manifests;
pub(crate) mod reasons;
pub(crate) mod unsafety;
pub(crate) mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cases;
use crate::metadata::Metadata;

/// One sentence for each rule that is broken somewhere in the tree.
pub(crate) fn broken(metadata: &Metadata) -> Result<Vec<String>> {
    let root = metadata.workspace_root.as_path();
    let mut broken = Vec::new();
    for package in metadata.ours() {
        let manifest = read(&package.manifest_path)?;
        broken.extend(manifests::broken(package, &package.place(root), &manifest));
        for file in package.roots() {
            broken.extend(manifests::undocumented(&place(file, root), &read(file)?));
            broken.extend(unsafety::unguarded(&package.name, &place(file, root), &read(file)?));
        }
    }
    for file in sources(root, &["rs"])? {
        broken.extend(unsafety::unreasoned(&place(&file, root), &read(&file)?));
    }
    for file in sources(root, &["rs", "toml", "md", "yaml", "yml", "sh", "wit"])? {
        broken.extend(words::broken(&place(&file, root), &read(&file)?));
    }
    let tree = |path: &Path| match root.join(path) {
        folder if folder.is_dir() => Some(String::new()),
        file => std::fs::read_to_string(file).ok(),
    };
    for file in sources(root, &["md"])? {
        broken.extend(links::broken(&place(&file, root), &read(&file)?, &tree));
    }
    let page = read(&root.join(reasons::PAGE))?;
    for (file, after) in reasons::SOURCES {
        broken.extend(reasons::broken(file, &read(&root.join(file))?, after, &page));
    }
    broken.extend(cases::broken(root)?);
    Ok(broken)
}

/// Reads a file whose path the error names.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// A path relative to the root, for messages.
pub(crate) fn place(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Every file under `root` whose name ends in one of `endings`, sorted; hidden folders and build output left out.
pub(crate) fn sources(root: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry.with_context(|| format!("read {}", folder.display()))?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry.file_type().with_context(|| format!("look at {}", path.display()))?;
            if kind.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if kind.is_file()
                && path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_in_folders_but_not_in_build_output_or_hidden_ones() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (folder, file) in [("a/b", "x.rs"), ("target/debug", "y.rs"), (".git", "z.rs"), ("a", "w.txt")] {
            std::fs::create_dir_all(root.path().join(folder)).expect("make a folder");
            std::fs::write(root.path().join(folder).join(file), "").expect("write a file");
        }
        let found = sources(root.path(), &["rs"]).expect("walk");
        assert_eq!(found, [root.path().join("a/b/x.rs")]);
    }
}
