//! One shell into which all commands are typed, so that folders and variables last as they do for the reader.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Starts the line that follows the output of a command: a control character (RS) that no output has.
const END: char = '\u{1e}';
/// Variables of a surrounding build that the reader's shell would not have. RUSTUP_TOOLCHAIN stays: on some machines it is how
/// the owner says which Rust there is.
const FOREIGN: [&str; 7] =
    ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "RUSTFLAGS"];

/// A `bash` in a folder. It is ended with everything it started in its own process group when the value is dropped.
#[derive(Debug)]
pub struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Vec<u8>>,
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// What it printed, on both streams.
    pub output: String,
    /// Its exit status.
    pub status: i32,
}

impl Shell {
    /// Starts it in `folder`, with these variables beside the ones of this process.
    ///
    /// # Errors
    /// When there is no `bash`.
    pub fn start(folder: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new("bash");
        // The outer shell only joins the two streams, so that a message stands where the reader would see it.
        command.args(["--norc", "--noprofile", "-c", "exec bash --norc --noprofile 2>&1"]);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C.UTF-8").envs(variables.iter().copied()).current_dir(folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start bash")?;
        let input = child.stdin.take().context("no standard input")?;
        let mut output = BufReader::new(child.stdout.take().context("no standard output")?);
        let (sender, lines) = channel();
        // Ends with the last process that holds the pipe, or with the receiver.
        std::thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                let more = output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0);
                if !more || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    /// Runs a command, which reads nothing, to its end.
    ///
    /// # Errors
    /// When it does not end in time, or ends the shell.
    pub fn type_in(&mut self, text: &str, deadline: Duration) -> Result<Seen> {
        let end = Instant::now() + deadline;
        writeln!(self.input, "{{\n{text}\n}} </dev/null\nprintf '\\036%d\\n' \"$?\"")
            .and_then(|()| self.input.flush())
            .context("the shell ended")?;
        let mut output = String::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    let Some((before, status)) = line.split_once(END) else {
                        output.push_str(&line);
                        continue;
                    };
                    output.push_str(before);
                    let status = status.trim().parse().context("the shell told no status")?;
                    return Ok(Seen { output, status });
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("not ended after {} s; it printed:\n{output}", deadline.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the shell ended; it printed:\n{output}"),
            }
        }
    }

    /// The folder in which the next command would run.
    ///
    /// # Errors
    /// When the shell does not answer.
    pub fn folder(&mut self) -> Result<PathBuf> {
        let seen = self.type_in("pwd -P", Duration::from_secs(10))?;
        Ok(PathBuf::from(seen.output.trim_end_matches('\n')))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Also what a command left running in the foreground's group: a command that did not end in time, for one.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_folders_and_functions_last_from_one_command_to_the_next() {
        let mut shell = Shell::start(Path::new("/"), &[("COLOUR", "blue")]).unwrap();
        let deadline = Duration::from_secs(10);
        shell.type_in("cd tmp; export SHADE=dark-$COLOUR; f() { echo \"$SHADE\"; }", deadline).unwrap();
        let seen = shell.type_in("f; pwd; printf end", deadline).unwrap();
        assert_eq!(seen, Seen { output: "dark-blue\n/tmp\nend".into(), status: 0 });
        assert_eq!(shell.folder().unwrap(), Path::new("/tmp"));
    }

    #[test]
    fn a_command_that_does_not_end_is_given_up() {
        let mut shell = Shell::start(Path::new("/"), &[]).unwrap();
        let error = shell.type_in("echo begun; sleep 1000", Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("begun"), "{error}");
    }
}
