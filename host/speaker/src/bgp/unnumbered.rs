//! Routers found on interfaces (unnumbered): each side tells its link-local address by router advertisements.
//!
//! One task for each interface of a peer that names one. It solicits and advertises when the interface is there, advertises
//! again every few seconds and whenever somebody asks, and tells the core which routers it hears. An interface that goes,
//! or is not there yet, is looked for again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::peer::Neighbour;
use bellhop_net::router_advertisement::{Heard, RouterSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::connection::Report;
use super::session::Session;

/// Between two advertisements. FRR sends its own as often, and RFC 4861 §6.2.1 allows no less than 4 s on the average.
const INTERVAL: Duration = Duration::from_secs(10);
/// Between two advertisements at least, however often somebody asks (RFC 4861 §10, MIN_DELAY_BETWEEN_RAS).
const LEAST_INTERVAL: Duration = Duration::from_secs(3);
/// Between two looks for an interface that is not there, or has no link-local address yet.
const RETRY: Duration = Duration::from_secs(1);

/// The interfaces that are listened on.
#[derive(Default)]
pub(super) struct Discovery {
    tasks: HashMap<Arc<str>, JoinHandle<()>>,
    heard: HashMap<Arc<str>, IpAddr>,
}

impl Discovery {
    /// Listens on the interfaces that these sessions name, and on no other.
    pub(super) fn configure<'a>(
        &mut self,
        sessions: impl Iterator<Item = &'a Session>,
        reports: &mpsc::Sender<Report>,
    ) {
        let named: Vec<Arc<str>> = sessions
            .filter_map(|session| match &session.config.neighbour {
                Neighbour::Interface(interface) => Some(interface.clone()),
                Neighbour::Address(_) | Neighbour::Range { .. } => None,
            })
            .collect();
        self.tasks.retain(|interface, task| {
            let stays = named.contains(interface);
            if !stays {
                task.abort();
            }
            stays
        });
        self.heard.retain(|interface, _| named.contains(interface));
        for interface in named {
            self.tasks
                .entry(interface.clone())
                .or_insert_with(|| tokio::spawn(listen(interface, reports.clone())));
        }
    }

    pub(super) fn note(&mut self, interface: &Arc<str>, router: IpAddr) {
        if self.tasks.contains_key(interface) {
            self.heard.insert(interface.clone(), router);
        }
    }

    /// The router heard last on the interface that this names.
    pub(super) fn heard_on(&self, neighbour: &Neighbour) -> Option<IpAddr> {
        match neighbour {
            Neighbour::Interface(interface) => self.heard.get(interface).copied(),
            Neighbour::Address(_) | Neighbour::Range { .. } => None,
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn listen(interface: Arc<str>, reports: mpsc::Sender<Report>) {
    let mut told = None;
    loop {
        let error = match RouterSocket::open(&interface) {
            Ok(socket) => {
                told = None;
                tracing::info!(%interface, "looking for the router on this interface");
                converse(&socket, &interface, &reports).await
            }
            Err(error) => Some(error),
        };
        let Some(error) = error else { return };
        let words = error.to_string();
        if told.as_ref() != Some(&words) {
            tracing::warn!(%interface, %error, "the router on this interface cannot be looked for");
            told = Some(words);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Talks until the interface fails, then with the error, or the core is gone.
async fn converse(
    socket: &RouterSocket,
    interface: &Arc<str>,
    reports: &mpsc::Sender<Report>,
) -> Option<std::io::Error> {
    if let Err(error) = socket.solicit() {
        return Some(error);
    }
    // Before the first one everybody may ask.
    let mut advertised: Option<tokio::time::Instant> = None;
    let mut next = tokio::time::Instant::now();
    loop {
        tokio::select! {
            heard = socket.receive() => match heard {
                Ok(Heard::Advertisement(router)) => {
                    reports.send(Report::Heard(interface.clone(), router.into())).await.ok()?;
                }
                Ok(Heard::Solicitation) => {
                    let now = tokio::time::Instant::now();
                    next = next.min(advertised.map_or(now, |last| now.max(last + LEAST_INTERVAL)));
                }
                Err(error) => return Some(error),
            },
            () = tokio::time::sleep_until(next) => {
                if let Err(error) = socket.advertise() {
                    return Some(error);
                }
                let now = tokio::time::Instant::now();
                advertised = Some(now);
                next = now + INTERVAL;
            }
        }
    }
}
