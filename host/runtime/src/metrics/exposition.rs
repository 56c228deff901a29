//! The two text formats that a scraper may ask for.

use std::collections::HashSet;

/// A text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposition {
    /// Prometheus's text format 0.0.4: what everything understands.
    Text,
    /// OpenMetrics 1.0.0, where it is asked for.
    OpenMetrics,
}

impl Exposition {
    /// The format for a request's `Accept`: OpenMetrics only where it is named, as Prometheus does.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What was written as OpenMetrics, in this format. The samples are the same; only a counter's family, which in
    /// OpenMetrics lacks the `_total` of its samples, and the end mark differ.
    pub(super) fn of(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Text => {
                let counters: HashSet<&str> = openmetrics.lines().filter_map(counter).collect();
                let lines = openmetrics.lines().filter(|line| *line != "# EOF");
                lines.fold(String::with_capacity(openmetrics.len()), |mut text, line| {
                    match described(line).filter(|(_, family, _)| counters.contains(family)) {
                        Some((start, family, rest)) => {
                            text.extend([start, family, "_total ", rest, "\n"]);
                        }
                        None => text.extend([line, "\n"]),
                    }
                    text
                })
            }
        }
    }
}

/// `# HELP ` or `# TYPE `, the family, and what is said of it.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let start = ["# HELP ", "# TYPE "].into_iter().find(|start| line.starts_with(start))?;
    let (family, rest) = line[start.len()..].split_once(' ')?;
    Some((start, family, rest))
}

/// The family that this line says is a counter.
fn counter(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENMETRICS: &str = "# HELP a A counter.\n# TYPE a counter\na_total{x=\"# EOF\"} 1\n# HELP b A gauge.\n\
                               # TYPE b gauge\nb 2\n# EOF\n";

    #[test]
    fn in_the_older_format_a_counters_family_ends_in_total_as_its_samples_do() {
        assert_eq!(
            Exposition::Text.of(OPENMETRICS.into()),
            "# HELP a_total A counter.\n# TYPE a_total counter\na_total{x=\"# EOF\"} 1\n# HELP b A gauge.\n\
             # TYPE b gauge\nb 2\n"
        );
        assert_eq!(Exposition::OpenMetrics.of(OPENMETRICS.into()), OPENMETRICS);
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Exposition::accepted(prometheus), Exposition::OpenMetrics);
        assert_eq!(Exposition::accepted("*/*"), Exposition::Text);
        assert_eq!(Exposition::accepted(""), Exposition::Text);
    }
}
