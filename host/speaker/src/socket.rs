//! The Unix socket on which a speaker answers its tools.
//!
//! One task accepts; each connection is a task that lives for one question. Depth: at most `CONNECTIONS` at once,
//! the rest wait in the kernel's backlog. Cancelling any of them loses nothing but an answer.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::report::{Answer, Question};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::planning::Event;

/// Tools are people's and scripts': a handful at once is plenty, and a stuck one must not pile up.
const CONNECTIONS: usize = 16;

/// Longest question: names are at most 253 characters.
const QUESTION_MAX: u64 = 4096;

/// A tool that sends no question within this time is gone.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens at `path`, readable by root alone, in place of whatever socket an earlier process left there.
///
/// # Errors
/// When the folder cannot be made or the socket cannot be bound.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers tools until the planner is gone.
pub async fn serve(listener: UnixListener, planner: mpsc::Sender<Event>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a tool's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let planner = planner.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, planner).await {
                tracing::debug!(%error, "a tool went away");
            }
            drop(slot);
        });
    }
}

async fn converse(stream: UnixStream, planner: mpsc::Sender<Event>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(QUESTION_MAX));
    tokio::time::timeout(QUESTION_TIMEOUT, reader.read_line(&mut line)).await.map_err(io::Error::other)??;
    let answer = match serde_json::from_str::<Question>(&line) {
        Ok(question) => ask(question, &planner).await,
        Err(error) => Answer::BadQuestion(format!("the question is not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await
}

async fn ask(question: Question, planner: &mpsc::Sender<Event>) -> Answer {
    let (reply, answer) = oneshot::channel();
    let gone = || Answer::NotFound("the speaker is stopping".into());
    if planner.send(Event::Ask(question, reply)).await.is_err() {
        return gone();
    }
    answer.await.unwrap_or_else(|_| gone())
}
