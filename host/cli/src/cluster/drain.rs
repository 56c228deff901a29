//! `bellhop drain`: the speakers' DaemonSet is deleted in the foreground, so that each speaker sees its DaemonSet going and
//! drains while it still may write and its routers still listen. What the chart's pre-delete hook runs.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, DeleteParams};
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::read::{ANSWER_TIMEOUT, ReadError};

/// How often the DaemonSet is looked for: a drain takes seconds to minutes, and the hook may not watch.
const INTERVAL: Duration = Duration::from_secs(1);

/// What became of a drain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Drained {
    /// The DaemonSet was not there.
    GoneAlready,
    /// It is gone, and its pods with it.
    Gone,
    /// Time is over; so many of its pods are still there.
    Late {
        /// Pods by its status.
        pods: i32,
    },
}

impl Cluster {
    /// Deletes a DaemonSet and waits until it is gone, which in the foreground is after its pods.
    ///
    /// # Errors
    /// When it may not be deleted or looked at, or the server stays away until the deadline.
    pub async fn drain(&self, daemonset: &str, timeout: Duration) -> Result<Drained, ReadError> {
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let deadline = Instant::now() + timeout;
        let foreground = DeleteParams::foreground();
        let delete = tokio::time::timeout(ANSWER_TIMEOUT, api.delete(daemonset, &foreground));
        match delete.await.map_err(|_| ReadError::late(&self.server))? {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Drained::GoneAlready),
            Err(error) => return Err(ReadError::of(&error, &self.server, "daemonsets.apps")),
        }
        loop {
            let left = match self.get(api.clone(), daemonset).await {
                Ok(None) => return Ok(Drained::Gone),
                Ok(Some(daemonset)) => daemonset.status.map_or(0, |status| status.current_number_scheduled),
                // An API server that restarts meanwhile does not end a drain.
                Err(error @ ReadError::Unreachable { .. }) if Instant::now() >= deadline => {
                    return Err(error);
                }
                Err(ReadError::Unreachable { .. }) => 0,
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Ok(Drained::Late { pods: left });
            }
            sleep(INTERVAL).await;
        }
    }
}
