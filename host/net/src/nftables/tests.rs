//! Transactions against the bytes of nft, and answers as the kernel gives them.
//!
//! `tests/reference.nft` is the table as a person would write it. `tests/reference.netlink` is the datagram that nft
//! 1.0.6 made of it on a little-endian host (`strace -e trace=sendmsg -e write=3 nft -f reference.nft`).

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{Answer, take, tells_of_another};
use super::message::{GENERIC, HEADER, Transaction, received, u16_at};
use super::ruleset::{difference, removal, whole};
use super::*;

const REFERENCE: &[u8] = include_bytes!("tests/reference.netlink");

const NEW_SET: u16 = 0xa09;
const NEW_ELEMENTS: u16 = 0xa0c;
const DELETE_ELEMENTS: u16 = 0xa0e;

/// An attribute, with what it nests in the order of types; those of one type keep theirs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Attribute {
    Value(u16, Vec<u8>),
    Nest(u16, Vec<Attribute>),
}

impl Attribute {
    fn kind(&self) -> u16 {
        match self {
            Self::Value(kind, _) | Self::Nest(kind, _) => *kind,
        }
    }
}

fn attributes(mut bytes: &[u8]) -> Vec<Attribute> {
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let value = &bytes[4..usize::from(length)];
        all.push(match kind & 0x8000 {
            0 => Attribute::Value(kind, value.to_vec()),
            _ => Attribute::Nest(kind & 0x7fff, attributes(value)),
        });
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    // The set that a lookup is in is named; nft gives its number within the transaction too.
    if matches!(all.first(), Some(Attribute::Value(1, name)) if name == b"lookup\0")
        && let Some(Attribute::Nest(_, data)) = all.get_mut(1)
    {
        data.retain(|attribute| attribute.kind() != 4);
    }
    all.sort_by_key(Attribute::kind);
    all
}

/// Type and attributes of each message between begin and end that is not about elements.
fn structure(datagram: &[u8]) -> Vec<(u16, Vec<Attribute>)> {
    let about = |number: u16| ![0x10, 0x11, NEW_ELEMENTS].contains(&number);
    let mut all: Vec<_> = received(datagram)
        .filter(|message| about(message.number))
        .map(|message| (message.number, attributes(&message.body[GENERIC..])))
        .collect();
    for (_, attributes) in all.iter_mut().filter(|(number, _)| *number == NEW_SET) {
        // What nft notes for itself, to print the keys.
        attributes.retain(|attribute| attribute.kind() != 0xd);
    }
    // nft makes the chains before the sets.
    all.sort_by_key(|(number, _)| *number);
    all
}

/// The sets' elements after the datagram's changes.
fn apply(sets: &mut BTreeMap<Vec<u8>, BTreeSet<Attribute>>, datagram: &[u8]) {
    for message in received(datagram) {
        let all = attributes(message.body.get(GENERIC..).unwrap_or_default());
        let (Some(Attribute::Value(2, set)), Some(Attribute::Nest(3, elements))) =
            (all.get(1), all.iter().find(|attribute| attribute.kind() == 3))
        else {
            continue;
        };
        let set = sets.entry(set.clone()).or_default();
        for element in elements {
            // nft numbers them; the kernel does not look at the type.
            let Attribute::Nest(_, element) = element else { panic!("{element:?}") };
            let element = Attribute::Nest(1, element.clone());
            let changed = match message.number {
                NEW_ELEMENTS => set.insert(element.clone()) || datagram == REFERENCE,
                DELETE_ELEMENTS => set.remove(&element),
                _ => continue,
            };
            assert!(changed, "an element is made twice, or taken away that is not there: {element:?}");
        }
    }
    sets.retain(|_, elements| !elements.is_empty());
}

fn elements(datagrams: &[&[u8]]) -> BTreeMap<Vec<u8>, BTreeSet<Attribute>> {
    let mut sets = BTreeMap::new();
    datagrams.iter().for_each(|datagram| apply(&mut sets, datagram));
    sets
}

fn tcp(port: u16) -> Port {
    Port { protocol: bellhop_core::objects::Protocol::Tcp, port }
}

fn table(addresses: &[(&str, &[u16])]) -> FilterTable {
    let ports = |ports: &[u16]| ports.iter().map(|port| tcp(*port)).collect();
    FilterTable {
        addresses: addresses.iter().map(|(address, all)| (address.parse().unwrap(), ports(all))).collect(),
        aggregates: nets(&["203.0.113.0/24", "2001:db8:7::/64"]),
        echo_reply: true,
    }
}

fn nets(nets: &[&str]) -> BTreeSet<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

#[cfg(target_endian = "little")]
#[test]
fn the_table_is_written_as_nft_writes_it() {
    let ours = whole(&table(&[("203.0.113.7", &[80]), ("2001:db8:7::7", &[80])]));
    let mut all = structure(&ours.bytes);
    // Made to be taken away, taken away, made.
    assert_eq!(all.iter().filter(|(number, _)| *number == 0xa00).count(), 2);
    all.retain(|(number, attributes)| *number != 0xa02 && (*number != 0xa00 || attributes.len() == 2));
    for (ours, nft) in all.iter().zip(structure(REFERENCE)) {
        assert_eq!(*ours, nft);
    }
    assert_eq!(all.len(), structure(REFERENCE).len());

    let mut reference = elements(&[REFERENCE]);
    // nft begins every set of runs with the end of none.
    for set in reference.values_mut() {
        set.retain(|element| !format!("{element:?}").contains("Value(1, [0, 0, 0, 0"));
    }
    assert_eq!(elements(&[&ours.bytes]), reference);
}

