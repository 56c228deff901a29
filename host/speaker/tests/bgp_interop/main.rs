//! The BGP task against FRR, BIRD, GoBGP, ExaBGP and OpenBGPD as Debian 12 has them, in network namespaces of its own.
//!
//! | file | what is in it |
//! |---|---|
//! | `router` | what a scenario needs of an implementation |
//! | `frr`, `bird`, `gobgp`, `exabgp`, `openbgpd` | one implementation, and the test of each scenario that it can show |
//! | `scenarios` | what is asserted, for any implementation |
//! | `table` | which scenarios there are, and what an implementation cannot show, with the reason |
//! | `page` | the table against the tests, and as `docs/reference/interop.md` |
//! | `process` | the speaker as a process of its own, to be killed |
//!
//! Every test makes two namespaces with one link and runs its body in the speaker's, by starting this test binary again there.
//! Needs root and the packages of tools/setup.sh, and fails where they are missing.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as its body does")]

mod bird;
mod exabgp;
mod frr;
#[path = "../common/frr_lab.rs"]
mod frr_lab;
mod gobgp;
#[path = "../common/netns.rs"]
mod netns;
mod openbgpd;
mod page;
mod process;
mod router;
mod scenarios;
#[path = "../common/speaker.rs"]
mod speaker;
mod table;
