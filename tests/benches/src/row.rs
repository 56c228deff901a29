//! One measured figure, the table of them, and their JSON.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Unit {
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Hundredths of one processor core.
    #[serde(rename = "% of a core")]
    CorePercent,
    /// Megabytes of 1,000,000 bytes.
    #[serde(rename = "MB")]
    Megabytes,
    /// A plain count.
    #[serde(rename = "count")]
    Count,
    /// One figure over another.
    #[serde(rename = "ratio")]
    Ratio,
}

impl Unit {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Microseconds => " us",
            Self::Milliseconds => " ms",
            Self::Seconds => " s",
            Self::CorePercent => " % of a core",
            Self::Megabytes => " MB",
            Self::Count => "",
            Self::Ratio => " x",
        }
    }
}

/// One figure: the median of its samples with the extremes, and the most that is asked for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The bench.
    pub bench: &'static str,
    /// What was measured.
    pub what: String,
    /// Unit of all figures of the row.
    pub unit: Unit,
    /// Median of the samples.
    pub median: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// How many samples.
    pub samples: usize,
    /// The most that is asked for; `None` where the figure is told and nothing asked.
    pub limit: Option<f64>,
    /// The median is within the limit; `None` without one.
    pub ok: Option<bool>,
}

impl Row {
    /// A row of these samples; of an even number the median is the upper one of the middle two.
    ///
    /// # Panics
    /// Without any sample.
    pub fn of(bench: &'static str, what: impl Into<String>, unit: Unit, mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "a figure has at least one sample");
        samples.sort_by(f64::total_cmp);
        let median = samples[samples.len() / 2];
        let (min, max) = (samples[0], samples[samples.len() - 1]);
        Self {
            bench,
            what: what.into(),
            unit,
            median,
            min,
            max,
            samples: samples.len(),
            limit: None,
            ok: None,
        }
    }

    /// A row of one sample.
    pub fn one(bench: &'static str, what: impl Into<String>, unit: Unit, figure: f64) -> Self {
        Self::of(bench, what, unit, vec![figure])
    }

    /// The same with the most that is asked for.
    #[must_use]
    pub fn at_most(self, limit: f64) -> Self {
        Self { limit: Some(limit), ok: Some(self.median <= limit), ..self }
    }

    fn verdict(&self) -> &'static str {
        match self.ok {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        }
    }

    fn measured(&self) -> String {
        let (digits, suffix) = (self.digits(), self.unit.suffix());
        let median = format!("{:.digits$}{suffix}", self.median);
        if self.samples == 1 {
            return median;
        }
        format!("{median} ({:.digits$}-{:.digits$}, {} samples)", self.min, self.max, self.samples)
    }

    fn digits(&self) -> usize {
        match self.unit {
            Unit::Count => 0,
            Unit::Ratio | Unit::CorePercent => 2,
            _ if self.median < 1.0 => 3,
            _ if self.median < 100.0 => 1,
            _ => 0,
        }
    }

    fn asked(&self) -> String {
        self.limit.map_or_else(|| "-".into(), |limit| format!("<= {limit}{}", self.unit.suffix()))
    }
}

/// Times as samples of microseconds.
pub fn microseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e6).collect()
}

/// Times as samples of milliseconds.
pub fn milliseconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

/// The sample that 99 of 100 are not above (the nearest rank).
///
/// # Panics
/// Without any sample.
pub fn percentile_99(samples: &[f64]) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() * 99).div_ceil(100) - 1]
}

/// Bytes as megabytes.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Rows as a table for people.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![["bench", "what", "measured: median (min-max)", "asked", ""].map(str::to_owned)];
        lines.extend(self.0.iter().map(|row| {
            [row.bench.into(), row.what.clone(), row.measured(), row.asked(), row.verdict().into()]
        }));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let [bench, what, measured, asked] = [0, 1, 2, 3].map(width);
        for [a, b, c, d, e] in &lines {
            let line = format!("{a:bench$}  {b:what$}  {c:measured$}  {d:asked$}  {e}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Report<'a> {
    profile: &'static str,
    processor: String,
    processors: usize,
    kernel: String,
    rows: &'a [Row],
}

/// Writes rows, with the machine they were measured on, as JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let report = Report {
        profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        processor: model.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.into()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into(),
        rows,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_median_extremes_and_whether_the_limit_holds() {
        let row = Row::of("b", "w", Unit::Microseconds, vec![30.0, 10.0, 20.0]).at_most(20.0);
        assert_eq!((row.median, row.min, row.max, row.ok), (20.0, 10.0, 30.0, Some(true)));
        assert_eq!(row.clone().at_most(19.9).ok, Some(false));
        let table = Table(&[row.clone(), row.at_most(19.9)]).to_string();
        assert!(table.contains("20.0 us (10.0-30.0, 3 samples)  <= 20 us    ok"), "{table}");
        assert!(table.contains("<= 19.9 us  MISSED"), "{table}");
    }

    #[test]
    fn the_99th_percentile_leaves_one_in_a_hundred_above() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile_99(&samples), 198.0);
        assert_eq!((percentile_99(&samples[..50]), percentile_99(&[7.0])), (200.0, 7.0));
    }

    #[test]
    fn a_figure_of_one_sample_has_no_extremes_and_no_verdict_without_a_limit() {
        let row = Row::of("b", "w", Unit::Count, vec![7.0]);
        assert_eq!((row.measured().as_str(), row.asked().as_str(), row.verdict()), ("7", "-", ""));
    }
}