#[test]
fn a_difference_leads_from_any_table_to_any_other_and_names_only_what_changes() {
    let tables = [
        table(&[]),
        table(&[("203.0.113.7", &[80]), ("2001:db8:7::7", &[80])]),
        table(&[("203.0.113.7", &[80, 443]), ("203.0.113.8", &[])]),
        table(&[("2001:db8:7::7", &[443]), ("203.0.113.8", &[53])]),
    ];
    for present in &tables {
        for wanted in &tables {
            let before = whole(present).bytes;
            let step = difference(present, wanted).unwrap();
            assert_eq!(
                elements(&[&before, &step.bytes]),
                elements(&[&whole(wanted).bytes]),
                "{present:?} {wanted:?}"
            );
            assert_eq!(step.messages == 0, present == wanted);
        }
    }
}

#[test]
fn what_is_more_than_elements_of_addresses_is_written_whole() {
    let present = table(&[("203.0.113.7", &[80])]);
    let other_echo = FilterTable { echo_reply: false, ..present.clone() };
    let other_aggregates = FilterTable { aggregates: nets(&[]), ..present.clone() };
    assert_eq!(difference(&present, &other_echo), None);
    assert_eq!(difference(&present, &other_aggregates), None);
}

#[test]
fn aggregates_that_overlap_or_touch_become_one_run_and_the_last_of_all_has_no_end() {
    let runs = |texts: &[&str]| {
        let table = FilterTable { aggregates: nets(texts), ..FilterTable::default() };
        let sets = elements(&[&whole(&table).bytes]);
        sets.values().flatten().map(|element| format!("{element:?}")).collect::<Vec<_>>()
    };
    let one = runs(&["203.0.113.0/24"]);
    assert_eq!(one.len(), 2);
    assert_eq!(runs(&["203.0.113.0/24", "203.0.113.64/26"]), one);
    assert_eq!(runs(&["203.0.113.0/25", "203.0.113.128/25"]), one);
    assert_eq!(runs(&["10.0.1.0/24", "10.0.2.0/24"]).len(), 2, "they touch, and no prefix is both");
    assert_eq!(runs(&["255.255.255.0/24"]).len(), 1);
}

#[test]
fn a_message_stays_within_what_an_attribute_can_hold() {
    let mut many = table(&[]);
    for index in 0..10_000_u128 {
        let address: std::net::Ipv6Addr = (0x2001_0db8 << 96 | index).into();
        many.addresses.insert(address.into(), [tcp(80), tcp(443)].into());
    }
    let Transaction { bytes, messages, .. } = whole(&many);
    assert!(received(&bytes).all(|message| message.body.len() < 64 << 10));
    assert!(messages < 100, "{messages}");
    assert_eq!(elements(&[&bytes]).values().map(BTreeSet::len).sum::<usize>(), 30_000 + 4);
}

/// An answer of the kernel: `nlmsg_seq`, `errno` and its explanation, to a message of a type.
fn answer(sequence: u32, errno: i32, number: u16, explanation: Option<&str>) -> Vec<u8> {
    let mut body = (-errno).to_ne_bytes().to_vec();
    body.extend(100_u32.to_ne_bytes());
    body.extend(number.to_ne_bytes());
    body.extend([0; HEADER - 6]);
    if let Some(text) = explanation {
        body.extend((text.len() as u16 + 5).to_ne_bytes());
        body.extend([1, 0]);
        body.extend(text.as_bytes());
        body.push(0);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    // NLMSG_ERROR, capped, from the kernel.
    datagram(2, 0x300, sequence, 7, &body)
}

fn datagram(number: u16, flags: u16, sequence: u32, port: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(port.to_ne_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn a_transaction_is_done_when_its_last_message_is_acknowledged() {
    let mut taken = Answer::default();
    take(&mut taken, &answer(3, 0, 0xa00, None), 4);
    assert!(!taken.done);
    take(&mut taken, &answer(4, 0, 0xa00, None), 4);
    assert!(taken.done && taken.refusal.is_none());
}

#[test]
fn the_first_refusal_counts_and_is_told_in_the_kernels_words() {
    let mut taken = Answer::default();
    take(&mut taken, &answer(2, libc::ENOENT, 0xa06, Some("no such expression")), 4);
    take(&mut taken, &answer(3, libc::EINVAL, NEW_SET, None), 4);
    let refusal = taken.refusal.unwrap();
    let error =
        FilterError::Refused { what: refusal.what, explanation: refusal.explanation, source: refusal.source };
    assert_eq!(error.to_string(), "change the rule of table inet bellhop (\"no such expression\")");
    assert!(error.remedy().unwrap().contains("nft_reject_inet"));
}

#[test]
fn a_datagram_that_ends_early_says_nothing_and_harms_nothing() {
    let full = answer(2, libc::EPERM, 0xa06, Some("why"));
    for length in 0..full.len() {
        let mut taken = Answer::default();
        take(&mut taken, &full[..length], 2);
        assert!(!taken.done && taken.refusal.is_none(), "{length}");
        tells_of_another(&full[..length], 1);
    }
}

#[test]
fn only_a_change_of_our_table_by_another_socket_is_told() {
    let own = received(&removal().bytes).nth(1).unwrap().body.to_vec();
    assert!(tells_of_another(&datagram(0xa02, 0, 1, 99, &own), 7));
    assert!(!tells_of_another(&datagram(0xa02, 0, 1, 7, &own), 7), "our own");
    let mut other = own.clone();
    other[GENERIC + 4] = b'k';
    assert!(!tells_of_another(&datagram(0xa02, 0, 1, 99, &other), 7), "table kellhop");
    let mut other = own;
    other[0] = 2;
    assert!(!tells_of_another(&datagram(0xa02, 0, 1, 99, &other), 7), "table ip bellhop");
}
