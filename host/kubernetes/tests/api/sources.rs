//! The source.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bellhop_core::{Delta, ObjectRef, ServiceKey, World};
use bellhop_index::Options;
use bellhop_kubernetes::{
    Batch, CacheOptions, Client, Condition, Role, Source, SourceOptions, Writer, start,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::proxy::{Fault, Proxy};
use crate::{Api, SOON, until};

/// A source, and the World that its batches make.
struct Told {
    source: Source,
    batches: mpsc::Receiver<Batch>,
    world: World,
    /// Everything told since it was looked at last.
    deltas: Vec<Delta>,
}

impl Told {
    fn start(client: Client, role: Role, cache: Option<&Path>) -> Self {
        let (sender, batches) = mpsc::channel(8);
        let cache = cache.map(|folder| CacheOptions { folder: folder.into(), boot_id: "boot".into() });
        let options = SourceOptions {
            role,
            index: Options::default(),
            cache,
            jitter: Duration::ZERO,
            recoveries: None,
        };
        let source = start(client, options, sender);
        Self { source, batches, world: World::default(), deltas: Vec::new() }
    }

    /// Takes batches until the World is as wanted.
    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&World) -> bool) -> Result<()> {
        let told = timeout(SOON, async {
            while !is_so(&self.world) {
                let batch = self.batches.recv().await.context("the source ended")?;
                for delta in batch.deltas {
                    self.deltas.push(delta.clone());
                    self.world.apply(delta);
                }
            }
            anyhow::Ok(())
        });
        match told.await {
            Ok(done) => done,
            Err(_) => bail!("{what}: not within {SOON:?}; problems: {:?}", self.world.problems()),
        }
    }

    /// Takes what comes within a time.
    async fn rest(&mut self, time: Duration) {
        while let Ok(Some(batch)) = timeout(time, self.batches.recv()).await {
            for delta in batch.deltas {
                self.deltas.push(delta.clone());
                self.world.apply(delta);
            }
        }
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn has(name: &'static str) -> impl Fn(&World) -> bool {
    move |world| world.services().contains_key(&key(name))
}

fn service(name: &str) -> (ObjectRef, serde_json::Value) {
    let manifest = json!({
        "spec": {
            "type": "LoadBalancer", "loadBalancerClass": bellhop_api::LOAD_BALANCER_CLASS,
            "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}],
        },
    });
    (ObjectRef::namespaced("Service", &key(name)), manifest)
}

async fn make(writer: &Writer, name: &str) -> Result<()> {
    let (object, manifest) = service(name);
    writer.create(&object, &manifest).await?;
    Ok(())
}

async fn remove(writer: &Writer, name: &str) -> Result<()> {
    Ok(writer.delete(&service(name).0, &Condition::default()).await?)
}

pub(crate) async fn changes_arrive_and_trouble_does_not_show(api: &Api) -> Result<()> {
    let proxy = Proxy::start(api.client.clone()).await?;
    let writer = Writer::new(api.client.clone(), "test");
    make(&writer, "a").await?;
    api.apply(
        r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [],
            "metadata": {"name": "headless", "namespace": "default", "labels": {
                "kubernetes.io/service-name": "a", "service.kubernetes.io/headless": ""}}}"#,
    );
    // The first attempts of some kinds meet trouble.
    proxy.fail(&["/services?"], Fault::Status(429, Some(1)), 1);
    proxy.fail(&["/nodes?"], Fault::Status(500, None), 2);
    proxy.fail(&["/addresspools?"], Fault::Reset, 2);
    // What nobody refers to is nothing that a speaker should read.
    api.apply(
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-somebody", "namespace": "bellhop-system"},
            "data": {"x": "what-only-a-body-holds"}}"#,
    );
    proxy.look_for("what-only-a-body-holds");
    let mut told = Told::start(proxy.client()?, Role::Speaker, None);
    told.until("synced", World::synced).await?;
    ensure!(proxy.found().is_empty(), "{:?}", proxy.found());
    let metadata = "application/json;as=PartialObjectMetadata;";
    ensure!(
        proxy.seen(&["/configmaps?", "watch=true", metadata]) == 1,
        "ConfigMaps are not read as metadata"
    );
    ensure!(has("a")(&told.world) && told.world.problems().is_empty(), "{:?}", told.world.problems());
    ensure!(told.world.slices_of(&key("a")).all(|slice| &*slice.key.name != "headless"));
    ensure!(*told.source.reachable().borrow());
    make(&writer, "b").await?;
    told.until("b arrives", has("b")).await?;

    // Watches end and their version is compacted meanwhile: what changed is told, and nothing else.
    told.deltas.clear();
    proxy.fail(&["/services?", "watch=true&", "&resourceVersion=", "&timeoutSeconds"], Fault::Expire, 1);
    let (mut proxy, relists) = (proxy, told.source.counters());
    proxy.down();
    until("it is seen to be away", || async { !*told.source.reachable().borrow() }).await?;
    make(&writer, "c").await?;
    remove(&writer, "b").await?;
    proxy.up().await?;
    told.until("c arrives and b is gone", |world| has("c")(world) && !has("b")(world)).await?;
    ensure!(relists.relists.load(Ordering::Relaxed) >= 1);
    told.rest(Duration::from_secs(1)).await;
    let of_services = |delta: &&Delta| matches!(delta, Delta::Service(..));
    ensure!(told.deltas.iter().filter(of_services).count() == 2, "{:?}", told.deltas);
    until("it answers again", || async { *told.source.reachable().borrow() }).await?;

    // One bad object.
    let bad = json!({"metadata": {"annotations": {"bellhop.dev/addresses": "shop"}}, "spec": service("d").1["spec"]});
    writer.create(&service("d").0, &bad).await?;
    told.until("the problem is told", |world| world.problems().contains_key(&service("d").0)).await?;
    ensure!(!has("d")(&told.world));
    remove(&writer, "d").await?;
    told.until("the problem is gone", |world| world.problems().is_empty()).await?;
    for name in ["a", "c"] {
        remove(&writer, name).await?;
    }
    told.until("all are gone", |world| !has("a")(world) && !has("c")(world)).await?;
    told.source.stop().await;
    Ok(())
}

