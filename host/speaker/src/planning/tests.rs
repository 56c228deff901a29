//! Tests of the planning thread with its neighbours faked: what waits for what at a start, and what failures do.

use bellhop_core::report::{Answer, Question, ServiceRow, Status};
use bellhop_index::Index;
use bellhop_ipam::ClaimChange;
use bellhop_policy_engine::rollout::LoadId;
use bellhop_runtime::loader::Loaded;
use bellhop_sandbox::{LoadError, Refusal, Stage};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::allocator::WRITE_RETRY;
use super::*;
use crate::claim_writer;
use crate::claims::FakeClaims;
use crate::filter::FilterReport;

/// One Service with one endpoint on this node, an address pool, and a policy whose module cannot be loaded.
const MANIFESTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: web}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
---
apiVersion: v1
kind: Service
metadata: {namespace: web, name: shop}
spec: {type: LoadBalancer, ipFamilies: [IPv4], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: web, name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], nodeName: node-1}]
---
apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {name: public}
spec: {addresses: [203.0.113.1-203.0.113.9]}
"#;

const POLICY: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {namespace: bellhop-system, name: module}
binaryData: {module.wasm.zst: AAAA}
---
apiVersion: bellhop.dev/v1alpha1
kind: DecisionPolicy
metadata: {name: table}
spec:
  hook: Route
  plugin: {configMap: module, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}
"#;

mod cluster;

/// Far above what any step takes; nothing here waits for it unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A planning thread with a hand on everything around it.
struct Rig {
    events: mpsc::Sender<Event>,
    binder: watch::Receiver<Option<Wanted>>,
    filtered: watch::Receiver<Option<FilterTable>>,
    jobs: mpsc::Receiver<Job>,
    /// Holds the restart mark.
    _state: TempDir,
}

impl Rig {
    /// Starts planning; nothing has been read yet.
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let mark = RestartMark::new(state.path(), "node-1").unwrap();
        let (events, inbox) = mpsc::channel(16);
        let (wanted, binder) = watch::channel(None);
        let (filter, filtered) = watch::channel(None);
        let (loader, jobs) = mpsc::channel(16);
        let options = Options {
            node: "node-1".into(),
            allocation: Allocation::Own { allocate: true },
            bind_by_default: true,
        };
        let planning = Planning::new(options, mark, BgpHandle::start(), wanted, filter, loader);
        tokio::spawn(planning.run(inbox));
        Self { events, binder, filtered, jobs, _state: state }
    }

    /// Tells what these manifests say, whole.
    async fn read(&self, manifests: &[&str]) {
        let mut index = Index::new(bellhop_index::Options { classless: true, ..Default::default() });
        let mut deltas = Vec::new();
        for (number, text) in manifests.iter().enumerate() {
            deltas.extend(index.apply(&format!("{number}.yaml"), text.as_bytes()));
        }
        let problems: Vec<_> = deltas.iter().filter(|delta| matches!(delta, Delta::Problems(..))).collect();
        assert!(problems.is_empty(), "{problems:?}");
        deltas.push(Delta::Synced);
        self.send(Event::Deltas(deltas)).await;
    }

    async fn send(&self, event: Event) {
        assert!(self.events.send(event).await.is_ok(), "planning has ended");
    }

    async fn status(&self) -> Status {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Ask(Question::Status, reply)).await;
        match answer.await.unwrap() {
            Answer::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// Asks until `holds` does.
    async fn wait_for(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let until = Instant::now() + DEADLINE;
        loop {
            let status = self.status().await;
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "not in time: {what}; {status:#?}");
            tokio::task::yield_now().await;
        }
    }
}

fn shop(status: &Status) -> &ServiceRow {
    status.services.iter().find(|row| row.name == "shop").unwrap()
}

// case: bgp-68
#[tokio::test]
async fn nothing_is_decided_before_the_manifests_were_read_whole() {
    let rig = Rig::start();
    assert_eq!(rig.status().await.phase, Phase::Reading);
    assert!(rig.binder.borrow().is_none(), "what an earlier process bound is left alone");
    rig.read(&[MANIFESTS]).await;
    rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    assert!(rig.binder.borrow().is_some());
}

// case: bgp-68
#[tokio::test]
async fn nothing_is_announced_before_every_policy_is_active_or_has_failed() {
    let mut rig = Rig::start();
    rig.read(&[MANIFESTS, POLICY]).await;
    let job = rig.jobs.recv().await.unwrap();
    assert_eq!(rig.status().await.phase, Phase::LoadingPolicies);
    assert!(rig.binder.borrow().is_none());
    let refused = LoadError {
        stage: Stage::Verified,
        refusal: Refusal::DigestMismatch,
        message: "the module is another one".into(),
        version: String::new(),
    };
    let stale = Loaded {
        policy: job.policy.name.clone(),
        load: LoadId(job.load.0 + 1),
        sha256: job.policy.sha256.clone(),
        result: Err(refused.clone()),
    };
    rig.send(Event::Loaded(Box::new(stale))).await;
    assert_eq!(rig.status().await.phase, Phase::LoadingPolicies, "a result of another load settles nothing");
    let loaded = Loaded {
        policy: job.policy.name.clone(),
        load: job.load,
        sha256: job.policy.sha256.clone(),
        result: Err(refused),
    };
    rig.send(Event::Loaded(Box::new(loaded))).await;
    let status = rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    let row = &status.policies[0];
    assert_eq!((row.step.as_str(), row.stage.as_deref()), ("Rejected", Some("Verified")));
}

