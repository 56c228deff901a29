//! The policy engine: chains of plugins as the answer to Bellhop's three decisions.
//!
//! [`Engine`] implements [`bellhop_core::Decisions`] over any number of [`guest::Guest`]s: it shows each plugin only
//! what its metadata declares, remembers every answer under the identities of what was shown, asks only what it does
//! not know yet, checks what comes back, and says what happens when nothing usable does. [`rollout::Rollout`] is the
//! machine that brings one version of one policy into force, or says at which step it was refused.
//!
//! The crate is pure: no clock (the time is an argument), no runtime, no WebAssembly, no threads of its own (calls are
//! spread by an injected [`runner::Runner`]). `bellhop-sandbox` implements the guests.
//!
//! ```text
//! requests ─► chain by priority, name ─► match ─► project + intern ─► memo ─ hit ──────────────► answer + trail
//!                     ▲                                                 └ miss ► breaker ► guest ► validate ┘
//!                     └── use-default ◄── failurePolicy: keep last | last good version | default | withhold
//! ```

#![forbid(unsafe_code)]

pub mod breaker;
mod cache;
mod counters;
mod engine;
pub mod floor;
pub mod guest;
mod intern;
pub mod projection;
pub mod rollout;
pub mod runner;
pub mod validate;

#[cfg(test)]
mod fake;

pub use counters::Counters;
pub use engine::{Engine, Failure, LogEntry, SetError};
pub use guest::Guest;
pub use rollout::{PolicyStatus, Rollout};
pub use runner::{Runner, Sequential};
