//! The one thing that the host does for a policy: it takes lines for the operator's log.

pub use crate::bindings::bellhop::policy_base::host::Level;

/// Writes a line to the operator's log; at most 64 lines and 16 KiB a call are kept. Natively it goes to standard
/// error.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::bellhop::policy_base::host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Makes a panic's place and message reach the operator before the module traps.
#[cfg(target_arch = "wasm32")]
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        match info.location() {
            Some(place) => log(Level::Error, &format!("panicked at {place}: {message}")),
            None => log(Level::Error, &format!("panicked: {message}")),
        }
    }));
}

/// Writes a formatted line to the operator's log: `log!(Info, "weight {weight}")`; levels are `Debug`, `Info`, `Warn`
/// and `Error`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($text:tt)+) => {
        $crate::log_line($crate::Level::$level, &::std::format!($($text)+))
    };
}
