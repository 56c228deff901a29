//! One HTTP question to this node itself, as kubelets and cloud load balancers ask it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// The node asks itself, so an answer is there within a millisecond or something is wrong.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Of the answer; its status line is all that matters.
const HEAD: usize = 64;

/// What came of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// A status code.
    Status(u16),
    /// Somebody listens and says nothing in time, or no HTTP: a process that is stopped or busy.
    Mute,
    /// Nobody listens.
    Nobody,
}

/// What `GET path` is answered with at the first of `addresses` that answers.
pub(crate) async fn status(addresses: &[IpAddr], port: u16, path: &str) -> Answer {
    let mut found = Answer::Nobody;
    for address in addresses {
        let server = SocketAddr::new(*address, port);
        let deadline = Instant::now() + TIMEOUT;
        let Ok(Ok(stream)) = timeout_at(deadline, TcpStream::connect(server)).await else { continue };
        found = Answer::Mute;
        if let Ok(Ok(status)) = timeout_at(deadline, ask(stream, server, path)).await {
            return Answer::Status(status);
        }
    }
    found
}

async fn ask(mut stream: TcpStream, server: SocketAddr, path: &str) -> io::Result<u16> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: bellhop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(HEAD);
    stream.take(HEAD as u64).read_to_end(&mut head).await?;
    status_of(&head).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP status line"))
}

/// The code of a status line (RFC 9112 §4).
fn status_of(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let code = rest.get(..3).filter(|_| version.starts_with("HTTP/1."))?;
    code.parse().ok().filter(|code| (100..600).contains(code))
}

#[cfg(test)]
pub(crate) mod fake {
    //! A server on this machine that answers what a test sets.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    /// Listens until the test ends.
    pub(crate) struct FakeServer {
        pub(crate) port: u16,
        livez: Arc<AtomicU16>,
        other: Arc<AtomicU16>,
        asked: Arc<AtomicUsize>,
    }

    impl FakeServer {
        pub(crate) async fn start() -> Self {
            let listener = TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
            let server = Self {
                port: listener.local_addr().unwrap().port(),
                livez: Arc::new(AtomicU16::new(200)),
                other: Arc::new(AtomicU16::new(200)),
                asked: Arc::default(),
            };
            let (livez, other, asked) = (server.livez.clone(), server.other.clone(), server.asked.clone());
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = vec![0; 1024];
                    let Ok(length) = stream.read(&mut request).await else { continue };
                    asked.fetch_add(1, Ordering::SeqCst);
                    let code = if request[..length].starts_with(b"GET /livez ") { &livez } else { &other };
                    let code = code.load(Ordering::SeqCst);
                    let answer = format!("HTTP/1.1 {code} Whatever\r\nContent-Length: 2\r\n\r\n{{}}");
                    // The speaker may have gone.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            server
        }

        pub(crate) fn set(&self, livez: u16, other: u16) {
            self.livez.store(livez, Ordering::SeqCst);
            self.other.store(other, Ordering::SeqCst);
        }

        pub(crate) fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_status_line_gives_its_code() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\nDate"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503 Service Unavailable\r\n"), Some(503));
        assert_eq!(status_of(b"HTTP/1.1 200"), Some(200));
        for wrong in ["", "HTTP/1.1", "HTTP/1.1 2", "HTTP/1.1 abc", "SSH-2.0-OpenSSH 200", "HTTP/1.1 999 No"]
        {
            assert_eq!(status_of(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_first_address_that_answers_counts() {
        let server = fake::FakeServer::start().await;
        server.set(200, 503);
        let addresses: [IpAddr; 2] = ["127.9.9.9".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        assert_eq!(status(&addresses, server.port, "/healthz").await, Answer::Status(503));
        assert_eq!(status(&addresses[..1], server.port, "/healthz").await, Answer::Nobody);
        assert_eq!(status(&[], server.port, "/healthz").await, Answer::Nobody);
    }

    #[tokio::test]
    async fn a_server_that_is_stopped_is_told_from_none() {
        // The kernel accepts for it, as for a process under SIGSTOP.
        let stopped = TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
        let port = stopped.local_addr().unwrap().port();
        assert_eq!(status(&["127.0.0.1".parse().unwrap()], port, "/healthz").await, Answer::Mute);
    }
}
