//! The expressions of which our rules are made, each as the kernel's virtual machine takes it.
//!
//! Registers are the 32-bit ones; `NFT_REG_1` is where the first four of them begin, so that a key of several fields
//! begins there and each field takes as many whole registers as it needs.

use super::message::Attributes;

/// `NFT_REG_1`, where keys begin.
const KEY: u32 = 1;

/// `NFT_REG32_00`.
const FIRST_REGISTER: u32 = 8;

/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;

/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK_HEADER: u32 = 1;

/// `NFT_PAYLOAD_TRANSPORT_HEADER`.
const TRANSPORT_HEADER: u32 = 2;

/// What a rule compares or does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expression {
    /// Family of the packet: `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    NfProto(u8),
    /// Transport protocol, by its IANA number.
    L4Proto(u8),
    /// The packet came in by `lo`, or did not.
    FromHost(bool),
    /// Type of an ICMP or ICMPv6 message, first and last of a run.
    IcmpType(u8, u8),
    /// Some of these connection states hold (`NF_CT_STATE_BIT`).
    ConnectionState(u32),
    /// The destination, `length` bytes at `offset` of the network header, is in the set.
    Destination { offset: u32, length: u32, set: &'static str },
    /// Destination, transport protocol and destination port together are in the set.
    Service { offset: u32, length: u32, set: &'static str },
    /// The address, `length` bytes at `offset` of the network header, is in this network.
    Within { offset: u32, length: u32, network: [u8; 16], mask: [u8; 16] },
    /// TCP or UDP destination port.
    DestinationPort(u16),
    /// The destination is an address of this host.
    OwnDestination,
    /// The destination is not an address of this host.
    ForeignDestination,
    /// At most so many packets a second, and as many at once.
    Limit { per_second: u64, burst: u32 },
    /// Counts packets and bytes.
    Counter,
    /// Ends with this verdict.
    Accept,
    /// Ends with this verdict.
    Drop,
    /// Goes on in another chain and does not come back.
    Goto(&'static str),
    /// Answers with a TCP reset and drops.
    Reset,
    /// Answers with ICMP or ICMPv6 port unreachable and drops.
    PortUnreachable,
    /// Translates the destination to the address of the interface that the packet came in by.
    Redirect,
    /// Translates the destination port, for packets of this family (`NFPROTO_IPV4` or `NFPROTO_IPV6`).
    ToPort { family: u8, port: u16 },
}

impl Expression {
    /// Writes the list elements (`NFTA_LIST_ELEM`) that this comes to.
    pub(super) fn write(self, list: &mut Attributes<'_>) {
        match self {
            Self::NfProto(family) => {
                meta(list, 15, KEY);
                compare(list, 0, &[family]);
            }
            Self::L4Proto(protocol) => {
                meta(list, 16, KEY);
                compare(list, 0, &[protocol]);
            }
            Self::FromHost(wanted) => {
                meta(list, 4, KEY);
                // `lo` is the first interface of every namespace (LOOPBACK_IFINDEX).
                compare(list, u32::from(!wanted), &1_u32.to_ne_bytes());
            }
            Self::IcmpType(first, last) => {
                payload(list, TRANSPORT_HEADER, 0, 1, KEY);
                if first == last {
                    compare(list, 0, &[first]);
                } else {
                    compare(list, 5, &[first]);
                    compare(list, 3, &[last]);
                }
            }
            Self::ConnectionState(states) => connection_state(list, states),
            Self::Destination { offset, length, set } => {
                payload(list, NETWORK_HEADER, offset, length, KEY);
                lookup(list, set);
            }
            Self::Service { offset, length, set } => {
                let after = length / 4;
                payload(list, NETWORK_HEADER, offset, length, KEY);
                meta(list, 16, register(after));
                payload(list, TRANSPORT_HEADER, 2, 2, register(after + 1));
                lookup(list, set);
            }
            Self::Within { offset, length, network, mask } => {
                payload(list, NETWORK_HEADER, offset, length, KEY);
                let length = length as usize;
                masked(list, &mask[..length]);
                compare(list, 0, &network[..length]);
            }
            Self::DestinationPort(port) => {
                payload(list, TRANSPORT_HEADER, 2, 2, KEY);
                compare(list, 0, &port.to_be_bytes());
            }
            Self::OwnDestination => destination_type(list, 0),
            Self::ForeignDestination => destination_type(list, 1),
            Self::Limit { per_second, burst } => expression(list, "limit", |data| {
                data.u64(1, per_second);
                data.u64(2, 1);
                data.u32(3, burst);
                data.u32(4, 0);
                data.u32(5, 0);
            }),
            Self::Counter => expression(list, "counter", |_| {}),
            Self::Accept => verdict(list, 1, None),
            Self::Drop => verdict(list, 0, None),
            Self::Goto(chain) => verdict(list, -4, Some(chain)),
            Self::Reset => expression(list, "reject", |data| {
                data.u32(1, 1);
                data.value(2, &[0]);
            }),
            Self::PortUnreachable => expression(list, "reject", |data| {
                data.u32(1, 2);
                data.value(2, &[1]);
            }),
            Self::Redirect => expression(list, "redir", |_| {}),
            Self::ToPort { family, port } => {
                expression(list, "immediate", |data| {
                    data.u32(1, KEY);
                    data.nest(2, |data| data.value(1, &port.to_be_bytes()));
                });
                expression(list, "nat", |data| {
                    // NFT_NAT_DNAT, and where the port is.
                    data.u32(1, 1);
                    data.u32(2, family.into());
                    data.u32(5, KEY);
                });
            }
        }
    }
}

/// The register so many 32-bit words behind the first. One that begins a group of four goes by the group's name
/// (`NFT_REG_1` to `NFT_REG_4`), as nft has it.
fn register(words: u32) -> u32 {
    if words.is_multiple_of(4) { KEY + words / 4 } else { FIRST_REGISTER + words }
}

fn expression(list: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(1, |element| {
        element.text(1, name);
        element.nest(2, data);
    });
}

/// Loads `enum nft_meta_keys`.
fn meta(list: &mut Attributes<'_>, key: u32, register: u32) {
    expression(list, "meta", |data| {
        data.u32(2, key);
        data.u32(1, register);
    });
}

fn payload(list: &mut Attributes<'_>, base: u32, offset: u32, length: u32, register: u32) {
    expression(list, "payload", |data| {
        data.u32(1, register);
        data.u32(2, base);
        data.u32(3, offset);
        data.u32(4, length);
    });
}

/// Compares the register where keys begin, by `enum nft_cmp_ops`.
fn compare(list: &mut Attributes<'_>, operation: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.u32(1, KEY);
        data.u32(2, operation);
        data.nest(3, |data| data.value(1, value));
    });
}

