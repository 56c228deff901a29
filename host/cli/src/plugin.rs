//! What a plugin's author does: start a project, build it, look at the module, pack it for a cluster.
//!
//! ```text
//! new ──► a project with the SDK beside it ──► build ──► NAME.wasm ──► inspect
//!                                                             └──────► pack ──► ConfigMap + DecisionPolicy
//! ```
//!
//! Nothing here runs a module: what is said of one is read from its sections.

pub mod build;
pub mod module;
pub mod new;
pub mod pack;
mod sdk;
pub mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::output::{self, Format};
use crate::{DOES_NOT_HOLD, WRONG_USAGE, fail};
use module::Module;

/// The author's tools.
#[derive(Subcommand, Debug)]
pub enum PluginCommand {
    /// Start a plugin: a complete project that builds, with a test and the SDK beside it.
    New {
        /// Name of the plugin, and of the folder that is made for it.
        name: String,
        /// The decision it takes.
        #[arg(long, value_enum, default_value_t = HookName::Route)]
        hook: HookName,
        /// Make the folder in here.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Build a plugin's crate as a module.
    Build(BuildArguments),
    /// Print the ConfigMap that carries a module, and a DecisionPolicy that uses it.
    Pack(pack::PackArguments),
    /// Say what a module is, without running it.
    Inspect {
        /// A module: `.wasm`, or compressed by zstd.
        module: PathBuf,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
}

/// What to build.
#[derive(Args, Debug)]
pub struct BuildArguments {
    /// Folder of the plugin's crate.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to write the module; `NAME.wasm` in the crate's folder without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the compiler optimises for.
    #[arg(long, value_enum, default_value_t = build::Optimise::Speed)]
    optimise: build::Optimise,
    /// How to print what was built.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// A decision, as it is named on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum HookName {
    /// Which address a Service gets.
    Address,
    /// Which nodes may announce it.
    Nodes,
    /// With which attributes each peer hears of it.
    Route,
}

impl From<HookName> for bellhop_api::Hook {
    fn from(hook: HookName) -> Self {
        match hook {
            HookName::Address => Self::Address,
            HookName::Nodes => Self::Nodes,
            HookName::Route => Self::Route,
        }
    }
}

/// Runs one of the tools.
pub fn run(command: PluginCommand) -> ExitCode {
    match command {
        PluginCommand::New { name, hook, dir } => match new::create(&dir, &name, hook) {
            Ok(folder) => {
                output::stdout(&new::next_steps(&folder, &name));
                ExitCode::SUCCESS
            }
            Err(error) => fail(WRONG_USAGE, &error.to_string()),
        },
        PluginCommand::Build(arguments) => build_and_report(&arguments),
        PluginCommand::Pack(arguments) => pack::run(&arguments),
        PluginCommand::Inspect { module, output } => match read_module(&module) {
            Ok(module) => {
                let report = ModuleReport::new(None, &module);
                let code = print(output, &report, &report.table());
                if module.problems.is_empty() { code } else { ExitCode::from(DOES_NOT_HOLD) }
            }
            Err(message) => fail(WRONG_USAGE, &message),
        },
    }
}

fn build_and_report(arguments: &BuildArguments) -> ExitCode {
    let toolchain = match toolchain::find(&arguments.dir) {
        Ok(toolchain) => toolchain,
        Err(error) => return fail(WRONG_USAGE, &error.to_string()),
    };
    let wanted = build::Wanted { optimise: arguments.optimise, ..build::Wanted::plugin(&arguments.dir) };
    let built = match build::build(&toolchain, &wanted) {
        Ok(built) => built,
        Err(error) => return fail(DOES_NOT_HOLD, &error.to_string()),
    };
    let module = match Module::read(&built.bytes) {
        Ok(module) => module,
        Err(error) => return fail(DOES_NOT_HOLD, &format!("the module that was built: {error}")),
    };
    if let Some(problem) = module.problems.first() {
        return fail(DOES_NOT_HOLD, &format!("the module that was built: {problem}"));
    }
    let path = arguments.out.clone().unwrap_or_else(|| arguments.dir.join(format!("{}.wasm", built.package)));
    if let Err(error) = std::fs::write(&path, &built.bytes) {
        return fail(WRONG_USAGE, &format!("cannot write {}: {error}", path.display()));
    }
    let report = ModuleReport::new(Some(&path), &module);
    print(arguments.output, &report, &report.table())
}

/// Reads a module from a file, raw or compressed.
///
/// # Errors
/// In words, with the file's name.
pub(crate) fn read_module(path: &Path) -> Result<Module, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let bytes = module::inflate(bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Module::read(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn print<T: Serialize>(format: Format, value: &T, table: &str) -> ExitCode {
    match output::print(format, value, table) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(WRONG_USAGE, &message),
    }
}

/// What is printed of a module.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct ModuleReport<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(flatten)]
    module: &'a Module,
}

impl<'a> ModuleReport<'a> {
    fn new(path: Option<&Path>, module: &'a Module) -> Self {
        Self { path: path.map(|path| path.display().to_string()), module }
    }

    fn table(&self) -> String {
        let module = self.module;
        let metadata = &module.metadata;
        let hooks: Vec<String> = metadata.hooks.iter().map(ToString::to_string).collect();
        let mut rows = vec![
            ("Plugin", format!("{} {}", metadata.name, metadata.version)),
            ("SDK", metadata.sdk.clone()),
            ("Hooks", hooks.join(", ")),
            ("Inputs", module.inputs().join(", ")),
            ("Self-tests", metadata.self_tests.len().to_string()),
            ("Size", format!("{} bytes, {} compressed", module.size, module.compressed)),
            ("Memory", format!("{} KiB at the start", module.memory / 1024)),
            ("SHA-256", module.sha256.clone()),
            ("Imports", module.imports.join(", ")),
            ("Exports", module.exports.join(", ")),
        ];
        rows.extend(self.path.clone().map(|path| ("Module", path)));
        rows.extend(module.problems.iter().map(|problem| ("Problem", problem.clone())));
        let value = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        rows.iter().map(|(name, text)| format!("{:<12}{}\n", format!("{name}:"), value(text))).collect()
    }
}

#[cfg(test)]
mod tests;
