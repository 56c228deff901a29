//! Folders of manifests, read by and by into an [`Index`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bellhop_api::Reason;
use bellhop_core::{Delta, ObjectRef, Problem};

use super::scan::{self, Found, Identity, Scan, Signature};
use crate::convert::Options;
use crate::document::FILE_MAX_BYTES;
use crate::index::{Batch, Index};

/// Most files named in a folder's problems.
const FAILURES_MAX: usize = 8;

/// A folder of manifests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// What it means when it has no manifest any more.
    pub when_empty: WhenEmpty,
}

impl Folder {
    /// A folder that people and their tools write: suddenly empty, it changes nothing.
    pub fn manifests(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), when_empty: WhenEmpty::Hold }
    }

    /// A folder that Bellhop itself writes, such as that of the claims: the last file may go.
    pub fn own(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), when_empty: WhenEmpty::Accept }
    }
}

/// What it means when a folder has no manifest any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenEmpty {
    /// A mistake, or a disk that is not mounted: everything stays as it is, and a problem says so.
    Hold,
    /// That all objects are gone, if it is still the same directory.
    Accept,
}

/// Folders of manifests, read by and by into an [`Index`].
#[derive(Debug)]
pub struct Folders {
    folders: Vec<State>,
    index: Index,
    synced: bool,
}

#[derive(Debug)]
struct State {
    folder: Folder,
    name: ObjectRef,
    /// The files read, and what they looked like then.
    files: BTreeMap<String, Option<Signature>>,
    /// The directory that they were in.
    identity: Option<Identity>,
    problems: Vec<Problem>,
    /// Whether the folder could be read the last time.
    readable: bool,
}

impl Folders {
    /// Folders that are not read yet.
    pub fn new(folders: Vec<Folder>, options: Options) -> Self {
        let state = |folder: Folder| State {
            name: ObjectRef::cluster("Folder", folder.path.to_string_lossy().as_ref()),
            folder,
            files: BTreeMap::new(),
            identity: None,
            problems: Vec::new(),
            readable: false,
        };
        Self { folders: folders.into_iter().map(state).collect(), index: Index::new(options), synced: false }
    }

    /// Reads what changed since the last time. After the first time that every folder could be read, the deltas end with
    /// [`Delta::Synced`].
    pub fn poll(&mut self) -> Vec<Delta> {
        let mut batch = self.index.batch();
        let mut changed = Vec::new();
        for state in &mut self.folders {
            let before = std::mem::take(&mut state.problems);
            state.poll(&mut batch);
            if state.problems != before {
                changed.push(Delta::Problems(state.name.clone(), state.problems.clone()));
            }
        }
        let mut deltas = batch.deltas();
        deltas.extend(changed);
        if !self.synced && self.folders.iter().all(|state| state.readable) {
            self.synced = true;
            deltas.push(Delta::Synced);
        }
        deltas
    }

    /// True when every folder could be read the last time, and nothing is held.
    pub fn is_well(&self) -> bool {
        self.folders.iter().all(|state| state.readable && state.problems.is_empty())
    }

    /// What is in force.
    pub fn index(&self) -> &Index {
        &self.index
    }
}

impl State {
    fn poll(&mut self, batch: &mut Batch<'_>) {
        match scan::scan(&self.folder.path) {
            Ok(scan) => {
                self.readable = true;
                if scan.files.is_empty() && !self.files.is_empty() && !self.may_be_empty(&scan) {
                    let message = format!(
                        "has no manifest any more; the objects of its {} files stay in force until it has one",
                        self.files.len()
                    );
                    self.problem("", message);
                    return;
                }
                self.take(scan, batch);
            }
            Err(error) => {
                self.readable = false;
                let message = match self.files.len() {
                    0 => format!("cannot be read: {error}"),
                    files => {
                        format!("cannot be read: {error}; the objects of its {files} files stay in force")
                    }
                };
                self.problem("", message);
            }
        }
    }

    fn may_be_empty(&self, scan: &Scan) -> bool {
        self.folder.when_empty == WhenEmpty::Accept
            && self.identity == Some(scan.identity)
            && scan.failed.is_empty()
    }

    fn problem(&mut self, value: &str, message: String) {
        self.problems.push(Problem::new(self.name.clone(), Reason::Unreadable.as_str(), "", value, message));
    }

    fn take(&mut self, scan: Scan, batch: &mut Batch<'_>) {
        self.identity = Some(scan.identity);
        let below_failed = |file: &str| scan.failed.iter().any(|(path, _)| Path::new(file).starts_with(path));
        self.files.retain(|file, _| {
            let stays = scan.files.contains_key(file) || below_failed(file);
            if !stays {
                batch.delete(file);
            }
            stays
        });
        let now = SystemTime::now();
        for (file, found) in scan.files {
            let known = self.files.get(&file).copied().flatten();
            if known != Some(found.signature) {
                let read = read(&file, &found, batch);
                self.files
                    .insert(file, read.then_some(found.signature).filter(|found| found.is_settled(now)));
            }
        }
        for (path, error) in scan.failed.into_iter().take(FAILURES_MAX) {
            self.problem(
                &path.to_string_lossy(),
                format!("cannot be read: {error}; its objects stay in force"),
            );
        }
    }
}

/// Reads a file into the batch; true when it could be read.
fn read(file: &str, found: &Found, batch: &mut Batch<'_>) -> bool {
    let too_large =
        format!("is more than a manifest may have, {FILE_MAX_BYTES} bytes; split it into several files");
    if found.signature.size > FILE_MAX_BYTES as u64 {
        batch.refuse(file, Reason::TooLarge, &format!("{} bytes", found.signature.size), too_large);
        // Whatever it holds, it is not read again until it changes.
        return true;
    }
    match content(&found.path) {
        Ok(Some(content)) => {
            batch.apply(file, &content);
            true
        }
        Ok(None) => {
            batch.refuse(file, Reason::TooLarge, &format!("more than {FILE_MAX_BYTES} bytes"), too_large);
            false
        }
        // Gone since it was found, perhaps with its folder: the next look says which.
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            batch.refuse(
                file,
                Reason::Unreadable,
                "",
                format!("cannot be read: {error}; its objects stay in force"),
            );
            false
        }
    }
}

/// The content of a file; `None` where it grew beyond the bound since it was looked at.
fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    File::open(path)?.take(FILE_MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok((content.len() <= FILE_MAX_BYTES).then_some(content))
}
