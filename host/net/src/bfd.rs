//! UDP sockets as BFD needs them (RFC 5881 §4 and §5, RFC 5883 §4): what came, and with it where to, over which interface and
//! with which TTL; and a socket for each session that keeps its source port and sends with TTL 255.
//!
//! All of it blocks or does not, as the caller's thread likes: nothing here belongs to an asynchronous runtime, so that
//! nothing else can delay it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::datagram::{self, Datagram};

/// TTL that every packet leaves with (RFC 5881 §5, RFC 5883 §4).
const TTL: u32 = 255;
/// Class Selector 6, network control, as BGP's packets have it.
const NETWORK_CONTROL: u32 = 0xC0;
/// Longest payload that is read whole: a packet is 24 octets, with authentication some more; what is longer is no good one.
const PAYLOAD_MAX: usize = 128;

/// A socket that packets come to, of one family and port.
#[derive(Debug)]
pub struct Receiver {
    socket: Socket,
    port: u16,
}

impl Receiver {
    /// Waits on `port` for packets of a family, at any address of the node.
    ///
    /// # Errors
    /// When something else has the port, which is told.
    pub fn open(ipv4: bool, port: u16) -> io::Result<Self> {
        let address: IpAddr = if ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let open = || {
            let domain = if ipv4 { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
            if !ipv4 {
                socket.set_only_v6(true)?;
            }
            datagram::tell_more(&socket, ipv4)?;
            socket.bind(&SocketAddr::new(address, port).into())?;
            Ok(socket)
        };
        let socket = open().map_err(|error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("listening for BFD on {}: {error}", SocketAddr::new(address, port)),
            )
        })?;
        Ok(Self { socket, port })
    }

    /// The port that it waits on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes the next datagram off the socket; `None` where there is none.
    ///
    /// # Errors
    /// With those of `recvmsg(2)`.
    pub fn receive(&self, payload: &mut [u8; PAYLOAD_MAX]) -> io::Result<Option<Datagram>> {
        datagram::receive(&self.socket, payload)
    }
}

/// A buffer for one payload.
pub fn payload() -> [u8; PAYLOAD_MAX] {
    [0; PAYLOAD_MAX]
}

/// A socket that one session sends from.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    to: SocketAddr,
}

impl Sender {
    /// A socket from `local` to `remote` and `port`, with a source port of `ports`, tried from `first` on (RFC 5881 §4: each session
    /// keeps its own). `interface` is the index of the one that packets go out by, 0 for the routing table's; link-local addresses
    /// need it.
    ///
    /// # Errors
    /// When this node does not have the address, or no port is free.
    pub fn open(
        local: IpAddr,
        remote: IpAddr,
        port: u16,
        interface: u32,
        ports: std::ops::RangeInclusive<u16>,
        first: u16,
    ) -> io::Result<Self> {
        let domain = if remote.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if remote.is_ipv4() {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(NETWORK_CONTROL)?;
        } else {
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(NETWORK_CONTROL)?;
        }
        let with_scope = |address: IpAddr, port: u16| match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(v6, port, 0, interface))
            }
            _ => SocketAddr::new(address, port),
        };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for candidate in (first..=*ports.end()).chain(*ports.start()..first) {
            match socket.bind(&with_scope(local, candidate).into()) {
                Ok(()) => return Ok(Self { socket, to: with_scope(remote, port) }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => {
                    let message = format!("source address {local} cannot be used: {error}");
                    return Err(io::Error::new(error.kind(), message));
                }
            }
        }
        Err(io::Error::new(last.kind(), format!("no source port of {ports:?} is free for {local}")))
    }

    /// Sends a packet; one that finds no room is lost, as on the wire.
    ///
    /// # Errors
    /// With those of `sendto(2)`, as when the neighbour's network is gone.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self.socket.send_to(packet, &self.to.into()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Ends another thread's [`wait`].
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new one, of which every clone wakes the same.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes two numbers and gives a descriptor of our own, or -1.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(Arc::new(unsafe { std::os::fd::FromRawFd::from_raw_fd(descriptor) })))
    }

    /// Wakes the thread that waits, or will wait next.
    pub fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: writes eight octets of a local array. It fails only where it is full of wakes already.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn rest(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: reads eight octets into a local array. It fails where nobody woke.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Waits until a datagram is there, somebody wakes, or the time is over, to a fraction of a millisecond.
///
/// # Errors
/// With those of `ppoll(2)`.
pub fn wait<'a>(
    receivers: impl IntoIterator<Item = &'a Receiver>,
    waker: &Waker,
    most: Option<Duration>,
) -> io::Result<()> {
    let of = |descriptor: RawFd| libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let mut descriptors: Vec<libc::pollfd> =
        receivers.into_iter().map(|receiver| of(receiver.socket.as_raw_fd())).collect();
    descriptors.push(of(waker.0.as_raw_fd()));
    let time = most.map(|most| libc::timespec {
        tv_sec: libc::time_t::try_from(most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(most.subsec_nanos() as i32),
    });
    let time_pointer = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both pointers are to local values that outlive the call, or null, which means no limit and no mask.
    let ready = unsafe {
        libc::ppoll(
            descriptors.as_mut_ptr(),
            descriptors.len() as libc::nfds_t,
            time_pointer,
            std::ptr::null(),
        )
    };
    waker.rest();
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(local: IpAddr) {
        let receiver = Receiver::open(local.is_ipv4(), 0).unwrap();
        let port = receiver.socket.local_addr().unwrap().as_socket().unwrap().port();
        let sender = Sender::open(local, local, port, 0, 49152..=65535, 50_000).unwrap();
        let other = Sender::open(local, local, port, 0, 49152..=65535, 50_000).unwrap();
        let ports = [&sender, &other].map(|one| one.socket.local_addr().unwrap().as_socket().unwrap().port());
        assert_ne!(ports[0], ports[1], "each session keeps its own port");
        let waker = Waker::new().unwrap();
        let mut buffer = payload();
        assert_eq!(receiver.receive(&mut buffer).unwrap(), None);
        sender.send(b"twenty-four octets, bfd.").unwrap();
        wait(std::slice::from_ref(&receiver), &waker, Some(Duration::from_secs(10))).unwrap();
        let datagram = receiver.receive(&mut buffer).unwrap().unwrap();
        assert_eq!((datagram.local, datagram.remote, datagram.ttl), (local, local, 255));
        assert!(datagram.interface > 0);
        assert_eq!(&buffer[..datagram.length], b"twenty-four octets, bfd.");
    }

    #[test]
    fn a_datagram_tells_where_it_went_over_which_interface_and_with_which_ttl() {
        exchange(Ipv4Addr::LOCALHOST.into());
        exchange(Ipv6Addr::LOCALHOST.into());
    }

    #[test]
    fn a_wake_ends_the_wait_that_comes_after_it_too() {
        let waker = Waker::new().unwrap();
        waker.clone().wake();
        // Without the wake this would wait for ever.
        wait(&[], &waker, None).unwrap();
        let begin = std::time::Instant::now();
        wait(&[], &waker, Some(Duration::from_millis(20))).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20), "one wake ends one wait");
    }

    #[test]
    fn a_port_that_somebody_has_is_named() {
        let first = Receiver::open(true, 0).unwrap();
        let port = first.socket.local_addr().unwrap().as_socket().unwrap().port();
        let error = Receiver::open(true, port).unwrap_err().to_string();
        assert!(error.contains(&format!("listening for BFD on 0.0.0.0:{port}")), "{error}");
    }
}
