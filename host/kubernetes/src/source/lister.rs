//! The task that lists and watches one kind.
//!
//! It begins with a list: streamed (`sendInitialEvents`) where the server can, else in pages. Then it watches from the
//! version of the list, renews the watch when it ends, and lists anew when that version has become too old (410) — for
//! whoever listens, a list anew is a list, and not a deletion of everything. Every failure is followed by a wait. An object
//! is read alone: one that is no JSON that can be read spoils no other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::topic::Topic;
use super::{Counters, Health};
use crate::backoff::{Backoff, chance};
use crate::request::{Failure, Lines, Refusal, Request, StatusObject, exchange, send};

/// Objects of one page: at 10,000 Services 20 requests, each some megabytes at most.
const PAGE: usize = 500;

/// Objects in one message, so that a full channel bounds memory by a few hundred objects.
const CHUNK: usize = 50;

/// The API server ends a watch after a time from here to twice of it, so that speakers do not renew theirs at once.
const WATCH_SECONDS: u32 = 300;

/// A watch that brings nothing for this long is dead: bookmarks come about every minute.
const IDLE_MAX: Duration = Duration::from_secs(150);

/// A watch that ends sooner was ended by something that would end the next one too.
const WATCH_LEAST: Duration = Duration::from_secs(1);

/// Waits between attempts: short, so that a restart of the API server is over soon; at most so long that an outage costs
/// a thousand speakers a few hundred requests a second.
const WAIT_LEAST: Duration = Duration::from_millis(500);
const WAIT_MOST: Duration = Duration::from_secs(15);

/// What was seen of a topic.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A list begins.
    Relist,
    /// Objects that are there, in a list or by an event.
    Objects(Vec<Object>),
    /// An object is gone.
    Gone(Object),
    /// The list is whole.
    Listed,
    /// It cannot be listed or watched, for a reason that time alone does not mend.
    Refused(Refusal),
    /// It can again.
    Allowed,
    /// An attempt to list had no answer; whether nobody listens there at all.
    Silent { nobody: bool },
}

/// An object as it came.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    /// Without `metadata.managedFields`; why it cannot be read otherwise.
    pub(crate) value: Result<Value, String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    r#continue: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What is read of every object, whatever else it holds.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct HeadMeta {
    name: String,
    namespace: Option<String>,
    resource_version: String,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Object {
    fn of(raw: &RawValue) -> Self {
        let head: Head = serde_json::from_str(raw.get()).unwrap_or_default();
        let value =
            serde_json::from_str::<Value>(raw.get()).map_err(|error| format!("cannot be read: {error}"));
        let value = value.map(|mut value| {
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            value
        });
        Self { name: head.metadata.name, namespace: head.metadata.namespace, value }
    }
}

/// How a watch ended.
enum End {
    /// There is more to do at once: a list is to be followed by a watch, or tried another way.
    Again,
    /// As it should: after its time.
    Over,
    /// The version to go on from is too old.
    Expired,
    /// Whoever listens is gone.
    Nobody,
    Failed(Failure),
}

/// One event of a watch.
enum Event {
    Seen(Seen),
    /// A bookmark; whether it ends the list that the watch began with.
    Bookmark {
        ends_list: bool,
    },
    Error(Refusal),
}

/// Lists and watches one topic until its listener is gone.
pub(crate) struct Watch {
    pub(crate) client: Client,
    /// See [`super::SourceOptions::recoveries`].
    pub(crate) recoveries: Option<watch::Receiver<u64>>,
    pub(crate) topic: Topic,
    pub(crate) namespace: Arc<str>,
    pub(crate) seen: mpsc::Sender<(Topic, Seen)>,
    pub(crate) health: Arc<Health>,
    pub(crate) counters: Arc<Counters>,
    /// Whether the server takes `sendInitialEvents`.
    pub(crate) streams: bool,
    /// What was refused last, to say it once.
    pub(crate) refused: Option<Refusal>,
}

