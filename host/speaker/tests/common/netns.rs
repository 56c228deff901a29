//! Two network namespaces with one link, what runs in them, and waiting.

use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) const ROUTER: &str = "198.18.0.1";
pub(crate) const SPEAKER: &str = "198.18.0.2";
pub(crate) const ROUTER_V6: &str = "2001:db8:ffff::1";
pub(crate) const SPEAKER_V6: &str = "2001:db8:ffff::2";
const INNER: &str = "BELLHOP_TEST_LAB";
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Two namespaces; all gone when dropped, with what still runs in the router's.
struct Lab {
    router: String,
    speaker: String,
    folder: PathBuf,
}

/// What the body of a test sees of the lab: it runs in the speaker's namespace.
#[derive(Clone)]
pub(crate) struct Site {
    /// The router's namespace.
    pub(crate) router: String,
    /// For files of the router.
    pub(crate) folder: PathBuf,
}

pub(crate) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output =
        Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {} (this test needs root and the packages of tools/setup.sh)",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a program says, whether or not it likes what it was asked.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Lab {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let tag = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("bellhop-lab-{tag}"));
        std::fs::create_dir_all(&folder).unwrap();
        let lab = Self { router: format!("bhr{tag}"), speaker: format!("bhs{tag}"), folder };
        let (r, s) = (&lab.router, &lab.speaker);
        for namespace in [r, s] {
            run(&format!("ip netns add {namespace}"));
            run(&format!("ip -n {namespace} link set lo up"));
        }
        run(&format!("ip -n {r} link add to-speaker type veth peer name to-router netns {s}"));
        let ends = [(r, "to-speaker", ROUTER, ROUTER_V6), (s, "to-router", SPEAKER, SPEAKER_V6)];
        for (namespace, link, v4, v6) in ends {
            run(&format!("ip -n {namespace} addr add {v4}/24 dev {link}"));
            run(&format!("ip -n {namespace} addr add {v6}/64 dev {link} nodad"));
            run(&format!("ip -n {namespace} link set {link} up"));
        }
        lab
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.router, &self.speaker] {
            let left = said(Command::new("ip").args(["netns", "pids", namespace]));
            let _ = Command::new("kill").arg("-KILL").args(left.split_whitespace()).output();
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs `body` in the speaker's namespace of a new lab, by starting this test again there.
pub(crate) fn in_lab<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Site) -> F) {
    if let Ok(inside) = std::env::var(INNER) {
        let (router, folder) = inside.split_once(' ').expect("namespace and folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body(Site { router: router.to_owned(), folder: folder.into() }));
    }
    let lab = Lab::new();
    let output = Command::new("ip")
        .args(["netns", "exec", &lab.speaker])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INNER, format!("{} {}", lab.router, lab.folder.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // Through the harness, which shows it where the test fails.
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} fails inside its namespace: {}", output.status);
}

impl Site {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A command that runs in the router's namespace.
    pub(crate) fn in_router(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.router]).arg(program.as_ref());
        command
    }

    /// Starts a program of the router's; what it says goes to `NAME.log`.
    pub(crate) fn daemon(&self, name: &str, command: &mut Command) -> Daemon {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.file(&format!("{name}.log")))
            .unwrap();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Daemon { child }
    }

    /// Routes in the router's kernel that BGP put there.
    pub(crate) fn kernel_routes(&self) -> usize {
        let of = |family: &str, protocol: &str| {
            said(Command::new("ip").args([
                "-n",
                &self.router,
                family,
                "-o",
                "route",
                "show",
                "proto",
                protocol,
            ]))
            .lines()
            .count()
        };
        ["-4", "-6"].iter().map(|family| of(family, "bgp") + of(family, "bird")).sum()
    }

    pub(crate) fn watch_kernel(&self) -> RouteMonitor {
        RouteMonitor::start(&self.router)
    }
}

/// Waits until a daemon has made its socket.
pub(crate) fn await_socket(socket: &Path) {
    let begin = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(begin.elapsed() < PATIENCE, "nobody listens at {}", socket.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running program with the processes it made; all killed when dropped.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// To it and to its processes.
    pub(crate) fn signal(&self, signal: &str) {
        run(&format!("kill -{signal} -- -{}", self.child.id()));
    }

    /// Killed, and gone.
    pub(crate) fn kill(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).output();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `ip monitor route` in the router's namespace.
pub(crate) struct RouteMonitor {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl RouteMonitor {
    fn start(namespace: &str) -> Self {
        let mut child = Command::new("ip")
            .args(["-n", namespace, "-o", "monitor", "route"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip monitor");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let sink = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// Routes by BGP to prefixes that begin so which the kernel deleted.
    pub(crate) fn deletes(&self, prefix: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        let begin = format!("Deleted {prefix}");
        let by_bgp = |line: &&String| line.contains("proto bgp") || line.contains("proto bird");
        lines.iter().filter(|line| line.starts_with(&begin)).filter(by_bgp).count()
    }
}

impl Drop for RouteMonitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin.elapsed()
}
