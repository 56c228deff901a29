//! The files of one layer, and the tar file that they always give.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// Files by path (no slash in front), owned by root, all of the time 0. Parents come into being by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Adds a folder.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.put(path, Entry::Folder { mode });
    }

    /// Adds a file that all may read.
    pub(super) fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.put(path, Entry::File { mode: 0o644, bytes: bytes.into() });
    }

    /// Adds a file that all may read and run.
    pub(super) fn executable(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.put(path, Entry::File { mode: 0o755, bytes: bytes.into() });
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.put(path, Entry::Link { target: target.to_owned() });
    }

    /// Adds everything of another tree.
    pub(super) fn add(&mut self, other: &Tree) {
        self.entries.extend(other.entries.iter().map(|(path, entry)| (path.clone(), entry.clone())));
    }

    /// Whether some file or link, wherever it is, has this name.
    pub(super) fn has_file_named(&self, name: &str) -> bool {
        self.entries.iter().any(|(path, entry)| {
            !matches!(entry, Entry::Folder { .. })
                && Path::new(path).file_name().is_some_and(|last| last == name)
        })
    }

    fn put(&mut self, path: &str, entry: Entry) {
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Folder { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The tar file; a folder comes before what is in it, because the order is that of the paths.
    pub(super) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            let append = match entry {
                Entry::Folder { mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(*mode);
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
                }
                Entry::File { mode, bytes } => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())
                }
                Entry::Link { target } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)
                }
            };
            append.with_context(|| format!("put {path} into a layer"))?;
        }
        tar.into_inner().context("end a layer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_files_come_changes_no_byte() {
        let mut one = Tree::default();
        one.file("etc/b", "2");
        one.executable("usr/bin/a", "1");
        one.folder("tmp", 0o1777);
        let mut two = Tree::default();
        two.folder("tmp", 0o1777);
        two.executable("usr/bin/a", "1");
        two.file("etc/b", "2");
        assert_eq!(one.to_tar().unwrap(), two.to_tar().unwrap());
    }

    #[test]
    fn a_folder_stands_before_its_files_and_belongs_to_root_at_time_0() {
        let mut tree = Tree::default();
        tree.link("usr/bin/kubectl-bellhop", "bellhop");
        tree.folder("tmp", 0o1777);
        let bytes = tree.to_tar().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!(
                    (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
                    (0, 0, 0)
                );
                (entry.path().unwrap().display().to_string(), header.mode().unwrap())
            })
            .collect();
        let expected =
            [("tmp/", 0o1777), ("usr/", 0o755), ("usr/bin/", 0o755), ("usr/bin/kubectl-bellhop", 0o777)];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn folders_are_no_libraries() {
        let mut tree = Tree::default();
        tree.file("lib/x/libc.so.6", "");
        assert!(tree.has_file_named("libc.so.6"));
        assert!(!tree.has_file_named("x"));
    }
}
