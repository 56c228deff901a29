//! Answers, and what bounds their texts.

/// Longest note or reason in bytes that the host takes; the SDK cuts longer ones.
pub const TEXT_MAX: usize = 256;

/// The answer to one question, or that the policy leaves it to the next one, with a note for `bellhop explain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<T> {
    /// The answer; `None` leaves it to the next policy of the chain, and in the end to the built-in rule.
    pub answer: Option<T>,
    /// Why, for people; at most [`TEXT_MAX`] bytes are kept.
    pub note: Option<String>,
}

impl<T> Decision<T> {
    /// This answer, without a note.
    pub fn of(answer: T) -> Self {
        Self { answer: Some(answer), note: None }
    }

    /// No answer: the next policy of the chain decides, and in the end the built-in rule.
    pub fn use_default() -> Self {
        Self { answer: None, note: None }
    }

    /// The same with a note.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl<T> From<T> for Decision<T> {
    fn from(answer: T) -> Self {
        Self::of(answer)
    }
}

/// A text of at most [`TEXT_MAX`] bytes, cut between characters.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

/// A note as it is handed to the host.
pub(crate) fn note(note: Option<String>) -> Option<String> {
    note.map(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("ü".repeat(200)).len(), 256);
        assert_eq!(cut(format!("a{}", "ü".repeat(200))).len(), 255);
        assert_eq!(cut("short".into()), "short");
    }
}
