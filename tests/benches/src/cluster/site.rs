//! A real API server with the chart's objects in it, a router with FRR, and one node: a network namespace in which the
//! bench runs a speaker as its pod would be run.
//!
//! The controllers and the scheduler of Kubernetes are stopped: nothing here is theirs to do, and every write that the
//! API server counts is one of those that are measured. Whatever is measured twice starts from the same database, put
//! back by [`Site::restore`].

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bellhop_lab::Node;
use bellhop_lab::command::output_of;
use bellhop_lab::frr::Frr;
use bellhop_lab::netns::Namespace;
use bellhop_test_cluster::network::inside;
use bellhop_test_cluster::{Cluster, Machine, Mode, Options, Program as Component, wait_for};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::api::Api;
use super::counts::processor_seconds;
use super::objects::{BASE, CLAIMS, SERVICES};
use super::programs::Program;
use crate::change::Programs;

/// Where the API server listens in the cluster's own network (`tests/cluster/lib/settings.sh`).
const SERVER: &str = "https://192.0.2.10:6443";
/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/bellhop");
/// Namespace of the installation.
const NAMESPACE: &str = "bellhop-system";
/// The pod that a speaker's token is for.
const POD: &str = "bellhop-speaker-bench";
/// Of the bench's Services.
const CLASS: &str = "bellhop.dev/bellhop";
/// For MetalLB, as large as Bellhop's.
const METALLB_POOL: &str = "apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: bellhop-system}
spec: {addresses: [198.19.0.0/16]}
";
/// The leader's Lease.
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/bellhop-system/leases/bellhop-controller";
/// Where the controller answers probes, in the router's namespace.
const CONTROLLER_PROBES: &str = "127.0.0.1:9475";
/// The node.
pub const NODE: Node = Node::ALL[0];
/// How long components and programs may take to start on a machine that does nothing else.
const START: Duration = Duration::from_secs(60);

/// What of a processor an API server uses at most that has nothing to do: asking it once a second takes a seventh.
const IDLE: f64 = 0.25;
/// Over which time that is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Site {
    cluster: Cluster,
    frr: Frr,
    programs: Programs,
    controllers: std::cell::Cell<u32>,
}

/// A database of the API server that can be put back.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
}

impl Site {
    /// Brings it up.
    ///
    /// # Errors
    /// Without root or what `make setup` installs, or when something of it does not come up.
    pub fn up(programs: &Programs) -> Result<Self> {
        let options = Options { reuse: false, ..Options::new("bench").mode(Mode::ControlPlane) };
        let cluster = Cluster::up(&options)?;
        for component in [Component::ControllerManager, Component::Scheduler] {
            cluster.stop(Machine::ControlPlane, component)?;
        }
        let frr = cluster.start_frr()?;
        let site = Self { cluster, frr, programs: programs.clone(), controllers: 0.into() };
        site.install().context("install Bellhop's objects")?;
        site.add_node().context("add the node")?;
        Ok(site)
    }

    fn install(&self) -> Result<()> {
        let args = ["install", "bellhop", CHART, "--namespace", NAMESPACE, "--create-namespace"];
        self.cluster.helm(&args)?;
        self.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
        self.cluster.apply(BASE).map(drop)
    }

