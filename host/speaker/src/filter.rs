//! The driver of the packet filter: one task that owns the table `inet bellhop` of this network namespace.
//!
//! It takes the whole wanted table from a `watch` (only the latest counts), brings the kernel to it in one transaction,
//! puts it back when somebody else changes it, and tells the planner how many addresses are filtered and what is wrong.
//! Nothing waits for it: where the kernel has no nf_tables, announcing goes on, and the Node has a problem that says
//! what to do. The kernel's work is done on a blocking thread, as it may wait behind a long transaction of kube-proxy.
//!
//! | channel | depth | why |
//! |---|---|---|
//! | wanted table | 1 (`watch`) | only the latest counts |
//! | reports to the planner | the planner's | sent when they change, so that they are few |
//!
//! Cancelling it leaves the table as it stands, which the next process takes over; a transaction that has begun is
//! carried out whole.

use std::io;
use std::path::Path;
use std::time::Duration;

use bellhop_core::{ObjectName, ObjectRef, Problem};
use bellhop_net::nftables::{FilterError, FilterTable, NfTables, NfTablesWatch, PacketFilter, TableWatch};
use bellhop_runtime::http::Health;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::planning::Event;

mod strict_arp;

/// Between two transactions, so that a burst of changes becomes few: far below what a route takes to reach a router's
/// forwarding table.
const REST: Duration = Duration::from_millis(50);

/// After the first failure; doubled with each further one up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_secs(1);

/// A missing kernel module is loaded by a person, if at all.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Between two repairs. The first is made at once; a program that keeps changing the table is not raced with, and a
/// burst of others' changes that overflows the watch does not have the whole table written each second.
const REPAIR_REST: Duration = Duration::from_secs(5);

/// How often the host's ARP settings are looked at. They are a person's or kube-proxy's, and change at its start.
const SETTINGS_CHECK: Duration = Duration::from_secs(60);

/// Where the kernel's IPv4 settings of each interface are.
const IPV4_SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// What the filter has come to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilterReport {
    /// Addresses in the table as the kernel has it; 0 where there is none.
    pub addresses: usize,
    /// What is wrong with the node's data path.
    pub problems: Vec<Problem>,
}

/// Starts the task; the sender takes what is wanted. `None` until the planner knows: what an earlier process wrote
/// stays until then.
pub fn start(
    node: ObjectName,
    planner: mpsc::Sender<Event>,
    health: &Health,
) -> watch::Sender<Option<FilterTable>> {
    let (wanted, inbox) = watch::channel(None);
    let driver = Driver {
        node: ObjectRef::cluster("Node", node),
        open: || {
            let filter = NfTables::open()?;
            let watch = filter.watch()?;
            Ok::<(NfTables, NfTablesWatch), FilterError>((filter, watch))
        },
        settings: Path::new(IPV4_SETTINGS).into(),
        inbox,
        planner,
        reported: None,
        standing: 0,
        failure: None,
        retry: RETRY,
    };
    health.spawn("filter", driver.run());
    wanted
}

struct Driver<O> {
    node: ObjectRef,
    /// Opens the filter and the watch over its table.
    open: O,
    settings: Box<Path>,
    inbox: watch::Receiver<Option<FilterTable>>,
    planner: mpsc::Sender<Event>,
    reported: Option<FilterReport>,
    standing: usize,
    failure: Option<Problem>,
    /// How long to wait after the next failure.
    retry: Duration,
}

/// Why the driver goes on after a rest.
enum Wake {
    /// Another table is wanted.
    Wanted,
    /// Somebody else changed the table.
    Disturbed,
    /// The watch has broken.
    Broken(io::Error),
    /// A deadline has come.
    Time,
    /// The planner has gone.
    End,
}

