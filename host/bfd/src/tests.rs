//! Tests of the whole crate: the packet by its octets, the machine by tables and a scripted neighbour, the table of
//! sessions, and two of them in virtual time.

mod administration;
pub(crate) mod harness;
mod machine;
mod mutation;
mod simulation;
mod table;
mod timers;
mod wire;
