//! What routers hear when manifests of a running system are edited: which prefixes, with which attributes, from which nodes,
//! and that nothing else changes. The rows are those of other load balancers' acceptance tests.
//!
//! | module | rows about |
//! |---|---|
//! | [`attributes`] | what routes carry, and which Advertisement decides |
//! | [`bfd`] | how the path to a router is watched |
//! | [`continuity`] | what edits and restarts cost |
//! | [`families`] | sessions and prefixes of both families |
//! | [`nodes`] | which nodes announce, and how routers weigh them |
//! | [`parameters`] | every field of a BGPPeer |
//! | [`selection`] | what an Advertisement selects |
//! | [`sessions`] | which nodes have sessions with whom |
//!
//! Needs root, FRR, nftables, and the programs that `make test` builds.

#![allow(clippy::unwrap_used, reason = "a missing need is to fail loudly")]

mod attributes;
mod bfd;
mod continuity;
mod families;
mod nodes;
mod parameters;
mod selection;
mod sessions;
mod site;
