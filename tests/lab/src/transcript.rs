//! The readable record of a run: steps, what was checked in each, and what was seen where a check failed.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crate::wait::wait_for;

/// A check that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// The sentence that should be true.
    pub what: String,
    /// What was expected; empty where the sentence says it all.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED: {}", self.what)?;
        if !self.expected.is_empty() {
            write!(f, "; expected: {}", self.expected)?;
        }
        write!(f, "; seen: {}", self.seen)
    }
}

impl std::error::Error for Failed {}

/// Writes the record as it happens.
pub struct Transcript {
    out: Box<dyn Write + Send>,
    coloured: bool,
    checks: usize,
    start: Instant,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript").field("checks", &self.checks).finish_non_exhaustive()
    }
}

/// Columns of the terminal for which lines are broken.
const WIDTH: usize = 100;

/// Colours of the verdicts, as ANSI sequences.
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

impl Transcript {
    /// A record on standard output, coloured on a terminal (unless `NO_COLOR` is set).
    pub fn to_stdout() -> Self {
        let coloured =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::to(Box::new(io::stdout()), coloured)
    }

    /// A record on any writer.
    pub fn to(out: Box<dyn Write + Send>, coloured: bool) -> Self {
        Self { out, coloured, checks: 0, start: Instant::now() }
    }

    /// How many checks held.
    pub fn checks(&self) -> usize {
        self.checks
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.coloured { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }

    fn line(&mut self, line: &str) {
        // A transcript nobody reads any more (a closed pipe) is no reason to end the run.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    /// Opens a step.
    pub fn step(&mut self, number: u8, title: &str) {
        let title = self.paint(BOLD, &format!("Step {number}. {title}"));
        self.line("");
        self.line(&title);
    }

    /// What is done, before what is checked.
    pub fn act(&mut self, what: impl Display) {
        let what = self.paint(DIM, &format!("       {what}"));
        self.line(&what);
    }

    /// Text as it was printed by a tool, indented; what would not fit the terminal goes on in a line of its own.
    pub fn quote(&mut self, text: &str) {
        for line in text.trim_end().lines() {
            let depth = line.len() - line.trim_start().len();
            for (part, line) in wrapped(line, WIDTH - 9 - depth).into_iter().enumerate() {
                let indent = if part == 0 { 0 } else { depth + 4 };
                let line = self.paint(DIM, format!("       | {:indent$}{line}", "").trim_end());
                self.line(&line);
            }
        }
    }

    /// Records that a check held.
    pub fn ok(&mut self, what: impl Display) {
        self.checks += 1;
        let verdict = self.paint(GREEN, "ok");
        let lines = wrapped(&what.to_string(), WIDTH - 7);
        self.line(&format!("  {verdict}   {}", lines.join("\n       ")));
    }

    /// Records that a check did not hold, and returns it as the error that ends the step.
    pub fn failed(&mut self, what: impl Display, expected: impl Display, seen: impl Display) -> Failed {
        let failed =
            Failed { what: what.to_string(), expected: expected.to_string(), seen: seen.to_string() };
        let verdict = self.paint(RED, "FAILED");
        self.line(&format!("  {verdict} {}", failed.what));
        if !failed.expected.is_empty() {
            self.line(&format!("         expected: {}", failed.expected));
        }
        self.line(&format!("         seen:     {}", failed.seen));
        failed
    }

    /// Checks that two values are equal.
    ///
    /// # Errors
    /// When they differ.
    pub fn equal<T: PartialEq + fmt::Debug>(
        &mut self,
        what: &str,
        expected: &T,
        seen: &T,
    ) -> Result<(), Failed> {
        if expected == seen {
            self.ok(what);
            Ok(())
        } else {
            Err(self.failed(what, format_args!("{expected:?}"), format_args!("{seen:?}")))
        }
    }

    /// Checks a condition; `seen` is shown when it does not hold.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn that(&mut self, what: &str, holds: bool, seen: impl Display) -> Result<(), Failed> {
        if holds {
            self.ok(what);
            Ok(())
        } else {
            Err(self.failed(what, "", seen))
        }
    }

    /// Waits for a condition; see [`wait_for`].
    ///
    /// # Errors
    /// When it did not come true before the deadline: with what the last look saw.
    pub fn wait<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        look: impl FnMut() -> Result<T, String>,
    ) -> Result<T, Failed> {
        let start = Instant::now();
        match wait_for(what, deadline, look) {
            Ok(value) => {
                let took = start.elapsed();
                // A wait that is over at once needs no remark.
                let took = (took > Duration::from_millis(50)).then(|| format!(" ({})", shown_time(took)));
                let took = self.paint(DIM, &took.unwrap_or_default());
                self.ok(format_args!("{what}{took}"));
                Ok(value)
            }
            Err(unmet) => {
                let expected = format!("within {:.1} s", deadline.as_secs_f64());
                Err(self.failed(what, expected, unmet.seen))
            }
        }
    }

    /// The last line of a run.
    pub fn end(&mut self, verdict: &Result<(), anyhow::Error>) {
        let took = shown_time(self.start.elapsed());
        let line = match verdict {
            Ok(()) => format!("{} {} checks in {took}", self.paint(GREEN, "All held:"), self.checks),
            Err(_) => {
                format!("{} after {} checks that held, in {took}", self.paint(RED, "Failed"), self.checks)
            }
        };
        self.line("");
        self.line(&line);
    }
}

/// The text in lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.chars().count() > width {
        let end = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
        let start = rest.len() - rest.trim_start().len();
        // A word longer than the line stays whole.
        let after_word = |at: usize| rest[at..].find(' ').map_or(rest.len(), |space| at + space);
        let at = rest[..end].rfind(' ').filter(|at| *at > start).unwrap_or_else(|| after_word(end));
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest.to_owned());
    }
    lines
}

fn shown_time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_long_line_is_broken_between_words_and_loses_none() {
        assert_eq!(wrapped("short", 9), ["short"]);
        assert_eq!(wrapped("", 9), [""]);
        assert_eq!(wrapped("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("  deep down here", 9), ["  deep", "down here"]);
        assert_eq!(wrapped("incomprehensibilities, he said", 9), ["incomprehensibilities,", "he said"]);
        assert_eq!(wrapped("zwölf Bögen", 5), ["zwölf", "Bögen"]);
    }

    #[test]
    fn a_failed_check_tells_what_was_expected_and_what_was_seen() {
        let page = Page::default();
        let mut transcript = Transcript::to(Box::new(page.clone()), false);
        transcript.step(1, "Counting");
        transcript.equal("one is one", &1, &1).unwrap();
        let failed = transcript.equal("two is three", &2, &3).unwrap_err();
        assert_eq!((failed.expected.as_str(), failed.seen.as_str()), ("2", "3"));
        assert_eq!(transcript.checks(), 1);
        let text = page.text();
        for line in
            ["Step 1. Counting", "  ok   one is one", "  FAILED two is three", "expected: 2", "seen:     3"]
        {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
        assert!(!text.contains('\x1b'), "colours without a terminal:\n{text}");
    }
}
