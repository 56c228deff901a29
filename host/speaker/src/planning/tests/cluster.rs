//! A planner of a cluster: what its first announcement waits for, and how it drains.

use std::sync::Arc;

use bellhop_core::announce::gate::{HealthCheck, Proof};
use bellhop_runtime::http::Health;
use tokio::sync::Notify;

use super::*;
use crate::health_checks::Questions;
use crate::proxy_health::{ProxyHealth, Target};
use crate::state::writer::Report;

const CLAIM: &str = r#"
{apiVersion: bellhop.dev/v1alpha1, kind: SpeakerConfig, metadata: {name: all}, spec: {asn: 64512, drain: {wait: 0s}}}
---
{apiVersion: bellhop.dev/v1alpha1, kind: Advertisement, metadata: {name: all}, spec: {}}
---
{apiVersion: bellhop.dev/v1alpha1, kind: BGPPeer, metadata: {name: router}, spec: {peerAddress: 192.0.2.1, peerASN: 64513}}
---
apiVersion: bellhop.dev/v1alpha1
kind: AddressClaim
metadata: {name: 203.0.113.1}
spec:
  address: 203.0.113.1
  holders: [{namespace: web, name: shop, uid: uid-shop, ports: [{protocol: TCP, port: 80}]}]
"#;

const LOCAL: &str = "externalTrafficPolicy: Local, healthCheckNodePort: 30123, ";

/// The manifests of a Service with `more` in its spec.
fn manifests(more: &str) -> String {
    MANIFESTS.replace(
        "{namespace: web, name: shop}\nspec: {",
        &format!(
            "{{namespace: web, name: shop, uid: uid-shop}}\n\
             status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}\n\
             spec: {{{more}"
        ),
    )
}

struct ClusterRig {
    rig: Rig,
    health: Health,
    checks: watch::Receiver<Questions>,
    proxy: watch::Receiver<Option<Target>>,
}

impl ClusterRig {
    fn start(restarted: bool) -> Self {
        Self::in_pod(restarted, None)
    }

    /// The same, killed so long after SIGTERM.
    fn in_pod(restarted: bool, grace_period: Option<Duration>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mark = RestartMark::new(state.path(), "node-1").unwrap();
        if restarted {
            mark.set().unwrap();
        }
        let (events, inbox) = mpsc::channel(16);
        let (wanted, binder) = watch::channel(None);
        let (filter, filtered) = watch::channel(None);
        let (loader, jobs) = mpsc::channel(16);
        let (health_checks, checks) = watch::channel(Questions::default());
        let (proxy_health, proxy) = watch::channel(None);
        let health = Health::new(Instant::now());
        let metrics =
            Arc::new(bellhop_runtime::metrics::Metrics::new(bellhop_runtime::metrics::Form::Speaker));
        let signals = Signals::new(metrics).with_health(&health);
        let neighbours =
            ClusterNeighbours { health_checks, proxy_health, state_changed: Arc::new(Notify::new()) };
        let options =
            Options { node: "node-1".into(), allocation: Allocation::Controller, bind_by_default: false };
        let planning = Planning::new(options, mark, BgpHandle::start(), wanted, filter, loader);
        let planning = planning.in_cluster(neighbours).with_grace_period(grace_period);
        tokio::spawn(planning.with_signals(signals).run(inbox));
        Self { rig: Rig { events, binder, filtered, jobs, _state: state }, health, checks, proxy }
    }

    async fn proxy(&self, health: ProxyHealth) {
        self.rig.send(Event::Proxy(health)).await;
    }

    async fn check(&mut self) -> HealthCheck {
        let asked = self.checks.wait_for(|questions| !questions.checks.is_empty());
        let questions = tokio::time::timeout(DEADLINE, asked).await.unwrap().unwrap();
        questions.checks.first().unwrap().clone()
    }

    async fn report(&self) -> Report {
        let (reply, answer) = oneshot::channel();
        self.rig.send(Event::Report(reply)).await;
        answer.await.unwrap()
    }

    /// What the one peer is to hear.
    async fn routes(&self) -> usize {
        let (reply, answer) = oneshot::channel();
        self.rig.send(Event::Ask(Question::Routes { peer: None }, reply)).await;
        match answer.await.unwrap() {
            Answer::Routes(rows) => rows.len(),
            other => panic!("{other:?}"),
        }
    }
}

const WELL: ProxyHealth = ProxyHealth::Well { leaving: false };

#[tokio::test]
async fn after_a_reboot_the_first_announcement_waits_for_kube_proxy() {
    let mut rig = ClusterRig::start(false);
    rig.rig.read(&[&manifests(""), CLAIM]).await;
    rig.rig.wait_for("bound by nothing but kube-proxy", |status| status.phase == Phase::Binding).await;
    let target = rig.proxy.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert_eq!(target.port, 10256);
    assert_eq!(target.addresses[0], IpAddr::from([192, 0, 2, 11]));
    rig.proxy(ProxyHealth::Unwell).await;
    assert_eq!(rig.rig.status().await.phase, Phase::Binding);
    assert!(!rig.health.ready().ok);
    rig.proxy(WELL).await;
    rig.rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    assert!(rig.health.ready().ok);
    assert!(rig.health.live(Instant::now()).ok);
}

#[tokio::test]
async fn a_restart_within_one_boot_does_not_wait_for_kube_proxy() {
    let rig = ClusterRig::start(true);
    rig.rig.read(&[&manifests(""), CLAIM]).await;
    rig.rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
}

