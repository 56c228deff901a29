//! SpeakerState: what this node's speaker tells the cluster.
//!
//! [`projection`] makes the status from what the planner and the BGP task know; [`writer`] is the task that writes it, as
//! seldom as a large cluster can bear and only where it changed.

pub mod projection;
pub mod writer;
