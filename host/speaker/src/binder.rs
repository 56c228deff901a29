//! The driver of address binding: one task that owns the netlink socket.
//!
//! It takes the whole wanted set from a `watch` (only the latest counts), brings the kernel to it, renews lifetimes,
//! and tells the planner what is bound. Cancelling it leaves addresses that expire by themselves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_net::addresses::{AddressBinder, LoopbackBinder};
use tokio::sync::{mpsc, watch};

use crate::planning::Event;

/// Between two renewals: a third of the lifetime, so that two may fail.
const RENEW: Duration = Duration::from_secs(60);

/// After a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the task; the sender takes the wanted set. `None` until the planner knows what is wanted: what an earlier
/// process bound stays until then.
///
/// # Errors
/// When the netlink socket cannot be opened.
pub fn start(planner: mpsc::Sender<Event>) -> std::io::Result<watch::Sender<Option<BTreeSet<IpAddr>>>> {
    let binder = LoopbackBinder::open()?;
    let (wanted, inbox) = watch::channel(None);
    tokio::spawn(drive(binder, inbox, planner));
    Ok(wanted)
}

async fn drive(
    mut binder: impl AddressBinder,
    mut wanted: watch::Receiver<Option<BTreeSet<IpAddr>>>,
    planner: mpsc::Sender<Event>,
) {
    let mut reported: Option<BTreeSet<IpAddr>> = None;
    loop {
        let current = wanted.borrow_and_update().clone();
        let mut again_in = RENEW;
        if let Some(current) = current {
            match binder.sync(&current).await {
                Ok(_) => {
                    if reported.as_ref() != Some(&current) {
                        reported = Some(current.clone());
                        if planner.send(Event::Bound(current)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot bind addresses on lo");
                    again_in = RETRY;
                }
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(again_in) => {}
        }
    }
}
