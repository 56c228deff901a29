//! `/metrics`, `/livez` and `/readyz` on one listener.
//!
//! | task | owns | cancelling it |
//! |---|---|---|
//! | [`serve`] | the listening socket, the list of connections | ends every connection |
//! | connection | one socket; at most [`CONNECTIONS`] | ends that connection |
//!
//! Every connection carries one request. Where there are too many, the oldest goes: whoever opens connections and says
//! nothing must not keep the kubelet's probe out, which would restart a speaker that is well.
//!
//! The answers are for everybody who reaches the port: names of pools, peers and policies and their numbers, no
//! Services, no addresses, nothing secret.

mod health;

pub use health::{Condition, Health, Heartbeat, Verdict};

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::metrics::{Exposition, Metrics};

/// Connections at a time: the probes of one kubelet and the scrapes of a few Prometheus servers, several times over.
pub const CONNECTIONS: usize = 32;

/// How long the head of a request may take. Probes give up after a second or so themselves.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take in all; Prometheus gives a scrape up after ten seconds.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The head of a request; what Prometheus and kubelets send is below 1 KiB.
const HEAD_MAX: usize = 16 * 1024;

/// How long a scrape waits for the owners of measured values. Past it the values before are shown: a planner that is
/// busy must not cost the metrics that say so.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);

/// After a connection could not be accepted: out of descriptors, for one, which trying at once does not mend.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Asks the owners of measured values to write them.
type Measure = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is served.
pub struct Endpoints {
    metrics: Arc<Metrics>,
    health: Health,
    measure: Measure,
}

impl Endpoints {
    /// These metrics and this health.
    pub fn new(metrics: Arc<Metrics>, health: Health) -> Self {
        Self { metrics, health, measure: Box::new(|| Box::pin(std::future::ready(()))) }
    }

    /// Before each scrape `measure` is called; what it returns is done when the measured values are written.
    #[must_use]
    pub fn measured_by<F>(mut self, measure: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.measure = Box::new(move || Box::pin(measure()));
        self
    }

    async fn answer(&self, method: &Method, path: &str, accept: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
            answer.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let health = |verdict: Verdict| {
            let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            plain(status, verdict.text)
        };
        match path {
            "/livez" => health(self.health.live(Instant::now())),
            "/readyz" => health(self.health.ready()),
            "/metrics" => self.scrape(Exposition::accepted(accept)).await,
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz here\n"),
        }
    }

    async fn scrape(&self, exposition: Exposition) -> Response<Full<Bytes>> {
        if tokio::time::timeout(MEASURE_TIMEOUT, (self.measure)()).await.is_err() {
            tracing::warn!(timeout = ?MEASURE_TIMEOUT, "measured values are old: their owner is busy");
        }
        self.health.measure(Instant::now(), &self.metrics);
        with_type(StatusCode::OK, self.metrics.render(exposition), exposition.content_type())
    }
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints").field("health", &self.health).finish_non_exhaustive()
    }
}

/// A listener for [`serve`].
///
/// # Errors
/// With the address in words, where it cannot be listened on.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} for metrics and probes: {error}"))
    })
}

/// Answers until it is cancelled.
pub async fn serve(listener: TcpListener, endpoints: Endpoints) {
    let endpoints = Arc::new(endpoints);
    let mut connections: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics or probes");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(tokio::spawn(carry(stream, endpoints.clone())).abort_handle());
    }
}

/// One request and its answer.
async fn carry(stream: TcpStream, endpoints: Arc<Endpoints>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let endpoints = endpoints.clone();
        async move {
            let accept =
                request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            Ok::<_, Infallible>(endpoints.answer(request.method(), request.uri().path(), accept).await)
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics or probes"),
        Err(_) => {
            tracing::debug!(timeout = ?CONNECTION_TIMEOUT, "a connection for metrics or probes took too long")
        }
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, body, "text/plain; charset=utf-8")
}

fn with_type(
    status: StatusCode,
    body: impl Into<Bytes>,
    content_type: &'static str,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