    /// The node's namespace on the router's bridge, its Node, and the pod that a speaker's token is for.
    fn add_node(&self) -> Result<()> {
        let (node, name) = (self.node(), NODE.name());
        node.create()?;
        self.cluster.router().ip_batch(&format!(
            "link add {name} type veth peer name eth0 netns {}\nlink set {name} master fabric up",
            node.name()
        ))?;
        node.ip_batch(&format!(
            "link set eth0 up\naddress add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad",
            NODE.ipv4(),
            NODE.ipv6()
        ))?;
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        }});
        self.cluster.apply(&object.to_string())?;
        let status = json!({
            "addresses": [{"type": "InternalIP", "address": NODE.ipv4()}, {"type": "InternalIP", "address": NODE.ipv6()}],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        });
        self.cluster.patch_status("default", &format!("node/{name}"), &status.to_string())?;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": NAMESPACE},
            "spec": {"nodeName": name, "serviceAccountName": "bellhop-speaker",
                "containers": [{"name": "speaker", "image": "localhost/bellhop:dev"}]},
        });
        self.cluster.apply(&pod.to_string()).map(drop)
    }

    /// The node's namespace.
    pub fn node(&self) -> Namespace {
        self.cluster.network_of(NODE)
    }

    /// The router's namespace.
    pub fn router(&self) -> Namespace {
        self.cluster.router()
    }

    /// The router's FRR.
    pub fn frr(&self) -> &Frr {
        &self.frr
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.cluster.logs()
    }

    /// A bare client with the administrator's rights.
    ///
    /// # Errors
    /// When there is none to be made.
    pub fn administrator(&self) -> Result<Api> {
        let config: Value = self.cluster.kubectl_json(&["config", "view", "--raw"])?;
        Api::connect(&self.router(), &self.kubeconfig("admin", config)?)
    }

    /// A bare client with the controller's own token, and so in the controller's place in the API server's queues.
    ///
    /// # Errors
    /// When there is none to be made.
    pub fn as_controller(&self) -> Result<Api> {
        Api::connect(&self.router(), &self.with_token("bellhop-controller", &[])?)
    }

    /// Writes a kubeconfig that leads to the API server from inside the cluster's network.
    fn kubeconfig(&self, name: &str, mut config: Value) -> Result<PathBuf> {
        config["clusters"][0]["cluster"]["server"] = SERVER.into();
        let path = self.cluster.state().join(format!("kubeconfig-bench-{name}"));
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    fn with_token(&self, account: &str, options: &[&str]) -> Result<PathBuf> {
        let args = [&["-n", NAMESPACE, "create", "token", account], options].concat();
        let token = self.cluster.kubectl(&args)?;
        let mut config: Value = self.cluster.kubectl_json(&["config", "view", "--raw"])?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        self.kubeconfig(account, config)
    }

    /// Starts a controller under a name that no other one had.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_controller(&self) -> Result<Program> {
        let number = self.controllers.get() + 1;
        self.controllers.set(number);
        let kubeconfig = self.with_token("bellhop-controller", &[])?;
        let mut command = self.router().command(&self.programs.bellhop);
        command.args(["controller", "--namespace", NAMESPACE, "--name", &format!("bench-{number}")]);
        command.arg("--compiler").arg(&self.programs.compiler).args(["--listen", CONTROLLER_PROBES]);
        command.env("KUBECONFIG", kubeconfig);
        self.start("controller", command)
    }

    /// Applies MetalLB's CRDs, of which `crds` is the folder, and a pool like Bellhop's.
    ///
    /// # Errors
    /// When they are refused.
    pub fn install_metallb(&self, crds: &Path) -> Result<()> {
        let crds = crds.to_string_lossy();
        self.cluster.kubectl(&["apply", "--server-side", "-f", &crds])?;
        self.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
        // Discovery may lag behind the condition.
        wait_until("MetalLB's pool is accepted", START, || Ok(self.cluster.apply(METALLB_POOL).ok()))?;
        Ok(())
    }

    /// Starts MetalLB's controller as an administrator, without webhooks, for the class of the bench's Services.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_metallb(&self, program: &Path) -> Result<Program> {
        let config = self.cluster.kubectl_json(&["config", "view", "--raw"])?;
        let mut command = self.router().command(program);
        // It looks up a pod of its own, to be the owner of what it makes; any will do.
        command.args([
            "--namespace",
            NAMESPACE,
            "--pod-name",
            POD,
            "--lb-class",
            CLASS,
            "--log-level",
            "warn",
        ]);
        command.args(["--webhook-mode", "disabled", "--disable-cert-rotation", "--port", "0"]);
        command.env("KUBECONFIG", self.kubeconfig("metallb", config)?);
        self.start("metallb", command)
    }

    /// Starts the node's speaker.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_speaker(&self) -> Result<Program> {
        let uid =
            self.cluster.kubectl(&["-n", NAMESPACE, "get", "pod", POD, "-o", "jsonpath={.metadata.uid}"])?;
        let uid = format!("--bound-object-uid={uid}");
        let pod = ["--bound-object-kind=Pod", &format!("--bound-object-name={POD}"), &uid];
        let kubeconfig = self.with_token("bellhop-speaker", &pod)?;
        let state = self.cluster.state().join("bench-speaker");
        std::fs::create_dir_all(&state)?;
        let mut command = self.node().command(&self.programs.bellhop);
        command.args(["speaker", "--node", &NODE.name(), "--namespace", NAMESPACE]);
        command.args(["--daemonset", "bellhop-speaker", "--listen", "127.0.0.1:9474"]);
        command.arg("--state").arg(&state).arg("--socket").arg(state.join("bellhop.sock"));
        command.arg("--compiler").arg(&self.programs.compiler).env("KUBECONFIG", kubeconfig);
        self.start("speaker", command)
    }

    fn start(&self, name: &'static str, command: Command) -> Result<Program> {
        Program::start(name, command, &self.logs().join(format!("bench-{name}.log")))
    }

    /// Waits until the controller that was started last has read everything that stands, and says when it had.
    ///
    /// # Errors
    /// When it ends, or does not come to be ready.
    pub fn wait_until_ready(&self, controller: &mut Program) -> Result<SystemTime> {
        let router = self.router();
        wait_until("the controller is ready", START, || {
            controller.expect_running()?;
            let ready = inside(&router, || is_ready(CONTROLLER_PROBES))?;
            Ok(ready.then(SystemTime::now))
        })
    }

    /// Waits until the controller that was started last leads, and says since when.
    ///
    /// # Errors
    /// When it ends, or does not come to lead.
    pub fn wait_for_leader(&self, api: &Api, controller: &mut Program) -> Result<SystemTime> {
        let name = format!("bench-{}", self.controllers.get());
        let leads = || -> Result<Option<SystemTime>> {
            controller.expect_running()?;
            let Ok(lease) = api.json::<Lease>(LEASE) else { return Ok(None) };
            let Some(spec) = lease.spec else { return Ok(None) };
            let held = spec.holder_identity.is_some_and(|holder| holder.starts_with(&name));
            Ok(spec.acquire_time.filter(|_| held).map(|time| time.0.into()))
        };
        wait_until("the controller leads", START, leads)
    }

    /// Keeps the database as it is now; the API server is started anew.
    ///
    /// # Errors
    /// When components do not stop or start.
    pub fn snapshot(&self, name: &str) -> Result<Snapshot> {
        let snapshot = Snapshot { folder: self.cluster.state().join(format!("etcd-{name}")) };
        self.without_api(|database| copy(database, &snapshot.folder))?;
        Ok(snapshot)
    }

    /// Puts the database back as it was; the API server is started anew. No program of Bellhop may run.
    ///
    /// # Errors
    /// When components do not stop or start.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        let state = self.cluster.state().join("bench-speaker");
        if state.exists() {
            std::fs::remove_dir_all(state)?;
        }
        self.without_api(|database| {
            std::fs::remove_dir_all(database)?;
            copy(&snapshot.folder, database)
        })
    }

    fn without_api(&self, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let components = [Component::ApiServer, Component::Etcd];
        for component in components {
            self.cluster.stop(Machine::ControlPlane, component)?;
        }
        work(&self.cluster.state().join("etcd"))?;
        for component in components.into_iter().rev() {
            self.cluster.start(Machine::ControlPlane, component)?;
        }
        // Ready, and with the caches filled that what is measured reads from.
        let api = self.administrator()?;
        wait_until("the API server is ready", START, || {
            let paths = ["/readyz", &format!("{SERVICES}?limit=1"), &format!("{CLAIMS}?limit=1")];
            Ok(paths.into_iter().all(|path| api.text(path).is_ok()).then_some(()))
        })?;
        // For seconds after that it makes its OpenAPI documents, which costs whoever happens to be measured then.
        let mut before = (Instant::now(), processor_seconds(&api)?);
        wait_until("the API server has nothing to do", START, || {
            std::thread::sleep(LOOK);
            let now = (Instant::now(), processor_seconds(&api)?);
            let share = (now.1 - before.1) / now.0.duration_since(before.0).as_secs_f64();
            before = now;
            Ok((share < IDLE).then_some(()))
        })
    }
}

/// True when `/readyz` answers with 200, from this thread's network.
fn is_ready(address: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(address)?;
        connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    ensure!(from.exists(), "there is no {}", from.display());
    output_of(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

/// Waits until there is something, or looking for it fails.
///
/// # Errors
/// When there is nothing within `deadline`, or with what a look failed with.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_for(what, deadline, || match look() {
        Ok(None) => Err("not yet".to_owned()),
        Ok(Some(found)) => Ok(Ok(found)),
        Err(error) => Ok(Err(error)),
    })?
}
