//! Tests of the whole crate: the machine by tables, the wire by its codec, two machines in virtual time.

mod announce;
mod clock;
mod ending;
mod harness;
mod machine;
mod mutation;
mod opening;
mod opens;
mod order;
mod path;
mod received;
mod roles;
mod simulation;
