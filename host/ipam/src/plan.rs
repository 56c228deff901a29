//! What a plan proposes and reports.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bellhop_core::decision::{Consulted, FamilyUsage};
use bellhop_core::objects::AddressClaim;
use bellhop_core::{ObjectName, Problem, ServiceKey};
use serde::Serialize;

/// Which Services are given addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// All that want one.
    Allocate,
    /// Those that ask for an address by name (`bellhop.dev/addresses`, `spec.loadBalancerIP`). Choosing is somebody
    /// else's business; what Services hold already is kept.
    #[default]
    RequestedOnly,
}

/// One proposed change of the claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimChange {
    /// Make this claim; it must not exist.
    Create(AddressClaim),
    /// Put this in the place of the claim of the same address: holders came, went or changed.
    Update(AddressClaim),
    /// Delete the claim of this address: its last holder is gone.
    Release(IpAddr),
}

impl ClaimChange {
    /// The address whose claim changes.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Create(claim) | Self::Update(claim) => claim.address,
            Self::Release(address) => *address,
        }
    }
}

/// What [`Ledger::plan`](crate::Ledger::plan) proposes and reports.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LedgerPlan {
    /// Changes of claims, in the order in which they are to be made: creations, updates, releases. Where a creation
    /// fails, leave out the updates and releases, so that no Service loses an address before it has its new one; the
    /// next plan proposes them again.
    pub changes: Vec<ClaimChange>,
    /// How each Service stands that this plan looked at; the others stand as they stood. All are in
    /// [`Ledger::outcomes`](crate::Ledger::outcomes).
    pub outcomes: BTreeMap<ServiceKey, Arc<Allocation>>,
    /// Services that no longer want an address, or no longer exist, since the plan before.
    pub gone: Vec<ServiceKey>,
    /// What is wrong with pools; complete.
    pub problems: Vec<Problem>,
    /// Usage of each pool in force, for each family that it has, as the World has it before the changes; complete.
    pub pools: BTreeMap<ObjectName, Vec<FamilyUsage>>,
}

/// How a Service stands.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Allocation {
    /// What it holds once the changes are made, its primary family first.
    pub addresses: Vec<IpAddr>,
    /// Why it has not all that it must have. Boxed, as few wait and every Service has its place.
    pub waiting: Option<Box<Problem>>,
    /// What is wrong with addresses that it holds and keeps: no pool covers them any more, or a node has one of them.
    pub warnings: Vec<Problem>,
    /// How it came to hold, or not to hold, in the order in which it was found out; for `bellhop explain`.
    pub decided: Vec<Step>,
}

/// One step of a decision.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step {
    /// The Service already held this address.
    Kept {
        /// The address.
        address: IpAddr,
        /// Pool that it was taken from.
        pool: Option<ObjectName>,
        /// The policy that chose it then.
        policy: Option<ObjectName>,
        /// What that policy said.
        note: Option<Arc<str>>,
    },
    /// The Service asked for this address by name.
    Requested {
        /// The address.
        address: IpAddr,
        /// Why it did not get it.
        refused: Option<String>,
    },
    /// A pool was considered.
    Pool {
        /// The pool.
        pool: ObjectName,
        /// Why nothing could be taken from it.
        refused: Option<String>,
    },
    /// An `address` policy was asked.
    Policy(Consulted),
    /// An alternative of the policy's answer could not be had.
    Alternative {
        /// Its place in the answer, from 0.
        index: usize,
        /// Why.
        refused: String,
    },
    /// This address was chosen.
    Chosen {
        /// The address.
        address: IpAddr,
        /// Its pool.
        pool: Option<ObjectName>,
        /// Whose choice it was.
        by: Chooser,
    },
    /// The Service gave this address up.
    Released {
        /// The address.
        address: IpAddr,
        /// Why.
        reason: String,
    },
}

/// Who chose an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Chooser {
    /// The Service's own request.
    Request,
    /// Whoever chose it when the Service was given it, before its claim was lost.
    Before,
    /// The sharing key: another Service with the same one holds it.
    SharingKey,
    /// A policy.
    Policy,
    /// The built-in rule.
    BuiltIn,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept { address, pool, policy, note } => {
                write!(f, "keeps {address}")?;
                if let Some(pool) = pool {
                    write!(f, " of pool {pool}")?;
                }
                if let Some(policy) = policy {
                    write!(f, ", chosen by policy {policy}")?;
                }
                note.as_ref().map_or(Ok(()), |note| write!(f, ": {note}"))
            }
            Self::Requested { address, refused: None } => write!(f, "asks for {address}: granted"),
            Self::Requested { address, refused: Some(why) } => write!(f, "asks for {address}: {why}"),
            Self::Pool { pool, refused: None } => write!(f, "pool {pool}: offered"),
            Self::Pool { pool, refused: Some(why) } => write!(f, "pool {pool}: {why}"),
            Self::Policy(consulted) => {
                write!(f, "policy {}: {:?}", consulted.policy, consulted.outcome)?;
                consulted.note.as_ref().map_or(Ok(()), |note| write!(f, ": {note}"))
            }
            Self::Alternative { index, refused } => write!(f, "alternative {}: {refused}", index + 1),
            Self::Chosen { address, pool, by } => {
                write!(f, "takes {address}")?;
                if let Some(pool) = pool {
                    write!(f, " of pool {pool}")?;
                }
                f.write_str(match by {
                    Chooser::Request => ", as asked for",
                    Chooser::Before => ", as its status says that it had it before",
                    Chooser::SharingKey => ", shared by its sharing key",
                    Chooser::Policy => ", chosen by the policy",
                    Chooser::BuiltIn => ", by the built-in rule",
                })
            }
            Self::Released { address, reason } => write!(f, "gives up {address}: {reason}"),
        }
    }
}
