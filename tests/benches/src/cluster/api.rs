//! The bare client: requests of the API server as fast as it takes them, with no decision, cache or queue behind them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use bellhop_lab::netns::Namespace;
use bellhop_test_cluster::network::inside;
use futures::StreamExt as _;
use http::Request;
use http::header::CONTENT_TYPE;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{WatchEvent, response::Status};
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::programs::Program;

/// Threads of the client; the machines that the limits are for have two processors.
const THREADS: usize = 2;
/// Most that a server may ask for before a request is made again (`Retry-After` of a 429).
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Observed changes on their way to whoever waits for them; each is a time, so that a wait that starts late misses nothing.
const OBSERVED: usize = 64 * 1024;

/// Between two looks whether a program runs that is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// A client of the API server whose connections begin in a network namespace.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

/// What is read of an object that was written.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Written {
    /// Its metadata.
    pub metadata: Meta,
}

/// What is read of metadata.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// `name`.
    pub name: String,
    /// `uid`.
    pub uid: String,
    /// `resourceVersion`.
    pub resource_version: String,
}

/// A write, made beforehand: what is measured is not the making.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Write {
    /// Creates an object in the collection of this path.
    pub fn create(collection: impl Into<String>, object: &serde_json::Value) -> Self {
        let body = object.to_string().into_bytes();
        Self { method: "POST", path: collection.into(), content_type: "application/json", body }
    }

    /// Server-side apply of a status, as `fieldManager`.
    pub fn apply_status(object: &str, field_manager: &str, status: &serde_json::Value) -> Self {
        let path = format!("{object}/status?fieldManager={field_manager}&force=true");
        let body = status.to_string().into_bytes();
        Self { method: "PATCH", path, content_type: "application/apply-patch+yaml", body }
    }

    /// Deletes the object of this path.
    pub fn delete(object: impl Into<String>) -> Self {
        Self { method: "DELETE", path: object.into(), content_type: "application/json", body: Vec::new() }
    }

    fn request(&self) -> Result<Request<Vec<u8>>> {
        let request = Request::builder().method(self.method).uri(&self.path);
        Ok(request.header(CONTENT_TYPE, self.content_type).body(self.body.clone())?)
    }
}

