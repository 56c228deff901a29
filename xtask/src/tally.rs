//! What libtest says, counted.

/// Passed, failed and ignored tests, summed over any number of test programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and passed.
    pub passed: u64,
    /// Tests that ran and failed, and runners that ended without saying how their tests went.
    pub failed: u64,
    /// Tests marked `#[ignore]`; shown, so that nobody mistakes them for tests that ran.
    pub ignored: u64,
    /// Names of the failed tests, as `suite: test`.
    pub failures: Vec<String>,
}

impl Tally {
    /// Adds another tally to this one.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
    }

    /// A runner that died, or ended badly, without a failed test to show for it.
    pub(crate) fn broken(what: String) -> Tally {
        Tally { failed: 1, failures: vec![what], ..Tally::default() }
    }

    /// The line that every run ends with.
    pub(crate) fn count_line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// Reads the output of one or more libtest programs line by line.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    suite: &'a str,
    tally: Tally,
    results: u32,
}

impl<'a> Reader<'a> {
    /// A reader whose failures are named after `suite`.
    pub(crate) fn new(suite: &'a str) -> Self {
        Reader { suite, tally: Tally::default(), results: 0 }
    }

    /// Takes one line of output, without its end.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some((passed, failed, ignored)) = test_result(line) {
            self.results += 1;
            self.tally.passed += passed;
            self.tally.failed += failed;
            self.tally.ignored += ignored;
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.tally.failures.push(format!("{}: {name}", self.suite));
        }
    }

    /// The sum, once the program has ended with or without success. A program that ended badly without a failed
    /// test, or that never printed a result, counts as one failure: a crash must not look like zero tests.
    pub(crate) fn finish(self, success: bool, how: &str) -> Tally {
        let silent = self.results == 0;
        let unexplained = !success && self.tally.failed == 0;
        let mut tally = self.tally;
        if silent || unexplained {
            let why = if success { "printed no test result".to_owned() } else { format!("ended with {how}") };
            tally.add(Tally::broken(format!("{}: {why}", self.suite)));
        }
        tally
    }
}

/// `(passed, failed, ignored)` of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn test_result(line: &str) -> Option<(u64, u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim_end().parse::<u64>().ok())
    };
    Some((count("passed")?, count("failed")?, count("ignored")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], success: bool) -> Tally {
        let mut reader = Reader::new("suite");
        lines.iter().for_each(|line| reader.line(line));
        reader.finish(success, "signal 11")
    }

    #[test]
    fn results_of_several_programs_are_summed() {
        let tally = read(
            &[
                "running 4 tests",
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 1.25s",
            ],
            true,
        );
        assert_eq!((tally.passed, tally.failed, tally.ignored), (8, 0, 1));
        assert_eq!(tally.count_line(), "8 passed, 0 failed");
    }

    #[test]
    fn a_failed_test_is_counted_once_and_named() {
        let tally = read(
            &[
                "test claims::a_claim_survives ... FAILED",
                "test claims::another ... ok",
                "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            ],
            false,
        );
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["suite: claims::a_claim_survives"]);
    }

    #[test]
    fn a_program_that_crashes_is_a_failure_although_no_test_failed() {
        let tally = read(&["running 2 tests", "test one ... ok"], false);
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert_eq!(tally.failures, ["suite: ended with signal 11"]);
    }

    #[test]
    fn a_program_that_says_nothing_is_a_failure() {
        assert_eq!(read(&[], true).failures, ["suite: printed no test result"]);
    }

    #[test]
    fn a_program_that_fails_after_passing_results_is_a_failure() {
        let line =
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let tally = read(&[line], false);
        assert_eq!((tally.passed, tally.failed), (2, 1));
    }
}