impl<O, F, W> Driver<O>
where
    O: FnMut() -> Result<(F, W), FilterError>,
    F: PacketFilter + Send + 'static,
    W: TableWatch,
{
    async fn run(mut self) {
        // Nothing is asked of the kernel before something is to be filtered.
        while self.inbox.borrow().is_none() {
            if self.inbox.changed().await.is_err() {
                return;
            }
        }
        loop {
            match (self.open)() {
                Ok((filter, watch)) => match self.drive(filter, watch).await {
                    Some(error) => {
                        tracing::warn!(%error, "the watch over the packet filter broke: opened anew")
                    }
                    None => return,
                },
                Err(error) => self.failed(&error),
            }
            if self.report().await.is_err() {
                return;
            }
            let pause = self.pause();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.planner.closed() => return,
            }
        }
    }

    /// Filters until the watch breaks (then with the reason) or the planner goes.
    async fn drive(&mut self, mut filter: F, mut watch: W) -> Option<io::Error> {
        let mut due = Some(Instant::now());
        let mut repairing = false;
        let mut repaired: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if due.is_some_and(|at| at <= now) {
                let wanted = self.inbox.borrow_and_update().clone().unwrap_or_default();
                // `None`: the blocking thread is gone with the filter in it, as the runtime is shutting down.
                filter = self.write(filter, wanted).await?;
                due = self.failure.is_some().then(|| now + self.pause());
                if std::mem::take(&mut repairing) {
                    repaired = Some(now);
                }
            }
            if self.report().await.is_err() {
                return None;
            }
            let wake = self.wake(&mut watch, due.unwrap_or(now + SETTINGS_CHECK)).await;
            let now = Instant::now();
            match wake {
                // What failed is tried again in its time.
                Wake::Wanted if self.failure.is_some() => {}
                Wake::Wanted => due = Some(due.map_or(now + REST, |at| at.min(now + REST))),
                Wake::Disturbed => {
                    filter.forget();
                    if !std::mem::replace(&mut repairing, true) {
                        tracing::warn!(
                            "another program changed table inet bellhop, or may have: it is written anew"
                        );
                        let at = repaired.map_or(now, |last| now.max(last + REPAIR_REST));
                        due = Some(due.map_or(at, |due| due.min(at)));
                    }
                }
                Wake::Broken(error) => return Some(error),
                Wake::Time => {}
                Wake::End => return None,
            }
        }
    }

    async fn wake(&mut self, watch: &mut W, deadline: Instant) -> Wake {
        tokio::select! {
            changed = self.inbox.changed() => if changed.is_ok() { Wake::Wanted } else { Wake::End },
            disturbed = watch.disturbed() => disturbed.map_or_else(Wake::Broken, |()| Wake::Disturbed),
            () = tokio::time::sleep_until(deadline) => Wake::Time,
        }
    }

    /// Brings the kernel to the wanted table; gives the filter back.
    async fn write(&mut self, mut filter: F, wanted: FilterTable) -> Option<F> {
        let addresses = wanted.addresses.len();
        let written = tokio::task::spawn_blocking(move || {
            let result = filter.replace(&wanted);
            (filter, result)
        });
        let (filter, result) = written.await.ok()?;
        match result {
            Ok(replaced) => {
                tracing::debug!(
                    addresses,
                    messages = replaced.messages,
                    bytes = replaced.bytes,
                    "packet filter written"
                );
                self.standing = addresses;
                self.failure = None;
                self.retry = RETRY;
            }
            Err(error) => self.failed(&error),
        }
        Some(filter)
    }

    fn failed(&mut self, error: &FilterError) {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        let message = format!(
            "cannot {error}{cause}, so host ports may be reached through announced addresses and closed ports may loop{remedy}"
        );
        tracing::debug!(error = error.category(), "{message}");
        self.failure = Some(Problem::new(self.node.clone(), "FilterUnavailable", "", "", message));
    }

    /// How long to wait after this failure; longer after the next.
    fn pause(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        pause
    }

    /// Tells the planner what has changed.
    async fn report(&mut self) -> Result<(), mpsc::error::SendError<Event>> {
        let arp = strict_arp::problem(&self.settings, &self.node);
        let problems = self.failure.iter().cloned().chain(arp).collect();
        let report = FilterReport { addresses: self.standing, problems };
        if self.reported.as_ref() == Some(&report) {
            return Ok(());
        }
        self.reported = Some(report.clone());
        self.planner.send(Event::Filtered(report)).await
    }
}

#[cfg(test)]
mod tests;
