//! The BGP task against a neighbour that does everything wrong, over real TCP on loopback addresses.
//!
//! The neighbour writes octets made by hand and reads with a decoder of its own. Each test has its own addresses, a speaker in its
//! own runtime, and a bystander whose session must go on. Needs no root.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as its body does")]

mod collisions;
mod endings;
mod flood;
mod garbage;
mod messages;
mod opens;
mod peer;
mod sessions;
mod slow;
mod speaker;
mod strangers;
