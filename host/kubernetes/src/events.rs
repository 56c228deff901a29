//! Events (events.k8s.io/v1) on objects.
//!
//! | task | owns | receives | ends |
//! |---|---|---|---|
//! | `Events` | the series under way | Events, on a bounded queue | with the last [`Recorder`] |
//!
//! An Event that is like one of the last minutes is counted in that one's `series` and written when the series rests, as
//! Kubernetes' own recorder does. Nothing waits for an Event and nothing depends on one: what finds the queue full, or the
//! API server away, is dropped and counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bellhop_core::ObjectRef;
use bytes::Bytes;
use http::Method;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::request::{Failure, JSON, Request, exchange};
use crate::resource::Resource;

/// Events that may wait: a burst of one for each of a thousand Services, at some 300 bytes each.
const DEPTH: usize = 1000;

/// Longest note, as the kind allows.
const NOTE_MAX_BYTES: usize = 1024;

/// An Event that happens again within this time is of the same series.
const SERIES: Duration = Duration::from_secs(360);

/// Series under way at most; the one that rests longest is forgotten for another one.
const SERIES_MAX: usize = 2000;

/// Least time between two writes of one series.
const SERIES_WRITE: Duration = Duration::from_secs(30);

/// How long one write may take before it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Least time between two writes: at most 20 a second, as Events are the least of what the API server has to do.
const PACE: Duration = Duration::from_millis(50);

/// Namespace of the Events on cluster-scoped objects, by custom.
const CLUSTER_NAMESPACE: &str = "default";

/// Whether an Event is news or trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventKind {
    /// News.
    Normal,
    /// Trouble.
    Warning,
}

/// Something that happened to an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// To which object.
    pub regarding: ObjectRef,
    /// Its `metadata.uid`, without which `kubectl describe` does not show the Event.
    pub uid: Option<Arc<str>>,
    /// News or trouble.
    pub kind: EventKind,
    /// Machine-readable, from the closed set of condition reasons.
    pub reason: &'static str,
    /// What was done or tried, in CamelCase: `Allocate`, `Announce`.
    pub action: &'static str,
    /// One sentence for people; cut at 1024 bytes, as the kind allows.
    pub note: String,
}

