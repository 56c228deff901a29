//! What is wrong with an object, said so that a person can act on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::ObjectRef;

/// One thing that is wrong: which object, which field, which value, and what would be right.
///
/// The same text goes into the condition, the Event, the log and `bellhop status`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// The object that is wrong.
    pub object: ObjectRef,
    /// Path of the field in the object, for example `spec.addresses[1]`; empty where no single field is to blame.
    pub field: String,
    /// The value found there, shortened to [`Problem::VALUE_MAX`] characters.
    pub value: String,
    /// What is wrong with it and what would be right, as one sentence without a full stop.
    pub message: String,
    /// Machine-readable reason in CamelCase, from the closed set of condition reasons, for example `InvalidRange`.
    pub reason: String,
}

impl Problem {
    /// Longest value shown; a message must stay readable on one screen line.
    pub const VALUE_MAX: usize = 80;

    /// A problem with one field of an object.
    pub fn new(
        object: ObjectRef,
        reason: &str,
        field: impl Into<String>,
        value: impl AsRef<str>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            object,
            field: field.into(),
            value: shortened(value.as_ref()),
            message: message.into(),
            reason: reason.into(),
        }
    }
}

/// The first [`Problem::VALUE_MAX`] characters, with an ellipsis where something was cut and control characters escaped.
fn shortened(value: &str) -> String {
    let mut shown: String = value.chars().take(Problem::VALUE_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(Problem::VALUE_MAX).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, "\"{}\": ", self.value)?;
        }
        write!(f, "{} ({})", self.message, self.reason)
    }
}