impl Api {
    /// A client with the rights of a kubeconfig.
    ///
    /// # Errors
    /// When the namespace is not there, or the kubeconfig cannot be used.
    pub fn connect(network: &Namespace, kubeconfig: &Path) -> Result<Self> {
        // A socket is made by the thread that asks for it, so the threads have to be the namespace's.
        let runtime = inside(network, || {
            tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()
        })??;
        let path = kubeconfig.to_owned();
        let client = on(&runtime, async move {
            let kubeconfig = Kubeconfig::read_from(&path)?;
            let mut config =
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            config.read_timeout = None;
            Ok(Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// The answer to a GET, as text.
    ///
    /// # Errors
    /// With the server's words, when it refuses.
    pub fn text(&self, path: &str) -> Result<String> {
        let (client, path) = (self.client.clone(), path.to_owned());
        on(&self.runtime, async move {
            let request = Request::get(&path).body(Vec::new())?;
            client.request_text(request).await.with_context(|| format!("GET {path}"))
        })
    }

    /// The answer to a GET, decoded.
    ///
    /// # Errors
    /// As [`Api::text`], and when it is other JSON.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_str(&self.text(path)?).with_context(|| format!("the answer to GET {path}"))
    }

    /// Makes one write.
    ///
    /// # Errors
    /// With the server's words, when it refuses.
    pub fn write(&self, write: Write) -> Result<Written> {
        let client = self.client.clone();
        on(&self.runtime, async move { send(&client, &write).await })
    }

    /// Makes chains of writes, `concurrency` chains at a time: of a chain one after the other. Returns what came of the last
    /// of each, in the order of the chains.
    ///
    /// # Errors
    /// With the first refusal.
    pub fn chains(&self, concurrency: usize, chains: Vec<Vec<Write>>) -> Result<Vec<Written>> {
        let count = chains.len();
        let queue = Arc::new(Mutex::new(chains.into_iter().enumerate()));
        let workers: Vec<_> = (0..concurrency)
            .map(|_| self.runtime.spawn(drain(self.client.clone(), Arc::clone(&queue))))
            .collect();
        on(&self.runtime, async move {
            let mut written = vec![None; count];
            for worker in workers {
                for (index, last) in worker.await?? {
                    written[index] = Some(last);
                }
            }
            written.into_iter().map(|one| one.context("a chain without a write")).collect()
        })
    }

    /// Makes writes that do not depend on each other; see [`Api::chains`].
    ///
    /// # Errors
    /// With the first refusal.
    pub fn all(&self, concurrency: usize, writes: Vec<Write>) -> Result<Vec<Written>> {
        self.chains(concurrency, writes.into_iter().map(|write| vec![write]).collect())
    }

    /// Watches a collection from now on, and notes when an object first was as `wanted` says, by its name.
    ///
    /// # Errors
    /// When the server refuses the watch.
    pub fn observe<T>(&self, collection: &str, wanted: fn(&T) -> Option<String>) -> Result<Observation>
    where
        T: DeserializeOwned + Clone + Send + 'static,
    {
        #[derive(Deserialize)]
        struct List {
            metadata: Meta,
        }
        let list: List = self.json(&format!("{collection}?limit=1"))?;
        let from = list.metadata.resource_version;
        let request = Request::get(format!("{collection}?watch=1&resourceVersion={from}")).body(Vec::new())?;
        let (sender, seen) = mpsc::channel(OBSERVED);
        let client = self.client.clone();
        // The server has accepted the watch when this returns.
        let stream = on(&self.runtime, async move {
            let stream = client.request_events::<T>(request).await?;
            Ok(stream.boxed())
        })?;
        self.runtime.spawn(follow(stream, wanted, sender));
        Ok(Observation { seen, names: BTreeMap::new() })
    }
}

/// Does something on the runtime's threads, and waits for it.
fn on<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    runtime.block_on(runtime.spawn(work))?
}

async fn drain(
    client: Client,
    queue: Arc<Mutex<impl Iterator<Item = (usize, Vec<Write>)>>>,
) -> Result<Vec<(usize, Written)>> {
    let mut written = Vec::new();
    loop {
        let next = queue.lock().map_err(|_| anyhow!("another writer panicked"))?.next();
        let Some((index, chain)) = next else { return Ok(written) };
        let mut last = None;
        for write in chain {
            last = Some(send(&client, &write).await?);
        }
        written.extend(last.map(|last| (index, last)));
    }
}

async fn send(client: &Client, write: &Write) -> Result<Written> {
    loop {
        match client.request_text(write.request()?).await {
            Ok(text) => {
                return serde_json::from_str(&text)
                    .with_context(|| format!("the answer to {} {}: {text}", write.method, write.path));
            }
            Err(kube::Error::Api(status)) if status.code == 429 => {
                tokio::time::sleep(retry_after(&status).min(RETRY_MAX)).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{} {}", write.method, write.path));
            }
        }
    }
}

fn retry_after(status: &Status) -> Duration {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(u64::from(seconds.max(1)))
}

async fn follow<T: Clone>(
    mut stream: impl futures::Stream<Item = kube::Result<WatchEvent<T>>> + Unpin,
    wanted: fn(&T) -> Option<String>,
    sender: mpsc::Sender<(String, SystemTime)>,
) {
    while let Some(Ok(event)) = stream.next().await {
        let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
        let Some(name) = wanted(&object) else { continue };
        if sender.send((name, SystemTime::now())).await.is_err() {
            return;
        }
    }
}

/// Objects as they came to be wanted, since [`Api::observe`].
#[derive(Debug)]
pub struct Observation {
    seen: mpsc::Receiver<(String, SystemTime)>,
    /// How often each was seen so.
    names: BTreeMap<String, u64>,
}

impl Observation {
    /// Waits until `count` objects were as wanted, and says when the last of them was.
    ///
    /// # Errors
    /// When they are fewer after `deadline`, or the watch ended.
    pub fn wait(&mut self, api: &Api, count: usize, deadline: Duration) -> Result<SystemTime> {
        self.until(api, deadline, |names, _| names.len() == count)
            .with_context(|| format!("waiting until {count} objects are as wanted"))
    }

    /// The same, for as long as `program` runs, which is to bring it about.
    ///
    /// # Errors
    /// When they are fewer after `deadline`, the watch ended, or the program did; with the end of its log.
    pub fn wait_for_program(
        &mut self,
        api: &Api,
        count: usize,
        deadline: Duration,
        program: &mut Program,
    ) -> Result<SystemTime> {
        let end = Instant::now() + deadline;
        loop {
            match self.wait(api, count, LOOK) {
                Err(_) if self.names.len() < count && Instant::now() < end => program.expect_running()?,
                waited => return waited.with_context(|| program.log_end()),
            }
        }
    }

    /// Waits until the object of this name was as wanted, and says when it was.
    ///
    /// # Errors
    /// When it was not after `deadline`, or the watch ended.
    pub fn wait_for(&mut self, api: &Api, name: &str, deadline: Duration) -> Result<SystemTime> {
        self.until(api, deadline, |_, last| last == name).with_context(|| format!("waiting for {name}"))
    }

    /// How often the object of this name was written, and was as wanted then, so far.
    pub fn count_of(&mut self, name: &str) -> u64 {
        while let Ok((name, _)) = self.seen.try_recv() {
            *self.names.entry(name).or_default() += 1;
        }
        self.names.get(name).copied().unwrap_or_default()
    }

    fn until(
        &mut self,
        api: &Api,
        deadline: Duration,
        mut enough: impl FnMut(&BTreeMap<String, u64>, &str) -> bool,
    ) -> Result<SystemTime> {
        let Self { seen, names } = self;
        let all = async {
            while let Some((name, at)) = seen.recv().await {
                *names.entry(name.clone()).or_default() += 1;
                if enough(names, &name) {
                    return Some(at);
                }
            }
            None
        };
        let found = api.runtime.block_on(async { tokio::time::timeout(deadline, all).await });
        match found {
            Ok(Some(at)) => Ok(at),
            Ok(None) => bail!("the watch ended after {}", self.names.len()),
            Err(_) => bail!("{} after {deadline:?}", self.names.len()),
        }
    }
}