pub(crate) async fn a_server_without_streamed_lists_is_read_in_pages(api: &Api) -> Result<()> {
    let proxy = Proxy::start(api.client.clone()).await?;
    proxy.fail(&["sendInitialEvents"], Fault::Status(422, None), 1000);
    proxy.look_for("what-only-a-body-holds");
    let writer = Writer::new(api.client.clone(), "test");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..520 {
        let writer = writer.clone();
        tasks.spawn(async move {
            let name =
                ObjectRef::cluster("AddressClaim", format!("198.18.{}.{}", number / 250, number % 250 + 1));
            writer.create(&name, &json!({"spec": {"address": &*name.name}})).await
        });
    }
    while let Some(made) = tasks.join_next().await {
        made??;
    }
    let mut told = Told::start(proxy.client()?, Role::Speaker, None);
    told.until("synced", World::synced).await?;
    ensure!(told.world.claims().len() == 520, "{}", told.world.claims().len());
    ensure!(proxy.seen(&["/addressclaims?", "limit=500&continue="]) == 1);
    let metadata = "application/json;as=PartialObjectMetadataList;";
    ensure!(proxy.seen(&["/configmaps?&limit=", metadata]) >= 1, "ConfigMaps are not read as metadata");
    ensure!(proxy.found().is_empty(), "{:?}", proxy.found());
    make(&writer, "late").await?;
    told.until("late arrives", has("late")).await?;
    told.source.stop().await;
    api.cluster.kubectl(&["delete", "addressclaims", "--all", "--wait=false"])?;
    remove(&writer, "late").await
}

pub(crate) async fn a_refusal_names_verb_and_resource_and_is_got_over(api: &Api) -> Result<()> {
    api.apply(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: half, namespace: bellhop-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: half}
rules:
- {apiGroups: [""], resources: [nodes, namespaces, configmaps], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
- apiGroups: [bellhop.dev]
  resources: [addresspools, addressclaims, advertisements, speakerconfigs, decisionpolicies]
  verbs: [get, list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: half}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: half}
subjects: [{kind: ServiceAccount, name: half, namespace: bellhop-system}]
"#,
    );
    let half = Api::client_of(&api.cluster.service_account("bellhop-system", "half")?).await?;
    let mut told = Told::start(half.clone(), Role::Speaker, None);
    let problem = |resource: &str| ObjectRef::cluster("API", resource);
    let both =
        |world: &World| ["services", "bgppeers"].iter().all(|it| world.problems().contains_key(&problem(it)));
    told.until("both are told", both).await?;
    let words = told.world.problems()[&problem("services")][0].to_string();
    ensure!(
        words.contains("cannot list services: forbidden") && words.contains("must allow list on services"),
        "{words}"
    );
    told.rest(Duration::from_secs(2)).await;
    ensure!(!told.world.synced(), "without Services everything would be withdrawn");
    ensure!(told.world.namespaces().contains_key("default"));
    let rule = r#"[{"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch"]}}]"#;
    api.cluster.kubectl(&["patch", "clusterrole", "half", "--type=json", "-p", rule])?;
    told.until("synced without BGPPeers", World::synced).await?;
    ensure!(!told.world.problems().contains_key(&problem("services")), "{:?}", told.world.problems());
    ensure!(told.world.problems().contains_key(&problem("bgppeers")));
    told.source.stop().await;

    // A speaker that may not list a kind any more goes on from the objects of it that it knew last.
    api.apply(
        r#"
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata: {name: half}
spec: {peerAddress: 192.0.2.77, peerASN: 64512}
"#,
    );
    let folder = tempfile::tempdir()?;
    let mut told = Told::start(api.client.clone(), Role::Speaker, Some(folder.path()));
    let knows = |world: &World| world.synced() && world.peers().keys().any(|name| &**name == "half");
    told.until("the peer is known", knows).await?;
    told.rest(Duration::from_millis(300)).await;
    told.source.stop().await;
    let mut told = Told::start(half, Role::Speaker, Some(folder.path()));
    told.until("the peer is known without a list", knows).await?;
    ensure!(told.world.problems().contains_key(&problem("bgppeers")));
    told.source.stop().await;
    api.cluster.kubectl(&["delete", "bgppeer", "half"])?;
    Ok(())
}

