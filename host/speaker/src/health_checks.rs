//! The driver of health check node ports: one task that asks this node's kube-proxy about Services that are about to be
//! announced with `externalTrafficPolicy: Local`.
//!
//! It takes the whole set of questions from a `watch` (only the latest counts), asks each until it is answered with 200
//! or [`PATIENCE`] is over, and tells the planner. Cancelling it leaves Services unannounced that wait for it, nothing
//! else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::announce::gate::{HealthCheck, Proof};
use bellhop_runtime::http::Health;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::planning::Event;
use crate::probe::{self, Answer};

/// Between two questions about one Service. kube-proxy programs within 0.2 to 2 s, and a question costs it little.
const INTERVAL: Duration = Duration::from_millis(150);

/// How long a Service waits: five times what a kube-proxy takes that is well. A check that cannot be reached must not
/// keep a Service off the air.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Questions at a time: a node that restarts may have thousands of Services to ask about, and few descriptors.
const AT_ONCE: usize = 32;

/// What is to be asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Questions {
    /// The checks.
    pub checks: BTreeSet<HealthCheck>,
    /// Addresses of this node; kube-proxy listens on all of them, or on the first alone.
    pub addresses: Arc<[IpAddr]>,
}

/// Starts the task; the sender takes what is to be asked.
pub fn start(planner: mpsc::Sender<Event>, health: &Health) -> watch::Sender<Questions> {
    let (questions, inbox) = watch::channel(Questions::default());
    health.spawn("health-checks", drive(inbox, planner));
    questions
}

async fn drive(mut inbox: watch::Receiver<Questions>, planner: mpsc::Sender<Event>) {
    // Until when to ask; `None` once the planner was told.
    let mut open: BTreeMap<HealthCheck, Option<Instant>> = BTreeMap::new();
    loop {
        let Questions { checks, addresses } = inbox.borrow_and_update().clone();
        open.retain(|check, _| checks.contains(check));
        for check in checks {
            open.entry(check).or_insert_with(|| Some(Instant::now() + PATIENCE));
        }
        let due: Vec<HealthCheck> =
            open.iter().filter(|(_, until)| until.is_some()).map(|(check, _)| check.clone()).collect();
        let served = ask(&due, &addresses).await;
        let now = Instant::now();
        let mut answers = Vec::new();
        for (check, until) in &mut open {
            let Some(deadline) = *until else { continue };
            let proof = if served.contains(check) {
                Proof::Served
            } else if now >= deadline {
                Proof::Unproven
            } else {
                continue;
            };
            *until = None;
            answers.push((check.clone(), proof));
        }
        if !answers.is_empty() && planner.send(Event::Checked(answers)).await.is_err() {
            return;
        }
        let waiting = open.values().any(Option::is_some);
        tokio::select! {
            changed = inbox.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(INTERVAL), if waiting => {}
        }
    }
}

/// The checks that are answered with 200.
async fn ask(checks: &[HealthCheck], addresses: &Arc<[IpAddr]>) -> BTreeSet<HealthCheck> {
    let mut served = BTreeSet::new();
    for some in checks.chunks(AT_ONCE) {
        let mut asking = JoinSet::new();
        for check in some.iter().cloned() {
            let addresses = addresses.clone();
            asking.spawn(async move {
                let answer = probe::status(&addresses, check.port, "/healthz").await;
                (answer == Answer::Status(200)).then_some(check)
            });
        }
        served.extend(asking.join_all().await.into_iter().flatten());
    }
    served
}

#[cfg(test)]
mod tests {
    use bellhop_core::ServiceKey;

    use super::*;
    use crate::probe::fake::FakeServer;

    /// Far above what any step takes; nothing here waits for it unless it fails.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn check(name: &str, port: u16) -> HealthCheck {
        HealthCheck { service: ServiceKey::new("web", name), port, question: 1 }
    }

    struct Rig {
        questions: watch::Sender<Questions>,
        events: mpsc::Receiver<Event>,
    }

    impl Rig {
        fn start(checks: impl IntoIterator<Item = HealthCheck>) -> Self {
            let (planner, events) = mpsc::channel(4);
            let rig = Self { questions: start(planner, &Health::new(Instant::now().into_std())), events };
            rig.ask(checks);
            rig
        }

        fn ask(&self, checks: impl IntoIterator<Item = HealthCheck>) {
            let addresses = [IpAddr::from([127, 0, 0, 1])].into();
            self.questions.send_replace(Questions { checks: checks.into_iter().collect(), addresses });
        }

        async fn answers(&mut self) -> Vec<(HealthCheck, Proof)> {
            match tokio::time::timeout(DEADLINE, self.events.recv()).await {
                Ok(Some(Event::Checked(answers))) => answers,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_service_is_served_once_its_port_answers_200() {
        let server = FakeServer::start().await;
        server.set(200, 503);
        let shop = check("shop", server.port);
        let mut rig = Rig::start([shop.clone()]);
        while server.asked() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(rig.events.is_empty(), "503 is no answer to begin with");
        server.set(200, 200);
        assert_eq!(rig.answers().await, [(shop.clone(), Proof::Served)]);
        let asked = server.asked();
        rig.ask([shop, check("other", server.port)]);
        assert_eq!(rig.answers().await, [(check("other", server.port), Proof::Served)]);
        assert_eq!(server.asked(), asked + 1, "what was answered is not asked again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_nobody_answers_on_keeps_a_service_for_a_bounded_time() {
        let begin = Instant::now();
        let mut rig = Rig::start([check("shop", 1)]);
        assert_eq!(rig.answers().await, [(check("shop", 1), Proof::Unproven)]);
        let waited = begin.elapsed();
        // The clock may run on while the kernel refuses the last connection.
        assert!(waited >= PATIENCE && waited < PATIENCE + Duration::from_secs(1), "{waited:?}");
    }

    #[tokio::test]
    async fn more_services_than_are_asked_at_once_are_all_answered() {
        let server = FakeServer::start().await;
        let all: BTreeSet<HealthCheck> =
            (0..3 * AT_ONCE).map(|index| check(&format!("shop-{index:03}"), server.port)).collect();
        let mut rig = Rig::start(all.clone());
        let mut served = BTreeSet::new();
        while served.len() < all.len() {
            for (check, proof) in rig.answers().await {
                assert_eq!(proof, Proof::Served);
                assert!(served.insert(check));
            }
        }
        assert_eq!(served, all);
    }
}
