//! Listening sockets, one task each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bellhop_net::tcp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ListenConfig;
use super::connection::Report;

/// How long to leave a listener alone after an error of accept, which is a lack of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(200);

/// The listeners of one configuration. Dropping it closes them.
#[derive(Default)]
pub(super) struct Listeners {
    config: Option<ListenConfig>,
    tasks: Vec<(SocketAddr, JoinHandle<()>)>,
    errors: Vec<String>,
}

impl Listeners {
    /// Listens as configured, leaving alone what is open already. Call it again while there are errors.
    pub(super) fn apply(&mut self, config: Option<ListenConfig>, reports: &mpsc::Sender<Report>) {
        self.config = config;
        self.retry(reports);
    }

    /// Opens what is not open yet.
    pub(super) fn retry(&mut self, reports: &mpsc::Sender<Report>) {
        let wanted = addresses(self.config.as_ref());
        self.tasks.retain(|(address, task)| {
            let keep = wanted.contains(address);
            if !keep {
                task.abort();
            }
            keep
        });
        self.errors.clear();
        for address in wanted {
            if self.tasks.iter().any(|(open, _)| *open == address) {
                continue;
            }
            match tcp::listen(address) {
                Ok(listener) => {
                    tracing::info!(%address, "listening for BGP");
                    self.tasks.push((address, tokio::spawn(accept(listener, reports.clone()))));
                }
                Err(error) => {
                    tracing::warn!(%error, "passive peers cannot connect");
                    self.errors.push(error.to_string());
                }
            }
        }
    }

    /// What could not be opened.
    pub(super) fn errors(&self) -> &[String] {
        &self.errors
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|(_, task)| task.abort());
    }
}

fn addresses(config: Option<&ListenConfig>) -> Vec<SocketAddr> {
    let Some(config) = config else { return Vec::new() };
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = if config.addresses.is_empty() { &any[..] } else { &config.addresses };
    addresses.iter().map(|address| SocketAddr::new(*address, config.port)).collect()
}

async fn accept(listener: TcpListener, reports: mpsc::Sender<Report>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if reports.send(Report::Accepted(stream, remote)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a BGP connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
