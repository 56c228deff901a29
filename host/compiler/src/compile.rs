//! One request in, one reply out.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use bellhop_sandbox::protocol::{Reply, Request, read_frame, write_frame};
use bellhop_sandbox::{Refusal, Stage, engine};
use wasmtime::{Engine, OptLevel};
use wit_component::ComponentEncoder;

use crate::check::Survey;
use crate::inflate;
use crate::refusal::Refused;

/// Most bytes of a stored module that are read at all; the request's own bounds are checked after that.
const STORED_MAX: usize = 16 << 20;

/// Reads the request, does what it asks, writes the reply.
pub(crate) fn serve() -> io::Result<()> {
    let (request, stored) = read_frame::<Request>(&mut io::stdin().lock(), STORED_MAX)?;
    // A panic of the compiler is an answer too; its text goes to the parent and not to a log of our own.
    panic::set_hook(Box::new(|_| {}));
    let outcome =
        panic::catch_unwind(AssertUnwindSafe(|| compiled(stored, &request))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no text");
            Err(Refused::new(
                Stage::Compiled,
                Refusal::CompilerFailed,
                format!("the compiler failed: {text}"),
            ))
        });
    let (reply, code) = outcome.unwrap_or_else(|Refused { stage, refusal, message }| {
        (Reply::Refused { stage, refusal, message }, Vec::new())
    });
    write_frame(&mut io::stdout().lock(), &reply, &code)
}

/// What cannot even be replied goes to standard error, for whoever runs this by hand.
pub(crate) fn fail(error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "bellhop-compiler: {error}");
    ExitCode::FAILURE
}

fn compiled(stored: Vec<u8>, request: &Request) -> Result<(Reply, Vec<u8>), Refused> {
    let checks = &request.checks;
    let module = inflate::module(stored, request)?;
    let survey = Survey::of(&module, checks)?;
    survey.check_imports()?;
    let metadata = survey.metadata()?;
    let component = if survey.component { module } else { encoded(&module)? };
    // Again, as the encoder adds imports and shims of its own.
    let survey = Survey::of(&component, checks)?;
    survey.check_imports()?;
    let hooks = survey.hooks(&metadata)?;
    let code = native(&component).map_err(|error| {
        Refused::new(
            Stage::Compiled,
            Refusal::CompilerFailed,
            format!("the module does not compile: {error:#}"),
        )
    })?;
    Ok((Reply::Compiled { metadata: Box::new(metadata), hooks }, code))
}

/// The component of a core module, by the types that its own custom sections carry.
fn encoded(module: &[u8]) -> Result<Vec<u8>, Refused> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            let message = format!("the module is no policy of this contract: {error:#}");
            Refused::checked(Refusal::Contract, message)
        })
}

fn native(component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let mut config = engine::config();
    // The same result of a floating-point operation on every processor.
    config.cranelift_opt_level(OptLevel::Speed).cranelift_nan_canonicalization(true);
    Engine::new(&config)?.precompile_component(component)
}
