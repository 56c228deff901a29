//! What is written, and what comes of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::names::Uid;
use bellhop_core::objects::AddressClaim;
use bellhop_core::{ObjectName, ObjectRef, ServiceKey};
use bellhop_kubernetes::{Condition, Stored, WriteError};
use serde_json::Value;

/// One conditional write, or a read that decides about one.
#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// Make a claim; there must be none of its address.
    CreateClaim(Arc<AddressClaim>),
    /// Replace the spec of a claim.
    UpdateClaim {
        /// As it is to be.
        claim: Arc<AddressClaim>,
        /// As it is.
        at: Condition,
        /// Holders that are left out.
        leaving: Vec<Leaving>,
    },
    /// Delete a claim.
    ReleaseClaim {
        /// Its address.
        address: IpAddr,
        /// As it is.
        at: Condition,
        /// Its holders.
        leaving: Vec<Leaving>,
    },
    /// Read a claim, because a write of it found another one than was known.
    ReadClaim(IpAddr),
    /// Set, by server-side apply, what this controller has of a status.
    Status {
        /// Of which object.
        object: ObjectRef,
        /// As it is.
        at: Condition,
        /// What the controller has of it; what is left out is given up.
        status: Value,
    },
    /// Make the immutable copy of a policy's version.
    CreateCopy {
        /// Name of the ConfigMap.
        name: ObjectName,
        /// Its manifest.
        manifest: Arc<Value>,
    },
    /// Delete a copy that no version needs any more, if it is labelled as one of the policy's.
    DeleteCopy {
        /// Name of the ConfigMap.
        name: ObjectName,
        /// The policy.
        policy: ObjectName,
    },
    /// Make the Secret with the membership key of the speakers, where there is none.
    CreateMembershipKey,
    /// Tell the speakers of the nodes from which no router hears anything, each with the reason; nothing where that stands.
    SilentNodes(Arc<BTreeMap<ObjectName, &'static str>>),
}

/// A holder that is to lose an address. Its Service is read first, from the store itself, and where it is not as thought
/// nothing is written: what a watch shows may be old, and kube-proxy may still serve the address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// The Service.
    pub service: ServiceKey,
    /// The UID that the claim names.
    pub uid: Uid,
    /// It is thought to be gone; else its status is thought not to list the address any more.
    pub gone: bool,
}

impl Leaving {
    /// Whether the holder must keep `address`. `living` is the Service of this name as it was read: its UID, and the
    /// addresses that a status of ours lists.
    pub(crate) fn keeps(&self, address: IpAddr, living: Option<(&str, &[IpAddr])>) -> bool {
        living.is_some_and(|(uid, listed)| uid == &*self.uid && (self.gone || listed.contains(&address)))
    }
}

/// What came of a write that was carried out.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// The object is stored like this.
    Stored(Stored),
    /// The object is gone, or was before.
    Gone,
    /// A claim as it was read; `None` where there is none.
    Claim(Option<ReadClaim>),
    /// Nothing was written, as this Service lives, or its status still lists the address.
    HolderLives(ServiceKey),
}

/// A claim that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadClaim {
    /// Its identity and version.
    pub stored: Stored,
    /// What it says; `None` where that is not a claim's form.
    pub claim: Option<Arc<AddressClaim>>,
}

/// The API server, as the controller writes to it.
pub trait Store: Send + Sync + 'static {
    /// Carries a write out, or tells why not. What is cancelled meanwhile may have happened or not.
    fn execute(&self, write: Write) -> impl Future<Output = Result<Answer, WriteError>> + Send;
}
