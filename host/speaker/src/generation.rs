//! What a process knows of the one before it on the same node: the mark that makes a start a *restart* (RFC 4724 R bit).
//!
//! The mark is the kernel's boot ID in `<state>/nodes/<node>.boot`, written once the first announcement is out and
//! removed by a stop that withdrew. So a start counts as a restart only where the kernel that forwards is the same and
//! the routes were left standing.
//!
//! A node may be a container itself (kind, k3d, LXC): it boots, its routes and kube-proxy's rules are gone, and the kernel's
//! boot ID is the machine's still. In a cluster a token in the run directory, which every boot finds empty, is therefore
//! part of the name of a boot ([`RestartMark::within`]).

use std::io;
use std::path::{Path, PathBuf};

/// The kernel's own name for this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A name that the kernel gives to nothing else.
const UNIQUE_ID: &str = "/proc/sys/kernel/random/uuid";

/// The token's file in the run directory.
const TOKEN: &str = "boot";

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

    /// The same mark, standing only as long as `run` keeps what is put there: a folder that every boot of the node finds
    /// empty, whatever the kernel says. The node's alone, and not removed between two processes.
    ///
    /// # Errors
    /// When the folder cannot be made, or its token neither be read nor written.
    pub fn within(self, run: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(run)?;
        let path = run.join(TOKEN);
        let token = match std::fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => token,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Nothing there, or what a kill in the middle of a write left.
            _ => {
                let token = std::fs::read_to_string(UNIQUE_ID)?;
                std::fs::write(&path, &token)?;
                token
            }
        };
        Ok(Self { boot_id: format!("{}/{}", self.boot_id, token.trim()), ..self })
    }

    /// The name of this boot: the kernel's, and within a run directory that of its token.
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

    #[test]
    fn a_mark_of_a_node_that_booted_under_a_kernel_that_did_not_stands_no_more() {
        let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let start =
            || RestartMark::new(state.path(), "node-1").unwrap().within(&run.path().join("bellhop")).unwrap();
        start().set().unwrap();
        assert!(start().stands());
        std::fs::remove_dir_all(run.path().join("bellhop")).unwrap();
        let booted = start();
        assert!(!booted.stands());
        booted.set().unwrap();
        assert!(start().stands());
    }
}
