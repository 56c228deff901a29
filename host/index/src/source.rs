//! Manifest folders as a source: a thread that reads them whenever something changed.
//!
//! | task | owns | sends | ends |
//! |---|---|---|---|
//! | `manifests` (thread) | [`Folders`] and the watches | batches of deltas, on the bounded channel of the caller | when the receiver is gone, or [`ManifestSource`] is dropped |
//! | `notify`'s own thread | the inotify descriptor | "something changed", on a channel of depth 1: a second one says nothing new | with the watcher |
//!
//! Stopping is safe at any point: what was not sent is found again by the next reading, which begins from nothing.

mod folders;
mod scan;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use bellhop_core::Delta;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

pub use folders::{Folder, Folders, WhenEmpty};

use crate::convert::Options;
use scan::Identity;

/// How long nothing must happen before the folders are read: an editor's truncate, write and rename are one change.
const QUIET: Duration = Duration::from_millis(30);

/// How long changes that keep coming may put the reading off: edits are in force within 200 ms.
const QUIET_MAX: Duration = Duration::from_millis(100);

/// How often the folders are read without being told: symbolic links out of the folder and network file systems send no
/// events, and the kernel's event queue can overflow.
const RESCAN: Duration = Duration::from_secs(5);

/// The same while a folder cannot be read or watched.
const RESCAN_UNWELL: Duration = Duration::from_secs(1);

/// A thread that watches manifest folders and sends what changes.
///
/// The first whole reading ends with [`Delta::Synced`].
#[derive(Debug)]
pub struct ManifestSource {
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
}

impl ManifestSource {
    /// Starts watching. Each batch on `deltas` is one reading: a change of several files arrives whole.
    ///
    /// # Errors
    /// When the thread cannot be started. A folder that cannot be read or watched is no error here: it becomes a
    /// problem, and is tried again.
    pub fn watch(
        folders: Vec<Folder>,
        options: Options,
        deltas: mpsc::Sender<Vec<Delta>>,
    ) -> io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            watches: Watches::new(&folders, wake.clone()),
            folders: Folders::new(folders, options),
            woken,
            stop: stop.clone(),
            deltas,
        };
        thread::Builder::new().name("manifests".into()).spawn(move || worker.run())?;
        Ok(Self { stop, wake })
    }

    /// Reads the folders now, as after an event.
    pub fn rescan(&self) {
        // Full means that a reading is due anyway.
        let _ = self.wake.try_send(());
    }
}

impl Drop for ManifestSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.rescan();
    }
}

struct Worker {
    folders: Folders,
    watches: Watches,
    woken: Receiver<()>,
    stop: Arc<AtomicBool>,
    deltas: mpsc::Sender<Vec<Delta>>,
}

impl Worker {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            // Watch first, read then: what changes between the two is seen.
            let watched = self.watches.renew();
            let deltas = self.folders.poll();
            if !deltas.is_empty() && self.deltas.blocking_send(deltas).is_err() {
                return;
            }
            let well = watched && self.folders.is_well();
            match self.woken.recv_timeout(if well { RESCAN } else { RESCAN_UNWELL }) {
                Ok(()) => self.settle(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits until nothing has happened for a moment.
    fn settle(&self) {
        let since = Instant::now();
        while since.elapsed() < QUIET_MAX && self.woken.recv_timeout(QUIET).is_ok() {}
    }
}

/// The inotify watches on the folders.
struct Watches {
    watcher: Option<notify::RecommendedWatcher>,
    /// Each folder, and which directory was watched under its name.
    folders: Vec<(std::path::PathBuf, Option<Identity>)>,
    /// Whether the last attempt failed, so that a failure is logged once.
    failed: bool,
}

impl Watches {
    fn new(folders: &[Folder], wake: SyncSender<()>) -> Self {
        let handler = move |event: notify::Result<notify::Event>| {
            // Our own reading opens and closes files: only writers count.
            let reading = event.as_ref().is_ok_and(|event| {
                let close_after_write = EventKind::Access(AccessKind::Close(AccessMode::Write));
                event.kind.is_access() && event.kind != close_after_write
            });
            if !reading {
                let _ = wake.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(
                |error| tracing::warn!(%error, "manifest folders are read by the clock, without inotify"),
            )
            .ok();
        Self {
            watcher,
            folders: folders.iter().map(|folder| (folder.path.clone(), None)).collect(),
            failed: false,
        }
    }

    /// Watches every folder that is not watched, or is another directory by now; true when all are watched.
    fn renew(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let mut all = true;
        for (path, watched) in &mut self.folders {
            let found = scan::identity(path).ok();
            if found.is_some() && found == *watched {
                continue;
            }
            if watched.take().is_some() {
                // It fails where the directory is gone, and the watch with it.
                let _ = watcher.unwatch(path);
            }
            if found.is_none() {
                all = false;
                continue;
            }
            match watcher.watch(path, RecursiveMode::Recursive) {
                Ok(()) => *watched = found,
                Err(error) => {
                    all = false;
                    if !self.failed {
                        tracing::warn!(folder = %path.display(), %error, "cannot be watched; it is read by the clock");
                    }
                }
            }
        }
        self.failed = !all;
        all
    }
}

#[cfg(test)]
mod tests;
