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
    rules: Arc<Mutex<Vec<Rule>>>,
    requests: Arc<Mutex<Vec<String>>>,
    listener: Option<AbortHandle>,
}

impl Proxy {
    /// Starts in front of what `upstream` reaches, with its rights.
    pub(crate) async fn start(upstream: Client) -> Result<Self> {
        let rules: Arc<Mutex<Vec<Rule>>> = Arc::default();
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let mut proxy = Self { upstream, address, rules, requests: Arc::default(), listener: None };
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
        self.rules.lock().unwrap().push(Rule { parts: parts.to_vec(), fault, times });
    }

    /// How many requests contained all of these since the start.
    pub(crate) fn seen(&self, parts: &[&str]) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Listens (again).
    pub(crate) async fn up(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let (upstream, rules, requests) = (self.upstream.clone(), self.rules.clone(), self.requests.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (upstream, rules, requests) = (upstream.clone(), rules.clone(), requests.clone());
                connections.spawn(async move {
                    // A connection that broke is what some tests want.
                    let _ = serve(stream, &upstream, &rules, &requests).await;
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
async fn serve(
    stream: TcpStream,
    upstream: &Client,
    rules: &Mutex<Vec<Rule>>,
    requests: &Mutex<Vec<String>>,
) -> Result<()> {
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
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "accept" | "content-type" => request = request.header(name, value.trim()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        requests.lock().unwrap().push(line.clone());
        let fault = strike(rules, &line);
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
        while let Some(frame) = answer.body_mut().frame().await {
            if let Ok(data) = frame?.into_data().map(|data| data.to_vec()) {
                stream.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await?;
                stream.write_all(&data).await?;
                stream.write_all(b"\r\n").await?;
                stream.flush().await?;
            }
        }
        stream.write_all(b"0\r\n\r\n").await?;
    }
}

fn reset(stream: BufReader<TcpStream>) -> Result<()> {
    // Closing with this sends RST instead of FIN.
    stream.into_inner().set_zero_linger()?;
    Ok(())
}
