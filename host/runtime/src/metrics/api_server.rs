//! What the parts that talk to the API server have counted, as metrics.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bellhop_kubernetes::Writer;
use bellhop_kubernetes::source::Counters;

use super::{ApiWrite, Metrics, ObjectKind, Verb, WriteResult};

impl Metrics {
    /// Writes what came of the writes so far, what watches brought, and whether the API server answers.
    pub fn set_api_server(&self, writer: &Writer, watches: &Counters, reachable: bool) {
        let counts = writer.counts();
        self.set_api_writes(
            counts.iter().map(|((kind, verb, result), count)| (*kind, verb.as_str(), *result, *count)),
        );
        self.api_reachable.set_bool(reachable);
        self.watch_events.set(watches.events.load(Ordering::Relaxed) as f64);
        self.watch_relists.set(watches.relists.load(Ordering::Relaxed) as f64);
        self.watch_failures.set(watches.failures.load(Ordering::Relaxed) as f64);
    }

    /// Writes what calls of the API server came to so far: kind, verb, category of the result, how many. Reads are left
    /// out.
    pub(super) fn set_api_writes<'a>(
        &self,
        calls: impl IntoIterator<Item = (&'a str, &'a str, &'a str, u64)>,
    ) {
        let mut counts = HashMap::new();
        for (kind, verb, result, count) in calls {
            let Some(verb) = Verb::of(verb) else { continue };
            let labels = ApiWrite { kind: ObjectKind::of(kind), verb, result: WriteResult::of(result) };
            *counts.entry(labels).or_insert(0) += count;
        }
        self.api_writes.replace(counts.into_iter().map(|(labels, count)| (labels, count as f64)));
    }
}
