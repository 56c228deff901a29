//! The tools against a cluster, from the connection to the exit code.

use bellhop_api::{AddressClaim, DecisionPolicy, SpeakerState};
use bellhop_core::report::{RouteRow, ServiceExplanation, Status};
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{Api, ListParams};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::drain::Drained;
use super::explain::Known;
use super::read::{Listed, Objects, ReadError};
use super::speakers::{Said, Speaker, not_asked};
use super::status::ClusterStatus;
use super::{Cluster, ClusterArguments, explain, policy, routes, status, validate, wait};
use crate::output::{self, Format};
use crate::validate::Findings;
use crate::{DOES_NOT_HOLD, WRONG_USAGE, fail};

/// Time between two looks of `status --wait`: speakers report every five seconds at most.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Why a tool ends without an answer: exit code and words.
type Stop = (u8, String);

fn wrong(error: &dyn std::error::Error) -> Stop {
    (WRONG_USAGE, error.to_string())
}

/// Connects, runs `tool`, and says what stopped it.
fn with_cluster<F>(arguments: &ClusterArguments, tool: impl FnOnce(Cluster) -> F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, Stop>>,
{
    wait(async {
        let cluster = match Cluster::connect(arguments).await {
            Ok(cluster) => cluster,
            Err(error) => return fail(WRONG_USAGE, &error.to_string()),
        };
        tool(cluster).await.unwrap_or_else(|(code, message)| fail(code, &message))
    })
}

fn print<T: serde::Serialize>(format: Format, value: &T, table: &str) -> Result<ExitCode, Stop> {
    output::print(format, value, table).map(|()| ExitCode::SUCCESS).map_err(|message| (WRONG_USAGE, message))
}

/// The speakers' pods; a line in `not_shown` where they may not be listed, or are not there.
async fn speakers(
    cluster: &Cluster,
    node: Option<&str>,
    not_shown: &mut Vec<String>,
) -> Result<Vec<Speaker>, Stop> {
    let found = match cluster.speakers(node).await {
        Ok(found) => found,
        Err(ReadError::Forbidden(message)) => {
            not_shown.push(not_asked(&message));
            return Ok(Vec::new());
        }
        Err(error) => return Err(wrong(&error)),
    };
    if found.is_empty() {
        not_shown.push(match node {
            Some(node) => format!(
                "node {node}: no speaker's pod runs there in namespace {} (--namespace names another)",
                cluster.namespace
            ),
            None => {
                format!("no speaker's pod is in namespace {} (--namespace names another)", cluster.namespace)
            }
        });
    }
    Ok(found)
}

/// `bellhop status`, asked again for at most `patience` while something is wrong.
pub(crate) fn show_status(arguments: &ClusterArguments, format: Format, patience: Duration) -> ExitCode {
    with_cluster(arguments, |cluster| async move {
        let end = Instant::now() + patience;
        let mut status = status_of(&cluster).await?;
        while !status.problems.is_empty() && Instant::now() < end {
            tokio::time::sleep(ASK_AGAIN).await;
            status = status_of(&cluster).await?;
        }
        print(format, &status, &status::table(&status, output::width()))?;
        Ok(if status.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DOES_NOT_HOLD) })
    })
}

async fn status_of(cluster: &Cluster) -> Result<ClusterStatus, Stop> {
    let asked = async {
        let pods = match cluster.speakers(None).await {
            Ok(pods) => Ok(pods),
            Err(ReadError::Forbidden(message)) => Err(not_asked(&message)),
            Err(error) => return Err(wrong(&error)),
        };
        let speakers = pods.clone().unwrap_or_default();
        let answers: Vec<Said<Status>> = cluster.ask(speakers, &["status", "--of-node-only"]).await;
        Ok((pods, answers))
    };
    let (objects, running, asked) = futures::join!(Objects::read(cluster), cluster.running(), asked);
    let mut objects = objects.map_err(|error| wrong(&error))?;
    let mut running = running.map_err(|error| wrong(&error))?;
    let (pods, answers) = asked?;
    objects.not_shown.append(&mut running.not_shown);
    running.pods = pods.map_err(|line| objects.not_shown.push(line)).ok();
    let place = (cluster.server.as_str(), cluster.namespace.as_str());
    Ok(status::merge(place, &objects, &running, answers))
}

/// `bellhop routes`.
pub(crate) fn show_routes(
    arguments: &ClusterArguments,
    peer: Option<&str>,
    node: Option<&str>,
    format: Format,
) -> ExitCode {
    with_cluster(arguments, |cluster| async move {
        let mut not_shown = Vec::new();
        let pods = speakers(&cluster, node, &mut not_shown).await?;
        let mut question = vec!["routes"];
        question.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        let answers: Vec<Said<Vec<RouteRow>>> = cluster.ask(pods, &question).await;
        let mut routes = routes::merge(answers);
        routes.not_shown.append(&mut not_shown);
        if routes.answered == 0 {
            // Routes are known to speakers alone.
            return Err((
                WRONG_USAGE,
                format!("no speaker could be asked:\n  {}", routes.not_shown.join("\n  ")),
            ));
        }
        print(format, &routes, &routes::table(&routes))
    })
}

