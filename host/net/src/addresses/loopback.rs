//! Binding through rtnetlink.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope, CacheInfo};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{AddressMessageBuilder, Handle, RouteMessageBuilder};
use tokio::task::JoinHandle;

use super::{AddressBinder, BindError, LABEL, LIFETIME, ROUTE_PROTOCOL, Synced};

/// The first interface of every network namespace (`LOOPBACK_IFINDEX`, linux/net/core/dev.c).
const LO: u32 = 1;

/// `RT_TABLE_LOCAL` (linux/rtnetlink.h): looked up before every other table.
const TABLE_LOCAL: u32 = 255;

/// Clock ticks in which the kernel tells a route's expiry (`USER_HZ`, the same on every architecture that Rust's Linux
/// targets have).
const TICKS_PER_SECOND: i32 = 100;

/// A lifetime is renewed when less than this part of it, in sixths, is left: a sync every third of it renews each time,
/// a burst of syncs does not.
const RENEW_BELOW_SIXTHS: u32 = 5;

/// Shorter ones could run out between two renewals a second apart.
const LIFETIME_MIN: Duration = Duration::from_secs(3);

/// Where the kernel's IPv4 settings of each interface are.
const IPV4_SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// Binds addresses on this network namespace's `lo`, as the module above says. Owns a netlink socket and the task that
/// serves it.
///
/// Dropping it changes nothing of what is bound: that expires by itself, or is found again by the next one.
#[derive(Debug)]
pub struct LoopbackBinder {
    handle: Handle,
    connection: JoinHandle<()>,
    lifetime: Duration,
}

impl LoopbackBinder {
    /// A binder for the network namespace of this thread, with lifetimes of [`LIFETIME`]. To be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// The netlink socket cannot be opened.
    pub fn open() -> io::Result<Self> {
        Self::with_lifetime(LIFETIME)
    }

    /// The same with lifetimes of at least 3 s, in whole seconds.
    ///
    /// # Errors
    /// The netlink socket cannot be opened.
    pub fn with_lifetime(lifetime: Duration) -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, connection: tokio::spawn(connection), lifetime: lifetime.max(LIFETIME_MIN) })
    }

    fn seconds(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX - 1)
    }

    /// Our addresses, and the seconds that each has left.
    async fn bound(&self) -> Result<BTreeMap<IpAddr, u32>, rtnetlink::Error> {
        let mut bound = BTreeMap::new();
        let mut request = self.handle.address().get().set_link_index_filter(LO);
        request.message_mut().header.family = AddressFamily::Inet;
        let mut addresses = request.execute();
        while let Some(message) = addresses.try_next().await? {
            bound.extend(ours_v4(&message));
        }
        let mut routes = self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
        while let Some(message) = routes.try_next().await? {
            bound.extend(ours_v6(&message));
        }
        Ok(bound)
    }

    /// Binds an address, or, where it is ours already, sets its lifetime anew.
    async fn set(&self, address: IpAddr) -> Result<(), rtnetlink::Error> {
        match address {
            IpAddr::V4(address) => {
                let mut request = self.handle.address().add(LO, address.into(), 32).replace();
                *request.message_mut() = message_v4(address, self.seconds());
                request.execute().await
            }
            IpAddr::V6(address) => {
                self.handle.route().add(message_v6(address, Some(self.seconds()))).replace().execute().await
            }
        }
    }

    async fn unset(&self, address: IpAddr) -> Result<(), rtnetlink::Error> {
        match address {
            IpAddr::V4(address) => {
                self.handle.address().del(message_v4(address, self.seconds())).execute().await
            }
            IpAddr::V6(address) => self.handle.route().del(message_v6(address, None)).execute().await,
        }
    }
}

impl Drop for LoopbackBinder {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl AddressBinder for LoopbackBinder {
    fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime.max(LIFETIME_MIN);
    }