/// Writes Events from a bounded queue, behind everything else; alike ones within some minutes are one series.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder that reports as `controller` (`bellhop.dev/controller`), from the pod `instance`.
    pub fn start(client: Client, controller: &'static str, instance: &str) -> Self {
        let (queue, received) = mpsc::channel(DEPTH);
        let dropped = Arc::new(AtomicU64::new(0));
        let events = Events {
            client,
            controller,
            instance: instance.into(),
            dropped: dropped.clone(),
            series: BTreeMap::new(),
            serial: 0,
        };
        tokio::spawn(events.run(received));
        Self { queue, dropped }
    }

    /// Records that something changed; call it on transitions only. Never waits: where the queue is full, or the API
    /// server slow or away, the Event is dropped and counted.
    pub fn record(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many Events were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What makes Events alike: the object, reason and action, and the note.
type Likeness = (ObjectRef, Option<Arc<str>>, &'static str, &'static str, String);

/// An Event that was written, and how often it happened since.
#[derive(Debug)]
struct Series {
    name: String,
    namespace: String,
    count: u32,
    written: u32,
    last: Instant,
    wrote: Instant,
}

struct Events {
    client: Client,
    controller: &'static str,
    instance: String,
    dropped: Arc<AtomicU64>,
    series: BTreeMap<Likeness, Series>,
    serial: u64,
}

impl Events {
    async fn run(mut self, mut received: mpsc::Receiver<Event>) {
        let mut rest = tokio::time::interval(SERIES_WRITE);
        loop {
            tokio::select! {
                event = received.recv() => match event {
                    Some(event) => self.happened(event).await,
                    None => return,
                },
                _ = rest.tick() => self.rest().await,
            }
        }
    }

    async fn happened(&mut self, event: Event) {
        let now = Instant::now();
        let note = cut(&event.note).to_owned();
        let likeness = (event.regarding.clone(), event.uid.clone(), event.reason, event.action, note);
        if let Some(series) = self.series.get_mut(&likeness) {
            series.count += 1;
            series.last = now;
            return;
        }
        if self.series.len() >= SERIES_MAX {
            let oldest = self.series.iter().min_by_key(|(_, series)| series.last);
            if let Some(likeness) = oldest.map(|(likeness, _)| likeness.clone()) {
                self.series.remove(&likeness);
            }
        }
        self.serial += 1;
        let micros = Timestamp::now().as_microsecond();
        // As other recorders name theirs; a name that is too long for the object's own is cut.
        let stem: String = event.regarding.name.chars().take(200).collect();
        let stem = stem.trim_end_matches(['.', '-']);
        let name = format!("{stem}.{micros:x}{:x}", self.serial);
        let namespace = event.regarding.namespace.as_deref().unwrap_or(CLUSTER_NAMESPACE).to_owned();
        let object = self.object(&event, &likeness.4, &name, &namespace);
        let path = events().collection(Some(&namespace));
        if self.write(Method::POST, path, JSON, &object).await {
            let series = Series { name, namespace, count: 1, written: 1, last: now, wrote: now };
            self.series.insert(likeness, series);
        }
    }

    /// Writes the series that went on, and forgets those that came to rest.
    async fn rest(&mut self) {
        let now = Instant::now();
        self.series.retain(|_, series| series.written < series.count || now - series.last < SERIES);
        let due = self.series.iter().filter(|(_, series)| {
            series.written < series.count && now.saturating_duration_since(series.wrote) >= SERIES_WRITE
        });
        let due: Vec<(Likeness, String, u32)> = due
            .map(|(likeness, series)| {
                let path = format!("{}/{}", events().collection(Some(&series.namespace)), series.name);
                (likeness.clone(), path, series.count)
            })
            .collect();
        for (likeness, path, count) in due {
            let patch = json!({"series": {"count": count, "lastObservedTime": micro_time()}});
            self.write(Method::PATCH, path, "application/merge-patch+json", &patch).await;
            if let Some(series) = self.series.get_mut(&likeness) {
                series.written = count;
                series.wrote = now;
            }
        }
    }

    fn object(&self, event: &Event, note: &str, name: &str, namespace: &str) -> Value {
        let resource = Resource::of(&event.regarding);
        let kind = match event.kind {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        };
        json!({
            "apiVersion": events().api_version,
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micro_time(),
            "reportingController": self.controller,
            "reportingInstance": self.instance,
            "action": event.action,
            "reason": event.reason,
            "type": kind,
            "note": note,
            "regarding": {
                "apiVersion": resource.map(|resource| resource.api_version),
                "kind": &*event.regarding.kind,
                "namespace": event.regarding.namespace.as_deref(),
                "name": &*event.regarding.name,
                "uid": event.uid.as_deref(),
            },
        })
    }

    /// One attempt; an Event that cannot be written is dropped.
    async fn write(&self, method: Method, path: String, content_type: &'static str, object: &Value) -> bool {
        let body = Bytes::from(object.to_string());
        let request = Request { method, path, accept: JSON, content_type: Some(content_type), body };
        let answer = tokio::time::timeout(WRITE_TIMEOUT, exchange(&self.client, request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::silent("no answer within 5 s")));
        if let Err(failure) = &answer {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%failure, "an Event could not be written and is dropped");
        }
        tokio::time::sleep(PACE).await;
        answer.is_ok()
    }
}

fn events() -> Resource {
    Resource::of_kind("Event").unwrap_or(Resource::ALL[0])
}

/// Now, as `metav1.MicroTime`.
fn micro_time() -> String {
    format!("{:.6}", Timestamp::now())
}

/// The first bytes of a note, as many as are allowed, without half a character at its end.
fn cut(note: &str) -> &str {
    let mut end = note.len().min(NOTE_MAX_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(600);
        assert_eq!(cut(&format!("a{long}")).len(), 1023);
    }

    #[test]
    fn a_time_has_six_digits_of_a_second() {
        let time = micro_time();
        let fraction = time.split_once('.').unwrap().1;
        assert_eq!(fraction.len(), 7, "{time}");
        assert!(fraction.ends_with('Z'), "{time}");
    }
}
