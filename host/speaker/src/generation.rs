//! What a process knows of the one before it on the same node: the mark that makes a start a *restart* (RFC 4724 R bit).
//!
//! The mark is the kernel's boot ID in `<state>/nodes/<node>.boot`, written once the first announcement is out and
//! removed by a stop that withdrew. So a start counts as a restart only where the kernel that forwards is the same and
//! the routes were left standing.

use std::io;
use std::path::{Path, PathBuf};

/// The kernel's own name for this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The mark of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestartMark {
    path: PathBuf,
    boot_id: String,
}

impl RestartMark {
    /// The mark of `node` in the state directory.
    ///
    /// # Errors
    /// When the boot ID cannot be read or the folder cannot be made.
    pub fn new(state: &Path, node: &str) -> io::Result<Self> {
        let folder = state.join("nodes");
        std::fs::create_dir_all(&folder)?;
        let boot_id = std::fs::read_to_string(BOOT_ID)?;
        Ok(Self { path: folder.join(format!("{node}.boot")), boot_id: boot_id.trim().into() })
    }

    /// The kernel's name for this boot.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// True where an earlier process of this boot announced and did not withdraw.
    pub fn stands(&self) -> bool {
        std::fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == self.boot_id)
    }

    /// Sets the mark: complete or absent after any kill.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set(&self) -> io::Result<()> {
        let temporary = self.path.with_extension("boot.tmp");
        std::fs::write(&temporary, &self.boot_id)?;
        std::fs::rename(temporary, &self.path)
    }

    /// Removes the mark; one that is not there is fine.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_only_within_one_boot_and_until_it_is_cleared() {
        let state = tempfile::tempdir().unwrap();
        let mark = RestartMark::new(state.path(), "node-1").unwrap();
        assert!(!mark.stands());
        mark.set().unwrap();
        assert!(mark.stands());
        let after_reboot = RestartMark { boot_id: "another-boot".into(), ..mark.clone() };
        assert!(!after_reboot.stands());
        mark.clear().unwrap();
        assert!(!mark.stands());
        mark.clear().unwrap();
    }
}
