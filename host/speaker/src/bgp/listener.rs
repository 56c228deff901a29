//! Listening sockets, one task each.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::Password;
use bellhop_net::tcp;
use ipnet::IpNet;
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
    /// Neighbours that must sign, by address or range.
    passwords: BTreeMap<IpNet, Password>,
    open: Vec<Listener>,
    errors: Vec<String>,
}

/// A socket that listens, and who must sign what reaches it.
struct Listener {
    address: SocketAddr,
    socket: Arc<TcpListener>,
    passwords: BTreeMap<IpNet, Password>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Gives the socket the keys that it does not have, and takes away those that are no more.
    fn sign(&mut self, wanted: &BTreeMap<IpNet, Password>) -> io::Result<()> {
        let same_family = |neighbour: &IpNet| neighbour.addr().is_ipv4() == self.address.is_ipv4();
        let gone: Vec<IpNet> =
            self.passwords.keys().filter(|neighbour| !wanted.contains_key(*neighbour)).copied().collect();
        for neighbour in gone {
            tcp::set_password(&*self.socket, neighbour, None)?;
            self.passwords.remove(&neighbour);
        }
        for (neighbour, password) in wanted.iter().filter(|(neighbour, _)| same_family(neighbour)) {
            if self.passwords.get(neighbour) != Some(password) {
                tcp::set_password(&*self.socket, *neighbour, Some(password)).map_err(|error| {
                    io::Error::new(error.kind(), format!("the password of {neighbour}: {error}"))
                })?;
                self.passwords.insert(*neighbour, password.clone());
            }
        }
        Ok(())
    }
}

impl Listeners {
    /// Listens as configured, leaving alone what is open already; neighbours with a password must sign. Call
    /// [`Self::retry`] while there are errors.
    pub(super) fn apply(
        &mut self,
        config: Option<ListenConfig>,
        passwords: BTreeMap<IpNet, Password>,
        reports: &mpsc::Sender<Report>,
    ) {
        self.config = config;
        self.passwords = passwords;
        self.retry(reports);
    }

    /// Opens what is not open yet, and gives the keys that are not there yet.
    pub(super) fn retry(&mut self, reports: &mpsc::Sender<Report>) {
        let wanted = addresses(self.config.as_ref());
        self.open.retain(|listener| {
            let keep = wanted.contains(&listener.address);
            if !keep {
                listener.task.abort();
            }
            keep
        });
        self.errors.clear();
        for address in wanted {
            if let Some(listener) = self.open.iter_mut().find(|open| open.address == address) {
                if let Err(error) = listener.sign(&self.passwords) {
                    tracing::warn!(%address, %error, "a neighbour cannot connect");
                    self.errors.push(format!("listening on {address}: {error}"));
                }
                continue;
            }
            let passwords: BTreeMap<IpNet, Password> = self
                .passwords
                .iter()
                .filter(|(neighbour, _)| neighbour.addr().is_ipv4() == address.is_ipv4())
                .map(|(neighbour, password)| (*neighbour, password.clone()))
                .collect();
            let keys = passwords.iter().map(|(neighbour, password)| (*neighbour, password));
            match tcp::listen(address, keys) {
                Ok(socket) => {
                    tracing::info!(%address, "listening for BGP");
                    let socket = Arc::new(socket);
                    let task = tokio::spawn(accept(socket.clone(), reports.clone()));
                    self.open.push(Listener { address, socket, passwords, task });
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
        self.open.iter().for_each(|listener| listener.task.abort());
    }
}

fn addresses(config: Option<&ListenConfig>) -> Vec<SocketAddr> {
    let Some(config) = config else { return Vec::new() };
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = if config.addresses.is_empty() { &any[..] } else { &config.addresses };
    addresses.iter().map(|address| SocketAddr::new(*address, config.port)).collect()
}

async fn accept(listener: Arc<TcpListener>, reports: mpsc::Sender<Report>) {
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
