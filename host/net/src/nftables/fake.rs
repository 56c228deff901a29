//! A packet filter in memory, with failures on demand, for tests of whoever filters.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::{FilterError, FilterTable, PacketFilter, Replaced, TableWatch};

/// A host's packet filter in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FakeFilter {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    table: FilterTable,
    broken: bool,
    changes: usize,
    written_whole: usize,
    known: bool,
}

impl FakeFilter {
    /// What the table holds.
    pub fn table(&self) -> FilterTable {
        self.with(|state| state.table.clone())
    }

    /// Makes every change fail, as without `CAP_NET_ADMIN`, or not any more.
    pub fn set_broken(&self, broken: bool) {
        self.with(|state| state.broken = broken);
    }

    /// Does what another program may: empties the table.
    pub fn tamper(&self) {
        self.with(|state| state.table = FilterTable::default());
    }

    /// How often the table was written.
    pub fn changes(&self) -> usize {
        self.with(|state| state.changes)
    }

    /// How often the table was written without regard to what it held.
    pub fn written_whole(&self) -> usize {
        self.with(|state| state.written_whole)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PacketFilter for FakeFilter {
    fn replace(&mut self, wanted: &FilterTable) -> Result<Replaced, FilterError> {
        self.with(|state| {
            if state.broken {
                state.known = false;
                let source = io::Error::from_raw_os_error(libc::EPERM);
                return Err(FilterError::Refused { what: "transaction", explanation: None, source });
            }
            state.changes += 1;
            state.written_whole += usize::from(!std::mem::replace(&mut state.known, true));
            state.table = wanted.clone();
            Ok(Replaced { messages: 1, bytes: 0 })
        })
    }

    fn forget(&mut self) {
        self.with(|state| state.known = false);
    }
}

/// A watch that a test speaks for: each message is a disturbance.
impl TableWatch for mpsc::Receiver<()> {
    async fn disturbed(&mut self) -> io::Result<()> {
        match self.recv().await {
            Some(()) => Ok(()),
            None => std::future::pending().await,
        }
    }
}
