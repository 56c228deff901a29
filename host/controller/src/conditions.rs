//! Conditions: what is to be said, compared with what stands there.

use std::time::{SystemTime, UNIX_EPOCH};

use bellhop_api::{Condition, ConditionStatus};
use bellhop_core::Problem;

/// Longest message of a condition (`metav1.Condition` allows 32768, our kinds 1024).
const MESSAGE_MAX: usize = 1024;

/// What a condition is to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) status: ConditionStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Told {
    pub(crate) fn new(status: ConditionStatus, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), message: cut(message.into()) }
    }

    /// It does not hold, because of these; the first one gives the reason.
    pub(crate) fn wrong(problems: &[Problem]) -> Option<Self> {
        let first = problems.first()?;
        let told: Vec<String> = problems.iter().map(Problem::told).collect();
        Some(Self::new(ConditionStatus::False, &first.reason, told.join("; ")))
    }

    /// The condition that says so, where `before` are those that stand; the time moves only with the status.
    pub(crate) fn condition(
        self,
        type_: &str,
        generation: i64,
        before: &[Condition],
        now: &str,
    ) -> Condition {
        let before = of_type(before, type_).filter(|before| before.status == self.status);
        Condition {
            type_: type_.into(),
            status: self.status,
            observed_generation: (generation > 0).then_some(generation),
            last_transition_time: before.map_or(now, |before| &before.last_transition_time).into(),
            reason: self.reason,
            message: self.message,
        }
    }
}

/// The condition of a type.
pub(crate) fn of_type<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A text of at most [`MESSAGE_MAX`] bytes.
fn cut(mut text: String) -> String {
    if text.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// A time as RFC 3339 in UTC, to the second, as `metav1.Time` has it.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 of the proleptic Gregorian calendar, in eras of 400 years: leap days come last in a year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (date, month) =
        (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_as_the_api_server_writes_it() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_time_of_a_transition_moves_with_the_status_alone() {
        let told = |status, reason: &str| Told::new(status, reason, "because");
        let first = told(ConditionStatus::False, "NoEndpoints").condition("X", 1, &[], "then");
        let same =
            told(ConditionStatus::False, "NoSession").condition("X", 2, std::slice::from_ref(&first), "now");
        assert_eq!((&*same.last_transition_time, same.observed_generation), ("then", Some(2)));
        let other = told(ConditionStatus::True, "Announced").condition("X", 2, &[first], "now");
        assert_eq!(other.last_transition_time, "now");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let told = Told::new(ConditionStatus::False, "X", "ä".repeat(MESSAGE_MAX));
        assert!(told.message.len() <= MESSAGE_MAX && told.message.ends_with('…'));
    }
}
