//! What protects a BGP connection from others: TCP MD5 signatures (RFC 2385) and TTL security (GTSM, RFC 5082).
//!
//! Linux drops silently what is not signed as a socket's keys want it, and what came over too many hops: neither side is
//! told. [`md5_drops`] counts the former.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use bellhop_core::Password;
use ipnet::IpNet;
use socket2::SockRef;

/// TTL of packets that must prove that they crossed few routers (RFC 5082 §3).
const TTL_MAX: u8 = 255;

/// `TCP_MD5SIG_FLAG_PREFIX` of `linux/tcp.h`: the key is for every address of a prefix.
const FLAG_PREFIX: u8 = 1;

/// TTL of IPv4, or hop limit of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    /// As the kernel has it, and any is taken.
    Default,
    /// Packets are sent with this one, and any is taken.
    Sent(u8),
    /// TTL security (RFC 5082): packets are sent with 255, and taken where they came over at most this many hops, 1 to 254.
    Security(u8),
}

/// `struct sockaddr_storage`: of it the kernel reads family and address.
#[repr(C, align(8))]
struct Storage([u8; 128]);

impl Storage {
    fn of(address: IpAddr) -> Self {
        let mut octets = [0; 128];
        // Families are small numbers. Of sockaddr_in the address comes after the port, of sockaddr_in6 after the flow too.
        match address {
            IpAddr::V4(address) => {
                octets[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                octets[4..8].copy_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                octets[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                octets[8..24].copy_from_slice(&address.octets());
            }
        }
        Self(octets)
    }
}

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct TcpMd5Sig {
    address: Storage,
    flags: u8,
    prefix: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; Password::MAX],
}

/// Sets the key with which segments to and from `neighbours` are signed, or takes it away: of a socket before it connects or
/// listens, of a listener, or of an open connection. One that signs already takes another key without a break: segments
/// in flight are sent again until both sides have it.
///
/// # Errors
/// With `ENOMEM` where a listener has too many keys (`net.core.optmem_max`), with `ENOENT` where a key is to be taken away
/// that is not there.
pub fn set_password(socket: &impl AsFd, neighbours: IpNet, password: Option<&Password>) -> io::Result<()> {
    let host = neighbours.prefix_len() == neighbours.max_prefix_len();
    let octets = password.map_or(&[][..], Password::octets);
    let mut key = [0; Password::MAX];
    key[..octets.len()].copy_from_slice(octets);
    let signature = TcpMd5Sig {
        address: Storage::of(neighbours.network()),
        flags: if host { 0 } else { FLAG_PREFIX },
        prefix: if host { 0 } else { neighbours.prefix_len() },
        // At most 80.
        key_length: octets.len() as u16,
        interface: 0,
        key,
    };
    let option = if host { libc::TCP_MD5SIG } else { libc::TCP_MD5SIG_EXT };
    // SAFETY: `TcpMd5Sig` is laid out as `struct tcp_md5sig` without padding, and outlives the call.
    unsafe { set(socket, libc::IPPROTO_TCP, option, &signature) }
}

/// Sets TTL or hop limit of what is sent, and the least of what is taken.
pub fn set_ttl(socket: &impl AsFd, remote: IpAddr, ttl: Ttl) -> io::Result<()> {
    let (sent, least) = match ttl {
        Ttl::Default => return Ok(()),
        Ttl::Sent(sent) => (sent, 0),
        // 255 at the sender; one on the link forwards nothing, and each router on the way takes one away.
        Ttl::Security(hops) => (TTL_MAX, TTL_MAX - (hops.max(1) - 1)),
    };
    let (level, least_option) = match remote {
        IpAddr::V4(_) => {
            SockRef::from(socket).set_ttl_v4(u32::from(sent))?;
            (libc::IPPROTO_IP, libc::IP_MINTTL)
        }
        IpAddr::V6(_) => {
            SockRef::from(socket).set_unicast_hops_v6(u32::from(sent))?;
            (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
        }
    };
    // SAFETY: both options take an int.
    unsafe { set(socket, level, least_option, &libc::c_int::from(least)) }
}

/// Makes a listener answer with the TTL that a neighbour with TTL security wants from the first packet on; what is accepted
/// gets its own by [`set_ttl`].
pub(super) fn answer_from_near(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    set_ttl(socket, address.ip(), Ttl::Sent(TTL_MAX))
}

/// `setsockopt(2)`.
///
/// # Safety
/// The option must take a `T`, all of whose octets are initialised.
pub(crate) unsafe fn set<T>(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let descriptor = socket.as_fd().as_raw_fd();
    // The size of a small struct.
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and `value` has `length` octets; the rest is the caller's.
    let result =
        unsafe { libc::setsockopt(descriptor, level, option, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Segments that this network namespace dropped because of TCP MD5, since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Md5Drops {
    /// `TCPMD5NotFound`: they were not signed, and had to be.
    pub unsigned: u64,
    /// `TCPMD5Unexpected`: they were signed, and there is no key for them.
    pub unexpected: u64,
    /// `TCPMD5Failure`: they were signed with another key.
    pub wrong: u64,
}

/// What was dropped because of TCP MD5, of all connections together: the kernel does not tell of which.
pub fn md5_drops() -> io::Result<Md5Drops> {
    std::fs::read_to_string("/proc/thread-self/net/netstat").map(|text| drops(&text))
}

/// Of `/proc/net/netstat`: a line of names, then one of their values, both beginning with the group.
fn drops(text: &str) -> Md5Drops {
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("TcpExt:")).collect();
    let [names, values] = &lines[..] else { return Md5Drops::default() };
    let of = |wanted: &str| {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok()).unwrap_or_default()
    };
    Md5Drops {
        unsigned: of("TCPMD5NotFound"),
        unexpected: of("TCPMD5Unexpected"),
        wrong: of("TCPMD5Failure"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_laid_out_as_the_kernel_has_it() {
        // linux/tcp.h: sockaddr_storage 128, flags 1, prefix 1, key length 2, interface 4, key 80.
        assert_eq!(size_of::<TcpMd5Sig>(), 128 + 1 + 1 + 2 + 4 + 80);
        assert_eq!(std::mem::offset_of!(TcpMd5Sig, key), 136);
    }

    #[test]
    fn the_drops_are_found_by_their_names() {
        let text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure\n\
                    TcpExt: 1 2 3 4\nIpExt: X\nIpExt: 9\n";
        assert_eq!(drops(text), Md5Drops { unsigned: 2, unexpected: 3, wrong: 4 });
        assert_eq!(drops(""), Md5Drops::default());
        md5_drops().unwrap();
    }
}