/// `bellhop explain`.
pub(crate) fn show_explanation(
    arguments: &ClusterArguments,
    object: &str,
    node: Option<&str>,
    format: Format,
) -> ExitCode {
    let (namespace, name) = match crate::explain::service(object) {
        Ok(service) => service,
        Err(message) => return fail(WRONG_USAGE, &message),
    };
    with_cluster(arguments, |cluster| async move {
        let known = known(&cluster, namespace, name).await?;
        let mut known = known;
        let pods = speakers(&cluster, node, &mut known.not_shown).await?;
        let answers: Vec<Said<ServiceExplanation>> = cluster.ask(pods, &["explain", object]).await;
        if let Some(node) = node {
            known.states.retain(|state| state.metadata.name.as_deref() == Some(node));
        }
        let explanation = explain::merge(&known, answers);
        print(format, &explanation, &explain::table(&explanation))
    })
}

/// What the API server has about a Service.
async fn known(cluster: &Cluster, namespace: &str, name: &str) -> Result<Known, Stop> {
    let api = Api::<Service>::namespaced(cluster.client.clone(), namespace);
    let service = cluster.get(api, name).await.map_err(|error| wrong(&error))?;
    let service = service
        .ok_or_else(|| (DOES_NOT_HOLD, format!("there is no Service {name} in namespace {namespace}")))?;
    let of_service =
        ListParams::default().fields(&format!("involvedObject.kind=Service,involvedObject.name={name}"));
    let (claims, states, events) = futures::join!(
        cluster.list::<AddressClaim>(),
        cluster.list::<SpeakerState>(),
        cluster.list_in::<Event>(namespace, &of_service),
    );
    let mut known = Known { service, ..Known::default() };
    known.claims = visible(claims, &mut known.not_shown)?;
    known.states = visible(states, &mut known.not_shown)?;
    known.events = visible(events, &mut known.not_shown)?;
    Ok(known)
}

/// What of a list can be shown; what cannot becomes a line.
fn visible<K>(list: Result<Listed<K>, ReadError>, not_shown: &mut Vec<String>) -> Result<Vec<K>, Stop> {
    match list {
        Ok(listed) => {
            not_shown.extend(listed.unreadable);
            Ok(listed.objects)
        }
        Err(ReadError::Forbidden(message)) => {
            not_shown.push(message);
            Ok(Vec::new())
        }
        Err(error) => Err(wrong(&error)),
    }
}

/// `bellhop policy list`.
pub(crate) fn list_policies(arguments: &ClusterArguments, format: Format) -> ExitCode {
    with_cluster(arguments, |cluster| async move {
        let listed = cluster.list::<DecisionPolicy>().await.map_err(|error| wrong(&error))?;
        listed.unreadable.iter().for_each(|line| output::stderr(&format!("bellhop: {line}\n")));
        let rows = policy::list(&listed.objects);
        print(format, &rows, &policy::list_table(&rows))
    })
}

/// `bellhop policy show`.
pub(crate) fn show_policy(arguments: &ClusterArguments, name: &str, format: Format) -> ExitCode {
    with_cluster(arguments, |cluster| async move {
        let api = Api::<DecisionPolicy>::all(cluster.client.clone());
        let (object, states) = futures::join!(cluster.get(api, name), cluster.list::<SpeakerState>());
        let object = object.map_err(|error| wrong(&error))?;
        let object = object.ok_or_else(|| (DOES_NOT_HOLD, format!("there is no DecisionPolicy {name}")))?;
        let mut not_shown = Vec::new();
        let states = visible(states, &mut not_shown)?;
        let shown = policy::show(&object, &states, not_shown);
        print(format, &shown, &policy::table(&shown))
    })
}

/// `bellhop validate` without a folder.
pub(crate) fn check_objects(arguments: &ClusterArguments, format: Format) -> ExitCode {
    with_cluster(arguments, |cluster| async move {
        let collected = validate::collect(&cluster).await.map_err(|error| wrong(&error))?;
        let namespace = &cluster.namespace;
        let findings = crate::validate::validate(collected.folder.path(), namespace, false)
            .map_err(|error| (WRONG_USAGE, error.to_string()))?;
        let findings =
            Findings { folder: cluster.server.clone(), not_shown: collected.not_shown, ..findings };
        print(format, &findings, &crate::validate::table(&findings))?;
        Ok(if findings.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DOES_NOT_HOLD) })
    })
}

/// `bellhop drain`.
pub(crate) fn drain(arguments: &ClusterArguments, daemonset: &str, timeout: Duration) -> ExitCode {
    with_cluster(arguments, |cluster| async move {
        let place = format!("DaemonSet {daemonset} in namespace {}", cluster.namespace);
        match cluster.drain(daemonset, timeout).await.map_err(|error| wrong(&error))? {
            Drained::GoneAlready => output::stdout(&format!("{place} is not there\n")),
            Drained::Gone => output::stdout(&format!("{place} is gone; its speakers have drained\n")),
            Drained::Late { pods } => {
                let message =
                    format!("{place} is not gone after {} s: {pods} pods are left", timeout.as_secs());
                return Err((DOES_NOT_HOLD, message));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