#[tokio::test]
async fn a_cluster_without_kube_proxy_can_say_so() {
    let rig = ClusterRig::start(false);
    let without = CLAIM.replace("asn: 64512,", "asn: 64512, proxyHealth: {enabled: false},");
    rig.rig.read(&[&manifests(""), &without]).await;
    rig.rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    assert_eq!(*rig.proxy.borrow(), None);
}

#[tokio::test]
async fn a_start_waits_for_the_health_checks_of_local_services() {
    let mut rig = ClusterRig::start(true);
    rig.rig.read(&[&manifests(LOCAL), CLAIM]).await;
    let check = rig.check().await;
    assert_eq!(check.port, 30123);
    let status = rig.rig.status().await;
    assert_eq!((status.phase, shop(&status).announced.reason.as_str()), (Phase::Binding, "DataPathPending"));
    rig.rig.send(Event::Checked(vec![(check, Proof::Served)])).await;
    rig.rig.wait_for("ready", |status| status.phase == Phase::Ready && shop(status).announced.status).await;
    assert!(rig.checks.borrow().checks.is_empty());
}

#[tokio::test]
async fn health_checks_are_not_asked_before_kube_proxy_lives() {
    let mut rig = ClusterRig::start(false);
    rig.rig.read(&[&manifests(LOCAL), CLAIM]).await;
    rig.rig
        .wait_for("waits for kube-proxy", |status| shop(status).announced.reason == "DataPathPending")
        .await;
    assert!(rig.checks.borrow().checks.is_empty());
    rig.proxy(WELL).await;
    let check = rig.check().await;
    rig.rig.send(Event::Checked(vec![(check, Proof::Unproven)])).await;
    let status = rig.rig.wait_for("ready", |status| status.phase == Phase::Ready).await;
    let problem = status.problems.iter().find(|problem| problem.reason == "DataPathUnproven").unwrap();
    assert_eq!(problem.object.to_string(), "Service/web/shop");
}

#[tokio::test]
async fn a_node_about_to_be_deleted_drains_until_kube_proxy_says_otherwise() {
    let rig = ClusterRig::start(true);
    rig.rig.read(&[&manifests(""), CLAIM]).await;
    rig.rig.wait_for("announced", |status| shop(status).announced.status).await;
    assert_eq!(rig.routes().await, 1);
    rig.proxy(ProxyHealth::Well { leaving: true }).await;
    rig.rig.wait_for("drained", |status| shop(status).announced.reason == "Drained").await;
    assert_eq!(rig.report().await.status.phase, Some(bellhop_api::SpeakerPhase::Draining));
    for nothing in [ProxyHealth::Silent, ProxyHealth::Unwell] {
        rig.proxy(nothing).await;
        assert_eq!(rig.routes().await, 0, "{nothing:?} says nothing about the node");
    }
    rig.proxy(WELL).await;
    rig.rig.wait_for("announced again", |status| shop(status).announced.status).await;
}

#[tokio::test]
async fn a_drain_wait_that_does_not_fit_into_the_grace_period_is_told_with_both_and_what_would_be_right() {
    let rig = ClusterRig::in_pod(true, Some(Duration::from_secs(60)));
    rig.rig.read(&[&manifests(""), &CLAIM.replace("wait: 0s", "wait: 41s")]).await;
    let short = |status: &Status| {
        status.problems.iter().find(|problem| problem.reason == "GracePeriodTooShort").cloned()
    };
    let status = rig.rig.wait_for("told", |status| short(status).is_some()).await;
    let problem = short(&status).unwrap();
    assert_eq!(problem.object.to_string(), "SpeakerConfig/all");
    let told = problem.told();
    for part in ["spec.drain.wait", "41s", "at least 61", "has 60", "to 61", "wait at most 40s"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let degraded = |report: Report| {
        let mut conditions = report.status.conditions.into_iter();
        conditions.find(|condition| condition.type_ == "Degraded")
    };
    let condition = degraded(rig.report().await).unwrap();
    assert_eq!((condition.reason.as_str(), condition.message), ("GracePeriodTooShort", told));
    rig.rig.read(&[&manifests(""), &CLAIM.replace("wait: 0s", "wait: 40s")]).await;
    rig.rig.wait_for("fits", |status| short(status).is_none()).await;
    assert_eq!(degraded(rig.report().await), None);
}

#[tokio::test]
async fn a_grace_period_that_is_too_short_for_the_drain_wait_by_default_is_told_of_the_node() {
    let rig = ClusterRig::in_pod(true, Some(Duration::from_secs(29)));
    let without = CLAIM.replace(", drain: {wait: 0s}", "");
    rig.rig.read(&[&manifests(""), &without]).await;
    let short = |problem: &&Problem| problem.reason == "GracePeriodTooShort";
    let status = rig.rig.wait_for("told", |status| status.problems.iter().any(|one| short(&one))).await;
    let problem = status.problems.iter().find(short).unwrap();
    assert_eq!(problem.object.to_string(), "Node/node-1");
    assert!(problem.message.contains("to wait 10s"), "{}", problem.message);
}

#[tokio::test]
async fn a_stop_that_keeps_routes_keeps_the_mark_and_one_that_drains_removes_it() {
    for keep_routes in [true, false] {
        let rig = ClusterRig::start(true);
        rig.rig.read(&[&manifests(""), CLAIM]).await;
        rig.rig.wait_for("announced", |status| shop(status).announced.status).await;
        rig.rig.send(Event::Stop { keep_routes }).await;
        tokio::time::timeout(DEADLINE, rig.rig.events.closed()).await.unwrap();
        let mark = RestartMark::new(rig.rig._state.path(), "node-1").unwrap();
        assert_eq!(mark.stands(), keep_routes);
        assert!(rig.health.live(Instant::now()).ok, "a task that was asked to end is not missed");
    }
}
