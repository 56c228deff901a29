//! TCP sockets as BGP needs them: dialling with source address, TTL, password and deadline, and listening beside others.

mod security;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bellhop_core::Password;
use ipnet::IpNet;
pub(crate) use security::set;
pub use security::{Md5Drops, Ttl, md5_drops, set_password, set_ttl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::interfaces;

/// Connections that wait to be accepted; peers dial once each, so that a full queue means an attack.
const BACKLOG: i32 = 64;
/// Class Selector 6, network control (RFC 4594 §3.1): routing protocols get through when links are full.
const NETWORK_CONTROL: u32 = 0xC0;

/// How to dial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DialOptions {
    /// The address to come from; the kernel's choice where there is none.
    pub source: Option<IpAddr>,
    /// The interface to go out by, whatever the routing table says (SO_BINDTODEVICE).
    pub interface: Option<Arc<str>>,
    /// TTL or hop limit.
    pub ttl: Ttl,
    /// The password with which every segment is signed, from the first one on.
    pub password: Option<Password>,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// Opens a connection. The error names what was tried.
pub async fn dial(remote: SocketAddr, options: &DialOptions) -> io::Result<TcpStream> {
    let attempt = async {
        let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        set_ttl(&socket, remote.ip(), options.ttl)?;
        if options.password.is_some() {
            set_password(&socket, IpNet::from(remote.ip()), options.password.as_ref())?;
        }
        if let Some(interface) = &options.interface {
            SockRef::from(&socket).bind_device(Some(interface.as_bytes())).map_err(|error| {
                io::Error::new(error.kind(), format!("interface {interface} cannot be used: {error}"))
            })?;
        }
        let source = match (options.source, remote.ip()) {
            // The kernel takes another address while there is no link-local one, and the neighbour does not know that.
            (None, IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
                Some(interfaces::source_towards(remote.ip(), options.interface.as_deref())?)
            }
            (source, _) => source,
        };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0)).map_err(|error| {
                io::Error::new(error.kind(), format!("source address {source} cannot be used: {error}"))
            })?;
        }
        let stream = socket.connect(remote).await?;
        prepare(&stream, options.ttl)?;
        Ok::<_, io::Error>(stream)
    };
    match tokio::time::timeout(options.timeout, attempt).await {
        Ok(result) => {
            result.map_err(|error| io::Error::new(error.kind(), format!("connecting to {remote}: {error}")))
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("connecting to {remote}: no answer within {:?}", options.timeout),
        )),
    }
}

/// Sets a stream up for small messages that must not wait, marked as network control.
pub fn prepare(stream: &TcpStream, ttl: Ttl) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?.ip();
    let socket = SockRef::from(stream);
    match remote {
        IpAddr::V4(_) => socket.set_tos_v4(NETWORK_CONTROL)?,
        IpAddr::V6(_) => socket.set_tclass_v6(NETWORK_CONTROL)?,
    }
    set_ttl(stream, remote, ttl)
}

