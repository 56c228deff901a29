//! The host's own addresses.

use std::io;
use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;

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
