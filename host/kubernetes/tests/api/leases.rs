//! Leases.

use std::time::Duration;

use anyhow::{Result, ensure};
use bellhop_core::ObjectRef;
use bellhop_index::Options;
use bellhop_kubernetes::{
    Condition, Election, Role, SourceOptions, SpeakerLease, Status, WriteError, Writer, start,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::proxy::{Fault, Proxy};
use crate::{Api, SOON, until};

const NAMESPACE: &str = "bellhop-system";

pub(crate) async fn one_leads_and_hands_over(api: &Api) -> Result<()> {
    let mut proxy = Proxy::start(api.client.clone()).await?;
    let first = Election::start(proxy.client()?, NAMESPACE, "bellhop-controller", "first");
    until("the first leads", || async { first.is_leader() }).await?;
    let second = Election::start(api.client.clone(), NAMESPACE, "bellhop-controller", "second");

    // A fenced writer of one that does not lead sends nothing.
    let writer = Writer::new(api.client.clone(), "bellhop-controller").fenced(second.leadership());
    let claim = ObjectRef::cluster("AddressClaim", "203.0.113.20");
    let refused = writer.create(&claim, &json!({"spec": {"address": "203.0.113.20"}})).await;
    ensure!(matches!(refused, Err(WriteError::NotLeader { .. })), "{refused:?}");

    // A clean stop: at once for the other, and back.
    let began = Instant::now();
    first.release().await;
    until("the second leads", || async { second.is_leader() }).await?;
    ensure!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let first = Election::start(proxy.client()?, NAMESPACE, "bellhop-controller", "first");
    second.release().await;
    until("the first leads again", || async { first.is_leader() }).await?;

    // Cut off: it stops before the other one leads.
    let second = Election::start(api.client.clone(), NAMESPACE, "bellhop-controller", "second");
    proxy.down();
    let (mut stopped, began) = (None, Instant::now());
    while !second.is_leader() {
        if stopped.is_none() && !first.is_leader() {
            stopped = Some(began.elapsed());
        }
        ensure!(began.elapsed() < Duration::from_secs(25), "nobody leads");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = stopped.ok_or_else(|| anyhow::anyhow!("both lead"))?;
    ensure!(!first.is_leader() && stopped < Duration::from_secs(11), "{stopped:?}");
    second.release().await;
    Ok(())
}

pub(crate) async fn a_speaker_is_seen_to_live_and_to_stop(api: &Api) -> Result<()> {
    api.apply(r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a-node"}}"#);
    let writer = Writer::new(api.client.clone(), "bellhop-speaker");
    let state = ObjectRef::cluster("SpeakerState", "a-node");
    let made = writer.create(&state, &json!({"spec": {}})).await?;
    writer.apply_status(&state, &Condition::from(&made), &json!({"announcedCount": 3})).await?;

    let (batches, mut received) = mpsc::channel(64);
    let options = SourceOptions {
        role: Role::Controller,
        index: Options::default(),
        cache: None,
        jitter: Duration::ZERO,
        recoveries: None,
    };
    let source = start(api.client.clone(), options, batches);
    let mut lives = async |wanted: bool| -> Result<()> {
        timeout(SOON, async {
            while let Some(batch) = received.recv().await {
                for observed in batch.observed.into_iter().filter(|observed| observed.object == state) {
                    let status = observed.version.map(|version| version.status);
                    if let Some(Status::Speaker { state, live }) = status
                        && state.announced_count == 3
                        && live == wanted
                    {
                        return Ok(());
                    }
                }
            }
            anyhow::bail!("the source ended")
        })
        .await?
    };
    lives(false).await?;
    // Attempts meet trouble, at the read, at the creation, at the answer to one that was carried out, and at the renewal; each
    // waits twice as long as the one before.
    let proxy = Proxy::start(api.client.clone()).await?;
    for (fault, method) in [
        (Fault::Status(429, Some(1)), "GET"),
        (Fault::Status(500, None), "POST"),
        (Fault::LoseAnswer, "POST"),
        (Fault::Status(409, None), "PUT"),
    ] {
        proxy.fail(&[method, "/leases"], fault, 1);
    }
    let lease = SpeakerLease::start(proxy.client()?, NAMESPACE, "a-node", "pod-1");
    lives(true).await?;
    // The watch may have told of it before the answer to the write came.
    timeout(3 * SOON, lease.renewed().wait_for(Option::is_some)).await??;
    ensure!(proxy.left().is_empty(), "{:?}", proxy.left());
    let args = ["-n", NAMESPACE, "get", "lease", "bellhop-speaker-a-node", "-o"];
    let owner = "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}";
    ensure!(api.cluster.kubectl(&[&args[..], &[owner]].concat())? == "Node/a-node");
    lease.release().await;
    lives(false).await?;
    source.stop().await;
    Ok(())
}
