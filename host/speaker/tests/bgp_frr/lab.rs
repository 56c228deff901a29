//! Two namespaces with one link, and FRR in one of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bellhop_core::Family;
use bellhop_core::peer::Neighbour;
use bellhop_speaker::bgp::{Authentication, BgpConfig, BgpHandle, ListenConfig, PeerConfig, State};
use serde_json::Value;

pub(crate) const ROUTER: &str = "198.18.0.1";
pub(crate) const SPEAKER: &str = "198.18.0.2";
pub(crate) const PEER: &str = "router";
const INNER: &str = "BELLHOP_TEST_LAB";
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Two namespaces, FRR in one of them; all gone when dropped.
struct Lab {
    router: String,
    speaker: String,
    folder: PathBuf,
    daemons: Vec<Child>,
}

/// What the body of a test sees of the lab.
pub(crate) struct Inside {
    router: String,
    pub(crate) folder: PathBuf,
}

pub(crate) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output =
        Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {} (this test needs root, iproute2 and FRR)",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Lab {
    fn new(test: &str, asn: u32) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let tag = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("bellhop-frr-{tag}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut lab =
            Self { router: format!("bhr{tag}"), speaker: format!("bhs{tag}"), folder, daemons: Vec::new() };
        let (r, s) = (lab.router.clone(), lab.speaker.clone());
        for namespace in [&r, &s] {
            run(&format!("ip netns add {namespace}"));
            run(&format!("ip -n {namespace} link set lo up"));
        }
        run(&format!("ip -n {r} link add to-speaker type veth peer name to-router netns {s}"));
        for (namespace, link, host) in [(&r, "to-speaker", 1), (&s, "to-router", 2)] {
            run(&format!("ip -n {namespace} addr add 198.18.0.{host}/24 dev {link}"));
            run(&format!("ip -n {namespace} addr add 2001:db8:ffff::{host}/64 dev {link} nodad"));
            run(&format!("ip -n {namespace} link set {link} up"));
        }
        let bgpd = format!(
            "router bgp {asn}\n bgp router-id {ROUTER}\n no bgp ebgp-requires-policy\n \
             neighbor {SPEAKER} remote-as 64512\n neighbor {SPEAKER} timers connect 1\n \
             address-family ipv4 unicast\n  neighbor {SPEAKER} activate\n exit-address-family\n \
             address-family ipv6 unicast\n  neighbor {SPEAKER} activate\n exit-address-family\n"
        );
        std::fs::write(lab.folder.join("bgpd.conf"), bgpd).unwrap();
        std::fs::write(lab.folder.join("zebra.conf"), "").unwrap();
        std::fs::write(lab.folder.join("bfdd.conf"), "").unwrap();
        let control = lab.folder.join("bfdd.sock").display().to_string();
        // The daemons give up root for the user of Debian's package.
        run(&format!("chown -R frr:frr {}", lab.folder.display()));
        let daemons = [("zebra", vec![]), ("bfdd", vec!["--bfdctl", &control]), ("bgpd", vec![])];
        for (daemon, extra) in daemons {
            lab.start(test, daemon, &extra);
        }
        lab
    }

    fn start(&mut self, test: &str, daemon: &str, extra: &[&str]) {
        let file = |name: &str| self.folder.join(name);
        let log = std::fs::File::create(file(&format!("{daemon}.log"))).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &self.router, &format!("/usr/lib/frr/{daemon}")])
            .args(["-u", "frr", "-g", "frr", "-P", "0"])
            .arg("-f")
            .arg(file(&format!("{daemon}.conf")))
            .arg("-i")
            .arg(file(&format!("{daemon}.pid")))
            .arg("-z")
            .arg(file("zserv.api"))
            .arg("--vty_socket")
            .arg(&self.folder)
            .args(extra)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{test}: starting {daemon}: {error}"));
        self.daemons.push(child);
        let socket = file(&format!("{daemon}.vty"));
        let begin = Instant::now();
        while !socket.exists() {
            assert!(begin.elapsed() < PATIENCE, "{daemon} does not start: see {}", self.folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        for namespace in [&self.router, &self.speaker] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs `body` in the speaker's namespace of a new lab whose router has this AS number.
pub(crate) fn in_lab<F: Future<Output = ()>>(test: &str, asn: u32, body: impl FnOnce(Inside) -> F) {
    if let Ok(inside) = std::env::var(INNER) {
        let (router, folder) = inside.split_once(' ').expect("namespace and folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let inside = Inside { router: router.to_owned(), folder: folder.into() };
        return runtime.block_on(body(inside));
    }
    let lab = Lab::new(test, asn);
    let status = Command::new("ip")
        .args(["netns", "exec", &lab.speaker])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INNER, format!("{} {}", lab.router, lab.folder.display()))
        .status()
        .unwrap();
    assert!(status.success(), "{test} fails inside its namespace: {status}");
}

impl Inside {
    pub(crate) fn vtysh(&self, command: &str) -> String {
        let output = Command::new("vtysh")
            .arg("--vty_socket")
            .arg(&self.folder)
            .args(["-c", command])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Configures the router's BGP, which has this AS number, with these lines below `router bgp`.
    pub(crate) fn configure(&self, asn: u32, lines: &[&str]) {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(&self.folder).args(["-c", "configure terminal"]);
        vtysh.args(["-c", &format!("router bgp {asn}")]);
        let output = vtysh.args(lines.iter().flat_map(|line| ["-c", line])).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains('%'), "{lines:?}: {said}");
    }

    /// Sends a signal to one of the router's daemons.
    pub(crate) fn signal(&self, daemon: &str, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.join(format!("{daemon}.pid"))).unwrap();
        run(&format!("kill -{signal} {}", pid.trim()));
    }

    pub(crate) fn show(&self, command: &str) -> Value {
        serde_json::from_str(&self.vtysh(command)).unwrap_or(Value::Null)
    }

    pub(crate) fn router(&self) -> &str {
        &self.router
    }

    /// What a command says in the router's namespace.
    pub(crate) fn in_router(&self, command: &str) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.router])
            .args(command.split_whitespace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many prefixes of both families the router has from the speaker.
    pub(crate) fn prefixes(&self) -> u64 {
        let summary = self.show("show bgp summary json");
        ["ipv4Unicast", "ipv6Unicast"]
            .iter()
            .filter_map(|family| summary[family]["peers"][SPEAKER]["pfxRcd"].as_u64())
            .sum()
    }

    pub(crate) fn neighbour(&self) -> Value {
        self.show(&format!("show bgp neighbors {SPEAKER} json"))[SPEAKER].clone()
    }

    /// Routes by BGP in the router's kernel.
    pub(crate) fn kernel_routes(&self) -> usize {
        ["-4", "-6"]
            .iter()
            .map(|family| {
                let output = Command::new("ip")
                    .args(["-n", &self.router, family, "-o", "route", "show", "proto", "bgp"])
                    .output()
                    .unwrap();
                output.stdout.lines().count()
            })
            .sum()
    }

    pub(crate) fn watch_kernel(&self) -> RouteMonitor {
        RouteMonitor::start(&self.router)
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
        lines.iter().filter(|line| line.starts_with(&begin) && line.contains("proto bgp")).count()
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

pub(crate) async fn established(bgp: &BgpHandle) {
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut snapshots = bgp.subscribe();
        let up = |snapshot: &Arc<bellhop_speaker::bgp::BgpSnapshot>| {
            snapshot.peers.get(PEER).is_some_and(|peer| peer.state == State::Established)
        };
        snapshots.wait_for(up).await.map(|_| ())
    });
    let result = waited.await;
    assert!(matches!(result, Ok(Ok(()))), "no session: {:?}", bgp.snapshot());
}

pub(crate) fn peer(asn: u32) -> PeerConfig {
    PeerConfig {
        name: PEER.into(),
        neighbour: Neighbour::Address(ROUTER.parse().unwrap()),
        peer_port: 179,
        peer_asn: asn.into(),
        local_asn: 64512,
        source_address: None,
        source_interface: None,
        next_hop_v4: None,
        next_hop_v6: None,
        passive: false,
        hold_time: Duration::from_secs(9),
        keepalive_time: None,
        connect_retry: Duration::from_secs(5),
        ebgp_multihop: None,
        ttl_security: None,
        authentication: Authentication::Nothing,
        problem: None,
        families: Family::ALL.to_vec(),
        extended_next_hop: false,
        role: None,
        bfd: None,
        prefix_limit: None,
        graceful_restart: None,
        redirect_port: None,
        shutdown_text: None,
        log_messages: false,
    }
}

pub(crate) fn config(peer: PeerConfig) -> BgpConfig {
    BgpConfig {
        local_asn: 64512,
        router_id: Ipv4Addr::new(198, 18, 0, 2),
        listen: Some(ListenConfig { port: 179, addresses: vec![] }),
        restarting: false,
        peers: BTreeMap::from([(peer.name.clone(), peer)]),
    }
}
