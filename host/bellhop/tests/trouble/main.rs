//! `bellhop controller` between trouble and bad input: an API server that fails, refuses and forgets, objects that nobody
//! should have written. One object's trouble stays its own. Needs root and what `make setup` installs.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod contradictions;
mod modules;
#[allow(dead_code, reason = "shared with the tests of the crate it is written for, which use all of it")]
#[path = "../../../kubernetes/tests/api/proxy.rs"]
mod proxy;
mod refusals;
mod speaker;
mod stale;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use bellhop_test_cluster::{Cluster, Machine, Mode, Options, Program};
use proxy::{Fault, Proxy};
use serde_json::{Value, json};

/// For what a controller does after some waits between attempts, on a machine that does other work besides.
const SOON: Duration = Duration::from_secs(90);

/// Services made while requests fail.
const SERVICES: usize = 50;

/// What `look` finds, once it finds something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    bellhop_test_cluster::wait_for(what, SOON, || look().ok_or_else(|| "not yet".to_owned())).unwrap()
}

/// A controller that reaches the API server through a proxy alone.
struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    fn start(proxy: &Proxy, folder: &Path) -> Self {
        let kubeconfig = folder.join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": proxy.url() } }],
            "users": [{ "name": "nobody", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "nobody" } }],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let log = folder.join("controller.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop"));
        command.args(["controller", "--name", "a", "--listen", "127.0.0.1:19485"]);
        // Without it the one beside the program is taken.
        if let Some(compiler) = std::env::var_os("BELLHOP_COMPILER") {
            command.arg("--compiler").arg(compiler);
        }
        let child =
            command.env("KUBECONFIG", kubeconfig).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    /// What it has logged.
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the controller's log:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn manifest(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "type": "LoadBalancer", "loadBalancerClass": "bellhop.dev/bellhop", "ports": [{ "port": 80 }] },
    })
}

fn apply(cluster: &Cluster, objects: &[Value]) {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.apply(&documents.join("\n---\n")).unwrap();
}

fn address(cluster: &Cluster, name: &str) -> Option<String> {
    let service: Value = cluster.kubectl_json(&["get", "service", name, "-o", "json"]).unwrap();
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
}

fn has_address(cluster: &Cluster, name: &str) -> String {
    wait_for(&format!("an address of {name}"), || address(cluster, name))
}

/// A condition of an object as `status reason: message`.
fn condition(cluster: &Cluster, object: &[&str], type_: &str) -> Option<String> {
    let object: Value = cluster.kubectl_json(&[&["get", "-o", "json"], object].concat()).unwrap();
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some(format!("{} {}: {}", text("status"), text("reason"), text("message")))
}

/// Addresses, each with the UID of the Service that has it.
type Allocated = Vec<(String, String)>;

