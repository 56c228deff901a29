//! From a new plugin version in the manifests to the last changed route in FRR, with 1,000 Services that the policy
//! tells apart: the real `bellhop standalone` and the real compiler.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bellhop_lab::command::output_of;
use bellhop_lab::observe::bgp::{Family, table};
use bellhop_lab::plan::CLUSTER_ASN;

use crate::row::{Row, Unit, milliseconds};
use crate::wire::{NODE, ROUTER, Wire};

/// Services, each with one IPv4 address and a label that is its own.
const SERVICES: u32 = 1_000;
/// Times that the version changes.
const CHANGES: u32 = 5;
/// How long anything may take: allocating writes 1,000 claims to the disk.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two changes, so that each finds everybody idle.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the programs are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    /// `bellhop`.
    pub bellhop: PathBuf,
    /// `bellhop-compiler`.
    pub compiler: PathBuf,
}

impl Programs {
    /// From `BELLHOP_BIN` and `BELLHOP_COMPILER`, else beside `program`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn beside(program: &Path) -> Result<Self> {
        let find = |variable: &str, name: &str| -> Result<PathBuf> {
            let path = std::env::var_os(variable).map_or_else(|| program.with_file_name(name), PathBuf::from);
            ensure!(path.exists(), "{} does not exist: `make bench` builds it", path.display());
            Ok(path)
        };
        Ok(Self {
            bellhop: find("BELLHOP_BIN", "bellhop")?,
            compiler: find("BELLHOP_COMPILER", "bellhop-compiler")?,
        })
    }
}

/// A `bellhop standalone` in the node's namespace; it ends with the value.
#[derive(Debug)]
pub struct Standalone {
    child: Child,
    log: PathBuf,
}

