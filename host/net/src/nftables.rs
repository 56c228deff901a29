//! The host's packet filter for announced addresses: our own nf_tables table, `inet bellhop`, written over netlink.
//!
//! A router sends everything for an announced address to this host. Of that, only what a Service serves may go on:
//!
//! ```text
//! prerouting -105  arriving   destination announced? ─► announced: from the host itself, of a connection (also the
//!                                                       ICMP errors about it), the Service's ports, echo ─► on
//!                             else, or unused in an aggregate ─► refuse
//! prerouting -100  echo       (setting) an echo request to an announced address is answered by the host
//! forward    -105  passing    still for an announced address after destination NAT ─► refuse
//! refuse                      at most REFUSALS_PER_SECOND are answered (TCP reset, port unreachable), the rest dropped
//! ```
//!
//! So nothing reaches a socket of the host by an announced address, and nothing goes back to the router that sent it.
//! Before destination NAT, because kube-proxy (nftables or iptables) changes the destination there, and what it does not
//! know keeps it. Not in the input hook, where IPVS takes packets that still name the Service's address. The host's own
//! traffic and that of its Pods to an announced address goes the same way as a client's.
//!
//! The table has no `owner` flag: it outlives the process, as the routes do over a restart, and the next process puts
//! its own in the place in one transaction. What changes are the elements of sets, one transaction for each change.
//! The rules use connection tracking, which is on wherever kube-proxy is; on a plain host the table turns it on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use bellhop_core::objects::Port;
use ipnet::IpNet;

mod answer;
mod expression;
mod fake;
mod kernel;
mod message;
pub mod redirect;
mod ruleset;

pub use fake::FakeFilter;
pub use kernel::{NfTables, NfTablesWatch};

/// Name of our table, of family inet.
pub const TABLE: &str = "bellhop";

/// `NFPROTO_IPV4`.
const NFPROTO_IPV4: u8 = 2;

/// `NFPROTO_IPV6`.
const NFPROTO_IPV6: u8 = 10;

/// Refusals that are answered, each second and at once; more are dropped. Enough for people and monitors that knock at
/// closed ports, too few to be worth a forged source.
pub const REFUSALS_PER_SECOND: u32 = 100;

/// What the filter lets pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilterTable {
    /// The announced addresses, each with the ports that its Services serve.
    pub addresses: BTreeMap<IpAddr, BTreeSet<Port>>,
    /// Announced aggregates: their addresses that are not among `addresses`, nor the host's own, are refused.
    pub aggregates: BTreeSet<IpNet>,
    /// Whether echo requests (ping) to announced addresses are answered; unused ones of an aggregate never do.
    pub echo_reply: bool,
}

impl FilterTable {
    /// True when there is nothing to filter: then there is no table.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.aggregates.is_empty()
    }
}

/// What [`PacketFilter::replace`] sent; nothing where all was as wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replaced {
    /// Messages of the one transaction.
    pub messages: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// Why the filter is not as wanted. Then it is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No socket for nf_tables.
    #[error("open a netlink socket for nf_tables")]
    Open(#[source] io::Error),
    /// The transaction could not be sent, or its answer not be read.
    #[error("send a transaction to nf_tables")]
    Exchange(#[source] io::Error),
    /// The kernel refused a part of the transaction, and so the whole.
    #[error("change the {what} of table inet {TABLE}{}", explained(explanation.as_deref()))]
    Refused {
        /// What it refused.
        what: &'static str,
        /// The kernel's own words (extended acknowledgement).
        explanation: Option<String>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel neither acknowledged nor refused.
    #[error("change table inet {TABLE}: the kernel gave no answer")]
    Unanswered,
}

fn explained(explanation: Option<&str>) -> String {
    explanation.map(|text| format!(" (\"{text}\")")).unwrap_or_default()
}

impl FilterError {
    /// The kind of failure, from a closed set, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Exchange(_) => "exchange",
            Self::Refused { .. } => "refused",
            Self::Unanswered => "unanswered",
        }
    }

    /// What would be right on this host, where that is known.
    pub fn remedy(&self) -> Option<&'static str> {
        let (Self::Open(source) | Self::Exchange(source) | Self::Refused { source, .. }) = self else {
            return None;
        };
        match source.raw_os_error()? {
            libc::EPERM | libc::EACCES => {
                Some("give the speaker CAP_NET_ADMIN in the host's network namespace")
            }
            libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::ENOENT => Some(
                "load the kernel's modules nf_tables, nft_ct, nft_limit, nft_reject_inet, nft_fib_inet and, for \
                 echoReply, nft_chain_nat and nft_redir (Linux 5.9 or newer)",
            ),
            _ => None,
        }
    }
}

/// A host's packet filter.
pub trait PacketFilter {
    /// Brings our table to what is wanted, in one step: no packet meets a half of it. An empty one is taken away.
    /// Blocks while the kernel works, behind other programs' transactions where there are any.
    ///
    /// # Errors
    /// See [`FilterError`]. The next call then writes the whole table, whatever is there.
    fn replace(&mut self, wanted: &FilterTable) -> Result<Replaced, FilterError>;

    /// Forgets what our table holds, because somebody else changed it: the next call writes it whole.
    fn forget(&mut self);
}

/// Watches over our table.
pub trait TableWatch {
    /// Waits until somebody else changed the table, or may have. Cancelling it loses nothing.
    ///
    /// # Errors
    /// The watch has broken and has to be made anew.
    fn disturbed(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

#[cfg(test)]
mod tests;
