//! One request, and what came of it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use crate::client::chain;

/// How long an answer may take: as long as the API server itself gives a request.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer: a page of 500 objects at the size of the largest that etcd takes would be 750 MB; what people have is a
/// hundredth of that.
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Largest event of a watch: etcd takes objects of 1.5 MiB, which as JSON are a few times that.
const LINE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Largest error that is read.
const REFUSAL_MAX_BYTES: usize = 64 * 1024;

/// Why a request has no answer that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The server answered with an error.
    Refused(Refusal),
    /// Nothing, or nothing whole, was heard. The request may have been carried out.
    Silent {
        /// What was heard instead.
        message: String,
        /// Nobody listens at the address: no request was sent.
        nobody: bool,
    },
}

/// An error of the server (`metav1.Status`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) code: u16,
    /// `reason`: `AlreadyExists`, `Conflict`, `Expired`.
    pub(crate) reason: String,
    /// `message`.
    pub(crate) message: String,
    /// The header `Retry-After`, or `details.retryAfterSeconds`.
    pub(crate) retry_after: Option<Duration>,
}

/// What is read of `metav1.Status`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct StatusObject {
    code: u16,
    reason: String,
    message: String,
    details: Option<StatusDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct StatusDetails {
    retry_after_seconds: u64,
}

impl Refusal {
    pub(crate) fn of(status: StatusObject) -> Self {
        let seconds =
            status.details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        Self {
            code: status.code,
            reason: status.reason,
            message: status.message,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    /// The version to watch from, or the page to go on with, is too old.
    pub(crate) fn is_expired(&self) -> bool {
        self.code == 410 || self.reason == "Expired" || self.reason == "Gone"
    }

    /// It says something about the server and nothing about the request.
    pub(crate) fn is_of_the_server(&self) -> bool {
        self.code >= 500 || self.code == 408
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) if refusal.message.is_empty() => write!(f, "HTTP {}", refusal.code),
            Self::Refused(refusal) => write!(f, "HTTP {}: {}", refusal.code, refusal.message),
            Self::Silent { message, .. } => f.write_str(message),
        }
    }
}

impl Failure {
    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Silent { .. } => None,
        }
    }

    pub(crate) fn silent(message: impl Into<String>) -> Self {
        Self::Silent { message: message.into(), nobody: false }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let mut nobody = false;
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(at) = cause {
            let kind = at.downcast_ref::<io::Error>().map(io::Error::kind);
            nobody |= kind == Some(io::ErrorKind::ConnectionRefused);
            cause = at.source();
        }
        Self::Silent { message: chain(&error), nobody }
    }
}

/// A request of the API server.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// `Accept`.
    pub(crate) accept: &'static str,
    /// `Content-Type` of the body; without one there is none.
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::GET, path, accept: JSON, content_type: None, body: Bytes::new() }
    }
}

/// What most objects are asked for as.
pub(crate) const JSON: &str = "application/json";

/// Sends a request and waits for the head of the answer.
pub(crate) async fn send(client: &Client, request: Request) -> Result<Response<Body>, Failure> {
    let mut built =
        http::Request::builder().method(request.method).uri(request.path).header(ACCEPT, request.accept);
    if let Some(content_type) = request.content_type {
        built = built.header(CONTENT_TYPE, content_type);
    }
    let built = built.body(Body::from(request.body)).map_err(|error| Failure::silent(error.to_string()))?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, quietly(client.send(built)));
    let response = answer.await.map_err(|_| Failure::silent("no answer within 60 s"))??;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Failure::Refused(refusal(response).await))
}

/// Without kube's own log of every failure: what fails is told where it is known what it means, and once.
fn quietly<F: Future>(future: F) -> impl Future<Output = F::Output> {
    future.with_subscriber(NoSubscriber::default())
}

async fn refusal(response: Response<Body>) -> Refusal {
    let (code, asked) = (response.status().as_u16(), retry_after(response.headers()));
    let text =
        tokio::time::timeout(ANSWER_TIMEOUT, Limited::new(response.into_body(), REFUSAL_MAX_BYTES).collect());
    let text = text.await.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    let status: StatusObject = serde_json::from_slice(&text).unwrap_or_else(|_| StatusObject {
        message: String::from_utf8_lossy(&text).trim().to_owned(),
        ..Default::default()
    });
    let refusal = Refusal::of(status);
    Refusal { code, retry_after: asked.or(refusal.retry_after), ..refusal }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); the API server writes no dates there.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Sends a request and reads the whole answer.
pub(crate) async fn exchange(client: &Client, request: Request) -> Result<Bytes, Failure> {
    let response = send(client, request).await?;
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect();
    match tokio::time::timeout(ANSWER_TIMEOUT, quietly(body)).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Failure::silent(format!("the answer broke off: {}", chain(&*error)))),
        Err(_) => Err(Failure::silent("the answer took longer than 60 s")),
    }
}

/// The lines of an answer that has no end.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// Where in the buffer no line ends before.
    searched: usize,
}

impl Lines {
    pub(crate) fn of(response: Response<Body>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new(), searched: 0 }
    }

    /// The next line without its end, `None` at the end of the answer. Giving up the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(end);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_MAX_BYTES {
                return Err(Failure::silent("an event is larger than 16 MiB"));
            }
            match quietly(self.body.frame()).await {
                None => return Ok(None),
                Some(Ok(frame)) => self.buffer.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => {
                    return Err(Failure::silent(format!("the watch broke off: {}", chain(&error))));
                }
            }
        }
    }
}
