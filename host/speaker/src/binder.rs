//! The driver of address binding: one task that owns the netlink socket.
//!
//! It takes the whole wanted set from a `watch` (only the latest counts), brings the kernel to it, renews lifetimes,
//! and tells the planner what is bound. Cancelling it leaves addresses that expire by themselves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_net::addresses::{AddressBinder, BindError, LoopbackBinder};
use bellhop_runtime::http::Health;
use tokio::sync::{mpsc, watch};

use crate::planning::Event;

/// After a failure.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// How long they outlive this process; longer than any peer keeps routes over a restart.
    pub lifetime: Duration,
}

/// Starts the task; the sender takes what is wanted. `None` until the planner knows: what an earlier process bound
/// stays until then.
///
/// # Errors
/// When the netlink socket cannot be opened.
pub fn start(
    planner: mpsc::Sender<Event>,
    health: &Health,
) -> std::io::Result<watch::Sender<Option<Wanted>>> {
    let binder = LoopbackBinder::open()?;
    let (wanted, inbox) = watch::channel(None);
    health.spawn("binder", drive(binder, inbox, planner));
    Ok(wanted)
}

async fn drive(
    mut binder: impl AddressBinder,
    mut inbox: watch::Receiver<Option<Wanted>>,
    planner: mpsc::Sender<Event>,
) {
    let mut reported: Option<BTreeSet<IpAddr>> = None;
    loop {
        let current = inbox.borrow_and_update().clone();
        let mut again_in = RETRY;
        if let Some(Wanted { addresses, lifetime }) = current {
            binder.set_lifetime(lifetime);
            let bound = match binder.sync(&addresses).await {
                Ok(_) => {
                    // A third, so that two renewals may fail.
                    again_in = lifetime / 3;
                    Some(addresses)
                }
                Err(error) => {
                    tracing::error!(error = error.category(), "cannot {error}: {}", cause(&error));
                    match error {
                        BindError::Change { missing, .. } => Some(&addresses - &missing),
                        BindError::List(_) => None,
                    }
                }
            };
            if let Some(bound) = bound.filter(|bound| reported.as_ref() != Some(bound)) {
                reported = Some(bound.clone());
                if planner.send(Event::Bound(bound)).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            changed = inbox.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(again_in) => {}
        }
    }
}

fn cause(error: &BindError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bellhop_net::addresses::FakeBinder;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_cannot_be_bound_does_not_keep_the_others_from_being_announced() {
        let [good, bad]: [IpAddr; 2] = ["203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap()];
        let binder = FakeBinder { broken: [bad].into(), ..FakeBinder::default() };
        let (wanted, inbox) = watch::channel(None);
        let (planner, mut events) = mpsc::channel(4);
        tokio::spawn(drive(binder, inbox, planner));
        wanted
            .send_replace(Some(Wanted { addresses: [good, bad].into(), lifetime: Duration::from_secs(180) }));
        match events.recv().await {
            Some(Event::Bound(bound)) => assert_eq!(bound, [good].into()),
            other => panic!("unexpected: {other:?}"),
        }
    }
}
