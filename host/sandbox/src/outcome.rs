//! What a failed call means, by the type of the runtime's error and never by its text.

use bellhop_policy_engine::guest::GuestError;
use wasmtime::{Error, Trap, WasmBacktrace};

use crate::store::{Host, MemoryRefused, shortened};
use crate::{abi, limits};

/// Which part of a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Making the instance: the module itself has little part in it.
    Instantiate,
    /// Running it, passing it the question or taking its answer.
    Run,
}

/// The outcome that an error of the runtime stands for. `fuel` is the budget that the failed part had.
pub(crate) fn classified(error: &Error, phase: Phase, fuel: u64, memory: u64, host: &Host) -> GuestError {
    if error.is::<MemoryRefused>() {
        return GuestError::MemoryLimit { limit: memory };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => GuestError::OutOfFuel { limit: fuel },
        Some(Trap::StackOverflow) => GuestError::StackOverflow,
        Some(Trap::Interrupt) => GuestError::Infrastructure(format!(
            "{} ms of CPU time were not enough for {fuel} units of fuel",
            host.cpu_time().as_millis()
        )),
        Some(trap) => GuestError::Trap(trap_text(error, *trap, host)),
        None if phase == Phase::Instantiate => GuestError::Infrastructure(format!("{error:#}")),
        None if is_message(error) => abi::invalid(
            "answer",
            format!("{}; the contract's form is right", abi::shown(&format!("{error:#}"))),
        ),
        // The runtime keeps the type of this one to itself. It is the one typed error that passing values can end
        // in, beside those that `is_message` knows; hostile guests in `tests/` hold it to that.
        None => GuestError::OutputTooLarge,
    }
}

/// True for errors of passing values that say that a value has not the contract's form: out of bounds, misaligned, an
/// unknown case, a text that is not UTF-8.
fn is_message(error: &Error) -> bool {
    error.is::<&'static str>()
        || error.is::<String>()
        || error.is::<std::str::Utf8Error>()
        || error.is::<std::char::DecodeUtf16Error>()
        || error.is::<std::num::TryFromIntError>()
}

/// What a person can act on: the line that the SDK's panic hook logged, else the trap and the function it was in.
fn trap_text(error: &Error, trap: Trap, host: &Host) -> String {
    if let Some(line) = host.log.last_error() {
        return line.to_owned();
    }
    let function = error.downcast_ref::<WasmBacktrace>().and_then(|backtrace| {
        backtrace.frames().iter().find_map(|frame| frame.func_name().map(str::to_owned))
    });
    match function {
        Some(name) => format!("{trap} in {}", shortened(&name, limits::TEXT_BYTES)),
        None => trap.to_string(),
    }
}
