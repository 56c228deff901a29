//! The lab's plan: who is where, under which addresses and AS numbers.
//!
//! ```text
//!                        client
//!          198.51.100.2 /      \ 198.51.100.6
//!                      /        \
//!             router-a            router-b          FRR; both hold every service route
//!        AS 64496, eBGP           AS 64500, iBGP
//!           192.0.2.1 \          / 192.0.2.2
//!                      \        /
//!        ───────────────┴──────┴──────────────── fabric (a bridge in a namespace of its own)
//!              │             │             │
//!           node-1        node-2        node-3      AS 64500; bellhop and a tiny HTTP server
//!         192.0.2.11    192.0.2.12    192.0.2.13
//! ```
//!
//! All addresses are from the documentation ranges (RFC 5737, RFC 3849), all AS numbers too (RFC 5398).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// AS number of the nodes, and of `router-b`.
pub const CLUSTER_ASN: u32 = 64500;

/// Port on which every node's HTTP server listens; the Services of the demo use the same, as nothing translates ports.
pub const HTTP_PORT: u16 = 8080;

/// A router of the lab.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Router {
    /// `router-a`, an external peer of the nodes.
    A,
    /// `router-b`, an internal peer of the nodes.
    B,
}

impl Router {
    /// Both routers.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its name, which is its host name and the name of the nodes' BGPPeer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "router-a",
            Self::B => "router-b",
        }
    }

    /// Its AS number.
    pub const fn asn(self) -> u32 {
        match self {
            Self::A => 64496,
            Self::B => CLUSTER_ASN,
        }
    }

    /// Its IPv4 address on the fabric: its router ID, and where the nodes dial it.
    pub const fn ipv4(self) -> Ipv4Addr {
        match self {
            Self::A => Ipv4Addr::new(192, 0, 2, 1),
            Self::B => Ipv4Addr::new(192, 0, 2, 2),
        }
    }

    /// Its IPv6 address on the fabric.
    pub const fn ipv6(self) -> Ipv6Addr {
        match self {
            Self::A => Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1),
            Self::B => Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2),
        }
    }

    /// Its interface towards the client, and the client's interface towards it.
    pub const fn client_interface(self) -> &'static str {
        match self {
            Self::A => "to-router-a",
            Self::B => "to-router-b",
        }
    }

    /// The IPv4 addresses of the /30 between router (first) and client (second).
    pub const fn client_link_ipv4(self) -> (Ipv4Addr, Ipv4Addr) {
        match self {
            Self::A => (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)),
            Self::B => (Ipv4Addr::new(198, 51, 100, 5), Ipv4Addr::new(198, 51, 100, 6)),
        }
    }

    /// The IPv6 addresses of the /64 between router (first) and client (second).
    pub const fn client_link_ipv6(self) -> (Ipv6Addr, Ipv6Addr) {
        let link = match self {
            Self::A => 0xa,
            Self::B => 0xb,
        };
        (Ipv6Addr::new(0x2001, 0xdb8, 0, link, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, link, 0, 0, 0, 2))
    }

    /// The router over whose link the client talks when it uses this source address.
    pub fn of_client_address(address: IpAddr) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|router| address == router.client_link_ipv4().1 || address == router.client_link_ipv6().1)
    }
}

/// A node of the lab, by its number from 1 to [`Node::COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node(u8);

impl Node {
    /// How many nodes the lab has.
    pub const COUNT: u8 = 3;
    /// All nodes, in order.
    pub const ALL: [Self; Self::COUNT as usize] = [Self(1), Self(2), Self(3)];

    /// Its name, which is its Kubernetes Node's, and what its HTTP server answers.
    pub fn name(self) -> String {
        format!("node-{}", self.0)
    }

    /// Its IPv4 address on the fabric: the source of its BGP sessions and the next hop of its routes.
    pub const fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 10 + self.0)
    }

    /// Its IPv6 address on the fabric, the next hop of its IPv6 routes: `2001:db8:0:1::11` for `node-1`.
    pub const fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10 + self.0 as u16)
    }

    /// The node with this fabric address.
    pub fn of_address(address: IpAddr) -> Option<Self> {
        Self::ALL.into_iter().find(|node| address == node.ipv4() || address == node.ipv6())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_plan_leads_back_to_its_owner() {
        for node in Node::ALL {
            assert_eq!(Node::of_address(node.ipv4().into()), Some(node));
            assert_eq!(Node::of_address(node.ipv6().into()), Some(node));
        }
        for router in Router::ALL {
            assert_eq!(Router::of_client_address(router.client_link_ipv4().1.into()), Some(router));
            assert_eq!(Router::of_client_address(router.client_link_ipv6().1.into()), Some(router));
            assert_eq!(Node::of_address(router.ipv4().into()), None);
        }
    }
}
