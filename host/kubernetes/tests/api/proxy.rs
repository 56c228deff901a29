//! An HTTP proxy in front of the real API server that makes trouble where it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use bellhop_kubernetes::Client;
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status instead of an answer, with `Retry-After` in seconds.
    Status(u16, Option<u32>),
    /// The connection is reset before anything is forwarded.
    Reset,
    /// The request is carried out, and the connection reset instead of the answer.
    LoseAnswer,
    /// A watch that begins with 410 Gone, as after a compaction.
    Expire,
    /// The answer comes late.
    Late(Duration),
}

/// How long an open watch waits before it looks whether there is an event for it.
const TELL_EVERY: Duration = Duration::from_millis(50);

struct Rule {
    /// What the line of the request must contain, all of it.
    parts: Vec<&'static str>,
    fault: Fault,
    /// How often it strikes.
    times: usize,
}

/// The proxy.
pub(crate) struct Proxy {
    upstream: Client,
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<AbortHandle>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    /// The first line of each request, and what it accepts.
    requests: Mutex<Vec<String>>,
    /// Text that is looked for in answers, and the first lines of the requests whose answers had it.
    sought: Mutex<Option<&'static str>>,
    found: Mutex<Vec<String>>,
    /// Events that watches are to be told: the parts of their first line, and the event.
    events: Mutex<Vec<(Vec<&'static str>, String)>>,
}

impl Proxy {
    /// Starts in front of what `upstream` reaches, with its rights.
    pub(crate) async fn start(upstream: Client) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let mut proxy = Self { upstream, address, shared: Arc::default(), listener: None };
        proxy.up().await?;
        Ok(proxy)
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that goes through it.
    pub(crate) fn client(&self) -> Result<Client> {
        let url = self.url().parse().context("a URL")?;
        Ok(bellhop_kubernetes::client::client(kube::Config::new(url))?)
    }

    /// Lets the next `times` requests whose line contains all of `parts` go wrong.
    pub(crate) fn fail(&self, parts: &[&'static str], fault: Fault, times: usize) {
        self.shared.rules.lock().unwrap().push(Rule { parts: parts.to_vec(), fault, times });
    }

    /// The faults that have not struck as often as they should.
    pub(crate) fn left(&self) -> Vec<String> {
        let rules = self.shared.rules.lock().unwrap();
        let left = rules.iter().filter(|rule| rule.times > 0);
        left.map(|rule| format!("{:?} {:?} {} times more", rule.parts, rule.fault, rule.times)).collect()
    }

    /// Looks for a text in all answers from now on.
    pub(crate) fn look_for(&self, text: &'static str) {
        *self.shared.sought.lock().unwrap() = Some(text);
    }

    /// The requests that were answered with what is looked for.
    pub(crate) fn found(&self) -> Vec<String> {
        self.shared.found.lock().unwrap().clone()
    }

    /// Tells one watch whose first line contains all of `parts` of an event that never was.
    pub(crate) fn tell(&self, parts: &[&'static str], event: &serde_json::Value) {
        self.shared.events.lock().unwrap().push((parts.to_vec(), format!("{event}\n")));
    }

    /// How many requests contained all of these since the start, in their first line or in what they accept.
    pub(crate) fn seen(&self, parts: &[&str]) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Listens (again).
    pub(crate) async fn up(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let (upstream, shared) = (self.upstream.clone(), self.shared.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (upstream, shared) = (upstream.clone(), shared.clone());
                connections.spawn(async move {
                    // A connection that broke is what some tests want.
                    let _ = serve(stream, &upstream, &shared).await;
                });
            }
        });
        self.listener = Some(task.abort_handle());
        Ok(())
    }

