//! The `lab` program's arguments, one function for each subcommand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::bellhop::Programs;
use crate::demo::{self, Inputs};
use crate::http::{self, Url};
use crate::lab::{Lab, RUN_ROOT, require_root};
use crate::load::{self, Load};
use crate::netns::Namespace;
use crate::trace;
use crate::transcript::Failed;
use crate::tutorial::{self, Document, Shell};

/// A network of namespaces with FRR routers, nodes and a client, in which Bellhop is shown and tested.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Set a lab up: namespaces, links, FRR, HTTP servers.
    Up(Which),
    /// Remove a lab whole, also what a crash left of it.
    Down(Which),
    /// List the labs of this machine and what is alive in them.
    Status,
    /// Run a command in a member of a lab (node-1, router-a, client, fabric).
    Exec(Exec),
    /// Serve HTTP, answering every request with a name.
    Serve(Serve),
    /// Ask a URL once and print the answer.
    Get(Get),
    /// Print after how many hops a datagram to a closed port is refused, or null where it never is.
    Trace(Trace),
    /// Run the main job in eight checked steps, in a lab of its own that is removed afterwards.
    Demo(DemoArguments),
    /// Remove what `demo --keep` left; nothing where nothing is.
    DemoDown(Which),
    /// Make requests, each over a new connection, and print a report as JSON.
    Load(LoadArguments),
    /// Type a tutorial's commands into a shell, in an empty folder, and compare what they print with what it says.
    Follow {
        /// The tutorial.
        document: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// First part of all names of the lab; labs of different prefixes stand side by side. Without it BELLHOP_LAB, else
    /// `demo`.
    #[arg(long, default_value_t = default_prefix())]
    prefix: String,
}

/// The prefix where none is given.
fn default_prefix() -> String {
    std::env::var("BELLHOP_LAB").unwrap_or_else(|_| "demo".to_owned())
}

#[derive(Debug, Args)]
struct DemoArguments {
    #[command(flatten)]
    which: Which,
    /// Leave the lab up and print how to look around in it.
    #[arg(long)]
    keep: bool,
    /// The `bellhop` program.
    #[arg(long, value_name = "PATH")]
    bellhop: PathBuf,
    /// The `bellhop-compiler` program.
    #[arg(long, value_name = "PATH")]
    compiler: PathBuf,
    /// Folder of the shipped policies as modules.
    #[arg(long, value_name = "DIR")]
    plugins: PathBuf,
}

