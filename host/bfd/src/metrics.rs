//! What sessions count. All counters start at zero with their owner and never fall.

use serde::{Serialize, Serializer};

use crate::error::Refusal;
use crate::machine::Cause;

/// Counts by the labels of a closed set of `N`; serialised as a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally<const N: usize> {
    labels: &'static [&'static str; N],
    counts: [u64; N],
}

impl<const N: usize> Tally<N> {
    pub(crate) const fn new(labels: &'static [&'static str; N]) -> Self {
        Self { labels, counts: [0; N] }
    }

    /// A label outside the set counts nothing; a test proves that there is none.
    pub(crate) fn count(&mut self, label: &str) {
        if let Some(index) = self.labels.iter().position(|known| *known == label) {
            self.counts[index] += 1;
        }
    }

    /// The count of one label; 0 for one outside the set.
    pub fn of(&self, label: &str) -> u64 {
        self.iter().find(|(known, _)| *known == label).map_or(0, |(_, count)| count)
    }

    /// Every label of the set with its count, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<N> {
        self.labels.iter().copied().zip(self.counts)
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl<const N: usize> Serialize for Tally<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Counters of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Packets of every kind given out for sending.
    pub packets_sent: u64,
    /// Packets received and not refused.
    pub packets_received: u64,
    /// Packets sent with the P bit.
    pub polls_sent: u64,
    /// Poll Sequences of this side that an F bit ended (RFC 5880 §6.5).
    pub polls_completed: u64,
    /// Packets sent with the F bit: one for each poll answered.
    pub finals_sent: u64,
    /// Packets received with the P bit, those included that are not answered while administratively down.
    pub polls_received: u64,
    /// How often the session came up.
    pub ups: u64,
    /// How often the session left Up, by [`Cause::category`].
    pub downs: Tally<{ Cause::CATEGORIES.len() }>,
    /// Packets refused that were known to be this session's, by [`Refusal::category`].
    pub refused: Tally<{ Refusal::CATEGORIES.len() }>,
    /// Deadlines at which the driver came more than [`LATE_WAKE`](crate::LATE_WAKE) late. A neighbour that reports this
    /// side down, or a session that expires, in company of these is no evidence against the path.
    pub late_wakes: u64,
    /// How late those were together, microseconds.
    pub late_wake_micros: u64,
    /// The latest of them, microseconds.
    pub late_wake_micros_max: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            packets_sent: 0,
            packets_received: 0,
            polls_sent: 0,
            polls_completed: 0,
            finals_sent: 0,
            polls_received: 0,
            ups: 0,
            downs: Tally::new(&Cause::CATEGORIES),
            refused: Tally::new(&Refusal::CATEGORIES),
            late_wakes: 0,
            late_wake_micros: 0,
            late_wake_micros_max: 0,
        }
    }
}