impl Standalone {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(programs: &Programs, wire: &Wire, manifests: &Path) -> Result<Self> {
        let log = wire.folder().join("bellhop.log");
        let file = std::fs::File::create(&log)?;
        let mut command = wire.node().command(&programs.bellhop);
        command.arg("standalone").arg("--manifests").arg(manifests);
        command.arg("--state").arg(wire.folder().join("state"));
        command.args(["--node", &NODE.name(), "--allocate"]);
        command.arg("--socket").arg(wire.folder().join("bellhop.sock"));
        command.arg("--compiler").arg(&programs.compiler);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("cannot start bellhop")?;
        Ok(Self { child, log })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logs.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Node, peer, pool, settings: everything but Services and policies.
pub fn base_manifests() -> String {
    let (node, v4, v6) = (NODE.name(), NODE.ipv4(), NODE.ipv6());
    let (router, address, asn) = (ROUTER.name(), ROUTER.ipv4(), ROUTER.asn());
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: bench}}
---
apiVersion: v1
kind: Node
metadata:
  name: {node}
  labels: {{topology.kubernetes.io/zone: a}}
status:
  addresses:
    - {{type: InternalIP, address: {v4}}}
    - {{type: InternalIP, address: \"{v6}\"}}
---
apiVersion: bellhop.dev/v1alpha1
kind: SpeakerConfig
metadata: {{name: default}}
spec: {{asn: {CLUSTER_ASN}, bindAddresses: false}}
---
apiVersion: bellhop.dev/v1alpha1
kind: BGPPeer
metadata:
  name: {router}
  labels: {{role: edge}}
spec: {{peerAddress: {address}, peerASN: {asn}, connectRetryTime: 1s}}
---
apiVersion: bellhop.dev/v1alpha1
kind: AddressPool
metadata: {{name: bench}}
spec: {{addresses: [198.18.0.0/16]}}
---
apiVersion: bellhop.dev/v1alpha1
kind: Advertisement
metadata: {{name: everything}}
spec:
  attributes: {{communities: ['{CLUSTER_ASN}:1']}}
"
    )
}

/// A Service with one endpoint on the node.
pub fn service_manifest(number: u32) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  namespace: bench
  name: service-{number}
  labels: {{app: service-{number}}}
spec:
  type: LoadBalancer
  loadBalancerClass: bellhop.dev/bellhop
  ipFamilies: [IPv4]
  ports: [{{port: 8080, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  namespace: bench
  name: service-{number}-1
  labels: {{kubernetes.io/service-name: service-{number}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints:
  - addresses: [{}]
    nodeName: {}
",
        NODE.ipv4(),
        NODE.name()
    )
}

/// Settings of the policy: another MED for each version, for every Service with a label `app`, whose value it reads.
fn settings(med: u32) -> String {
    format!("rules:\n  - when: {{serviceLabels: {{app: '*'}}}}\n    set: {{med: {med}}}\n")
}

/// The module with a custom section that makes another version of it.
fn version(module: &[u8], number: u8) -> Vec<u8> {
    // Section 0, its length, the name "v" with its length, one byte of content.
    [module, &[0, 3, 1, b'v', number]].concat()
}

/// Measures.
///
/// # Errors
/// Without root, FRR or the programs, or when routes do not change.
pub fn run(programs: &Programs) -> Result<Vec<Row>> {
    let wire = Wire::up("change")?;
    let manifests = wire.folder().join("manifests");
    std::fs::create_dir_all(&manifests)?;
    std::fs::write(manifests.join("base.yaml"), base_manifests())?;
    let services: String = (0..SERVICES).fold(String::new(), |mut text, number| {
        // `write!` to a String cannot fail.
        let _ = writeln!(text, "{}---", service_manifest(number));
        text
    });
    std::fs::write(manifests.join("services.yaml"), services)?;
    let module = std::fs::read(crate::decision::module_path())?;
    install(programs, &wire, &manifests, &module, 0)?;
    let begin = Instant::now();
    let _process = Standalone::start(programs, &wire, &manifests)?;
    let start = wire
        .visible(begin, DEADLINE, |seen| seen.v4 == u64::from(SERVICES))
        .context("the first announcement; the log is gone with the lab")?;

    let mut times = Vec::new();
    for change in 1..=CHANGES {
        std::thread::sleep(PAUSE);
        let before = wire.prefixes()?.v4_version;
        let begin = install(programs, &wire, &manifests, &module, change)?;
        times.push(wire.visible(begin, DEADLINE, |seen| seen.v4_version >= before + u64::from(SERVICES))?);
        let routes = table(wire.frr(), Family::Ipv4)?;
        let right = routes.values().flatten().filter(|path| path.med == Some(100 + change)).count();
        ensure!(right == SERVICES as usize, "{right} of {SERVICES} routes carry what version {change} gives");
    }
    let row =
        |what: &str, times: &[Duration]| Row::of("change", what, Unit::Milliseconds, milliseconds(times));
    Ok(vec![
        row("start with a policy and 1,000 new Services: all visible in FRR", &[start]),
        row("new plugin version, 1,000 Services: ConfigMap written to last route changed in FRR", &times),
    ])
}

/// Packs a version and its settings with the author's tool and puts ConfigMap and policy into the manifests in one file,
/// complete at once. Returns when.
fn install(
    programs: &Programs,
    wire: &Wire,
    manifests: &Path,
    module: &[u8],
    number: u32,
) -> Result<Instant> {
    let (wasm, config) = (wire.folder().join("policy.wasm"), wire.folder().join("config.yaml"));
    std::fs::write(&wasm, version(module, u8::try_from(number)?))?;
    std::fs::write(&config, settings(100 + number))?;
    let mut pack = Command::new(&programs.bellhop);
    pack.args(["plugin", "pack"]).arg(&wasm).args(["--name", "bench", "--policy-name", "bench", "--config"]);
    let packed = output_of(pack.arg(&config))?;
    let temporary = manifests.join(".policy.new");
    std::fs::write(&temporary, packed)?;
    let begin = Instant::now();
    std::fs::rename(&temporary, manifests.join("policy.yaml"))?;
    Ok(begin)
}
