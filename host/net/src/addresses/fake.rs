//! Binding in memory, with failures on demand, for tests of whoever binds.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{AddressBinder, BindError, Synced};

/// A host in memory.
#[derive(Clone, Debug, Default)]
pub struct FakeBinder {
    /// What is bound.
    pub bound: BTreeSet<IpAddr>,
    /// Addresses that cannot be bound or unbound.
    pub broken: BTreeSet<IpAddr>,
    /// Nothing can be listed, as without the right to open a netlink socket.
    pub unreachable: bool,
    /// How long an address would outlive the last sync.
    pub lifetime: Duration,
}

impl AddressBinder for FakeBinder {
    fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    async fn sync(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<Synced, BindError> {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        if self.unreachable {
            return Err(BindError::List(denied()));
        }
        let mut synced = Synced::default();
        let changes: Vec<_> = self.bound.symmetric_difference(wanted).copied().collect();
        let (broken, changes): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|address| self.broken.contains(address));
        for address in changes {
            if wanted.contains(&address) {
                self.bound.insert(address);
                synced.added += 1;
            } else {
                self.bound.remove(&address);
                synced.removed += 1;
            }
        }
        match broken.first() {
            None => Ok(synced),
            Some(address) => Err(BindError::Change {
                operation: if wanted.contains(address) { "bind" } else { "unbind" },
                address: *address,
                more: broken.len() - 1,
                missing: broken.iter().filter(|address| wanted.contains(address)).copied().collect(),
                source: denied(),
            }),
        }
    }
}