    async fn sync(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<Synced, BindError> {
        if wanted.iter().any(IpAddr::is_ipv4)
            && let Err(error) = silence_arp(Path::new(IPV4_SETTINGS))
        {
            // Routed traffic is served all the same; only neighbours on the link could be misled.
            tracing::warn!(%error, "cannot set arp_ignore; the kernel may answer ARP for bound addresses");
        }
        let bound = self.bound().await.map_err(|error| BindError::List(to_io(error)))?;
        let renew_below = self.seconds() / 6 * RENEW_BELOW_SIXTHS;
        let mut synced = Synced::default();
        let mut failed = Vec::new();
        for address in wanted {
            let (operation, count) = match bound.get(address) {
                None => ("bind", &mut synced.added),
                Some(left) if *left < renew_below => ("renew", &mut synced.renewed),
                Some(_) => continue,
            };
            match self.set(*address).await {
                Ok(()) => *count += 1,
                Err(error) => failed.push((operation, *address, to_io(error))),
            }
        }
        for address in bound.into_keys().filter(|address| !wanted.contains(address)) {
            match self.unset(address).await {
                Ok(()) => synced.removed += 1,
                Err(error) => failed.push(("unbind", address, to_io(error))),
            }
        }
        let more = failed.len().saturating_sub(1);
        let missing = failed
            .iter()
            .filter(|(operation, ..)| *operation == "bind")
            .map(|(_, address, _)| *address)
            .collect();
        match failed.into_iter().next() {
            None => Ok(synced),
            Some((operation, address, source)) => {
                Err(BindError::Change { operation, address, more, missing, source })
            }
        }
    }
}

fn message_v4(address: Ipv4Addr, seconds: u32) -> AddressMessage {
    let mut message = AddressMessageBuilder::<Ipv4Addr>::new().index(LO).address(address, 32).build();
    message.header.scope = AddressScope::Host;
    message.attributes.push(AddressAttribute::Label(LABEL.into()));
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = seconds;
    // Deprecated from the start, so that tools show what the scope already makes sure of.
    lifetime.ifa_preferred = 0;
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    message
}

fn message_v6(address: Ipv6Addr, seconds: Option<u32>) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(address, 128)
        .output_interface(LO)
        .table_id(TABLE_LOCAL)
        .kind(RouteType::Local)
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    match seconds {
        Some(seconds) => route.expires(seconds).build(),
        None => route.build(),
    }
}

/// The address of a message, where it is one of ours, and the seconds it has left.
fn ours_v4(message: &AddressMessage) -> Option<(IpAddr, u32)> {
    let label = message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, AddressAttribute::Label(l) if l == LABEL));
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let left = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::CacheInfo(lifetime) => Some(lifetime.ifa_valid),
        _ => None,
    });
    (label && message.header.prefix_len == 32).then_some((address?, left.unwrap_or(0)))
}

/// The address of a route, where it is one of ours, and the seconds it has left.
fn ours_v6(message: &RouteMessage) -> Option<(IpAddr, u32)> {
    let ours = message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
        && message.header.kind == RouteType::Local
        && message.header.destination_prefix_length == 128;
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let left = message.attributes.iter().find_map(|attribute| match attribute {
        // Signed: an expired route that is not collected yet has less than nothing left.
        RouteAttribute::CacheInfo(info) => Some(info.expires.cast_signed() / TICKS_PER_SECOND),
        _ => None,
    });
    ours.then_some((address?, u32::try_from(left.unwrap_or(0)).unwrap_or(0)))
}

/// Keeps the kernel from answering ARP for addresses of scope host, on every interface where it answers for all.
///
/// `arp_ignore` 3 does just that; what it says to addresses of other scopes is what 0 says. Interfaces with another
/// value, of their own or by `all` (the higher one counts), are left alone: 1, 2 and 8 are silent for `lo` as well.
fn silence_arp(settings: &Path) -> io::Result<()> {
    let read = |interface: &Path| -> io::Result<u8> {
        let text = fs::read_to_string(interface.join("arp_ignore"))?;
        text.trim()
            .parse()
            .map_err(|_| io::Error::other(format!("arp_ignore is \"{}\", no number", text.trim())))
    };
    if read(&settings.join("all"))? != 0 {
        return Ok(());
    }
    for entry in fs::read_dir(settings)? {
        let interface = entry?.path();
        // `default` is what interfaces that come later start with.
        if interface.ends_with("all") || interface.ends_with("lo") {
            continue;
        }
        match read(&interface) {
            Ok(0) => fs::write(interface.join("arp_ignore"), "3")?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
