//! What our table holds, and the transactions that bring the kernel to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_core::objects::{Port, Protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::expression::Expression;
use super::message::{APPEND, Attributes, Batch, CREATE, Kind, Transaction};
use super::{FilterTable, NFPROTO_IPV4, NFPROTO_IPV6, REFUSALS_PER_SECOND, TABLE};

/// After connection tracking (-200), before destination NAT (-100): here a packet still names the address it was sent
/// to, and is known to belong to a connection or not. Its fragments were put together at -400.
const ARRIVING_PRIORITY: i32 = -105;

/// Where kube-proxy and everyone else translates destinations.
const DESTINATION_NAT_PRIORITY: i32 = -100;

/// Elements of one message: an attribute is shorter than 64 KiB, and an element at most 48 bytes here.
const ELEMENTS_PER_MESSAGE: usize = 1000;

/// `NF_CT_STATE_BIT` of established and related.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;

/// `NFT_SET_INTERVAL`.
const INTERVAL: u32 = 4;

/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;

const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// Router solicitation to redirect (RFC 4861).
const NEIGHBOUR_DISCOVERY: Expression = Expression::IcmpType(133, 137);

/// What differs between IPv4 and IPv6.
struct Words {
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    family: u8,
    /// Where the destination is in the network header, and its length.
    destination: (u32, u32),
    addresses: &'static str,
    services: &'static str,
    aggregates: &'static str,
    /// nft's number of the address type, which lets its tools print the sets.
    address_type: u32,
    icmp: u8,
    echo_request: u8,
}

const V4: Words = Words {
    family: NFPROTO_IPV4,
    destination: (16, 4),
    addresses: "addresses-v4",
    services: "services-v4",
    aggregates: "aggregates-v4",
    address_type: 7,
    icmp: 1,
    echo_request: 8,
};

const V6: Words = Words {
    family: NFPROTO_IPV6,
    destination: (24, 16),
    addresses: "addresses-v6",
    services: "services-v6",
    aggregates: "aggregates-v6",
    address_type: 8,
    icmp: ICMPV6,
    echo_request: 128,
};

const FAMILIES: [&Words; 2] = [&V4, &V6];

impl Words {
    fn of(address: IpAddr) -> &'static Self {
        if address.is_ipv4() { &V4 } else { &V6 }
    }

    fn destination_in(&self, set: &'static str) -> [Expression; 2] {
        let (offset, length) = self.destination;
        [Expression::NfProto(self.family), Expression::Destination { offset, length, set }]
    }
}

/// Takes the table away, whether it is there or not.
pub(super) fn removal() -> Transaction {
    let mut batch = Batch::new();
    clear(&mut batch);
    batch.finish()
}

/// Puts the whole table in the place of whatever is there under its name.
pub(super) fn whole(wanted: &FilterTable) -> Transaction {
    let mut batch = Batch::new();
    clear(&mut batch);
    batch.message(Kind::NewTable, CREATE, |table| {
        table.text(1, TABLE);
        table.u32(2, 0);
    });
    let mut identity = 0;
    for words in FAMILIES {
        sets(&mut batch, words, &mut identity);
    }
    chains(&mut batch, wanted.echo_reply);
    elements_of_all(&mut batch, wanted);
    batch.finish()
}

/// Changes the elements of the sets from what is there to what is wanted. `None` where more than that differs, so that
/// only [`whole`] does it.
pub(super) fn difference(present: &FilterTable, wanted: &FilterTable) -> Option<Transaction> {
    if present.echo_reply != wanted.echo_reply || present.aggregates != wanted.aggregates {
        return None;
    }
    let mut batch = Batch::new();
    let gone = Keys::missing(&present.addresses, &wanted.addresses);
    let new = Keys::missing(&wanted.addresses, &present.addresses);
    gone.write(&mut batch, Kind::DeleteElements);
    new.write(&mut batch, Kind::NewElements);
    Some(batch.finish())
}

fn clear(batch: &mut Batch) {
    // Made first, so that it is there to be taken away.
    batch.message(Kind::NewTable, CREATE, |table| table.text(1, TABLE));
    batch.message(Kind::DeleteTable, 0, |table| table.text(1, TABLE));
}

/// A set of one family, as the table's listing shows it.
struct SetWords {
    name: &'static str,
    flags: u32,
    key_type: u32,
    key_length: u32,
}

