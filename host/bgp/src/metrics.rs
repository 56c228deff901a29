//! What a peer counts. All counters start at zero with the [`Peer`](crate::Peer) and never fall.

use serde::Serialize;

/// Counters of one peer over all its sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Messages of every type handed to the transport.
    pub messages_sent: u64,
    /// UPDATE messages handed to the transport, End-of-RIB markers included.
    pub updates_sent: u64,
    /// Octets handed to the transport.
    pub octets_sent: u64,
    /// Prefixes announced, repetitions included.
    pub prefixes_announced: u64,
    /// Prefixes withdrawn.
    pub prefixes_withdrawn: u64,
    /// End-of-RIB markers sent (RFC 4724 §2): one per family and session.
    pub end_of_ribs_sent: u64,
    /// Messages of every type received and decoded.
    pub messages_received: u64,
    /// UPDATE messages received.
    pub updates_received: u64,
    /// Octets received.
    pub octets_received: u64,
    /// Prefixes announced by the neighbour: counted and dropped.
    pub prefixes_received: u64,
    /// Received UPDATEs treated as withdrawals (RFC 7606 §2).
    pub treated_as_withdraw: u64,
    /// Received attributes discarded (RFC 7606 §2).
    pub attributes_discarded: u64,
    /// ROUTE-REFRESH requests answered (RFC 2918).
    pub refreshes_answered: u64,
    /// Sessions that reached Established.
    pub established: u64,
    /// Established sessions that ended.
    pub downs: u64,
    /// How often BFD lost the path to the neighbour (RFC 9384).
    pub bfd_downs: u64,
    /// Connections closed by collision detection (RFC 4271 §6.8).
    pub collisions: u64,
    /// Dials started.
    pub dials: u64,
    /// Dials that failed.
    pub dial_failures: u64,
}
