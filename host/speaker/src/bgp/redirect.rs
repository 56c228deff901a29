//! The driver of redirected ports: one task that owns their table, from when the first peer asks for one.

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_net::nftables::FilterError;
use bellhop_net::nftables::redirect::{Redirect, Redirection as Kernel};
use tokio::sync::{mpsc, watch};

use super::connection::Report;

/// After a failure; a missing kernel module is loaded by a person.
const RETRY: Duration = Duration::from_secs(5);

/// What is to be redirected. Dropping it ends the task, and with its socket the kernel takes the table away.
#[derive(Default)]
pub(super) struct Redirection {
    wanted: Option<watch::Sender<BTreeSet<Redirect>>>,
    error: Option<String>,
}

impl Redirection {
    /// Redirects these and nothing else.
    pub(super) fn apply(&mut self, wanted: BTreeSet<Redirect>, reports: &mpsc::Sender<Report>) {
        match &self.wanted {
            Some(sender) => {
                sender.send_if_modified(|current| {
                    *current != wanted && {
                        *current = wanted;
                        true
                    }
                });
            }
            None if wanted.is_empty() => {}
            None => {
                let (sender, inbox) = watch::channel(wanted);
                tokio::spawn(drive(inbox, reports.clone()));
                self.wanted = Some(sender);
            }
        }
    }

    pub(super) fn note(&mut self, error: Option<String>) {
        self.error = error;
    }

    /// Why ports are not redirected as wanted.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

async fn drive(mut inbox: watch::Receiver<BTreeSet<Redirect>>, reports: mpsc::Sender<Report>) {
    let mut kernel = None;
    loop {
        let wanted = inbox.borrow_and_update().clone();
        let written = tokio::task::spawn_blocking(move || write(kernel, &wanted)).await;
        // The runtime is shutting down.
        let Ok((now, result)) = written else { return };
        kernel = now;
        let error = result.err().map(|error| in_words(&error));
        if let Some(error) = &error {
            tracing::warn!(%error, "a port cannot be redirected");
        }
        let failed = error.is_some();
        if reports.send(Report::Redirected(error)).await.is_err() {
            return;
        }
        let retry = async {
            if failed {
                tokio::time::sleep(RETRY).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            changed = inbox.changed() => if changed.is_err() { return },
            () = retry => {}
        }
    }
}

/// On a thread that may wait behind other programs' transactions.
fn write(kernel: Option<Kernel>, wanted: &BTreeSet<Redirect>) -> (Option<Kernel>, Result<(), FilterError>) {
    let opened = match kernel {
        Some(kernel) => Ok(kernel),
        None => Kernel::open(),
    };
    match opened {
        Ok(mut kernel) => {
            let result = kernel.replace(wanted);
            (Some(kernel), result)
        }
        Err(error) => (None, Err(error)),
    }
}

fn in_words(error: &FilterError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("spec.redirectPort: cannot {error}{cause}{remedy}")
}
