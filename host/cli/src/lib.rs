//! The tools of the `bellhop` binary: what operators ask a speaker, and what plugin authors build with.
//!
//! Every tool takes `-o table|json|yaml` and exits 0 (fine), 1 (what was asked does not hold) or 2 (wrong usage, or
//! nobody can be asked). Nothing here decides anything: answers come from a speaker over its Unix socket, or from a
//! cluster: its API server, and its speakers by exec.
//!
//! ```text
//! status | routes | explain ─┬► client ──► /run/bellhop/bellhop.sock ──► Answer ──► output (table, json, yaml)
//!                            └► cluster ─► API server, the same tool in the speakers' pods
//! policy list | show, drain ──► cluster
//! validate: a folder of manifests, or a cluster's objects, read as a speaker reads them
//! plugin build | pack | inspect | new, crds: files only
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod cluster;
pub mod explain;
pub mod output;
pub mod plugin;
pub mod routes;
pub mod status;
pub mod validate;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bellhop_core::report::{Answer, Question};
use clap::{Args, Subcommand};

use cluster::{ClusterArguments, Place};
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
    /// Show the state of a cluster or of one speaker: nodes, Services, pools, policies and what is wrong.
    Status {
        /// Leave out what is not of this node alone: Services, pools and policies.
        #[arg(long, hide = true)]
        of_node_only: bool,
        /// While something is wrong in the cluster, ask again for this long, as 60s or 2m.
        #[arg(
            long,
            value_name = "DURATION",
            default_value = "0s",
            hide_default_value = true,
            conflicts_with = "socket",
            value_parser = duration
        )]
        wait: Duration,
        /// Where to ask, and how to print.
        #[command(flatten)]
        asking: Asking,
    },
    /// Show what each peer is to hear, with attributes.
    Routes {
        /// Show this peer only.
        #[arg(long)]
        peer: Option<String>,
        /// Ask the speaker of this node only.
        #[arg(long, conflicts_with = "socket")]
        node: Option<String>,
        /// Where to ask, and how to print.
        #[command(flatten)]
        asking: Asking,
    },
    /// Show how decisions came about: pools considered, policies asked, what each peer hears.
    Explain {
        /// What to explain: service/NAMESPACE/NAME.
        #[arg(value_name = "service/NAMESPACE/NAME")]
        object: String,
        /// Ask the speaker of this node only.
        #[arg(long, conflicts_with = "socket")]
        node: Option<String>,
        /// Where to ask, and how to print.
        #[command(flatten)]
        asking: Asking,
    },
    /// Show the DecisionPolicies of a cluster.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Delete the speakers' DaemonSet, so that they drain, and wait until it is gone.
    Drain {
        /// Name of the DaemonSet.
        #[arg(long, value_name = "NAME")]
        daemonset: String,
        /// How long to wait, as 120s or 2m.
        #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
        timeout: Duration,
        /// Which cluster.
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// Check a folder of manifests, or a cluster's objects, without running anything: exits 1 where something is wrong.
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

/// What there is to see of policies.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Show all, in the order in which they are asked: version in force, version on its way, how far it is.
    List {
        /// Which cluster.
        #[command(flatten)]
        cluster: ClusterArguments,
        /// How to print the answer.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Show one: versions, conditions, and what each node has of it.
    Show {
        /// Name of the DecisionPolicy.
        name: String,
        /// Which cluster.
        #[command(flatten)]
        cluster: ClusterArguments,
        /// How to print the answer.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
}

/// Who is asked, and how the answer is printed.
#[derive(Args, Debug)]
pub struct Asking {
    /// Ask the speaker that listens on this socket; by default the one at /run/bellhop/bellhop.sock where no kubeconfig
    /// is found.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub socket: Option<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How this program was called, for usage and errors: `kubectl bellhop` where it is installed as `kubectl-bellhop`, which is
/// how kubectl finds its plugins.
pub fn called_as() -> &'static str {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if program.file_stem().is_some_and(|name| name == "kubectl-bellhop") {
        "kubectl bellhop"
    } else {
        "bellhop"
    }
}

/// Runs a tool to its end.
pub fn run(tool: Tool) -> ExitCode {
    match tool {
        Tool::Status { of_node_only, wait, asking } => match asking.cluster.place(asking.socket.as_deref()) {
            Place::Cluster => cluster::run::show_status(&asking.cluster, asking.output, wait),
            Place::Socket(socket) => answer(&socket, asking.output, &Question::Status, of_node_only),
        },
        Tool::Routes { peer, node, asking } => match asking.cluster.place(asking.socket.as_deref()) {
            Place::Cluster => {
                cluster::run::show_routes(&asking.cluster, peer.as_deref(), node.as_deref(), asking.output)
            }
            Place::Socket(socket) => answer(&socket, asking.output, &Question::Routes { peer }, false),
        },
        Tool::Explain { object, node, asking } => explain(&object, node.as_deref(), &asking),
        Tool::Policy(PolicyCommand::List { cluster, output }) => {
            cluster::run::list_policies(&cluster, output)
        }
        Tool::Policy(PolicyCommand::Show { name, cluster, output }) => {
            cluster::run::show_policy(&cluster, &name, output)
        }
        Tool::Drain { daemonset, timeout, cluster } => cluster::run::drain(&cluster, &daemonset, timeout),
        Tool::Validate(arguments) => validate::run(&arguments),
        Tool::Crds { dir } => crds(dir),
        Tool::Plugin(command) => plugin::run(command),
    }
}

fn explain(object: &str, node: Option<&str>, asking: &Asking) -> ExitCode {
    match (asking.cluster.place(asking.socket.as_deref()), explain::question(object)) {
        (_, Err(message)) => fail(WRONG_USAGE, &message),
        (Place::Cluster, Ok(_)) => {
            cluster::run::show_explanation(&asking.cluster, object, node, asking.output)
        }
        (Place::Socket(socket), Ok(question)) => answer(&socket, asking.output, &question, false),
    }
}

/// A duration as Kubernetes writes it, in whole seconds, minutes or hours.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no duration; write it as 120s, 2m or 1h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Asks the speaker at `socket` and prints; the exit code says whether all is well with what was asked about.
fn answer(socket: &Path, format: Format, question: &Question, of_node_only: bool) -> ExitCode {
    let mut answer = match client::ask(socket, question) {
        Ok(answer) => answer,
        Err(error) => return fail(WRONG_USAGE, &error.to_string()),
    };
    if let (Answer::Status(status), true) = (&mut answer, of_node_only) {
        (status.services, status.pools, status.policies) = (Vec::new(), Vec::new(), Vec::new());
    }
    let table = match &answer {
        Answer::Status(status) => status::table(status, output::width()),
        Answer::Routes(rows) => routes::table(rows),
        Answer::Service(explanation) => explain::table(explanation),
        Answer::NotFound(message) => return fail(DOES_NOT_HOLD, message),
        Answer::BadQuestion(message) => return fail(WRONG_USAGE, message),
    };
    let printed = match &answer {
        Answer::Status(status) => output::print(format, status, &table),
        Answer::Routes(rows) => output::print(format, rows, &table),
        Answer::Service(explanation) => output::print(format, explanation, &table),
        Answer::NotFound(_) | Answer::BadQuestion(_) => Ok(()),
    };
    // Who asks on behalf of a cluster judges by himself, and takes the answer of a process that ends well.
    let well = match &answer {
        Answer::Status(status) => of_node_only || status::is_well(status),
        _ => true,
    };
    match printed {
        Ok(()) if well => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(DOES_NOT_HOLD),
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
