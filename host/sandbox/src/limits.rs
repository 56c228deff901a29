//! Every bound of a call and of a module, with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Fuel of one `address` or `route` decision: 1.9 ms of an endless loop; real policies use 10 k to 40 k.
pub const FUEL_PER_CALL: u64 = 10_000_000;

/// Fuel that a `nodes` decision gets beside [`FUEL_PER_CALL`] for each node asked about; real policies use 3 k to 12 k.
pub const FUEL_PER_NODE: u64 = 50_000;

/// Fuel of `configure`, which every call runs first on its fresh instance: 9 ms of an endless loop. What it uses is
/// the same each time, as its only input is the config.
pub const FUEL_CONFIGURE: u64 = 50_000_000;

/// Fuel of one self-test's decision.
pub const FUEL_SELF_TEST: u64 = 50_000_000;

/// Memory of an instance in bytes, unless the policy says otherwise; real policies use 0.25 to 1.1 MiB.
pub const MEMORY: u64 = 16 << 20;

/// Most memory that a policy may be given: what the API allows, and what an instance's address space holds.
pub const MEMORY_MAX: u64 = 64 << 20;

/// Fuel of one `memory.grow` or `table.grow`, which are calls into the host and not one instruction: the most that the
/// runtime can charge.
pub const FUEL_PER_GROWTH: u8 = u8::MAX;

/// Elements of all tables of an instance; Rust's function tables have a few hundred.
pub const TABLE_ELEMENTS: usize = 20_000;

/// Stack of an instance in bytes: an endless recursion ends after 1 ms.
pub const STACK: usize = 512 << 10;

/// Bytes that one answer, or one log line, may make the host copy. The runtime's own default of 128 MiB would let one
/// call grow the host by 130 MB.
pub const HOSTCALL_BYTES: usize = 1 << 20;

/// Lines that one call may log; the rest is dropped and counted.
pub const LOG_LINES: usize = 64;

/// Bytes that one call may log; the rest is dropped and counted.
pub const LOG_BYTES: usize = 16 << 10;

/// Fuel that a log call costs beside its instructions, so that a module cannot buy host time with cheap calls.
pub const FUEL_PER_LOG_LINE: u64 = 1_000;

/// CPU time after which a call whose fuel has not run out is ended: ten times what the largest budget takes on the
/// machine measured. Whoever is ended by it was on a machine too slow, so it is nobody's fault and is retried once.
pub const CPU_BACKSTOP: Duration = Duration::from_millis(100);

/// Fuel that [`CPU_BACKSTOP`] is meant for: configure, and one decision about 256 nodes. A policy with a larger
/// budget gets more time in proportion, so that fuel always decides first.
pub const CPU_BACKSTOP_FUEL: u64 = FUEL_CONFIGURE + FUEL_PER_CALL + NODES_PER_CALL as u64 * FUEL_PER_NODE;

/// Nodes of one question of the `nodes` hook.
pub const NODES_PER_CALL: usize = 256;

/// Bytes of a note or reason.
pub const TEXT_BYTES: usize = 256;

/// Bytes of an error that a policy returns; what is beyond is cut off.
pub const ERROR_BYTES: usize = 1024;

/// Alternatives of one answer of the `address` hook: four times the candidates of a pool.
pub const ALTERNATIVES: usize = 64;

/// Bytes of a module as it is stored: what fits a ConfigMap.
pub const MODULE_STORED_BYTES: usize = 1 << 20;

/// Bytes of config; the API's own bound.
pub const CONFIG_BYTES: usize = 64 << 10;

/// Self-tests of one module: at 50 M fuel each they end within half a second.
pub const SELF_TESTS: usize = 32;

/// Limits that a policy may set (`spec.limits` of a DecisionPolicy); `None` is the default above.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// In place of [`FUEL_PER_CALL`].
    pub fuel: Option<u64>,
    /// In place of [`MEMORY`], in bytes, at most [`MEMORY_MAX`].
    pub memory: Option<u64>,
}

impl Limits {
    /// Fuel of a decision about `nodes` nodes; 0 for the hooks that are not about nodes.
    pub fn fuel(&self, nodes: usize) -> u64 {
        self.fuel.unwrap_or(FUEL_PER_CALL).saturating_add(FUEL_PER_NODE.saturating_mul(nodes as u64))
    }

    /// Memory of an instance in bytes.
    pub fn memory(&self) -> u64 {
        self.memory.unwrap_or(MEMORY).min(MEMORY_MAX)
    }
}
