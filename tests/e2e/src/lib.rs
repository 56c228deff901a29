//! The end-to-end cases: Bellhop installed by its chart into a real cluster and judged from outside.
//!
//! What counts is what routers have, what clients get, and what the API says; nothing of the product is linked here. A
//! [`Site`] is the place: the project's own test cluster with a router running FRR and a client behind it, or a
//! cluster of the user's, where only cases run that need neither. Each [`Case`](cases::Case) starts from the same state
//! ([`Site::reset`]) and is named by what it proves.
//!
//! ```text
//! main ─► cases (table) ─► Site ─┬─ kubectl, helm      (API objects)
//!                                ├─ router: FRR, kernel (routes, gaps)
//!                                └─ client              (requests)
//! ```

#![forbid(unsafe_code)]

pub mod cases;
pub mod knock;
pub mod machines;
pub mod moved;
pub mod objects;
pub mod routes;
pub mod run;
pub mod site;
pub mod traffic;

pub use bellhop_test_cluster::{Cut, Machine, Node, Program, wait_for};
pub use site::Site;
