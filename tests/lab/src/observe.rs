//! What can be seen from outside: FRR's tables, and the kernel's routes and their changes.

pub mod bgp;
pub mod kernel;
