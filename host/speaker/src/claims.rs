//! The claims of the standalone form: one file for each address, made complete or not at all, by one writer.
//!
//! ```text
//! LedgerPlan::changes ──► ClaimStore ──► <state>/claims/203.0.113.7.yaml ──► World (the writer's and others')
//! ```
//!
//! A claim file is a manifest of the kind AddressClaim, so that people and other nodes read it as they read any other.
//! It is written under a temporary name, flushed, and then linked to its own name, which fails where one exists
//! already; a change replaces it by a rename. Whatever moment the process or the machine dies at, a file of that name
//! is whole or absent. Nothing here is asynchronous and nothing is cached: whoever calls owns the only copy.

use std::net::IpAddr;

use bellhop_core::objects::AddressClaim;
use bellhop_core::{ObjectRef, Problem};

mod fake;
mod files;
mod lock;
mod manifest;
#[cfg(test)]
mod tests;

use bellhop_api::claim_name;
pub use fake::FakeClaims;
pub use files::ClaimFiles;
pub use lock::{LockError, WriterLock};
pub use manifest::{ManifestError, claim_from_yaml, claim_to_yaml};

/// Why a claim could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A claim of the address exists already, readable or not.
    #[error(
        "claim of {address}: {place} exists already, although no claim of it is known; repair or remove it"
    )]
    Exists {
        /// The address.
        address: IpAddr,
        /// Where.
        place: String,
    },
    /// The claim to be replaced or released does not exist.
    #[error("claim of {address}: {place} is gone; somebody else removed it")]
    Missing {
        /// The address.
        address: IpAddr,
        /// Where.
        place: String,
    },
    /// The claim cannot be written as a manifest.
    #[error("claim of {address}: cannot be written as YAML: {text}")]
    Encode {
        /// The address.
        address: IpAddr,
        /// What the encoder said.
        text: String,
    },
    /// The file system refused.
    #[error("claim of {address}: {operation} {place}")]
    Io {
        /// The address.
        address: IpAddr,
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file.
        place: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl StoreError {
    /// The kind of failure, from a closed set, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "exists",
            Self::Missing { .. } => "missing",
            Self::Encode { .. } => "encode",
            Self::Io { .. } => "io",
        }
    }

    /// The same as a problem of the claim.
    pub fn problem(&self, address: IpAddr) -> Problem {
        let reason = match self {
            Self::Exists { .. } => "ClaimExists",
            Self::Missing { .. } => "ClaimMissing",
            Self::Encode { .. } | Self::Io { .. } => "ClaimNotWritten",
        };
        let mut message = self.to_string();
        if let Some(source) = std::error::Error::source(self) {
            message = format!("{message}: {source}");
        }
        Problem::new(ObjectRef::cluster("AddressClaim", claim_name(address)), reason, "", "", message)
    }
}

/// Where claims are kept.
pub trait ClaimStore {
    /// Makes a claim that must not exist.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where one does; nothing is changed by any error.
    fn create(&mut self, claim: &AddressClaim) -> Result<(), StoreError>;

    /// Replaces the claim of the same address.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there is none; nothing is changed by any error.
    fn update(&mut self, claim: &AddressClaim) -> Result<(), StoreError>;

    /// Removes a claim.
    ///
    /// # Errors
    /// What the system said; a claim that is gone already is no error.
    fn release(&mut self, address: IpAddr) -> Result<(), StoreError>;
}