fn sets(batch: &mut Batch, words: &Words, identity: &mut u32) {
    let length = words.destination.1;
    // nft's numbers of inet_proto and inet_service, six bits for each field of a key.
    let service_type = words.address_type << 12 | 12 << 6 | 13;
    let all = [
        SetWords { name: words.addresses, flags: 0, key_type: words.address_type, key_length: length },
        SetWords { name: words.services, flags: 0, key_type: service_type, key_length: length + 8 },
        SetWords {
            name: words.aggregates,
            flags: INTERVAL,
            key_type: words.address_type,
            key_length: length,
        },
    ];
    for set in all {
        *identity += 1;
        batch.message(Kind::NewSet, CREATE, |message| {
            message.text(1, TABLE);
            message.text(2, set.name);
            message.u32(3, set.flags);
            message.u32(4, set.key_type);
            message.u32(5, set.key_length);
            message.u32(10, *identity);
        });
    }
}

/// A chain's hook, priority and type; chains without one are only jumped to.
type Base = Option<(u32, i32, &'static str)>;

fn chains(batch: &mut Batch, echo_reply: bool) {
    const PREROUTING: u32 = 0;
    const FORWARD: u32 = 2;
    let all: [(&str, Base, Vec<Vec<Expression>>); 6] = [
        ("answer", None, answer()),
        ("refuse", None, refuse()),
        ("announced", None, announced(echo_reply)),
        ("arriving", Some((PREROUTING, ARRIVING_PRIORITY, "filter")), arriving()),
        ("passing", Some((FORWARD, ARRIVING_PRIORITY, "filter")), passing()),
        ("echo", Some((PREROUTING, DESTINATION_NAT_PRIORITY, "nat")), echo()),
    ];
    let used = if echo_reply { &all[..] } else { &all[..all.len() - 1] };
    for (name, base, _) in used {
        batch.message(Kind::NewChain, CREATE, |chain| {
            chain.text(1, TABLE);
            chain.text(3, name);
            if let Some((hook, priority, kind)) = base {
                chain.nest(4, |data| {
                    data.u32(1, *hook);
                    data.value(2, &priority.to_be_bytes());
                });
                // NF_ACCEPT: what no rule is about goes on as without the table.
                chain.u32(5, 1);
                chain.text(7, kind);
            }
        });
    }
    for (name, _, rules) in used {
        for rule in rules {
            batch.message(Kind::NewRule, CREATE | APPEND, |message| {
                message.text(1, TABLE);
                message.text(2, name);
                message.nest(4, |list| rule.iter().for_each(|expression| expression.write(list)));
            });
        }
    }
}

/// Everything that comes to this host, before destination NAT.
fn arriving() -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    for words in FAMILIES {
        let [family, destination] = words.destination_in(words.addresses);
        rules.push(vec![family, destination, Expression::Goto("announced")]);
    }
    for words in FAMILIES {
        let [family, destination] = words.destination_in(words.aggregates);
        // An address of the host itself, though it lies in an aggregate, is none of ours to refuse.
        rules.push(vec![family, destination, Expression::ForeignDestination, Expression::Goto("refuse")]);
    }
    rules
}

/// What was sent to an announced address.
fn announced(echo_reply: bool) -> Vec<Vec<Expression>> {
    let mut rules = vec![
        // The host's own programs among themselves.
        vec![Expression::FromHost(true), Expression::Accept],
        vec![Expression::ConnectionState(ESTABLISHED_OR_RELATED), Expression::Accept],
    ];
    for words in FAMILIES {
        let (offset, length) = words.destination;
        let service = Expression::Service { offset, length, set: words.services };
        rules.push(vec![Expression::NfProto(words.family), service, Expression::Accept]);
    }
    if echo_reply {
        for words in FAMILIES {
            rules.push([&echo_request(words)[..], &[Expression::Accept]].concat());
        }
    }
    rules.push(vec![Expression::Goto("refuse")]);
    rules
}

/// What may neither reach this host nor go on.
fn refuse() -> Vec<Vec<Expression>> {
    let per_second = u64::from(REFUSALS_PER_SECOND);
    vec![
        // Whoever answers for the address on the wire reads it below IP; an error would confuse the neighbour.
        vec![
            Expression::NfProto(V6.family),
            Expression::L4Proto(ICMPV6),
            NEIGHBOUR_DISCOVERY,
            Expression::Drop,
        ],
        vec![
            Expression::Limit { per_second, burst: REFUSALS_PER_SECOND },
            Expression::Counter,
            Expression::Goto("answer"),
        ],
        vec![Expression::Counter, Expression::Drop],
    ]
}

fn answer() -> Vec<Vec<Expression>> {
    vec![vec![Expression::L4Proto(TCP), Expression::Reset], vec![Expression::PortUnreachable]]
}

