//! The connection to the API server.

use kube::Client;

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
    unimplemented!()
}
