//! Datagrams with what the kernel tells of how they came: where to, over which interface, with which TTL.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

/// For the ancillary data of one datagram, which takes less than half of it.
const CONTROL_MAX: usize = 256;

/// A datagram that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Destination address.
    pub local: IpAddr,
    /// Source address.
    pub remote: IpAddr,
    /// Index of the interface.
    pub interface: u32,
    /// TTL or Hop Limit that it arrived with.
    pub ttl: u8,
    /// Length of the payload in the buffer given.
    pub length: usize,
}

/// Has the kernel tell of every datagram what [`receive`] needs.
pub(crate) fn tell_more(socket: &impl AsFd, ipv4: bool) -> io::Result<()> {
    let options = if ipv4 {
        [(libc::IPPROTO_IP, libc::IP_PKTINFO), (libc::IPPROTO_IP, libc::IP_RECVTTL)]
    } else {
        [(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT)]
    };
    let on: libc::c_int = 1;
    for (level, option) in options {
        // SAFETY: each of these options takes an int.
        unsafe { super::tcp::set(socket, level, option, &on) }?;
    }
    Ok(())
}

/// Takes the next datagram off the socket; `None` where there is none. One whose ancillary data is not whole is dropped.
///
/// # Errors
/// With those of `recvmsg(2)`.
pub(crate) fn receive(socket: &impl AsRawFd, payload: &mut [u8]) -> io::Result<Option<Datagram>> {
    loop {
        let mut name: libc::sockaddr_storage =
            // SAFETY: a socket address is plain octets, of which zeros are good ones.
            unsafe { std::mem::zeroed() };
        let mut control = Control([0; CONTROL_MAX]);
        let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        // SAFETY: as above; every field that is not set below is zero, which means nothing.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_MAX;
        // SAFETY: name, part and control outlive the call, and their lengths are those given.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        if length < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                io::ErrorKind::Interrupted => continue,
                _ => Err(error),
            };
        }
        // SAFETY: the kernel has filled `name` with a socket address of its family.
        let remote = unsafe { super::tcp::ip_of((&raw const name).cast()) };
        // SAFETY: `message` is as recvmsg left it, and its control data is still there.
        let told = unsafe { ancillary(&message) };
        let length = usize::try_from(length).unwrap_or_default();
        if let (Some(remote), Some((local, interface)), Some(ttl)) = (remote, told.to, told.ttl) {
            return Ok(Some(Datagram { local, remote, interface, ttl, length }));
        }
    }
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_MAX]);

#[derive(Default)]
struct Told {
    to: Option<(IpAddr, u32)>,
    ttl: Option<u8>,
}

/// What came beside a datagram.
///
/// # Safety
/// `message` must be as `recvmsg` left it, with its control data still there.
unsafe fn ancillary(message: &libc::msghdr) -> Told {
    let mut told = Told::default();
    // SAFETY: by the caller's word the header and its control data are those of a recvmsg.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null, or a header that is whole within the control data.
        let header = unsafe { &*next };
        // SAFETY: the data of a header begins behind it; what is read is of the type that level and kind say, and the length
        // of each is checked.
        unsafe {
            let data = libc::CMSG_DATA(next);
            let holds = |size: usize| header.cmsg_len as usize >= libc::CMSG_LEN(size as u32) as usize;
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds(size_of::<libc::in_pktinfo>()) => {
                    let info = std::ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    told.to = Some((address.into(), info.ipi_ifindex.unsigned_abs()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds(size_of::<libc::in6_pktinfo>()) => {
                    let info = std::ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    told.to = Some((address.into(), info.ipi6_ifindex));
                }
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
                    if holds(size_of::<libc::c_int>()) =>
                {
                    let ttl = std::ptr::read_unaligned(data.cast::<libc::c_int>());
                    told.ttl = u8::try_from(ttl).ok();
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
    told
}
