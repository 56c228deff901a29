//! The thread that executes the ledger's proposals, so that fsync never holds up planning.
//!
//! One batch at a time, in order. What was done comes back as an event; the planner does not propose anew before.

use bellhop_ipam::ClaimChange;
use tokio::sync::mpsc;

use crate::claims::{ClaimStore, StoreError};
use crate::planning::Event;

/// The planner sends the next batch only after the one before came back.
const DEPTH: usize = 1;

/// What came of one change.
#[derive(Debug)]
pub struct Written {
    /// The change.
    pub change: ClaimChange,
    /// Done, or why not.
    pub result: Result<(), StoreError>,
}

/// Starts the thread; it ends when the sender or the planner is gone.
pub fn start(
    mut store: impl ClaimStore + Send + 'static,
    planner: mpsc::Sender<Event>,
) -> mpsc::Sender<Vec<ClaimChange>> {
    let (sender, mut inbox) = mpsc::channel::<Vec<ClaimChange>>(DEPTH);
    std::thread::spawn(move || {
        while let Some(changes) = inbox.blocking_recv() {
            if planner.blocking_send(Event::Written(execute(&mut store, changes))).is_err() {
                return;
            }
        }
    });
    sender
}

/// Executes a batch. After a creation that failed, updates and releases are left out, so that no Service loses an
/// address before it has its new one.
pub(crate) fn execute(store: &mut impl ClaimStore, changes: Vec<ClaimChange>) -> Vec<Written> {
    let mut creation_failed = false;
    let mut written = Vec::with_capacity(changes.len());
    for change in changes {
        let result = match &change {
            ClaimChange::Create(claim) => store.create(claim),
            ClaimChange::Update(_) | ClaimChange::Release(_) if creation_failed => continue,
            ClaimChange::Update(claim) => store.update(claim),
            ClaimChange::Release(address) => store.release(*address),
        };
        creation_failed |= matches!(change, ClaimChange::Create(_)) && result.is_err();
        written.push(Written { change, result });
    }
    written
}
