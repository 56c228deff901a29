//! The host's network: TCP sessions for BGP, addresses bound on this host, its packet filter, its interfaces.
//!
//! Each outside world is a small trait with an error-injecting fake beside it, or a plain function. Nothing here decides:
//! what to dial, bind or announce comes from the speaker, and what came of it goes back as values.
//!
//! ```text
//! speaker ─► tcp         listen, dial with source address and TTL
//!         ─► bfd         UDP with the TTL and interface that packets came with
//!         ─► addresses   bind on lo through rtnetlink, renew, find again after a restart
//!         ─► nftables    only the ports of Services pass to announced addresses
//!         ◄─ interfaces  the host's own addresses
//!         ◄► router_advertisement  who is the router on an interface
//! ```

pub mod addresses;
pub mod bfd;
mod datagram;
pub mod interfaces;
pub mod nftables;
pub mod router_advertisement;
pub mod tcp;

pub use datagram::Datagram;
