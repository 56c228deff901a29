//! The runner: steps in a row, each timed, logged and counted.
//!
//! A step that fails fails the run, and the steps that do not need it still run, so that one run says everything that
//! is wrong. Output goes to the terminal and to `<target>/xtask/<step>.log`. With `CI` set, a step that takes longer
//! than its limit is killed with all that it started; at a terminal there is Ctrl-C.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::metadata::Metadata;
use crate::suites::Suite;
use crate::tally::Tally;

/// What a step does; the tally it returns is that of its tests, or `None` if it is one check in itself.
type Work = Box<dyn FnOnce(&mut Session) -> Result<Option<Tally>>>;

/// One step of a run.
pub(crate) struct Step {
    name: &'static str,
    needs: &'static [&'static str],
    limit: Duration,
    work: Work,
}

impl Step {
    /// A step that is one check: it holds or it fails.
    pub(crate) fn check(
        name: &'static str,
        minutes: u64,
        work: impl FnOnce(&mut Session) -> Result<()> + 'static,
    ) -> Self {
        Step::tests(name, minutes, move |session| work(session).map(|()| None))
    }

    /// A step that runs tests and says how many passed.
    pub(crate) fn tests(
        name: &'static str,
        minutes: u64,
        work: impl FnOnce(&mut Session) -> Result<Option<Tally>> + 'static,
    ) -> Self {
        Step { name, needs: &[], limit: Duration::from_secs(minutes * 60), work: Box::new(work) }
    }

    /// Names the steps without which this one makes no sense.
    pub(crate) fn needs(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }

    /// Its name in the table, in other steps' needs and in the name of its log.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The steps without which it is not run.
    #[cfg(test)]
    pub(crate) fn needed(&self) -> &'static [&'static str] {
        self.needs
    }
}

/// What steps share: where things are, and what earlier steps found.
pub(crate) struct Session {
    /// The workspace as cargo sees it.
    pub metadata: Metadata,
    /// The test programs that a build step made.
    pub suites: Vec<Suite>,
    logs: PathBuf,
    log: Option<File>,
    deadline: Option<Instant>,
    limited: bool,
}

impl Session {
    /// A session in the workspace around the current folder.
    pub(crate) fn new() -> Result<Session> {
        let metadata = Metadata::load()?;
        let logs = metadata.target_directory.join("xtask");
        std::fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        let limited = std::env::var_os("CI").is_some();
        Ok(Session { metadata, suites: Vec::new(), logs, log: None, deadline: None, limited })
    }

    /// Prints a line, and keeps it in the step's log.
    pub(crate) fn say(&mut self, line: &str) {
        println!("{line}");
        if let Some(log) = &mut self.log {
            // A full disk must not hide what the terminal still shows.
            let _ = writeln!(log, "{line}");
        }
    }

    /// Runs a command to its end; anything but success is an error that shows the command.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        let status = self.run_with(command, |_| true)?;
        if !status.success() {
            bail!("`{}` ended with {status}", show(command));
        }
        Ok(())
    }

    /// Runs a command to its end, both outputs merged, and gives each line to `on_line`, which says whether to show
    /// it. Standard input is closed.
    pub(crate) fn run_with(
        &mut self,
        command: &mut Command,
        mut on_line: impl FnMut(&str) -> bool,
    ) -> Result<ExitStatus> {
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let second = writer.try_clone().context("make a pipe")?;
        command.stdin(Stdio::null()).stdout(writer).stderr(second);
        if self.limited {
            // A group of its own, so that the watchdog can end everything that the step started.
            command.process_group(0);
        }
        let shown = show(command);
        let mut child = command.spawn().with_context(|| {
            let program = command.get_program().to_string_lossy().into_owned();
            format!("start `{shown}` ({program})")
        })?;
        // The command keeps our ends of the pipe; without this the reader would wait for ourselves.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog =
            self.deadline.filter(|_| self.limited).map(|deadline| Watchdog::start(child.id(), deadline));
        let mut lines = BufReader::new(reader);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).with_context(|| format!("read the output of `{shown}`"))? > 0
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            if on_line(text) {
                self.say(text);
            }
            line.clear();
        }
        let status = child.wait().with_context(|| format!("wait for `{shown}`"))?;
        if watchdog.is_some_and(Watchdog::stop) {
            bail!("`{shown}` took longer than its step may and was killed");
        }
        Ok(status)
    }

    fn open_log(&mut self, step: &str) -> Result<()> {
        let path = self.logs.join(format!("{step}.log"));
        self.log = Some(File::create(&path).with_context(|| format!("make {}", path.display()))?);
        Ok(())
    }
}

/// Kills a process group at a deadline, unless it is stopped before.
struct Watchdog {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn start(group: u32, deadline: Instant) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(stopped.recv_timeout(left), Err(mpsc::RecvTimeoutError::Timeout)) {
                return false;
            }
            // Where this fails the group is already gone, and the reader sees the end of its output.
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
            true
        });
        Watchdog { stop, thread }
    }

    /// Ends the watch; true if it had to kill.
    fn stop(self) -> bool {
        drop(self.stop);
        self.thread.join().unwrap_or(false)
    }
}

/// A command as one would type it, without its program's folder, for messages.
fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let words =
        std::iter::once(program.file_name().unwrap_or(command.get_program())).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// How one step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Passed,
    Failed,
    /// Not run, because the named step failed.
    Skipped(&'static str),
}

/// A row of the table at the end.
#[derive(Debug)]
struct Row {
    name: &'static str,
    took: Duration,
    ending: Ending,
    tally: Tally,
}

