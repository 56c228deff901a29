//! What the loops of the speaker and of the controller share.
//!
//! Both own a World and ask policies about it: [`policies`] brings every DecisionPolicy through its stages and holds
//! the engine that asks those in force, [`loader`] is the thread that compiles and tests their modules, and [`journal`]
//! logs each problem once when it comes up and once when it is gone. [`forward`] hands on what a source tells.
//! [`metrics`] is what they count and measure, and [`http`] shows it beside their health; [`signals`] ask both to stop.
//! Nothing here decides, and nothing here knows where objects come from.
//!
//! ```text
//! World ─► Policies ─► Job ─► loader (thread, compiler child) ─► Loaded ─► Policies ─► Decisions
//! ```

#![forbid(unsafe_code)]

pub mod forward;
pub mod http;
pub mod journal;
pub mod loader;
pub mod metrics;
pub mod policies;
pub mod signals;
