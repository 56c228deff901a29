//! Connections of routers to a port that another program of the host has, handed to a port of ours.
//!
//! Table `inet bellhop-redirect` is owned by the socket that wrote it (`NFT_TABLE_F_OWNER`, Linux 5.12): the kernel takes it
//! away with the process, however that ends, and nobody else can change it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::Expression;
use super::kernel::NfTables;
use super::message::{APPEND, Batch, CREATE, Kind, Transaction};
use super::{FilterError, NFPROTO_IPV4, NFPROTO_IPV6};

/// Name of the table.
pub const REDIRECT_TABLE: &str = "bellhop-redirect";

/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 2;

/// Before everyone else's destination NAT (-100): no other rule is to have the connection first.
const PRIORITY: i32 = -101;

const CHAIN: &str = "arriving";
const TCP: u8 = 6;

/// Connections from `from` to `port` of an address of this host go to its port `to`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Redirect {
    /// Whose.
    pub from: IpNet,
    /// The address that they name, of the same family; any of this host by default.
    pub at: Option<IpAddr>,
    /// The TCP port that they name.
    pub port: u16,
    /// The TCP port that they reach.
    pub to: u16,
}

/// What is redirected in this network namespace, for as long as this lives.
#[derive(Debug)]
pub struct Redirection {
    kernel: NfTables,
    present: BTreeSet<Redirect>,
}

impl Redirection {
    /// Opens a socket in the network namespace of this thread; nothing is redirected yet.
    ///
    /// # Errors
    /// [`FilterError::Open`] where the kernel has no nf_tables or the process may not use it.
    pub fn open() -> Result<Self, FilterError> {
        Ok(Self { kernel: NfTables::open()?, present: BTreeSet::new() })
    }

    /// Redirects these and nothing else, in one step. A connection that stands goes on as it began. Blocks while the
    /// kernel works.
    ///
    /// # Errors
    /// See [`FilterError`]; then all is as it was before.
    pub fn replace(&mut self, wanted: &BTreeSet<Redirect>) -> Result<(), FilterError> {
        if *wanted != self.present {
            self.kernel.commit(&transaction(wanted))?;
            self.present.clone_from(wanted);
        }
        Ok(())
    }
}

fn transaction(wanted: &BTreeSet<Redirect>) -> Transaction {
    let mut batch = Batch::new();
    let table = |batch: &mut Batch| {
        batch.message(Kind::NewTable, CREATE, |table| {
            table.text(1, REDIRECT_TABLE);
            table.u32(2, OWNER);
        });
    };
    // Made first, so that it is there to be taken away.
    table(&mut batch);
    batch.message(Kind::DeleteTable, 0, |table| table.text(1, REDIRECT_TABLE));
    if wanted.is_empty() {
        return batch.finish();
    }
    table(&mut batch);
    batch.message(Kind::NewChain, CREATE, |chain| {
        chain.text(1, REDIRECT_TABLE);
        chain.text(3, CHAIN);
        chain.nest(4, |hook| {
            // NF_INET_PRE_ROUTING.
            hook.u32(1, 0);
            hook.value(2, &PRIORITY.to_be_bytes());
        });
        // NF_ACCEPT.
        chain.u32(5, 1);
        chain.text(7, "nat");
    });
    for redirect in wanted {
        batch.message(Kind::NewRule, CREATE | APPEND, |message| {
            message.text(1, REDIRECT_TABLE);
            message.text(2, CHAIN);
            message.nest(4, |list| rule(*redirect).for_each(|expression| expression.write(list)));
        });
    }
    batch.finish()
}

fn rule(redirect: Redirect) -> impl Iterator<Item = Expression> {
    let Redirect { from, at, port, to } = redirect;
    // Where source and destination stand in the header, and their length.
    let (family, source, destination, length) =
        if from.addr().is_ipv4() { (NFPROTO_IPV4, 12, 16, 4) } else { (NFPROTO_IPV6, 8, 24, 16) };
    let within = |offset: u32, net: IpNet| Expression::Within {
        offset,
        length,
        network: padded(net.network()),
        mask: padded(net.netmask()),
    };
    let at = at.map(|address| within(destination, address.into()));
    [Expression::NfProto(family), within(source, from)].into_iter().chain(at).chain([
        Expression::L4Proto(TCP),
        Expression::DestinationPort(port),
        Expression::OwnDestination,
        Expression::ToPort { family, port: to },
    ])
}

fn padded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.octets());
            octets
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}
