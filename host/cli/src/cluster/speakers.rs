//! Asking speakers: the same tool, run in their pods against their sockets.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, ListParams};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::read::{Listed, ReadError};
use super::{Cluster, cause};

/// Labels that the chart gives the pods of the speakers.
pub(super) const SPEAKERS: &str = "app.kubernetes.io/part-of=bellhop,app.kubernetes.io/component=speaker";

/// The speaker's container, its program and its socket, as the chart has them.
const CONTAINER: &str = "speaker";
const PROGRAM: &str = "/usr/bin/bellhop";

/// How long one pod may take: a speaker answers from memory, and a node that is gone never does.
const POD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pods that are asked at a time: each is a connection through the API server to a kubelet.
const AT_A_TIME: usize = 16;

/// Largest answer of one pod: 10,000 Services with two addresses and four peers are about 40 MB.
const ANSWER_MAX: u64 = 256 << 20;

/// Largest complaint that is read.
const COMPLAINT_MAX: u64 = 16 << 10;

/// A speaker's pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Speaker {
    /// Its node.
    pub node: String,
    /// The pod.
    pub pod: String,
    /// Why the pod cannot answer: `Pending`, `container not ready`.
    pub not_ready: Option<String>,
}

/// Why a speaker gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AskError {
    /// The user may not; the message is the API server's and names verb and resource.
    #[error("{0}")]
    Forbidden(String),
    /// What was asked for does not exist there, in the speaker's words.
    #[error("{0}")]
    DoesNotHold(String),
    /// No answer, or none that is understood.
    #[error("{0}")]
    Silent(String),
}

/// What one speaker said.
pub type Said<T> = (Speaker, Result<T, AskError>);

impl Cluster {
    /// The speakers' pods, by node; of one node where it is named.
    ///
    /// # Errors
    /// As [`ReadError`] says; forbidden is an error here.
    pub async fn speakers(&self, node: Option<&str>) -> Result<Vec<Speaker>, ReadError> {
        let params = ListParams::default().labels(SPEAKERS);
        let Listed { objects, .. } = self.list_in::<Pod>(&self.namespace, &params).await?;
        let mut speakers: Vec<Speaker> = objects.iter().filter_map(speaker).collect();
        speakers.retain(|speaker| node.is_none_or(|node| *speaker.node == *node));
        speakers.sort();
        Ok(speakers)
    }

    /// Asks speakers, several at a time, and returns their answers in the order of `speakers`.
    pub async fn ask<T: DeserializeOwned>(&self, speakers: Vec<Speaker>, question: &[&str]) -> Vec<Said<T>> {
        let asked = speakers.into_iter().map(|speaker| async {
            let answer = match &speaker.not_ready {
                Some(why) => Err(AskError::Silent(format!("pod {} cannot answer: {why}", speaker.pod))),
                None => self.ask_one(&speaker.pod, question).await,
            };
            (speaker, answer)
        });
        futures::stream::iter(asked).buffered(AT_A_TIME).collect().await
    }

    async fn ask_one<T: DeserializeOwned>(&self, pod: &str, question: &[&str]) -> Result<T, AskError> {
        let late =
            || AskError::Silent(format!("pod {pod} did not answer within {} s", POD_TIMEOUT.as_secs()));
        let output =
            tokio::time::timeout(POD_TIMEOUT, self.run(pod, question)).await.map_err(|_| late())??;
        serde_json::from_slice(&output).map_err(|error| {
            AskError::Silent(format!(
                "pod {pod} answers in another form (is it of another version?): {error}"
            ))
        })
    }

    /// Standard output of the tool in a pod.
    async fn run(&self, pod: &str, question: &[&str]) -> Result<Vec<u8>, AskError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut command = vec![PROGRAM];
        command.extend_from_slice(question);
        command.extend(["--socket", crate::DEFAULT_SOCKET, "-o", "json"]);
        let params = AttachParams::default().container(CONTAINER).stdin(false).stdout(true).stderr(true);
        let mut process = pods.exec(pod, command, &params).await.map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 403 => AskError::Forbidden(status.message.clone()),
            kube::Error::Api(status) => AskError::Silent(format!("pod {pod}: {}", status.message)),
            other => AskError::Silent(format!("pod {pod}: {}", cause(other))),
        })?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let (stdout, stderr) = futures::join!(whole(stdout, ANSWER_MAX), whole(stderr, COMPLAINT_MAX));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match exit_code(status.as_ref()) {
            Some(0) => Ok(stdout),
            code => {
                let said = String::from_utf8_lossy(&stderr).trim().trim_start_matches("bellhop: ").to_owned();
                Err(match code {
                    Some(1) => AskError::DoesNotHold(said),
                    _ if said.is_empty() => {
                        AskError::Silent(format!("pod {pod}: {}", ended(status.as_ref())))
                    }
                    _ => AskError::Silent(format!("pod {pod}: {said}")),
                })
            }
        }
    }
}

/// The exit code of a process (`v4.channel.k8s.io`, channel 3): success, or a cause named `ExitCode`.
fn exit_code(status: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>) -> Option<i32> {
    let status = status?;
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let mut causes = status.details.as_ref()?.causes.iter().flatten();
    let code = causes.find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_ref()?.parse().ok()
}

/// The line that is said once for all speakers, where the user may not ask them.
pub(crate) fn forbidden<T>(answers: &[Said<T>]) -> Option<String> {
    answers.iter().find_map(|(_, answer)| match answer {
        Err(AskError::Forbidden(message)) => Some(not_asked(message)),
        _ => None,
    })
}

/// Why nothing is shown that only speakers know.
pub(crate) fn not_asked(why: &str) -> String {
    format!("what speakers say at this moment: {why}")
}

fn ended(status: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>) -> String {
    let message = status.and_then(|status| status.message.clone());
    message.unwrap_or_else(|| "the connection broke off".into())
}

async fn whole(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was heard before a connection breaks is judged by the status that did not come.
        let _ = stream.take(most).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The speaker of a pod; `None` for one that is not on a node yet.
fn speaker(pod: &Pod) -> Option<Speaker> {
    let status = pod.status.as_ref();
    let running = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    let containers = status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let waiting = containers
        .filter(|container| container.name == CONTAINER)
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let not_ready = waiting.or_else(|| (running != "Running").then(|| running.to_owned()));
    Some(Speaker { node: pod.spec.as_ref()?.node_name.clone()?, pod: pod.metadata.name.clone()?, not_ready })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_is_what_the_kubelet_says_of_the_process() {
        let code = |status| exit_code(Some(&serde_json::from_value(status).unwrap()));
        assert_eq!(code(json!({"status": "Success"})), Some(0));
        let failed =
            json!({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "1"}]}});
        assert_eq!(code(failed), Some(1));
        assert_eq!(code(json!({"status": "Failure", "message": "container not found"})), None);
        assert_eq!(exit_code(None), None);
    }

    #[test]
    fn a_pod_that_waits_for_its_image_cannot_answer_and_one_without_a_node_is_no_speaker() {
        let pod = |value| speaker(&serde_json::from_value(value).unwrap());
        let waiting = pod(json!({
            "metadata": {"name": "x"}, "spec": {"nodeName": "node-1", "containers": []},
            "status": {"phase": "Pending", "containerStatuses": [{
                "name": "speaker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff"}},
            }]},
        }));
        assert_eq!(waiting.unwrap().not_ready.as_deref(), Some("ImagePullBackOff"));
        assert_eq!(pod(json!({"metadata": {"name": "x"}, "spec": {"containers": []}})), None);
    }
}
