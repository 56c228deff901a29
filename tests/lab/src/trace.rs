//! What traceroute shows of a closed port: after how many hops its way ends, or that it never does.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// As many hops as are tried. The lab's longest way has three; a packet that goes round uses up any number.
pub const HOPS: u32 = 8;

/// How long an answer may take; it comes from at most three namespaces away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends a datagram with each TTL from 1 on, and returns the one at which port unreachable comes back; `None` where none
/// up to [`HOPS`] has it. Time exceeded, which the routers on the way answer, is no answer here.
///
/// # Errors
/// When no datagram can be sent.
pub fn hops(target: SocketAddr) -> Result<Option<u32>> {
    for ttl in 1..=HOPS {
        if refused(target, ttl).with_context(|| format!("a datagram to {target} with TTL {ttl}"))? {
            return Ok(Some(ttl));
        }
    }
    Ok(None)
}

fn refused(target: SocketAddr, ttl: u32) -> io::Result<bool> {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(Protocol::UDP))?;
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&any.into())?;
    match target {
        SocketAddr::V4(_) => socket.set_ttl_v4(ttl)?,
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl)?,
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&target.into())?;
    socket.send(b"?")?;
    match std::net::UdpSocket::from(socket).recv(&mut [0; 16]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_of_this_host_is_one_hop_away() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = socket.local_addr().unwrap();
        drop(socket);
        assert_eq!(hops(target).unwrap(), Some(1));
    }
}