#[tokio::test]
async fn an_address_is_announced_only_after_its_claim_is_written_and_it_is_bound() {
    let rig = Rig::start();
    rig.read(&[MANIFESTS]).await;
    let status = rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    assert!(shop(&status).addresses.is_empty(), "a process without the lock writes no claim");
    rig.send(Event::Writer(claim_writer::start(FakeClaims::default(), rig.events.clone()))).await;
    rig.wait_for("allocated, and announced as soon as it is bound", |status| {
        let shop = shop(status);
        shop.allocated.status && shop.announced.reason == "NotBound"
    })
    .await;
    let mut binder = rig.binder.clone();
    let wanted = binder.wait_for(|wanted| wanted.as_ref().is_some_and(|w| !w.addresses.is_empty())).await;
    let addresses = wanted.unwrap().clone().unwrap().addresses;
    rig.send(Event::Bound(addresses)).await;
    rig.wait_for("no obstacle but the missing peer", |status| shop(status).announced.reason == "NoPeer")
        .await;
}

#[tokio::test]
async fn a_claim_that_cannot_be_written_is_a_problem_in_words_and_is_tried_again() {
    let rig = Rig::start();
    rig.read(&[MANIFESTS]).await;
    rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    let full = FakeClaims { broken: ["203.0.113.1".parse().unwrap()].into(), ..FakeClaims::default() };
    let (writer, mut batches) = mpsc::channel(1);
    rig.send(Event::Writer(writer)).await;
    let mut tried = Vec::new();
    for _ in 0..2 {
        let batch: Vec<ClaimChange> = batches.recv().await.unwrap();
        tried.push((batch.clone(), Instant::now()));
        let written = claim_writer::execute(&mut full.clone(), batch);
        rig.send(Event::Written(written)).await;
    }
    assert_eq!(tried[0].0, tried[1].0, "the same again");
    assert!(tried[1].1 - tried[0].1 >= WRITE_RETRY / 2, "not as fast as it fails");
    let status = rig.status().await;
    let problem = status.problems.iter().find(|problem| problem.reason == "ClaimNotWritten").unwrap();
    assert!(problem.to_string().contains("203.0.113.1"), "{problem}");
}

#[tokio::test]
async fn a_stop_that_withdraws_clears_the_restart_mark_and_unbinds() {
    let rig = Rig::start();
    rig.read(&[MANIFESTS]).await;
    rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    let mark = RestartMark::new(rig._state.path(), "node-1").unwrap();
    assert!(mark.stands());
    rig.send(Event::Stop { keep_routes: false }).await;
    let mut binder = rig.binder.clone();
    binder
        .wait_for(|wanted| wanted.as_ref().is_some_and(|wanted| wanted.addresses.is_empty()))
        .await
        .unwrap();
    rig.send(Event::Bound(BTreeSet::new())).await;
    let mut filtered = rig.filtered.clone();
    filtered.wait_for(|table| table.as_ref().is_some_and(FilterTable::is_empty)).await.unwrap();
    assert!(!rig.events.is_closed(), "what an earlier process filtered may stand still");
    rig.send(Event::Filtered(FilterReport::default())).await;
    rig.events.closed().await;
    assert!(!mark.stands());
}

/// A ready process with one address bound and filtered.
async fn serving() -> Rig {
    let rig = Rig::start();
    rig.read(&[MANIFESTS]).await;
    rig.send(Event::Writer(claim_writer::start(FakeClaims::default(), rig.events.clone()))).await;
    let mut binder = rig.binder.clone();
    let wanted = binder.wait_for(|wanted| wanted.as_ref().is_some_and(|w| !w.addresses.is_empty())).await;
    let addresses = wanted.unwrap().clone().unwrap().addresses;
    rig.send(Event::Bound(addresses)).await;
    let mut filtered = rig.filtered.clone();
    let table = filtered.wait_for(|table| table.as_ref().is_some_and(|table| !table.is_empty())).await;
    assert!(table.unwrap().as_ref().unwrap().echo_reply, "the default where addresses are bound");
    rig.send(Event::Filtered(FilterReport { addresses: 1, problems: vec![] })).await;
    rig
}

#[tokio::test]
async fn a_stop_that_withdraws_ends_filtering_once_nothing_is_bound_any_more() {
    let rig = serving().await;
    rig.send(Event::Stop { keep_routes: false }).await;
    let (mut binder, mut filtered) = (rig.binder.clone(), rig.filtered.clone());
    binder.wait_for(|wanted| wanted.as_ref().is_some_and(|w| w.addresses.is_empty())).await.unwrap();
    assert!(!filtered.borrow().as_ref().unwrap().is_empty(), "still bound, so still filtered");
    rig.send(Event::Bound(BTreeSet::new())).await;
    filtered.wait_for(|table| table.as_ref().is_some_and(FilterTable::is_empty)).await.unwrap();
    let begun = Instant::now();
    rig.send(Event::Filtered(FilterReport::default())).await;
    rig.events.closed().await;
    assert!(begun.elapsed() < DEADLINE);
}

#[tokio::test]
async fn a_stop_that_leaves_the_routes_leaves_the_filter_too() {
    let rig = serving().await;
    rig.send(Event::Stop { keep_routes: true }).await;
    rig.events.closed().await;
    assert!(!rig.filtered.borrow().as_ref().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_the_filter_is_a_problem_of_the_node_in_the_status() {
    let rig = Rig::start();
    rig.read(&[MANIFESTS]).await;
    let node = ObjectRef::cluster("Node", "node-1");
    let problem = Problem::new(node, "FilterUnavailable", "", "", "load the kernel's module nf_tables");
    let report = FilterReport { addresses: 0, problems: vec![problem.clone()] };
    rig.send(Event::Filtered(report)).await;
    assert!(rig.status().await.problems.contains(&problem));
}