impl Watch {
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(WAIT_LEAST, WAIT_MOST);
        // The version up to which everything was seen; without one a list is needed.
        let mut version: Option<String> = None;
        loop {
            let began = Instant::now();
            let failure = match self.go_on(&mut version, &mut backoff).await {
                End::Again => continue,
                End::Over if began.elapsed() > WATCH_LEAST => continue,
                End::Over => Failure::silent("the watch ended as soon as it began"),
                End::Nobody => return,
                End::Expired => {
                    // No failure of anybody: a watch from before a compaction, or one that was away for long.
                    version = None;
                    self.counters.relists.fetch_add(1, Ordering::Relaxed);
                    Failure::silent("the version that was seen is compacted")
                }
                End::Failed(failure) => {
                    if !self.tell(&failure, version.is_some()).await {
                        return;
                    }
                    failure
                }
            };
            let wait = backoff.next(failure.retry_after(), chance());
            tracing::debug!(topic = self.topic.resource().plural, %failure, ?wait, "watch waits");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.seen.closed() => return,
                // Somebody has an answer again. One that has just started may refuse some kinds for seconds still: what
                // fails from now on waits as after a first failure.
                () = recovery(&mut self.recoveries) => backoff.reset(),
            }
        }
    }

    /// Tells of a failure what a listener must know; false when nobody listens.
    async fn tell(&mut self, failure: &Failure, watched: bool) -> bool {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let lasting = match failure {
            Failure::Refused(refusal) if matches!(refusal.code, 401 | 403 | 404) => Some(refusal.clone()),
            Failure::Refused(_) | Failure::Silent { .. } => None,
        };
        if let Some(refusal) = lasting {
            self.health.answered(self.topic);
            if self.refused.as_ref() == Some(&refusal) {
                return true;
            }
            self.refused = Some(refusal.clone());
            return self.send(Seen::Refused(refusal)).await;
        }
        match failure {
            Failure::Refused(refusal) if !refusal.is_of_the_server() => self.health.answered(self.topic),
            _ => self.health.silent(self.topic, failure),
        }
        let nobody = matches!(failure, Failure::Silent { nobody: true, .. });
        watched || self.send(Seen::Silent { nobody }).await
    }

    async fn go_on(&mut self, version: &mut Option<String>, backoff: &mut Backoff) -> End {
        if let Some(from) = version.take() {
            let mut from = from;
            let end = self.follow(&mut from, false, backoff).await;
            *version = Some(from);
            return end;
        }
        if self.streams {
            let mut from = String::new();
            let end = self.follow(&mut from, true, backoff).await;
            match &end {
                End::Failed(Failure::Refused(refusal)) if matches!(refusal.code, 400 | 422) => {
                    self.streams = false;
                    return End::Again;
                }
                _ => *version = (!from.is_empty()).then_some(from),
            }
            return end;
        }
        match self.pages().await {
            Ok(Some(from)) => {
                backoff.reset();
                *version = Some(from);
                End::Again
            }
            Ok(None) => End::Nobody,
            Err(Failure::Refused(refusal)) if refusal.is_expired() => End::Expired,
            Err(failure) => End::Failed(failure),
        }
    }

    /// Lists in pages; the version of the list, `None` when nobody listens.
    async fn pages(&mut self) -> Result<Option<String>, Failure> {
        let base = self.topic.path(&self.namespace);
        let mut next = String::new();
        let mut first = true;
        loop {
            let mut path = format!("{base}&limit={PAGE}");
            if !next.is_empty() {
                path.push_str(&format!("&continue={}", super::topic::escaped(&next)));
            }
            let request = Request { accept: self.topic.accept().0, ..Request::get(path) };
            let body = exchange(&self.client, request).await?;
            let page: Page<'_> = serde_json::from_slice(&body)
                .map_err(|error| Failure::silent(format!("the list cannot be read: {error}")))?;
            if std::mem::take(&mut first) && !(self.answered().await && self.send(Seen::Relist).await) {
                return Ok(None);
            }
            for items in page.items.chunks(CHUNK) {
                let objects = items.iter().map(|raw| Object::of(raw)).collect();
                if !self.send(Seen::Objects(objects)).await {
                    return Ok(None);
                }
            }
            if page.metadata.r#continue.is_empty() {
                let listening = self.send(Seen::Listed).await;
                return Ok(listening.then_some(page.metadata.resource_version));
            }
            next = page.metadata.r#continue;
        }
    }

    /// Watches from a version, or from a streamed list on, and moves the version along. Where the list does not come to its
    /// end, the version stays empty.
    async fn follow(&mut self, version: &mut String, list: bool, backoff: &mut Backoff) -> End {
        let seconds = f64::from(WATCH_SECONDS) * (1.0 + chance());
        let mut path = format!(
            "{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds:.0}",
            self.topic.path(&self.namespace)
        );
        if list {
            path.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=");
        } else {
            path.push_str(&format!("&resourceVersion={}", super::topic::escaped(version)));
        }
        if let Some(recoveries) = &mut self.recoveries {
            // What was before this question does not concern it.
            recoveries.mark_unchanged();
        }
        let request = Request { accept: self.topic.accept().1, ..Request::get(path) };
        let mut lines = match send(&self.client, request).await {
            Ok(response) => Lines::of(response),
            Err(Failure::Refused(refusal)) if refusal.is_expired() => return End::Expired,
            Err(failure) => return End::Failed(failure),
        };
        if !self.answered().await || (list && !self.send(Seen::Relist).await) {
            return End::Nobody;
        }
        let mut listing = list;
        let mut chunk = Vec::new();
        loop {
            let line = tokio::select! {
                line = tokio::time::timeout(IDLE_MAX, lines.next()) => line,
                () = self.seen.closed() => return End::Nobody,
                () = recovery(&mut self.recoveries) => return End::Again,
            };
            let line = match line {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) if listing => return End::Failed(Failure::silent("the list broke off")),
                Ok(Ok(None)) => return End::Over,
                Ok(Err(failure)) => return End::Failed(failure),
                Err(_) => return End::Failed(Failure::silent("nothing came over the watch for 150 s")),
            };
            let (event, at) = match read(&line) {
                Ok(event) => event,
                Err(message) => return End::Failed(Failure::silent(message)),
            };
            let message = match event {
                Event::Error(refusal) if refusal.is_expired() => return End::Expired,
                Event::Error(refusal) => return End::Failed(Failure::Refused(refusal)),
                Event::Bookmark { ends_list } if ends_list && listing => {
                    listing = false;
                    backoff.reset();
                    let rest = std::mem::take(&mut chunk);
                    if !self.send(Seen::Objects(rest)).await {
                        return End::Nobody;
                    }
                    Some(Seen::Listed)
                }
                Event::Bookmark { .. } => None,
                Event::Seen(Seen::Objects(objects)) if listing => {
                    chunk.extend(objects);
                    (chunk.len() >= CHUNK).then(|| Seen::Objects(std::mem::take(&mut chunk)))
                }
                Event::Seen(seen) => {
                    self.counters.events.fetch_add(1, Ordering::Relaxed);
                    Some(seen)
                }
            };
            if let Some(message) = message
                && !self.send(message).await
            {
                return End::Nobody;
            }
            if !listing && !at.is_empty() {
                backoff.reset();
                *version = at;
            }
        }
    }

    /// The server has answered; false when nobody listens.
    async fn answered(&mut self) -> bool {
        self.health.answered(self.topic);
        self.refused.take().is_none() || self.send(Seen::Allowed).await
    }

    async fn send(&self, seen: Seen) -> bool {
        self.seen.send((self.topic, seen)).await.is_ok()
    }
}

