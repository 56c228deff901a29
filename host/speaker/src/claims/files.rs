//! Claims as files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bellhop_core::objects::AddressClaim;

use super::manifest::claim_to_yaml;
use super::{ClaimStore, StoreError, WriterLock};
use bellhop_api::claim_name;

/// Name of the folder in the state directory.
const FOLDER: &str = "claims";

/// What temporary files begin with. The dot keeps readers of the folder from taking them for manifests.
const TEMPORARY: &str = ".claim-";

/// Claims as files in `<state>/claims`. Having one takes the [`WriterLock`]; readers need only the folder.
#[derive(Debug)]
pub struct ClaimFiles {
    folder: PathBuf,
    /// The folder itself, to flush its entries.
    entries: File,
    _lock: WriterLock,
    serial: u64,
}

impl ClaimFiles {
    /// The folder of claims in a state directory.
    pub fn folder(state: &Path) -> PathBuf {
        state.join(FOLDER)
    }

    /// Opens the folder for writing, creates it if need be, and removes temporary files that a writer before left.
    ///
    /// # Errors
    /// The folder cannot be made, read or cleaned.
    pub fn open(lock: WriterLock) -> io::Result<Self> {
        let folder = Self::folder(lock.state());
        fs::create_dir_all(&folder)?;
        // The folder's own entry must outlive a power failure too.
        File::open(lock.state())?.sync_all()?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path())?;
            }
        }
        let entries = File::open(&folder)?;
        Ok(Self { folder, entries, _lock: lock, serial: 0 })
    }

    fn path(&self, address: IpAddr) -> PathBuf {
        self.folder.join(format!("{}.yaml", claim_name(address)))
    }

    /// Writes a claim whole under a temporary name.
    fn stage(&mut self, claim: &AddressClaim) -> Result<Temporary, StoreError> {
        let address = claim.address;
        let text =
            claim_to_yaml(claim).map_err(|error| StoreError::Encode { address, text: error.to_string() })?;
        self.serial += 1;
        let path = self.folder.join(format!("{TEMPORARY}{}-{}", std::process::id(), self.serial));
        let temporary = Temporary(path);
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary.0)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(failed(address, "write", &temporary.0))?;
        Ok(temporary)
    }

    fn sync(&self, address: IpAddr) -> Result<(), StoreError> {
        self.entries.sync_all().map_err(failed(address, "flush the entries of", &self.folder))
    }
}

fn failed(address: IpAddr, operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { address, operation, place: path.display().to_string(), source }
}

/// A temporary file, removed when it goes out of scope.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already after a rename; what cannot be removed now is removed when the next writer starts.
        let _ = fs::remove_file(&self.0);
    }
}

impl ClaimStore for ClaimFiles {
    fn create(&mut self, claim: &AddressClaim) -> Result<(), StoreError> {
        let address = claim.address;
        let path = self.path(address);
        let temporary = self.stage(claim)?;
        match fs::hard_link(&temporary.0, &path) {
            Ok(()) => self.sync(address),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::Exists { address, place: path.display().to_string() })
            }
            Err(error) => Err(failed(address, "link", &path)(error)),
        }
    }

    fn update(&mut self, claim: &AddressClaim) -> Result<(), StoreError> {
        let address = claim.address;
        let path = self.path(address);
        if !path.try_exists().map_err(failed(address, "look for", &path))? {
            return Err(StoreError::Missing { address, place: path.display().to_string() });
        }
        let temporary = self.stage(claim)?;
        fs::rename(&temporary.0, &path).map_err(failed(address, "replace", &path))?;
        self.sync(address)
    }

    fn release(&mut self, address: IpAddr) -> Result<(), StoreError> {
        let path = self.path(address);
        match fs::remove_file(&path) {
            Ok(()) => self.sync(address),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(address, "remove", &path)(error)),
        }
    }
}
