//! What Bellhop costs: time of a decision, of a bulk of routes and of one more, memory, sizes.
//!
//! Each module is one bench and returns [`Row`]s; the program `benches` prints them as a table and writes them as JSON.
//! A figure that misses its limit is told, and does not fail the run: figures depend on the machine. What does not
//! (counts of UPDATEs) is asserted by the tests of this crate.
//!
//! ```text
//! decision   SandboxGuest on a fresh and on a reused instance, Engine's memo, the same logic native
//! bulk       [speaker process: Planning + BGP task] ─► FRR, in two namespaces of their own ([`wire`])
//! rivals     [BGP task alone], BIRD, GoBGP, ExaBGP, FRR ─► FRR: the same routes from each
//! change     [bellhop standalone, 1,000 Services]   ─► FRR: a new plugin version to the last changed route
//! footprint  [bellhop standalone]: resident memory; sizes of the programs
//! cluster    [bellhop controller, bellhop speaker] ─► kube-apiserver, FRR: allocation, restarts, memory, idleness
//! ```

#![forbid(unsafe_code)]

pub mod bulk;
pub mod change;
pub mod cluster;
pub mod decision;
pub mod footprint;
pub mod process;
pub mod rivals;
pub mod row;
pub mod speaker;
pub mod wire;
pub mod world;

pub use row::{Row, Unit};
