//! The tools of the `bellhop` binary: what operators ask a speaker, and what plugin authors build with.
//!
//! Every tool takes `-o table|json|yaml` and exits 0 (fine), 1 (what was asked does not hold) or 2 (wrong usage, or
//! the speaker cannot be reached). Nothing here decides anything: answers come from a speaker over its Unix socket.
//!
//! ```text
//! status | routes | explain ──► client ──► /run/bellhop/bellhop.sock ──► Answer ──► output (table, json, yaml)
//! validate: a folder of manifests, read as a speaker reads it
//! plugin build | pack | inspect | new, crds: files only
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod explain;
pub mod output;
pub mod plugin;
pub mod routes;
pub mod status;
pub mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use bellhop_core::report::{Answer, Question};
use clap::{Args, Subcommand};

use output::Format;

/// Where a speaker listens for its tools.
pub const DEFAULT_SOCKET: &str = "/run/bellhop/bellhop.sock";

/// Exit code for "what was asked does not hold".
const DOES_NOT_HOLD: u8 = 1;
/// Exit code for wrong usage and for a speaker that cannot be reached.
const WRONG_USAGE: u8 = 2;

/// The tools.
#[derive(Subcommand, Debug)]
pub enum Tool {
    /// Show the state of this node: peers, Services, pools, policies and what is wrong.
    Status(Asking),
    /// Show what each peer is to hear, with attributes.
    Routes {
        /// Show this peer only.
        #[arg(long)]
        peer: Option<String>,
        /// Where to ask, and how to print.
        #[command(flatten)]
        asking: Asking,
    },
    /// Show how decisions came about: pools considered, policies asked, what each peer hears.
    Explain {
        /// What to explain: service/NAMESPACE/NAME.
        #[arg(value_name = "service/NAMESPACE/NAME")]
        object: String,
        /// Where to ask, and how to print.
        #[command(flatten)]
        asking: Asking,
    },
    /// Check a folder of manifests without running anything: exits 1 where something is wrong.
    Validate(validate::ValidateArguments),
    /// Write the CustomResourceDefinitions, to standard output or as files.
    Crds {
        /// Write one file per kind into this folder.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Make and look at plugins.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
}

/// How a speaker is asked and its answer printed.
#[derive(Args, Debug)]
pub struct Asking {
    /// The speaker's socket.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Runs a tool to its end.
pub fn run(tool: Tool) -> ExitCode {
    match tool {
        Tool::Status(asking) => answer(&asking, &Question::Status),
        Tool::Routes { peer, asking } => answer(&asking, &Question::Routes { peer }),
        Tool::Explain { object, asking } => match explain::question(&object) {
            Ok(question) => answer(&asking, &question),
            Err(message) => fail(WRONG_USAGE, &message),
        },
        Tool::Validate(arguments) => validate::run(&arguments),
        Tool::Crds { dir } => crds(dir),
        Tool::Plugin(command) => plugin::run(command),
    }
}

/// Asks and prints; the exit code says whether all is well with what was asked about.
fn answer(asking: &Asking, question: &Question) -> ExitCode {
    let answer = match client::ask(&asking.socket, question) {
        Ok(answer) => answer,
        Err(error) => return fail(WRONG_USAGE, &error.to_string()),
    };
    let table = match &answer {
        Answer::Status(status) => status::table(status, output::width()),
        Answer::Routes(rows) => routes::table(rows),
        Answer::Service(explanation) => explain::table(explanation),
        Answer::NotFound(message) => return fail(DOES_NOT_HOLD, message),
        Answer::BadQuestion(message) => return fail(WRONG_USAGE, message),
    };
    let printed = match &answer {
        Answer::Status(status) => output::print(asking.output, status, &table),
        Answer::Routes(rows) => output::print(asking.output, rows, &table),
        Answer::Service(explanation) => output::print(asking.output, explanation, &table),
        Answer::NotFound(_) | Answer::BadQuestion(_) => Ok(()),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(WRONG_USAGE, &message),
    }
}

fn crds(dir: Option<PathBuf>) -> ExitCode {
    let files = bellhop_api::crds_yaml();
    let Some(dir) = dir else {
        let documents: Vec<String> = files.into_iter().map(|(_, yaml)| yaml).collect();
        output::stdout(&documents.join("---\n"));
        return ExitCode::SUCCESS;
    };
    for (name, yaml) in files {
        let path = dir.join(name);
        if let Err(error) = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, yaml)) {
            return fail(WRONG_USAGE, &format!("cannot write {}: {error}", path.display()));
        }
    }
    ExitCode::SUCCESS
}

/// Says on standard error what went wrong.
pub(crate) fn fail(code: u8, message: &str) -> ExitCode {
    output::stderr(&format!("bellhop: {message}\n"));
    ExitCode::from(code)
}