/// Runs all steps, prints the table of times and the count, and says whether everything passed.
pub(crate) fn run(steps: Vec<Step>, session: &mut Session) -> Result<bool> {
    let mut rows: Vec<Row> = Vec::new();
    for step in steps {
        rows.push(run_one(step, &rows, session)?);
    }
    session.log = None;
    let mut total = Tally::default();
    rows.iter().for_each(|row| total.add(row.tally.clone()));
    println!("\n{}", table(&rows));
    if !total.failures.is_empty() {
        println!("failed:");
        total.failures.iter().for_each(|failure| println!("  {failure}"));
        println!("logs: {}", session.logs.display());
    }
    println!("{}", total.count_line());
    Ok(total.failed == 0)
}

fn run_one(step: Step, before: &[Row], session: &mut Session) -> Result<Row> {
    let name = step.name();
    let failed = |need: &&str| before.iter().any(|row| row.name == *need && row.ending != Ending::Passed);
    if let Some(need) = step.needs.iter().copied().find(failed) {
        let tally = Tally::broken(format!("{name}: not run, because step {need} failed"));
        return Ok(Row { name, took: Duration::ZERO, ending: Ending::Skipped(need), tally });
    }
    session.open_log(name)?;
    session.say(&format!("\n==> {name}"));
    let start = Instant::now();
    session.deadline = Some(start + step.limit);
    let result = (step.work)(session);
    let tally = match result {
        Ok(Some(tally)) => tally,
        Ok(None) => Tally { passed: 1, ..Tally::default() },
        Err(error) => {
            session.say(&format!("{name}: {error:#}"));
            Tally::broken(format!("{name}: {error}"))
        }
    };
    let ending = if tally.failed == 0 { Ending::Passed } else { Ending::Failed };
    Ok(Row { name, took: start.elapsed(), ending, tally })
}

/// The table of how long each step took.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).chain([5]).max().unwrap_or(0);
    let mut table = format!("{:width$}  {:>8}  {:>6}  {:>6}  result\n", "step", "time", "passed", "failed");
    for row in rows {
        let result = match row.ending {
            Ending::Passed if row.tally.ignored > 0 => format!("ok, {} ignored", row.tally.ignored),
            Ending::Passed => "ok".to_owned(),
            Ending::Failed => "FAILED".to_owned(),
            Ending::Skipped(need) => format!("not run: {need} failed"),
        };
        let (passed, failed) = (row.tally.passed, row.tally.failed);
        table.push_str(&format!(
            "{:width$}  {:>8}  {passed:>6}  {failed:>6}  {result}\n",
            row.name,
            took(row.took)
        ));
    }
    let total: Duration = rows.iter().map(|row| row.took).sum();
    table.push_str(&format!("{:width$}  {:>8}\n", "total", took(total)));
    table
}

/// A duration as people read it: `0.4 s`, `59.9 s`, `3m 07s`.
fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let seconds = duration.as_secs();
    format!("{}m {:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(folder: &std::path::Path) -> Session {
        let metadata = serde_json::from_value(serde_json::json!({
            "packages": [], "workspace_members": [], "resolve": {"nodes": []},
            "workspace_root": folder, "target_directory": folder,
        }))
        .expect("the fixture is metadata");
        Session {
            metadata,
            suites: Vec::new(),
            logs: folder.to_owned(),
            log: None,
            deadline: None,
            limited: true,
        }
    }

    fn ran(steps: Vec<Step>) -> Vec<Row> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut session = session(folder.path());
        let mut rows = Vec::new();
        for step in steps {
            let row = run_one(step, &rows, &mut session).expect("the log can be written");
            rows.push(row);
        }
        rows
    }

    #[test]
    fn a_failed_step_stops_those_that_need_it_and_no_other() {
        let rows = ran(vec![
            Step::check("build", 1, |_| bail!("broken")),
            Step::check("test", 1, |_| Ok(())).needs(&["build"]),
            Step::check("lab", 1, |_| Ok(())).needs(&["test"]),
            Step::check("fmt", 1, |_| Ok(())),
        ]);
        let endings: Vec<_> = rows.iter().map(|row| row.ending).collect();
        assert_eq!(
            endings,
            [Ending::Failed, Ending::Skipped("build"), Ending::Skipped("test"), Ending::Passed]
        );
        assert_eq!(rows.iter().map(|row| row.tally.failed).sum::<u64>(), 3);
    }

    #[test]
    fn both_outputs_of_a_command_are_seen_in_order_and_its_end_is_known() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let status = session(folder.path()).run_with(&mut command, |line| {
            seen.push(line.to_owned());
            false
        });
        assert_eq!(status.expect("sh ran").code(), Some(3));
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[test]
    fn a_step_that_takes_too_long_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut session = session(folder.path());
        session.deadline = Some(Instant::now() + Duration::from_millis(100));
        let start = Instant::now();
        let error =
            session.run(Command::new("sh").args(["-c", "sleep 60 & wait"])).expect_err("it must be killed");
        assert!(start.elapsed() < Duration::from_secs(30), "the child kept the pipe open");
        assert!(error.to_string().contains("was killed"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error =
            session(folder.path()).run(&mut Command::new("/no/such/program")).expect_err("no such program");
        assert_eq!(error.to_string(), "start `program` (/no/such/program)");
    }

    #[test]
    fn the_table_has_a_row_for_each_step_and_a_total() {
        let row = |name, seconds, ending, passed| Row {
            name,
            took: Duration::from_millis(seconds),
            ending,
            tally: Tally { passed, ..Tally::default() },
        };
        let table =
            table(&[row("fmt", 400, Ending::Passed, 1), row("lab", 187_000, Ending::Skipped("build"), 0)]);
        assert_eq!(
            table,
            "step       time  passed  failed  result\n\
             fmt       0.4 s       1       0  ok\n\
             lab      3m 07s       0       0  not run: build failed\n\
             total    3m 07s\n"
        );
    }
}
