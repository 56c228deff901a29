//! The driver of kube-proxy's own health: one task that asks `/healthz` and `/livez` on this node.
//!
//! `/livez` says that kube-proxy programs the data path; `/healthz` says the same and that the node is not about to be
//! deleted (KEP-3836). The task takes where to ask from a `watch`, and tells the planner what changed. Cancelling it leaves
//! the planner with what it knew.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_runtime::http::Health;
use tokio::sync::{mpsc, watch};

use crate::planning::Event;
use crate::probe::{self, Answer};

/// Until kube-proxy lives, which the first announcement after a reboot waits for.
const IMPATIENT: Duration = Duration::from_millis(250);

/// From then on: what is left to learn is that the node is about to go, minutes before it does.
const PATIENT: Duration = Duration::from_secs(2);

/// How often in a row `/healthz` alone has to fail before the node leaves: between two questions kube-proxy may have
/// recovered from something else.
const LEAVING_AFTER: u8 = 2;

/// Where kube-proxy answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Addresses of this node, the likeliest first.
    pub addresses: Arc<[IpAddr]>,
    /// Port of `--healthz-bind-address`.
    pub port: u16,
}

/// What kube-proxy says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHealth {
    /// Nothing: nobody listens. It may be restarting, or there is none.
    Silent,
    /// It does not program the data path at present, or listens and says nothing.
    Unwell,
    /// It programs the data path.
    Well {
        /// The node is about to be deleted.
        leaving: bool,
    },
}

/// Starts the task; the sender takes where to ask, `None` to ask nobody.
pub fn start(planner: mpsc::Sender<Event>, health: &Health) -> watch::Sender<Option<Target>> {
    let (target, inbox) = watch::channel(None);
    health.spawn("proxy-health", drive(inbox, planner));
    target
}

async fn drive(mut inbox: watch::Receiver<Option<Target>>, planner: mpsc::Sender<Event>) {
    let mut observer = Observer::default();
    loop {
        let target = inbox.borrow_and_update().clone();
        if let Some(target) = &target
            && let Some(news) = observer.take(ask(target).await)
        {
            tracing::info!(health = ?news, "kube-proxy");
            if planner.send(Event::Proxy(news)).await.is_err() {
                return;
            }
        }
        let settled = matches!(observer.told, Some(ProxyHealth::Well { .. })) && observer.suspicion == 0;
        let interval = if settled { PATIENT } else { IMPATIENT };
        tokio::select! {
            changed = inbox.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(interval), if target.is_some() => {}
        }
    }
}

/// One look.
async fn ask(target: &Target) -> ProxyHealth {
    match probe::status(&target.addresses, target.port, "/healthz").await {
        Answer::Nobody => ProxyHealth::Silent,
        Answer::Mute => ProxyHealth::Unwell,
        Answer::Status(200) => ProxyHealth::Well { leaving: false },
        Answer::Status(_) => match probe::status(&target.addresses, target.port, "/livez").await {
            Answer::Status(200) => ProxyHealth::Well { leaving: true },
            _ => ProxyHealth::Unwell,
        },
    }
}

/// Turns looks into news.
#[derive(Debug, Default)]
struct Observer {
    told: Option<ProxyHealth>,
    /// Looks in a row at which the node was about to leave and that were not told.
    suspicion: u8,
}

impl Observer {
    fn take(&mut self, seen: ProxyHealth) -> Option<ProxyHealth> {
        let seen = match seen {
            ProxyHealth::Well { leaving: true } if self.told != Some(seen) => {
                self.suspicion += 1;
                // It lives, whichever it turns out to be.
                ProxyHealth::Well { leaving: self.suspicion >= LEAVING_AFTER }
            }
            seen => {
                self.suspicion = 0;
                seen
            }
        };
        if seen == (ProxyHealth::Well { leaving: true }) {
            self.suspicion = 0;
        }
        (self.told.replace(seen) != Some(seen)).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::FakeServer;

    const WELL: ProxyHealth = ProxyHealth::Well { leaving: false };
    const LEAVING: ProxyHealth = ProxyHealth::Well { leaving: true };

    #[test]
    fn one_look_does_not_make_a_node_leave_and_two_do() {
        let mut observer = Observer::default();
        assert_eq!(observer.take(WELL), Some(WELL));
        assert_eq!(observer.take(LEAVING), None);
        assert_eq!(observer.take(WELL), None);
        assert_eq!(observer.take(LEAVING), None);
        assert_eq!(observer.take(LEAVING), Some(LEAVING));
        assert_eq!(observer.take(LEAVING), None);
        assert_eq!(observer.take(ProxyHealth::Silent), Some(ProxyHealth::Silent));
        assert_eq!(observer.take(WELL), Some(WELL));
    }

    #[tokio::test]
    async fn kube_proxy_is_followed_through_its_life() {
        let server = FakeServer::start().await;
        server.set(503, 503);
        let (planner, mut events) = mpsc::channel(4);
        let target = start(planner, &Health::new(std::time::Instant::now()));
        target.send_replace(Some(Target {
            addresses: [IpAddr::from([127, 0, 0, 1])].into(),
            port: server.port,
        }));
        for (livez, healthz, expected) in
            [(503, 503, ProxyHealth::Unwell), (200, 200, WELL), (200, 503, LEAVING), (200, 200, WELL)]
        {
            server.set(livez, healthz);
            let told = async {
                loop {
                    match events.recv().await {
                        Some(Event::Proxy(health)) if health == expected => return,
                        // A machine that is busy enough makes a well kube-proxy mute for a moment.
                        Some(Event::Proxy(ProxyHealth::Unwell | WELL)) => {}
                        other => panic!("{other:?} in place of {expected:?}"),
                    }
                }
            };
            assert!(tokio::time::timeout(Duration::from_secs(20), told).await.is_ok(), "{expected:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_listens_that_is_told_once() {
        let (planner, mut events) = mpsc::channel(4);
        let target = start(planner, &Health::new(std::time::Instant::now()));
        target.send_replace(Some(Target { addresses: [IpAddr::from([127, 0, 0, 1])].into(), port: 1 }));
        assert!(matches!(events.recv().await, Some(Event::Proxy(ProxyHealth::Silent))));
        let more = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }
}