pub(crate) async fn a_speaker_starts_from_what_it_kept_while_the_server_is_away(api: &Api) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut proxy = Proxy::start(api.client.clone()).await?;
    let writer = Writer::new(api.client.clone(), "test");
    make(&writer, "a").await?;
    make(&writer, "b").await?;
    let mut told = Told::start(proxy.client()?, Role::Speaker, Some(folder.path()));
    told.until("synced", World::synced).await?;
    // After the snapshot: appended.
    make(&writer, "c").await?;
    told.until("c arrives", has("c")).await?;
    told.rest(Duration::from_millis(300)).await;
    let before = told.world.clone();
    ensure!(told.source.counters().restored.load(Ordering::Relaxed) == 0);
    told.source.stop().await;

    proxy.down();
    let began = tokio::time::Instant::now();
    let mut told = Told::start(proxy.client()?, Role::Speaker, Some(folder.path()));
    told.until("synced from what was kept", World::synced).await?;
    ensure!(
        began.elapsed() < Duration::from_secs(3),
        "refused connections were waited for: {:?}",
        began.elapsed()
    );
    ensure!(told.world == before, "{:?}\n{:?}", told.world.services().keys(), before.services().keys());
    ensure!(!*told.source.reachable().borrow());

    // Back: only what changed is told.
    remove(&writer, "b").await?;
    make(&writer, "d").await?;
    told.deltas.clear();
    proxy.up().await?;
    told.until("what changed arrives", |world| has("d")(world) && !has("b")(world)).await?;
    told.rest(Duration::from_secs(3)).await;
    let of_services = told.deltas.iter().filter(|delta| matches!(delta, Delta::Service(..)));
    ensure!(of_services.count() == 2, "{:?}", told.deltas);
    told.source.stop().await;

    // A server that takes connections and answers nothing is waited for only so long.
    proxy.fail(&["GET"], Fault::Late(Duration::from_secs(60)), 1000);
    let began = tokio::time::Instant::now();
    let mut told = Told::start(proxy.client()?, Role::Speaker, Some(folder.path()));
    told.until("synced from what was kept", World::synced).await?;
    ensure!((4..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    ensure!(has("d")(&told.world) && !has("b")(&told.world));
    told.source.stop().await;
    for name in ["a", "c", "d"] {
        remove(&writer, name).await?;
    }
    Ok(())
}

pub(crate) async fn a_policy_is_read_from_its_copy(api: &Api) -> Result<()> {
    let writer = Writer::new(api.client.clone(), "bellhop-controller");
    let digest = "0".repeat(64);
    let spec = json!({"hook": "Route", "priority": 5, "plugin": {"configMap": "theirs", "sha256": digest}});
    let policy = ObjectRef::cluster("DecisionPolicy", "p");
    let made = writer.create(&policy, &json!({"spec": spec})).await?;
    let mut told = Told::start(api.client.clone(), Role::Speaker, None);
    told.until("synced", World::synced).await?;
    ensure!(told.world.policies().is_empty());
    let copy = ObjectRef::namespaced("ConfigMap", &ServiceKey::new("bellhop-system", "bellhop-policy-p-1"));
    let manifest = json!({
        "metadata": {"labels": {"bellhop.dev/policy": "p"}}, "immutable": true,
        "data": {"policy.json": spec.to_string()}, "binaryData": {"module.wasm.zst": "AGFzbQ=="},
    });
    writer.create(&copy, &manifest).await?;
    let active = json!({"active": {"sha256": digest, "configMap": &*copy.name}});
    writer.apply_status(&policy, &Condition::from(&made), &active).await?;
    told.until("the policy appears", |world| !world.policies().is_empty()).await?;
    ensure!(told.world.modules().contains_key(&copy.name));
    ensure!(told.world.policies()["p"].config_map == copy.name);
    // The copy is deleted under it: the version in force stays, and it is said.
    writer.delete(&copy, &Condition::default()).await?;
    told.until("it is said", |world| world.problems().contains_key(&policy)).await?;
    ensure!(!told.world.policies().is_empty() && told.world.modules().contains_key(&copy.name));
    writer.delete(&policy, &Condition::default()).await?;
    told.until("the policy is gone", |world| world.policies().is_empty() && world.modules().is_empty())
        .await?;
    told.source.stop().await;
    Ok(())
}
