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

/// The first [`Problem::VALUE_MAX`] characters, with an ellipsis where something was cut. What would not show, or not as
/// itself, is escaped; quotes and backslashes stay as they are, as the value is to be found again in its file.
fn shortened(value: &str) -> String {
    let mut shown = String::new();
    for character in value.chars().take(Problem::VALUE_MAX) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            character => shown.extend(character.escape_debug()),
        }
    }
    if value.chars().nth(Problem::VALUE_MAX).is_some() {
        shown.push('…');
    }
    shown
}

impl Problem {
    /// Field, value and message: what is told where the object's name and the reason stand already.
    pub fn told(&self) -> String {
        let field = if self.field.is_empty() { String::new() } else { format!("{}: ", self.field) };
        let value = match self.value.as_str() {
            "" => String::new(),
            value if value.starts_with(['[', '{']) => format!("{value}: "),
            value => format!("\"{value}\": "),
        };
        format!("{field}{value}{}", self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.object, self.told(), self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_on_one_line_with_object_field_and_value() {
        let pool = ObjectRef::cluster("AddressPool", "public");
        let told = |field: &str, value: &str| {
            Problem::new(pool.clone(), "InvalidRange", field, value, "must be a range").to_string()
        };
        assert_eq!(
            told("spec.addresses[0]", "a\nb"),
            "AddressPool/public: spec.addresses[0]: \"a\\nb\": must be a range (InvalidRange)"
        );
        assert_eq!(
            told("spec.x", r#"["a"]"#),
            r#"AddressPool/public: spec.x: ["a"]: must be a range (InvalidRange)"#
        );
        assert_eq!(told("", ""), "AddressPool/public: must be a range (InvalidRange)");
        let file = Problem::new(ObjectRef::cluster("File", "/etc/a.yaml"), "Unreadable", "", "", "is empty");
        assert_eq!(file.to_string(), "File /etc/a.yaml: is empty (Unreadable)");
    }

    #[test]
    fn a_long_value_is_cut() {
        let problem =
            Problem::new(ObjectRef::cluster("Node", "n"), "TooLarge", "spec", "x".repeat(200), "is long");
        assert_eq!(problem.value.chars().count(), Problem::VALUE_MAX + 1);
    }
}
