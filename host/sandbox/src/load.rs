//! From the bytes of a ConfigMap to a guest that serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellhop_policy_engine::guest::{Guest, GuestError};

use crate::command::{CompilerCommand, Output};
use crate::engine;
use crate::guest::{ContractError, SandboxGuest};
use crate::limits::{self, Limits};
use crate::native::deserialize;
use crate::protocol::{Refusal, Stage};
use crate::selftest;

/// Why a module does not serve: the stage that it did not pass, why for machines, why for people.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{stage}: {message}")]
pub struct LoadError {
    /// The stage that it did not pass.
    pub stage: Stage,
    /// Why, from a closed set.
    pub refusal: Refusal,
    /// Why, naming what was found and what would be right; one sentence without a full stop.
    pub message: String,
    /// Version that the module's metadata names; empty where it was refused before that was read.
    pub version: String,
}

impl LoadError {
    pub(crate) fn new(stage: Stage, refusal: Refusal, message: impl Into<String>) -> Self {
        Self { stage, refusal, message: message.into(), version: String::new() }
    }

    /// Metric label and condition reason, from a closed set.
    pub fn category(&self) -> &'static str {
        self.refusal.as_str()
    }

    /// True where the machine and not the module was at fault, so that another try may end differently.
    pub fn transient(&self) -> bool {
        self.refusal.transient()
    }
}

/// A guest that passed every stage.
#[derive(Debug)]
pub struct Loaded {
    /// The guest.
    pub guest: SandboxGuest,
    /// How long verifying, checking and compiling took, the process's start included.
    pub compile_time: Duration,
}

/// Verifies, checks, compiles, configures and self-tests one module.
///
/// `module` is what the ConfigMap holds, raw or zstd; `sha256` is of the uncompressed module; `config` is the policy's
/// config as JSON text. Blocks for some 0.2 s with an ordinary module; never call it from the task that owns sessions.
/// Compiles happen one at a time, whoever asks.
///
/// # Errors
/// Where a stage refuses it: which one, and why.
pub fn load(
    module: &[u8],
    sha256: &str,
    config: &Arc<str>,
    limits: Limits,
    compiler: &CompilerCommand,
) -> Result<Loaded, LoadError> {
    check_inputs(module, sha256, config, compiler)?;
    let started = Instant::now();
    let output = compiler.compile(module, sha256)?;
    let compile_time = started.elapsed();
    let version = output.metadata.version.clone();
    match guest(output, sha256, config, limits, compiler) {
        Ok(guest) => Ok(Loaded { guest, compile_time }),
        Err(error) => Err(LoadError { version, ..error }),
    }
}

/// Instantiates, configures and self-tests what was compiled.
fn guest(
    output: Output,
    sha256: &str,
    config: &Arc<str>,
    limits: Limits,
    compiler: &CompilerCommand,
) -> Result<SandboxGuest, LoadError> {
    let runtime = engine::runtime()
        .map_err(|message| LoadError::new(Stage::Compiled, Refusal::Infrastructure, message))?;
    let component = deserialize(&runtime.engine, &output.code).map_err(|error| {
        LoadError::new(
            Stage::Compiled,
            Refusal::CompilerFailed,
            format!(
                "the native code of {} does not fit this program: {error:#}; both must be of one release",
                compiler.path().display()
            ),
        )
    })?;
    drop(output.code);

    let guest =
        SandboxGuest::new(runtime, &component, output.metadata, Arc::from(sha256), config.clone(), limits)
            .map_err(|error| {
                let refusal = match error {
                    ContractError::Import(_) => Refusal::ForeignImport,
                    ContractError::Missing { .. } => Refusal::Contract,
                };
                LoadError::new(Stage::Checked, refusal, error.to_string())
            })?;
    guest.check_types().map_err(|error| match error {
        GuestError::InvalidAnswer { .. } => failed(Stage::Checked, Refusal::Contract, &error),
        // The instance could not even be made.
        _ => failed(Stage::Configured, Refusal::Failed, &error),
    })?;
    configured(&guest)?;
    selftest::run(&guest)?;
    Ok(guest)
}

/// What needs neither a process nor the runtime.
fn check_inputs(
    module: &[u8],
    sha256: &str,
    config: &str,
    compiler: &CompilerCommand,
) -> Result<(), LoadError> {
    let refuse = |stage, refusal, message| Err(LoadError::new(stage, refusal, message));
    let hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if sha256.len() != 64 || !sha256.bytes().all(hex) {
        return refuse(
            Stage::Verified,
            Refusal::DigestMalformed,
            format!("\"{}\" is no sha256: 64 lower-case hex digits are right", crate::abi::shown(sha256)),
        );
    }
    let most = compiler.checks().stored_bytes;
    if module.len() as u64 > most {
        return refuse(
            Stage::Checked,
            Refusal::TooLarge,
            format!("the module has {} bytes as it is stored; at most {most} are taken", module.len()),
        );
    }
    if config.len() > limits::CONFIG_BYTES {
        return refuse(
            Stage::Configured,
            Refusal::Config,
            format!("the config has {} bytes; at most {} are taken", config.len(), limits::CONFIG_BYTES),
        );
    }
    Ok(())
}

/// Runs `configure` once, as every call will.
fn configured(guest: &SandboxGuest) -> Result<(), LoadError> {
    guest.configure().result.map_err(|error| {
        let refusal = match error {
            GuestError::Config(_) => Refusal::Config,
            _ => Refusal::Failed,
        };
        failed(Stage::Configured, refusal, &error)
    })
}

/// A failed call as a refusal; the machine's faults stay the machine's.
pub(crate) fn failed(stage: Stage, refusal: Refusal, error: &GuestError) -> LoadError {
    let refusal = if error.deterministic() { refusal } else { Refusal::Infrastructure };
    LoadError::new(stage, refusal, error.to_string())
}
