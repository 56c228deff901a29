//! The connection to the API server.

use std::time::Duration;

use kube::{Client, Config};

/// How long a connection may take to be made. A server that is there answers within a network round trip or three.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection to be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a ServiceAccount nor a kubeconfig can be read.
    #[error("find the API server: no ServiceAccount is mounted and no kubeconfig can be read: {0}")]
    Config(String),
    /// The client cannot be made from the configuration: certificates, keys.
    #[error("make a client for {server}")]
    Client {
        /// URL of the API server.
        server: String,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client of the API server that the environment names: the ServiceAccount's inside a cluster, else `KUBECONFIG` (or
/// `~/.kube/config`). Does not connect yet.
///
/// # Errors
/// When neither is there or can be used.
pub async fn connect() -> Result<Client, ConnectError> {
    // A pod that carries a kubeconfig by chance is a pod all the same.
    let config = match Config::incluster() {
        Ok(config) => config,
        Err(outside) => Config::infer()
            .await
            .map_err(|error| ConnectError::Config(format!("{outside}; {}", chain(&error))))?,
    };
    client(config)
}

/// A client with this crate's timeouts, and without retries of its own: to connect the timeout is short; a response has its
/// timeout where it is asked for, as a watch has none. Everything in this crate wants a client that was made here.
///
/// # Errors
/// When certificates or keys of the configuration cannot be used.
pub fn client(mut config: Config) -> Result<Client, ConnectError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    // By default kube sends a request again after 429 and 503, up to 15 times and with waits of up to 1,000 s each: a write
    // would go out long after its caller lost the right to it. Who asks decides whether to ask again.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ConnectError::Client { server, source: Box::new(source) })
}

/// An error and what caused it, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
