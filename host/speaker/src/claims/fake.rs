//! Claims in memory, with failures on demand, for tests of whoever uses a store.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use bellhop_core::objects::AddressClaim;

use super::{ClaimStore, StoreError};

/// A store in memory. It keeps the rules of the real one: a creation fails where a claim exists, an update where none
/// does.
#[derive(Clone, Debug, Default)]
pub struct FakeClaims {
    /// The claims.
    pub claims: BTreeMap<IpAddr, AddressClaim>,
    /// Addresses for which every change fails with an I/O error, as on a full disk.
    pub broken: BTreeSet<IpAddr>,
    /// Addresses whose claims exist but cannot be read.
    pub unreadable: BTreeSet<IpAddr>,
}

impl FakeClaims {
    fn check(&self, address: IpAddr) -> Result<(), StoreError> {
        if self.broken.contains(&address) {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StoreError::Io { address, operation: "write", place: "memory".into(), source });
        }
        Ok(())
    }
}

impl ClaimStore for FakeClaims {
    fn create(&mut self, claim: &AddressClaim) -> Result<(), StoreError> {
        let address = claim.address;
        self.check(address)?;
        if self.unreadable.contains(&address) || self.claims.contains_key(&address) {
            return Err(StoreError::Exists { address, place: "memory".into() });
        }
        self.claims.insert(address, claim.clone());
        Ok(())
    }

    fn update(&mut self, claim: &AddressClaim) -> Result<(), StoreError> {
        let address = claim.address;
        self.check(address)?;
        match self.claims.get_mut(&address) {
            Some(held) => *held = claim.clone(),
            None => return Err(StoreError::Missing { address, place: "memory".into() }),
        }
        Ok(())
    }

    fn release(&mut self, address: IpAddr) -> Result<(), StoreError> {
        self.check(address)?;
        self.claims.remove(&address);
        Ok(())
    }
}