    /// Cuts every connection; new ones are refused.
    pub(crate) fn down(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.down();
    }
}

fn strike(rules: &Mutex<Vec<Rule>>, line: &str) -> Option<Fault> {
    let mut rules = rules.lock().unwrap();
    let rule =
        rules.iter_mut().find(|rule| rule.times > 0 && rule.parts.iter().all(|part| line.contains(part)))?;
    rule.times -= 1;
    Some(rule.fault.clone())
}

/// Serves the requests of one connection, one after the other.
async fn serve(stream: TcpStream, upstream: &Client, shared: &Shared) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        let mut words = line.split(' ');
        let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
        let mut request = http::Request::builder().method(method).uri(path);
        let (mut length, mut accept) = (0, String::new());
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            let name = name.to_ascii_lowercase();
            if name == "accept" {
                accept = value.trim().to_owned();
            }
            match name.as_str() {
                "content-length" => length = value.trim().parse()?,
                "accept" | "content-type" => request = request.header(name, value.trim()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        shared.requests.lock().unwrap().push(format!("{line} {accept}"));
        let fault = strike(&shared.rules, &line);
        match &fault {
            Some(Fault::Reset) => return reset(stream),
            Some(Fault::Status(code, after)) => {
                let after = after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
                let head = format!("HTTP/1.1 {code} Trouble\r\n{after}Content-Length: 7\r\n\r\ntrouble");
                stream.write_all(head.as_bytes()).await?;
                continue;
            }
            Some(Fault::Expire) => {
                let event = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}"#;
                let length = event.len() + 1;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{event}\n");
                stream.write_all(head.as_bytes()).await?;
                continue;
            }
            Some(Fault::Late(wait)) => tokio::time::sleep(*wait).await,
            Some(Fault::LoseAnswer) | None => {}
        }
        let mut answer = upstream.send(request.body(Body::from(body))?).await?;
        if matches!(fault, Some(Fault::LoseAnswer)) {
            return reset(stream);
        }
        let mut head = format!("HTTP/1.1 {}\r\nTransfer-Encoding: chunked\r\n", answer.status());
        for (name, value) in answer.headers() {
            if matches!(name.as_str(), "content-type" | "retry-after") {
                head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
            }
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        // Between two lines, where an event may be put in.
        let mut between = true;
        loop {
            let frame = tokio::select! {
                frame = answer.body_mut().frame() => frame,
                () = tokio::time::sleep(TELL_EVERY), if line.contains("watch=true") => {
                    if between && let Some(event) = event(&shared.events, &line) {
                        chunk(&mut stream, event.as_bytes()).await?;
                    }
                    continue;
                }
            };
            let Some(frame) = frame else { break };
            if let Ok(data) = frame?.into_data() {
                between = data.ends_with(b"\n");
                look(shared, &line, &data);
                chunk(&mut stream, &data).await?;
            }
        }
        stream.write_all(b"0\r\n\r\n").await?;
    }
}

/// The event that a watch of this first line is to be told.
fn event(events: &Mutex<Vec<(Vec<&'static str>, String)>>, line: &str) -> Option<String> {
    let mut events = events.lock().unwrap();
    let index = events.iter().position(|(parts, _)| parts.iter().all(|part| line.contains(part)))?;
    Some(events.swap_remove(index).1)
}

/// Notes an answer that has what is looked for.
fn look(shared: &Shared, line: &str, data: &[u8]) {
    let Some(sought) = *shared.sought.lock().unwrap() else { return };
    if data.windows(sought.len()).any(|window| window == sought.as_bytes()) {
        shared.found.lock().unwrap().push(line.to_owned());
    }
}

async fn chunk(stream: &mut BufReader<TcpStream>, data: &[u8]) -> Result<()> {
    stream.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await?;
    stream.write_all(data).await?;
    stream.write_all(b"\r\n").await?;
    Ok(stream.flush().await?)
}

fn reset(stream: BufReader<TcpStream>) -> Result<()> {
    // Closing with this sends RST instead of FIN.
    stream.into_inner().set_zero_linger()?;
    Ok(())
}
