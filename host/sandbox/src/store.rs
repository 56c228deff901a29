//! What the host keeps for one instance while it runs: its meter of memory, its log, its clock.

use std::time::Duration;

use bellhop_policy_engine::guest::LogLine;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;

use crate::limits;

/// State of the host's side of one call.
pub(crate) struct Host {
    pub(crate) log: Log,
    pub(crate) meter: Meter,
    pub(crate) started: Duration,
}

impl Host {
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self {
            log: Log::default(),
            meter: Meter { limit: memory_limit, memory: 0 },
            started: thread_cpu_time(),
        }
    }

    /// CPU time that this thread has spent since the call began.
    pub(crate) fn cpu_time(&self) -> Duration {
        thread_cpu_time().saturating_sub(self.started)
    }
}

/// CPU time of the calling thread.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A module asked for more memory or table than it may have. Typed, so that the outcome is known by downcast.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory asked for")]
pub(crate) struct MemoryRefused {
    limit: u64,
}

/// Refuses growth beyond the limit, with a trap and not with the `-1` that guests turn into an unnamed abort.
pub(crate) struct Meter {
    limit: u64,
    /// Linear memory of the instance in bytes, after the last growth.
    pub(crate) memory: u64,
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired as u64 > self.limit {
            return Err(MemoryRefused { limit: self.limit }.into());
        }
        self.memory = desired as u64;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > limits::TABLE_ELEMENTS {
            return Err(MemoryRefused { limit: self.limit }.into());
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }
}

/// Lines of one call, at most [`limits::LOG_LINES`] and [`limits::LOG_BYTES`].
#[derive(Default)]
pub(crate) struct Log {
    lines: Vec<LogLine>,
    bytes: usize,
    dropped: u32,
    last_error: Option<String>,
    late_errors: u32,
}

/// Lines of level `error` that are still looked at once the log is full, as a panic's text comes last.
const LATE_ERRORS: u32 = 16;

impl Log {
    /// True where a line of this level would be read neither into the log nor as the text of a trap.
    pub(crate) fn ignores(&self, level: &str) -> bool {
        self.is_full() && (level != "error" || self.late_errors >= LATE_ERRORS)
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= limits::LOG_LINES || self.bytes >= limits::LOG_BYTES
    }

    /// Keeps what fits of a line; a line that does not fit whole is cut off, and is the last.
    pub(crate) fn push(&mut self, level: &'static str, text: &str) {
        if self.is_full() {
            self.late_errors += 1;
            self.last_error = Some(shortened(text, limits::ERROR_BYTES).to_owned());
            return self.drop_line();
        }
        let kept = shortened(text, limits::LOG_BYTES - self.bytes);
        self.bytes += kept.len().max(1);
        if kept.len() < text.len() {
            self.bytes = limits::LOG_BYTES;
        }
        if level == "error" {
            self.last_error = Some(shortened(kept, limits::ERROR_BYTES).to_owned());
        }
        self.lines.push((level, kept.to_owned()));
    }

    pub(crate) fn drop_line(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// The last line of level `error`: where the SDK's panic hook leaves a panic's text and place.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The lines, and one in place of those that were dropped.
    pub(crate) fn into_lines(mut self) -> Vec<LogLine> {
        if self.dropped > 0 {
            let notice = format!("{} more lines were dropped", self.dropped);
            self.lines.truncate(limits::LOG_LINES - 1);
            self.lines.push(("warn", notice));
        }
        self.lines
    }
}

/// The longest beginning of `text` that has at most `bytes` bytes and ends between characters.
pub(crate) fn shortened(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_64_lines_and_says_how_many_were_dropped() {
        let mut log = Log::default();
        for number in 0..100 {
            if log.ignores("info") { log.drop_line() } else { log.push("info", &format!("line {number}")) }
        }
        let lines = log.into_lines();
        assert_eq!(lines.len(), limits::LOG_LINES);
        assert_eq!(lines[62].1, "line 62");
        assert_eq!(lines[63], ("warn", "36 more lines were dropped".to_owned()));
    }

    #[test]
    fn a_log_keeps_16_kib_cut_between_characters() {
        let mut log = Log::default();
        log.push("info", &"ä".repeat(limits::LOG_BYTES));
        assert!(log.ignores("info"));
        let lines = log.into_lines();
        assert_eq!(lines[0].1.len(), limits::LOG_BYTES);
    }

    #[test]
    fn the_last_error_line_outlives_later_lines_of_other_levels() {
        let mut log = Log::default();
        log.push("error", "panicked at src/lib.rs:1:1: why");
        log.push("debug", "after");
        assert_eq!(log.last_error(), Some("panicked at src/lib.rs:1:1: why"));
    }

    #[test]
    fn a_panics_text_is_known_though_the_log_is_full() {
        let mut log = Log::default();
        log.push("info", &"x".repeat(limits::LOG_BYTES));
        assert!(!log.ignores("error"));
        log.push("error", "panicked at src/lib.rs:1:1: why");
        assert_eq!(log.last_error(), Some("panicked at src/lib.rs:1:1: why"));
        assert_eq!(log.into_lines().len(), 2);
    }
}
