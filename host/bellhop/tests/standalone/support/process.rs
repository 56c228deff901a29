//! The program under test, driven as its users drive it: by its arguments, its tools and signals.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;

use super::eventually;
use super::manifests::Manifests;

/// Shared by everything that a test starts: one state directory, one folder of manifests.
pub(crate) struct Site {
    pub(crate) manifests: Manifests,
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    /// Manifests of one node, two peers, a pool, and a Service that is served: what every test starts from.
    pub(crate) fn good() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let manifests = Manifests::new(dir.path().join("manifests"));
        manifests.write_good();
        Self { manifests, dir }
    }

    /// Starts a process that allocates.
    pub(crate) fn start(&self) -> Process {
        self.start_with("first", &["--allocate"])
    }

    /// Starts a process; its log and socket are told apart by `name`.
    pub(crate) fn start_with(&self, name: &str, arguments: &[&str]) -> Process {
        let socket = self.dir.path().join(format!("{name}.sock"));
        let log = self.dir.path().join(format!("{name}.log"));
        let file = File::options().append(true).create(true).open(&log).expect("the log file");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        // `unshare` and `sh` become the program by exec, so that the child is the program itself.
        let child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
            .arg(program("BELLHOP_BIN", "bellhop"))
            .args(["standalone", "--node", "node-1", "--manifests", &text(self.manifests.path())])
            .args(["--state", &text(&self.dir.path().join("state")), "--socket", &text(&socket)])
            .args(["--compiler", &text(&program("BELLHOP_COMPILER", "bellhop-compiler"))])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("unshare (util-linux) starts");
        Process { child, socket, log }
    }
}

/// A running program. It is killed when the test ends.
pub(crate) struct Process {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Waits until it announces.
    pub(crate) fn ready(mut self) -> Self {
        eventually("the process is ready", || {
            if let Some(status) = self.child.try_wait().expect("its status") {
                panic!(
                    "ended with {status}; these tests need root, for a network namespace each\n{}",
                    self.log()
                );
            }
            let status = self.try_status().ok_or_else(|| format!("no answer yet\n{}", self.log()))?;
            (status["phase"] == "Ready").then_some(()).ok_or_else(|| format!("{status:#}\n{}", self.log()))
        });
        self
    }

    /// Waits until it announces `shop/web` to both peers in both families.
    pub(crate) fn serving(self) -> Self {
        let process = self.ready();
        eventually("shop/web is announced", || {
            let routes = process.routes();
            (routes.len() == 4).then_some(()).ok_or_else(|| format!("{routes:#?}\n{}", process.log()))
        });
        process
    }

    /// SIGKILL, as a crash or the kernel's out-of-memory killer ends it.
    pub(crate) fn kill_9(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        Command::new(program("BELLHOP_BIN", "bellhop"))
            .args(arguments)
            .arg("--socket")
            .arg(&self.socket)
            .output()
            .expect("the tool runs")
    }

    fn try_status(&self) -> Option<Value> {
        let output = self.tool(&["status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// `bellhop status -o json`.
    pub(crate) fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("`bellhop status` has no answer\n{}", self.log()))
    }

    /// The problems of `bellhop status -o json`.
    pub(crate) fn problems(&self) -> Vec<Value> {
        self.status()["problems"].as_array().cloned().unwrap_or_default()
    }

    /// The routes wanted for `shop/web` in `bellhop routes -o json`, each as peer, prefix and attributes.
    pub(crate) fn routes(&self) -> Vec<(String, String, Value)> {
        let output = self.tool(&["routes", "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("`bellhop routes`: {error}: {}", String::from_utf8_lossy(&output.stderr))
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.iter()
            .filter(|row| row["services"].as_array().is_some_and(|names| names.contains(&"shop/web".into())))
            .map(|row| (text(&row["peer"]), text(&row["prefix"]), row["attributes"].clone()))
            .collect()
    }

    /// The row of a Service.
    pub(crate) fn service(&self, name: &str) -> Value {
        let status = self.status();
        let rows = status["services"].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == name).cloned().unwrap_or_default()
    }

    /// The row of a policy.
    pub(crate) fn policy(&self, name: &str) -> Value {
        let status = self.status();
        let rows = status["policies"].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == name).cloned().unwrap_or_default()
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `path` of what it answers by HTTP on `address`, asked in its network namespace: status and body.
    pub(crate) fn http(&self, address: &str, path: &str) -> (u16, String) {
        let output = Command::new("nsenter")
            .args(["--net", "--target", &self.child.id().to_string(), "--"])
            .args(["curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}"])
            .arg(format!("http://{address}{path}"))
            .output()
            .expect("nsenter (util-linux) and curl start");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number; 0 without an answer"), body.to_owned())
    }

    /// Resident memory now and at its highest, in bytes (`VmRSS` and `VmHWM` of proc(5)).
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("proc");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// Runs a tool that asks no process; exit status and what it printed.
pub(crate) fn run(arguments: &[&str]) -> (ExitStatus, String, String) {
    let output = Command::new(program("BELLHOP_BIN", "bellhop")).args(arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status, text(output.stdout), text(output.stderr))
}

/// A program from the environment, else as cargo built it beside the test.
fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.parent().and_then(Path::parent).expect("the target folder").join(name);
    assert!(path.exists(), "{} does not exist: build it (-p {name}), or set {variable}", path.display());
    path
}
