//! Addresses that this host serves itself: bound so that its sockets get their traffic, and so that nothing else of the
//! host changes.
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | bound as | a /32 on `lo` with scope host | a /128 route of type local on `lo`, table local |
//! | never a source of the host's own | scope host is narrower than any destination asks for | it is no address of any interface |
//! | expires by itself | valid lifetime | route expiry |
//! | known again after a restart by | the label [`LABEL`] | the route protocol [`ROUTE_PROTOCOL`] |
//! | not answered on the wire | `arp_ignore` 3 where it was 0 | the kernel answers for addresses of the interface only |
//!
//! IPv6 is not bound as an address. One with preferred lifetime 0 is deprecated, but RFC 6724 compares scopes (rule 2)
//! before deprecation (rule 3): on a host whose links have link-local addresses only, the kernel takes the deprecated
//! address for every destination beyond the link. A local route is never a candidate. What it costs: a server that
//! binds the address itself, rather than `::`, needs `IPV6_FREEBIND` or `net.ipv6.ip_nonlocal_bind`.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

mod fake;
mod loopback;

pub use fake::FakeBinder;
pub use loopback::LoopbackBinder;

/// How long an address outlives the process that bound it: longer than a restart takes, longer than the default restart
/// time of graceful restart (120 s), short enough that a host that lost its speaker for good soon stops serving.
pub const LIFETIME: Duration = Duration::from_secs(180);

/// Label of the IPv4 addresses that are ours. Every kernel keeps it, other than `IFA_PROTO` (Linux 5.18).
pub const LABEL: &str = "lo:bellhop";

/// `rtm_protocol` of the IPv6 routes that are ours; free in `linux/rtnetlink.h` and in iproute2's `rt_protos`, and outside
/// the range that FRR takes for its own and sweeps when it starts (186 to 199).
pub const ROUTE_PROTOCOL: u8 = 108;

/// What [`AddressBinder::sync`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Synced {
    /// Addresses bound.
    pub added: usize,
    /// Addresses unbound: ours, and no longer wanted.
    pub removed: usize,
    /// Addresses whose lifetime was set anew; nothing else of them changed, and no packet missed them.
    pub renewed: usize,
}

/// Why the bound addresses are not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The bound addresses could not be listed; nothing was changed.
    #[error("list the addresses bound on lo")]
    List(#[source] io::Error),
    /// Some addresses could not be bound, unbound or renewed; the others were.
    #[error("{operation} {address} on lo{}", others(*more))]
    Change {
        /// What was tried, as a verb.
        operation: &'static str,
        /// With the first address that failed.
        address: IpAddr,
        /// How many failed beside it.
        more: usize,
        /// Those wanted addresses that are not bound; the other wanted ones are.
        missing: BTreeSet<IpAddr>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} other addresses)") }
}

impl BindError {
    /// The kind of failure, from a closed set, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Change { .. } => "change",
        }
    }
}

/// Binds addresses on this host.
pub trait AddressBinder {
    /// How long an address outlives the last sync, from the next one on: at least 3 s, in whole seconds.
    fn set_lifetime(&mut self, lifetime: Duration);

    /// Binds what is wanted and not bound, unbinds what is ours and not wanted, and renews lifetimes that run down. What
    /// is bound stays bound throughout. To be called at least every third of the lifetime.
    ///
    /// # Errors
    /// See [`BindError`]; one address that fails does not stop the others.
    fn sync(&mut self, wanted: &BTreeSet<IpAddr>) -> impl Future<Output = Result<Synced, BindError>> + Send;
}
