//! The one wasmtime configuration that compiler and runtime agree on, and the process-wide runtime made of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::{Linker, WasmStr};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig, StoreContextMut, Trap,
    WasmFeatures,
};

use crate::abi::Level;
use crate::backstop::Ticker;
use crate::limits;
use crate::store::Host;

/// Versions of the interfaces that the host provides and asks for.
pub mod interface {
    /// Imported: the host's services.
    pub const HOST: &str = "bellhop:policy-base/host@0.1.0";
    /// Imported by components that use its types; it has no functions.
    pub const TYPES: &str = "bellhop:policy-base/types@0.1.0";
    /// Exported by every policy.
    pub const LIFECYCLE: &str = "bellhop:policy-base/lifecycle@0.1.0";
    /// Exported by policies with the `address` hook.
    pub const ADDRESS: &str = "bellhop:policy-address/address@0.1.0";
    /// Exported by policies with the `nodes` hook.
    pub const NODES: &str = "bellhop:policy-nodes/nodes@0.1.0";
    /// Exported by policies with the `route` hook.
    pub const ROUTE: &str = "bellhop:policy-route/route@0.1.0";
}

/// Kept resident per slot: 256 KiB cover a whole small instance, so that reusing its slot is a `memset` and not a
/// `madvise` under the kernel's lock; naive pooling gets slower with a second thread.
const KEEP_RESIDENT: usize = 256 << 10;

/// Calls that run at once on the pool: twice the workers that a process has, and room for loading.
const INSTANCES: u32 = 2 * crate::workers::THREADS_MAX as u32 + 8;

/// A component is up to four core instances: the module, and wit-component's shims for its imports.
const CORE_INSTANCES_PER_COMPONENT: u32 = 4;

/// WebAssembly features that are switched off: what no policy needs, is young, or is not deterministic.
pub fn features_off() -> WasmFeatures {
    WasmFeatures::THREADS
        | WasmFeatures::SHARED_EVERYTHING_THREADS
        | WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::GC
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::STACK_SWITCHING
}

/// What both sides must agree on, as native code says what it was compiled for and is refused by any other engine.
pub fn config() -> Config {
    let mut cost = OperatorCost::new();
    cost.MemoryGrow = limits::FUEL_PER_GROWTH;
    cost.TableGrow = limits::FUEL_PER_GROWTH;
    let mut config = Config::new();
    config
        .wasm_features(features_off(), false)
        .wasm_component_model(true)
        .consume_fuel(true)
        .operator_cost(cost)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(limits::STACK)
        // Address space per instance; with the default of 4 GiB a pool would not fit a container's limits.
        .memory_reservation(limits::MEMORY_MAX)
        .memory_init_cow(true);
    config
}

/// The engine of this process, its pool, what modules may import, and the ticker of the backstop.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) ticker: Ticker,
}

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
static STARTED: AtomicBool = AtomicBool::new(false);

/// True once anything of wasmtime has run in this process: after the first module was compiled for it, never before.
pub fn runtime_started() -> bool {
    STARTED.load(Ordering::Acquire)
}

/// The runtime, started on first use.
pub(crate) fn runtime() -> Result<&'static Runtime, String> {
    RUNTIME
        .get_or_init(|| {
            STARTED.store(true, Ordering::Release);
            Runtime::start().map_err(|error| format!("the WebAssembly runtime does not start: {error:#}"))
        })
        .as_ref()
        .map_err(Clone::clone)
}

impl Runtime {
    fn start() -> wasmtime::Result<Self> {
        let engine = match Engine::new(&pooled()) {
            Ok(engine) => engine,
            // A container may forbid the address space that a pool reserves; single instances then cost four times
            // as much, and nothing else changes.
            Err(_) => Engine::new(&config())?,
        };
        let mut linker = Linker::new(&engine);
        linker.instance(interface::HOST)?.func_wrap("log", log)?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self { engine, linker, ticker })
    }
}

fn pooled() -> Config {
    let core_instances = INSTANCES * CORE_INSTANCES_PER_COMPONENT;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES)
        .total_core_instances(core_instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .total_memories(INSTANCES)
        .max_memories_per_component(1)
        .max_memory_size(usize::try_from(limits::MEMORY_MAX).unwrap_or(usize::MAX))
        .total_tables(core_instances)
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT)
        .table_elements(limits::TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// `bellhop:policy-base/host` `log`: kept for the caller up to its bounds, dropped and counted beyond them.
fn log(mut store: StoreContextMut<'_, Host>, (level, message): (Level, WasmStr)) -> wasmtime::Result<()> {
    let left = store.get_fuel()?;
    let Some(left) = left.checked_sub(limits::FUEL_PER_LOG_LINE) else {
        store.set_fuel(0)?;
        return Err(Trap::OutOfFuel.into());
    };
    store.set_fuel(left)?;
    let level = level.into();
    if store.data().log.ignores(level) {
        store.data_mut().log.drop_line();
        return Ok(());
    }
    let line = match message.to_str(&store) {
        Ok(text) => text.into_owned(),
        Err(_) => "(a line that is not valid UTF-8)".to_owned(),
    };
    store.data_mut().log.push(level, &line);
    Ok(())
}
