//! Why this module is not compiled.

use bellhop_sandbox::{Refusal, Stage};

/// A refusal on its way to the parent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{stage}: {message}")]
pub(crate) struct Refused {
    pub(crate) stage: Stage,
    pub(crate) refusal: Refusal,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(stage: Stage, refusal: Refusal, message: impl Into<String>) -> Self {
        Self { stage, refusal, message: message.into() }
    }

    /// A refusal of the checks.
    pub(crate) fn checked(refusal: Refusal, message: impl Into<String>) -> Self {
        Self::new(Stage::Checked, refusal, message)
    }
}