fn lookup(list: &mut Attributes<'_>, set: &str) {
    expression(list, "lookup", |data| {
        data.u32(2, KEY);
        data.text(1, set);
    });
}

fn connection_state(list: &mut Attributes<'_>, states: u32) {
    expression(list, "ct", |data| {
        data.u32(2, 0);
        data.u32(1, KEY);
    });
    masked(list, &states.to_ne_bytes());
    compare(list, 1, &[0; 4]);
}

/// Keeps of the key what the mask has.
fn masked(list: &mut Attributes<'_>, mask: &[u8]) {
    expression(list, "bitwise", |data| {
        data.u32(1, KEY);
        data.u32(2, KEY);
        data.u32(3, mask.len() as u32);
        data.nest(4, |data| data.value(1, mask));
        data.nest(5, |data| data.value(1, &vec![0; mask.len()]));
    });
}

/// The destination is an address of this host by `enum nft_cmp_ops`: 0 for is, 1 for is not.
fn destination_type(list: &mut Attributes<'_>, operation: u32) {
    /// `RTN_LOCAL` (linux/rtnetlink.h).
    const LOCAL: u32 = 2;
    expression(list, "fib", |data| {
        // NFTA_FIB_F_DADDR, NFT_FIB_RESULT_ADDRTYPE.
        data.u32(3, 2);
        data.u32(2, 3);
        data.u32(1, KEY);
    });
    compare(list, operation, &LOCAL.to_ne_bytes());
}

fn verdict(list: &mut Attributes<'_>, code: i32, chain: Option<&str>) {
    expression(list, "immediate", |data| {
        data.u32(1, VERDICT);
        data.nest(2, |data| {
            data.nest(2, |verdict| {
                verdict.value(1, &code.to_be_bytes());
                if let Some(chain) = chain {
                    verdict.text(2, chain);
                }
            });
        });
    });
}
