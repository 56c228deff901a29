//! Tests of the whole crate: the machine by tables, the wire by its codec, two machines in virtual time.

mod announce;
mod harness;
mod machine;
mod mutation;
mod opens;
mod simulation;
