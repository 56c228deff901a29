//! Random routes, the same in each run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellhop_core::RouteAttributes;
use bellhop_core::route::{Community, LargeCommunity};
use ipnet::IpNet;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The lower half of the next number.
    pub(crate) fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap()
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| value(self))
    }

    /// A few of something, mostly none.
    fn some<T>(&mut self, most: u64, value: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = if self.below(3) == 0 { self.below(most) } else { 0 };
        (0..count).map(|_| value(self)).collect()
    }

    /// A network of either family, of any length that a unicast network has, out of few so that some come again.
    pub(crate) fn prefix(&mut self) -> IpNet {
        let host = self.below(200).to_be_bytes();
        let net = if self.below(2) == 0 {
            let address = Ipv4Addr::new(10, host[6] ^ 7, host[7] / 16, host[7]);
            IpNet::new(address.into(), u8::try_from(8 + self.below(25)).unwrap())
        } else {
            let address = Ipv6Addr::new(0x2001, 0xDB8, host[7].into(), 0, 0, 0, 0, host[7].into());
            IpNet::new(address.into(), u8::try_from(16 + self.below(113)).unwrap())
        };
        net.unwrap().trunc()
    }

    /// Attributes of a route of this prefix; few sets, so that routes share UPDATEs.
    pub(crate) fn attributes(&mut self, prefix: IpNet) -> RouteAttributes {
        let mut own = Self(self.below(12) * 2 + u64::from(prefix.addr().is_ipv4()));
        let next_hop = own.below(4) == 0;
        RouteAttributes {
            communities: own.some(300, |random| Community(random.word())),
            large_communities: own.some(60, |random| LargeCommunity {
                global: random.word(),
                local1: random.word(),
                local2: random.word(),
            }),
            // Of a type that any codec carries as it is: experimental, RFC 7153 §3.
            extended_communities: own.some(40, |random| 0x8F << 56 | random.next() >> 8),
            local_preference: own.maybe(Self::word),
            med: own.maybe(Self::word),
            prepend: u8::try_from(own.below(17)).unwrap(),
            link_bandwidth: own.maybe(|random| random.next() >> 20),
            next_hop: next_hop.then(|| match prefix.addr() {
                IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 77).into(),
                IpAddr::V6(_) => "2001:db8::77".parse().unwrap(),
            }),
        }
    }
}
