//! The host's own addresses.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocalAddress {
    /// `ifindex` of the interface.
    pub interface: u32,
    /// The address; on a point-to-point link the local end.
    pub address: IpAddr,
    /// Bits of the subnet.
    pub prefix_len: u8,
}

/// The index of an interface (`if_nametoindex(3)`).
///
/// # Errors
/// When there is none of this name, which is told.
pub fn index_of(name: &str) -> io::Result<u32> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("interface {name}: {error}"));
    let text = std::ffi::CString::new(name).map_err(|_| told(io::ErrorKind::InvalidInput.into()))?;
    // SAFETY: takes a C string that outlives the call.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(told(io::Error::last_os_error())),
        index => Ok(index),
    }
}

/// The address that this node would send from to reach `remote`, by `interface` where one is named. Towards a link-local or
/// link-wide address it is link-local: a global one would not be answered, or not be believed (RFC 4861 §6.1.2).
///
/// # Errors
/// When there is no way to it, or the interface has no link-local address yet.
pub fn source_towards(remote: IpAddr, interface: Option<&str>) -> io::Result<IpAddr> {
    let domain = if remote.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(interface) = interface {
        SockRef::from(&socket).bind_device(Some(interface.as_bytes()))?;
    }
    // Sends nothing.
    socket.connect(&SocketAddr::new(remote, 9).into())?;
    let own = socket.local_addr()?.as_socket();
    let own = own.map(|own| own.ip()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    if is_believed(remote, own) {
        return Ok(own);
    }
    let message = format!("{} has no link-local address yet", interface.unwrap_or("the interface"));
    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message))
}

/// Whether `remote` takes what comes from `own` for a neighbour's.
fn is_believed(remote: IpAddr, own: IpAddr) -> bool {
    match (remote, own) {
        (IpAddr::V6(remote), IpAddr::V6(own)) => !is_of_link(remote) || own.is_unicast_link_local(),
        _ => true,
    }
}

/// Link-local, or a multicast group of the link (RFC 4291 §2.7).
fn is_of_link(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.octets()[..2] == [0xff, 0x02]
}

/// Every address of every interface of this network namespace, those that we bound too, sorted. To be called inside a
/// tokio runtime.
///
/// # Errors
/// The netlink socket cannot be opened or read.
pub async fn local_addresses() -> io::Result<Vec<LocalAddress>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let mut found = Vec::new();
    let mut messages = handle.address().get().execute();
    let result = loop {
        match messages.try_next().await {
            Ok(None) => break Ok(()),
            Ok(Some(message)) => {
                let local = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(address) => Some(*address),
                    _ => None,
                });
                // IPv6 has IFA_LOCAL on point-to-point links only.
                let address = local.or_else(|| {
                    message.attributes.iter().find_map(|attribute| match attribute {
                        AddressAttribute::Address(address) => Some(*address),
                        _ => None,
                    })
                });
                let (interface, prefix_len) = (message.header.index, message.header.prefix_len);
                found.extend(address.map(|address| LocalAddress { interface, address, prefix_len }));
            }
            Err(error) => break Err(io::Error::other(error)),
        }
    };
    connection.abort();
    result?;
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn whoever_is_of_the_link_is_spoken_to_from_a_link_local_address() {
        assert_eq!(source_towards(Ipv4Addr::LOCALHOST.into(), None).unwrap(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(
            source_towards(Ipv6Addr::LOCALHOST.into(), None).unwrap(),
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        );
        let believed = |remote: &str, own: &str| is_believed(remote.parse().unwrap(), own.parse().unwrap());
        for remote in ["ff02::1", "fe80::1"] {
            assert!(believed(remote, "fe80::2"), "{remote}");
            assert!(!believed(remote, "2001:db8::2") && !believed(remote, "::1"), "{remote}");
        }
        assert!(believed("2001:db8::1", "2001:db8::2") && believed("ff05::1", "2001:db8::2"));
        assert!(believed("192.0.2.1", "192.0.2.2"));
    }
}