/// Ends when the API server answers again after it had not; never where nobody tells.
async fn recovery(recoveries: &mut Option<watch::Receiver<u64>>) {
    let told = match recoveries {
        Some(recoveries) => recoveries.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

/// One line of a watch, and the version that it brings up to.
fn read(line: &[u8]) -> Result<(Event, String), String> {
    const ENDS_LIST: &str = "k8s.io/initial-events-end";
    let unreadable = |error: serde_json::Error| format!("an event cannot be read: {error}");
    let line: Line<'_> = serde_json::from_slice(line).map_err(unreadable)?;
    if line.r#type == "ERROR" {
        let status: StatusObject = serde_json::from_str(line.object.get()).map_err(unreadable)?;
        return Ok((Event::Error(Refusal::of(status)), String::new()));
    }
    let head: Head = serde_json::from_str(line.object.get()).unwrap_or_default();
    let event = match line.r#type {
        "ADDED" | "MODIFIED" => Event::Seen(Seen::Objects(vec![Object::of(line.object)])),
        "DELETED" => Event::Seen(Seen::Gone(Object::of(line.object))),
        "BOOKMARK" => {
            let annotations = head.metadata.annotations.unwrap_or_default();
            Event::Bookmark { ends_list: annotations.get(ENDS_LIST).is_some_and(|value| value == "true") }
        }
        other => return Err(format!("an event of the unknown type {other}")),
    };
    Ok((event, head.metadata.resource_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_nested_too_deeply_spoils_no_other_of_its_page() {
        let deep = format!(
            r#"{{"metadata": {{"name": "deep"}}, "spec": {}{}}}"#,
            "[".repeat(5000),
            "]".repeat(5000)
        );
        let text = format!(
            r#"{{"metadata": {{"resourceVersion": "7", "continue": "x"}},
                "items": [{{"metadata": {{"name": "a", "managedFields": [1]}}}}, {deep}]}}"#
        );
        let page: Page<'_> = serde_json::from_str(&text).unwrap();
        let objects: Vec<Object> = page.items.iter().map(|raw| Object::of(raw)).collect();
        assert_eq!(*objects[0].value.as_ref().unwrap(), serde_json::json!({"metadata": {"name": "a"}}));
        assert_eq!(objects[1].name, "deep");
        assert!(objects[1].value.as_ref().unwrap_err().contains("recursion"), "{objects:?}");
    }

    #[test]
    fn a_bookmark_and_an_error_are_told_from_objects() {
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9",
            "annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(matches!(read(bookmark).unwrap(), (Event::Bookmark { ends_list: true }, at) if at == "9"));
        let expired =
            br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}"#;
        assert!(matches!(read(expired).unwrap(), (Event::Error(refusal), _) if refusal.is_expired()));
        assert!(read(b"{").is_err());
    }
}
