//! The compiler process: started for one module, limited, waited for, reaped.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use bellhop_policy_engine::guest::Metadata;
use rustix::process::Signal;

use crate::allowance::allowance;
use crate::load::LoadError;
use crate::native::NativeCode;
use crate::protocol::{self, Checks, NATIVE_MAX, Refusal, Reply, Request, Stage, read_frame, write_frame};

/// How long one compile may take on the wall clock: six times its CPU limit, which judges the module. Who reaches this one
/// got too little of the CPU, and is tried again.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One at a time: two compiles at once would each count on the memory that the other takes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Where the compiler is and what it is asked to hold modules to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompilerCommand {
    path: PathBuf,
    checks: Checks,
    timeout: Duration,
}

/// What came out of the compiler.
pub(crate) struct Output {
    pub(crate) metadata: Metadata,
    pub(crate) code: NativeCode,
}

impl CompilerCommand {
    /// The program `bellhop-compiler` at `path`, which must be of the same build as this crate.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), checks: Checks::default(), timeout: TIMEOUT }
    }

    /// `bellhop-compiler` in the folder of the running program, where packages put it.
    ///
    /// # Errors
    /// Where the system does not say which program runs.
    pub fn beside_this_program() -> io::Result<Self> {
        Ok(Self::new(std::env::current_exe()?.with_file_name("bellhop-compiler")))
    }

    /// With other bounds, for tests that show what the process's own limits do.
    #[must_use]
    pub fn with_checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// With another limit on the wall clock.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Has one module verified, checked and compiled.
    pub(crate) fn compile(&self, module: &[u8], sha256: &str) -> Result<Output, LoadError> {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = allowance()
            .map_err(|error| LoadError::new(Stage::Compiled, Refusal::NoMemory, error.to_string()))?;
        let request = Request { sha256: sha256.to_owned(), checks: self.checks };
        let ended = self.run(&request, module, memory).map_err(|error| self.unavailable(&error))?;
        let success = ended.status.success();
        match ended.reply {
            Ok((Reply::Compiled { metadata, .. }, code)) if success => {
                Ok(Output { metadata: *metadata, code: NativeCode::from_compiler(code) })
            }
            Ok((Reply::Refused { stage, refusal, message }, _)) if success => {
                Err(LoadError::new(stage, refusal, message))
            }
            reply => {
                let broken = reply.err().map(|error| error.to_string()).unwrap_or_default();
                let timeout = ended.timed_out.then_some(self.timeout);
                let (refusal, message) = death(ended.status, timeout, memory, &broken);
                Err(LoadError::new(Stage::Compiled, refusal, message))
            }
        }
    }

    fn unavailable(&self, error: &io::Error) -> LoadError {
        LoadError::new(
            Stage::Compiled,
            Refusal::CompilerUnavailable,
            format!("the compiler {} cannot be started: {error}", self.path.display()),
        )
    }

    /// Starts the process, hands it the request and takes its reply, for no longer than the timeout.
    fn run(&self, request: &Request, module: &[u8], memory: u64) -> io::Result<Ended> {
        let child = Command::new(&self.path)
            .arg("--memory-limit")
            .arg(memory.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut child = Reaped(child);
        let (Some(mut stdin), Some(mut stdout)) = (child.0.stdin.take(), child.0.stdout.take()) else {
            return Err(io::Error::other("the compiler has no pipes"));
        };
        thread::scope(|scope| {
            let (done, replied) = mpsc::sync_channel(1);
            scope.spawn(move || {
                // A compiler that refuses early closes its end; its reply says why, so a broken pipe is not the news.
                let asked = write_frame(&mut stdin, request, module);
                drop(stdin);
                let reply = read_frame::<Reply>(&mut stdout, NATIVE_MAX);
                let reply = match (asked, reply) {
                    (Err(asked), Err(_)) => Err(asked),
                    (_, reply) => reply,
                };
                // The receiver is gone only where the timeout has passed.
                let _ = done.send(reply);
            });
            let timed_out = match replied.recv_timeout(self.timeout) {
                Ok(reply) => {
                    let status = child.wait(self.timeout)?;
                    return Ok(Ended { reply, status, timed_out: false });
                }
                Err(_) => true,
            };
            // Ends the thread too, as both pipes close.
            child.0.kill()?;
            let status = child.0.wait()?;
            Ok(Ended { reply: Err(io::Error::other("no reply in time")), status, timed_out })
        })
    }
}

/// How one process ended.
struct Ended {
    reply: io::Result<(Reply, Vec<u8>)>,
    status: ExitStatus,
    timed_out: bool,
}

/// What a death without a reply means; `timeout` where it was ours.
fn death(status: ExitStatus, timeout: Option<Duration>, memory: u64, broken: &str) -> (Refusal, String) {
    let is = |wanted: Signal| status.signal() == Some(wanted.as_raw());
    if let Some(timeout) = timeout {
        let message = format!(
            "compiling took longer than {} s, on a machine too busy to give it the CPU time that it may take",
            timeout.as_secs_f32()
        );
        (Refusal::CompilerStarved, message)
    } else if is(Signal::ABORT) || is(Signal::SEGV) || is(Signal::BUS) {
        let message =
            format!("compiling needs more than the {} MiB of memory that it may take", memory >> 20);
        (Refusal::CompilerLimit, message)
    } else if is(Signal::XCPU) || is(Signal::KILL) {
        let seconds = protocol::CPU_SECONDS;
        let message =
            format!("compiling took more than {seconds} s of CPU time, or the kernel was out of memory");
        (Refusal::CompilerLimit, message)
    } else {
        (Refusal::CompilerFailed, format!("the compiler ended with {status} and no reply: {broken}"))
    }
}

/// A child that never outlives this value.
struct Reaped(Child);

impl Reaped {
    /// Waits for a child that has replied and only has to exit.
    fn wait(&mut self, most: Duration) -> io::Result<ExitStatus> {
        const STEP: Duration = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if waited >= most {
                self.0.kill()?;
                return self.0.wait();
            }
            thread::sleep(STEP);
            waited += STEP;
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only for a child that is reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
