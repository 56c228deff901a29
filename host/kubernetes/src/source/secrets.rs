//! Reads the Secrets that BGPPeers name.
//!
//! One by one by `get`, and again and again: to watch a Secret is to be allowed to read every Secret of the namespace, as RBAC
//! cannot know their names, and a speaker should not be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::ObjectName;
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::backoff::{Backoff, chance};
use crate::request::{Failure, Request, exchange};
use crate::resource::Resource;

/// Longest and shortest time between two reads of a Secret: a thousand speakers with two each are 130 small requests a second
/// at most. In between, a third of the hold time of its sessions: a new password is there before they are lost.
const PERIOD_MOST: Duration = Duration::from_secs(15);
const PERIOD_LEAST: Duration = Duration::from_secs(1);

/// Waits between attempts while the API server is away.
const WAIT_LEAST: Duration = Duration::from_millis(500);
const WAIT_MOST: Duration = Duration::from_secs(15);

/// Answers on their way; each is taken at once, and a full channel makes the readers wait.
const ANSWERS: usize = 16;

/// What was read of a Secret.
#[derive(Clone, PartialEq)]
pub(crate) enum Answer {
    /// It is there: its `metadata.resourceVersion`, and all of it. Has no `Debug`, as it is not to be shown.
    Content(String, Value),
    /// It does not exist.
    Absent,
    /// It may not be read, in the words of the API server.
    Refused(String),
}

/// The Secrets that are read.
pub(crate) struct Secrets {
    client: Client,
    namespace: Arc<str>,
    readers: BTreeMap<ObjectName, Reader>,
    tasks: JoinSet<()>,
    answers: mpsc::Sender<(ObjectName, Answer)>,
    received: mpsc::Receiver<(ObjectName, Answer)>,
}

struct Reader {
    task: AbortHandle,
    period: watch::Sender<Duration>,
    answered: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secrets {
    pub(crate) fn new(client: Client, namespace: Arc<str>) -> Self {
        let (answers, received) = mpsc::channel(ANSWERS);
        Self { client, namespace, readers: BTreeMap::new(), tasks: JoinSet::new(), answers, received }
    }

    /// These are the Secrets to read, with the hold times of their sessions.
    pub(crate) fn follow(&mut self, wanted: BTreeMap<ObjectName, Duration>) {
        self.readers.retain(|name, _| wanted.contains_key(name));
        for (name, hold_time) in wanted {
            let period = period(hold_time);
            if let Some(reader) = self.readers.get(&name) {
                reader.period.send_if_modified(|now| std::mem::replace(now, period) != period);
                continue;
            }
            let (sender, receiver) = watch::channel(period);
            let path = Resource::of_kind("Secret")
                .map(|secrets| format!("{}/{name}", secrets.collection(Some(&self.namespace))));
            let (client, answers) = (self.client.clone(), self.answers.clone());
            let of = name.clone();
            let task = self.tasks.spawn(async move {
                read(&client, &path.unwrap_or_default(), &of, receiver, answers).await;
            });
            let reader = Reader { task, period: sender, answered: false };
            self.readers.insert(name, reader);
        }
    }

    /// The next Secret that is not as it was read before; giving up the future loses nothing.
    pub(crate) async fn next(&mut self) -> (ObjectName, Answer) {
        loop {
            let (name, answer) = tokio::select! {
                Some(answer) = self.received.recv() => answer,
                Some(ended) = self.tasks.join_next() => {
                    super::outcome(ended);
                    continue;
                }
                // One sender is this struct's own.
                else => std::future::pending().await,
            };
            if let Some(reader) = self.readers.get_mut(&name) {
                reader.answered = true;
                return (name, answer);
            }
        }
    }

    /// Whether every one was read, or cannot be.
    pub(crate) fn is_settled(&self) -> bool {
        self.readers.values().all(|reader| reader.answered)
    }
}

/// How often a Secret is read whose sessions have this hold time, zero for none.
fn period(hold_time: Duration) -> Duration {
    if hold_time.is_zero() { PERIOD_MOST } else { (hold_time / 3).clamp(PERIOD_LEAST, PERIOD_MOST) }
}

/// Reads one Secret until nobody listens, and tells what changed.
async fn read(
    client: &Client,
    path: &str,
    name: &ObjectName,
    mut period: watch::Receiver<Duration>,
    answers: mpsc::Sender<(ObjectName, Answer)>,
) {
    let mut backoff = Backoff::new(WAIT_LEAST, WAIT_MOST);
    let mut told: Option<Answer> = None;
    loop {
        let wait = match ask(client, path).await {
            Ok(answer) => {
                backoff.reset();
                if !same(told.as_ref(), &answer) {
                    if answers.send((name.clone(), answer.clone())).await.is_err() {
                        return;
                    }
                    told = Some(answer);
                }
                // Spread, so that the speakers of a cluster do not ask at once.
                period.borrow_and_update().mul_f64(0.75 + chance() / 4.0)
            }
            Err(failure) => {
                tracing::debug!(%name, %failure, "a Secret could not be read and is asked for again");
                backoff.next(failure.retry_after(), chance())
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = period.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether nothing changed since an answer; of two contents by their versions.
fn same(told: Option<&Answer>, answer: &Answer) -> bool {
    match (told, answer) {
        (Some(Answer::Content(before, _)), Answer::Content(now, _)) => before == now,
        (told, answer) => told == Some(answer),
    }
}

async fn ask(client: &Client, path: &str) -> Result<Answer, Failure> {
    let bytes = match exchange(client, Request::get(path.to_owned())).await {
        Ok(bytes) => bytes,
        Err(Failure::Refused(refusal)) if refusal.code == 404 => return Ok(Answer::Absent),
        Err(Failure::Refused(refusal)) if matches!(refusal.code, 401 | 403) => {
            return Ok(Answer::Refused(refusal.message));
        }
        Err(failure) => return Err(failure),
    };
    // The error's text could show what the Secret holds.
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|_| Failure::silent("the Secret is no JSON that can be read"))?;
    let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    Ok(Answer::Content(version.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_thrice_within_the_hold_time_but_neither_all_the_time_nor_never() {
        let seconds = Duration::from_secs;
        for (hold, expected) in [(0, 15), (3, 1), (9, 3), (30, 10), (90, 15)] {
            assert_eq!(period(seconds(hold)), seconds(expected), "{hold}");
        }
    }
}
