//! Requests that the API server counted, of everybody.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};

use super::api::Api;

/// The server's own counter of requests (`apiserver_request_total`, stable since Kubernetes 1.17).
const METRIC: &str = "apiserver_request_total{";
/// Its verbs that change something.
const WRITES: [&str; 6] = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];

/// Processor time of the server's process, in seconds.
const PROCESSOR: &str = "process_cpu_seconds_total ";

/// Processor time that the server has used since it started, in seconds.
///
/// # Errors
/// When it does not tell.
pub fn processor_seconds(api: &Api) -> Result<f64> {
    let text = api.text("/metrics")?;
    let used = text.lines().find_map(|line| line.strip_prefix(PROCESSOR));
    let used = used.with_context(|| format!("the API server's metrics have no {PROCESSOR}"))?;
    used.parse().with_context(|| format!("{PROCESSOR}{used}"))
}

/// Writes by verb and resource, `services/status` for a subresource; refused ones too.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Writes(BTreeMap<(String, String), u64>);

impl Writes {
    /// Those that the server counted since it started.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn of(api: &Api) -> Result<Self> {
        let writes = Self::parse(&api.text("/metrics")?);
        ensure!(!writes.0.is_empty(), "the API server's metrics have no {METRIC}");
        Ok(writes)
    }

    fn parse(text: &str) -> Self {
        let mut writes = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(METRIC)) {
            let Some((labels, count)) = line.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                labels
                    .split(',')
                    .find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
            };
            let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else { continue };
            if !WRITES.contains(&verb) || label("dry_run").is_some_and(|dry| !dry.is_empty()) {
                continue;
            }
            let resource = match label("subresource") {
                None | Some("") => resource.to_owned(),
                Some(part) => format!("{resource}/{part}"),
            };
            let count = count.parse::<f64>().unwrap_or_default() as u64;
            *writes.entry((verb.to_owned(), resource)).or_default() += count;
        }
        Self(writes)
    }

    /// Those since an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let news = self.0.iter().filter_map(|(what, count)| {
            let more = count.saturating_sub(earlier.0.get(what).copied().unwrap_or_default());
            (more > 0).then(|| (what.clone(), more))
        });
        Self(news.collect())
    }

    /// How many there were of a resource, whatever the verb.
    pub fn to(&self, resource: &str) -> u64 {
        self.0.iter().filter(|((_, of), _)| of == resource).map(|(_, count)| count).sum()
    }

    /// How many there were of this verb and resource.
    pub fn with(&self, verb: &str, resource: &str) -> u64 {
        self.0.get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or_default()
    }

    /// How many there were but for these resources.
    pub fn but_to(&self, resources: &[&str]) -> u64 {
        self.0.iter().filter(|((_, of), _)| !resources.contains(&of.as_str())).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> =
            self.0.iter().map(|((verb, resource), count)| format!("{count} {verb} {resource}")).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = r#"# HELP apiserver_request_total [STABLE]
apiserver_request_total{code="201",component="apiserver",dry_run="",group="bellhop.dev",resource="addressclaims",scope="resource",subresource="",verb="POST",version="v1alpha1"} 7
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="cluster",subresource="",verb="LIST",version="v1"} 3
"#;
    const LATER: &str = r#"
apiserver_request_total{code="201",component="apiserver",dry_run="",group="bellhop.dev",resource="addressclaims",scope="resource",subresource="",verb="POST",version="v1alpha1"} 9
apiserver_request_total{code="409",component="apiserver",dry_run="",group="bellhop.dev",resource="addressclaims",scope="resource",subresource="",verb="POST",version="v1alpha1"} 1
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="APPLY",version="v1"} 1.1e+01
apiserver_request_total{code="201",component="apiserver",dry_run="All",group="",resource="pods",scope="resource",subresource="",verb="POST",version="v1"} 5
"#;

    #[test]
    fn writes_are_counted_by_verb_and_resource_refused_ones_too_and_dry_runs_not() {
        let more = Writes::parse(LATER).since(&Writes::parse(EARLIER));
        assert_eq!(more.to_string(), "11 APPLY services/status, 3 POST addressclaims");
        assert_eq!((more.to("addressclaims"), more.to("services"), more.to("services/status")), (3, 0, 11));
        assert_eq!((more.with("POST", "addressclaims"), more.but_to(&["services/status"])), (3, 3));
        assert_eq!(more.since(&more).to_string(), "none");
    }
}
