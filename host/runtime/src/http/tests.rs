//! Over real sockets.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::metrics::{Form, WriteResult};

struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
}

async fn start(measure: impl Fn(&Metrics) + Send + Sync + 'static) -> Server {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        metrics: Arc::new(Metrics::new(Form::Standalone)),
        health: Health::new(Instant::now()),
    };
    let (metrics, measure) = (server.metrics.clone(), Arc::new(measure));
    let endpoints = Endpoints::new(server.metrics.clone(), server.health.clone()).measured_by(move || {
        let (metrics, measure) = (metrics.clone(), measure.clone());
        async move { measure(&metrics) }
    });
    tokio::spawn(serve(listener, endpoints));
    server
}

/// What comes back for a request's text, until the server closes.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(answer).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[tokio::test]
async fn a_scrape_asks_the_owners_first_and_comes_in_the_format_that_was_asked_for() {
    let server = start(|metrics| metrics.leader.set_bool(true)).await;
    server
        .metrics
        .claim_writes
        .inc(&crate::metrics::ClaimWrite { verb: crate::metrics::Verb::Create, result: WriteResult::Ok });
    let text = ask(server.address, &get("/metrics")).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text}");
    assert!(text.contains("\nbellhop_leader 1.0\n"), "{text}");
    assert!(text.contains("# TYPE bellhop_claim_writes_total counter\n"), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nAccept: application/openmetrics-text\r\n\r\n";
    let text = ask(server.address, request).await;
    assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn probes_answer_200_or_503_and_say_why_in_words() {
    let server = start(|_| ()).await;
    let condition = server.health.condition("announced", "nothing announced yet");
    let task = server.health.task("planning", Duration::from_secs(60));
    let text = ask(server.address, &get("/readyz")).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(
        text.ends_with("\r\n\r\n[-]announced failed: nothing announced yet\nreadyz check failed\n"),
        "{text}"
    );
    condition.met();
    assert!(ask(server.address, &get("/readyz")).await.starts_with("HTTP/1.1 200 "));
    assert!(ask(server.address, &get("/livez?verbose")).await.starts_with("HTTP/1.1 200 "));
    drop(task);
    assert!(ask(server.address, &get("/livez")).await.contains("[-]planning failed"));
}

#[tokio::test]
async fn other_paths_methods_and_what_is_not_http_are_refused() {
    let server = start(|_| ()).await;
    for (request, status) in [
        (get("/"), "404"),
        (get("/metrics/../livez"), "404"),
        ("POST /metrics HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab".into(), "405"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 * HEAD_MAX)), "431"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(2 * HEAD_MAX)), "431"),
        ("\u{1}\u{2}\r\n\r\n".into(), "400"),
    ] {
        let text = ask(server.address, &request).await;
        // A client that is refused before it has sent everything may see the reset before the answer.
        assert!(text.is_empty() && request.len() > HEAD_MAX || text.contains(status), "{status}: {text:?}");
    }
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_a_probe_out() {
    let server = start(|_| ()).await;
    let mut silent = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert!(ask(server.address, &get("/livez")).await.starts_with("HTTP/1.1 200 "));
    // The oldest had to go for it.
    assert_eq!(read(&mut silent[0]).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_is_given_up() {
    let server = start(|_| ()).await;
    let begin = tokio::time::Instant::now();
    let text = ask(server.address, "GET /livez HTTP/1.1\r\nHost").await;
    assert!(!text.contains(" 200 "), "{text}");
    assert!((HEAD_TIMEOUT..=CONNECTION_TIMEOUT).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_in_the_error() {
    let taken = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = listen(address).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address} for metrics and probes: ")), "{error}");
}
