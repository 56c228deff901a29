//! `bellhop standalone` as a user drives it: manifests in, `bellhop status`, `bellhop routes` and the log out.
//!
//! Every process runs in a network namespace of its own, which needs root: without it these tests fail.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bad;
mod life;
mod observe;
mod support;
mod swap;
mod validate;
