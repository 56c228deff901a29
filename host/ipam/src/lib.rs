//! The address ledger: which Service holds which address, from which pool, and why.
//!
//! [`Ledger`] follows the pools, claims and Services of a [`World`](bellhop_core::World) and proposes changes of claims.
//! It is pure: it opens no file, asks no API, reads no clock, and it never carries out what it proposes. Whoever owns
//! the claims does that, and what came of it returns as deltas of the World. A change that failed is therefore
//! harmless: the next plan proposes it again.
//!
//! ```text
//! World, Touched ──► Ledger::plan ──► changes ──► claim store ──► Delta::Claim ──► World
//!                      ▲      │
//!                      │      └─────► outcomes (addresses, or why not), problems, usage per pool
//!                  Decisions (asked once for each Service that must be given an address)
//! ```
//!
//! What it holds to:
//! - An address has one holder, or several of one namespace that agreed to share it ([`sharing`]).
//! - An address that a Service holds stays with it, whatever becomes of pools, labels, policies or this process, until
//!   the Service goes, stops wanting it, asks for another one, or breaks the terms of sharing by its own edit.
//! - Services that hold an address come before those that wait; those that wait are served in order of age.
//! - Claims that were lost, or restored from a backup and name an old UID, are made good from what the Services' own
//!   status says ([`Ledger::set_previous`]), before anything is chosen anew. A Service made anew under an old name, whose
//!   status is empty, adopts nothing.
//! - Every address of a range is handed out, `.0` and `.255` too, as they are announced as host routes; whoever has
//!   equipment that dislikes them writes them under `exclude`.
//! - Addresses never used come before released ones, and of those the one longest ago released comes first. The order
//!   of releases is kept in memory only, for the last [`HISTORY_MAX`] releases: after a restart all free addresses
//!   count as never used.

#![forbid(unsafe_code)]

mod history;
mod ledger;
mod plan;
mod pools;
mod ranges;
pub mod sharing;

pub use history::HISTORY_MAX;
pub use ledger::Ledger;
pub use plan::{Allocation, ClaimChange, LedgerPlan, Mode, Step};