#[derive(Debug, Args)]
struct Exec {
    /// Prefix of the lab.
    prefix: String,
    /// Member of the lab.
    member: String,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct Serve {
    /// The name to answer with.
    #[arg(long)]
    name: String,
    /// TCP port, on all addresses of both families.
    #[arg(long, default_value_t = crate::plan::HTTP_PORT)]
    port: u16,
}

#[derive(Debug, Args)]
struct Get {
    /// The URL, with a literal address.
    url: Url,
}

#[derive(Debug, Args)]
struct Trace {
    /// Address and UDP port, as 203.0.113.10:53 or [2001:db8::1]:53.
    target: std::net::SocketAddr,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// A URL with a literal address; may be given several times.
    #[arg(long, required = true)]
    url: Vec<Url>,
    /// Requests to each URL.
    #[arg(long, required_unless_present = "until_eof")]
    count: Option<u64>,
    /// Go on until standard input ends.
    #[arg(long, conflicts_with = "count")]
    until_eof: bool,
    /// Pause between two requests to the same URL, in microseconds.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// Interface to bind to.
    #[arg(long)]
    interface: Option<String>,
}

impl Arguments {
    /// Does what was asked for. The exit code is 0 when it succeeded and, for `exec`, that of the command.
    ///
    /// # Errors
    /// With what failed.
    pub fn run(self) -> Result<ExitCode> {
        let tool = std::env::current_exe().context("where is this program?")?;
        match self.command {
            Subcommands::Up(which) => {
                let lab = Lab::named(&which.prefix, tool)?;
                lab.up()?;
                println!(
                    "lab {} is up; `lab exec {0} node-1 -- ip address` looks around, `lab down` removes it",
                    lab.prefix()
                );
            }
            Subcommands::Demo(arguments) => return run_demo(arguments, &tool),
            Subcommands::Down(which) | Subcommands::DemoDown(which) => {
                Lab::named(&which.prefix, tool)?.down()?
            }
            Subcommands::Status => status(&tool)?,
            Subcommands::Exec(exec) => return exec_in(&exec, &tool),
            Subcommands::Serve(serve) => http::serve(&serve.name, serve.port)?,
            Subcommands::Get(get) => http::get_and_print(get.url)?,
            Subcommands::Trace(Trace { target }) => {
                println!("{}", serde_json::to_string(&trace::hops(target)?)?)
            }
            Subcommands::Follow { document } => follow(&document)?,
            Subcommands::Load(arguments) => {
                let load = Load {
                    urls: arguments.url,
                    count: arguments.count,
                    at_least: 0,
                    pause: Duration::from_micros(arguments.pause_us),
                    interface: arguments.interface,
                };
                println!("{}", serde_json::to_string(&load::run(&load))?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn follow(document: &std::path::Path) -> Result<()> {
    let text =
        std::fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let folder = tempfile::tempdir()?;
    let mut shell = Shell::start(folder.path(), &[])?;
    tutorial::run(&Document::parse(&text)?, &mut shell).with_context(|| document.display().to_string())
}

/// The demo, on a thread beside the one that waits for Ctrl-C: however it ends, the lab is removed.
fn run_demo(arguments: DemoArguments, tool: &std::path::Path) -> Result<ExitCode> {
    require_root()?;
    let lab = Lab::named(&arguments.which.prefix, tool)?;
    let programs =
        Programs { bellhop: arguments.bellhop, compiler: arguments.compiler, plugins: arguments.plugins };
    let inputs = Inputs::new(programs);
    let (ended, end) = tokio::sync::oneshot::channel();
    let working = lab.clone();
    std::thread::spawn(move || {
        // Nobody listens any more once an interruption has begun to remove the lab.
        let _ = ended.send(demo::run(&working, inputs, arguments.keep));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verdict = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            verdict = end => anyhow::Ok(Some(verdict)),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
        }
    })?;
    match verdict {
        Some(Ok(Ok(()))) => Ok(ExitCode::SUCCESS),
        // A failed check stands in the transcript already.
        Some(Ok(Err(error))) if error.is::<Failed>() => Ok(ExitCode::FAILURE),
        Some(Ok(Err(error))) => Err(error),
        Some(Err(_)) => {
            lab.down()?;
            bail!("the demo panicked; the lab is removed")
        }
        None => {
            lab.down()?;
            bail!("interrupted; the lab is removed")
        }
    }
}

fn status(tool: &std::path::Path) -> Result<()> {
    require_root()?;
    let prefixes = Lab::standing();
    if prefixes.is_empty() {
        println!("no lab stands ({RUN_ROOT} is empty)");
    }
    for prefix in prefixes {
        let lab = Lab::named(&prefix, tool)?;
        println!("lab {prefix}, files in {}", lab.run().display());
        for namespace in lab.namespaces() {
            println!("  {:<24} {}", namespace.name(), processes(&namespace));
        }
    }
    Ok(())
}

/// What runs in a namespace, in words.
fn processes(namespace: &Namespace) -> String {
    let Ok(pids) = namespace.pids() else { return "missing".into() };
    let name = |pid: u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(format!("{}[{pid}]", name.trim()))
    };
    let names: Vec<_> = pids.into_iter().filter_map(name).collect();
    if names.is_empty() { "no process".into() } else { names.join(" ") }
}

fn exec_in(exec: &Exec, tool: &std::path::Path) -> Result<ExitCode> {
    require_root()?;
    let lab = Lab::named(&exec.prefix, tool)?;
    let member = lab.member(&exec.member);
    ensure!(
        member.exists(),
        "lab {} has no member \"{}\": give one of {}",
        exec.prefix,
        exec.member,
        lab.namespaces()
            .iter()
            .map(|member| &member.name()[exec.prefix.len() + 1..])
            .collect::<Vec<_>>()
            .join(", ")
    );
    let [program, arguments @ ..] = exec.command.as_slice() else { bail!("no command") };
    let status = member.command(program).args(arguments).status().context("cannot start ip netns exec")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
