//! Collects what is wrong with one object while it is converted.

use bellhop_api::Reason;
use bellhop_core::{ObjectRef, Problem};

/// Most problems reported of one object: past this the first ones say enough.
const PROBLEMS_MAX: usize = 16;

/// What is wrong with one object.
#[derive(Debug)]
pub(crate) struct Report {
    object: ObjectRef,
    problems: Vec<Problem>,
}

impl Report {
    /// Nothing is wrong yet.
    pub(crate) fn new(object: ObjectRef) -> Self {
        Self { object, problems: Vec::new() }
    }

    /// Notes that `field` has a `value` that it cannot have; `message` says what would be right.
    pub(crate) fn wrong(
        &mut self,
        reason: Reason,
        field: impl Into<String>,
        value: impl AsRef<str>,
        message: impl Into<String>,
    ) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(self.object.clone(), reason.as_str(), field, value, message));
        }
    }

    /// True while nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// What is wrong, in the order found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