/// What leaves for elsewhere after destination NAT. What still has one of our destinations is a Service's packet that
/// nothing on this host serves: forwarded, it would come back by the router that sent it.
fn passing() -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    for words in FAMILIES {
        for set in [words.addresses, words.aggregates] {
            let [family, destination] = words.destination_in(set);
            rules.push(vec![family, destination, Expression::Goto("refuse")]);
        }
    }
    rules
}

/// Echo requests to an announced address, which the host may not have: it answers as one of its own, and connection
/// tracking gives the answer its source back.
fn echo() -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    for words in FAMILIES {
        let [family, destination] = words.destination_in(words.addresses);
        let mut rule = vec![Expression::FromHost(false), family, destination];
        rule.extend_from_slice(&echo_request(words)[1..]);
        rule.push(Expression::Redirect);
        rules.push(rule);
    }
    rules
}

fn echo_request(words: &Words) -> [Expression; 3] {
    [
        Expression::NfProto(words.family),
        Expression::L4Proto(words.icmp),
        Expression::IcmpType(words.echo_request, words.echo_request),
    ]
}

/// The key of an element, and its flags.
type Element = (Vec<u8>, u32);

/// Elements by set.
#[derive(Default)]
struct Keys(BTreeMap<&'static str, Vec<Element>>);

impl Keys {
    /// Of the sets of addresses and services: what `from` has and `other` has not.
    fn missing(from: &BTreeMap<IpAddr, BTreeSet<Port>>, other: &BTreeMap<IpAddr, BTreeSet<Port>>) -> Self {
        let mut keys = Self::default();
        for (address, ports) in from {
            let others = other.get(address);
            if others.is_none() {
                keys.add(Words::of(*address).addresses, octets(*address), 0);
            }
            for port in ports.iter().filter(|port| others.is_none_or(|others| !others.contains(*port))) {
                keys.add(Words::of(*address).services, service_key(*address, *port), 0);
            }
        }
        keys
    }

    fn add(&mut self, set: &'static str, key: Vec<u8>, flags: u32) {
        self.0.entry(set).or_default().push((key, flags));
    }

    fn write(&self, batch: &mut Batch, kind: Kind) {
        // What creates, creates; deleting has no flag.
        let flags = if kind == Kind::NewElements { CREATE } else { 0 };
        for (set, elements) in &self.0 {
            for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
                batch.message(kind, flags, |message| {
                    message.text(1, TABLE);
                    message.text(2, set);
                    message.nest(3, |list| some.iter().for_each(|element| write_element(list, element)));
                });
            }
        }
    }
}

fn write_element(list: &mut Attributes<'_>, (key, flags): &Element) {
    list.nest(1, |element| {
        element.nest(1, |data| data.value(1, key));
        if *flags != 0 {
            element.u32(3, *flags);
        }
    });
}

fn elements_of_all(batch: &mut Batch, wanted: &FilterTable) {
    let mut keys = Keys::missing(&wanted.addresses, &BTreeMap::new());
    for (first, after) in runs(&wanted.aggregates) {
        let set = Words::of(first).aggregates;
        keys.add(set, octets(first), 0);
        if let Some(after) = after {
            keys.add(set, octets(after), INTERVAL_END);
        }
    }
    keys.write(batch, Kind::NewElements);
}

/// The aggregates as runs that neither overlap nor touch: the first address, and the first one behind; `None` where the
/// run ends with the address space.
fn runs(aggregates: &BTreeSet<IpNet>) -> Vec<(IpAddr, Option<IpAddr>)> {
    let mut v4: Vec<Ipv4Net> = Vec::new();
    let mut v6: Vec<Ipv6Net> = Vec::new();
    for net in aggregates {
        match net {
            IpNet::V4(net) => v4.push(net.trunc()),
            IpNet::V6(net) => v6.push(net.trunc()),
        }
    }
    let mut runs: Vec<(IpAddr, Option<IpAddr>)> = Vec::new();
    let merged_v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4);
    for net in merged_v4.chain(Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6)) {
        let after = following(net.broadcast());
        match runs.last_mut() {
            Some((_, end)) if *end == Some(net.network()) => *end = after,
            _ => runs.push((net.network(), after)),
        }
    }
    runs
}

fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Each field takes whole registers.
fn service_key(address: IpAddr, Port { protocol, port }: Port) -> Vec<u8> {
    let protocol = match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    let [high, low] = port.to_be_bytes();
    [octets(address), vec![protocol, 0, 0, 0, high, low, 0, 0]].concat()
}
