//! Conditional writes and Events.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bellhop_core::ObjectRef;
use bellhop_kubernetes::{Condition, Event, EventKind, Recorder, Stored, WriteError, Writer};
use serde_json::json;

use crate::proxy::{Fault, Proxy};
use crate::{Api, until};

fn claim(address: &str) -> (ObjectRef, serde_json::Value) {
    (ObjectRef::cluster("AddressClaim", address), json!({"spec": {"address": address}}))
}

fn category<T: std::fmt::Debug>(result: Result<T, WriteError>) -> Result<(&'static str, String)> {
    match result {
        Ok(done) => bail!("it was written: {done:?}"),
        Err(error) => Ok((error.category(), error.to_string())),
    }
}

pub(crate) async fn conditions_decide(api: &Api) -> Result<()> {
    let writer = Writer::new(api.client.clone(), "bellhop-controller");
    let (name, manifest) = claim("203.0.113.1");
    let made: Stored = writer.create(&name, &manifest).await?;
    ensure!(category(writer.create(&name, &manifest).await)?.0 == "exists");
    let changed = json!({"spec": {"address": "203.0.113.1", "pool": "public"}});
    let replaced = writer.replace(&name, &Condition::from(&made), &changed).await?;
    ensure!(category(writer.replace(&name, &Condition::from(&made), &changed).await)?.0 == "conflict");
    ensure!(replaced.uid == made.uid && replaced.generation == 2);

    // Status: by the version.
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let status = writer.apply_status(&name, &Condition::from(&replaced), &ready).await?;
    ensure!(category(writer.apply_status(&name, &Condition::from(&made), &json!({})).await)?.0 == "conflict");
    let stranger = Condition { uid: Some("stranger".into()), resource_version: None };
    // The version decides. A UID alone decides nothing about the status of a kind of ours, which the server keeps; so every
    // condition of a status names the version, too.
    let before = Condition { uid: stranger.uid.clone(), ..Condition::from(&made) };
    ensure!(category(writer.apply_status(&name, &before, &ready).await)?.0 == "conflict");
    let read = writer.read(&name).await?.unwrap_or_default();
    ensure!(read["status"]["conditions"][0]["type"] == "Ready", "{read}");
    ensure!(
        read["metadata"]["resourceVersion"] == *status.resource_version,
        "a refused write left something"
    );
    // The status is ours, and nobody else's.
    let fields = read["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let of_status: Vec<_> =
        fields.iter().filter(|entry| entry["fieldsV1"].get("f:status").is_some()).collect();
    ensure!(of_status.len() == 1, "{fields:?}");
    let owner = ["manager", "operation", "subresource"].map(|field| of_status[0][field].as_str());
    ensure!(owner == [Some("bellhop-controller"), Some("Apply"), Some("status")], "{owner:?}");

    // What the schema and its rules refuse is told in the server's words.
    let moved = json!({"spec": {"address": "203.0.113.2"}});
    let (kind, words) = category(writer.replace(&name, &Condition::from(&status), &moved).await)?;
    ensure!(kind == "invalid" && words.contains("never changes"), "{words}");

    ensure!(category(writer.delete(&name, &Condition::from(&made)).await)?.0 == "conflict");
    ensure!(category(writer.delete(&name, &stranger).await)?.0 == "conflict");
    writer.delete(&name, &Condition::from(&status)).await?;
    writer.delete(&name, &Condition::from(&status)).await?;
    ensure!(writer.read(&name).await?.is_none());
    ensure!(category(writer.apply_status(&name, &Condition::from(&status), &ready).await)?.0 != "ok");
    let counts = writer.counts();
    ensure!(counts[&("AddressClaim", bellhop_kubernetes::Verb::Create, "exists")] == 1, "{counts:?}");
    Ok(())
}

pub(crate) async fn trouble_is_retried_and_told(api: &Api) -> Result<()> {
    let proxy = Proxy::start(api.client.clone()).await?;
    let writer = Writer::new(proxy.client()?, "bellhop-controller");
    let (name, manifest) = claim("203.0.113.10");
    proxy.fail(&["POST"], Fault::Status(429, Some(1)), 1);
    proxy.fail(&["POST"], Fault::Status(500, None), 1);
    proxy.fail(&["POST"], Fault::Reset, 1);
    proxy.fail(&["POST"], Fault::Late(Duration::from_millis(300)), 1);
    let began = tokio::time::Instant::now();
    let made = writer.create(&name, &manifest).await?;
    ensure!(proxy.seen(&["POST", "addressclaims"]) == 4);
    ensure!(began.elapsed() > Duration::from_secs(1), "Retry-After was not heeded");

    // The answer is lost: the claim was made, and by nobody twice.
    let (lost, manifest) = claim("203.0.113.11");
    proxy.fail(&["POST"], Fault::LoseAnswer, 1);
    ensure!(category(writer.create(&lost, &manifest).await)?.0 == "exists");
    ensure!(writer.read(&lost).await?.is_some());

    // Trouble that stays is told, with what the server asks.
    proxy.fail(&["PUT"], Fault::Status(429, Some(30)), 1);
    let replaced = writer.replace(&name, &Condition::from(&made), &manifest).await;
    let throttled =
        matches!(replaced, Err(WriteError::Throttled { retry_after, .. }) if retry_after.as_secs() == 30);
    ensure!(throttled, "{replaced:?}");
    proxy.fail(&["GET"], Fault::Status(503, None), 4);
    ensure!(category(writer.read(&name).await)?.0 == "unavailable");
    ensure!(writer.read(&name).await?.is_some());

    // A denied verb is named with its resource.
    api.cluster.kubectl(&["-n", "bellhop-system", "create", "serviceaccount", "nobody"])?;
    let nobody = Api::client_of(&api.cluster.service_account("bellhop-system", "nobody")?).await?;
    let nobody = Writer::new(nobody, "bellhop-controller");
    let (kind, words) = category(nobody.apply_status(&name, &Condition::from(&made), &json!({})).await)?;
    ensure!(kind == "forbidden" && words.contains("must allow patch on addressclaims/status"), "{words}");
    for address in [name, lost] {
        writer.delete(&address, &Condition::default()).await?;
    }
    Ok(())
}

pub(crate) async fn events_are_aggregated_and_never_waited_for(api: &Api) -> Result<()> {
    let recorder = Recorder::start(api.client.clone(), "bellhop.dev/controller", "pod-1");
    let event = Event {
        regarding: ObjectRef::cluster("Namespace", "bellhop-system"),
        uid: None,
        kind: EventKind::Warning,
        reason: "PoolExhausted",
        action: "Allocate",
        note: "every pool that matches is full".into(),
    };
    for _ in 0..5 {
        recorder.record(event.clone());
    }
    let count = || async {
        let args = [
            "-n",
            "default",
            "get",
            "events.events.k8s.io",
            "-o",
            "jsonpath={.items[?(@.action=='Allocate')].note}",
        ];
        let notes = api.cluster.kubectl(&args).unwrap_or_default();
        notes.matches("every pool").count() == 1
    };
    until("one Event for five of a kind", count).await?;
    ensure!(recorder.dropped() == 0);

    let mut proxy = Proxy::start(api.client.clone()).await?;
    let away = Recorder::start(proxy.client()?, "bellhop.dev/controller", "pod-1");
    proxy.down();
    for number in 0..3000 {
        away.record(Event { note: number.to_string(), ..event.clone() });
    }
    ensure!(away.dropped() >= 1500, "{}", away.dropped());
    Ok(())
}
