//! `bellhop-compiler`: turns one policy module into native code, in a process that has nothing to lose.
//!
//! Started by `bellhop-sandbox` for each module, never by hand. It limits itself before it reads anything
//! ([`confine`]), reads one request from standard input, and writes one reply to standard output; the frames are
//! `bellhop_sandbox::protocol`. Compiling is the dangerous step with a hostile module (a 6 KB upload can cost 34 s and
//! 2.4 GB), so it is checked before ([`check`]) and dies alone where the checks miss something.
//!
//! ```text
//! stdin ──► confine ──► inflate, sha256 ──► check ──► wit-component ──► check ──► Cranelift ──► stdout
//! ```
//! It deliberately has no other input (no file, no environment, no network), no cache and no log.

#![forbid(unsafe_code)]

mod check;
mod compile;
mod confine;
mod inflate;
mod refusal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let memory = match arguments.as_slice() {
        [flag, bytes] if flag == "--memory-limit" => bytes.parse::<u64>().ok(),
        _ => None,
    };
    let Some(memory) = memory else {
        eprintln!("usage: bellhop-compiler --memory-limit BYTES (bellhop starts it for each policy module)");
        return ExitCode::from(2);
    };
    let served = confine::confine(memory).and_then(|()| compile::serve());
    served.map_or_else(|error| compile::fail(&error), |()| ExitCode::SUCCESS)
}
