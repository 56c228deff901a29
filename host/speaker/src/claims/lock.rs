//! One writer for a state directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the lock file in the state directory.
const LOCK_FILE: &str = "lock";

/// Why the lock could not be tried.
#[derive(Debug, thiserror::Error)]
#[error("writer lock {}: {operation}", path.display())]
pub struct LockError {
    path: PathBuf,
    operation: &'static str,
    #[source]
    source: io::Error,
}

/// The right to write into a state directory, held as an advisory lock (`flock(2)`) on a file in it.
///
/// The kernel lets go of it when the process ends in whatever way, so it is never stale. It holds between processes of
/// one machine, network namespaces or not, and must not be trusted on a network file system.
#[derive(Debug)]
pub struct WriterLock {
    state: PathBuf,
    _file: File,
}

impl WriterLock {
    /// Tries to become the writer of `state`, which is created if need be; `None` while another process is. Does not
    /// wait.
    ///
    /// # Errors
    /// The directory or the lock file cannot be made or opened, or the file system knows no locks.
    pub fn try_acquire(state: &Path) -> Result<Option<Self>, LockError> {
        let path = state.join(LOCK_FILE);
        let failed = |operation| {
            let path = path.clone();
            move |source| LockError { path, operation, source }
        };
        fs::create_dir_all(state).map_err(failed("create its directory"))?;
        // Never truncated or removed: whoever waits for the lock must wait on the same file.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { state: state.to_owned(), _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock")(source)),
        }
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }
}
