//! Netlink messages of nf_tables, written into one batch: a transaction that the kernel carries out whole or not at all.
//!
//! Numbers are those of `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and `linux/netfilter/nf_tables.h`. Headers are in
//! the host's byte order, attributes of nf_tables in network byte order.

/// `NFNL_SUBSYS_NFTABLES`: the high byte of every message type.
const SUBSYSTEM: u16 = 10;

/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u16 = 0x10;

/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 0x11;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;

/// `NLM_F_ACK`.
const ACK: u16 = 0x4;

/// `NLM_F_CREATE`.
pub(super) const CREATE: u16 = 0x400;

/// `NLM_F_APPEND`: a rule goes to the end of its chain.
pub(super) const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub(super) const INET: u8 = 1;

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// Length of `struct nfgenmsg`.
pub(super) const GENERIC: usize = 4;

/// What a message is about (`enum nf_tables_msg_types`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    NewTable = 0,
    DeleteTable = 2,
    NewChain = 3,
    NewRule = 6,
    NewSet = 9,
    NewElements = 12,
    DeleteElements = 14,
}

impl Kind {
    /// `nlmsg_type`.
    fn number(self) -> u16 {
        SUBSYSTEM << 8 | self as u16
    }
}

/// What the message of a type is about, for people.
pub(super) fn described(number: u16) -> &'static str {
    let all = [
        (Kind::NewTable, "table"),
        (Kind::DeleteTable, "table"),
        (Kind::NewChain, "chain"),
        (Kind::NewRule, "rule"),
        (Kind::NewSet, "set"),
        (Kind::NewElements, "set element"),
        (Kind::DeleteElements, "set element"),
    ];
    all.into_iter().find(|(kind, _)| kind.number() == number).map_or("transaction", |(_, text)| text)
}

/// True for the type of a message of nf_tables; `false` for those of other subsystems of netfilter.
pub(super) fn is_ours(number: u16) -> bool {
    number >> 8 == SUBSYSTEM
}

/// A batch under construction.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// `nlmsg_seq` of the next message.
    sequence: u32,
    /// Where the last message of the transaction starts.
    last: usize,
}

/// A batch that is ready to be sent in one datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transaction {
    pub(super) bytes: Vec<u8>,
    /// Messages between the batch's begin and end.
    pub(super) messages: usize,
    /// `nlmsg_seq` of the message that is acknowledged when the whole is done.
    pub(super) acknowledged: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0, last: 0 };
        batch.write(BATCH_BEGIN, 0, (0, SUBSYSTEM), |_| {});
        batch
    }

    /// Adds a message about the table's family; `flags` beside those that every request has.
    pub(super) fn message(&mut self, kind: Kind, flags: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        self.write(kind.number(), flags, (INET, 0), body);
    }

    fn write(
        &mut self,
        number: u16,
        flags: u16,
        (family, resource): (u8, u16),
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend([0; 4]);
        self.bytes.extend(number.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.sequence += 1;
        body(&mut Attributes { bytes: &mut self.bytes });
        // A batch stays far below 4 GiB: the set that is wanted is bounded by what a cluster holds.
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Ends the transaction. Its last message asks for the acknowledgement.
    pub(super) fn finish(mut self) -> Transaction {
        let (flags, acknowledged) = (self.last + 6, self.sequence - 1);
        let asking = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]) | ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&asking.to_ne_bytes());
        self.write(BATCH_END, 0, (0, SUBSYSTEM), |_| {});
        // `acknowledged` counts the begin too.
        Transaction { bytes: self.bytes, messages: acknowledged as usize, acknowledged }
    }
}

/// Writes attributes at the end of a message.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Any value; padded to four bytes.
    pub(super) fn value(&mut self, kind: u16, value: &[u8]) {
        let start = self.begin(kind);
        self.bytes.extend(value);
        self.end(start);
    }

    /// A string with its terminating zero.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        let start = self.begin(kind);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self.end(start);
    }

    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.value(kind, &value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, kind: u16, value: u64) {
        self.value(kind, &value.to_be_bytes());
    }

    /// Attributes inside an attribute.
    pub(super) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.begin(kind | NESTED);
        body(&mut Attributes { bytes: self.bytes });
        self.end(start);
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        start
    }

    fn end(&mut self, start: usize) {
        // Callers keep what they nest below 64 KiB: names and keys are short, elements come in bounded messages.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A message as it was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    /// `nlmsg_type`.
    pub(super) number: u16,
    /// `nlmsg_flags`.
    pub(super) flags: u16,
    /// `nlmsg_seq`.
    pub(super) sequence: u32,
    /// `nlmsg_pid`: the socket whose request this answers or tells of.
    pub(super) port: u32,
    /// What follows the header.
    pub(super) body: &'a [u8],
}

/// The messages of a datagram, up to the first that is malformed.
pub(super) fn received(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let body = datagram.get(HEADER..length)?;
        let message = Received {
            number: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            port: u32_at(datagram, 12)?,
            body,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The value of the first attribute of a type among `attributes`.
pub(super) fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? & !NESTED == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
