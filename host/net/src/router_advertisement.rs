//! Router advertisements and solicitations (RFC 4861 §4.1, §4.2), as far as two routers on one link need them to learn each
//! other's link-local addresses.
//!
//! What this side advertises makes no host use it: its router lifetime is 0 and it names no prefix (RFC 4861 §6.2.3).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::datagram::{self, Datagram};
use crate::interfaces;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Hop limit of every message; one with another was forwarded, and is not from the link (RFC 4861 §6.1).
const HOP_LIMIT: u8 = 255;

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;

/// Shortest messages without options.
const SOLICITATION_LENGTH: usize = 8;
const ADVERTISEMENT_LENGTH: usize = 16;

/// `ICMP6_FILTER` (linux/icmpv6.h): a bit that is set keeps the type away.
const ICMP6_FILTER: libc::c_int = 1;

/// Longest message that is read whole; only its first octets mean something here.
const PAYLOAD_MAX: usize = 256;

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A router at this link-local address.
    Advertisement(Ipv6Addr),
    /// Somebody wants to know the routers.
    Solicitation,
}

/// A socket for the router messages of one interface.
#[derive(Debug)]
pub struct RouterSocket {
    socket: AsyncFd<Socket>,
    index: u32,
}

impl RouterSocket {
    /// Opens one. To be called inside a tokio runtime; needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// When there is no interface of this name, or the process may not open raw sockets.
    pub fn open(interface: &str) -> io::Result<Self> {
        let index = interfaces::index_of(interface)?;
        // Nobody believes what comes from another address (RFC 4861 §6.1.2), which the kernel takes while there is none.
        interfaces::source_towards(ALL_NODES.into(), Some(interface))?;
        let open = || {
            let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking(), Some(Protocol::ICMPV6))?;
            let mut blocked = [u32::MAX; 8];
            for kind in [SOLICITATION, ADVERTISEMENT] {
                blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31));
            }
            // SAFETY: `struct icmp6_filter` is eight 32-bit words.
            unsafe { super::tcp::set(&socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &blocked) }?;
            datagram::tell_more(&socket, false)?;
            socket.bind_device(Some(interface.as_bytes()))?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
            socket.set_multicast_loop_v6(false)?;
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            // SAFETY: a `Socket` is its descriptor, the same until it is dropped, which is after `AsyncFd` let go of it.
            Ok(unsafe { AsyncFd::register(socket) }?)
        };
        let socket = open().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("interface {interface}: {error}"))
        })?;
        Ok(Self { socket, index })
    }

    /// Tells everybody on the link that this is a router, though none to send by.
    ///
    /// # Errors
    /// When the interface is gone or down, or has no link-local address yet.
    pub fn advertise(&self) -> io::Result<()> {
        let mut message = [0; ADVERTISEMENT_LENGTH];
        message[0] = ADVERTISEMENT;
        self.send(ALL_NODES, &message)
    }

    /// Asks the routers on the link to tell.
    ///
    /// # Errors
    /// As [`RouterSocket::advertise`].
    pub fn solicit(&self) -> io::Result<()> {
        let mut message = [0; SOLICITATION_LENGTH];
        message[0] = SOLICITATION;
        self.send(ALL_ROUTERS, &message)
    }

    fn send(&self, to: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        // The kernel writes the checksum.
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        self.socket.get_ref().send_to(message, &to.into()).map(drop)
    }

    /// The next message that is one; others are passed over. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When the socket fails, as where the interface is gone.
    pub async fn receive(&self) -> io::Result<Heard> {
        let mut payload = [0; PAYLOAD_MAX];
        loop {
            let mut ready = self.socket.readable().await?;
            let taken = ready.try_io(|socket| {
                let taken = datagram::receive(&socket.get_ref().as_raw_fd(), &mut payload)?;
                taken.ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            match taken {
                Ok(Ok(datagram)) => {
                    if let Some(heard) = read(&datagram, &payload[..datagram.length.min(PAYLOAD_MAX)]) {
                        return Ok(heard);
                    }
                }
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

/// What a message says, where it is a good one (RFC 4861 §6.1.1, §6.1.2). The kernel has checked its checksum.
fn read(datagram: &Datagram, payload: &[u8]) -> Option<Heard> {
    let (&[kind, code], IpAddr::V6(from)) = (payload.first_chunk::<2>()?, datagram.remote) else {
        return None;
    };
    if datagram.ttl != HOP_LIMIT || code != 0 {
        return None;
    }
    match kind {
        ADVERTISEMENT if payload.len() >= ADVERTISEMENT_LENGTH && from.is_unicast_link_local() => {
            Some(Heard::Advertisement(from))
        }
        SOLICITATION if payload.len() >= SOLICITATION_LENGTH => Some(Heard::Solicitation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(from: &str, ttl: u8, payload: &[u8]) -> Option<Heard> {
        let remote = from.parse().unwrap();
        let datagram = Datagram { local: ALL_NODES.into(), remote, interface: 2, ttl, length: payload.len() };
        read(&datagram, payload)
    }

    #[test]
    fn only_messages_of_the_link_are_heard() {
        let mut advertisement = [0; 24];
        advertisement[0] = 134;
        let router = Heard::Advertisement("fe80::1".parse().unwrap());
        assert_eq!(heard("fe80::1", 255, &advertisement), Some(router));
        assert_eq!(heard("fe80::1", 254, &advertisement), None, "it was forwarded");
        assert_eq!(heard("2001:db8::1", 255, &advertisement), None, "it is no address of a link");
        assert_eq!(heard("fe80::1", 255, &advertisement[..15]), None, "it is cut off");
        advertisement[1] = 1;
        assert_eq!(heard("fe80::1", 255, &advertisement), None, "its code means nothing");
        let solicitation = [133, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(heard("::", 255, &solicitation), Some(Heard::Solicitation), "from one without an address");
        assert_eq!(heard("fe80::2", 255, &solicitation[..7]), None);
        assert_eq!(heard("fe80::2", 255, &[135, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(heard("fe80::2", 255, &[]), None);
    }
}
