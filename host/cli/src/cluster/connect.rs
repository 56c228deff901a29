//! Finding the API server.

use std::path::{Path, PathBuf};

use bellhop_kubernetes::client::{self, chain};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::ClusterArguments;

/// Why there is no API server to ask.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that is named cannot be used.
    #[error("{place}: {reason}")]
    Kubeconfig {
        /// The file or the variable.
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// There is none.
    #[error(
        "no kubeconfig: give --kubeconfig FILE, set KUBECONFIG, or put one at ~/.kube/config; to ask the speaker of this \
         machine give --socket"
    )]
    NoKubeconfig,
    /// Certificates or keys cannot be used.
    #[error("cannot {}", chain(.0))]
    Client(#[from] client::ConnectError),
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    /// The connection.
    pub client: Client,
    /// URL of the API server, for messages.
    pub server: String,
    /// Namespace that Bellhop runs in.
    pub namespace: String,
}

impl Cluster {
    /// The cluster that the arguments and the environment name. Does not connect yet.
    ///
    /// # Errors
    /// When no kubeconfig is there, or the one that is cannot be used.
    pub async fn connect(arguments: &ClusterArguments) -> Result<Self, ConnectError> {
        let config = configuration(arguments).await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        Ok(Self { client: client::client(config)?, server, namespace: arguments.namespace.clone() })
    }
}

async fn configuration(arguments: &ClusterArguments) -> Result<Config, ConnectError> {
    let (kubeconfig, place) = match &arguments.kubeconfig {
        Some(path) => (Some(read(path)?), path.display().to_string()),
        None => from_environment()?,
    };
    let Some(kubeconfig) = kubeconfig else {
        return Config::incluster().map_err(|_| ConnectError::NoKubeconfig);
    };
    let contexts: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let options = KubeConfigOptions { context: arguments.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| ConnectError::Kubeconfig { place, reason: in_words(&error, &contexts) })
}

fn read(path: &Path) -> Result<Kubeconfig, ConnectError> {
    Kubeconfig::read_from(path).map_err(|error| {
        let reason = match &error {
            KubeconfigError::ReadConfig(cause, _) => format!("cannot be read: {cause}"),
            other => format!("is no kubeconfig: {}", chain(other)),
        };
        ConnectError::Kubeconfig { place: path.display().to_string(), reason }
    })
}

/// What `KUBECONFIG` names, else `~/.kube/config`, else nothing; and how to call it.
fn from_environment() -> Result<(Option<Kubeconfig>, String), ConnectError> {
    if let Some(value) = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        let place = format!("KUBECONFIG ({})", value.display());
        let found = Kubeconfig::from_env()
            .map_err(|error| ConnectError::Kubeconfig { place: place.clone(), reason: chain(&error) })?;
        return Ok((found, place));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default().join(".kube/config");
    if !home.is_file() {
        return Ok((None, String::new()));
    }
    Ok((Some(read(&home)?), home.display().to_string()))
}

fn in_words(error: &KubeconfigError, contexts: &[String]) -> String {
    let there = match contexts {
        [] => "there is none".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    match error {
        KubeconfigError::CurrentContextNotSet => {
            format!("no current context is set; give --context ({there})")
        }
        KubeconfigError::LoadContext(name) => format!("there is no context \"{name}\"; {there}"),
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("the context's cluster \"{name}\" is not there")
        }
        other => chain(other),
    }
}
