//! Manifests in, deltas of checked and typed objects out.
//!
//! [`Index`] is pure: file names and bytes in, [`Delta`](bellhop_core::Delta)s out, whose property is that any history
//! of edits ends as one reading of the last state does. [`Folders`] reads directories into it, and [`ManifestSource`] is
//! a thread that does so whenever something changed.
//!
//! ```text
//! inotify ─► ManifestSource ─► Folders::poll ─► Index::batch ─► deltas ─► (bounded channel) ─► World
//!            (debounce, thread)  (walk, stat, read)  (split, parse, convert, compare)
//! ```
//!
//! [`Watched`] is the same for objects that an API server's watches bring one by one.
//!
//! Nothing here plans or decides. What is wrong becomes a [`Problem`](bellhop_core::Problem) of one object or one file,
//! and the last good version of that object stays in force; an object is deleted only when a file that is read without
//! error no longer has it, or the file itself is gone.

#![forbid(unsafe_code)]

mod claim;
mod convert;
mod copy;
mod document;
mod endpoints;
mod index;
mod report;
mod schema;
mod secrets;
mod source;
mod watched;

pub use claim::{ClaimError, claim_object, claim_of};
pub use convert::{Kind, Options};
pub use copy::{COPY_MODULE_KEY, COPY_SPEC_KEY, policy_of_copy};
pub use document::FILE_MAX_BYTES;
pub use index::{Batch, Index};
pub use source::{Folder, Folders, ManifestSource, WhenEmpty};
pub use watched::{Policies, Watched};