/// Makes the coming close of a stream a reset: what the other side has not read is dropped.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Listens on an address. An IPv6 listener takes no IPv4, so that both can be had side by side on one port; a listener
/// of a process that just ended does not stand in the way.
///
/// Neighbours with a password must sign what they send; the keys are there before the first of them can connect.
pub fn listen<'a>(
    address: SocketAddr,
    passwords: impl IntoIterator<Item = (IpNet, &'a Password)>,
) -> io::Result<TcpListener> {
    let open = move || {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        security::answer_from_near(&socket, address)?;
        for (neighbour, password) in passwords {
            if neighbour.addr().is_ipv4() == address.is_ipv4() {
                set_password(&socket, neighbour, Some(password))?;
            }
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open()
        .map_err(|error: io::Error| io::Error::new(error.kind(), format!("listening on {address}: {error}")))
}

/// Whether a neighbour is in a network of this node's interfaces, or is link-local: on a link, as far as addresses tell.
pub fn is_on_link(neighbour: IpAddr) -> io::Result<bool> {
    if matches!(neighbour, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return Ok(true);
    }
    let covers = |own: &Own| IpNet::new(own.address, own.length).is_ok_and(|net| net.contains(&neighbour));
    Ok(interface_addresses()?.iter().any(covers))
}

/// The first global address of the other family on the interface that holds `local`, in the kernel's order.
///
/// `None` where `local` is on the loopback interface, as service addresses are bound there and must never become next
/// hops, and where the interface has no such address.
pub fn other_family_address(local: IpAddr) -> io::Result<Option<IpAddr>> {
    let all = interface_addresses()?;
    let Some(own) = all.iter().find(|own| own.address == local) else { return Ok(None) };
    let mut same = all.iter().filter(|other| other.interface == own.interface);
    if same.clone().any(|other| other.address.is_loopback()) {
        return Ok(None);
    }
    let other = same.find(|other| other.address.is_ipv4() != local.is_ipv4() && is_global(other.address));
    Ok(other.map(|other| other.address))
}

/// An address of this network namespace.
#[derive(Debug)]
struct Own {
    interface: Vec<u8>,
    address: IpAddr,
    /// Of its network's prefix.
    length: u8,
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_link_local() && !address.is_loopback() && !address.is_unspecified()
        }
        IpAddr::V6(address) => {
            !address.is_unicast_link_local() && !address.is_loopback() && !address.is_unspecified()
        }
    }
}

/// Every IP address of this network namespace (getifaddrs(3)).
fn interface_addresses() -> io::Result<Vec<Own>> {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes a list to `head` or fails; the list is freed below, after its last use.
    if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = head;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list that getifaddrs made, which is not freed yet.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        // SAFETY: ifa_addr is not null and belongs to the list.
        let Some(address) = (unsafe { ip_of(entry.ifa_addr) }) else { continue };
        // SAFETY: ifa_netmask belongs to the list, or is null.
        let mask = unsafe { ip_of(entry.ifa_netmask) };
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length = mask.and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok()).unwrap_or(whole);
        // SAFETY: ifa_name is a C string of the same list.
        let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
        addresses.push(Own { interface: name.to_bytes().to_vec(), address, length });
    }
    // SAFETY: `head` comes from getifaddrs and nothing refers to the list any more.
    unsafe { libc::freeifaddrs(head) };
    Ok(addresses)
}

/// The IP address that a socket address holds; `None` where it is of another family, or there is none.
///
/// # Safety
/// `address` is null, or points to a socket address whose family tells its type.
pub(crate) unsafe fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, and by the caller's word a socket address.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: of family AF_INET, so a sockaddr_in.
            let inet = unsafe { std::ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of family AF_INET6, so a sockaddr_in6.
            let inet = unsafe { std::ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(inet.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> DialOptions {
        DialOptions {
            source: Some(Ipv4Addr::LOCALHOST.into()),
            interface: None,
            ttl: Ttl::Sent(1),
            password: None,
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_dial_comes_from_the_source_address_with_the_hop_limit() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), []).unwrap();
        let stream = dial(listener.local_addr().unwrap(), &options()).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(SockRef::from(&stream).ttl_v4().unwrap(), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_refused_dial_says_what_was_tried() {
        let free = listen("127.0.0.1:0".parse().unwrap(), []).unwrap().local_addr().unwrap();
        let error = dial(free, &options()).await.unwrap_err();
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn both_families_listen_on_one_port() {
        let v4 = listen("0.0.0.0:0".parse().unwrap(), []).unwrap();
        let port = v4.local_addr().unwrap().port();
        listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), []).unwrap();
    }

    #[test]
    fn a_loopback_address_has_no_partner_for_next_hops() {
        assert_eq!(other_family_address(Ipv4Addr::LOCALHOST.into()).unwrap(), None);
    }
}
