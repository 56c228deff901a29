//! Walks a folder: which manifests are there, and whether each may have changed since it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Deepest folder under the root.
const DEPTH_MAX: usize = 16;

/// Most manifests in a folder: every one costs a `stat` per reading.
pub(super) const FILES_MAX: usize = 50_000;

/// How old a change must be before the times of a file can prove that nothing changed since: two writes within one tick
/// of the kernel's clock have the same time (git calls such a file racily clean).
const TICK: Duration = Duration::from_millis(50);

/// Device and inode of a directory.
pub(super) type Identity = (u64, u64);

/// Which directory a path is.
pub(super) fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Signature {
    identity: Identity,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// True when the last change is so long ago that a later one would show.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let Ok(seconds) = u64::try_from(seconds) else { return false };
        let changed = Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or_default());
        now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|now| now > changed + TICK)
    }
}

/// A manifest that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) signature: Signature,
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) identity: Identity,
    /// Manifests by path.
    pub(super) files: BTreeMap<String, Found>,
    /// Files and folders that could not be looked at.
    pub(super) failed: Vec<(PathBuf, io::Error)>,
}

/// Walks a folder. Names that begin with a dot are skipped: editors' and our own temporary files, and the directories
/// behind a ConfigMap volume, whose files are found through the links beside them.
///
/// # Errors
/// When the folder itself cannot be read, or holds more than [`FILES_MAX`] manifests.
pub(super) fn scan(root: &Path) -> io::Result<Scan> {
    let mut scan = Scan { identity: identity(root)?, files: BTreeMap::new(), failed: Vec::new() };
    let mut seen = BTreeSet::from([scan.identity]);
    let mut folders = vec![(root.to_owned(), fs::read_dir(root)?, 0)];
    while let Some((folder, entries, depth)) = folders.pop() {
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) if depth == 0 => return Err(error),
                Err(error) => {
                    scan.failed.push((folder.clone(), error));
                    break;
                }
            };
            if path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                // Gone since it was listed; a link that leads nowhere is another matter.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => continue,
                Err(error) => {
                    scan.failed.push((path, error));
                    continue;
                }
            };
            if metadata.is_dir() {
                if depth < DEPTH_MAX && seen.insert((metadata.dev(), metadata.ino())) {
                    match fs::read_dir(&path) {
                        Ok(entries) => folders.push((path, entries, depth + 1)),
                        Err(error) => scan.failed.push((path, error)),
                    }
                }
            } else if metadata.is_file() && is_manifest(&path) {
                if scan.files.len() == FILES_MAX {
                    return Err(io::Error::other(format!("more than {FILES_MAX} manifests in one folder")));
                }
                let name = path.to_string_lossy().into_owned();
                scan.files.insert(name, Found { path, signature: Signature::of(&metadata) });
            }
        }
    }
    Ok(scan)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}