/// What Services list, and what claims hold for them.
fn allocated(cluster: &Cluster) -> (Allocated, Allocated) {
    let list = |what: &str| -> Vec<Value> {
        let list: Value = cluster.kubectl_json(&["get", what, "-o", "json"]).unwrap();
        list["items"].as_array().unwrap().clone()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let services = list("services").into_iter().filter_map(|service| {
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.to_owned();
        Some((ip, text(&service["metadata"]["uid"])))
    });
    let claims = list("addressclaims")
        .into_iter()
        .map(|claim| (text(&claim["spec"]["address"]), text(&claim["spec"]["holders"][0]["uid"])));
    let (mut services, mut claims): (Allocated, Allocated) = (services.collect(), claims.collect());
    services.sort();
    claims.sort();
    (services, claims)
}

#[test]
fn whatever_the_api_server_and_its_users_do_one_objects_trouble_stays_its_own() {
    let cluster = Cluster::up(&Options::new("trouble").mode(Mode::ControlPlane)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    cluster.kubectl(&["apply", "--server-side", "-f", crds.to_str().unwrap()]).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
    cluster.kubectl(&["create", "namespace", "bellhop-system"]).unwrap();
    let pool = json!({
        "apiVersion": "bellhop.dev/v1alpha1", "kind": "AddressPool",
        "metadata": { "name": "public" }, "spec": { "addresses": ["198.51.100.0/24"] },
    });
    apply(&cluster, &[pool]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut proxy = runtime.block_on(async {
        let kubeconfig = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        Proxy::start(bellhop_kubernetes::client::client(config).unwrap()).await.unwrap()
    });
    let controller = Controller::start(&proxy, folder.path());
    fifty_services_end_up_right_while_requests_fail_in_every_way(&cluster, &proxy);
    refusals::an_admission_that_refuses_one_service_is_told_there_and_the_rest_goes_on(&cluster);
    contradictions::what_contradicts_itself_or_another_says_so_and_heals_and_the_rest_stays(&cluster);
    stale::a_service_that_only_the_watch_takes_for_gone_keeps_its_claim(&cluster, &proxy, &controller);
    runtime.block_on(speaker::its_state_is_written_while_requests_fail_in_every_way(&cluster, &proxy));
    runtime.block_on(cut_off_over_a_compaction_it_lists_anew_and_goes_on(&cluster, &mut proxy));
    modules::each_bad_config_map_is_told_on_its_policy_and_disturbs_nothing(&cluster);
}

fn fifty_services_end_up_right_while_requests_fail_in_every_way(cluster: &Cluster, proxy: &Proxy) {
    let faults = [
        (Fault::Status(429, Some(1)), 4),
        (Fault::Status(500, None), 4),
        (Fault::Status(409, None), 4),
        (Fault::Reset, 4),
        (Fault::LoseAnswer, 8),
        (Fault::Late(Duration::from_millis(500)), 4),
    ];
    for (fault, times) in faults {
        proxy.fail(&["POST", "addressclaims"], fault.clone(), times);
        proxy.fail(&["PATCH", "/services/"], fault, times);
    }
    let services: Vec<Value> = (0..SERVICES).map(|number| manifest(&format!("s{number:02}"))).collect();
    apply(cluster, &services);
    let (services, claims) = wait_for("addresses of all Services", || {
        let (services, claims) = allocated(cluster);
        (services.len() == SERVICES).then_some((services, claims))
    });
    assert_eq!(services, claims, "each Service lists what its one claim holds");
    let addresses: BTreeSet<_> = services.iter().map(|(address, _)| address).collect();
    assert_eq!(addresses.len(), SERVICES);
    assert!(proxy.left().is_empty(), "these did not strike: {:?}", proxy.left());
}

async fn cut_off_over_a_compaction_it_lists_anew_and_goes_on(cluster: &Cluster, proxy: &mut Proxy) {
    proxy.down();
    let released = has_address(cluster, "s00");
    cluster.kubectl(&["delete", "service", "s00"]).unwrap();
    apply(cluster, &[manifest("made-meanwhile")]);
    let list = cluster.kubectl(&["get", "--raw", "/api/v1/services"]).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    let body = json!({ "revision": revision, "physical": true }).to_string();
    let url = "http://127.0.0.1:2379/v3/kv/compaction";
    let answer = cluster.on(Machine::ControlPlane, "curl").args(["-sSf", url, "-d", &body]).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    // The watch cache still knows the revisions of before; one that begins anew does not.
    cluster.kill(Machine::ControlPlane, Program::ApiServer).unwrap();
    wait_for("the API server again", || cluster.kubectl(&["get", "--raw", "/readyz"]).ok());
    let lists = proxy.seen(&["GET", "/services?", "sendInitialEvents=true"]);
    proxy.up().await.unwrap();
    let _ = has_address(cluster, "made-meanwhile");
    wait_for("the claim of the Service that is gone to be released", || {
        let (services, claims) = allocated(cluster);
        let free = !claims.iter().any(|(address, _)| *address == released);
        (free && services == claims).then_some(())
    });
    assert!(proxy.seen(&["GET", "/services?", "sendInitialEvents=true"]) > lists, "it did not list anew");
}
